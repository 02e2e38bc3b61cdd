//! Does a person or an answering machine speak? A person says a word or two and waits; a machine talks on, or waits for
//! the caller to speak. The measures and their names are those of Asterisk's AMD.

use std::fmt;

use super::{FRAME_MS, is_voice};

/// How it is judged. Times are in milliseconds.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct MachineSetup {
    /// Silence before the greeting from which it is a machine.
    pub initial_silence: u32,
    /// Length of the greeting from which it is a machine.
    pub greeting: u32,
    /// Silence after the greeting from which it is a person.
    pub after_greeting_silence: u32,
    /// When to give up.
    pub total_analysis_time: u32,
    /// How long voice lasts at least to be a word.
    pub min_word_length: u32,
    /// Silence that ends a word.
    pub between_words_silence: u32,
    /// With more words than these it is a machine.
    pub maximum_number_of_words: u32,
    /// Mean magnitude of a frame from which it is voice.
    pub silence_threshold: u16,
    /// Voice without a pause from which it is a machine.
    pub maximum_word_length: u32,
}

impl Default for MachineSetup {
    fn default() -> Self {
        Self {
            initial_silence: 2500,
            greeting: 1500,
            after_greeting_silence: 800,
            total_analysis_time: 5000,
            min_word_length: 100,
            between_words_silence: 50,
            maximum_number_of_words: 2,
            silence_threshold: 256,
            maximum_word_length: 5000,
        }
    }
}

/// Who speaks.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Nature {
    Human,
    Machine,
    NotSure,
}

/// What it was judged by: what was measured, and the limit it reached.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Cause {
    /// Silence before the greeting.
    InitialSilence(u32, u32),
    /// Silence after the greeting.
    Human(u32, u32),
    /// A word that lasted so long.
    MaxWordLength(u32),
    MaxWords(u32, u32),
    LongGreeting(u32, u32),
    TooLong(u32),
    /// Nothing was received at all.
    NoAudioData(u32),
}

impl fmt::Display for Cause {
    /// As `AMDCAUSE` words it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InitialSilence(ms, limit) => write!(f, "INITIALSILENCE-{ms}-{limit}"),
            Self::Human(ms, limit) => write!(f, "HUMAN-{ms}-{limit}"),
            Self::MaxWordLength(ms) => write!(f, "MAXWORDLENGTH-{ms}"),
            Self::MaxWords(words, limit) => write!(f, "MAXWORDS-{words}-{limit}"),
            Self::LongGreeting(ms, limit) => write!(f, "LONGGREETING-{ms}-{limit}"),
            Self::TooLong(ms) => write!(f, "TOOLONG-{ms}"),
            Self::NoAudioData(ms) => write!(f, "NOAUDIODATA-{ms}"),
        }
    }
}

/// Who speaks, and why that is thought.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    pub nature: Nature,
    pub cause: Cause,
}

/// Listens to a greeting until it knows.
#[derive(Clone, Debug)]
pub struct Machine {
    setup: MachineSetup,
    elapsed_ms: u32,
    silence_ms: u32,
    voice_ms: u32,
    /// Voice since the last pause between words.
    word_ms: u32,
    words: u32,
    in_word: bool,
    greeted: bool,
    heard: bool,
    over: bool,
}

impl Machine {
    pub fn new(setup: MachineSetup) -> Self {
        Self {
            setup,
            elapsed_ms: 0,
            silence_ms: 0,
            voice_ms: 0,
            word_ms: 0,
            words: 0,
            // Voice from the first moment on is no new word: its beginning was not heard.
            in_word: true,
            greeted: false,
            heard: false,
            over: false,
        }
    }

    /// The verdict was given.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Takes the next frame, `None` as long as nothing has ever been received: that is neither silence nor voice.
    pub fn frame(&mut self, frame: Option<&[i16]>) -> Option<Verdict> {
        if self.over {
            return None;
        }
        let verdict = self.judge(frame);
        self.over = verdict.is_some();
        verdict
    }

    fn judge(&mut self, frame: Option<&[i16]>) -> Option<Verdict> {
        let setup = self.setup;
        self.elapsed_ms = self.elapsed_ms.saturating_add(FRAME_MS);
        self.heard |= frame.is_some();
        if self.elapsed_ms >= setup.total_analysis_time {
            let cause = if self.heard {
                Cause::TooLong(self.elapsed_ms)
            } else {
                Cause::NoAudioData(self.elapsed_ms)
            };
            return verdict(Nature::NotSure, cause);
        }
        let cause = if is_voice(frame?, setup.silence_threshold) {
            self.voice(&setup)?
        } else {
            self.silence(&setup)?
        };
        let nature = match cause {
            Cause::Human(..) => Nature::Human,
            _ => Nature::Machine,
        };
        verdict(nature, cause)
    }

    fn silence(&mut self, setup: &MachineSetup) -> Option<Cause> {
        self.silence_ms += FRAME_MS;
        if self.silence_ms >= setup.between_words_silence {
            self.in_word = false;
            self.word_ms = 0;
        }
        if !self.greeted && self.silence_ms >= setup.initial_silence {
            return Some(Cause::InitialSilence(
                self.silence_ms,
                setup.initial_silence,
            ));
        }
        let over = self.greeted && self.silence_ms >= setup.after_greeting_silence;
        over.then_some(Cause::Human(self.silence_ms, setup.after_greeting_silence))
    }

