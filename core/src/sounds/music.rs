//! Music on hold: what a class is, and its files. Files are decoded once and shared; each listener has a place of its own
//! in them, from the first file on (or a random one), so that joining and leaving costs nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use strowger_media::{Sound, SoundFormat};
use strowger_store::{MusicEntry, MusicRow, Snapshot, StaticRow};

use super::find::BUILT_IN;
use super::program::{Program, ProgramFormat};
use super::{SoundError, SoundStore};

/// The class of those who have none.
const DEFAULT_CLASS: &str = "default";
/// Files of a class, at most.
const FILES_MAX: usize = 1000;
/// Samples of all files of a class, at most: 64 MiB, which is 69 minutes at 8000 Hz.
const SAMPLES_MAX: usize = 32 * 1024 * 1024;

/// In which order the files of a class are played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// By name (a playlist: as written), from the first.
    #[default]
    Linear,
    /// In another order for each listener.
    Random,
    /// By name, from a random one.
    RandomStart,
}

/// Where the files of a class are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MusicSource {
    Folder(PathBuf),
    /// Names of sounds.
    Playlist(Vec<String>),
    /// A folder of the built-in set.
    BuiltIn(String),
    Program(Program),
}

/// A class of music on hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MusicClass {
    pub name: String,
    pub source: MusicSource,
    pub sort: Sort,
    /// Who hears other music and dials this hears this class.
    pub digit: Option<char>,
    /// A sound before the first file and between files.
    pub announcement: Option<String>,
}

/// Music ready to be played, again and again.
#[derive(Clone, Debug)]
pub struct Music {
    pub class: String,
    pub sounds: Vec<Arc<Sound>>,
}

impl MusicClass {
    /// The class of this name; the empty name is `default`. Lines of `musiconhold.conf` in the static tables come first,
    /// then the tables `musiconhold` and `musiconhold_entry`, then a folder `moh/<name>` of the sounds, then the built-in
    /// set. `None`: there is no such class.
    pub fn find(snapshot: &Snapshot, sounds: &Path, name: &str) -> Option<Self> {
        let name = if name.is_empty() { DEFAULT_CLASS } else { name };
        let described = Self::in_file(&snapshot.statics, name).or_else(|| {
            snapshot
                .music
                .iter()
                .find(|row| row.name.eq_ignore_ascii_case(name))
                .map(|row| (row.clone(), entries_of(&snapshot.music_entries, name), None))
        });
        if let Some((row, entries, announcement)) = described {
            return Self::described(row, entries, announcement, sounds);
        }
        // The name becomes that of a folder.
        if name.contains(['/', '\\', '\0']) || name == ".." || name == "." {
            return None;
        }
        let folder = sounds.join("moh").join(name);
        let source = if folder.is_dir() {
            MusicSource::Folder(folder)
        } else {
            BUILT_IN.get_dir(format!("moh/{name}"))?;
            MusicSource::BuiltIn(format!("moh/{name}"))
        };
        Some(Self {
            name: name.to_owned(),
            source,
            sort: Sort::default(),
            digit: None,
            announcement: None,
        })
    }

    /// The class that a listener changes to by dialling this digit.
    pub fn by_digit(snapshot: &Snapshot, digit: char) -> Option<String> {
        let text = digit.to_string();
        let in_file = rows(&snapshot.statics)
            .find(|row| row.var_name.eq_ignore_ascii_case("digit") && row.var_val.trim() == text)
            .map(|row| row.category.clone());
        in_file.or_else(|| {
            snapshot
                .music
                .iter()
                .find(|row| row.digit.trim() == text)
                .map(|row| row.name.clone())
        })
    }

    fn in_file(
        statics: &[StaticRow],
        name: &str,
    ) -> Option<(MusicRow, Vec<String>, Option<String>)> {
        let mut row = MusicRow {
            name: name.to_owned(),
            ..MusicRow::default()
        };
        let (mut entries, mut announcement, mut found) = (Vec::new(), None, false);
        for line in rows(statics).filter(|line| line.category.eq_ignore_ascii_case(name)) {
            found = true;
            let value = line.var_val.trim().to_owned();
            match line.var_name.to_ascii_lowercase().as_str() {
                "mode" => row.mode = value,
                "directory" => row.directory = value,
                "digit" => row.digit = value,
                "sort" => row.sort = value,
                "application" => row.application = value,
                "format" => row.format = value,
                "random" if value.eq_ignore_ascii_case("yes") => row.sort = "random".to_owned(),
                "announcement" => announcement = Some(value),
                "entry" => entries.push(value),
                _ => {}
            }
        }
        found.then_some((row, entries, announcement))
    }

