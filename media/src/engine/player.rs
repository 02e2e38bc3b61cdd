//! Players: sounds one after the other, 20 ms at a time.

use std::sync::Arc;

use crate::rtp::send::SourceKey;
use crate::sound::Sound;
use crate::types::{PlayId, Repeat};

/// Samples of a turn.
const FRAME: usize = 160;
/// Longest packet that is generated, in samples.
pub(super) const PTIME_MAX: usize = 480;

/// Something that is being played to a leg.
#[derive(Debug)]
pub(super) struct Player {
    pub(super) play: PlayId,
    pub(super) key: SourceKey,
    sounds: Vec<Arc<Sound>>,
    repeat: Repeat,
    index: usize,
    offset: usize,
    played: u64,
    /// Audio that waits to fill a packet.
    pending: [i16; 2 * PTIME_MAX],
    pending_len: usize,
}

impl Player {
    pub(super) fn new(
        play: PlayId,
        key: SourceKey,
        sounds: Vec<Arc<Sound>>,
        repeat: Repeat,
    ) -> Self {
        // Sounds of no length would make a loop that never yields.
        let has_audio = sounds.iter().any(|sound| !sound.samples.is_empty());
        let mut player = Self {
            play,
            key,
            sounds,
            repeat: if has_audio { repeat } else { Repeat::Once },
            index: 0,
            offset: 0,
            played: 0,
            pending: [0; 2 * PTIME_MAX],
            pending_len: 0,
        };
        player.skip_finished();
        player
    }

    /// Samples played so far.
    pub(super) fn played(&self) -> u64 {
        self.played
    }

    /// Is there nothing left?
    pub(super) fn is_done(&self) -> bool {
        self.index >= self.sounds.len()
    }

    /// Another 20 ms, given in packets of `ptime` samples (at most [`PTIME_MAX`]): none, one or two. The last packet of
    /// all is filled up with silence.
    pub(super) fn turn(&mut self, ptime: usize, mut send: impl FnMut(&mut [i16])) {
        let mut frame = [0; FRAME];
        self.fill(&mut frame);
        if let Some(room) = self
            .pending
            .get_mut(self.pending_len..self.pending_len + FRAME)
        {
            room.copy_from_slice(&frame);
            self.pending_len += FRAME;
        }
        if self.is_done() {
            let full = self
                .pending_len
                .next_multiple_of(ptime)
                .min(self.pending.len());
            self.pending[self.pending_len..full].fill(0);
            self.pending_len = full;
        }
        let mut sent = 0;
        while self.pending_len - sent >= ptime {
            send(&mut self.pending[sent..sent + ptime]);
            sent += ptime;
        }
        self.pending.copy_within(sent..self.pending_len, 0);
        self.pending_len -= sent;
    }

    /// Fills a frame as far as there are samples, with silence after them.
    fn fill(&mut self, frame: &mut [i16]) {
        let mut at = 0;
        while at < frame.len() && !self.is_done() {
            let sound = &self.sounds[self.index].samples[self.offset..];
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
        {
            self.offset = 0;
            self.index += 1;
            if self.index == self.sounds.len() && self.repeat == Repeat::Forever {
                self.index = 0;
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
}
