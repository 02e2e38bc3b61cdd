//! The writer thread as a whole, on real files.

use super::{WriterConfig, WriterHandle, WriterPort, spawn, wav};
use crate::recording::{FileFormat, FileSetup, Order, Reply};
use crate::types::{LegId, RecorderId};
use crate::uring::wake::Wake;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const WAV: wav::Kind = wav::Kind::Pcm {
    rate: 8000,
    channels: 1,
};
const R: RecorderId = RecorderId(7);
const LEG: LegId = LegId(3);
/// Longer than anything here takes, on a slow machine too.
const LONG: Duration = Duration::from_secs(60);

fn connect(writer: &WriterHandle) -> WriterPort {
    writer.connect(Wake::new().expect("eventfd"))
}

fn open(path: &Path, format: FileFormat, append: bool) -> Order {
    Order::Open(Box::new(FileSetup {
        recorder: R,
        leg: LEG,
        path: path.to_owned(),
        format,
        rate: 8000,
        channels: 1,
        append,
        drop_last_max: 0,
    }))
}

fn samples(position: u64, samples: Vec<i16>) -> Order {
    Order::Samples {
        recorder: R,
        position,
        samples,
    }
}

fn close(samples: u64, drop_last_samples: u32) -> Order {
    Order::Close {
        recorder: R,
        leg: LEG,
        samples,
        drop_last_samples,
        lost_samples: 0,
    }
}

fn give(port: &mut WriterPort, orders: impl IntoIterator<Item = Order>) {
    for order in orders {
        port.push(order).expect("an empty queue takes an order");
    }
    port.notify();
}

#[derive(Debug, PartialEq)]
struct Closed {
    path: PathBuf,
    samples: u64,
    lost: u64,
    error: Option<String>,
}

/// Waits for the end of the recording; returns it with the number of vectors that came back.
fn closed(port: &mut WriterPort) -> (Closed, usize) {
    closed_with_troubles(port, &mut Vec::new())
}