    fn described(
        row: MusicRow,
        entries: Vec<String>,
        announcement: Option<String>,
        sounds: &Path,
    ) -> Option<Self> {
        let source = if row.mode.eq_ignore_ascii_case("playlist") {
            MusicSource::Playlist(entries)
        } else if row.mode.eq_ignore_ascii_case("custom") {
            MusicSource::Program(program(&row, sounds)?)
        } else if row.directory.is_empty() {
            return None;
        } else {
            // Relative to the data directory, or to the sounds in it.
            let of_data = sounds.parent().unwrap_or(sounds).join(&row.directory);
            MusicSource::Folder(if of_data.is_dir() {
                of_data
            } else {
                sounds.join(&row.directory)
            })
        };
        Some(Self {
            source,
            sort: match row.sort.to_ascii_lowercase().as_str() {
                "random" => Sort::Random,
                "randstart" => Sort::RandomStart,
                _ => Sort::Linear,
            },
            digit: row.digit.trim().chars().next(),
            announcement: announcement.filter(|name| !name.is_empty()),
            name: row.name,
        })
    }

    /// Names of the sounds, in order.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = match &self.source {
            MusicSource::Playlist(names) => {
                return names.iter().take(FILES_MAX).cloned().collect();
            }
            MusicSource::Folder(folder) => std::fs::read_dir(folder)
                .into_iter()
                .flatten()
                .flatten()
                .take(FILES_MAX)
                .filter_map(|entry| {
                    let path = entry.path();
                    SoundFormat::from_extension(path.extension()?.to_str()?)?;
                    // Without its extension: one that exists in several kinds is played once.
                    Some(path.with_extension("").to_str()?.to_owned())
                })
                .collect(),
            // It makes one sound, which has no name.
            MusicSource::Program(_) => Vec::new(),
            MusicSource::BuiltIn(folder) => BUILT_IN
                .get_dir(folder)
                .into_iter()
                .flat_map(|folder| folder.files())
                .filter_map(|file| Some(file.path().with_extension("").to_str()?.to_owned()))
                .collect(),
        };
        names.sort();
        names.dedup();
        names
    }
}

/// The program of a class of mode `custom`; None, and a line in the log, where it cannot be one.
fn program(row: &MusicRow, sounds: &Path) -> Option<Program> {
    let class = &row.name;
    if row.application.trim().is_empty() {
        tracing::warn!(class, "music on hold: mode custom needs an application");
        return None;
    }
    let Some(format) = ProgramFormat::parse(&row.format) else {
        let format = &row.format;
        tracing::warn!(
            class,
            format,
            "music on hold: a program writes slin, ulaw or alaw of 8000 samples a second"
        );
        return None;
    };
    let folder = sounds.parent().unwrap_or(sounds).join(&row.directory);
    Some(Program {
        command: row.application.trim().to_owned(),
        folder: folder.is_dir().then_some(folder),
        format,
    })
}

fn entries_of(entries: &[MusicEntry], name: &str) -> Vec<String> {
    entries
        .iter()
        .filter(|entry| entry.name.eq_ignore_ascii_case(name))
        .map(|entry| entry.entry.clone())
        .collect()
}

fn rows(statics: &[StaticRow]) -> impl Iterator<Item = &StaticRow> {
    statics
        .iter()
        .filter(|row| row.filename.eq_ignore_ascii_case("musiconhold.conf"))
}

