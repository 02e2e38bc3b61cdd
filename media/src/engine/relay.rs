//! The packet path: a received RTP packet is checked, listened to, and passed on in its own buffer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use super::carriage::Carrier;
use super::leg::{COMFORT_NOISE, Drop, Kind, Leg, Target};
use super::wire::{NOWHERE, Wire};
use super::{Effect, Engine, Events, Forward, Slot, leg_mut, next_key};
use crate::codec::{Codec, G711};
use crate::counters::Counters;
use crate::dsp::Gain;
use crate::recording::Order;
use crate::rtp::dtmf::Payload;
use crate::rtp::packet::{self, HEADER_LEN, Header};
use crate::rtp::receive::Arrival;
use crate::rtp::send::SourceKey;
use crate::types::Event;

/// Longest payload that is decoded, in samples: more than fits into a datagram of an Ethernet.
pub(super) const SAMPLES_MAX: usize = 1500;

/// What the packet path uses beside the legs.
struct Context<'a> {
    now: Instant,
    counters: &'a Counters,
    events: &'a mut Events,
    effects: &'a mut VecDeque<Effect>,
    orders: &'a mut VecDeque<Order>,
    keys: &'a mut u64,
    samples: &'a mut [i16; SAMPLES_MAX],
}

/// What is in a packet.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum What {
    Audio(Codec),
    Dtmf,
    Noise,
}

/// A packet that was accepted.
pub(super) struct Accepted {
    pub(super) header: Header,
    pub(super) what: What,
    pub(super) source: SourceKey,
    /// Samples that were decoded already.
    decoded: Option<usize>,
}

impl Engine {
    /// [`Engine::rtp_in_buffer`] for a packet without room behind it: it cannot be relayed to a secured leg that adds
    /// more than was taken off.
    #[inline]
    pub fn rtp(
        &mut self,
        now: Instant,
        slot: Slot,
        source: Option<SocketAddr>,
        packet: &mut [u8],
    ) -> Option<Forward> {
        let length = packet.len();
        self.rtp_in_buffer(now, slot, source, packet, length)
    }

    /// Takes a datagram that came to the RTP socket of a leg, `buffer[..length]`. `source` is `None` when the socket is
    /// connected, so that the kernel checks it. The packet is rewritten in place; the answer says what to send of it, if
    /// anything. Behind it should be room for what protection adds ([`crate::rtp::srtp::OVERHEAD_MAX`] bytes suffice).
    #[inline]
    pub fn rtp_in_buffer(
        &mut self,
        now: Instant,
        slot: Slot,
        source: Option<SocketAddr>,
        buffer: &mut [u8],
        length: usize,
    ) -> Option<Forward> {
        let forward = self.rtp_to_leg(now, slot, source, buffer, length)?;
        if forward.dest == NOWHERE {
            return self.through_wires(now, forward, buffer);
        }
        Some(forward)
    }

    /// Takes a packet to the leg that it goes out of.
    #[inline]
    pub(super) fn rtp_to_leg(
        &mut self,
        now: Instant,
        slot: Slot,
        source: Option<SocketAddr>,
        buffer: &mut [u8],
        length: usize,
    ) -> Option<Forward> {
        let packet = buffer.get_mut(..length)?;
        if packet::is_rtcp(packet) {
            self.rtcp(now, slot, source, packet);
            return None;
        }
        let mut context = Context {
            now,
            counters: &self.counters,
            events: &mut self.events,
            effects: &mut self.effects,
            orders: &mut self.orders,
            keys: &mut self.keys,
            samples: &mut self.samples,
        };
        let Some(from) = leg_mut(&mut self.legs, slot) else {
            self.counters.packets_in.add(1);
            self.counters.drop_no_leg.add(1);
            return None;
        };
        // What goes through a wire is no packet of the network.
        if from.wire == Wire::None {
            context.counters.packets_in.add(1);
        }
        let accepted = match from.accept(&mut context, source, packet) {
            Ok(accepted) => accepted,
            Err(why) => {
                from.drop_packet(context.counters, why);
                return None;
            }
        };
        if accepted.what == What::Dtmf || from.listener.is_down() {
            return self.digit_packet(now, slot, &accepted, buffer);
        }
        self.forward(now, slot, &accepted, buffer)
    }

    /// Sends a packet on to where its leg's packets go.
    #[inline]
    pub(super) fn forward(
        &mut self,
        now: Instant,
        slot: Slot,
        accepted: &Accepted,
        packet: &mut [u8],
    ) -> Option<Forward> {
        let mut context = Context {
            now,
            counters: &self.counters,
            events: &mut self.events,
            effects: &mut self.effects,
            orders: &mut self.orders,
            keys: &mut self.keys,
            samples: &mut self.samples,
        };
        let from = leg_mut(&mut self.legs, slot)?;
        if from.carrier == Carrier::Translated && accepted.what != What::Dtmf {
            return None;
        }
        let to = match from.target {
            Target::Silence | Target::Room(_) => return None,
            Target::Echo => from,
            Target::Relay(peer) => leg_mut(&mut self.legs, peer)?,
        };
        match to.pass_on(&mut context, accepted, packet) {
            Ok(forward) => {
                if forward.dest != NOWHERE {
                    self.counters.relayed.add(1);
                    self.counters.packets_out.add(1);
                }
                Some(forward)
            }
            Err(why) => {
                to.sender_left(why, accepted);
                to.drop_packet(&self.counters, why);
                None
            }
        }
    }
}

