//! Which file a name means.

use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use strowger_media::SoundFormat;

use super::SoundError;

pub(super) static BUILT_IN: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../sounds");

/// The language of the built-in prompts that everybody hears who has none of their own.
const FALLBACK: &str = "en";

/// A sound that exists.
#[derive(Clone, Debug)]
pub(super) enum Found {
    File {
        path: PathBuf,
        format: SoundFormat,
    },
    BuiltIn {
        /// Path within the set.
        name: String,
        contents: &'static [u8],
        format: SoundFormat,
    },
}

impl Found {
    /// Where it comes from, for people and as the name of the decoded sound.
    pub(super) fn id(&self) -> String {
        match self {
            Self::File { path, .. } => path.display().to_string(),
            Self::BuiltIn { name, .. } => format!("built-in:{name}"),
        }
    }
}

/// The file of `name` for a listener of this language; `wide`: who hears more than 4000 Hz.
pub(super) fn find(
    root: &Path,
    name: &str,
    language: &str,
    wide: bool,
) -> Result<Found, SoundError> {
    let mut tried = Vec::new();
    let missing = |tried| SoundError::Missing {
        name: name.to_owned(),
        tried,
    };
    if name.contains('\0') || name.is_empty() {
        return Err(missing(tried));
    }
    let languages = languages(language);
    if let Some((folder, last)) = name.strip_prefix('/').and_then(|_| name.rsplit_once('/')) {
        for language in languages {
            let base = if language.is_empty() {
                PathBuf::from(name)
            } else {
                Path::new("/").join(folder).join(language).join(last)
            };
            if let Some(found) = on_disk(&base, wide) {
                return Ok(found);
            }
        }
        tried.push(format!("{name}.*"));
        return Err(missing(tried));
    }
    // A name made of a caller's digits must not lead out of the sound folders.
    if name.split('/').any(|part| part == "..") {
        tried.push("nowhere: relative names may not contain \"..\"".to_owned());
        return Err(missing(tried));
    }
    for language in languages {
        let base = root.join(language).join(name);
        if let Some(found) = on_disk(&base, wide) {
            return Ok(found);
        }
        tried.push(format!("{}.*", base.display()));
        if let Some(found) = built_in(language, name) {
            return Ok(found);
        }
    }
    tried.push("the built-in set".to_owned());
    Err(missing(tried))
}

/// Languages in the order in which they are tried; the empty one is the folder that holds all of them.
fn languages(language: &str) -> Vec<&str> {
    let mut list = Vec::new();
    let mut rest = language;
    while !rest.is_empty() {
        // A language names a folder, nothing else.
        if !rest.contains('/') && rest != ".." && rest != "." {
            list.push(rest);
        }
        rest = rest.rfind(['_', '-']).map_or("", |at| &rest[..at]);
    }
    for known in ["", FALLBACK] {
        if !list.contains(&known) {
            list.push(known);
        }
    }
    list
}

/// A file of this name: as it is if it has an extension that is known, else with one.
fn on_disk(base: &Path, wide: bool) -> Option<Found> {
    let own = base
        .extension()
        .and_then(|extension| extension.to_str())
        .and_then(SoundFormat::from_extension);
    if let Some(format) = own
        && base.is_file()
    {
        return Some(Found::File {
            path: base.to_owned(),
            format,
        });
    }
    // One look at the folder is cheaper than one at every extension.
    if !base.parent()?.is_dir() {
        return None;
    }
    SoundFormat::extensions(wide).find_map(|(extension, format)| {
        let mut path = base.as_os_str().to_owned();
        path.push(".");
        path.push(extension);
        let path = PathBuf::from(path);
        path.is_file().then_some(Found::File { path, format })
    })
}

fn built_in(language: &str, name: &str) -> Option<Found> {
    let stem = name.strip_suffix(".wav").unwrap_or(name);
    let inside = if language.is_empty() {
        format!("{stem}.wav")
    } else {
        format!("{language}/{stem}.wav")
    };
    let file = BUILT_IN.get_file(&inside)?;
    Some(Found::BuiltIn {
        contents: file.contents(),
        format: SoundFormat::Wav,
        name: inside,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_lose_their_parts_and_end_in_english() {
        for (language, wanted) in [
            ("ru_RU", &["ru_RU", "ru", "", "en"][..]),
            ("ru", &["ru", "", "en"]),
            ("en", &["en", ""]),
            ("en_GB", &["en_GB", "en", ""]),
            ("pt-BR-x", &["pt-BR-x", "pt-BR", "pt", "", "en"]),
            ("", &["", "en"]),
            ("../../etc", &["", "en"]),
            ("..", &["", "en"]),
        ] {
            assert_eq!(languages(language), wanted, "{language}");
        }
    }

    #[test]
    fn the_best_file_of_the_best_language_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let put = |name: &str| {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"x").unwrap();
        };
        let found = |name: &str, language: &str, wide: bool| match find(root, name, language, wide)
        {
            Ok(Found::File { path, .. }) => path
                .strip_prefix(root)
                .unwrap_or(&path)
                .display()
                .to_string(),
            Ok(Found::BuiltIn { name, .. }) => format!("built-in {name}"),
            Err(error) => error.to_string(),
        };
        for name in [
            "ru/a.mp3",
            "ru/a.wav",
            "ru/a.sln16",
            "b.ulaw",
            "en/b.wav",
            "en/c.gsm",
            "ru_RU/d.ogg",
            "up.load.wav",
            "en/hello-world.alaw",
        ] {
            put(name);
        }
        assert_eq!(found("a", "ru_RU", false), "ru/a.wav");
        assert_eq!(found("a", "ru", true), "ru/a.sln16");
        assert_eq!(found("a.mp3", "ru", true), "ru/a.mp3");
        assert_eq!(
            found("b", "ru", false),
            "b.ulaw",
            "no language before English"
        );
        assert_eq!(found("b", "en", false), "en/b.wav");
        assert_eq!(found("d", "ru_RU", false), "ru_RU/d.ogg");
        assert_eq!(found("up.load", "fr", false), "up.load.wav");
        // A prompt of one's own wins over the built-in one of its language, not over that of another.
        assert_eq!(found("hello-world", "en_US", false), "en/hello-world.alaw");
        assert_eq!(
            found("hello-world", "ru", false),
            "built-in ru/hello-world.wav"
        );
        assert_eq!(found("hello-world", "de", false), "en/hello-world.alaw");
        assert_eq!(
            found("digits/1", "de_AT", false),
            "built-in en/digits/1.wav"
        );
        for name in ["../x", "a/../../b", "nothing", "", "a\0b"] {
            assert!(find(root, name, "en", false).is_err(), "{name}");
        }
        let absolute = |name: &str| root.join(name).display().to_string();
        assert_eq!(found(&absolute("a"), "ru", false), "ru/a.wav");
        assert_eq!(found(&absolute("b"), "ru", false), "b.ulaw");
        assert_eq!(found(&absolute("b.ulaw"), "ru", false), "b.ulaw");
        assert!(find(root, &absolute("x"), "ru", false).is_err());
    }
}
