//! Answers with the sound of a call. A file that is there is read in pieces; one that is there in the other form is made anew, on
//! threads of which few work at a time, into a file without a name, so that memory stays flat and ranges work.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use strowger_core::Shared;
use strowger_core::record::stream_mp3;
use strowger_media::Sound;
use tokio::sync::{Semaphore, mpsc};
use warp::Reply as _;
use warp::http::StatusCode;
use warp::http::header::HeaderValue;
use warp::reply::Response;

use super::range::{self, Part};
use super::{Form, Recording, aside};
use crate::http::{Incoming, Refused};

/// Bytes of a piece.
const PIECE: usize = 64 * 1024;
/// Pieces that wait for a client.
const PIECES_WAITING: usize = 4;
/// Recordings that are made anew at a time.
const MAKING_MAX: usize = 2;
/// How long one waits for its turn.
const TURN_MAX: Duration = Duration::from_secs(20);
/// Samples that a WAV file can tell of, whose sizes have 32 bits: 74 hours.
const SAMPLES_MAX: u64 = (u32::MAX as u64 - HEAD as u64) / 2;
/// The head of a WAV file that we write.
const HEAD: usize = 44;

static MAKING: Semaphore = Semaphore::const_new(MAKING_MAX);

/// What is sent: a file and its length at this moment.
struct Source {
    file: File,
    bytes: u64,
    /// Stands in the place of the file's first bytes.
    head: Vec<u8>,
}

fn failed(path: &std::path::Path, error: &std::io::Error) -> Refused {
    tracing::warn!(path = %path.display(), %error, "API: a recording");
    let (status, why) = match error.kind() {
        std::io::ErrorKind::NotFound => (StatusCode::NOT_FOUND, "the recording is gone"),
        _ => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "the recording cannot be read; the log of the exchange says more",
        ),
    };
    Refused::new(status, why)
}

/// Opens a file as it is. The head of a recording that runs says "until the end": here it says how much there is, for players
/// that want to know.
fn open(recording: &Recording) -> std::io::Result<Source> {
    let mut file = File::open(&recording.path)?;
    let bytes = file.metadata()?.len();
    let mut head = Vec::new();
    if recording.form == Form::Wav {
        (&mut file).take(HEAD as u64).read_to_end(&mut head)?;
        if !put_sizes(&mut head, bytes) {
            head.clear();
        }
    }
    Ok(Source { file, bytes, head })
}

/// Puts the sizes into a head that does not know them; false: there is nothing to put right.
fn put_sizes(head: &mut [u8], bytes: u64) -> bool {
    let open_end = head.len() == HEAD
        && head.starts_with(b"RIFF")
        && head.get(36..40) == Some(b"data")
        && head.get(40..44) == Some(&[0xff; 4]);
    let (Ok(all), true) = (u32::try_from(bytes.saturating_sub(8)), open_end) else {
        return false;
    };
    let sound = all.saturating_sub(HEAD as u32 - 8);
    head[4..8].copy_from_slice(&all.to_le_bytes());
    head[40..44].copy_from_slice(&sound.to_le_bytes());
    true
}

/// Makes the wanted form of what is there, in a file that goes with its last reader.
fn make(recording: &Recording, wanted: Form, folder: &std::path::Path) -> Result<Source, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut file = tempfile::tempfile_in(folder).map_err(text)?;
    match wanted {
        Form::Mp3 => {
            let mut wrong = None;
            stream_mp3(&recording.path, |piece| match file.write_all(&piece) {
                Ok(()) => true,
                Err(error) => {
                    wrong = Some(error);
                    false
                }
            })?;
            if let Some(error) = wrong {
                return Err(text(error));
            }
        }
        Form::Wav => {
            let source = File::open(&recording.path).map_err(text)?;
            stream_wav(source, &mut file, SAMPLES_MAX)?;
        }
    }
    let bytes = file.stream_position().map_err(text)?;
    Ok(Source {
        file,
        bytes,
        head: Vec::new(),
    })
}

