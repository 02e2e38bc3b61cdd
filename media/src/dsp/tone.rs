//! Tones.

use crate::sound::SAMPLE_RATE;

/// A generator of two sines added (or of one, with the second amplitude 0). Keeps its phase between frames.
#[derive(Copy, Clone, Debug)]
pub struct Dual {
    phase: [f32; 2],
    step: [f32; 2],
    amplitude: [f32; 2],
}

impl Dual {
    /// Two frequencies in Hz with their peak amplitudes in sample units.
    pub fn new(hz: [f32; 2], amplitude: [f32; 2]) -> Self {
        Self {
            phase: [0.0; 2],
            step: hz.map(|f| f / SAMPLE_RATE as f32),
            amplitude,
        }
    }

    /// Fills a frame with the next samples.
    pub fn fill(&mut self, frame: &mut [i16]) {
        for sample in frame {
            let mut sum = 0.0;
            for ((phase, step), amplitude) in
                self.phase.iter_mut().zip(self.step).zip(self.amplitude)
            {
                sum += (*phase * std::f32::consts::TAU).sin() * amplitude;
                // In turns, not radians: the wrap is exact, a tone of hours does not drift.
                *phase = (*phase + step).fract();
            }
            *sample = sum as i16;
        }
    }
}

/// Peak of a sine of 0 dBm0: 3.17 dB below the full load of u-law (ITU-T G.711 table 2a).
const ZERO_DBM0: f32 = 22_300.0;
/// The low frequencies at -8 dBm0 and the high ones, which lines attenuate more, at -6.5 dBm0.
const DTMF_LOW: f32 = 0.398 * ZERO_DBM0;
const DTMF_HIGH: f32 = 0.473 * ZERO_DBM0;

/// The tone of a DTMF digit (ITU-T Q.23); `None` for what is no digit.
pub fn dtmf_tone(digit: char) -> Option<Dual> {
    let (row, column) = match digit.to_ascii_uppercase() {
        '1' => (0, 0),
        '2' => (0, 1),
        '3' => (0, 2),
        'A' => (0, 3),
        '4' => (1, 0),
        '5' => (1, 1),
        '6' => (1, 2),
        'B' => (1, 3),
        '7' => (2, 0),
        '8' => (2, 1),
        '9' => (2, 2),
        'C' => (2, 3),
        '*' => (3, 0),
        '0' => (3, 1),
        '#' => (3, 2),
        'D' => (3, 3),
        _ => return None,
    };
    let low = [697.0, 770.0, 852.0, 941.0][row];
    let high = [1209.0, 1336.0, 1477.0, 1633.0][column];
    Some(Dual::new([low, high], [DTMF_LOW, DTMF_HIGH]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::g711::{ulaw_decode, ulaw_encode};
    use crate::dsp::Goertzel;

    #[test]
    fn a_digit_has_its_two_frequencies_and_no_other() {
        let mut tone = dtmf_tone('7').expect("7 is a digit");
        let mut samples = [0i16; 800];
        // In two pieces: the phase goes on.
        let (first, second) = samples.split_at_mut(333);
        tone.fill(first);
        tone.fill(second);
        for (hz, present) in [
            (697.0, false),
            (852.0, true),
            (1209.0, true),
            (1336.0, false),
        ] {
            let amplitude = Goertzel::new(hz).amplitude(&samples);
            assert_eq!(amplitude > 3000.0, present, "{hz}: {amplitude}");
        }
        assert!(dtmf_tone('x').is_none());
    }

    #[test]
    fn every_digit_is_as_loud_as_a_telephone_sends_it() {
        let low = [697.0, 770.0, 852.0, 941.0];
        let high = [1209.0, 1336.0, 1477.0, 1633.0];
        for (place, digit) in "123A456B789C*0#D".chars().enumerate() {
            // Through u-law, as it is heard. A second: no frequency leaks into the other.
            let mut samples = [0i16; 8000];
            dtmf_tone(digit).expect("a digit").fill(&mut samples);
            let clipped = samples.iter().filter(|s| s.unsigned_abs() > 32_000).count();
            assert_eq!(clipped, 0, "{digit}");
            let heard = samples.map(|s| ulaw_decode(ulaw_encode(s)));
            let dbm0 = |hz| 20.0 * (Goertzel::new(hz).amplitude(&heard) / 22_300.0).log10();
            let (low, high) = (dbm0(low[place / 4]), dbm0(high[place % 4]));
            assert!((-9.0..=-6.0).contains(&low), "{digit}: {low} dBm0");
            assert!(
                (1.0..=2.0).contains(&(high - low)),
                "{digit}: {low}, {high}"
            );
        }
    }
}
