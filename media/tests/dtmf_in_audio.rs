//! In-band digits on the conditions of ITU-T Q.24 (levels, twist, frequency tolerance, durations, noise, dial tone), and
//! speech that must not be taken for digits. What was measured is printed; `cargo test -p strowger-media --test
//! dtmf_in_audio -- --nocapture` shows it.

use std::f64::consts::TAU;
use std::path::{Path, PathBuf};

use strowger_media::codec::g711::{alaw_decode, alaw_encode};
use strowger_media::dsp::DtmfDetector;
use strowger_media::rtp::dtmf::Press;
use strowger_media::{SAMPLE_RATE, Sound, SoundFormat};

const DIGITS: &str = "123A456B789C*0#D";
const LOW: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
const HIGH: [f64; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
/// Peak of a sine of 0 dBm0 in 16 bit samples (G.711: full scale is +3.14 dBm0).
const ZERO_DBM0: f64 = 22_378.0;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// 0..1
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Normal, of variance 1.
    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().max(1e-12).ln()).sqrt() * (TAU * self.unit()).cos()
    }
}

/// How digits are sent.
#[derive(Clone, Copy)]
struct Line {
    low_dbm0: f64,
    high_dbm0: f64,
    /// Parts of the nominal frequency.
    off_low: f64,
    off_high: f64,
    on_ms: f64,
    off_ms: f64,
    /// Below the weaker tone.
    snr_db: Option<f64>,
    /// Frequencies with their levels.
    beside: &'static [(f64, f64)],
    /// The tone is broken off for so many ms in its middle.
    broken_ms: f64,
}

const PLAIN: Line = Line {
    low_dbm0: -9.0,
    high_dbm0: -7.0,
    off_low: 0.0,
    off_high: 0.0,
    on_ms: 40.0,
    off_ms: 40.0,
    snr_db: None,
    beside: &[],
    broken_ms: 0.0,
};

fn amplitude(dbm0: f64) -> f64 {
    ZERO_DBM0 * 10f64.powf(dbm0 / 20.0)
}

/// All sixteen digits after each other, `rounds` times, each beginning anywhere in a step, through A-law.
fn send(line: &Line, rounds: usize, random: &mut Random) -> (Vec<i16>, String) {
    let mut samples: Vec<f64> = Vec::new();
    let mut digits = String::new();
    let ms = |ms: f64| (ms * 8.0).round() as usize;
    samples.resize(ms(60.0), 0.0);
    for _ in 0..rounds {
        for (index, digit) in DIGITS.chars().enumerate() {
            samples.resize(
                samples.len() + ms(line.off_ms) + (random.next() % 40) as usize,
                0.0,
            );
            let low = LOW[index / 4] * (1.0 + line.off_low);
            let high = HIGH[index % 4] * (1.0 + line.off_high);
            let phases = [random.unit() * TAU, random.unit() * TAU];
            let on = ms(line.on_ms);
            let gap = ms(line.broken_ms);
            for n in 0..on {
                let t = n as f64 / 8000.0;
                let broken = n.abs_diff(on / 2) * 2 < gap;
                let value = amplitude(line.low_dbm0) * (TAU * low * t + phases[0]).sin()
                    + amplitude(line.high_dbm0) * (TAU * high * t + phases[1]).sin();
                samples.push(if broken { 0.0 } else { value });
            }
            digits.push(digit);
        }
    }
    samples.resize(samples.len() + ms(100.0), 0.0);
    if let Some(snr_db) = line.snr_db {
        let weaker = line.low_dbm0.min(line.high_dbm0);
        let rms = amplitude(weaker - snr_db) / 2f64.sqrt();
        for sample in &mut samples {
            *sample += rms * random.normal();
        }
    }
    for (hz, dbm0) in line.beside {
        for (n, sample) in samples.iter_mut().enumerate() {
            *sample += amplitude(*dbm0) * (TAU * hz * n as f64 / 8000.0).sin();
        }
    }
    let coded = samples
        .iter()
        .map(|s| alaw_decode(alaw_encode(s.clamp(-32768.0, 32767.0) as i16)))
        .collect();
    (coded, digits)
}

/// The digits heard, and whether begins and ends alternate.
fn hear(samples: &[i16]) -> (String, Vec<u32>) {
    let mut detector = DtmfDetector::default();
    let mut digits = String::new();
    let mut lengths = Vec::new();
    for frame in samples.chunks(160) {
        detector.feed(frame, |press| match press {
            Press::Begin(digit) => {
                assert_eq!(lengths.len(), digits.chars().count(), "two begin at once");
                digits.push(digit);
            }
            Press::End(digit, length) => {
                assert_eq!(digits.chars().last(), Some(digit));
                lengths.push(length);
            }
        });
    }
    (digits, lengths)
}

