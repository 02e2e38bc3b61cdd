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

/// The tone of a DTMF digit (ITU-T Q.23), about -9 dBm0 each frequency; `None` for what is no digit.
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
    Some(Dual::new([low, high], [7000.0, 8000.0]))
}

#[cfg(test)]
mod tests {
    use super::*;
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
}
