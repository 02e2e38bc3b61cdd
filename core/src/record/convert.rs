//! WAV files into one MP3 file: one file for each channel. The result appears under its name only when it is complete and
//! on disk; what it was made of goes only after that.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use strowger_media::writer::Mp3Encoder;

use super::jobs::Plan;

/// Samples of a channel that are read at a time: a second and more.
const CHUNK: usize = 16_384;
/// More than any header of a WAV file that we write; what lies beyond is sound.
const CHUNKS_MAX: usize = 16;

/// Why a file was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// It never can be.
    #[error("{0}")]
    Final(String),
    /// The disk is full, or fails: it is worth trying again.
    #[error("{0}")]
    Passing(String),
}

/// Makes the file of a plan, and removes what it was made of unless `keep`. What was done before is not done again.
pub(super) fn convert(plan: &Plan, keep: bool) -> Result<(), Failure> {
    let part = part_of(&plan.output);
    match encode(plan, &part) {
        Ok(()) => {}
        Err(failure) => {
            // Half a file is of no use to anybody.
            let _ = std::fs::remove_file(&part);
            let done = matches!(failure, Failure::Final(_))
                && plan.inputs.iter().any(|input| !input.exists())
                && plan.output.exists();
            // It was made before, and a crash came while its sources were removed.
            if !done {
                return Err(failure);
            }
        }
    }
    if part.exists() {
        std::fs::rename(&part, &plan.output).map_err(|e| passing("rename to", &plan.output, &e))?;
        if let Some(folder) = plan.output.parent() {
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(|e| passing("write the folder of", &plan.output, &e))?;
        }
    }
    if keep {
        return Ok(());
    }
    for input in &plan.remove {
        match std::fs::remove_file(input) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(passing("remove", input, &error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn part_of(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

fn passing(tried: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::Passing(format!("cannot {tried} {}: {error}", path.display()))
}

fn encode(plan: &Plan, part: &Path) -> Result<(), Failure> {
    let mut inputs = Vec::new();
    for path in &plan.inputs {
        inputs.push(Wav::open(path)?);
    }
    let rate = match &inputs[..] {
        [one] => one.rate,
        [left, right] if left.rate == right.rate => left.rate,
        _ => return Err(Failure::Final("the files have different rates".to_owned())),
    };
    let text = |why: String| Failure::Final(format!("cannot encode: {why}"));
    let write = |error: io::Error| passing("write", part, &error);
    let mut file = File::create(part).map_err(write)?;
    let mut mp3 = Mp3Encoder::new(rate, inputs.len() as u16, true).map_err(text)?;
    let mut bytes = Vec::new();
    loop {
        let mut channels = Vec::new();
        for input in &mut inputs {
            channels.push(input.samples(CHUNK)?);
        }
        let longest = channels.iter().map(Vec::len).max().unwrap_or(0);
        if longest == 0 {
            break;
        }
        let samples = match &mut channels[..] {
            [left, right] => {
                left.resize(longest, 0);
                right.resize(longest, 0);
                left.iter()
                    .zip(right)
                    .flat_map(|(&l, &mut r)| [l, r])
                    .collect()
            }
            _ => channels.swap_remove(0),
        };
        mp3.encode(&samples, &mut bytes).map_err(text)?;
        file.write_all(&bytes).map_err(write)?;
        bytes.clear();
    }
    let head = mp3.finish(&mut bytes).map_err(text)?;
    file.write_all(&bytes).map_err(write)?;
    if let Some(head) = head {
        use std::os::unix::fs::FileExt;
        file.write_all_at(&head, 0).map_err(write)?;
    }
    file.sync_all().map_err(write)
}

/// Encodes a WAV file, which may still be growing, and gives the MP3 stream piece by piece; ends early when `take` wants no
/// more of it. What is there at the time is encoded.
///
/// # Errors
/// Why it cannot be read or encoded, for people.
pub fn stream_mp3(path: &Path, mut take: impl FnMut(Vec<u8>) -> bool) -> Result<(), String> {
    let mut wav = Wav::open_any(path).map_err(|failure| failure.to_string())?;
    // No first frame that names the length: nobody could put it right behind what was given.
    let mut mp3 = Mp3Encoder::new(wav.rate, wav.channels, false)?;
    loop {
        let samples = wav
            .samples(CHUNK * usize::from(wav.channels))
            .map_err(|failure| failure.to_string())?;
        let mut bytes = Vec::new();
        if samples.is_empty() {
            mp3.finish(&mut bytes)?;
            take(bytes);
            return Ok(());
        }
        mp3.encode(&samples, &mut bytes)?;
        if !bytes.is_empty() && !take(bytes) {
            return Ok(());
        }
    }
}

/// A WAV file of 16 bit linear samples.
struct Wav {
    file: BufReader<File>,
    rate: u32,
    channels: u16,
    path: PathBuf,
}

impl Wav {
    /// One with one channel, as plans have them.
    fn open(path: &Path) -> Result<Self, Failure> {
        let wav = Self::open_any(path)?;
        if wav.channels == 1 {
            return Ok(wav);
        }
        let path = path.display();
        Err(Failure::Final(format!("{path} has more than one channel")))
    }

    fn open_any(path: &Path) -> Result<Self, Failure> {
        let open = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::Final(format!("{} is not there", path.display())),
            _ => passing("open", path, &error),
        })?;
        let mut file = BufReader::new(open);
        match header(&mut file) {
            Ok(Some((rate, channels))) => Ok(Self {
                file,
                rate,
                channels,
                path: path.to_owned(),
            }),
            Ok(None) => Err(Failure::Final(format!(
                "{} is no WAV file of 16 bit samples in one channel or two",
                path.display()
            ))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Failure::Final(
                format!("{} ends within its header", path.display()),
            )),
            Err(error) => Err(passing("read", path, &error)),
        }
    }

    /// The next samples; none at the end. A header may promise less or more than there is: what there is counts.
    fn samples(&mut self, count: usize) -> Result<Vec<i16>, Failure> {
        let mut bytes = Vec::with_capacity(2 * count);
        (&mut self.file)
            .take(2 * count as u64)
            .read_to_end(&mut bytes)
            .map_err(|error| passing("read", &self.path, &error))?;
        Ok(bytes
            .chunks_exact(2)
            .map(|b| i16::from_le_bytes([b[0], b[1]]))
            .collect())
    }
}

/// Reads up to the first sample; rate and channels, if it is a file that can be converted.
fn header(file: &mut impl Read) -> io::Result<Option<(u32, u16)>> {
    let mut riff = [0; 12];
    file.read_exact(&mut riff)?;
    if &riff[..4] != b"RIFF" || &riff[8..] != b"WAVE" {
        return Ok(None);
    }
    let mut found = None;
    for _ in 0..CHUNKS_MAX {
        let mut chunk = [0; 8];
        file.read_exact(&mut chunk)?;
        let len = u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]);
        match &chunk[..4] {
            b"data" => return Ok(found),
            b"fmt " if (16..256).contains(&len) => {
                let mut format = vec![0; len as usize];
                file.read_exact(&mut format)?;
                let channels = u16::from_le_bytes([format[2], format[3]]);
                // Linear, 16 bits.
                if format[..2] != [1, 0]
                    || !(1..=2).contains(&channels)
                    || format[14..16] != [16, 0]
                {
                    return Ok(None);
                }
                let rate = u32::from_le_bytes([format[4], format[5], format[6], format[7]]);
                found = Some((rate, channels));
            }
            _ => {
                let skipped = io::copy(&mut file.take(u64::from(len)), &mut io::sink())?;
                if skipped < u64::from(len) {
                    return Ok(None);
                }
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::record) fn wav(path: &Path, samples: &[i16]) {
        let mut bytes = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        bytes.extend_from_slice(&8000_u32.to_le_bytes());
        bytes.extend_from_slice(&16_000_u32.to_le_bytes());
        bytes.extend_from_slice(b"\x02\0\x10\0data\xff\xff\xff\xff");
        bytes.extend(samples.iter().flat_map(|s| s.to_le_bytes()));
        std::fs::write(path, bytes).unwrap();
    }

    fn plan(folder: &Path, inputs: &[&str]) -> Plan {
        let inputs: Vec<PathBuf> = inputs.iter().map(|name| folder.join(name)).collect();
        Plan {
            remove: inputs.clone(),
            inputs,
            output: folder.join("call.mp3"),
        }
    }

    #[test]
    fn an_mp3_takes_the_place_of_its_sources() {
        let folder = tempfile::tempdir().unwrap();
        for inputs in [&["a.wav"][..], &["a.wav", "b.wav"]] {
            for name in inputs {
                wav(&folder.path().join(name), &[1000; 80_000]);
            }
            let plan = plan(folder.path(), inputs);
            convert(&plan, false).unwrap();
            let len = std::fs::metadata(&plan.output).unwrap().len();
            // 24 kbit/s for a channel, ten seconds.
            let wanted = 30_000 * inputs.len() as u64;
            assert!(len.abs_diff(wanted) < wanted / 10, "{len}");
            assert!(inputs.iter().all(|name| !folder.path().join(name).exists()));
            assert!(!part_of(&plan.output).exists());
            std::fs::remove_file(&plan.output).unwrap();
        }
    }

    #[test]
    fn sources_stay_when_they_cannot_be_converted() {
        let folder = tempfile::tempdir().unwrap();
        let plan = plan(folder.path(), &["a.wav"]);
        for content in [
            &b"no sound"[..],
            b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x02\0",
        ] {
            std::fs::write(&plan.inputs[0], content).unwrap();
            assert!(matches!(convert(&plan, false), Err(Failure::Final(_))));
            assert_eq!(std::fs::read(&plan.inputs[0]).unwrap(), content);
            assert!(!plan.output.exists() && !part_of(&plan.output).exists());
        }
        wav(&plan.inputs[0], &[7; 800]);
        std::fs::create_dir(part_of(&plan.output)).unwrap();
        assert!(matches!(convert(&plan, false), Err(Failure::Passing(_))));
        assert!(plan.inputs[0].exists());
    }

    #[test]
    fn what_was_made_before_a_crash_is_only_tidied_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut plan = plan(folder.path(), &["a.wav", "b.wav"]);
        plan.remove.push(folder.path().join("mix.wav"));
        for path in &plan.remove[1..] {
            wav(path, &[7; 800]);
        }
        std::fs::write(&plan.output, b"made before").unwrap();
        convert(&plan, false).unwrap();
        assert_eq!(std::fs::read(&plan.output).unwrap(), b"made before");
        assert!(plan.remove.iter().all(|path| !path.exists()));
    }

    #[test]
    fn sources_can_be_kept() {
        let folder = tempfile::tempdir().unwrap();
        let plan = plan(folder.path(), &["a.wav"]);
        wav(&plan.inputs[0], &[7; 8000]);
        convert(&plan, true).unwrap();
        assert!(plan.inputs[0].exists() && plan.output.exists());
    }
}
