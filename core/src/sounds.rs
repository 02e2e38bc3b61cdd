//! Prompts, tones and music on hold: found under the data directory first, then in the built-in set, kept decoded in
//! memory. Files are read on the control runtime, never on a shard's thread.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use include_dir::{Dir, include_dir};
use parking_lot::Mutex;
use strowger_media::{RawFormat, Sound};
use tokio::runtime::Handle;

static BUILT_IN: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../sounds");

/// Sounds kept decoded, in samples of all together (16 bits each): 256 MiB.
const CACHE_SAMPLES_MAX: usize = 128 * 1024 * 1024;
/// Largest sound file read, in bytes (two hours of 8 kHz 16 bit mono).
const FILE_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// A cached sound of the sound folders is trusted for so long before its file is looked at again.
const TRUST: Duration = Duration::from_secs(1);
/// Extensions tried, in order of preference.
const EXTENSIONS: &[&str] = &["wav", "sln", "ulaw", "ul", "alaw", "al"];

/// Why a sound cannot be played.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SoundError {
    #[error("sound \"{name}\" not found; looked for {}", tried.join(", "))]
    Missing { name: String, tried: Vec<String> },
    #[error("sound file {path}: {message}")]
    Unreadable { path: String, message: String },
    #[error("music class \"{0}\" has no files")]
    NoMusic(String),
}

/// Tones made by code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tone {
    /// 425 Hz, 0.35 s on, 0.35 s off.
    Busy,
    /// 425 Hz, 0.175 s on, 0.175 s off.
    Congestion,
    /// 425 Hz, 1 s on, 4 s off.
    Ring,
    /// 425 Hz, continuous.
    Dial,
    /// 1000 Hz, 0.3 s: recording starts.
    Beep,
}

struct Cached {
    sound: Arc<Sound>,
    modified: Option<SystemTime>,
    path: Option<PathBuf>,
    checked: Instant,
    used: u64,
}

#[derive(Default)]
struct Cache {
    entries: HashMap<(String, String), Cached>,
    samples: usize,
    clock: u64,
}

/// Finds and keeps sounds.
pub struct SoundStore {
    root: PathBuf,
    control: Handle,
    cache: Mutex<Cache>,
    tones: HashMap<Tone, Arc<Sound>>,
}

impl SoundStore {
    /// `root` is `<data>/sounds`; files are read on `control`.
    pub fn new(root: PathBuf, control: Handle) -> Self {
        let tones = [
            Tone::Busy,
            Tone::Congestion,
            Tone::Ring,
            Tone::Dial,
            Tone::Beep,
        ]
        .into_iter()
        .map(|tone| (tone, Arc::new(generate(tone))))
        .collect();
        Self {
            root,
            control,
            cache: Mutex::default(),
            tones,
        }
    }

    /// Folder of the user's own sounds.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A tone; cadences last one period, play them with `Repeat::Forever`.
    pub fn tone(&self, tone: Tone) -> Arc<Sound> {
        Arc::clone(&self.tones[&tone])
    }

    /// The sound `name` in `language` (falling back to English and to no language). An absolute name is that file;
    /// without an extension the known ones are tried.
    pub async fn load(
        self: &Arc<Self>,
        name: &str,
        language: &str,
    ) -> Result<Arc<Sound>, SoundError> {
        let key = (name.to_owned(), language.to_owned());
        if let Some(sound) = self.trusted(&key) {
            return Ok(sound);
        }
        let this = Arc::clone(self);
        let name_for_error = key.0.clone();
        self.control
            .spawn_blocking(move || this.load_now(key))
            .await
            .unwrap_or_else(|error| {
                Err(SoundError::Unreadable {
                    path: name_for_error,
                    message: error.to_string(),
                })
            })
    }

    /// True if [`Self::load`] would find it. Reads directories: not for a shard's thread.
    pub fn exists(&self, name: &str, language: &str) -> bool {
        self.find(name, language).is_ok()
    }