fn closed_with_troubles(port: &mut WriterPort, troubles: &mut Vec<String>) -> (Closed, usize) {
    let until = Instant::now() + LONG;
    let mut vectors = 0;
    while Instant::now() < until {
        match port.pop() {
            Some(Reply::Buffer { recorder, samples }) => {
                assert_eq!(recorder, R);
                assert!(samples.is_empty() && samples.capacity() > 0);
                vectors += 1;
            }
            Some(Reply::Closed {
                recorder,
                leg,
                path,
                samples,
                lost_samples,
                error,
            }) => {
                assert_eq!((recorder, leg), (R, LEG));
                let closed = Closed {
                    path,
                    samples,
                    lost: lost_samples,
                    error,
                };
                return (closed, vectors);
            }
            Some(Reply::Trouble { error, .. }) => troubles.push(error.into_owned()),
            Some(Reply::Resumed { lost_samples, .. }) => {
                troubles.push(format!("resumed, {lost_samples} lost"));
            }
            Some(other) => panic!("unexpected reply {other:?}"),
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    panic!("the recording did not close");
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The samples of a WAV file; its header must fit it to the byte.
fn read_wav(path: &Path) -> Vec<i16> {
    let bytes = std::fs::read(path).expect("a recording");
    assert_eq!(
        bytes[..44],
        WAV.header(bytes.len() as u64 - 44),
        "a header that fits"
    );
    read_linear(&bytes[44..])
}

fn read_linear(bytes: &[u8]) -> Vec<i16> {
    bytes
        .chunks_exact(2)
        .map(|b| i16::from_le_bytes([b[0], b[1]]))
        .collect()
}

fn ramp(from: i16, count: usize) -> Vec<i16> {
    (0..count).map(|i| from + i as i16).collect()
}

#[test]
fn a_wav_file_plays_after_its_first_block_and_is_right_at_the_end() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("2026/11/call.wav");
    let (handle, _writer) = spawn(WriterConfig::default()).expect("a writer");
    let mut port = connect(&handle);
    give(
        &mut port,
        [
            open(&path, FileFormat::Wav, false),
            samples(0, ramp(1, 8000)),
        ],
    );
    // As it would be found after a kill: the file is complete without a close.
    eventually("the first block is on disk with its header", || {
        std::fs::metadata(&path).is_ok_and(|m| m.len() == 44 + 16000)
    });
    let bytes = std::fs::read(&path).expect("a recording");
    let layout = WAV.parse(&bytes, bytes.len() as u64);
    assert_eq!(
        layout,
        Ok(wav::Layout {
            start: 44,
            len: 16_000
        }),
        "up to the end of the file"
    );
    assert_eq!(read_linear(&bytes[44..]), ramp(1, 8000));
    give(&mut port, [samples(8000, ramp(-5, 100)), close(8100, 0)]);
    let (end, vectors) = closed(&mut port);
    assert_eq!(vectors, 2);
    assert_eq!(
        end,
        Closed {
            path: path.clone(),
            samples: 8100,
            lost: 0,
            error: None
        }
    );
    let mut expected = ramp(1, 8000);
    expected.extend(ramp(-5, 100));
    assert_eq!(read_wav(&path), expected);
}

#[test]
fn holes_become_silence_and_the_end_is_cut_or_filled() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (handle, _writer) = spawn(WriterConfig::default()).expect("a writer");
    for (format, silence) in [
        (FileFormat::Wav, 0),
        (FileFormat::Sln(8000), 0),
        (FileFormat::Ulaw, 0xff),
        (FileFormat::Alaw, 0xd5),
    ] {
        let path = directory.path().join(format!("{format:?}"));
        let mut port = connect(&handle);
        give(
            &mut port,
            [
                open(&path, format, false),
                samples(10, vec![12000; 20]),
                samples(40, vec![12000; 20]),
                close(100, 30),
            ],
        );
        let (end, _) = closed(&mut port);
        assert_eq!((end.samples, end.lost, end.error), (70, 0, None));
        let loud = |i: usize| (10..30).contains(&i) || (40..60).contains(&i);
        let bytes = std::fs::read(&path).expect("a recording");
        match format {
            FileFormat::Wav | FileFormat::Sln(_) => {
                let all = if format == FileFormat::Wav {
                    read_wav(&path)
                } else {
                    read_linear(&bytes)
                };
                assert_eq!(all.len(), 70, "{format:?}");
                for (i, &sample) in all.iter().enumerate() {
                    assert_eq!(sample != 0, loud(i), "{format:?} sample {i}");
                }
            }
            _ => {
                assert_eq!(bytes.len(), 70, "{format:?}");
                for (i, &byte) in bytes.iter().enumerate() {
                    assert_eq!(byte != silence, loud(i), "{format:?} byte {i}");
                }
            }
        }
    }
}

#[test]
fn appending_continues_where_the_sound_ends() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (handle, _writer) = spawn(WriterConfig::default()).expect("a writer");
    for format in [FileFormat::Wav, FileFormat::Ulaw] {
        let path = directory.path().join(format!("{format:?}"));
        let mut port = connect(&handle);
        for _ in 0..3 {
            give(
                &mut port,
                [
                    open(&path, format, true),
                    samples(0, vec![1000; 50]),
                    close(60, 0),
                ],
            );
            let (end, _) = closed(&mut port);
            assert_eq!((end.samples, end.error), (60, None));
        }
        if format == FileFormat::Wav {
            let all = read_wav(&path);
            assert_eq!(all.len(), 180);
            assert_eq!(all.iter().filter(|&&s| s == 1000).count(), 150);
        } else {
            assert_eq!(std::fs::read(&path).expect("a recording").len(), 180);
        }
    }
    let foreign = directory.path().join("foreign.wav");
    std::fs::write(&foreign, b"not a sound at all").expect("write");
    let mut port = connect(&handle);
    give(
        &mut port,
        [
            open(&foreign, FileFormat::Wav, true),
            samples(0, vec![1; 50]),
            close(50, 0),
        ],
    );
    let (end, _) = closed(&mut port);
    assert_eq!((end.samples, end.lost), (0, 50));
    let error = end.error.expect("an error");
    assert!(
        error.contains("foreign.wav") && error.contains("not a WAV"),
        "{error}"
    );
    assert_eq!(
        std::fs::read(&foreign).expect("untouched"),
        b"not a sound at all"
    );
}

#[test]
fn a_recording_cut_to_less_than_its_blocks_is_cut_on_disk() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (handle, _writer) = spawn(WriterConfig::default()).expect("a writer");
    let path = directory.path().join("cut.wav");
    let mut port = connect(&handle);
    give(
        &mut port,
        [
            open(&path, FileFormat::Wav, false),
            samples(0, ramp(1, 8000)),
            close(8000, 2000),
        ],
    );
    assert_eq!(closed(&mut port).0.samples, 6000);
    assert_eq!(read_wav(&path), ramp(1, 6000));
}

#[test]
fn an_empty_recording_is_a_valid_file() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (handle, _writer) = spawn(WriterConfig::default()).expect("a writer");
    let path = directory.path().join("empty.wav");
    let mut port = connect(&handle);
    give(
        &mut port,
        [open(&path, FileFormat::Wav, false), close(0, 160)],
    );
    assert_eq!(closed(&mut port).0.error, None);
    assert_eq!(read_wav(&path), []);
}