/// Writes what an MP3 file holds as a WAV file, in pieces: neither is ever whole in memory.
fn stream_wav(source: File, file: &mut File, samples_max: u64) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let mut out = std::io::BufWriter::new(&mut *file);
    // Its sizes are known at the end.
    write_head(&mut out, 0).map_err(text)?;
    let mut samples = 0;
    let mut wrong = None;
    let done = Sound::stream_mp3(source, |piece| {
        samples += piece.len() as u64;
        let written = if samples > samples_max {
            Err(std::io::Error::other(format!(
                "it is longer than {} hours",
                samples_max / u64::from(strowger_media::SAMPLE_RATE) / 3600
            )))
        } else {
            let mut samples = piece.iter();
            samples.try_for_each(|sample| out.write_all(&sample.to_le_bytes()))
        };
        wrong = written.err();
        wrong.is_none()
    });
    if let Some(error) = wrong {
        return Err(text(error));
    }
    done.map_err(|error| error.to_string())?;
    out.flush().map_err(text)?;
    drop(out);
    file.seek(SeekFrom::Start(0)).map_err(text)?;
    write_head(file, u32::try_from(samples * 2).unwrap_or(u32::MAX)).map_err(text)?;
    file.seek(SeekFrom::End(0)).map_err(text)?;
    Ok(())
}

/// Writes a WAV file of 8000 Hz, 16 bit, one channel.
pub(crate) fn write_wav(file: &mut File, samples: &[i16]) -> std::io::Result<()> {
    let mut out = std::io::BufWriter::new(file);
    write_head(
        &mut out,
        u32::try_from(samples.len() * 2).unwrap_or(u32::MAX),
    )?;
    for sample in samples {
        out.write_all(&sample.to_le_bytes())?;
    }
    out.flush()
}

/// The head of such a file with so many bytes of sound.
fn write_head(out: &mut impl std::io::Write, sound: u32) -> std::io::Result<()> {
    let rate = strowger_media::SAMPLE_RATE;
    out.write_all(b"RIFF")?;
    out.write_all(&sound.saturating_add(36).to_le_bytes())?;
    out.write_all(b"WAVEfmt \x10\0\0\0\x01\0\x01\0")?;
    out.write_all(&rate.to_le_bytes())?;
    out.write_all(&(2 * rate).to_le_bytes())?;
    out.write_all(b"\x02\0\x10\0data")?;
    out.write_all(&sound.to_le_bytes())
}

/// The answer with a recording in the wanted form: whole, or the range that is asked for.
///
/// # Errors
/// It cannot be read, or too many are being made.
pub(crate) async fn send(
    shared: &Arc<Shared>,
    asked: &Incoming,
    recording: Recording,
    wanted: Form,
) -> Result<Response, Refused> {
    let etag = recording.etag(wanted);
    let known = asked.header("if-none-match");
    if known
        .split(',')
        .any(|known| known.trim().trim_start_matches("W/") == etag || known.trim() == "*")
    {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        put(&mut response, "etag", &etag);
        return Ok(response);
    }
    let name = format!("{}.{}", recording.uniqueid, wanted.extension());
    let source = if recording.form == wanted {
        let path = recording.path.clone();
        let opened = aside(move || open(&recording)).await?;
        opened.map_err(|error| failed(&path, &error))?
    } else {
        let turn = tokio::time::timeout(TURN_MAX, MAKING.acquire()).await;
        let Ok(Ok(turn)) = turn else {
            let why = format!(
                "{MAKING_MAX} recordings are being converted, which is the limit; try again later"
            );
            return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, why));
        };
        let folder = shared.paths().spool.clone();
        let path = recording.path.clone();
        let made = aside(move || {
            // Given back by this thread: who hangs up does not make room for another conversion.
            let _turn = turn;
            make(&recording, wanted, &folder)
        });
        made.await?.map_err(|error| {
            tracing::warn!(path = %path.display(), error, "API: a recording cannot be converted");
            let why = format!(
                "the recording cannot be given as {}: {error}",
                wanted.extension()
            );
            Refused::new(StatusCode::INTERNAL_SERVER_ERROR, why)
        })?
    };
    let size = source.bytes;
    let if_range = asked.header("if-range");
    let part = match asked.header("range") {
        "" => Part::Whole,
        // A range of another content than the one that is here is of no use.
        _ if !if_range.is_empty() && if_range != etag => Part::Whole,
        header => range::read(header, size),
    };
    let (status, first, count) = match part {
        Part::Whole => (StatusCode::OK, 0, size),
        Part::Bytes(first, last) => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Part::Nothing => (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0),
    };
    let mut response = if count == 0 || asked.method == warp::http::Method::HEAD {
        StatusCode::OK.into_response()
    } else {
        warp::reply::stream(pieces(source, first, count)).into_response()
    };
    *response.status_mut() = status;
    match part {
        Part::Bytes(first, last) => {
            put(
                &mut response,
                "content-range",
                &format!("bytes {first}-{last}/{size}"),
            );
        }
        Part::Nothing => put(&mut response, "content-range", &format!("bytes */{size}")),
        Part::Whole => {}
    }
    put(&mut response, "content-length", &count.to_string());
    put(&mut response, "content-type", wanted.content_type());
    put(&mut response, "accept-ranges", "bytes");
    put(&mut response, "etag", &etag);
    put(&mut response, "cache-control", "private, no-cache");
    put(
        &mut response,
        "content-disposition",
        &format!("attachment; filename=\"{name}\""),
    );
    Ok(response)
}

