//! The life of one file on a disk in memory that fails as it is told to.

use super::recording::Recording;
use super::step::{Before, News, Report, Step};
use super::{encode, wav};
use crate::recording::{FileFormat, FileSetup};
use crate::types::{LegId, RecorderId};
use crate::uring::file::Outcome;
use std::fs::File;
use std::io;

/// A file in memory.
#[derive(Default)]
struct Disk {
    bytes: Vec<u8>,
    /// Every operation fails with this.
    error: Option<i32>,
    /// The next writes take only so many bytes.
    short: Option<usize>,
    opened: u32,
    waited: u32,
}

impl Disk {
    fn result<T>(&self, value: T) -> io::Result<T> {
        self.error
            .map_or(Ok(value), |code| Err(io::Error::from_raw_os_error(code)))
    }

    /// Does what the recording wants, until it wants nothing, or waits.
    fn serve(&mut self, recording: &mut Recording) {
        while let Some(step) = recording.step() {
            self.perform(recording, step);
        }
    }

    fn perform(&mut self, recording: &mut Recording, step: Step) {
        let outcome = match step {
            Step::Open { keep } => {
                let result = self.result(());
                if result.is_ok() {
                    self.opened += 1;
                    if !keep {
                        self.bytes.clear();
                    }
                }
                // The recording asks only whether it has one.
                Outcome::Opened(result.and_then(|()| File::open("/dev/null")))
            }
            Step::MakeDirectories => {
                let result = self.result(());
                return recording.directories(result);
            }
            Step::Look => {
                let before = Before {
                    len: self.bytes.len() as u64,
                    head: self.bytes.clone(),
                };
                return recording.looked(Ok(before));
            }
            Step::Write { bytes, offset } => {
                let count = self.short.unwrap_or(bytes.len()).min(bytes.len());
                let result = self.result(count);
                if result.is_ok() {
                    let offset = offset as usize;
                    let end = offset + count;
                    if self.bytes.len() < end {
                        self.bytes.resize(end, 0);
                    }
                    self.bytes[offset..end].copy_from_slice(&bytes[..count]);
                }
                Outcome::Written(result, bytes)
            }
            Step::Truncate { length } => {
                let result = self.result(());
                if result.is_ok() {
                    self.bytes.resize(length as usize, 0);
                }
                Outcome::Truncated(result)
            }
            Step::Close(file) => {
                drop(file);
                Outcome::Closed(Ok(()))
            }
        };
        recording.done(outcome);
    }

    /// Half a second passes as often as the recording wants it.
    fn serve_to_the_end(&mut self, recording: &mut Recording) {
        for _ in 0..100 {
            self.serve(recording);
            if recording.is_finished() {
                return;
            }
            self.waited += 1;
            recording.retry();
        }
        panic!("the recording does not end");
    }
}

fn recording(format: FileFormat) -> Recording {
    Recording::new(Box::new(FileSetup {
        recorder: RecorderId(1),
        leg: LegId(1),
        path: "/recordings/call".into(),
        format,
        rate: 8000,
        channels: 1,
        append: false,
        drop_last_max: 0,
    }))
}

/// A second of a value.
fn block(recording: &mut Recording, second: u64, value: i16) -> bool {
    let format = recording.setup().format;
    if !recording.has_room() {
        recording.refuse(8000, "slow");
        return false;
    }
    let mut bytes = Vec::new();
    encode::direct(format, &[value; 8000], &mut bytes);
    recording.block(second * 8000, 8000, bytes);
    true
}

fn seconds(disk: &Disk) -> Vec<i16> {
    disk.bytes[44..]
        .chunks_exact(16_000)
        .map(|second| {
            let first = i16::from_le_bytes([second[0], second[1]]);
            assert!(
                second
                    .chunks_exact(2)
                    .all(|s| i16::from_le_bytes([s[0], s[1]]) == first),
                "a second is one value"
            );
            first
        })
        .collect()
}

