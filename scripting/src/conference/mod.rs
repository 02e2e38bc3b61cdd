//! What `ConfBridge` reads before it begins: profiles of bridges and users, and menus, from rows of `confbridge.conf` and
//! from `CONFBRIDGE(...)`. Reading only; the conference itself is in `app::conference`.

pub(crate) mod menu;
pub(crate) mod profile;

use std::path::{Path, PathBuf};

pub(crate) use menu::{Action, Menu};
pub(crate) use profile::{Bridge, Custom, Kind, User};

/// The file a conference is recorded in: `record_file` of the profile, else one named after the conference; with the
/// time of the start in its name unless `timestamp` is off.
pub(crate) fn record_path(
    monitor: &Path,
    conference: &str,
    file: &str,
    timestamp: bool,
    epoch: u64,
) -> PathBuf {
    // A name may be whatever a caller dialled.
    let safe: String = conference
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || "-_+".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    if file.is_empty() {
        return monitor.join(format!("confbridge-{safe}-{epoch}.wav"));
    }
    let path = monitor.join(file);
    if !timestamp {
        return path;
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-{epoch}.{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_are_named_after_conference_and_time_and_stay_in_their_folder() {
        for (name, file, timestamp, path) in [
            ("77", "", true, "/m/confbridge-77-9.wav"),
            ("../x y", "", true, "/m/confbridge-___x_y-9.wav"),
            ("77", "board.wav", true, "/m/board-9.wav"),
            ("77", "board.wav", false, "/m/board.wav"),
            ("77", "/r/a.sln", true, "/r/a-9.sln"),
        ] {
            let found = record_path(Path::new("/m"), name, file, timestamp, 9);
            assert_eq!(found, Path::new(path));
        }
    }
}