fn put(response: &mut Response, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Bytes of a file, read by a thread as they are taken.
fn pieces(
    source: Source,
    first: u64,
    count: u64,
) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send + Sync + 'static {
    let (give, take) = mpsc::channel(PIECES_WAITING);
    let reading = Reading {
        source,
        at: first,
        left: count,
    };
    tokio::spawn(read_on(reading, give));
    futures_util::stream::unfold(Taking(take), |mut take| async move {
        let piece = take.0.recv().await?;
        Some((piece, take))
    })
}

/// The taking end, which only one task ever has.
struct Taking(mpsc::Receiver<std::io::Result<Bytes>>);

struct Reading {
    source: Source,
    at: u64,
    left: u64,
}

/// Reads piece after piece; a thread is used for each, so that a client who waits holds none.
async fn read_on(mut reading: Reading, give: mpsc::Sender<std::io::Result<Bytes>>) {
    while reading.left > 0 {
        let Ok(place) = give.reserve().await else {
            return;
        };
        let read = tokio::task::spawn_blocking(move || {
            let piece = reading.next();
            (reading, piece)
        });
        let Ok((back, piece)) = read.await else {
            return;
        };
        reading = back;
        let failed = piece.is_err();
        place.send(piece);
        if failed {
            return;
        }
    }
}

