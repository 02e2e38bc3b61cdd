//! Tones written as text: `425/500,0/500` is hertz/milliseconds; `350+440` two at once, `400*25` one modulated by
//! another, `M69` a note; `!` in front: not repeated; without a length: for ever.

use std::f64::consts::TAU;
use std::sync::Arc;

use strowger_media::{Repeat, Sound};

/// Samples a second.
const RATE: u32 = 8000;
/// Longest audible part of a list, in samples of all its tones together: a minute.
const SOUNDING_MAX: usize = 60 * RATE as usize;
/// Longest silence of a list, in milliseconds of all together: ten minutes.
const SILENT_MS_MAX: u32 = 600_000;
/// Tones at once.
const PITCHES_MAX: usize = 8;
/// Peak of one tone, about -10 dBm0.
const AMPLITUDE: f64 = 7219.0;
/// How far a modulated tone goes down.
const DEPTH: f64 = 0.9;
/// Tones that begin or end in silence take this long to do so, which keeps them from clicking.
const RAMP: usize = 4 * RATE as usize / 1000;

/// What is wrong with a list of tones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToneError {
    #[error("the list of tones is empty")]
    Empty,
    #[error("\"{part}\": \"{length}\" is no length in milliseconds")]
    Length { part: String, length: String },
    #[error("\"{part}\": \"{pitch}\" is no frequency below 4000 Hz")]
    Pitch { part: String, pitch: String },
    #[error("the tones last longer than a minute, or the silence between them longer than ten")]
    TooLong,
}

/// Tones and how they are repeated, ready to be played.
#[derive(Clone, Debug)]
pub struct Cadence {
    pub sounds: Vec<Arc<Sound>>,
    pub repeat: Repeat,
}

/// One part of a list.
struct Part {
    kind: Kind,
    /// None: for ever.
    length_ms: Option<u32>,
    once: bool,
}

#[derive(PartialEq)]
enum Kind {
    Silence,
    Sum(Vec<f64>),
    Modulated(f64, f64),
}

impl Cadence {
    /// Reads a list. What stands before the first part without `!` is played once; from there on everything is repeated.
    pub(super) fn parse(list: &str) -> Result<Self, ToneError> {
        let mut parts = list
            .split([',', '|'])
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(Part::parse)
            .collect::<Result<Vec<_>, _>>()?;
        // Nothing comes behind what never ends.
        if let Some(last) = parts.iter().position(|part| part.length_ms.is_none()) {
            parts.truncate(last + 1);
            if let Some(part) = parts.last_mut() {
                part.once = false;
            }
        }
        if parts.is_empty() {
            return Err(ToneError::Empty);
        }
        let endless = parts.last().is_some_and(|part| part.length_ms.is_none());
        let again = if endless {
            Some(parts.len() - 1)
        } else {
            parts.iter().position(|part| !part.once)
        };
        let (mut sounding, mut silent_ms) = (0, 0);
        let mut sounds = Vec::new();
        let mut repeat = Repeat::Once;
        for (index, part) in parts.iter().enumerate() {
            if again == Some(index) {
                repeat = Repeat::After(sounds.len());
            }
            let length_ms = part.length_ms.unwrap_or(1000);
            if part.kind == Kind::Silence {
                silent_ms += length_ms;
                if silent_ms > SILENT_MS_MAX {
                    return Err(ToneError::TooLong);
                }
                silence(length_ms, &mut sounds);
                continue;
            }
            let length = length_ms as usize * RATE as usize / 1000;
            sounding += length;
            if sounding > SOUNDING_MAX {
                return Err(ToneError::TooLong);
            }
            let quiet =
                |other: Option<&Part>| other.is_none_or(|other| other.kind == Kind::Silence);
            let before = index.checked_sub(1).and_then(|before| parts.get(before));
            let follows = parts.get(index + 1).or_else(|| {
                // Behind the last comes the first that is repeated.
                again.and_then(|first| parts.get(first))
            });
            let begins = match (before, again) {
                (None, Some(0)) => quiet(parts.last()),
                (before, _) => quiet(before),
            };
            let ends = part.length_ms.is_some() && quiet(follows);
            sounds.push(Arc::new(Sound::from_samples(part.kind.samples(
                length,
                begins && part.length_ms.is_some(),
                ends,
            ))));
        }
        Ok(Self { sounds, repeat })
    }
}

