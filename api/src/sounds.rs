//! Sounds that others bring: made into what playback needs, put in their place whole or not at all, and taken away again. Nobody
//! replaces or deletes a sound that another group brought or that was here before.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use strowger_core::Shared;
use strowger_media::{SAMPLE_RATE, Sound, SoundFormat};
use warp::http::StatusCode;

use crate::http::{Incoming, Refused, damaged, next_part, too_large};
use crate::keys::Caller;
use crate::recordings::{aside, write_wav};

/// Sounds that are taken at a time.
const UPLOADS_MAX: usize = 8;
/// Bytes of a name, the extension included.
const NAME_MAX: usize = 128;
/// Parts of a form.
const PARTS_MAX: usize = 32;
/// Bytes of a part that is no file.
const FIELD_MAX: usize = 4096;
/// Family of the AstDB that remembers who brought a sound.
const FAMILY: &str = "api_uploads";

/// How long a form may take, and so much longer for each MiB that is allowed.
const BODY_TIME: Duration = Duration::from_secs(30);
const BODY_TIME_OF_MIB: Duration = Duration::from_secs(2);

/// Keys that bring a sound at present.
static UPLOADS: Mutex<Vec<String>> = Mutex::new(Vec::new());
static KEEPING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// One of the uploads that run.
struct Place(String);

impl Place {
    /// # Errors
    /// Too many run, or one of this key.
    fn take(key: &str) -> Result<Self, Refused> {
        let mut uploads = UPLOADS.lock();
        let why = if uploads.iter().any(|known| known == key) {
            "a sound of this key is being taken; one at a time is".to_owned()
        } else if uploads.len() >= UPLOADS_MAX {
            format!("{UPLOADS_MAX} sounds are being taken, which is the limit; try again later")
        } else {
            uploads.push(key.to_owned());
            return Ok(Self(key.to_owned()));
        };
        Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, why))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        UPLOADS.lock().retain(|known| *known != self.0);
    }
}

/// A sound that was brought.
#[derive(Debug)]
pub(crate) struct Brought {
    /// What `Playback` plays it by.
    pub(crate) name: String,
    /// The file below the folder of sounds.
    pub(crate) file: String,
    pub(crate) duration_ms: u64,
    /// Bytes of the file.
    pub(crate) bytes: u64,
}

/// The name of a sound, and what it is, from the name of a file on somebody's machine.
fn name_of(file: &str) -> Result<(String, SoundFormat), Refused> {
    let wrong = |why: String| Err(Refused::bad(format!("file: {why}")));
    // Browsers of old times send the whole path.
    let last = file.rsplit(['/', '\\']).next().unwrap_or_default().trim();
    let Some((stem, extension)) = last.rsplit_once('.') else {
        return wrong(format!("{last:?} has no extension, such as .wav"));
    };
    let Some(format) = SoundFormat::from_extension(extension) else {
        return Err(Refused::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!(
                "file: {extension:?} is no kind of sound; wav, mp3, ogg, opus, sln, alaw, ulaw, gsm and g722 are"
            ),
        ));
    };
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ');
    let good = !stem.is_empty()
        && last.len() <= NAME_MAX
        && stem.trim() == stem
        && !stem.starts_with(['.', '-'])
        && stem.chars().all(allowed);
    if !good {
        return wrong(format!(
            "{last:?} is no name: letters, digits, `.`, `-`, `_` and spaces are allowed, {NAME_MAX} bytes at most"
        ));
    }
    Ok((stem.to_owned(), format))
}

/// A file of a form.
struct Given {
    name: String,
    bytes: Vec<u8>,
}

/// Reads the form: its file.
async fn read(asked: Incoming, limit: usize) -> Result<Option<Given>, Refused> {
    let Some(boundary) = asked.boundary() else {
        let why = "the body has to be multipart/form-data with a part `file`";
        return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    };
    let mut given = None;
    let mut parts = multer::Multipart::new(asked.body, boundary);
    let mut count = 0;
    while let Some(mut part) = next_part(&mut parts).await? {
        count += 1;
        if count > PARTS_MAX {
            return Err(Refused::bad(format!(
                "{PARTS_MAX} parts are the limit of a form"
            )));
        }
        let is_file = part.name() == Some("file") && given.is_none();
        let most = if is_file { limit } else { FIELD_MAX };
        let file = part.file_name().unwrap_or_default().to_owned();
        let mut bytes = Vec::new();
        while let Some(piece) = part.chunk().await.map_err(|error| damaged(&error))? {
            if bytes.len() + piece.len() > most {
                return Err(too_large(most));
            }
            bytes.extend_from_slice(&piece);
        }
        if is_file {
            given = Some(Given { name: file, bytes });
        }
    }
    Ok(given)
}