impl Reading {
    fn next(&mut self) -> std::io::Result<Bytes> {
        let mut piece = vec![0; PIECE.min(usize::try_from(self.left).unwrap_or(PIECE))];
        self.source.file.seek(SeekFrom::Start(self.at))?;
        self.source.file.read_exact(&mut piece)?;
        for (offset, byte) in piece.iter_mut().enumerate() {
            let place = usize::try_from(self.at).map_or(usize::MAX, |at| at.saturating_add(offset));
            match self.source.head.get(place) {
                Some(right) => *byte = *right,
                None => break,
            }
        }
        self.at += piece.len() as u64;
        self.left -= piece.len() as u64;
        Ok(Bytes::from(piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt as _;
    use std::time::SystemTime;

    fn recording(path: std::path::PathBuf) -> Recording {
        let bytes = std::fs::metadata(&path).map_or(0, |about| about.len());
        Recording {
            uniqueid: "1.1".to_owned(),
            path,
            form: Form::Wav,
            bytes,
            changed: SystemTime::now(),
        }
    }

    fn wav(folder: &std::path::Path, samples: &[i16]) -> std::path::PathBuf {
        let path = folder.join("1.1.wav");
        let mut file = File::create(&path).expect("a file");
        write_wav(&mut file, samples).expect("written");
        path
    }

    #[tokio::test]
    async fn a_recording_that_runs_says_how_much_of_it_there_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = wav(folder.path(), &[7; 100_000]);
        let mut bytes = std::fs::read(&path).expect("a file");
        let right = bytes.clone();
        bytes[4..8].fill(0xff);
        bytes[40..44].fill(0xff);
        std::fs::write(&path, &bytes).expect("a file");
        let collect = async |first, count| {
            let source = open(&recording(path.clone())).expect("opened");
            let all: Vec<_> = pieces(source, first, count).collect().await;
            let all: Vec<Bytes> = all
                .into_iter()
                .map(|piece| piece.expect("a piece"))
                .collect();
            all.concat()
        };
        let size = right.len() as u64;
        assert_eq!(collect(0, size).await, right);
        assert_eq!(collect(6, 50).await, right[6..56]);
        assert_eq!(collect(65_000, 2000).await, right[65_000..67_000]);
        // A head that knows its sizes stays.
        std::fs::write(&path, &right[..30_000]).expect("a file");
        assert_eq!(collect(0, 30_000).await, right[..30_000]);
    }

    #[test]
    fn an_mp3_of_more_than_an_hour_is_given_as_wav_and_memory_stays_flat() {
        const SECONDS: u64 = 3700;
        let folder = tempfile::tempdir().expect("a folder");
        // Silence takes no room on the disk.
        let path = wav(folder.path(), &[]);
        let mut file = File::options().write(true).open(&path).expect("opened");
        write_head(&mut file, (SECONDS * 16_000) as u32).expect("written");
        file.set_len(44 + SECONDS * 16_000).expect("grown");
        let mut mp3 = make(&recording(path), Form::Mp3, folder.path()).expect("an MP3");
        let path = folder.path().join("1.1.mp3");
        let mut copy = File::create(&path).expect("a file");
        mp3.file.seek(SeekFrom::Start(0)).expect("its beginning");
        std::io::copy(&mut mp3.file, &mut copy).expect("copied");
        let peak = || {
            let status = std::fs::read_to_string("/proc/self/status").expect("status");
            let line = status.lines().find(|line| line.starts_with("VmHWM:"));
            let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
            kib.expect("a peak")
        };
        let before = peak();
        let recording = Recording {
            form: Form::Mp3,
            ..recording(path)
        };
        let mut made = make(&recording, Form::Wav, folder.path()).expect("a WAV");
        // The sound is 58 MiB, the file of the recording 11.
        let grown = peak() - before;
        assert!(grown < 8 * 1024, "{grown} KiB");
        let seconds = (made.bytes - 44) / 16_000;
        assert!((SECONDS..SECONDS + 2).contains(&seconds), "{seconds}");
        let mut head = [0; 44];
        made.file.seek(SeekFrom::Start(0)).expect("its beginning");
        made.file.read_exact(&mut head).expect("a head");
        let told = u32::from_le_bytes([head[40], head[41], head[42], head[43]]);
        assert_eq!(u64::from(told), made.bytes - 44);
    }

    #[test]
    fn each_form_is_made_of_the_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let tone: Vec<i16> = (0..16_000)
            .map(|n| ((f64::from(n) * 0.3).sin() * 8000.0) as i16)
            .collect();
        let path = wav(folder.path(), &tone);
        let mut made = make(&recording(path), Form::Mp3, folder.path()).expect("an MP3");
        // 24 kbit/s for two seconds.
        assert!((5000..8000).contains(&made.bytes), "{}", made.bytes);
        let mut bytes = Vec::new();
        made.file.seek(SeekFrom::Start(0)).expect("its beginning");
        made.file.read_to_end(&mut bytes).expect("read");
        let path = folder.path().join("1.1.mp3");
        std::fs::write(&path, &bytes).expect("a file");
        let recording = Recording {
            form: Form::Mp3,
            ..recording(path.clone())
        };
        let made = make(&recording, Form::Wav, folder.path()).expect("a WAV");
        let seconds = (made.bytes - 44) as f64 / 16_000.0;
        assert!((1.9..2.3).contains(&seconds), "{seconds}");
        let short = stream_wav(
            File::open(&path).expect("opened"),
            &mut tempfile::tempfile_in(folder.path()).expect("a file"),
            1000,
        );
        assert!(short.is_err_and(|why| why.contains("longer")));
        std::fs::write(&path, b"no sound").expect("a file");
        assert!(make(&recording, Form::Wav, folder.path()).is_err());
        assert_eq!(
            std::fs::read_dir(folder.path()).expect("a folder").count(),
            2
        );
    }
}
