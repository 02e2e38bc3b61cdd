//! Every format through the writer thread: what was recorded comes out of an independent decoder, as long as it was.

use super::{WriterConfig, WriterPort, spawn};
use crate::codec::{g722, gsm};
use crate::recording::{FileFormat, FileSetup, Order, Reply};
use crate::types::{LegId, RecorderId};
use crate::uring::wake::Wake;
use std::path::Path;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);
/// Samples of 8000 Hz: not a whole number of anything.
const LENGTH: usize = 8000 * 5 + 123;

/// A tone with its start marked: 440 Hz after half a second of silence.
fn speech(rate: u32) -> Vec<i16> {
    let factor = rate as usize / 8000;
    (0..LENGTH * factor)
        .map(|n| {
            if n < rate as usize / 2 {
                return 0;
            }
            let phase = n as f64 * 440.0 / f64::from(rate) * std::f64::consts::TAU;
            (phase.sin() * 8000.0) as i16
        })
        .collect()
}

/// Records, in blocks of a second, with the third one missing.
fn record(path: &Path, format: FileFormat, rate: u32, gap: bool, drop: u32) -> (u64, u64) {
    let (handle, _writer) = spawn(WriterConfig::default()).expect("a writer");
    let mut port = handle.connect(Wake::new().expect("eventfd"));
    let all = speech(rate);
    let setup = FileSetup {
        recorder: RecorderId(1),
        leg: LegId(1),
        path: path.to_owned(),
        format,
        rate,
        channels: 1,
        append: false,
        drop_last_max: drop,
    };
    give(&mut port, Order::Open(Box::new(setup)));
    let mut position = 0;
    for (number, block) in all.chunks(8000).enumerate() {
        if !gap || number != 2 {
            let order = Order::Samples {
                recorder: RecorderId(1),
                position,
                samples: block.to_vec(),
            };
            give(&mut port, order);
        }
        position += block.len() as u64;
    }
    let order = Order::Close {
        recorder: RecorderId(1),
        leg: LegId(1),
        samples: position,
        drop_last_samples: drop,
        lost_samples: 0,
    };
    give(&mut port, order);
    closed(&mut port)
}

fn give(port: &mut WriterPort, order: Order) {
    port.push(order).expect("the queue takes it");
    port.notify();
}

