//! Whether the server's recordings hold what was said: in a channel that holds one side alone, each packet of G.711 comes
//! back bit by bit when its samples are encoded again.

use crate::talk::signature::{Reading, Signature};
use crate::talk::{FRAME, Side, g711, wav};
use anyhow::{Context as _, Result};
use std::collections::BTreeSet;
use std::path::Path;

/// Recordings that are read through.
const READ_MAX: usize = 40;
/// The first packets of a side, which may lie before the recording.
const EDGE: u32 = 2;

/// Packets by which the two sides of a call may differ in length.
const LENGTHS_MAX: u32 = 10;

/// What was found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Found {
    pub(super) files: usize,
    pub(super) looked_at: usize,
    /// Files of those looked at without any sound.
    pub(super) silent: usize,
    /// Packets that were found, and those that are missing between the first and the last that were.
    pub(super) packets: u64,
    pub(super) missing: u64,
    /// Files that are not two channels with one side of the same call each, both about equally long.
    pub(super) not_both: usize,
    /// The first file with missing packets, and which.
    pub(super) example: Option<String>,
}

/// Looks through the files of a folder whose names begin so.
pub(super) fn look(folder: &Path, prefix: &str) -> Result<Found> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .with_context(|| format!("there are no recordings in {}", folder.display()))?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect();
    names.sort();
    let mut found = Found {
        files: names.len(),
        ..Found::default()
    };
    let step = names.len().div_ceil(READ_MAX).max(1);
    for path in names.iter().step_by(step) {
        let (_, channels) = wav::load(path)?;
        found.looked_at += 1;
        found.silent += usize::from(channels.iter().flatten().all(|&sample| sample == 0));
        let mut sides = Vec::new();
        for (samples, channel) in channels.iter().zip(1..) {
            let (whose, numbers) = packets_in(samples);
            sides.push((whose, numbers.last().copied().unwrap_or(0)));
            let missing = missing(&numbers);
            found.packets += numbers.len() as u64;
            found.missing += missing.len() as u64;
            if let (Some(first), Some(last)) = (missing.first(), missing.last()) {
                found.example.get_or_insert_with(|| {
                    format!(
                        "{}, channel {channel}: {} between {first} and {last} of {}",
                        path.file_name().unwrap_or_default().to_string_lossy(),
                        missing.len(),
                        numbers.last().copied().unwrap_or(0)
                    )
                });
            }
        }
        found.not_both += usize::from(!both(&sides));
    }
    Ok(found)
}

/// Call and side of the signed packets in a channel, and their numbers.
fn packets_in(samples: &[i16]) -> (Option<(u32, Side)>, BTreeSet<u32>) {
    let bytes: Vec<u8> = samples
        .iter()
        .map(|&sample| g711::to_ulaw(sample))
        .collect();
    let mut numbers: BTreeSet<u32> = BTreeSet::new();
    let mut whose: Option<(u32, Side)> = None;
    let mut at = 0;
    while let Some(frame) = bytes.get(at..at + FRAME) {
        match Signature::read(frame) {
            Reading::Signed(signature) => {
                whose.get_or_insert((signature.call, signature.side));
                if whose == Some((signature.call, signature.side)) {
                    numbers.insert(signature.number);
                }
                at += FRAME;
            }
            Reading::Damaged | Reading::Foreign => at += 1,
        }
    }
    (whose, numbers)
}

/// Whether these are the two sides of one call, which speak for the same time.
fn both(sides: &[(Option<(u32, Side)>, u32)]) -> bool {
    let [
        (Some((one, here)), last),
        (Some((other, there)), other_last),
    ] = sides
    else {
        return false;
    };
    one == other && here != there && last.abs_diff(*other_last) <= LENGTHS_MAX
}

/// Numbers that are missing before the last one.
fn missing(numbers: &BTreeSet<u32>) -> Vec<u32> {
    let last = numbers.last().copied().unwrap_or(0);
    (EDGE..last)
        .filter(|number| !numbers.contains(number))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::talk::wav::Recording;

    fn said(numbers: impl Iterator<Item = u32>) -> Recording {
        let mut recording = Recording::default();
        recording.put(0, &[0; 77]);
        for number in numbers {
            let mut payload = [0; FRAME];
            Signature {
                run: 1,
                call: 2,
                side: Side::Caller,
                number,
                sent_ns: 5,
            }
            .write(&mut payload);
            let samples: Vec<i16> = payload.iter().map(|&byte| g711::from_ulaw(byte)).collect();
            recording.put(77 + number * FRAME as u32, &samples);
        }
        recording
    }

    #[test]
    fn what_is_missing_in_a_recording_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let save = |name: &str, recording: Recording| {
            recording.save(&folder.path().join(name)).expect("saved");
        };
        save("a-1.wav", said(0..50));
        save("a-2.wav", said((0..50).filter(|number| number % 10 != 3)));
        save("b-1.wav", said(0..0));
        let found = look(folder.path(), "a-").expect("looked");
        assert_eq!((found.files, found.looked_at, found.silent), (2, 2, 0));
        assert_eq!((found.packets, found.missing), (95, 5));
        assert_eq!(found.not_both, 2, "one channel is not two sides");
        let side = |side, last| (Some((7, side)), last);
        assert!(both(&[side(Side::Caller, 500), side(Side::Callee, 498)]));
        assert!(!both(&[side(Side::Caller, 500), side(Side::Callee, 300)]));
        assert!(!both(&[side(Side::Caller, 500), side(Side::Caller, 500)]));
        assert!(!both(&[side(Side::Caller, 500), (None, 0)]));
        let example = found.example.expect("an example");
        assert_eq!(example, "a-2.wav, channel 1: 5 between 3 and 43 of 49");
        assert_eq!(look(folder.path(), "b-").expect("looked").silent, 1);
    }
}
