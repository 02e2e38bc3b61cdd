//! Tones written as text: `425/500,0/500` (hertz/milliseconds, `350+440` for two at once, `!` in front: played once).

use std::f64::consts::TAU;
use std::sync::Arc;

use strowger_media::Sound;

/// Longest tone list, in samples: one minute.
const SAMPLES_MAX: usize = 60 * 8000;
/// Length of a tone without a length, in milliseconds.
const CONTINUOUS_MS: u32 = 1000;
const AMPLITUDE: f64 = 8000.0;

/// What a tone list says: parts played once, then parts repeated.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tones {
    pub(crate) once: Vec<i16>,
    pub(crate) repeated: Vec<i16>,
}

impl Tones {
    /// Reads a list of tones; the error says which part is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut tones = Self {
            once: Vec::new(),
            repeated: Vec::new(),
        };
        for part in text
            .split([',', '|'])
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (once, body) = match part.strip_prefix('!') {
                Some(body) => (true, body),
                None => (false, part),
            };
            let (pitch, length) = match body.split_once('/') {
                Some((pitch, length)) => (
                    pitch,
                    length.trim().parse::<u32>().map_err(|_| {
                        format!("\"{part}\": \"{length}\" is no length in milliseconds")
                    })?,
                ),
                None => (body, CONTINUOUS_MS),
            };
            let pitches = pitch
                .split(['+', '*'])
                .map(|hertz| {
                    hertz
                        .trim()
                        .parse::<u16>()
                        .ok()
                        .filter(|hertz| *hertz < 4000)
                })
                .collect::<Option<Vec<u16>>>()
                .ok_or_else(|| format!("\"{part}\": \"{pitch}\" is no frequency below 4000 Hz"))?;
            let target = if once {
                &mut tones.once
            } else {
                &mut tones.repeated
            };
            generate(&pitches, length, target)?;
        }
        if tones.once.is_empty() && tones.repeated.is_empty() {
            return Err("the list of tones is empty".to_owned());
        }
        Ok(tones)
    }
}

fn generate(pitches: &[u16], length_ms: u32, out: &mut Vec<i16>) -> Result<(), String> {
    let samples = usize::try_from(length_ms)
        .unwrap_or(usize::MAX)
        .saturating_mul(8);
    if out.len().saturating_add(samples) > SAMPLES_MAX {
        return Err("the tones are longer than a minute".to_owned());
    }
    let sounding: Vec<f64> = pitches
        .iter()
        .filter(|hertz| **hertz > 0)
        .map(|hertz| f64::from(*hertz))
        .collect();
    for index in 0..samples {
        let time = index as f64 / 8000.0;
        let value: f64 = sounding
            .iter()
            .map(|hertz| (TAU * hertz * time).sin())
            .sum();
        let value = if sounding.is_empty() {
            0.0
        } else {
            value / sounding.len() as f64
        };
        out.push((value * AMPLITUDE) as i16);
    }
    Ok(())
}

/// One second of 1004 Hz at 0 dBm0, as `Milliwatt` sends it.
pub(crate) fn milliwatt() -> Arc<Sound> {
    let samples = (0..8000)
        .map(|index| ((TAU * 1004.0 * f64::from(index) / 8000.0).sin() * 22_000.0) as i16)
        .collect();
    Arc::new(Sound { samples })
}

/// Samples as a sound.
pub(crate) fn sound(samples: Vec<i16>) -> Arc<Sound> {
    Arc::new(Sound {
        samples: samples.into(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_list_is_as_long_as_its_parts() {
        let tones = Tones::parse("425/500,0/250").unwrap();
        assert_eq!((tones.once.len(), tones.repeated.len()), (0, 6000));
        assert!(tones.repeated[4000..].iter().all(|sample| *sample == 0));
        assert!(tones.repeated[..4000].iter().any(|sample| *sample > 7000));
        let tones = Tones::parse("!950/330,!1400/330,0").unwrap();
        assert_eq!((tones.once.len(), tones.repeated.len()), (5280, 8000));
        assert_eq!(Tones::parse("350+440").unwrap().repeated.len(), 8000);
    }

    #[test]
    fn what_is_no_tone_is_told() {
        for text in ["", "x", "425/long", "9000/100", "425/99999999", "-1/10"] {
            assert!(Tones::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_tone_has_its_pitch() {
        let tones = Tones::parse("1000/1000").unwrap();
        let crossings = tones
            .repeated
            .windows(2)
            .filter(|pair| pair[0] < 0 && pair[1] >= 0)
            .count();
        assert!((998..=1001).contains(&crossings), "{crossings}");
    }

    proptest! {
        #[test]
        fn any_text_is_tones_or_an_error(text in "[0-9+*/!,| a]{0,30}") {
            let _ = Tones::parse(&text);
        }
    }
}