/// Takes the sound that a form brings. Who asks is known before anything of the body is read: strangers send no sounds.
///
/// # Errors
/// What is wrong with the form, its file or its name; too many are being taken; the sound belongs to others.
pub(crate) async fn take(
    shared: &Arc<Shared>,
    caller: &Caller,
    asked: Incoming,
) -> Result<Brought, Refused> {
    let place = Place::take(&caller.user.uuid)?;
    let limit = shared.config.http.upload_mib;
    let time = BODY_TIME + BODY_TIME_OF_MIB * u32::try_from(limit).unwrap_or(1);
    let read = tokio::time::timeout(time, read(asked, limit * 1024 * 1024)).await;
    let given = read.unwrap_or_else(|_| {
        let why = format!("the body took longer than {} s", time.as_secs());
        Err(Refused::new(StatusCode::REQUEST_TIMEOUT, why))
    })?;
    let Some(given) = given else {
        return Err(Refused::bad("file: the form has no part of this name"));
    };
    let (stem, format) = name_of(&given.name)?;
    let owner = caller.group().unwrap_or_default().to_owned();
    let bound = caller.group().is_some();
    let file = format!("{stem}.wav");
    // One after the other, so that what is looked at is what is replaced.
    let turn = KEEPING.lock().await;
    let held = Arc::clone(shared);
    let (name, plain) = (file.clone(), stem.clone());
    let kept = aside(move || {
        // Who goes away leaves this to be done: until then the turn and the place are taken.
        let _held = (turn, place);
        let brought = held.astdb.get(FAMILY, &name);
        let is_own = brought.as_deref() == Some(&owner);
        // A prompt of any form and in any of the languages here, or one that is built in.
        let there = held.sounds.exists(&plain, "ru") || held.sounds.exists(&plain, "en");
        if bound && there && !is_own {
            let why = format!(
                "file: there is a sound {plain} already, and it was not brought by this group"
            );
            return Err(Refused::new(StatusCode::FORBIDDEN, why));
        }
        let kept = keep(&held.paths().sounds, &name, format, given.bytes)?;
        if let Err(error) = held.astdb.put(FAMILY, &name, &owner) {
            tracing::warn!(file = name, %error, "API: who brought a sound is not remembered");
        }
        Ok(kept)
    });
    let (duration_ms, bytes) = kept.await??;
    tracing::info!(
        key = caller.user.uuid,
        name = caller.user.name,
        file,
        duration_ms,
        "API: a sound was uploaded"
    );
    Ok(Brought {
        name: stem,
        file,
        duration_ms,
        bytes,
    })
}

/// Whose the sound of a file is: a group (empty: nobody's in particular), or none that was brought.
pub(crate) fn owner(shared: &Shared, file: &str) -> Option<String> {
    shared.astdb.get(FAMILY, file)
}

/// Did another group bring what this name plays?
pub(crate) fn is_of_others(shared: &Shared, caller: &Caller, name: &str) -> bool {
    let parts: Vec<&str> = name
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    let name = parts.join("/");
    let file = format!("{}.wav", name.strip_suffix(".wav").unwrap_or(&name));
    let others = |owner: String| caller.group().is_some_and(|group| group != owner);
    owner(shared, &file).is_some_and(others)
}

/// Deletes a sound that was brought: a group its own, others any.
///
/// # Errors
/// 404: there is no such sound; 403: it was not brought, or by others.
pub(crate) async fn delete(
    shared: &Arc<Shared>,
    caller: &Caller,
    name: &str,
) -> Result<(), Refused> {
    let file = format!("{name}.wav");
    let group = caller.group().map(str::to_owned);
    let turn = KEEPING.lock().await;
    let (held, name) = (Arc::clone(shared), name.to_owned());
    let deleted = aside(move || {
        let _turn = turn;
        // Only a name of a sound that was brought becomes that of a file.
        let Some(owner) = owner(&held, &file) else {
            let there = held.sounds.exists(&name, "ru") || held.sounds.exists(&name, "en");
            return Err(if there && !name.starts_with('/') {
                let why = format!("sound {name} was not brought over an API; it stays");
                Refused::new(StatusCode::FORBIDDEN, why)
            } else {
                Refused::new(StatusCode::NOT_FOUND, format!("there is no sound {name}"))
            });
        };
        if group.is_some_and(|group| group != owner) {
            let why = format!("sound {name} was not brought by this group");
            return Err(Refused::new(StatusCode::FORBIDDEN, why));
        }
        match std::fs::remove_file(held.paths().sounds.join(&file)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::error!(file, %error, "API: a sound cannot be deleted");
                let why = "the sound cannot be deleted; the log of the exchange says more";
                return Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, why));
            }
            _ => {}
        }
        held.astdb.del(FAMILY, &file);
        Ok(())
    });
    deleted.await?
}

