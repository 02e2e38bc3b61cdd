//! Tones, for what does not let packets through unchanged: each speaker has a frequency, and the listener looks which of
//! all frequencies are there. They are whole multiples of 100 Hz, so that in 400 samples none disturbs another.

use super::{FRAME, g711};
use crate::scenario::Codec;

/// How many frequencies there are.
pub const TONES: u32 = 24;
/// Samples that are looked at.
pub const WINDOW: usize = 800;
/// Packets of Opus that are decoded for each look: the first ones bring the decoder into step.
pub const OPUS_FRAMES: usize = 12;
/// Level of a tone, of 32768.
const LEVEL: f64 = 6000.0;
/// A tone with more than this part of its level is there.
const THERE: f64 = 0.15;

/// Frequency `index` in Hz.
pub fn frequency(index: u32) -> f64 {
    400.0 + 100.0 * f64::from(index % TONES)
}

/// Whole seconds of a tone, ready to be sent.
#[derive(Debug)]
pub struct Loops {
    /// For each frequency the payloads of one second, one after the other.
    payloads: Vec<Vec<Vec<u8>>>,
}

impl Loops {
    /// All tones in that codec.
    pub fn new(codec: Codec) -> anyhow::Result<Self> {
        let payloads = (0..TONES)
            .map(|index| encode(codec, index))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { payloads })
    }

    /// The payload of packet `number`.
    pub fn payload(&self, index: u32, number: u32) -> &[u8] {
        self.payloads
            .get((index % TONES) as usize)
            .and_then(|frames| frames.get(number as usize % frames.len().max(1)))
            .map_or(&[], Vec::as_slice)
    }
}

/// Samples of a tone from sample `start` on.
fn samples(index: u32, rate: f64, start: usize, count: usize) -> Vec<i16> {
    (start..start + count)
        .map(|n| {
            let phase = std::f64::consts::TAU * frequency(index) * n as f64 / rate;
            (LEVEL * phase.sin()) as i16
        })
        .collect()
}

fn encode(codec: Codec, index: u32) -> anyhow::Result<Vec<Vec<u8>>> {
    let frames = 0..super::PER_SECOND as usize;
    let mut opus = match codec {
        Codec::Opus => Some(opus::Encoder::new(
            48_000,
            opus::Channels::Mono,
            opus::Application::Voip,
        )?),
        Codec::Pcmu | Codec::Pcma => None,
    };
    frames
        .map(|frame| match (&mut opus, codec) {
            (Some(encoder), _) => {
                let samples = samples(index, 48_000.0, frame * 960, 960);
                let payload = encoder.encode_vec(&samples, 400)?;
                Ok(payload)
            }
            (None, Codec::Pcma) => Ok(samples(index, 8000.0, frame * FRAME, FRAME)
                .into_iter()
                .map(g711::to_alaw)
                .collect()),
            (None, _) => Ok(samples(index, 8000.0, frame * FRAME, FRAME)
                .into_iter()
                .map(g711::to_ulaw)
                .collect()),
        })
        .collect()
}

/// Which frequencies are in a piece of audio of 8000 Hz, as bits.
pub fn heard(samples: &[i16]) -> u32 {
    let samples = &samples[..samples.len() - samples.len() % 80];
    if samples.is_empty() {
        return 0;
    }
    (0..TONES)
        .filter(|&index| level(samples, frequency(index)) > THERE * LEVEL)
        .fold(0, |bits, index| bits | 1 << index)
}

/// Amplitude of one frequency (Goertzel).
fn level(samples: &[i16], frequency: f64) -> f64 {
    let turn = 2.0 * (std::f64::consts::TAU * frequency / 8000.0).cos();
    let (mut one, mut two) = (0.0, 0.0);
    for &sample in samples {
        let now = f64::from(sample) + turn * one - two;
        two = one;
        one = now;
    }
    let power = one * one + two * two - turn * one * two;
    2.0 * power.max(0.0).sqrt() / samples.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tone_is_heard_alone_and_among_others() {
        for index in 0..TONES {
            assert_eq!(heard(&samples(index, 8000.0, 77, WINDOW)), 1 << index);
        }
        let mixed: Vec<i16> = samples(3, 8000.0, 0, WINDOW)
            .into_iter()
            .zip(samples(20, 8000.0, 13, WINDOW))
            .map(|(a, b)| a + b)
            .collect();
        assert_eq!(heard(&mixed), 1 << 3 | 1 << 20);
        assert_eq!(heard(&[0; WINDOW]), 0);
        assert_eq!(heard(&[]), 0);
    }

    #[test]
    fn tones_survive_every_codec() {
        for codec in [Codec::Pcmu, Codec::Pcma, Codec::Opus] {
            let loops = Loops::new(codec).expect("tones");
            let mut decoder =
                opus::Decoder::new(8000, opus::Channels::Mono).expect("a decoder of Opus");
            let mut heard_samples = Vec::new();
            for number in 0..OPUS_FRAMES as u32 {
                let payload = loops.payload(7, 40 + number);
                match codec {
                    Codec::Pcmu => {
                        heard_samples.extend(payload.iter().map(|&b| g711::from_ulaw(b)))
                    }
                    Codec::Pcma => {
                        heard_samples.extend(payload.iter().map(|&b| g711::from_alaw(b)))
                    }
                    Codec::Opus => {
                        let mut frame = [0; FRAME];
                        let count = decoder.decode(payload, &mut frame, false).expect("decoded");
                        heard_samples.extend_from_slice(&frame[..count]);
                    }
                }
            }
            let last = &heard_samples[heard_samples.len() - WINDOW..];
            assert_eq!(heard(last), 1 << 7, "{codec:?}");
        }
    }
}