/// Makes a payload of G.711 louder or softer where it stands.
#[cold]
fn amplify(gain: Gain, g711: G711, payload: &mut [u8], samples: &mut [i16; SAMPLES_MAX]) {
    let count = g711.decode(payload, samples);
    if let Some(samples) = samples.get_mut(..count) {
        gain.apply(samples);
        g711.encode(samples, payload);
    }
}

impl Leg {
    /// Checks and counts a received packet, and lets those listen who want to.
    #[inline]
    fn accept(
        &mut self,
        context: &mut Context<'_>,
        source: Option<SocketAddr>,
        packet: &mut [u8],
    ) -> Result<Accepted, Drop> {
        let now = context.now;
        let length = match self.srtp {
            None => packet.len(),
            Some(_) => self.unprotect(now, source, packet)?,
        };
        let packet = packet.get_mut(..length).ok_or(Drop::Invalid)?;
        let header = Header::parse(packet).map_err(|_| Drop::Invalid)?;
        let kind = self.kind(header.payload_type);
        let config = self.config.as_ref().ok_or(Drop::Unconfigured)?;
        if !self.admits(now, config, source) {
            return Err(Drop::WrongSource);
        }
        if kind == Kind::Unknown {
            return Err(Drop::UnknownPayload);
        }
        let receiving = config.receiving;
        if self.latched.is_none()
            && let Some(source) = source
        {
            self.latch(context, source);
        }
        self.heard = now;
        if self.timed_out {
            self.timed_out = false;
            context.events.tell(Event::RtpResumed { leg: self.id });
        }
        self.count_received(header.payload.len());
        let clock_rate = match kind {
            Kind::Audio(codec) => Some(codec.clock_rate()),
            _ => None,
        };
        let arrival = self.receiver.packet(now, &header, clock_rate);
        match arrival {
            Arrival::InOrder | Arrival::Reordered => {}
            // Another stream: listeners get its numbers shifted anew.
            Arrival::NewSource => {
                self.key = next_key(context.keys);
                self.listener.new_source();
            }
            Arrival::Duplicate => return Err(Drop::Duplicate),
            Arrival::Late | Arrival::Unconfirmed => return Err(Drop::Late),
        }
        if !receiving {
            return Err(Drop::NotReceiving);
        }
        if header.payload.is_empty() {
            return Err(Drop::Empty);
        }
        let mut accepted = Accepted {
            header,
            what: What::Dtmf,
            source: self.key,
            decoded: None,
        };
        match kind {
            Kind::Audio(codec) => {
                accepted.what = What::Audio(codec);
                if self.heard_codec != Some(codec) {
                    self.another_codec(codec);
                }
                if let Some(hearing) = &mut self.hearing
                    && let Some(payload) = packet.get(accepted.header.payload.clone())
                {
                    let restart = arrival == Arrival::NewSource;
                    hearing.packet(now, &accepted.header, codec, restart, payload);
                }
                self.listen(context, &mut accepted, codec, packet, arrival);
            }
            Kind::Dtmf => {
                if let Some(hearing) = &mut self.hearing {
                    hearing.event(&accepted.header);
                }
            }
            Kind::ComfortNoise | Kind::Unknown => {
                accepted.what = What::Noise;
                if let Some(hearing) = &mut self.hearing
                    && let Some(payload) = packet.get(accepted.header.payload.clone())
                {
                    let restart = arrival == Arrival::NewSource;
                    hearing.noise(now, &accepted.header, restart, payload);
                }
            }
        }
        Ok(accepted)
    }

    /// The remote sends another codec than before.
    #[cold]
    fn another_codec(&mut self, codec: Codec) {
        self.heard_codec = Some(codec);
        self.unsettled = true;
    }

    /// Settles on the source of the first packet.
    #[cold]
    fn latch(&mut self, context: &mut Context<'_>, source: SocketAddr) {
        self.latched = Some(source);
        let config = self.config.as_ref();
        let symmetric = config.is_some_and(|c| c.symmetric);
        if symmetric {
            self.destination = Some(source);
        }
        // Without symmetry the remote may send from other ports too, unless this is the very one it named.
        if symmetric || config.and_then(|c| c.remote_rtp) == Some(source) {
            self.connected = true;
            context.effects.push_back(Effect::Connect {
                slot: self.slot,
                remote: Some(source),
            });
        }
        context.events.tell(Event::FirstRtp {
            leg: self.id,
            source,
        });
    }