impl Part {
    fn parse(part: &str) -> Result<Self, ToneError> {
        let (once, body) = match part.strip_prefix('!') {
            Some(body) => (true, body),
            None => (false, part),
        };
        let (pitch, length_ms) = match body.split_once('/') {
            None => (body, None),
            Some((pitch, length)) => {
                let ms = length
                    .trim()
                    .parse::<u32>()
                    .map_err(|_| ToneError::Length {
                        part: part.to_owned(),
                        length: length.to_owned(),
                    })?;
                (pitch, Some(ms).filter(|ms| *ms > 0))
            }
        };
        let wrong = || ToneError::Pitch {
            part: part.to_owned(),
            pitch: pitch.to_owned(),
        };
        let kind = match pitch.split_once('*') {
            Some((tone, by)) => {
                let (tone, by) = (hertz(tone).ok_or_else(wrong)?, hertz(by).ok_or_else(wrong)?);
                if tone == 0.0 {
                    Kind::Silence
                } else {
                    Kind::Modulated(tone, by)
                }
            }
            None => {
                let mut tones = pitch
                    .split('+')
                    .map(hertz)
                    .collect::<Option<Vec<_>>>()
                    .filter(|tones| tones.len() <= PITCHES_MAX)
                    .ok_or_else(wrong)?;
                tones.retain(|tone| *tone > 0.0);
                if tones.is_empty() {
                    Kind::Silence
                } else {
                    Kind::Sum(tones)
                }
            }
        };
        Ok(Self {
            kind,
            length_ms,
            once,
        })
    }
}

/// A frequency: in hertz, or as the number of a note (`M69` is 440 Hz).
fn hertz(text: &str) -> Option<f64> {
    let text = text.trim();
    let hertz = match text.strip_prefix(['M', 'm']) {
        Some(note) => {
            let note: u8 = note.parse().ok()?;
            440.0 * ((f64::from(note) - 69.0) / 12.0).exp2()
        }
        None => f64::from(text.parse::<u16>().ok()?),
    };
    (hertz < 4000.0).then_some(hertz)
}

impl Kind {
    fn samples(&self, length: usize, begins: bool, ends: bool) -> Vec<i16> {
        // More than two tones share what two may have: their sum stays within 16 bits.
        let peak = match self {
            Self::Sum(tones) if tones.len() > 2 => AMPLITUDE * 2.0 / tones.len() as f64,
            _ => AMPLITUDE,
        };
        (0..length)
            .map(|index| {
                let time = index as f64 / f64::from(RATE);
                let value: f64 = match self {
                    Self::Silence => 0.0,
                    Self::Sum(tones) => tones.iter().map(|hertz| (TAU * hertz * time).sin()).sum(),
                    Self::Modulated(hertz, by) => {
                        let envelope = (1.0 + DEPTH * (TAU * by * time).cos()) / (1.0 + DEPTH);
                        (TAU * hertz * time).sin() * envelope
                    }
                };
                let mut edge: f64 = 1.0;
                if begins {
                    edge = edge.min(index as f64 / RAMP as f64);
                }
                if ends {
                    edge = edge.min((length - index) as f64 / RAMP as f64);
                }
                (value * peak * edge) as i16
            })
            .collect()
    }
}

/// Seconds of silence share their samples: a minute of it costs no more than a second.
fn silence(length_ms: u32, sounds: &mut Vec<Arc<Sound>>) {
    let of = |ms: u32| Arc::new(Sound::from_samples(vec![0; (ms * RATE / 1000) as usize]));
    if length_ms >= 1000 {
        let second = of(1000);
        sounds.extend((0..length_ms / 1000).map(|_| Arc::clone(&second)));
    }
    if !length_ms.is_multiple_of(1000) {
        sounds.push(of(length_ms % 1000));
    }
}