    /// The files of a music-on-hold class, in alphabetical order; the class `default` exists built in.
    pub async fn music(self: &Arc<Self>, class: &str) -> Result<Vec<Arc<Sound>>, SoundError> {
        let class = if class.is_empty() { "default" } else { class };
        let this = Arc::clone(self);
        let wanted = class.to_owned();
        let names = self
            .control
            .spawn_blocking(move || this.music_names(&wanted))
            .await
            .unwrap_or_default();
        let mut sounds = Vec::new();
        for name in names {
            match self.load(&name, "").await {
                Ok(sound) => sounds.push(sound),
                Err(error) => tracing::warn!(%error, class, "music on hold"),
            }
        }
        if sounds.is_empty() {
            Err(SoundError::NoMusic(class.to_owned()))
        } else {
            Ok(sounds)
        }
    }

    /// The files of a class; the folder of the data directory wins over the built-in one.
    fn music_names(&self, class: &str) -> Vec<String> {
        let mut names = Vec::new();
        if class.contains(['/', '\\']) || class == ".." {
            return names;
        }
        if let Ok(entries) = std::fs::read_dir(self.root.join("moh").join(class)) {
            names.extend(
                entries
                    .flatten()
                    .map(|entry| entry.path().to_string_lossy().into_owned()),
            );
        }
        if names.is_empty()
            && let Some(folder) = BUILT_IN.get_dir(format!("moh/{class}"))
        {
            names.extend(folder.files().filter_map(|file| {
                let path = file.path().to_string_lossy();
                path.strip_suffix(".wav").map(str::to_owned)
            }));
        }
        names.sort();
        names
    }

    fn trusted(&self, key: &(String, String)) -> Option<Arc<Sound>> {
        // An absolute path may have been recorded a moment ago: always looked at.
        if key.0.starts_with('/') {
            return None;
        }
        let mut cache = self.cache.lock();
        cache.clock += 1;
        let clock = cache.clock;
        let cached = cache.entries.get_mut(key)?;
        if cached.path.is_some() && cached.checked.elapsed() > TRUST {
            return None;
        }
        cached.used = clock;
        Some(Arc::clone(&cached.sound))
    }

    fn load_now(&self, key: (String, String)) -> Result<Arc<Sound>, SoundError> {
        let found = self.find(&key.0, &key.1)?;
        let modified = match &found {
            Found::File(path) => std::fs::metadata(path)
                .ok()
                .and_then(|meta| meta.modified().ok()),
            Found::BuiltIn(_) => None,
        };
        let path = match &found {
            Found::File(path) => Some(path.clone()),
            Found::BuiltIn(_) => None,
        };
        {
            let mut cache = self.cache.lock();
            if let Some(cached) = cache.entries.get_mut(&key)
                && cached.path == path
                && cached.modified == modified
                && modified
                    .is_some_and(|at| at.elapsed().is_ok_and(|age| age > Duration::from_secs(2)))
            {
                cached.checked = Instant::now();
                return Ok(Arc::clone(&cached.sound));
            }
        }
        let sound = Arc::new(decode(&found)?);
        self.keep(key, &sound, path, modified);
        Ok(sound)
    }

    fn keep(
        &self,
        key: (String, String),
        sound: &Arc<Sound>,
        path: Option<PathBuf>,
        modified: Option<SystemTime>,
    ) {
        let length = sound.samples.len();
        if length > CACHE_SAMPLES_MAX / 8 {
            return;
        }
        let mut cache = self.cache.lock();
        while cache.samples + length > CACHE_SAMPLES_MAX {
            let oldest = cache
                .entries
                .iter()
                .min_by_key(|(_, entry)| entry.used)
                .map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { break };
            if let Some(gone) = cache.entries.remove(&oldest) {
                cache.samples -= gone.sound.samples.len();
            }
        }
        cache.clock += 1;
        let entry = Cached {
            sound: Arc::clone(sound),
            modified,
            path,
            checked: Instant::now(),
            used: cache.clock,
        };
        cache.samples += length;
        if let Some(old) = cache.entries.insert(key, entry) {
            cache.samples -= old.sound.samples.len();
        }
    }