fn closed(port: &mut WriterPort) -> (u64, u64) {
    let until = Instant::now() + LONG;
    loop {
        match port.pop() {
            Some(Reply::Closed {
                samples,
                lost_samples,
                error,
                ..
            }) => {
                assert_eq!(error, None);
                return (samples, lost_samples);
            }
            Some(Reply::Buffer { .. }) => {}
            Some(other) => panic!("unexpected {other:?}"),
            None => {
                assert!(Instant::now() < until, "the recording does not close");
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

/// The samples of a finished file, decoded, and their rate.
fn decode(path: &Path, format: FileFormat) -> (Vec<i16>, u32) {
    let bytes = std::fs::read(path).expect("a recording");
    let linear = |bytes: &[u8]| {
        bytes
            .chunks_exact(2)
            .map(|b| i16::from_le_bytes([b[0], b[1]]))
            .collect()
    };
    match format {
        FileFormat::Wav | FileFormat::Wav16 => (linear(&bytes[44..]), format.rate().unwrap_or(0)),
        FileFormat::Sln(rate) => (linear(&bytes), rate),
        FileFormat::Gsm => {
            let mut out = vec![0; bytes.len() / 33 * 160];
            assert_eq!(gsm::Decoder::default().decode(&bytes, &mut out), out.len());
            (out, 8000)
        }
        FileFormat::Wav49 => {
            assert_eq!(bytes[20..22], [0x31, 0]);
            assert_eq!(
                bytes[56..60],
                (bytes.len() as u32 - 60).to_le_bytes(),
                "the header names the length"
            );
            let mut gsm = gsm::Decoder::default();
            let (blocks, rest) = bytes[60..].as_chunks();
            assert_eq!(rest, []);
            (
                blocks.iter().flat_map(|b| gsm.decode_wav49(b)).collect(),
                8000,
            )
        }
        FileFormat::G722 => {
            let mut out = vec![0; bytes.len() * 2];
            assert_eq!(g722::Decoder::default().decode(&bytes, &mut out), out.len());
            (out, 16_000)
        }
        FileFormat::Ogg => opus(&bytes),
        FileFormat::Mp3 => mp3(bytes),
        FileFormat::Ulaw | FileFormat::Alaw => panic!("tested elsewhere"),
    }
}

/// Reads Ogg Opus as RFC 7845 wants it read.
fn opus(bytes: &[u8]) -> (Vec<i16>, u32) {
    let mut reader = ogg::PacketReader::new(std::io::Cursor::new(bytes));
    let head = reader.read_packet().expect("ogg").expect("a head").data;
    assert_eq!(&head[..10], b"OpusHead\x01\x01");
    let skip = usize::from(u16::from_le_bytes([head[10], head[11]]));
    let tags = reader.read_packet().expect("ogg").expect("tags").data;
    assert_eq!(&tags[..8], b"OpusTags");
    let mut decoder = opus::Decoder::new(48_000, opus::Channels::Mono).expect("a decoder");
    let mut out = Vec::new();
    let mut end = None;
    while let Ok(Some(packet)) = reader.read_packet() {
        let mut frame = [0; 5760];
        let count = decoder
            .decode(&packet.data, &mut frame, false)
            .expect("an Opus packet");
        out.extend_from_slice(&frame[..count]);
        if packet.last_in_stream() {
            end = Some(packet.absgp_page() as usize);
        }
    }
    if let Some(end) = end {
        assert!(out.len() >= end, "no sound is missing at the end");
        out.truncate(end);
    }
    out.drain(..skip);
    (out, 48_000)
}

fn mp3(bytes: Vec<u8>) -> (Vec<i16>, u32) {
    use symphonia::core::codecs::audio::AudioDecoderOptions;
    use symphonia::core::formats::FormatOptions;
    use symphonia::core::formats::probe::Hint;
    use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
    let source = MediaSourceStream::new(
        Box::new(std::io::Cursor::new(bytes)),
        MediaSourceStreamOptions::default(),
    );
    let mut reader = symphonia::default::get_probe()
        .probe(
            &Hint::new(),
            source,
            FormatOptions::default(),
            Default::default(),
        )
        .expect("an MP3 stream");
    let track = reader
        .default_track(symphonia::core::formats::TrackType::Audio)
        .expect("a track");
    let parameters = track
        .codec_params
        .as_ref()
        .and_then(|p| p.audio())
        .expect("audio")
        .clone();
    let rate = parameters.sample_rate.expect("a rate");
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(&parameters, &AudioDecoderOptions::default())
        .expect("a decoder");
    let mut out: Vec<i16> = Vec::new();
    while let Ok(Some(packet)) = reader.next_packet() {
        let audio = decoder.decode(&packet).expect("a frame");
        let mut part: Vec<i16> = Vec::new();
        audio.copy_to_vec_interleaved(&mut part);
        out.extend(part);
    }
    (out, rate)
}

/// Where in `samples` it first becomes loud, in milliseconds.
fn begins_ms(samples: &[i16], rate: u32) -> usize {
    let at = samples.iter().position(|s| s.unsigned_abs() > 2000);
    at.expect("a tone") * 1000 / rate as usize
}

fn mean_loudness(samples: &[i16]) -> u64 {
    let sum: u64 = samples.iter().map(|s| u64::from(s.unsigned_abs())).sum();
    sum / samples.len() as u64
}

const STREAMS: [FileFormat; 7] = [
    FileFormat::Wav16,
    FileFormat::Wav49,
    FileFormat::Gsm,
    FileFormat::G722,
    FileFormat::Ogg,
    FileFormat::Mp3,
    FileFormat::Sln(44_100),
];

#[test]
fn every_format_holds_what_was_said_when_it_was_said() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    for format in STREAMS {
        let path = folder.path().join(format!("deep/er/{format:?}"));
        let (samples, lost) = record(&path, format, 8000, true, 0);
        assert_eq!((samples, lost), (LENGTH as u64, 0), "{format:?}");
        let (out, rate) = decode(&path, format);
        let ms = out.len() * 1000 / rate as usize;
        let wanted = LENGTH / 8;
        // Formats of whole frames end with a frame that is filled up; MP3 may be read without its ends being cut.
        let slack = if format == FileFormat::Mp3 { 300 } else { 40 };
        assert!(
            (wanted..=wanted + slack).contains(&ms) || ms + 1 == wanted,
            "{format:?}: {ms} of {wanted} ms"
        );
        let from = begins_ms(&out, rate);
        let late = if format == FileFormat::Mp3 { 160 } else { 20 };
        assert!(
            (495..=510 + late).contains(&from),
            "{format:?}: the tone begins at {from} ms"
        );
        let part = |from: usize, to: usize| {
            let at = |ms: usize| ms * rate as usize / 1000;
            mean_loudness(&out[at(from)..at(to)])
        };
        assert!(part(700, 1900) > 4000, "{format:?}: {}", part(700, 1900));
        assert!(part(2300, 2800) < 100, "{format:?}: the gap is silent");
        assert!(part(3300, 4900) > 4000, "{format:?}: {}", part(3300, 4900));
    }
}

#[test]
fn wideband_recordings_stay_wideband() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    for format in [
        FileFormat::Wav16,
        FileFormat::G722,
        FileFormat::Ogg,
        FileFormat::Mp3,
        FileFormat::Sln(16_000),
    ] {
        let path = folder.path().join(format!("{format:?}"));
        let (samples, _) = record(&path, format, 16_000, false, 0);
        assert_eq!(samples, 2 * LENGTH as u64, "{format:?}");
        let (out, rate) = decode(&path, format);
        assert!(rate >= 16_000, "{format:?}");
        let ms = out.len() * 1000 / rate as usize;
        assert!(
            (LENGTH / 8..LENGTH / 8 + 200).contains(&ms),
            "{format:?} {ms}"
        );
    }
}

#[test]
fn the_end_of_a_stream_can_be_cut_off() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    for format in STREAMS {
        let path = folder.path().join(format!("{format:?}"));
        let (samples, _) = record(&path, format, 8000, false, 16_000);
        assert_eq!(samples, LENGTH as u64 - 16_000, "{format:?}");
        let (out, rate) = decode(&path, format);
        let ms = out.len() * 1000 / rate as usize;
        assert!(
            (LENGTH / 8 - 2001..LENGTH / 8 - 2000 + 300).contains(&ms),
            "{format:?}: {ms}"
        );
    }
}

#[test]
fn a_stream_that_was_not_finished_plays_up_to_its_last_block() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    for format in [
        FileFormat::Ogg,
        FileFormat::Mp3,
        FileFormat::Gsm,
        FileFormat::Wav49,
    ] {
        let path = folder.path().join(format!("{format:?}"));
        let (handle, _writer) = spawn(WriterConfig::default()).expect("a writer");
        let mut port = handle.connect(Wake::new().expect("eventfd"));
        let setup = FileSetup {
            recorder: RecorderId(1),
            leg: LegId(1),
            path: path.clone(),
            format,
            rate: 8000,
            channels: 1,
            append: false,
            drop_last_max: 0,
        };
        give(&mut port, Order::Open(Box::new(setup)));
        for (second, block) in speech(8000).chunks_exact(8000).enumerate() {
            let order = Order::Samples {
                recorder: RecorderId(1),
                position: 8000 * second as u64,
                samples: block.to_vec(),
            };
            give(&mut port, order);
        }
        // As a kill would find it: everything given is written, nothing is closed.
        let until = Instant::now() + LONG;
        while handle
            .counters()
            .snapshot()
            .iter()
            .any(|(name, value)| *name == "writer_blocks_written" && *value < 5)
        {
            assert!(Instant::now() < until, "{format:?}: blocks are written");
            std::thread::sleep(Duration::from_millis(2));
        }
        let cut = folder.path().join("cut");
        std::fs::copy(&path, &cut).expect("a copy");
        let bytes = std::fs::read(&cut).expect("a copy");
        if format == FileFormat::Wav49 {
            let mut gsm = gsm::Decoder::default();
            let (blocks, _) = bytes[60..].as_chunks();
            assert_eq!(blocks.len() * 320, 40_000 / 320 * 320);
            let all: Vec<i16> = blocks.iter().flat_map(|b| gsm.decode_wav49(b)).collect();
            assert!(mean_loudness(&all[8000..]) > 4000);
            continue;
        }
        let (out, rate) = decode(&cut, format);
        let ms = out.len() * 1000 / rate as usize;
        assert!((4700..=5300).contains(&ms), "{format:?}: {ms} ms");
    }
}