/// Decodes a sound and puts it in its place; its length in milliseconds and its size.
fn keep(
    sounds: &Path,
    file: &str,
    format: SoundFormat,
    bytes: Vec<u8>,
) -> Result<(u64, u64), Refused> {
    let sound = Sound::decode(format, bytes, SAMPLE_RATE);
    let sound = sound.map_err(|error| Refused::bad(format!("file: {error}")))?;
    if sound.samples.is_empty() {
        return Err(Refused::bad("file: there is no sound in it"));
    }
    let write = || -> std::io::Result<u64> {
        strowger_core::shared::create_private(sounds)?;
        let mut made = tempfile::Builder::new()
            .prefix(".upload-")
            .permissions(std::fs::Permissions::from_mode(0o644))
            .tempfile_in(sounds)?;
        write_wav(made.as_file_mut(), &sound.samples)?;
        made.as_file_mut().flush()?;
        made.as_file().sync_all()?;
        let size = made.as_file().metadata()?.len();
        made.persist(sounds.join(file))
            .map_err(|error| error.error)?;
        std::fs::File::open(sounds)?.sync_all()?;
        Ok(size)
    };
    let size = write().map_err(|error| {
        tracing::error!(file, %error, "API: a sound cannot be written");
        let why = "the sound cannot be written; the log of the exchange says more";
        Refused::new(StatusCode::INTERNAL_SERVER_ERROR, why)
    })?;
    Ok((sound.duration_ms(), size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// What is in a folder, with sizes.
    fn names(folder: &Path) -> BTreeMap<String, u64> {
        let entries = std::fs::read_dir(folder).expect("a folder").flatten();
        entries
            .map(|entry| {
                let size = entry.metadata().map_or(0, |about| about.len());
                (entry.file_name().to_string_lossy().into_owned(), size)
            })
            .collect()
    }

    #[test]
    fn a_name_is_the_last_part_without_its_extension() {
        for (file, wanted) in [
            ("test.wav", "test"),
            ("/home/user/test.WAV", "test"),
            ("C:\\sounds\\Добрый день.mp3", "Добрый день"),
            ("../../etc/a.b.ogg", "a.b"),
        ] {
            let (name, _) = name_of(file).expect(file);
            assert_eq!(name, wanted);
        }
        for (file, status) in [
            ("", 400),
            ("test", 400),
            (".wav", 400),
            ("..wav", 400),
            ("-rf.wav", 400),
            ("a&b.wav", 400),
            ("a\0.wav", 400),
            ("a .wav", 400),
            ("test.exe", 415),
            (&format!("{}.wav", "a".repeat(NAME_MAX)), 400),
        ] {
            let refused = name_of(file).map(|(name, _)| name).expect_err(file);
            assert_eq!(refused.status.as_u16(), status, "{file}: {refused}");
        }
    }

    #[test]
    fn a_sound_of_any_rate_is_kept_as_playback_needs_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut wide = std::fs::File::create(folder.path().join("in")).expect("a file");
        write_wav(&mut wide, &[100; 48_000]).expect("written");
        let mut bytes = std::fs::read(folder.path().join("in")).expect("read");
        // The same samples at 48 kHz are a second.
        bytes[24..28].copy_from_slice(&48_000_u32.to_le_bytes());
        std::fs::remove_file(folder.path().join("in")).expect("removed");
        let (duration, size) =
            keep(folder.path(), "one.wav", SoundFormat::Wav, bytes).expect("kept");
        assert!((990..=1010).contains(&duration), "{duration}");
        assert_eq!(
            names(folder.path()),
            BTreeMap::from([("one.wav".to_owned(), size)])
        );
        assert!((15_800..16_300).contains(&size), "{size}");
        for (format, bytes) in [
            (SoundFormat::Wav, b"RIFF no sound at all".to_vec()),
            (SoundFormat::Mp3, b"no sound at all".to_vec()),
            (SoundFormat::Ulaw, Vec::new()),
        ] {
            let refused = keep(folder.path(), "two.wav", format, bytes).expect_err("no sound");
            assert!(refused.why.starts_with("file: "), "{refused}");
        }
        assert_eq!(names(folder.path()).len(), 1);
    }

    proptest! {
        #[test]
        fn no_name_leads_elsewhere(file in "\\PC{0,40}") {
            if let Ok((name, _)) = name_of(&file) {
                let path = Path::new("/sounds").join(format!("{name}.wav"));
                prop_assert_eq!(path.parent(), Some(Path::new("/sounds")));
                prop_assert_eq!(path.components().count(), 3);
            }
        }
    }
}
