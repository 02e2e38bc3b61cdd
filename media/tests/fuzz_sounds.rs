//! Mutated sound files of every kind: each is read or refused, within its limit, and nothing panics.
//! `STROWGER_FUZZ_ITERATIONS` raises the number of mutations; a failure prints its seed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use strowger_media::{SAMPLE_RATE, Sound, SoundFormat, WIDE_RATE};

const ITERATIONS: u64 = 3000;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn mutate(&mut self, file: &[u8]) -> Vec<u8> {
        let mut bytes = file.to_vec();
        for _ in 0..=self.below(8) {
            // Headers matter most.
            let range = if self.below(2) == 0 {
                bytes.len().min(64)
            } else {
                bytes.len()
            };
            let at = self.below(range);
            match self.below(5) {
                0 if !bytes.is_empty() => bytes[at] = self.next() as u8,
                1 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                2 if self.below(8) == 0 => bytes.truncate(at),
                3 => bytes.insert(at.min(bytes.len()), [0, 0xFF, 0x7F, 0x80][self.below(4)]),
                _ => {
                    let end = (at + self.below(16)).min(bytes.len());
                    bytes.drain(at.min(end)..end);
                }
            }
        }
        bytes
    }
}

/// Makes the checksums of Ogg pages right again (RFC 3533 §6), so that mutations reach the codecs.
fn mend(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(page) = bytes.get(at..).filter(|page| page.starts_with(b"OggS")) {
        let Some(&segments) = page.get(26) else {
            return;
        };
        let Some(lacing) = page.get(27..27 + usize::from(segments)) else {
            return;
        };
        let body: usize = lacing.iter().map(|&length| usize::from(length)).sum();
        let end = (at + 27 + lacing.len() + body).min(bytes.len());
        bytes[at + 22..at + 26].fill(0);
        let sum = bytes[at..end].iter().fold(0u32, |sum, &byte| {
            (0..8).fold(sum ^ u32::from(byte) << 24, |sum, _| {
                (sum << 1) ^ (if sum >> 31 == 1 { 0x04C1_1DB7 } else { 0 })
            })
        });
        bytes[at + 22..at + 26].copy_from_slice(&sum.to_le_bytes());
        at = end;
    }
}

/// Every mutation is read or refused; tells how many were read.
fn fuzz(format: SoundFormat, file: &[u8]) -> u64 {
    let iterations = std::env::var("STROWGER_FUZZ_ITERATIONS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(ITERATIONS);
    let mut read = 0;
    for n in 0..iterations {
        let seed = 0x9E37_79B9_7F4A_7C15 ^ (n + 1);
        let mut random = Random(seed);
        random.next();
        let mut bytes = random.mutate(file);
        mend(&mut bytes);
        let rate = [SAMPLE_RATE, WIDE_RATE][random.below(2)];
        let length = bytes.len();
        let result = catch_unwind(AssertUnwindSafe(|| Sound::decode(format, bytes, rate)));
        match result {
            Ok(Ok(sound)) => {
                assert_eq!(sound.rate, rate);
                // No byte is worth more than 200 ms (an Opus or Vorbis packet of one byte is at most that long).
                let limit = (length + 1024) * 200 * rate as usize / 1000;
                assert!(sound.samples.len() <= limit, "seed {seed:#x}");
                read += 1;
            }
            Ok(Err(error)) => assert!(!error.to_string().is_empty()),
            Err(_) => panic!("{format:?}: seed {seed:#x} panics"),
        }
    }
    read
}

#[test]
fn wav_files_of_any_shape_are_read_or_refused() {
    let mut wav = b"RIFF\x2c\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\x08\0\0\0".to_vec();
    wav.extend_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(fuzz(SoundFormat::Wav, &wav) > 100);
}

#[test]
fn gsm_of_any_shape_is_read_or_refused() {
    assert!(fuzz(SoundFormat::Wav, include_bytes!("data/wav49.wav")) > 100);
    assert!(fuzz(SoundFormat::Gsm, include_bytes!("data/tone.gsm")) > 100);
}

#[test]
fn g722_of_any_shape_is_read() {
    assert!(fuzz(SoundFormat::G722, include_bytes!("data/tone.gsm")) > 100);
}

#[test]
fn mp3_files_of_any_shape_are_read_or_refused() {
    assert!(fuzz(SoundFormat::Mp3, include_bytes!("data/tone.mp3")) > 100);
}

#[test]
fn vorbis_files_of_any_shape_are_read_or_refused() {
    assert!(fuzz(SoundFormat::Ogg, include_bytes!("data/tone.ogg")) > 10);
}

#[test]
fn opus_files_of_any_shape_are_read_or_refused() {
    assert!(fuzz(SoundFormat::Ogg, include_bytes!("data/tone.opus")) > 10);
}