    fn voice(&mut self, setup: &MachineSetup) -> Option<Cause> {
        self.silence_ms = 0;
        self.word_ms += FRAME_MS;
        self.voice_ms += FRAME_MS;
        let is_word = self.word_ms >= setup.min_word_length;
        if is_word && !self.in_word {
            self.words += 1;
            self.in_word = true;
        }
        if self.word_ms >= setup.maximum_word_length {
            return Some(Cause::MaxWordLength(self.word_ms));
        }
        if self.words > setup.maximum_number_of_words {
            return Some(Cause::MaxWords(self.words, setup.maximum_number_of_words));
        }
        if self.greeted && self.voice_ms >= setup.greeting {
            return Some(Cause::LongGreeting(self.voice_ms, setup.greeting));
        }
        self.greeted |= is_word;
        None
    }
}

fn verdict(nature: Nature, cause: Cause) -> Option<Verdict> {
    Some(Verdict { nature, cause })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::FRAME;

    /// Speech: syllables of 120 ms that swell and fade, 40 ms apart, which is less than a pause between words.
    fn speech(ms: usize) -> Vec<i16> {
        (0..ms * 8)
            .map(|n| {
                let phase = n % 1280;
                let envelope = if phase < 960 {
                    (std::f64::consts::PI * phase as f64 / 960.0).sin()
                } else {
                    0.0
                };
                let tone = (n as f64 * 0.12).sin() + 0.5 * (n as f64 * 0.31).sin();
                (envelope * tone * 6000.0) as i16
            })
            .collect()
    }

    /// The hiss of a line, below the threshold.
    fn hiss(ms: usize) -> Vec<i16> {
        (0..ms * 8).map(|n| (n * 7919 % 160) as i16 - 80).collect()
    }

    fn judge(setup: MachineSetup, audio: &[Vec<i16>]) -> Option<(Nature, String)> {
        let audio = audio.concat();
        let mut machine = Machine::new(setup);
        let found = audio.chunks(FRAME).find_map(|f| machine.frame(Some(f)));
        assert_eq!(machine.is_over(), found.is_some());
        found.map(|verdict| (verdict.nature, verdict.cause.to_string()))
    }

    fn usual(audio: &[Vec<i16>]) -> Option<(Nature, String)> {
        judge(MachineSetup::default(), audio)
    }

    #[test]
    fn a_person_says_hello_and_waits() {
        assert_eq!(
            usual(&[hiss(600), speech(440), hiss(2000)]),
            Some((Nature::Human, "HUMAN-800-800".to_owned()))
        );
    }

    #[test]
    fn a_machine_reads_its_greeting() {
        let (nature, cause) = usual(&[hiss(500), speech(4000)]).expect("a verdict");
        assert_eq!(nature, Nature::Machine);
        let (measured, limit) = cause
            .strip_prefix("LONGGREETING-")
            .and_then(|rest| rest.split_once('-'))
            .expect("the greeting was too long");
        assert_eq!((measured, limit), ("1500", "1500"));
    }

    #[test]
    fn a_machine_says_many_words() {
        let word = [speech(280), hiss(100)].concat();
        assert_eq!(
            usual(&[hiss(300), word.clone(), word.clone(), word]),
            Some((Nature::Machine, "MAXWORDS-3-2".to_owned()))
        );
    }

    #[test]
    fn a_machine_waits_for_the_caller() {
        assert_eq!(
            usual(&[hiss(3000)]),
            Some((Nature::Machine, "INITIALSILENCE-2500-2500".to_owned()))
        );
    }

    #[test]
    fn a_tone_is_one_long_word() {
        let setup = MachineSetup {
            maximum_word_length: 1000,
            ..MachineSetup::default()
        };
        let tone = (0..16_000).map(|n| ((n as f64 * 0.3).sin() * 9000.0) as i16);
        assert_eq!(
            judge(setup, &[hiss(200), tone.collect()]),
            Some((Nature::Machine, "MAXWORDLENGTH-1000".to_owned()))
        );
    }

    #[test]
    fn clicks_are_no_words_and_time_runs_out() {
        let click = [vec![9000; FRAME], hiss(480)].concat();
        let clicks: Vec<Vec<i16>> = (0..12).map(|_| click.clone()).collect();
        assert_eq!(
            usual(&clicks),
            Some((Nature::NotSure, "TOOLONG-5000".to_owned()))
        );
    }

    #[test]
    fn a_leg_that_receives_nothing_is_no_machine() {
        let mut machine = Machine::new(MachineSetup::default());
        let verdict = (0..250).find_map(|_| machine.frame(None));
        let verdict = verdict.expect("time runs out");
        assert_eq!(verdict.nature, Nature::NotSure);
        assert_eq!(verdict.cause.to_string(), "NOAUDIODATA-5000");
        assert_eq!(machine.frame(None), None, "it is told once");
    }
}
