//! Prompts, tones and music on hold: found under the data directory first, then in the built-in set, kept decoded in
//! memory and shared by all who hear them. Files are read and decoded on the control runtime, never on a shard's thread.
//!
//! Files are read whole rather than mapped: a prompt that is replaced while it plays must not end the process (a mapped
//! page behind the new end of a file is a bus error), and a page that is not in memory must not stall a media thread.

mod cache;
mod find;
mod list;
mod music;
mod program;
mod tones;
mod zones;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use strowger_media::{SAMPLE_RATE, Sound};
use tokio::runtime::Handle;

use cache::{Cache, Stamp};
use find::Found;
pub use list::{Listed, Variant};
pub use music::{Music, MusicClass, MusicSource, Sort};
use program::Programs;
pub use program::{Program, ProgramFormat};
pub use tones::{Cadence, ToneError};
pub use zones::{DEFAULT_ZONE, indication, names as zone_names};

/// Sounds kept decoded, in samples of all together (16 bits each): 256 MiB.
const CACHE_SAMPLES_MAX: usize = 128 * 1024 * 1024;
/// Largest sound file read, in bytes.
const FILE_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// A name that was found is trusted for so long before the folders are looked at again.
const TRUST: Duration = Duration::from_secs(1);
/// Names remembered with the file they mean; all are forgotten when there are more.
const NAMES_MAX: usize = 16_384;
/// Tone lists kept as sounds; all are forgotten when there are more.
const TONES_MAX: usize = 1024;

/// Why a sound cannot be played.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SoundError {
    #[error("sound \"{name}\" not found; looked for {}", tried.join(", "))]
    Missing { name: String, tried: Vec<String> },
    #[error("sound file {path}: {message}")]
    Unreadable { path: String, message: String },
    #[error("music class \"{0}\" has no files that can be played")]
    NoMusic(String),
    #[error("music class \"{0}\": its program is not started: [agi] music_programs_max others run")]
    TooManyPrograms(String),
}

/// A name in a language at a rate.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    name: String,
    language: String,
    rate: u32,
}

/// What a name meant when it was looked up.
struct Named {
    found: Found,
    looked: Instant,
}

type Gate = Arc<tokio::sync::Mutex<()>>;

/// Finds and keeps sounds.
pub struct SoundStore {
    root: PathBuf,
    control: Handle,
    cache: Mutex<Cache>,
    names: Mutex<FxHashMap<Key, Named>>,
    /// Names that are being loaded: one loads, the others wait for it.
    gates: Mutex<FxHashMap<Key, Gate>>,
    tones: Mutex<FxHashMap<String, Cadence>>,
    beep: Arc<Sound>,
    programs: Programs,
}

impl SoundStore {
    /// `root` is `<data>/sounds`; files are read on `control`. No programs are started for music.
    pub fn new(root: PathBuf, control: Handle) -> Self {
        Self::with_programs(root, control, 0)
    }

    /// The same with so many programs for music at a time.
    pub fn with_programs(root: PathBuf, control: Handle, programs_max: usize) -> Self {
        Self {
            root,
            programs: Programs::new(programs_max, control.clone()),
            control,
            cache: Mutex::new(Cache::new(CACHE_SAMPLES_MAX)),
            names: Mutex::default(),
            gates: Mutex::default(),
            tones: Mutex::default(),
            beep: Arc::new(tones::beep()),
        }
    }

    /// What is counted of the programs that make music.
    pub fn music_counters(&self) -> Vec<(&'static str, u64)> {
        self.programs.counters()
    }

    /// Folder of the user's own sounds.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// 1000 Hz for 0.3 s: a recording starts.
    pub fn beep(&self) -> Arc<Sound> {
        Arc::clone(&self.beep)
    }

    /// A list of tones such as `425/500,0/500` as sounds.
    ///
    /// # Errors
    /// [`ToneError`], which names the part that cannot be read.
    pub fn tones(&self, list: &str) -> Result<Cadence, ToneError> {
        if let Some(cadence) = self.tones.lock().get(list) {
            return Ok(cadence.clone());
        }
        let cadence = Cadence::parse(list)?;
        let mut tones = self.tones.lock();
        if tones.len() >= TONES_MAX {
            tones.clear();
        }
        tones.insert(list.to_owned(), cadence.clone());
        Ok(cadence)
    }

