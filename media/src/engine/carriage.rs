//! Who carries the packets of a route, and what that takes: decided whenever legs are configured, routed or recorded,
//! never for a packet.

use std::time::Instant;

use super::hearing::Hearing;
use super::leg::{Config, Kind, Leg, Target};
use super::recorder::Side;
use super::{Engine, Slot, leg_mut};
use crate::codec::Codec;
use crate::rtp::send::SourceKey;
use crate::sound::SAMPLE_RATE;

/// How the packets of a route get from one leg to the other. A program in the kernel would be another way.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub(super) enum Carrier {
    /// The ring: each packet is rewritten in its buffer and sent from there.
    #[default]
    Ring,
    /// Decoded to a steady stream on one leg, encoded on the other: their codecs or packet times differ.
    Translated,
}

/// Can a packet of `from` be sent as `to` by itself?
fn passes(from: Codec, to: Codec) -> bool {
    from == to || (from.is_g711() && to.is_g711())
}

/// Is audio of this codec put into packets of another length? Packets of Opus say themselves how long they are; frames of
/// GSM would lose too much by being encoded anew.
fn is_repacked(codec: Codec) -> bool {
    match codec {
        Codec::Pcmu | Codec::Pcma | Codec::G722 | Codec::L16(_) => true,
        Codec::Gsm | Codec::Opus | Codec::G729 => false,
    }
}

/// How the recorders of a leg want what it hears and is sent.
#[derive(Clone, Copy, Default)]
struct Want {
    /// Some work at 8000 Hz.
    narrow: bool,
    /// The highest rate of the others, Hz; 0: there are none.
    wide: u32,
}

impl Want {
    fn and(self, other: Self) -> Self {
        Self {
            narrow: self.narrow || other.narrow,
            wide: self.wide.max(other.wide),
        }
    }
}

impl Engine {
    /// Decides anew, for a leg and for those that relay to it, who carries their packets, and gives them what they need
    /// for it. Call it when a configuration, a route, or the wish to hear a leg changes. Allocates.
    pub(super) fn settle(&mut self, now: Instant, slot: Slot) {
        self.settle_one(now, slot);
        let inbound = leg_mut(&mut self.legs, slot).map_or(0, |leg| leg.inbound.len());
        for index in 0..inbound {
            let from =
                leg_mut(&mut self.legs, slot).and_then(|leg| leg.inbound.get(index).copied());
            if let Some(from) = from {
                self.settle_one(now, from);
            }
        }
    }