impl SoundStore {
    /// The files of a class, decoded at `rate`, in the order for one listener. Files beyond the limits are left out, with
    /// a warning.
    ///
    /// # Errors
    /// [`SoundError::NoMusic`] when nothing of the class can be played.
    pub async fn music(
        self: &Arc<Self>,
        class: MusicClass,
        rate: u32,
    ) -> Result<Music, SoundError> {
        if let MusicSource::Program(program) = &class.source {
            let sound = self.programs.sound(program, &class.name);
            let sound = sound.ok_or_else(|| SoundError::TooManyPrograms(class.name.clone()))?;
            return Ok(Music {
                class: class.name,
                sounds: vec![sound],
            });
        }
        let wanted = class.clone();
        let mut names = self
            .control
            .spawn_blocking(move || wanted.names())
            .await
            .unwrap_or_default();
        match class.sort {
            Sort::Linear => {}
            Sort::RandomStart => {
                let first = below(names.len());
                names.rotate_left(first);
            }
            Sort::Random => {
                for end in (1..names.len()).rev() {
                    names.swap(end, below(end + 1));
                }
            }
        }
        let announcement = match &class.announcement {
            Some(name) => match self.load_at(name, "", rate).await {
                Ok(sound) => Some(sound),
                Err(error) => {
                    tracing::warn!(%error, class = class.name, "announcement of music on hold");
                    None
                }
            },
            None => None,
        };
        let (mut sounds, mut samples, mut played) = (Vec::new(), 0, 0);
        for name in names {
            match self.load_at(&name, "", rate).await {
                Ok(sound) if samples + sound.samples.len() > SAMPLES_MAX => {
                    tracing::warn!(
                        class = class.name,
                        file = name,
                        minutes = SAMPLES_MAX / 60 / rate.max(1) as usize,
                        "music on hold: the class is too long, the file is left out"
                    );
                }
                Ok(sound) => {
                    samples += sound.samples.len();
                    played += 1;
                    sounds.extend(announcement.clone());
                    sounds.push(sound);
                }
                Err(error) => tracing::warn!(%error, class = class.name, "music on hold"),
            }
        }
        if played == 0 {
            return Err(SoundError::NoMusic(class.name));
        }
        Ok(Music {
            class: class.name,
            sounds,
        })
    }
}