/// How many of the digits sent were heard, of how many; asserts that nothing else was.
fn score(name: &str, line: &Line) -> (usize, usize) {
    let mut random = Random(0x1234_5678_9ABC_DEF1);
    let (samples, sent) = send(line, 10, &mut random);
    let (heard, _) = hear(&samples);
    // In order, each once: heard must be a subsequence of sent.
    let mut rest = sent.chars();
    let wrong = heard
        .chars()
        .filter(|digit| !rest.any(|s| s == *digit))
        .count();
    println!(
        "{name:48} {:4} of {:4} digits, {wrong} wrong",
        heard.len() - wrong,
        sent.len()
    );
    assert_eq!(wrong, 0, "{name}: {heard}");
    (heard.len(), sent.len())
}

#[test]
fn every_digit_is_heard_where_it_must_be() {
    let lines: &[(&str, Line)] = &[
        ("nominal, 40 ms on, 40 ms off", PLAIN),
        (
            "nominal, 100 ms on, 100 ms off",
            Line {
                on_ms: 100.0,
                off_ms: 100.0,
                ..PLAIN
            },
        ),
        (
            "-3 dBm0 each",
            Line {
                low_dbm0: -3.0,
                high_dbm0: -3.0,
                ..PLAIN
            },
        ),
        (
            "0 dBm0 each (clipped by the codec)",
            Line {
                low_dbm0: 0.0,
                high_dbm0: 0.0,
                ..PLAIN
            },
        ),
        (
            "-25 dBm0 each",
            Line {
                low_dbm0: -25.0,
                high_dbm0: -25.0,
                ..PLAIN
            },
        ),
        (
            "low tone 8 dB stronger",
            Line {
                low_dbm0: -7.0,
                high_dbm0: -15.0,
                ..PLAIN
            },
        ),
        (
            "high tone 4 dB stronger",
            Line {
                low_dbm0: -11.0,
                high_dbm0: -7.0,
                ..PLAIN
            },
        ),
        (
            "frequencies +1.5 %",
            Line {
                off_low: 0.015,
                off_high: 0.015,
                ..PLAIN
            },
        ),
        (
            "frequencies -1.5 %",
            Line {
                off_low: -0.015,
                off_high: -0.015,
                ..PLAIN
            },
        ),
        (
            "low +1.5 %, high -1.5 %",
            Line {
                off_low: 0.015,
                off_high: -0.015,
                ..PLAIN
            },
        ),
        (
            "low -1.5 %, high +1.5 %",
            Line {
                off_low: -0.015,
                off_high: 0.015,
                ..PLAIN
            },
        ),
        (
            "noise 15 dB below",
            Line {
                snr_db: Some(15.0),
                ..PLAIN
            },
        ),
        (
            "noise 15 dB below, -25 dBm0",
            Line {
                low_dbm0: -25.0,
                high_dbm0: -25.0,
                snr_db: Some(15.0),
                ..PLAIN
            },
        ),
        (
            "noise 15 dB below, +1.5 %",
            Line {
                off_low: 0.015,
                off_high: 0.015,
                snr_db: Some(15.0),
                ..PLAIN
            },
        ),
        (
            "noise 15 dB below, low 8 dB stronger",
            Line {
                low_dbm0: -7.0,
                high_dbm0: -15.0,
                snr_db: Some(15.0),
                ..PLAIN
            },
        ),
        (
            "dial tone 425 Hz at -10 dBm0",
            Line {
                beside: &[(425.0, -10.0)],
                ..PLAIN
            },
        ),
        (
            "dial tone 350+440 Hz at -13 dBm0 each",
            Line {
                beside: &[(350.0, -13.0), (440.0, -13.0)],
                ..PLAIN
            },
        ),
        (
            "dial tone 425 Hz 6 dB above digits at -16 dBm0",
            Line {
                low_dbm0: -16.0,
                high_dbm0: -16.0,
                beside: &[(425.0, -10.0)],
                ..PLAIN
            },
        ),
    ];
    for (name, line) in lines {
        let (heard, sent) = score(name, line);
        assert_eq!(heard, sent, "{name}");
    }
}