#[test]
fn a_full_disk_costs_samples_and_is_reported_but_stops_nobody() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (handle, _writer) = spawn(WriterConfig::default()).expect("a writer");
    let mut full = connect(&handle);
    let mut healthy = connect(&handle);
    let path = directory.path().join("healthy.wav");
    give(
        &mut full,
        [
            open(Path::new("/dev/full"), FileFormat::Wav, false),
            samples(0, vec![1; 8000]),
        ],
    );
    give(
        &mut healthy,
        [
            open(&path, FileFormat::Wav, false),
            samples(0, ramp(1, 8000)),
            close(8000, 0),
        ],
    );
    give(&mut full, [samples(8000, vec![1; 8000]), close(16000, 0)]);
    let mut troubles = Vec::new();
    let (end, vectors) = closed_with_troubles(&mut full, &mut troubles);
    assert_eq!(vectors, 2, "the vectors come back all the same");
    assert!(
        matches!(&troubles[..], [trouble] if trouble.contains("/dev/full")),
        "told when it happens, and once: {troubles:?}"
    );
    assert_eq!(end.lost, 16000);
    let error = end.error.expect("an error");
    assert!(
        error.contains("/dev/full") && error.contains("space"),
        "{error}"
    );
    assert_eq!(closed(&mut healthy).0.error, None);
    assert_eq!(read_wav(&path), ramp(1, 8000));
}

#[test]
fn a_path_that_cannot_be_made_is_reported_with_its_name() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let blocked = directory.path().join("file");
    std::fs::write(&blocked, b"").expect("write");
    let (handle, _writer) = spawn(WriterConfig::default()).expect("a writer");
    for path in [blocked.join("below.wav"), directory.path().to_owned()] {
        let mut port = connect(&handle);
        give(
            &mut port,
            [
                open(&path, FileFormat::Wav, false),
                samples(0, vec![1; 80]),
                close(80, 0),
            ],
        );
        let (end, _) = closed(&mut port);
        assert_eq!((end.samples, end.lost), (0, 80));
        let error = end.error.expect("an error");
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
}

#[test]
fn recordings_left_open_are_finished_when_the_media_thread_or_the_writer_goes() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (handle, writer) = spawn(WriterConfig::default()).expect("a writer");
    let gone = directory.path().join("gone.wav");
    let mut port = connect(&handle);
    give(
        &mut port,
        [
            open(&gone, FileFormat::Wav, false),
            samples(0, ramp(1, 500)),
        ],
    );
    drop(port);
    eventually("the recording of a dropped port closes", || {
        handle
            .counters()
            .snapshot()
            .contains(&("writer_files_closed", 1))
    });
    assert_eq!(read_wav(&gone), ramp(1, 500));

    let stopped = directory.path().join("stopped.wav");
    let mut port = connect(&handle);
    give(
        &mut port,
        [
            open(&stopped, FileFormat::Wav, false),
            samples(0, ramp(1, 700)),
        ],
    );
    writer.stop();
    assert_eq!(read_wav(&stopped), ramp(1, 700));
    assert_eq!(closed(&mut port).0.samples, 700);
}

#[test]
fn a_backlog_that_is_full_refuses_blocks_and_counts_them() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = WriterConfig {
        backlog_bytes_max: 100,
        ..WriterConfig::default()
    };
    let (handle, _writer) = spawn(config).expect("a writer");
    let mut port = connect(&handle);
    let path = directory.path().join("call.wav");
    give(
        &mut port,
        [
            open(&path, FileFormat::Wav, false),
            samples(0, vec![5; 40]),
            samples(40, vec![5; 40]),
            close(80, 0),
        ],
    );
    let (end, vectors) = closed(&mut port);
    assert_eq!((end.samples, end.lost, vectors), (80, 40, 2));
    assert!(
        handle
            .counters()
            .snapshot()
            .contains(&("writer_blocks_refused", 1))
    );
    let all = read_wav(&path);
    assert_eq!(all.iter().filter(|&&s| s == 5).count(), 40);
}

#[test]
fn hundreds_of_recordings_at_once_are_all_right() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (handle, _writer) = spawn(WriterConfig::default()).expect("a writer");
    let mut port = connect(&handle);
    const FILES: u64 = 300;
    let path = |i: u64| directory.path().join(format!("{i}.wav"));
    for i in 0..FILES {
        let setup = FileSetup {
            recorder: RecorderId(i),
            leg: LegId(i),
            path: path(i),
            format: FileFormat::Wav,
            rate: 8000,
            channels: 1,
            append: false,
            drop_last_max: 0,
        };
        give(&mut port, [Order::Open(Box::new(setup))]);
    }
    for block in 0..4_u64 {
        for i in 0..FILES {
            let order = Order::Samples {
                recorder: RecorderId(i),
                position: block * 1000,
                samples: vec![i as i16 + 1; 1000],
            };
            give(&mut port, [order]);
        }
    }
    for i in 0..FILES {
        let order = Order::Close {
            recorder: RecorderId(i),
            leg: LegId(i),
            samples: 4000,
            drop_last_samples: 0,
            lost_samples: 0,
        };
        give(&mut port, [order]);
    }
    let mut closed = 0;
    eventually("all recordings close", || {
        while let Some(reply) = port.pop() {
            if let Reply::Closed { samples, error, .. } = reply {
                assert_eq!((samples, error), (4000, None));
                closed += 1;
            }
        }
        closed == FILES
    });
    for i in 0..FILES {
        assert_eq!(read_wav(&path(i)), vec![i as i16 + 1; 4000]);
    }
}
