//! Players: sounds one after the other, 20 ms at a time.

use std::sync::Arc;

use crate::rtp::send::SourceKey;
use crate::sound::{Place, SAMPLE_RATE, Sound};
use crate::types::{PlayAction, PlayId, Repeat};

/// Turns a second.
const TURNS: u32 = 50;
/// Samples of a turn at most: 20 ms at 48 kHz.
const FRAME_MAX: usize = 960;

/// Something that is being played to a leg.
#[derive(Debug)]
pub(super) struct Player {
    pub(super) play: PlayId,
    pub(super) key: SourceKey,
    sounds: Vec<Arc<Sound>>,
    /// The sound that follows the last; `None`: the end.
    again: Option<usize>,
    index: usize,
    offset: usize,
    /// The same in a sound that is still being made.
    place: Place,
    played: u64,
    paused: bool,
}

impl Player {
    pub(super) fn new(
        play: PlayId,
        key: SourceKey,
        sounds: Vec<Arc<Sound>>,
        repeat: Repeat,
    ) -> Self {
        let again = match repeat {
            Repeat::Once => None,
            Repeat::Forever => Some(0),
            Repeat::After(first) => Some(first),
        };
        // Sounds of no length would make a loop that never yields.
        let again = again.filter(|&first| {
            sounds
                .iter()
                .skip(first)
                .any(|sound| !sound.samples.is_empty() || sound.live.is_some())
        });
        let mut player = Self {
            play,
            key,
            sounds,
            again,
            index: 0,
            offset: 0,
            place: Place::default(),
            played: 0,
            paused: false,
        };
        player.skip_finished();
        player
    }

    /// Does what a listener asked for.
    pub(super) fn control(&mut self, action: PlayAction) {
        match action {
            PlayAction::Pause => self.paused = true,
            PlayAction::Resume => self.paused = false,
            PlayAction::Seek { ms } => self.seek(self.samples_in(ms)),
            PlayAction::Skip { ms } => {
                let length = self.samples_in(ms.unsigned_abs());
                let to = if ms < 0 {
                    self.position().saturating_sub(length)
                } else {
                    self.position().saturating_add(length)
                };
                self.seek(to);
            }
        }
    }

    /// Is nothing sent for now?
    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Where playing is, in milliseconds from the beginning of the first sound.
    pub(super) fn position_ms(&self) -> u32 {
        u32::try_from(self.position() * 1000 / u64::from(self.rate())).unwrap_or(u32::MAX)
    }

    /// Samples a second of what is played.
    pub(super) fn rate(&self) -> u32 {
        self.sounds.first().map_or(SAMPLE_RATE, |sound| sound.rate)
    }

    fn samples_in(&self, ms: u32) -> u64 {
        u64::from(ms) * u64::from(self.rate()) / 1000
    }

    /// Where playing is, in samples from the beginning of the first sound.
    fn position(&self) -> u64 {
        let before: usize = self
            .sounds
            .iter()
            .take(self.index)
            .map(|sound| sound.samples.len())
            .sum();
        (before + self.offset) as u64
    }

    /// Goes on from there; beyond the last sample is the end.
    fn seek(&mut self, to: u64) {
        let mut left = usize::try_from(to).unwrap_or(usize::MAX);
        self.index = 0;
        self.offset = 0;
        while let Some(sound) = self.sounds.get(self.index) {
            if left < sound.samples.len() || sound.live.is_some() {
                self.offset = left;
                return;
            }
            left -= sound.samples.len();
            self.index += 1;
        }
    }

    /// Samples played so far.
    pub(super) fn played(&self) -> u64 {
        self.played
    }

    /// Is there nothing left?
    pub(super) fn is_done(&self) -> bool {
        self.index >= self.sounds.len()
    }

    /// Another 20 ms at [`Player::rate`]; the last frame of all is filled up with silence.
    pub(super) fn turn(&mut self, say: impl FnOnce(&[i16])) {
        let mut frame = [0; FRAME_MAX];
        let length = ((self.rate() / TURNS) as usize).min(FRAME_MAX);
        let frame = &mut frame[..length];
        self.fill(frame);
        say(frame);
    }

    /// Fills a frame as far as there are samples, with silence after them.
    fn fill(&mut self, frame: &mut [i16]) {
        let mut at = 0;
        while at < frame.len() && !self.is_done() {
            let sound = &self.sounds[self.index];
            if let Some(live) = &sound.live {
                live.read(&mut self.place, &mut frame[at..]);
                self.played += (frame.len() - at) as u64;
                return;
            }
            let sound = &sound.samples[self.offset..];
            let count = sound.len().min(frame.len() - at);
            frame[at..at + count].copy_from_slice(&sound[..count]);
            at += count;
            self.offset += count;
            self.played += count as u64;
            self.skip_finished();
        }
        frame[at..].fill(0);
    }