/// 1000 Hz for 0.3 s.
pub(super) fn beep() -> Sound {
    Sound::from_samples(Kind::Sum(vec![1000.0]).samples(300 * RATE as usize / 1000, true, true))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Samples played once, and samples repeated.
    fn parts(list: &str) -> (Vec<i16>, Vec<i16>) {
        let cadence = Cadence::parse(list).unwrap();
        let first = match cadence.repeat {
            Repeat::Once => cadence.sounds.len(),
            Repeat::After(first) => first,
            Repeat::Forever => 0,
        };
        let join = |sounds: &[Arc<Sound>]| {
            sounds
                .iter()
                .flat_map(|sound| sound.samples.to_vec())
                .collect()
        };
        (
            join(&cadence.sounds[..first]),
            join(&cadence.sounds[first..]),
        )
    }

    #[test]
    fn a_list_is_as_long_as_its_parts_and_repeats_what_it_says() {
        let lengths = |list| {
            let (once, again) = parts(list);
            (once.len(), again.len())
        };
        assert_eq!(lengths("425/500,0/250"), (0, 6000));
        assert_eq!(lengths("!950/330,!1400/330,!1800/330"), (7920, 0));
        // For ever: what follows is never reached, what precedes comes once, with or without its mark.
        assert_eq!(lengths("!950/330,!1400/330,0,700/100"), (5280, 8000));
        assert_eq!(lengths("950/330,425"), (2640, 8000));
        assert_eq!(lengths("350+440"), (0, 8000));
        // What is not to be repeated, but stands behind what is, comes again with it.
        assert_eq!(lengths("!1/10,2/20,!3/30"), (80, 400));
        assert_eq!(lengths("1400/500,0/60000"), (0, 484_000));
        let (_, again) = parts("425/500,0/250");
        assert!(again[4000..].iter().all(|sample| *sample == 0));
        assert!(again[100..3900].iter().any(|sample| *sample > 7000));
    }

    #[test]
    fn an_endless_tone_has_no_edges_and_one_that_begins_in_silence_has() {
        let (_, again) = parts("425");
        assert!(again[4] > 5000, "it is loud at once");
        let step = again.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max();
        let seam = again[7999].abs_diff(again[0]);
        assert!(seam <= step.unwrap_or(0), "the loop has no click");
        let (_, again) = parts("425/500,0/500");
        assert!(again[4] < 2000 && again[3998] < 2000);
        // Two tones behind each other: only what lies beside silence is soft.
        let (_, again) = parts("400/100,500/100,0/100");
        assert!(again[4] < 2000 && again[797].abs() > 1000);
    }

    #[test]
    fn a_tone_has_its_pitch_and_two_have_both() {
        let crossings = |samples: &[i16]| {
            samples
                .windows(2)
                .filter(|pair| pair[0] < 0 && pair[1] >= 0)
                .count()
        };
        let (_, again) = parts("1000");
        assert!((998..=1001).contains(&crossings(&again)));
        let (_, note) = parts("M69");
        assert!((439..=441).contains(&crossings(&note)));
        let level = |samples: &[i16], hertz: f64| {
            let (mut x, mut y) = (0.0, 0.0);
            for (index, sample) in samples.iter().enumerate() {
                let angle = TAU * hertz * index as f64 / 8000.0;
                x += f64::from(*sample) * angle.cos();
                y += f64::from(*sample) * angle.sin();
            }
            x.hypot(y) * 2.0 / samples.len() as f64
        };
        let (_, both) = parts("350+440");
        for (hertz, wanted) in [(350.0, AMPLITUDE), (440.0, AMPLITUDE), (400.0, 0.0)] {
            assert!((level(&both, hertz) - wanted).abs() < 20.0, "{hertz}");
        }
        let (_, modulated) = parts("400*25");
        let carrier = level(&modulated, 400.0);
        assert!((level(&modulated, 425.0) / carrier - DEPTH / 2.0).abs() < 0.01);
        assert!((level(&modulated, 375.0) / carrier - DEPTH / 2.0).abs() < 0.01);
    }

    #[test]
    fn what_is_no_tone_is_told() {
        for list in [
            "",
            ",",
            "x",
            "425/long",
            "9000/100",
            "425/99999999",
            "-1/10",
            "M200",
            "0/700000",
            "1+2+3+4+5+6+7+8+9",
        ] {
            assert!(Cadence::parse(list).is_err(), "{list}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_tones_or_an_error(list in "[0-9M+*/!,| a]{0,30}") {
            if let Ok(cadence) = Cadence::parse(&list) {
                let sounding: usize = cadence.sounds.iter().map(|sound| sound.samples.len()).sum();
                prop_assert!(sounding > 0 && sounding <= 661 * 8000);
            }
        }
    }
}