#[test]
fn a_disk_that_is_full_for_a_while_costs_nothing() {
    let mut disk = Disk::default();
    let mut recording = recording(FileFormat::Wav);
    let mut news = Vec::new();
    for second in 0..30 {
        disk.error = (5..15).contains(&second).then_some(libc::ENOSPC);
        assert!(block(&mut recording, second, second as i16 + 1));
        recording.retry();
        disk.serve(&mut recording);
        news.extend(recording.take_news());
    }
    recording.finish(30 * 8000, 0);
    disk.serve_to_the_end(&mut recording);
    assert!(
        matches!(&news[..], [News::Trouble(why), News::Resumed(0)] if why.contains("space")),
        "{news:?}"
    );
    let expected: Vec<i16> = (1..=30).collect();
    assert_eq!(seconds(&disk), expected);
    assert_eq!(
        recording.report(),
        Report {
            samples: 30 * 8000,
            lost_samples: 0,
            error: None
        }
    );
}

#[test]
fn a_disk_that_is_full_for_long_leaves_silence_where_it_was_and_time_stays_true() {
    for format in [FileFormat::Wav, FileFormat::Ulaw] {
        let mut disk = Disk::default();
        let mut recording = recording(format);
        let mut news = Vec::new();
        let mut lost = Vec::new();
        for second in 0..100 {
            disk.error = (10..60).contains(&second).then_some(libc::ENOSPC);
            if !block(&mut recording, second, 1000 + second as i16) {
                lost.push(second);
            }
            recording.retry();
            disk.serve(&mut recording);
            news.extend(recording.take_news());
        }
        recording.finish(100 * 8000, 0);
        disk.serve_to_the_end(&mut recording);
        assert!(
            lost.len() >= 30 && lost.iter().all(|second| (20..=61).contains(second)),
            "{lost:?}"
        );
        let lost_samples = 8000 * lost.len() as u64;
        assert!(
            matches!(&news[..], [News::Trouble(_), News::Resumed(n)] if *n == lost_samples),
            "{news:?}"
        );
        assert_eq!(
            recording.report(),
            Report {
                samples: 100 * 8000,
                lost_samples,
                error: None
            }
        );
        if format == FileFormat::Wav {
            for (second, value) in seconds(&disk).into_iter().enumerate() {
                let expected = if lost.contains(&(second as u64)) {
                    0
                } else {
                    1000 + second as i16
                };
                assert_eq!(value, expected, "second {second}");
            }
        } else {
            assert_eq!(disk.bytes.len(), 800_000);
            for second in lost {
                let at = 8000 * second as usize;
                assert_eq!(disk.bytes[at..at + 8000], [0xFF; 8000], "second {second}");
            }
        }
    }
}

#[test]
fn a_recording_that_cannot_be_opened_tells_why_at_once() {
    for (code, text) in [(libc::EACCES, "denied"), (libc::ENOTDIR, "directory")] {
        let mut disk = Disk {
            error: Some(code),
            ..Disk::default()
        };
        let mut recording = recording(FileFormat::Wav);
        disk.serve(&mut recording);
        let news = recording.take_news();
        assert!(
            matches!(&news, Some(News::Trouble(why)) if why.contains("/recordings/call")
                && why.to_lowercase().contains(text)),
            "{news:?}"
        );
        assert!(!block(&mut recording, 0, 1), "nothing waits for it");
        assert!(!recording.is_finished());
        recording.finish(8000, 0);
        disk.serve_to_the_end(&mut recording);
        let report = recording.report();
        assert_eq!((report.samples, report.lost_samples), (0, 8000));
        assert!(report.error.is_some());
    }
}

#[test]
fn a_disk_that_is_full_at_the_start_is_tried_again() {
    let mut disk = Disk {
        error: Some(libc::ENOSPC),
        ..Disk::default()
    };
    let mut recording = recording(FileFormat::Wav);
    for second in 0..4 {
        assert!(block(&mut recording, second, 9));
        recording.retry();
        disk.serve(&mut recording);
    }
    disk.error = None;
    recording.retry();
    disk.serve(&mut recording);
    recording.finish(4 * 8000, 0);
    disk.serve_to_the_end(&mut recording);
    assert_eq!(seconds(&disk), [9; 4]);
    assert_eq!((disk.opened, recording.report().error), (1, None));
}

#[test]
fn a_disk_that_stays_full_ends_the_recording_all_the_same() {
    let mut disk = Disk::default();
    let mut recording = recording(FileFormat::Wav);
    block(&mut recording, 0, 7);
    disk.serve(&mut recording);
    disk.error = Some(libc::ENOSPC);
    block(&mut recording, 1, 8);
    recording.finish(16_000, 0);
    disk.serve_to_the_end(&mut recording);
    assert!(disk.waited < 10, "within seconds: {}", disk.waited);
    let report = recording.report();
    assert_eq!((report.samples, report.lost_samples), (8000, 8000));
    assert!(report.error.is_some_and(|error| error.contains("space")));
    let kind = wav::Kind::Pcm {
        rate: 8000,
        channels: 1,
    };
    let layout = kind.parse(&disk.bytes, disk.bytes.len() as u64);
    assert_eq!(layout.map(|layout| layout.len), Ok(16_000), "and it plays");
}