    /// The sound `name` in `language` for a listener of 8000 Hz. The language is tried as it is and with its parts behind
    /// `_` or `-` taken away, then no language, then English; in each of them the data directory before the built-in set.
    /// An absolute name is that file (or that in a folder of the language beside it); without an extension all known ones
    /// are tried.
    ///
    /// # Errors
    /// [`SoundError`], which tells where it was looked for or why the file is no sound.
    pub async fn load(
        self: &Arc<Self>,
        name: &str,
        language: &str,
    ) -> Result<Arc<Sound>, SoundError> {
        self.load_at(name, language, SAMPLE_RATE).await
    }

    /// The same at `rate` samples a second (8000 or 16000).
    ///
    /// # Errors
    /// As [`Self::load`].
    pub async fn load_at(
        self: &Arc<Self>,
        name: &str,
        language: &str,
        rate: u32,
    ) -> Result<Arc<Sound>, SoundError> {
        let key = Key {
            name: name.to_owned(),
            language: language.to_owned(),
            rate,
        };
        if let Some(sound) = self.trusted(&key) {
            return Ok(sound);
        }
        let waiting = Waiting {
            store: self,
            gate: Arc::clone(self.gates.lock().entry(key.clone()).or_default()),
            key,
        };
        let _turn = waiting.gate.lock().await;
        let key = &waiting.key;
        if let Some(sound) = self.trusted(key) {
            return Ok(sound);
        }
        let this = Arc::clone(self);
        let wanted = key.clone();
        self.control
            .spawn_blocking(move || this.load_now(&wanted))
            .await
            .unwrap_or_else(|error| {
                Err(SoundError::Unreadable {
                    path: key.name.clone(),
                    message: error.to_string(),
                })
            })
    }

    /// True if [`Self::load`] would find it. Reads directories: not for a shard's thread.
    pub fn exists(&self, name: &str, language: &str) -> bool {
        find::find(&self.root, name, language, false).is_ok()
    }

    fn trusted(&self, key: &Key) -> Option<Arc<Sound>> {
        // An absolute path may have been recorded a moment ago: always looked at.
        if key.name.starts_with('/') {
            return None;
        }
        let found = {
            let names = self.names.lock();
            let named = names.get(key)?;
            if named.looked.elapsed() > TRUST {
                return None;
            }
            named.found.clone()
        };
        self.cache.lock().get(&found.id(), key.rate).0
    }

    fn load_now(&self, key: &Key) -> Result<Arc<Sound>, SoundError> {
        let wide = key.rate > SAMPLE_RATE;
        let found = find::find(&self.root, &key.name, &key.language, wide)?;
        let stamp = Stamp::of(&found);
        let id = found.id();
        let sound = match self.cache.lock().get(&id, key.rate) {
            (Some(sound), kept) if kept == stamp && stamp.is_settled() => Some(sound),
            _ => None,
        };
        let sound = match sound {
            Some(sound) => sound,
            None => {
                let sound = Arc::new(decode(&found, key.rate)?);
                self.cache
                    .lock()
                    .put(id, key.rate, Arc::clone(&sound), stamp);
                sound
            }
        };
        let mut names = self.names.lock();
        if names.len() >= NAMES_MAX {
            names.clear();
        }
        names.insert(
            key.clone(),
            Named {
                found,
                looked: crate::clock::now(),
            },
        );
        Ok(sound)
    }
}

/// One who wants a sound that is being loaded; the last to go, however he goes, takes the gate away.
struct Waiting<'a> {
    store: &'a SoundStore,
    key: Key,
    gate: Gate,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut gates = self.store.gates.lock();
        // Ours and the table's: nobody else waits.
        if Arc::strong_count(&self.gate) <= 2 {
            gates.remove(&self.key);
        }
    }
}

fn decode(found: &Found, rate: u32) -> Result<Sound, SoundError> {
    let fail = |message: String| SoundError::Unreadable {
        path: found.id(),
        message,
    };
    let (bytes, format) = match found {
        Found::BuiltIn {
            contents, format, ..
        } => (contents.to_vec(), *format),
        Found::File { path, format } => {
            let size = std::fs::metadata(path)
                .map_err(|error| fail(error.to_string()))?
                .len();
            if size > FILE_BYTES_MAX {
                return Err(fail(format!(
                    "{size} bytes is more than the {FILE_BYTES_MAX} allowed"
                )));
            }
            let bytes = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
            (bytes, *format)
        }
    };
    Sound::decode(format, bytes, rate).map_err(|error| fail(error.to_string()))
}

#[cfg(test)]
mod tests;
