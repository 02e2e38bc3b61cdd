//! Digits of a leg, both ways: what is heard (telephone-events, tones) is told to signalling once and passed on to the
//! leg that is relayed to in that leg's own way; what is to be sent goes out step by step.
//!
//! Telephone-events are relayed packet by packet where both legs count time alike. Otherwise (other clock, other codec,
//! other packet time, the other leg wants tones, a tone was heard here) the press is made anew by the other leg's keypad: held while the
//! key is down, released with its duration.

use std::time::{Duration, Instant};

use super::carriage::Carrier;
use super::leg::{Config, Drop, Leg, Target};
use super::relay::{Accepted, What};
use super::tick::{Context, FRAME};
use super::{Engine, Forward, Slot, leg_mut};
use crate::dsp::{DtmfDetector, dtmf_tone};
use crate::rtp::dtmf::{EventPacket, Key, Payload, Place, Press, digit_of};
use crate::rtp::send::Numbers;
use crate::sound::SAMPLE_RATE;
use crate::types::Event;

/// A sender of whom nothing came for so long holds no tone.
const NO_AUDIO: Duration = Duration::from_millis(150);

/// The presses of one packet: an end that was lost, a beginning, an end.
#[derive(Debug, Default)]
pub(super) struct Presses {
    presses: [Option<Press>; 4],
    count: usize,
}

impl Presses {
    pub(super) fn push(&mut self, press: Press) {
        if let Some(place) = self.presses.get_mut(self.count) {
            *place = Some(press);
            self.count += 1;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Press> {
        self.presses.iter().flatten().copied()
    }
}

/// Hears digits in the audio of a leg.
#[derive(Debug, Default)]
pub(super) struct Ear {
    detector: DtmfDetector,
    presses: Presses,
    /// When audio came last.
    heard: Option<Instant>,
}

impl Ear {
    /// The next audio, 8000 samples a second.
    pub(super) fn hear(&mut self, now: Instant, samples: &[i16]) {
        self.heard = Some(now);
        let presses = &mut self.presses;
        self.detector.feed(samples, |press| presses.push(press));
    }

    /// What was heard since the last call. A sender that falls silent has let the key go.
    fn take(&mut self, now: Instant) -> Presses {
        let silent = |at: Instant| now.saturating_duration_since(at) >= NO_AUDIO;
        if self.detector.is_down() && self.heard.is_none_or(silent) {
            let presses = &mut self.presses;
            self.detector.finish(|press| presses.push(press));
        }
        std::mem::take(&mut self.presses)
    }
}

/// How a digit reaches the leg that is relayed to.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Way {
    /// The packets are relayed.
    Packets,
    /// Its keypad makes it anew.
    Anew,
    /// Not through media.
    None,
}

/// How a telephone-event received under `from` reaches a leg with `to`, whose audio `carrier` brings there.
fn way_of_events(carrier: Carrier, from: &Config, to: &Config) -> Way {
    match (to.dtmf_send, to.dtmf_tones) {
        (Some(_), _) if carrier == Carrier::Ring && alike(from, to) => Way::Packets,
        (None, false) => Way::None,
        _ => Way::Anew,
    }
}

/// Are packets relayed between the legs as they are, and do their events count time alike?
fn alike(from: &Config, to: &Config) -> bool {
    let (a, b) = (from.send.codec, to.send.codec);
    from.dtmf_clock == to.dtmf_clock && (a == b || (a.is_g711() && b.is_g711()))
}

impl Engine {
    /// A telephone-event, or audio while a key is down. The rest of the packet's way is as for any other.
    #[cold]
    pub(super) fn digit_packet(
        &mut self,
        now: Instant,
        slot: Slot,
        accepted: &Accepted,
        packet: &mut [u8],
    ) -> Option<Forward> {
        let leg = leg_mut(&mut self.legs, slot)?;
        let mut presses = Presses::default();
        if accepted.what != What::Dtmf {
            leg.listener.audio(now, |press| presses.push(press));
            self.pressed(now, slot, &presses, false);
            return self.forward(now, slot, accepted, packet);
        }
        let header = &accepted.header;
        let Some(payload) = packet.get(header.payload.clone()).and_then(Payload::parse) else {
            leg.drop_packet(&self.counters, Drop::Invalid);
            return None;
        };
        let event = EventPacket {
            timestamp: header.timestamp,
            marker: header.marker,
            payload,
        };
        leg.listener.packet(now, event, |press| presses.push(press));
        self.pressed(now, slot, &presses, false);
        match self.way(slot) {
            (Way::Anew, Some(peer)) => {
                // Its place in the sequence is not missing to the listener.
                if let Some(to) = leg_mut(&mut self.legs, peer) {
                    to.sender.skip(accepted.source, header.sequence);
                }
                None
            }
            _ => self.forward(now, slot, accepted, packet),
        }
    }

    /// How telephone-events of a leg go on, and to whom.
    fn way(&mut self, slot: Slot) -> (Way, Option<Slot>) {
        let Some(leg) = leg_mut(&mut self.legs, slot) else {
            return (Way::None, None);
        };
        let Target::Relay(peer) = leg.target else {
            return (Way::Packets, None);
        };
        let carrier = leg.carrier;
        let Some(from) = leg.config.clone() else {
            return (Way::None, Some(peer));
        };
        let way = leg_mut(&mut self.legs, peer)
            .and_then(|to| to.config.as_ref())
            .map_or(Way::None, |to| way_of_events(carrier, &from, to));
        (way, Some(peer))
    }