    /// To the next sound that has samples left.
    fn skip_finished(&mut self) {
        while let Some(sound) = self.sounds.get(self.index)
            && self.offset >= sound.samples.len()
            && sound.live.is_none()
        {
            self.offset = 0;
            self.index += 1;
            if self.index == self.sounds.len()
                && let Some(first) = self.again
            {
                self.index = first;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sounds(lengths: &[usize]) -> Vec<Arc<Sound>> {
        lengths
            .iter()
            .enumerate()
            .map(|(n, &length)| Arc::new(Sound::from_samples(vec![n as i16 + 1; length])))
            .collect()
    }

    fn player(lengths: &[usize], repeat: Repeat) -> Player {
        Player::new(PlayId(1), SourceKey(1), sounds(lengths), repeat)
    }

    #[test]
    fn sounds_follow_each_other_without_a_gap_and_the_last_frame_is_filled_up() {
        let mut p = player(&[0, 100, 0, 100, 0], Repeat::Once);
        let mut frame = [9i16; 160];
        p.fill(&mut frame);
        assert_eq!((frame[99], frame[100], frame[159]), (2, 4, 4));
        assert!(!p.is_done());
        p.fill(&mut frame);
        assert_eq!((frame[39], frame[40]), (4, 0));
        assert!(p.is_done());
        assert_eq!(p.played(), 200);
    }

    #[test]
    fn a_loop_begins_again_and_a_loop_of_nothing_ends() {
        let mut p = player(&[100], Repeat::Forever);
        let mut frame = [0i16; 160];
        for _ in 0..10 {
            p.fill(&mut frame);
        }
        assert!(!p.is_done());
        assert_eq!(p.played(), 1600);
        assert!(player(&[0, 0], Repeat::Forever).is_done());
        assert!(player(&[], Repeat::Forever).is_done());
    }

    #[test]
    fn what_is_played_once_comes_before_what_is_repeated() {
        let mut p = player(&[160, 80, 80], Repeat::After(1));
        let mut heard = Vec::new();
        let mut frame = [0i16; 160];
        for _ in 0..3 {
            p.fill(&mut frame);
            heard.extend([frame[0], frame[80]]);
        }
        assert_eq!(heard, [1, 1, 2, 3, 2, 3]);
        // Nothing to repeat: it ends.
        assert!(player(&[0], Repeat::After(1)).is_done());
        let mut p = player(&[160], Repeat::After(1));
        p.fill(&mut frame);
        assert!(p.is_done());
    }

    #[test]
    fn a_sound_that_is_still_being_made_has_no_end() {
        let (live, mut writer) = crate::sound::live_sound(20);
        let all = vec![
            Arc::new(Sound::from_samples(vec![7; 80])),
            Arc::new(live),
            Arc::new(Sound::from_samples(vec![9; 160])),
        ];
        let mut p = Player::new(PlayId(1), SourceKey(1), all, Repeat::Forever);
        let mut frame = [1i16; 160];
        p.fill(&mut frame);
        assert_eq!((frame[79], frame[80]), (7, 0));
        writer.write(&[5; 320]);
        p.fill(&mut frame);
        assert_eq!(frame, [5; 160]);
        p.fill(&mut frame);
        assert_eq!((frame, p.is_done()), ([0; 160], false));
        assert_eq!(p.played(), 480);
        p.control(PlayAction::Skip { ms: 1000 });
        assert!(!p.is_done());
    }

    #[test]
    fn a_listener_skips_forward_and_back_over_the_sounds_and_beyond_their_end() {
        let mut p = player(&[800, 800], Repeat::Once);
        let mut frame = [0i16; 160];
        p.fill(&mut frame);
        assert_eq!(p.position_ms(), 20);
        p.control(PlayAction::Skip { ms: 100 });
        p.fill(&mut frame);
        assert_eq!((p.position_ms(), frame[0]), (140, 2));
        p.control(PlayAction::Skip { ms: -60 });
        p.fill(&mut frame);
        assert_eq!((p.position_ms(), frame[0], frame[159]), (100, 1, 1));
        p.control(PlayAction::Skip { ms: -60_000 });
        assert_eq!(p.position_ms(), 0);
        p.control(PlayAction::Seek { ms: 150 });
        assert_eq!((p.position_ms(), p.is_done()), (150, false));
        p.control(PlayAction::Skip { ms: i32::MAX });
        assert!(p.is_done());
        assert_eq!(p.position_ms(), 200);
        p.control(PlayAction::Skip { ms: -100 });
        assert_eq!((p.position_ms(), p.is_done()), (100, false));
    }
}
