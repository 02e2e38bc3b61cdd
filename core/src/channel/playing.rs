//! Playing that a listener controls, tones of the channel's country, and music.

use std::sync::Arc;

use strowger_media::{Command, PlayAction, PlayId, Repeat, SAMPLE_RATE, Sound, WIDE_RATE};

use super::primitives::ExpectedPlay;
use super::{Channel, Interrupt};
use crate::sounds::{Cadence, Music, MusicClass, SoundError, indication};

/// The class of those who have none.
const DEFAULT_CLASS: &str = "default";

/// What a listener's keys do; a key that is in no list does nothing.
#[derive(Clone, Debug, Default)]
pub struct PlayKeys {
    pub forward: String,
    pub rewind: String,
    pub stop: String,
    pub pause: String,
    pub restart: String,
    /// How far forward and rewind go, in milliseconds.
    pub skip_ms: u32,
    /// Where playing begins, in milliseconds.
    pub start_ms: u32,
}

/// How playing under control ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controlled {
    /// The end was reached.
    Complete,
    /// This key stopped it, so many milliseconds behind the beginning.
    Stopped { key: char, position_ms: u32 },
}

impl Channel {
    /// The tone called `name` (`busy`, `ring`, `dial`, ...) in the country of the channel. `None`: there is no such tone,
    /// or a line of the database that says what it is cannot be read (logged).
    pub fn tone(&self, name: &str) -> Option<Cadence> {
        let shared = self.shard().shared();
        let zone = self.data().tonezone.clone();
        let list = indication(&shared.snapshot(), &zone, name)?;
        shared
            .sounds
            .tones(&list)
            .inspect_err(|error| tracing::warn!(%error, zone, name, "tone"))
            .ok()
    }

    /// Starts a tone without waiting; what was played before ends. `None` when there is no media or no such tone.
    pub fn start_tone(&self, name: &str) -> Option<PlayId> {
        let cadence = self.tone(name)?;
        self.start_play(cadence.sounds, cadence.repeat)
    }

    /// The music of a class for this listener; of the class `default` where there is no such class or nothing of it can be
    /// played, which is told in the log.
    ///
    /// # Errors
    /// [`SoundError`] when nothing can be played at all.
    pub async fn music(&self, class: &str) -> Result<Music, SoundError> {
        let class = if class.is_empty() {
            DEFAULT_CLASS
        } else {
            class
        };
        match self.music_of(class).await {
            Ok(music) => Ok(music),
            Err(error) if class == DEFAULT_CLASS => Err(error),
            Err(error) => {
                tracing::warn!(channel = %self.name(), %error, "music on hold: the default class is played");
                self.music_of(DEFAULT_CLASS).await
            }
        }
    }

    async fn music_of(&self, class: &str) -> Result<Music, SoundError> {
        let shared = Arc::clone(self.shard().shared());
        let (snapshot, name) = (shared.snapshot(), class.to_owned());
        let folder = shared.paths.sounds.clone();
        // It looks at folders.
        let found = shared
            .control
            .spawn_blocking(move || MusicClass::find(&snapshot, &folder, &name))
            .await
            .ok()
            .flatten()
            .ok_or_else(|| SoundError::NoMusic(class.to_owned()))?;
        shared.sounds.music(found, self.sound_rate()).await
    }

    /// Samples a second of the sounds that this channel should be given.
    pub fn sound_rate(&self) -> u32 {
        if self.sample_rate() >= WIDE_RATE {
            WIDE_RATE
        } else {
            SAMPLE_RATE
        }
    }

    /// Plays sounds that the listener may skip in, pause, restart and stop.
    pub async fn play_controlled(
        &self,
        sounds: Vec<Arc<Sound>>,
        keys: &PlayKeys,
    ) -> Result<Controlled, Interrupt> {
        self.check()?;
        let Some(play) = self.start_play(sounds, Repeat::Once) else {
            return Err(Interrupt::Hangup);
        };
        let expected = ExpectedPlay::new(self, play);
        if keys.start_ms > 0 {
            self.control_play(play, PlayAction::Seek { ms: keys.start_ms });
        }
        let skip = i32::try_from(keys.skip_ms).unwrap_or(i32::MAX);
        let mut paused = false;
        let mut stopping = false;
        loop {
            if let Some(end) = expected.ended() {
                return Ok(match end.stopped_by {
                    Some(key) => Controlled::Stopped {
                        key,
                        position_ms: end.position_ms,
                    },
                    None => Controlled::Complete,
                });
            }
            // What is dialled behind the key that stops is for whoever listens next.
            while !stopping && let Some(digit) = self.take_digit() {
                if keys.stop.contains(digit) {
                    stopping = true;
                    expected.stopped_by(digit);
                    self.stop_play(play);
                } else if keys.restart.contains(digit) {
                    self.control_play(play, PlayAction::Seek { ms: 0 });
                    self.control_play(play, PlayAction::Resume);
                    paused = false;
                } else if keys.pause.contains(digit) {
                    paused = !paused;
                    let action = if paused {
                        PlayAction::Pause
                    } else {
                        PlayAction::Resume
                    };
                    self.control_play(play, action);
                } else if paused {
                    // What moves the place waits until playing goes on.
                } else if keys.forward.contains(digit) {
                    self.control_play(play, PlayAction::Skip { ms: skip });
                } else if keys.rewind.contains(digit) {
                    self.control_play(play, PlayAction::Skip { ms: -skip });
                }
            }
            if let Err(interrupt) = self.wait_change(None).await {
                self.stop_play(play);
                return Err(interrupt);
            }
        }
    }

    fn control_play(&self, play: PlayId, action: PlayAction) {
        self.media(|leg| Command::ControlPlay { leg, play, action });
    }
}

/// How a play ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PlayEnd {
    pub(crate) position_ms: u32,
    pub(crate) stopped_by: Option<char>,
}

/// A play that somebody waits for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PlayState {
    ended: bool,
    end: PlayEnd,
}

impl PlayState {
    /// The media thread told its end.
    pub(crate) fn set_ended(&mut self, position_ms: u32) {
        self.ended = true;
        self.end.position_ms = position_ms;
    }

    pub(crate) fn set_stopped_by(&mut self, key: char) {
        self.end.stopped_by = Some(key);
    }

    pub(crate) fn ended(&self) -> Option<PlayEnd> {
        self.ended.then_some(self.end)
    }
}
