//! Which sounds there are, for people and programs that choose one. Reads folders: not for a shard's thread.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use include_dir::{Dir, DirEntry};
use strowger_media::SoundFormat;

use super::SoundStore;
use super::find::BUILT_IN;

/// Files that a list is made of, at most.
const FILES_MAX: usize = 200_000;
/// Folders within folders that are looked into.
const DEPTH_MAX: usize = 8;

/// A sound in one language and form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Empty: it is heard in every language that has none of its own.
    pub language: String,
    /// The extension of its file, in small letters.
    pub format: String,
    /// It comes with the exchange.
    pub built_in: bool,
    kind: SoundFormat,
    file: Source,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Disk(PathBuf),
    BuiltIn(&'static [u8]),
}

impl Variant {
    /// How long it is, where that is known without decoding it (MP3 and Ogg are not).
    pub fn duration_ms(&self) -> Option<u64> {
        match &self.file {
            Source::Disk(path) => self.kind.duration_ms(&mut fs::File::open(path).ok()?),
            Source::BuiltIn(bytes) => self.kind.duration_ms(&mut Cursor::new(bytes)),
        }
    }

    /// Bytes of its file.
    pub fn bytes(&self) -> Option<u64> {
        match &self.file {
            Source::Disk(path) => Some(fs::metadata(path).ok()?.len()),
            Source::BuiltIn(bytes) => Some(bytes.len() as u64),
        }
    }
}

/// All sounds by the name that plays them.
pub type Listed = BTreeMap<String, Vec<Variant>>;

impl SoundStore {
    /// All sounds of the data directory and of the built-in set. A folder at the top is a language if it is named as one: two
    /// letters, perhaps with parts behind `_` or `-`.
    pub fn list(&self) -> Listed {
        let mut list = List::default();
        list.folder(&self.root, Path::new(""), 0);
        list.set(&BUILT_IN);
        for variants in list.found.values_mut() {
            variants.sort_by(|a, b| (&a.language, a.built_in).cmp(&(&b.language, b.built_in)));
        }
        list.found
    }
}

#[derive(Default)]
struct List {
    found: Listed,
    files: usize,
}

impl List {
    fn folder(&mut self, folder: &Path, name: &Path, depth: usize) {
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        for entry in entries.flatten() {
            if self.files >= FILES_MAX {
                return;
            }
            let (path, file) = (entry.path(), entry.file_name());
            if file.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let name = name.join(file);
            if path.is_dir() {
                // Links may lead in a circle.
                if depth < DEPTH_MAX {
                    self.folder(&path, &name, depth + 1);
                }
            } else {
                self.files += 1;
                self.add(&name, false, Source::Disk(path));
            }
        }
    }

    fn set(&mut self, folder: &'static Dir<'static>) {
        for entry in folder.entries() {
            match entry {
                DirEntry::Dir(folder) => self.set(folder),
                DirEntry::File(file) => {
                    self.add(file.path(), true, Source::BuiltIn(file.contents()));
                }
            }
        }
    }

    fn add(&mut self, path: &Path, built_in: bool, file: Source) {
        let Some(extension) = path.extension().and_then(|extension| extension.to_str()) else {
            return;
        };
        let Some(kind) = SoundFormat::from_extension(extension) else {
            return;
        };
        let stem = path.with_extension("");
        // Names that are no text cannot be asked for.
        let Some(stem) = stem.to_str() else {
            return;
        };
        let (language, name) = match stem.split_once('/') {
            Some((folder, name)) if is_language(folder) => (folder, name),
            _ => ("", stem),
        };
        let variants = self.found.entry(name.to_owned()).or_default();
        variants.push(Variant {
            language: language.to_owned(),
            format: extension.to_ascii_lowercase(),
            built_in,
            kind,
            file,
        });
    }
}

fn is_language(folder: &str) -> bool {
    let mut parts = folder.split(['_', '-']);
    let first = parts.next().unwrap_or_default();
    first.len() == 2
        && first.bytes().all(|b| b.is_ascii_lowercase())
        && parts.all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sounds_are_named_as_they_are_played_with_their_languages_and_lengths() {
        let folder = tempfile::tempdir().expect("a folder");
        let put = |name: &str, bytes: usize| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, vec![0; bytes]).expect("a file");
        };
        put("welcome.ulaw", 16_000);
        put("ru/welcome.sln", 8000);
        put("pt_BR/welcome.mp3", 10);
        put("custom/day.alaw", 800);
        put(".upload-x.wav", 10);
        put("notes.txt", 10);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let store = SoundStore::new(folder.path().to_owned(), runtime.handle().clone());
        let list = store.list();
        let welcome: Vec<_> = list["welcome"]
            .iter()
            .map(|v| {
                (
                    v.language.as_str(),
                    v.format.as_str(),
                    v.duration_ms(),
                    v.bytes(),
                )
            })
            .collect();
        assert_eq!(
            welcome,
            [
                ("", "ulaw", Some(2000), Some(16_000)),
                ("pt_BR", "mp3", None, Some(10)),
                ("ru", "sln", Some(500), Some(8000)),
            ]
        );
        assert_eq!(list["custom/day"][0].duration_ms(), Some(100));
        let hello = &list["hello-world"];
        let languages: Vec<&str> = hello.iter().map(|v| v.language.as_str()).collect();
        assert_eq!(languages, ["en", "ru"]);
        assert!(
            hello
                .iter()
                .all(|v| v.built_in && v.duration_ms() > Some(500))
        );
        assert!(
            list.keys()
                .all(|name| !name.contains("upload") && name != "notes")
        );
        // Whatever is listed is found.
        for (name, variants) in &list {
            for variant in variants {
                assert!(store.exists(name, &variant.language), "{name}");
            }
        }
    }
}