    /// Presses heard on a leg: tells signalling, and the leg relayed to unless packets of the event or of its tone
    /// reach it. `tone`: they were heard in the audio.
    pub(super) fn pressed(&mut self, now: Instant, slot: Slot, presses: &Presses, tone: bool) {
        if presses.count == 0 {
            return;
        }
        if let Some(leg) = leg_mut(&mut self.legs, slot) {
            for press in presses.iter() {
                leg.tell_press(&mut self.events, press);
            }
        }
        let (way, peer) = self.way(slot);
        let Some(to) = peer.and_then(|peer| leg_mut(&mut self.legs, peer)) else {
            return;
        };
        let takes_events = to.config.as_ref().is_some_and(|c| c.dtmf_send.is_some());
        let anew = if tone {
            // A leg without events hears the tone itself.
            takes_events
        } else {
            way == Way::Anew
        };
        if !anew {
            return;
        }
        for press in presses.iter() {
            match press {
                // Who listens to music or a prompt hears that, as with packets.
                Press::Begin(digit) if to.player.is_none() => {
                    to.keypad.hold(digit);
                }
                Press::Begin(_) => {}
                Press::End(_, duration_ms) => to.keypad.release(duration_ms),
            }
        }
        if let Some(peer) = peer {
            self.watch(now, peer);
        }
    }

    /// Digits that were heard in the audio of a leg since its last turn.
    #[inline]
    pub(super) fn tones_heard(&mut self, now: Instant, slot: Slot) {
        let ear = leg_mut(&mut self.legs, slot).and_then(|leg| leg.ear.as_mut());
        if let Some(ear) = ear {
            let presses = ear.take(now);
            self.pressed(now, slot, &presses, true);
        }
    }

    /// The audio of a leg is listened to no more: a key that was heard in it is up.
    pub(super) fn stop_listening(&mut self, now: Instant, slot: Slot) {
        let Some(ear) = leg_mut(&mut self.legs, slot).and_then(|leg| leg.ear.take()) else {
            return;
        };
        let Ear {
            mut detector,
            mut presses,
            ..
        } = *ear;
        detector.finish(|press| presses.push(press));
        self.pressed(now, slot, &presses, true);
    }

    /// Keys whose release is late: looked at in the slow turn.
    pub(super) fn expire_digits(&mut self, now: Instant, slot: Slot) {
        let Some(leg) = leg_mut(&mut self.legs, slot) else {
            return;
        };
        let mut presses = Presses::default();
        leg.listener.expire(now, |press| presses.push(press));
        self.pressed(now, slot, &presses, false);
    }

    /// The leg relays to another from now on, or is closed: a key that is down is up.
    pub(super) fn finish_digits(&mut self, now: Instant, slot: Slot) {
        let Some(leg) = leg_mut(&mut self.legs, slot) else {
            return;
        };
        let mut presses = Presses::default();
        leg.listener.finish(|press| presses.push(press));
        self.pressed(now, slot, &presses, false);
    }
}

impl Leg {
    fn tell_press(&mut self, events: &mut super::Events, press: Press) {
        let leg = self.id;
        match press {
            Press::Begin(digit) => {
                self.dtmf_received += 1;
                events.tell_of_remote(Event::DtmfBegin { leg, digit });
            }
            Press::End(digit, duration_ms) => events.tell_of_remote(Event::DtmfEnd {
                leg,
                digit,
                duration_ms,
            }),
        }
    }

    /// 20 ms of a digit.
    pub(super) fn send_key(&mut self, context: &mut Context<'_, '_>) {
        let key = self.keypad_key;
        let step = self.keypad.step();
        let payload_type = self.config.as_ref().and_then(|config| config.dtmf_send);
        match (step, payload_type) {
            (Key::Event { payload, place }, Some(payload_type)) => {
                let Some(dest) = self.may_send(context.counters, key) else {
                    return;
                };
                if place == Place::First {
                    // Each digit begins at the time of the clock, behind whatever was before.
                    self.sender.leave(key);
                }
                // What follows the event gets a timestamp after it, in the clock of the stream.
                let samples = self.event_samples(payload.duration);
                let numbers = if !self.sender.is_source(key) {
                    Numbers {
                        marker: place == Place::First,
                        ..self.sender.own(context.now, key, samples)
                    }
                } else if place == Place::Segment {
                    let behind = self.event_samples(u16::MAX);
                    self.sender.next_segment(context.now, behind, samples)
                } else {
                    self.sender.same_moment(context.now, samples)
                };
                self.send(context, dest, payload_type, numbers, &payload.bytes());
            }
            (Key::Event { payload, place }, None) => {
                if place == Place::First {
                    self.tone = digit_of(payload.event).and_then(dtmf_tone);
                }
                let mut samples = [0; FRAME];
                if let Some(tone) = &mut self.tone {
                    tone.fill(&mut samples);
                }
                if payload.end {
                    self.tone = None;
                }
                self.say(context, key, SAMPLE_RATE, &samples);
            }
            (Key::Pause, None) => self.say(context, key, SAMPLE_RATE, &[0; FRAME]),
            (Key::Pause | Key::Idle, _) => {}
        }
        if !self.keypad.is_busy() {
            self.hush(context, key);
        }
    }

    /// A duration of an event in timestamps of the stream, which count by the clock of its audio.
    fn event_samples(&self, duration: u16) -> u32 {
        let Some(config) = &self.config else {
            return u32::from(duration);
        };
        let clock = u64::from(config.send.codec.clock_rate());
        (u64::from(duration) * clock / u64::from(config.dtmf_clock.max(1))) as u32
    }
}