#[test]
fn a_disk_that_never_takes_anything_ends_too() {
    let mut disk = Disk::default();
    let mut recording = recording(FileFormat::Wav);
    disk.serve(&mut recording);
    disk.error = Some(libc::ENOSPC);
    block(&mut recording, 0, 7);
    block(&mut recording, 1, 8);
    block(&mut recording, 3, 8);
    recording.finish(32_000, 0);
    disk.serve_to_the_end(&mut recording);
    assert_eq!(recording.report().lost_samples, 24_000);
}

#[test]
fn short_writes_are_continued() {
    let mut disk = Disk {
        short: Some(1001),
        ..Disk::default()
    };
    let mut recording = recording(FileFormat::Wav);
    for second in 0..3 {
        block(&mut recording, second, 5 + second as i16);
        disk.serve(&mut recording);
    }
    disk.short = None;
    recording.finish(3 * 8000, 0);
    disk.serve_to_the_end(&mut recording);
    assert_eq!(seconds(&disk), [5, 6, 7]);
    assert_eq!(recording.report().samples, 24_000);
}

#[test]
fn a_stream_waits_for_its_disk_and_has_its_head_replaced_at_the_end() {
    let mut disk = Disk::default();
    let mut recording = recording(FileFormat::Mp3);
    for second in 0..8u8 {
        disk.error = (2..6).contains(&second).then_some(libc::EIO);
        assert!(recording.has_room());
        recording.encoding();
        recording.encoded(8000, vec![second; 10]);
        recording.retry();
        disk.serve(&mut recording);
    }
    recording.encoded(0, vec![0xEE; 4]);
    recording.finish_stream(64_000, 0, Some(vec![0xAA; 3]));
    disk.serve_to_the_end(&mut recording);
    let mut expected: Vec<u8> = (0..8).flat_map(|second| [second; 10]).collect();
    expected[..3].fill(0xAA);
    expected.extend([0xEE; 4]);
    assert_eq!(disk.bytes, expected);
    assert_eq!(recording.report().samples, 64_000);
}

/// The steps of a short recording that is a stream, and what is at work when its encoder fails.
#[test]
fn an_encoder_that_fails_lets_the_disk_end_what_it_does_and_closes_the_file() {
    for at_work in ["open", "write", "head", "close"] {
        let mut disk = Disk::default();
        let mut recording = recording(FileFormat::Mp3);
        recording.encoding();
        recording.encoded(8000, vec![1; 100]);
        if at_work == "head" || at_work == "close" {
            recording.finish_stream(8000, 5, Some(vec![2; 10]));
        }
        let step = loop {
            let step = recording.step().expect("something to do");
            match (&step, at_work) {
                (Step::Open { .. }, "open") | (Step::Close(_), "close") => break step,
                (Step::Write { offset: 0, bytes }, "write") if bytes[0] == 1 => break step,
                (Step::Write { offset: 0, bytes }, "head") if bytes[0] == 2 => break step,
                _ => disk.perform(&mut recording, step),
            }
        };
        recording.encoder_failed("out of breath");
        recording.finish(recording.covered(), 5);
        assert!(recording.step().is_none(), "{at_work}: one thing at a time");
        assert!(!recording.is_finished(), "{at_work}: the file is at work");
        disk.perform(&mut recording, step);
        let mut closed = 0;
        while let Some(step) = recording.step() {
            assert!(matches!(step, Step::Close(_)), "{at_work}: {step:?}");
            disk.perform(&mut recording, step);
            closed += 1;
        }
        assert_eq!(closed, u32::from(at_work != "close"), "{at_work}");
        assert!(recording.is_finished(), "{at_work}");
        let news = recording.take_news();
        assert!(
            matches!(news, Some(News::Trouble(_))),
            "{at_work}: {news:?}"
        );
        let report = recording.report();
        let error = report.error.unwrap_or_default();
        assert!(error.contains("out of breath"), "{at_work}: {error}");
        assert_eq!(report.samples + report.lost_samples, 8005, "{at_work}");
    }
}