fn below(end: usize) -> usize {
    (crate::random_u64() % end.max(1) as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(category: &str, name: &str, value: &str) -> StaticRow {
        StaticRow {
            filename: "musiconhold.conf".to_owned(),
            category: category.to_owned(),
            var_name: name.to_owned(),
            var_val: value.to_owned(),
            ..StaticRow::default()
        }
    }

    #[test]
    fn a_class_comes_from_the_file_the_tables_a_folder_or_the_built_in_set() {
        let data = tempfile::tempdir().unwrap();
        let sounds = data.path().join("sounds");
        std::fs::create_dir_all(sounds.join("moh/shop")).unwrap();
        std::fs::create_dir_all(data.path().join("music")).unwrap();
        let snapshot = Snapshot {
            statics: Arc::new(vec![
                line("lounge", "mode", "files"),
                line("lounge", "directory", "music"),
                line("lounge", "sort", "random"),
                line("lounge", "digit", "#"),
                line("lounge", "announcement", "queue-thankyou"),
                line("list", "mode", "playlist"),
                line("list", "entry", "one"),
                line("list", "entry", "two"),
            ]),
            music: Arc::new(vec![
                MusicRow {
                    name: "table".to_owned(),
                    mode: "files".to_owned(),
                    directory: "/srv/music".to_owned(),
                    sort: "randstart".to_owned(),
                    digit: "5".to_owned(),
                    ..MusicRow::default()
                },
                MusicRow {
                    name: "rows".to_owned(),
                    mode: "playlist".to_owned(),
                    ..MusicRow::default()
                },
                MusicRow {
                    name: "program".to_owned(),
                    mode: "custom".to_owned(),
                    directory: "music".to_owned(),
                    application: " /usr/bin/radio -q ".to_owned(),
                    format: "alaw".to_owned(),
                    ..MusicRow::default()
                },
                MusicRow {
                    name: "nameless".to_owned(),
                    mode: "custom".to_owned(),
                    directory: "music".to_owned(),
                    ..MusicRow::default()
                },
                MusicRow {
                    name: "wide".to_owned(),
                    mode: "custom".to_owned(),
                    application: "radio".to_owned(),
                    format: "slin16".to_owned(),
                    ..MusicRow::default()
                },
            ]),
            music_entries: Arc::new(vec![MusicEntry {
                name: "rows".to_owned(),
                position: 1,
                entry: "three".to_owned(),
            }]),
            ..Snapshot::default()
        };
        let find = |name: &str| MusicClass::find(&snapshot, &sounds, name);
        let lounge = find("lounge").unwrap();
        assert_eq!(
            lounge.source,
            MusicSource::Folder(data.path().join("music"))
        );
        assert_eq!((lounge.sort, lounge.digit), (Sort::Random, Some('#')));
        assert_eq!(lounge.announcement.as_deref(), Some("queue-thankyou"));
        assert_eq!(
            find("list").unwrap().source,
            MusicSource::Playlist(vec!["one".to_owned(), "two".to_owned()])
        );
        let table = find("Table").unwrap();
        assert_eq!(table.source, MusicSource::Folder("/srv/music".into()));
        assert_eq!((table.sort, table.digit), (Sort::RandomStart, Some('5')));
        assert_eq!(
            find("rows").unwrap().source,
            MusicSource::Playlist(vec!["three".to_owned()])
        );
        assert_eq!(
            find("shop").unwrap().source,
            MusicSource::Folder(sounds.join("moh/shop"))
        );
        assert_eq!(
            find("").unwrap().source,
            MusicSource::BuiltIn("moh/default".to_owned())
        );
        assert_eq!(
            find("program").unwrap().source,
            MusicSource::Program(Program {
                command: "/usr/bin/radio -q".to_owned(),
                folder: Some(data.path().join("music")),
                format: ProgramFormat::Alaw,
            })
        );
        for name in ["nameless", "wide", "nothing", "..", "../x", "a/b"] {
            assert_eq!(find(name), None, "{name}");
        }
        assert_eq!(
            MusicClass::by_digit(&snapshot, '#').as_deref(),
            Some("lounge")
        );
        assert_eq!(
            MusicClass::by_digit(&snapshot, '5').as_deref(),
            Some("table")
        );
        assert_eq!(MusicClass::by_digit(&snapshot, '1'), None);
    }

    #[tokio::test]
    async fn all_listeners_share_one_decoded_copy_and_hear_it_in_their_order() {
        let data = tempfile::tempdir().unwrap();
        let sounds = data.path().join("sounds");
        let folder = sounds.join("moh/shop");
        std::fs::create_dir_all(&folder).unwrap();
        for (name, length) in [
            ("b.ulaw", 2),
            ("a.alaw", 1),
            ("a.ulaw", 9),
            ("c.ulaw", 3),
            ("notes.txt", 4),
        ] {
            std::fs::write(folder.join(name), vec![0x55; length]).unwrap();
        }
        let back = std::time::SystemTime::now() - std::time::Duration::from_secs(10);
        for entry in std::fs::read_dir(&folder).unwrap() {
            let file = std::fs::File::options()
                .append(true)
                .open(entry.unwrap().path());
            file.unwrap().set_modified(back).unwrap();
        }
        let store = Arc::new(SoundStore::new(
            sounds.clone(),
            tokio::runtime::Handle::current(),
        ));
        let class = MusicClass::find(&Snapshot::default(), &sounds, "shop").unwrap();
        let one = store.music(class.clone(), 8000).await.unwrap();
        let two = store.music(class.clone(), 8000).await.unwrap();
        let lengths = |music: &Music| -> Vec<usize> {
            music
                .sounds
                .iter()
                .map(|sound| sound.samples.len())
                .collect()
        };
        assert_eq!(lengths(&one), [1, 2, 3]);
        for (a, b) in one.sounds.iter().zip(&two.sounds) {
            assert!(Arc::ptr_eq(a, b), "decoded once");
        }
        let random = MusicClass {
            sort: Sort::Random,
            announcement: Some("beep".to_owned()),
            ..class.clone()
        };
        let mut orders = std::collections::HashSet::new();
        for _ in 0..64 {
            let music = lengths(&store.music(random.clone(), 8000).await.unwrap());
            let announced: Vec<_> = music.iter().step_by(2).collect();
            assert!(announced.iter().all(|length| **length == 2000), "{music:?}");
            orders.insert(music);
        }
        assert!(orders.len() > 2, "{orders:?}");
        let none = MusicClass {
            source: MusicSource::Playlist(vec!["nothing".to_owned()]),
            ..class
        };
        assert!(matches!(
            store.music(none, 8000).await,
            Err(SoundError::NoMusic(_))
        ));
    }
}