#[test]
fn nothing_is_heard_where_nothing_must_be() {
    let lines: &[(&str, Line)] = &[
        (
            "23 ms on",
            Line {
                on_ms: 23.0,
                ..PLAIN
            },
        ),
        (
            "low +3.5 %",
            Line {
                off_low: 0.035,
                on_ms: 100.0,
                ..PLAIN
            },
        ),
        (
            "low -3.5 %",
            Line {
                off_low: -0.035,
                on_ms: 100.0,
                ..PLAIN
            },
        ),
        (
            "high +3.5 %",
            Line {
                off_high: 0.035,
                on_ms: 100.0,
                ..PLAIN
            },
        ),
        (
            "high -3.5 %",
            Line {
                off_high: -0.035,
                on_ms: 100.0,
                ..PLAIN
            },
        ),
        (
            "both +3.5 %",
            Line {
                off_low: 0.035,
                off_high: 0.035,
                on_ms: 100.0,
                ..PLAIN
            },
        ),
        (
            "-45 dBm0 each",
            Line {
                low_dbm0: -45.0,
                high_dbm0: -45.0,
                on_ms: 100.0,
                ..PLAIN
            },
        ),
        (
            "low tone alone",
            Line {
                high_dbm0: -90.0,
                on_ms: 100.0,
                ..PLAIN
            },
        ),
        (
            "high tone alone",
            Line {
                low_dbm0: -90.0,
                on_ms: 100.0,
                ..PLAIN
            },
        ),
        (
            "high tone 12 dB stronger",
            Line {
                low_dbm0: -19.0,
                high_dbm0: -7.0,
                on_ms: 100.0,
                ..PLAIN
            },
        ),
    ];
    for (name, line) in lines {
        let (heard, _) = score(name, line);
        assert_eq!(heard, 0, "{name}");
    }
    let mut random = Random(77);
    let noise: Vec<i16> = (0..8000 * 60)
        .map(|_| (random.normal() * 4000.0) as i16)
        .collect();
    assert_eq!(hear(&noise).0, "", "a minute of noise");
}

#[test]
fn a_tone_broken_for_10_ms_is_one_digit_of_its_whole_length() {
    let line = Line {
        on_ms: 120.0,
        off_ms: 60.0,
        broken_ms: 10.0,
        ..PLAIN
    };
    let (samples, sent) = send(&line, 4, &mut Random(99));
    let (heard, lengths) = hear(&samples);
    assert_eq!(heard, sent);
    assert!(
        lengths.iter().all(|length| (100..=130).contains(length)),
        "{lengths:?}"
    );
}

#[test]
fn a_digit_that_follows_without_a_gap_is_heard_too() {
    let line = Line {
        on_ms: 80.0,
        off_ms: 0.0,
        ..PLAIN
    };
    let (samples, sent) = send(&line, 2, &mut Random(5));
    assert_eq!(hear(&samples).0, sent);
}

fn sounds(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of sounds") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sounds(&path, all);
        } else if path.extension().is_some_and(|e| e == "wav") {
            all.push(path);
        }
    }
}

/// The same at another pitch and speed.
fn at_speed(samples: &[i16], speed: f64) -> Vec<i16> {
    let length = (samples.len() as f64 / speed) as usize;
    (0..length.saturating_sub(1))
        .map(|n| {
            let at = n as f64 * speed;
            let (whole, part) = (at as usize, at.fract());
            let a = f64::from(samples.get(whole).copied().unwrap_or(0));
            let b = f64::from(samples.get(whole + 1).copied().unwrap_or(0));
            (a + (b - a) * part) as i16
        })
        .collect()
}

/// Talk-off: the prompts of the repository, at speeds that make nine voices of each, at two levels.
#[test]
fn speech_is_not_taken_for_digits() {
    let mut files = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sounds");
    sounds(&folder, &mut files);
    files.sort();
    let (mut seconds, mut hits) = (0.0, Vec::new());
    for file in &files {
        let sound = Sound::decode(
            SoundFormat::Wav,
            std::fs::read(file).expect("readable"),
            SAMPLE_RATE,
        )
        .expect("a sound");
        for speed in [0.7, 0.78, 0.86, 0.93, 1.0, 1.08, 1.17, 1.27, 1.4] {
            let samples = at_speed(&sound.samples, speed);
            for gain in [1.0, 0.3] {
                let samples: Vec<i16> = samples
                    .iter()
                    .map(|s| (f64::from(*s) * gain) as i16)
                    .collect();
                seconds += samples.len() as f64 / 8000.0;
                let (heard, _) = hear(&samples);
                if !heard.is_empty() {
                    hits.push(format!("{} at {speed}: {heard}", file.display()));
                }
            }
        }
    }
    println!(
        "{:.1} minutes of speech and music, {} hits",
        seconds / 60.0,
        hits.len()
    );
    assert!(seconds > 600.0, "too little to tell: {seconds} s");
    assert!(hits.is_empty(), "{hits:#?}");
}
