//! Attention: what is listened for in the audio that a leg hears. Sans-IO: frames of 20 ms go in, what was noticed comes out.
//!
//! What lives here: is it voice or silence, for how long, does a machine speak, does a fax call; and the queue that takes the samples
//! themselves to somebody outside. What never does: packets, codecs, jitter (the leg's hearing makes the frames), and what
//! becomes of what was noticed. Time is counted in frames, so that no clock is asked.

mod fax;
mod machine;
mod tap;

pub use fax::FaxWatch;
pub use machine::{Cause, Machine, MachineSetup, Nature, Verdict};
pub use tap::{AudioTap, TapReader, audio_tap};

/// Samples of a frame, at 8000 Hz.
pub const FRAME: usize = 160;
/// Length of a frame.
pub const FRAME_MS: u32 = 20;

/// Names a watch. Chosen by signalling, unique within a shard for the life of the process.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct WatchId(pub u64);

/// What is listened for.
#[derive(Debug)]
pub enum Watch {
    Voice(VoiceWatch),
    /// Ends with its verdict.
    Machine(Machine),
    /// Ends when it has heard one, or its time is over.
    Fax(FaxWatch),
    /// Everything that is heard goes there; ends when nobody is left to read it.
    Tap(AudioTap),
}

/// What was noticed.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Noticed {
    /// Voice has lasted as long as was asked, so many milliseconds after the watch began.
    Voice { at_ms: u32 },
    /// So has silence.
    Silence { at_ms: u32 },
    /// Who it is that speaks.
    Verdict(Verdict),
    /// A fax machine calls.
    Fax { at_ms: u32 },
    /// There is no room for another watch on the leg: nothing will be noticed.
    Refused,
}

/// Tells when voice has lasted for some time, when silence has, and so on in turn.
#[derive(Clone, Debug)]
pub struct VoiceWatch {
    threshold: u16,
    voice_ms: u32,
    silence_ms: u32,
    elapsed_ms: u32,
    /// What is heard, and for how long.
    run: Option<(bool, u32)>,
    /// What was told last: voice, or silence.
    told: Option<bool>,
}

impl VoiceWatch {
    /// `threshold`: mean magnitude of a frame, 0 to 32767, from which it counts as voice. The other two: how long voice and
    /// silence have to last before they are told, at least a frame.
    pub fn new(threshold: u16, voice_ms: u32, silence_ms: u32) -> Self {
        Self {
            threshold,
            voice_ms,
            silence_ms,
            elapsed_ms: 0,
            run: None,
            told: None,
        }
    }

    /// Takes the next frame. A frame that never came is silence.
    pub fn frame(&mut self, frame: &[i16]) -> Option<Noticed> {
        self.elapsed_ms = self.elapsed_ms.saturating_add(FRAME_MS);
        let voice = is_voice(frame, self.threshold);
        let lasted = match self.run {
            Some((same, lasted)) if same == voice => lasted.saturating_add(FRAME_MS),
            _ => FRAME_MS,
        };
        self.run = Some((voice, lasted));
        let wanted = if voice {
            self.voice_ms
        } else {
            self.silence_ms
        };
        if self.told == Some(voice) || lasted < wanted {
            return None;
        }
        self.told = Some(voice);
        let at_ms = self.elapsed_ms;
        Some(if voice {
            Noticed::Voice { at_ms }
        } else {
            Noticed::Silence { at_ms }
        })
    }
}

impl Watch {
    /// Takes the next frame: `None` as long as nothing has ever been received.
    pub fn frame(&mut self, frame: Option<&[i16]>) -> Option<Noticed> {
        match self {
            Self::Voice(watch) => watch.frame(frame.unwrap_or(&[])),
            Self::Machine(machine) => machine.frame(frame).map(Noticed::Verdict),
            Self::Fax(watch) => watch.frame(frame.unwrap_or(&[])),
            Self::Tap(tap) => {
                tap.frame(frame.unwrap_or(&[0; FRAME]));
                None
            }
        }
    }

    /// Will nothing come of it any more?
    pub fn is_over(&self) -> bool {
        match self {
            Self::Voice(_) => false,
            Self::Machine(machine) => machine.is_over(),
            Self::Fax(watch) => watch.is_over(),
            Self::Tap(tap) => tap.is_over(),
        }
    }
}

/// Does the mean magnitude of a frame reach the threshold?
fn is_voice(frame: &[i16], threshold: u16) -> bool {
    let sum: u64 = frame.iter().map(|s| u64::from(s.unsigned_abs())).sum();
    !frame.is_empty() && sum >= u64::from(threshold) * frame.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is noticed in stretches of audio: level and milliseconds.
    fn noticed(watch: &mut VoiceWatch, stretches: &[(i16, u32)]) -> Vec<Noticed> {
        let mut all = Vec::new();
        for &(level, ms) in stretches {
            for _ in 0..ms / FRAME_MS {
                all.extend(watch.frame(&[level; FRAME]));
            }
        }
        all
    }

    #[test]
    fn voice_and_silence_are_told_in_turn_when_they_have_lasted() {
        let mut watch = VoiceWatch::new(256, 100, 400);
        let told = noticed(
            &mut watch,
            // A click, a word, a pause within it, silence, noise below the threshold, and a word again.
            &[
                (3000, 80),
                (0, 200),
                (-2000, 300),
                (0, 380),
                (256, 20),
                (0, 400),
                (255, 600),
                (3000, 100),
            ],
        );
        assert_eq!(
            told,
            [
                Noticed::Voice { at_ms: 380 },
                Noticed::Silence { at_ms: 1380 },
                Noticed::Voice { at_ms: 2080 },
            ]
        );
    }

    #[test]
    fn silence_that_was_there_from_the_beginning_is_told_too() {
        let mut watch = VoiceWatch::new(256, 20, 100);
        let told = noticed(&mut watch, &[(0, 500), (4000, 40)]);
        assert_eq!(
            told,
            [
                Noticed::Silence { at_ms: 100 },
                Noticed::Voice { at_ms: 520 }
            ]
        );
    }

    #[test]
    fn a_leg_that_never_received_anything_is_silent() {
        let mut watch = Watch::Voice(VoiceWatch::new(0, 20, 40));
        assert_eq!(watch.frame(None), None);
        assert_eq!(watch.frame(None), Some(Noticed::Silence { at_ms: 40 }));
        assert_eq!(
            watch.frame(Some(&[0; FRAME])),
            Some(Noticed::Voice { at_ms: 60 }),
            "nothing is below a threshold of zero"
        );
    }
}
