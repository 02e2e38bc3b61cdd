//! How loud a channel's audio is, and whether it is heard at all: `VOLUME`, `MUTEAUDIO`; and how long it may wait:
//! `JITTERBUFFER`.

use strowger_media::Command;
use strowger_media::dsp::{GAIN_MAX, Gain};

use super::Channel;

/// What `VOLUME` takes at most, either way.
pub const VOLUME_MAX: f32 = GAIN_MAX;

/// The audio of one direction, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What comes from the far end.
    Receive,
    /// What goes to it.
    Transmit,
    Both,
}

impl Direction {
    fn receives(self) -> bool {
        self != Self::Transmit
    }

    fn transmits(self) -> bool {
        self != Self::Receive
    }
}

/// What is done to the audio of a channel.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Loudness {
    /// So many times louder, or, negative, softer; 0: as it is.
    receive: f32,
    transmit: f32,
    /// The far end changes both by `*` and `#`.
    keys: bool,
    mute_receive: bool,
    mute_transmit: bool,
}

impl Loudness {
    /// Nothing is done to the audio.
    pub(crate) fn is_plain(&self) -> bool {
        self.receive == 0.0
            && self.transmit == 0.0
            && !(self.keys || self.mute_receive || self.mute_transmit)
    }
}

fn gain(volume: f32) -> Gain {
    if volume == 0.0 {
        Gain::NONE
    } else if volume < 0.0 {
        Gain::times(1.0 / -volume)
    } else {
        Gain::times(volume)
    }
}

impl Channel {
    /// `VOLUME`: so many times louder, or, negative, softer, at most [`VOLUME_MAX`]; 0: as it is. `keys`: the far end may
    /// change it from now on, by `*` and `#`. False: there is no media.
    pub fn set_volume(&self, direction: Direction, volume: f32, keys: bool) -> bool {
        {
            let loudness = &mut self.data_mut().loudness;
            if direction.receives() {
                loudness.receive = volume;
            }
            if direction.transmits() {
                loudness.transmit = volume;
            }
            loudness.keys = keys;
        }
        self.send_gain()
    }

    /// The far end dialled a digit, which may be one that changes the volume.
    pub(crate) fn volume_key(&self, digit: char) {
        let step = match digit {
            '*' => 1.0,
            '#' => -1.0,
            _ => return,
        };
        {
            let loudness = &mut self.data_mut().loudness;
            if !loudness.keys {
                return;
            }
            for volume in [&mut loudness.receive, &mut loudness.transmit] {
                *volume = (*volume + step).clamp(-VOLUME_MAX, VOLUME_MAX);
            }
        }
        self.send_gain();
    }

    fn send_gain(&self) -> bool {
        let loudness = self.data().loudness;
        self.media(|leg| Command::Gain {
            leg,
            receive: gain(loudness.receive),
            transmit: gain(loudness.transmit),
        })
    }

    /// `MUTEAUDIO`. False: there is no media.
    pub fn mute_audio(&self, direction: Direction, mute: bool) -> bool {
        let loudness = {
            let loudness = &mut self.data_mut().loudness;
            if direction.receives() {
                loudness.mute_receive = mute;
            }
            if direction.transmits() {
                loudness.mute_transmit = mute;
            }
            *loudness
        };
        self.media(|leg| Command::Mute {
            leg,
            receive: loudness.mute_receive,
            transmit: loudness.mute_transmit,
        })
    }

    /// `JITTERBUFFER`: how long audio that is decoded may wait at most. False: there is no media.
    pub fn limit_jitter_buffer(&self, ms: u32) -> bool {
        self.media(|leg| Command::JitterMax { leg, ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_multiplies_divides_or_leaves_alone() {
        for (volume, factor) in [
            (0.0, 1.0),
            (2.0, 2.0),
            (-4.0, 0.25),
            (1.0, 1.0),
            (-1.0, 1.0),
        ] {
            assert_eq!(gain(volume), Gain::times(factor), "{volume}");
        }
    }
}