    /// Digits in the audio, muting and recorders of the receiving side.
    #[inline]
    fn listen(
        &mut self,
        context: &mut Context<'_>,
        accepted: &mut Accepted,
        codec: Codec,
        packet: &mut [u8],
        arrival: Arrival,
    ) {
        let range = &mut accepted.header.payload;
        if let Some(ear) = &mut self.ear
            && arrival != Arrival::Reordered
            && let Some((g711, payload)) = codec.g711().zip(packet.get(range.clone()))
        {
            let count = g711.decode(payload, context.samples);
            ear.hear(context.now, &context.samples[..count]);
        }
        if self.mute_receive
            && let Some(payload) = packet.get_mut(range.clone())
        {
            range.end = range.start + codec.hush(payload);
        }
        if !self.gain_receive.is_none()
            && let Some((g711, payload)) = codec.g711().zip(packet.get_mut(range.clone()))
        {
            amplify(self.gain_receive, g711, payload, context.samples);
        }
        if self.recorders.is_empty() {
            return;
        }
        // A packet alone tells nothing of a codec with state.
        let (Some(g711), Some(payload)) = (codec.g711(), packet.get(range.clone())) else {
            return;
        };
        let count = g711.decode(payload, context.samples);
        accepted.decoded = Some(count);
        let restart = accepted.header.marker || arrival == Arrival::NewSource;
        for recorder in self.recorders.iter_mut().filter(|one| one.takes_packets()) {
            recorder.received(
                context.now,
                accepted.header.timestamp,
                restart,
                &context.samples[..count],
                context.orders,
            );
        }
    }

    /// Rewrites a packet for this leg and lets those listen who want to.
    #[inline]
    fn pass_on(
        &mut self,
        context: &mut Context<'_>,
        accepted: &Accepted,
        packet: &mut [u8],
    ) -> Result<Forward, Drop> {
        let config = self.config.as_ref().ok_or(Drop::NotSending)?;
        let dest = self.destination.ok_or(Drop::NotSending)?;
        if !config.sending {
            return Err(Drop::NotSending);
        }
        if self.player.is_some() || self.keypad.is_busy() {
            return Err(Drop::Replaced);
        }
        let mut range = accepted.header.payload.clone();
        let mut payload = packet.get_mut(range.clone()).ok_or(Drop::Invalid)?;
        let send = config.send;
        let (payload_type, samples) = match accepted.what {
            What::Audio(codec) => {
                if codec != send.codec {
                    let laws = codec.g711().zip(send.codec.g711());
                    let (from, to) = laws.ok_or(Drop::Transcode)?;
                    from.transcode(to, payload);
                }
                if self.mute_transmit {
                    let length = send.codec.hush(payload);
                    range.end = range.start + length;
                    payload = &mut payload[..length];
                } else if !self.gain_transmit.is_none()
                    && let Some(g711) = send.codec.g711()
                {
                    amplify(self.gain_transmit, g711, payload, context.samples);
                }
                (send.payload_type, send.codec.samples_in(payload))
            }
            What::Noise if config.comfort_noise && !self.mute_transmit => (COMFORT_NOISE, 0),
            What::Noise => return Err(Drop::ComfortNoise),
            What::Dtmf => {
                let payload_type = config.dtmf_send.ok_or(Drop::DtmfUnwanted)?;
                let duration = Payload::parse(payload).map_or(0, |p| u32::from(p.duration));
                (payload_type, duration)
            }
        };
        let header = &accepted.header;
        let numbers = self
            .sender
            .relay(
                context.now,
                accepted.source,
                header.sequence,
                header.timestamp,
                header.marker,
                samples,
            )
            .ok_or(Drop::Late)?;
        if matches!(accepted.what, What::Audio(_))
            && !self.recorders.is_empty()
            && let Some(g711) = send.codec.g711()
        {
            let count = match accepted.decoded {
                Some(count) if !self.mute_transmit && self.gain_transmit.is_none() => count,
                _ => g711.decode(payload, context.samples),
            };
            for recorder in self.recorders.iter_mut().filter(|one| one.takes_packets()) {
                recorder.transmitted(
                    context.now,
                    numbers.timestamp,
                    numbers.marker,
                    &context.samples[..count],
                    context.orders,
                );
            }
        }
        self.sender.count(range.len());
        let rewritten = Header {
            marker: numbers.marker,
            payload_type,
            sequence: numbers.sequence,
            timestamp: numbers.timestamp,
            ssrc: self.sender.ssrc(),
            payload: range.clone(),
        };
        let start = rewritten
            .write_before_payload(packet)
            .ok_or(Drop::Invalid)?;
        let packet = packet.get_mut(start..).ok_or(Drop::Invalid)?;
        let length = self.protect(packet, HEADER_LEN + range.len())?;
        Ok(Forward {
            slot: self.slot,
            dest,
            start: start as u16,
            len: length as u16,
        })
    }

    /// A packet for this leg was left out: what follows must not look as if it had been lost.
    #[cold]
    fn sender_left(&mut self, why: Drop, accepted: &Accepted) {
        match why {
            Drop::DtmfUnwanted | Drop::ComfortNoise => {
                self.sender.skip(accepted.source, accepted.header.sequence)
            }
            Drop::NotSending | Drop::Replaced | Drop::Transcode => {
                self.sender.leave(accepted.source)
            }
            _ => {}
        }
    }
}
