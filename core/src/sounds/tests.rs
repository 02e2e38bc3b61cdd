//! Sounds found, decoded, kept and noticed to have changed.

use std::fs;
use std::time::SystemTime;

use super::*;

fn store() -> (tempfile::TempDir, Arc<SoundStore>) {
    let folder = tempfile::tempdir().unwrap();
    let store = SoundStore::new(folder.path().to_owned(), Handle::current());
    (folder, Arc::new(store))
}

/// A file that looks `age` seconds old.
fn put(folder: &Path, name: &str, content: &[u8], age: u64) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    let file = fs::File::options().append(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(age))
        .unwrap();
}

#[tokio::test]
async fn many_who_want_the_same_sound_at_once_share_one() {
    let (folder, store) = store();
    put(folder.path(), "long.alaw", &[0x55; 80_000], 60);
    let loads: Vec<_> = (0..20)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.load("long", "en").await.unwrap() })
        })
        .collect();
    let mut sounds = Vec::new();
    for load in loads {
        sounds.push(load.await.unwrap());
    }
    assert!(sounds.iter().all(|sound| Arc::ptr_eq(sound, &sounds[0])));
    assert!(store.gates.lock().is_empty());
}

#[tokio::test]
async fn who_does_not_wait_for_a_sound_leaves_nothing_behind() {
    let (folder, store) = store();
    put(folder.path(), "long.alaw", &[0x55; 80_000], 60);
    for _ in 0..10 {
        let load = store.load("long", "en");
        drop(tokio::time::timeout(Duration::ZERO, load).await);
    }
    assert!(store.gates.lock().is_empty());
}

#[tokio::test]
async fn a_changed_file_is_heard_and_one_that_did_not_change_is_not_read_again() {
    let (folder, store) = store();
    let path = folder.path().join("said");
    let name = path.to_str().unwrap();
    put(folder.path(), "said.alaw", &[0x55; 100], 60);
    let first = store.load(name, "en").await.unwrap();
    let again = store.load(name, "en").await.unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    put(folder.path(), "said.alaw", &[0x55; 200], 60);
    assert_eq!(store.load(name, "en").await.unwrap().samples.len(), 200);
    // The same length, but another time.
    put(folder.path(), "said.alaw", &[0xD5; 200], 30);
    assert_eq!(store.load(name, "en").await.unwrap().samples[0], 8);
}

#[tokio::test]
async fn a_prompt_of_ones_own_is_noticed_after_the_built_in_one_was_played() {
    let (folder, store) = store();
    let built_in = store.load("digits/1", "en").await.unwrap();
    put(folder.path(), "en/digits/1.alaw", &[0x55; 50], 60);
    let started = Instant::now();
    loop {
        let sound = store.load("digits/1", "en").await.unwrap();
        if sound.samples.len() == 50 {
            break;
        }
        assert_eq!(sound, built_in);
        assert!(started.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_wide_listener_hears_a_wide_file_and_both_are_kept() {
    let (folder, store) = store();
    put(folder.path(), "both.sln", &[0; 1600], 60);
    put(folder.path(), "both.sln16", &[0; 6400], 60);
    let narrow = store.load_at("both", "en", 8000).await.unwrap();
    let wide = store.load_at("both", "en", 16_000).await.unwrap();
    assert_eq!((narrow.rate, narrow.samples.len()), (8000, 800));
    assert_eq!((wide.rate, wide.samples.len()), (16_000, 3200));
    assert!(Arc::ptr_eq(
        &narrow,
        &store.load("both", "en").await.unwrap()
    ));
}

#[tokio::test]
async fn what_cannot_be_played_says_why() {
    let (folder, store) = store();
    let missing = store
        .load("nowhere", "ru_RU")
        .await
        .unwrap_err()
        .to_string();
    for part in ["nowhere", "ru_RU", "/ru/", "/en/", "built-in"] {
        assert!(missing.contains(part), "{missing}");
    }
    put(folder.path(), "broken.wav", b"ID3 and so on", 60);
    let broken = store.load("broken", "en").await.unwrap_err().to_string();
    assert!(
        broken.contains("broken.wav") && broken.contains("RIFF"),
        "{broken}"
    );
    let big = fs::File::create(folder.path().join("big.sln")).unwrap();
    big.set_len(FILE_BYTES_MAX + 1).unwrap();
    let big = store.load("big", "en").await.unwrap_err().to_string();
    assert!(big.contains("allowed"), "{big}");
}

#[tokio::test]
async fn tone_lists_are_made_once() {
    let (_folder, store) = store();
    let one = store.tones("425/500,0/500").unwrap();
    let two = store.tones("425/500,0/500").unwrap();
    assert!(Arc::ptr_eq(&one.sounds[0], &two.sounds[0]));
    assert!(store.tones("loud").is_err());
    for n in 0..TONES_MAX + 10 {
        store.tones(&format!("{}/1", 300 + n)).unwrap();
    }
    assert!(store.tones.lock().len() <= TONES_MAX);
}