    fn settle_one(&mut self, now: Instant, slot: Slot) {
        let Some(leg) = leg_mut(&mut self.legs, slot) else {
            return;
        };
        let target = leg.target;
        let heard = leg.heard_codec;
        let format = |config: &Config| (config.send.codec, config.ptime_ms);
        let ptime_ms = leg.config.as_ref().map(|config| config.ptime_ms);
        let louder = !leg.gain_receive.is_none();
        let own = (
            leg.config.as_ref().map(format),
            leg.recorders_want(),
            !leg.gain_transmit.is_none(),
        );
        let (to, recorded, said_louder) = match target {
            Target::Silence | Target::Room(_) => (None, Want::default(), false),
            Target::Echo => own,
            Target::Relay(peer) => {
                leg_mut(&mut self.legs, peer).map_or((None, Want::default(), false), |peer| {
                    let format = peer.config.as_ref().map(format);
                    let louder = !peer.gain_transmit.is_none();
                    (format, peer.recorders_want(), louder)
                })
            }
        };
        let recorded = recorded.and(own.1);
        let translated = heard.zip(to).is_some_and(|(heard, (to, to_ptime_ms))| {
            // What was agreed with a telephone counts for both directions, as it does elsewhere.
            let repacked = is_repacked(to) && ptime_ms != Some(to_ptime_ms);
            // Samples of G.711 are made louder where they stand.
            let amplified = (louder || said_louder) && !(heard.is_g711() && to.is_g711());
            (!passes(heard, to) || repacked || amplified) && to.is_spoken()
        });
        let rate = match to {
            Some((to, _)) if translated => to.sample_rate(),
            _ => SAMPLE_RATE,
        };
        let room_rate = match target {
            Target::Room(room) => self.rooms.rate(room),
            _ => None,
        };
        let room_rate = room_rate.unwrap_or(SAMPLE_RATE);
        let key = self.next_key();
        let Some(leg) = leg_mut(&mut self.legs, slot) else {
            return;
        };
        let stateful = heard.is_some_and(|codec| !codec.is_g711());
        let narrow = stateful && (recorded.narrow || leg.ear.is_some()) || leg.attention.is_some();
        let in_room = matches!(target, Target::Room(_));
        if translated || narrow || in_room || recorded.wide > 0 {
            let rate = if in_room { room_rate } else { rate };
            let rate = rate.max(recorded.wide);
            leg.prepare_hearing(now, rate, key);
        } else {
            leg.drop_hearing();
        }
        if let Some(hearing) = &mut leg.hearing {
            hearing.set_gain(leg.gain_receive);
            if narrow {
                hearing.narrow_too();
            }
        }
        let heard_rate = leg.hearing.as_ref().map(|hearing| hearing.rate());
        leg.prepare_recorders(Side::Receive, heard_rate);
        let before = leg.carrier;
        leg.carrier = Carrier::Ring;
        let mut frames = None;
        if translated && let Some(hearing) = &leg.hearing {
            leg.carrier = Carrier::Translated;
            frames = Some(hearing.rate());
        }
        if leg.carrier != before {
            self.counters.carrier_changes.add(1);
        }
        if in_room {
            leg.prepare_voice(room_rate);
            leg.prepare_room_ear(room_rate);
        }
        if let Some(player) = &leg.player {
            let rate = player.rate();
            leg.prepare_voice(rate);
        } else if leg.keypad.is_busy() || leg.voice.is_some() {
            leg.prepare_voice(SAMPLE_RATE);
        }
        let to = match target {
            Target::Silence | Target::Room(_) => None,
            Target::Echo => Some(slot),
            Target::Relay(peer) => Some(peer),
        };
        if let Some(to) = to.and_then(|to| leg_mut(&mut self.legs, to)) {
            let tones = to
                .config
                .as_ref()
                .is_some_and(|config| config.dtmf_send.is_none() && config.dtmf_tones);
            if let Some(rate) = frames {
                to.prepare_voice(rate);
            } else if tones {
                // Digits heard here may have to be said there.
                to.prepare_voice(SAMPLE_RATE);
            }
            to.prepare_recorders(Side::Transmit, heard_rate);
        }
        self.watch(now, slot);
    }
}

impl Leg {
    /// Makes ears, unless there are such already.
    fn recorders_want(&self) -> Want {
        let mut want = Want::default();
        for recorder in &self.recorders {
            if recorder.takes_packets() {
                want.narrow = true;
            } else {
                want.wide = want.wide.max(recorder.rate());
            }
        }
        want
    }

    /// Tells the recorders which frames may come.
    fn prepare_recorders(&mut self, side: Side, rate: Option<u32>) {
        if let Some(rate) = rate {
            for recorder in &mut self.recorders {
                recorder.learn(side, rate);
            }
        }
    }

    fn prepare_hearing(&mut self, now: Instant, rate: u32, key: SourceKey) {
        let Some(first) = self.heard_codec else {
            return;
        };
        let others = self.kinds().filter_map(|kind| match kind {
            Kind::Audio(codec) => Some(*codec),
            _ => None,
        });
        let opus = first == Codec::Opus;
        let fits = self.hearing.as_ref().is_some_and(|hearing| {
            (!opus || hearing.rate() >= rate)
                && others.clone().all(|codec| hearing.was_made_for(codec))
        });
        if !fits {
            let codecs: Vec<Codec> = std::iter::once(first).chain(others).collect();
            self.drop_hearing();
            let wait_max_ms = self.wait_max_ms;
            self.hearing = Hearing::new(now, &codecs, rate, key, wait_max_ms).map(Box::new);
        }
    }
}
