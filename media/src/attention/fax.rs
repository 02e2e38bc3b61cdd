//! The calling tone of a fax machine (CNG, ITU-T T.30 §4.2): 1100 Hz within 38 Hz, half a second at a time.
//!
//! Each frame is looked at in halves of 10 ms: short enough that a tone at the edge of its range still holds most of the
//! energy, long enough that the tones of digits do not. Voice never holds one frequency, at one level, for so long.

use super::{FRAME, FRAME_MS, Noticed};
use crate::dsp::Goertzel;

/// Half a frame, in which the tone is sought.
const STEP: usize = FRAME / 2;
const STEP_MS: u32 = FRAME_MS / 2;
/// Of 500 ms less 15 %, with what the beginning and a lost packet may cost.
const LASTED_MS: u32 = 380;
/// Least peak amplitude: -43 dBm0.
const AMPLITUDE_MIN: f32 = 160.0;
/// Share of the energy that the tone has at least; at the edge of its range six tenths are seen.
const SHARE: f32 = 0.5;
/// Greatest change of the amplitude while it lasts.
const STEADY: f32 = 2.0;

/// Tells once when a fax machine calls.
#[derive(Clone, Debug)]
pub struct FaxWatch {
    tone: Goertzel,
    /// Frames that are still listened to.
    frames: u32,
    elapsed_ms: u32,
    lasted_ms: u32,
    amplitude: f32,
    over: bool,
}

impl FaxWatch {
    /// `limit_ms`: how long to listen; 0: as long as the call.
    pub fn new(limit_ms: u32) -> Self {
        Self {
            tone: Goertzel::new(1100.0),
            frames: match limit_ms {
                0 => u32::MAX,
                ms => ms.div_ceil(FRAME_MS),
            },
            elapsed_ms: 0,
            lasted_ms: 0,
            amplitude: 0.0,
            over: false,
        }
    }

    /// Takes the next frame. A frame that never came is silence.
    pub fn frame(&mut self, frame: &[i16]) -> Option<Noticed> {
        self.elapsed_ms = self.elapsed_ms.saturating_add(FRAME_MS);
        self.frames = self.frames.saturating_sub(1);
        if frame.is_empty() {
            self.lasted_ms = 0;
        }
        for step in frame.chunks_exact(STEP) {
            self.step(step);
        }
        if self.lasted_ms >= LASTED_MS {
            self.over = true;
            return Some(Noticed::Fax {
                at_ms: self.elapsed_ms,
            });
        }
        self.over = self.frames == 0;
        None
    }

    fn step(&mut self, step: &[i16]) {
        let energy: f32 = step.iter().map(|s| f32::from(*s) * f32::from(*s)).sum();
        let power = energy / STEP as f32;
        let amplitude = self.tone.amplitude(step);
        let is_tone = amplitude >= AMPLITUDE_MIN && amplitude * amplitude / 2.0 >= SHARE * power;
        let steady = self.lasted_ms == 0
            || (amplitude < self.amplitude * STEADY && self.amplitude < amplitude * STEADY);
        self.lasted_ms = match (is_tone, steady) {
            (true, true) => self.lasted_ms + STEP_MS,
            (true, false) => STEP_MS,
            (false, _) => 0,
        };
        self.amplitude = amplitude;
    }

    /// Has it been told, or the time gone?
    pub fn is_over(&self) -> bool {
        self.over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tones of these frequencies and amplitudes for so long.
    fn tones(parts: &[(f32, f32)], ms: u32) -> Vec<i16> {
        (0..ms * 8)
            .map(|n| {
                let at = n as f32 * std::f32::consts::TAU / 8000.0;
                let sum: f32 = parts.iter().map(|(hz, peak)| (at * hz).sin() * peak).sum();
                sum as i16
            })
            .collect()
    }

    fn heard(watch: &mut FaxWatch, samples: &[i16]) -> Option<u32> {
        let mut at = None;
        for frame in samples.chunks_exact(FRAME) {
            if watch.is_over() {
                break;
            }
            if let Some(Noticed::Fax { at_ms }) = watch.frame(frame) {
                at = Some(at_ms);
            }
        }
        at
    }

    #[test]
    fn the_calling_tone_is_heard_at_every_frequency_level_and_length_allowed() {
        for hz in [1062.0, 1080.0, 1100.0, 1120.0, 1138.0] {
            for peak in [260.0, 2000.0, 12_000.0] {
                for ms in [425, 500, 575] {
                    let mut call = tones(&[], 210);
                    call.extend(tones(&[(hz, peak)], ms));
                    call.extend(tones(&[], 400));
                    let at = heard(&mut FaxWatch::new(0), &call);
                    assert!(
                        at.is_some_and(|at| (580..=680).contains(&at)),
                        "{hz} Hz at {peak} for {ms} ms: {at:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn it_is_heard_through_the_noise_of_a_line() {
        let mut state = 1u32;
        let call: Vec<i16> = tones(&[(1100.0, 3000.0)], 500)
            .into_iter()
            .map(|sample| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                sample + ((state >> 16) as i16 / 40)
            })
            .collect();
        assert!(heard(&mut FaxWatch::new(0), &call).is_some());
    }

    #[test]
    fn nothing_else_is_taken_for_it() {
        let modulated: Vec<i16> = (0..16_000u32)
            .map(|n| {
                // A voice that holds a vowel: harmonics of 220 Hz, its strength swaying.
                let at = n as f32 * std::f32::consts::TAU / 8000.0;
                let sway = 0.6 + 0.4 * (at * 4.0).sin();
                let sum: f32 = (1..=8)
                    .map(|k| {
                        (at * 220.0 * k as f32).sin() * 1500.0 / (k as f32 - 5.0).abs().max(1.0)
                    })
                    .sum();
                (sum * sway) as i16
            })
            .collect();
        for (name, samples) in [
            ("silence", tones(&[], 3000)),
            (
                "dial tone",
                tones(&[(350.0, 3000.0), (440.0, 3000.0)], 3000),
            ),
            ("a digit", tones(&[(697.0, 4000.0), (1209.0, 4000.0)], 3000)),
            ("the answer of a fax", tones(&[(2100.0, 6000.0)], 3000)),
            ("1000 Hz", tones(&[(1000.0, 6000.0)], 3000)),
            ("1200 Hz", tones(&[(1200.0, 6000.0)], 3000)),
            ("too short", tones(&[(1100.0, 6000.0)], 300)),
            ("too weak", tones(&[(1100.0, 100.0)], 3000)),
            ("a voice", modulated),
        ] {
            assert_eq!(heard(&mut FaxWatch::new(0), &samples), None, "{name}");
        }
        // Pips of a tone are no tone.
        let mut pips = Vec::new();
        for _ in 0..10 {
            pips.extend(tones(&[(1100.0, 6000.0)], 200));
            pips.extend(tones(&[], 40));
        }
        assert_eq!(heard(&mut FaxWatch::new(0), &pips), None, "pips");
    }

    #[test]
    fn who_calls_after_the_time_is_not_heard() {
        let mut late = tones(&[], 2000);
        late.extend(tones(&[(1100.0, 3000.0)], 500));
        let mut watch = FaxWatch::new(1500);
        assert_eq!(heard(&mut watch, &late), None);
        assert!(watch.is_over());
        assert!(heard(&mut FaxWatch::new(3000), &late).is_some());
    }

    #[test]
    fn it_is_told_once() {
        let mut watch = FaxWatch::new(0);
        assert!(heard(&mut watch, &tones(&[(1100.0, 3000.0)], 500)).is_some());
        assert!(watch.is_over());
    }
}