    fn find(&self, name: &str, language: &str) -> Result<Found, SoundError> {
        let mut tried = Vec::new();
        // A name made of a caller's digits must not lead out of the sound folders.
        if !name.starts_with('/')
            && (name.split('/').any(|part| part == "..") || name.contains('\0'))
        {
            tried.push("nowhere: relative names may not contain \"..\"".to_owned());
            return Err(SoundError::Missing {
                name: name.to_owned(),
                tried,
            });
        }
        let with_extension = Path::new(name)
            .extension()
            .and_then(|extension| extension.to_str())
            .is_some_and(|extension| EXTENSIONS.contains(&extension));
        let candidates = |base: &Path| -> Vec<PathBuf> {
            let mut list = Vec::new();
            if with_extension {
                list.push(base.to_owned());
            }
            list.extend(EXTENSIONS.iter().map(|extension| {
                let mut path = base.as_os_str().to_owned();
                path.push(".");
                path.push(extension);
                PathBuf::from(path)
            }));
            list
        };
        if name.starts_with('/') {
            for path in candidates(Path::new(name)) {
                if path.is_file() {
                    return Ok(Found::File(path));
                }
            }
            tried.push(format!("{name}.{{{}}}", EXTENSIONS.join(",")));
            return Err(SoundError::Missing {
                name: name.to_owned(),
                tried,
            });
        }
        let languages = [
            language,
            language.split(['_', '-']).next().unwrap_or(""),
            "en",
            "",
        ];
        for (index, language) in languages.iter().enumerate() {
            if languages[..index].contains(language) {
                continue;
            }
            let base = self.root.join(language).join(name);
            for path in candidates(&base) {
                if path.is_file() {
                    return Ok(Found::File(path));
                }
            }
            tried.push(format!("{}.{{{}}}", base.display(), EXTENSIONS.join(",")));
            let stem = name.strip_suffix(".wav").unwrap_or(name);
            let inside = if language.is_empty() {
                format!("{stem}.wav")
            } else {
                format!("{language}/{stem}.wav")
            };
            if let Some(file) = BUILT_IN.get_file(&inside) {
                return Ok(Found::BuiltIn(file.contents()));
            }
        }
        tried.push("the built-in set".to_owned());
        Err(SoundError::Missing {
            name: name.to_owned(),
            tried,
        })
    }
}

enum Found {
    File(PathBuf),
    BuiltIn(&'static [u8]),
}

fn decode(found: &Found) -> Result<Sound, SoundError> {
    match found {
        Found::BuiltIn(bytes) => Sound::from_wav(bytes).map_err(|error| SoundError::Unreadable {
            path: "built-in".to_owned(),
            message: error.to_string(),
        }),
        Found::File(path) => {
            let fail = |message: String| SoundError::Unreadable {
                path: path.display().to_string(),
                message,
            };
            let size = std::fs::metadata(path)
                .map_err(|error| fail(error.to_string()))?
                .len();
            if size > FILE_BYTES_MAX {
                return Err(fail(format!(
                    "{size} bytes is more than the {FILE_BYTES_MAX} allowed"
                )));
            }
            let bytes = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("sln") => {
                    Sound::from_raw(RawFormat::Sln, &bytes).map_err(|error| fail(error.to_string()))
                }
                Some("ulaw" | "ul") => Sound::from_raw(RawFormat::Ulaw, &bytes)
                    .map_err(|error| fail(error.to_string())),
                Some("alaw" | "al") => Sound::from_raw(RawFormat::Alaw, &bytes)
                    .map_err(|error| fail(error.to_string())),
                _ => Sound::from_wav(&bytes).map_err(|error| fail(error.to_string())),
            }
        }
    }
}

/// 425 Hz is the tone of European and Russian exchanges; levels about -10 dBm0.
fn generate(tone: Tone) -> Sound {
    let (frequency, on_ms, off_ms) = match tone {
        Tone::Busy => (425.0, 350, 350),
        Tone::Congestion => (425.0, 175, 175),
        Tone::Ring => (425.0, 1000, 4000),
        Tone::Dial => (425.0, 1000, 0),
        Tone::Beep => (1000.0, 300, 0),
    };
    let on = on_ms * 8;
    let mut samples = Vec::with_capacity((on_ms + off_ms) * 8);
    for index in 0..on {
        // 10 ms ramps keep the edges from clicking.
        let edge = if tone == Tone::Dial {
            1.0
        } else {
            (index.min(on - index) as f64 / 80.0).min(1.0)
        };
        let phase = 2.0 * std::f64::consts::PI * frequency * index as f64 / 8000.0;
        samples.push((phase.sin() * edge * 8000.0) as i16);
    }
    samples.resize((on_ms + off_ms) * 8, 0);
    Sound {
        samples: samples.into(),
    }
}
