//! A leg: one remote, its two streams, what is played to it and recorded of it.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::codec::{Codec, EncoderOptions};
use crate::counters::Counters;
use crate::dsp::{Dual, Gain};
use crate::jitter;
use crate::rtp::dtmf::{DEFAULT_CLOCK, Keypad, Listener};
use crate::rtp::receive::Receiver;
use crate::rtp::send::{Sender, SourceKey};
use crate::rtp::srtp;
use crate::sound::SAMPLE_RATE;
use crate::stats::{Drops, LegStats};
use crate::types::{Format, LegId, LegStart, Negotiated};
use crate::uring::prefetch;

use super::attend::Attention;
use super::carriage::Carrier;
use super::digits::Ear;
use super::hearing::{Hearing, WAIT_MAX_MS};
use super::member::RoomEar;
use super::player::Player;
use super::recorder::Recorder;
use super::voice::Voice;
use super::wire::{FarEnd, Wire};
use super::{Slot, report};

/// Comfort noise (RFC 3389).
pub(super) const COMFORT_NOISE: u8 = 13;
/// After a change of the remote's address, packets of the old source still on the way are not taken for the new one.
const OLD_SOURCE: Duration = Duration::from_millis(500);
/// Recorders of one leg that start or stop within this time start or stop together.
const TOGETHER: Duration = Duration::from_millis(50);
/// What a payload type means on a leg.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Unknown,
    Audio(Codec),
    Dtmf,
    ComfortNoise,
}

/// Where received packets go.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Target {
    Silence,
    Echo,
    Relay(Slot),
    /// The room of this number.
    Room(u32),
}

/// Why a packet went no further.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Drop {
    Invalid,
    Unconfigured,
    WrongSource,
    UnknownPayload,
    Duplicate,
    Late,
    NotReceiving,
    ComfortNoise,
    Empty,
    NotSending,
    Replaced,
    DtmfUnwanted,
    Transcode,
    SrtpAuth,
    SrtpReplay,
    SrtpUnprotected,
    SrtpExpired,
    SrtpNotSent,
}

/// What was negotiated.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) remote_rtp: Option<SocketAddr>,
    pub(super) remote_rtcp: Option<SocketAddr>,
    pub(super) send: Format,
    /// Milliseconds of audio in a packet that is generated, 10..=60.
    pub(super) ptime_ms: u8,
    pub(super) encoder: EncoderOptions,
    pub(super) comfort_noise: bool,
    pub(super) dtmf_send: Option<u8>,
    /// Hz of telephone-events.
    pub(super) dtmf_clock: u32,
    /// Digits for a remote without telephone-events are sent as tones.
    pub(super) dtmf_tones: bool,
    pub(super) sending: bool,
    pub(super) receiving: bool,
    pub(super) symmetric: bool,
    pub(super) timeout: Option<Duration>,
    /// Seconds without a packet sent after which one is; 0: never.
    pub(super) keepalive_s: u16,
    /// RTCP goes through the ports of RTP.
    pub(super) rtcp_mux: bool,
    /// Extended reports are sent.
    pub(super) rtcp_xr: bool,
}

/// Bytes at the beginning of a leg that every packet uses, whichever way it goes; then those that a sent one uses, then
/// those of a received one. What lies behind is for commands, reports and digits.
const WARM: usize = std::mem::offset_of!(Leg, sender);
const SENT: usize = std::mem::offset_of!(Leg, receiver);
const RECEIVED: usize = SENT + Receiver::USUAL_BYTES;

/// In the order of use: what each packet needs comes first, so that it fills few lines of the cache.
#[repr(C)]
pub(super) struct Leg {
    pub(super) slot: Slot,
    /// The socket was given a connection.
    pub(super) connected: bool,
    pub(super) timed_out: bool,
    pub(super) mute_receive: bool,
    pub(super) mute_transmit: bool,
    pub(super) gain_receive: Gain,
    pub(super) gain_transmit: Gain,
    /// Another codec came than was prepared for.
    pub(super) unsettled: bool,
    /// The room it is in makes its frames, when it mixes them.
    pub(super) heard_by_room: bool,
    pub(super) in_fast: bool,
    pub(super) in_slow: bool,
    pub(super) carrier: Carrier,
    /// The codec that is received: of the last audio packet, before any the preferred one.
    pub(super) heard_codec: Option<Codec>,
    /// The payload type of the last audio packet, and what it means: `kinds` lie elsewhere.
    usual: (u8, Kind),
    pub(super) target: Target,
    pub(super) key: SourceKey,
    /// When a packet was last accepted, or the leg configured.
    pub(super) heard: Instant,
    packets: u64,
    bytes: u64,
    /// Protection of both directions; `None`: the leg has never been secured.
    pub(super) srtp: Option<Box<srtp::Session>>,
    /// For those who want what is received as a steady stream.
    pub(super) hearing: Option<Box<Hearing>>,
    /// For everything that is generated.
    pub(super) voice: Option<Box<Voice>>,
    pub(super) player: Option<Box<Player>>,
    /// Listens for digits in the audio, where that is wanted.
    pub(super) ear: Option<Box<Ear>>,
    pub(super) recorders: Vec<Recorder>,
    /// Where RTP goes: the source that was latched onto, or what was negotiated.
    pub(super) destination: Option<SocketAddr>,
    pub(super) latched: Option<SocketAddr>,
    pub(super) config: Option<Config>,
    pub(super) keypad: Keypad,
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
    pub(super) listener: Listener,
    /// By payload type.
    kinds: [Kind; 128],
    pub(super) id: LegId,
    old_source: Option<(SocketAddr, Instant)>,
    /// What ears that are gone went through.
    heard_before: jitter::Report,
    /// Legs that relay to this one.
    pub(super) inbound: Vec<Slot>,
    pub(super) keypad_key: SourceKey,
    /// The leg that receives what this one sends, where it has no socket.
    pub(super) wire: Wire,
    /// To a leg of another thread, where this one has no socket.
    pub(super) far: Option<Box<FarEnd>>,
    /// The digit that is sent in-band.
    pub(super) tone: Option<Dual>,
    /// How long audio may wait in its jitter buffer at most.
    pub(super) wait_max_ms: u32,
    /// Who listens to what it hears.
    pub(super) attention: Option<Box<Attention>>,
    /// From the rate that is heard to that of the room it is in, where they differ.
    pub(super) room_ear: Option<Box<RoomEar>>,
    last_start: Option<Instant>,
    last_stop: Option<Instant>,
    pub(super) reports: report::Reports,
    pub(super) dtmf_received: u64,
    pub(super) drops: Drops,
}

impl Leg {
    pub(super) fn new(now: Instant, slot: Slot, start: LegStart, keys: [SourceKey; 2]) -> Self {
        let [key, keypad_key] = keys;
        Self {
            id: start.leg,
            slot,
            config: None,
            kinds: [Kind::Unknown; 128],
            usual: (0, Kind::Unknown),
            destination: None,
            latched: None,
            connected: false,
            old_source: None,
            receiver: Receiver::new(now),
            key,
            sender: Sender::new(start.ssrc, start.sequence, start.timestamp, SAMPLE_RATE),
            srtp: None,
            target: Target::Silence,
            wire: Wire::None,
            far: None,
            carrier: Carrier::default(),
            heard_codec: None,
            unsettled: false,
            hearing: None,
            voice: None,
            heard_before: jitter::Report::default(),
            inbound: Vec::new(),
            mute_receive: false,
            mute_transmit: false,
            gain_receive: Gain::NONE,
            gain_transmit: Gain::NONE,
            wait_max_ms: WAIT_MAX_MS,
            listener: Listener::default(),
            keypad: Keypad::default(),
            keypad_key,
            heard_by_room: false,
            room_ear: None,
            attention: None,
            tone: None,
            player: None,
            recorders: Vec::new(),
            ear: None,
            last_start: None,
            last_stop: None,
            heard: now,
            timed_out: false,
            in_fast: false,
            in_slow: false,
            reports: report::Reports::new(start.cname, start.ssrc),
            packets: 0,
            bytes: 0,
            dtmf_received: 0,
            drops: Drops::default(),
        }
    }

    /// Asks for what a packet of this leg needs first.
    #[inline]
    pub(super) fn expect(&self) {
        prefetch::value(self, WARM);
        prefetch::part(self, SENT, RECEIVED - SENT);
        prefetch::part(
            self,
            std::mem::offset_of!(Self, listener),
            Listener::USUAL_BYTES,
        );
    }

    /// The same for a packet that is sent to it.
    #[inline]
    pub(super) fn expect_sending(&self) {
        prefetch::value(self, SENT);
    }

    /// The same for what those parts lead to, once they are there.
    #[inline]
    pub(super) fn expect_more(&self) {
        if let Some(hearing) = &self.hearing {
            hearing.expect_arrival();
        }
        self.expect_recorders();
    }

    /// The same for its recorders alone.
    #[inline]
    pub(super) fn expect_recorders(&self) {
        prefetch::slice(&self.recorders);
    }

    /// And for where a packet will be put.
    #[inline]
    pub(super) fn expect_places(&self) {
        if let Some(hearing) = &self.hearing {
            hearing.expect_packet();
        }
        self.expect_recording();
    }

    /// And for where recorders will put it.
    #[inline]
    pub(super) fn expect_recording(&self) {
        for recorder in &self.recorders {
            recorder.expect_packet();
        }
    }

    /// The same as these three for a turn of this leg, and for what it has said by another.
    #[inline]
    pub(super) fn expect_turn(&self, stage: u8, speaker: Option<&Self>) {
        match stage {
            0 => self.expect_sending(),
            1 => {
                if let Some(hearing) = &self.hearing {
                    hearing.expect();
                }
                self.expect_recorders();
                match speaker {
                    Some(speaker) => speaker.expect_sending(),
                    None => self.expect_voice(),
                }
            }
            _ => {
                if let Some(hearing) = &self.hearing {
                    hearing.expect_turn();
                }
                if let Some(speaker) = speaker {
                    speaker.expect_voice();
                }
            }
        }
    }

    #[inline]
    fn expect_voice(&self) {
        if let Some(voice) = &self.voice {
            prefetch::value(&**voice, size_of::<Voice>());
        }
    }

    /// What a payload type means.
    #[inline]
    pub(super) fn kind(&mut self, payload_type: u8) -> Kind {
        let (usual, kind) = self.usual;
        if usual == payload_type && kind != Kind::Unknown {
            return kind;
        }
        self.look_up(payload_type)
    }

    #[cold]
    fn look_up(&mut self, payload_type: u8) -> Kind {
        let kind = self.kinds[usize::from(payload_type & 0x7F)];
        if matches!(kind, Kind::Audio(_)) {
            self.usual = (payload_type, kind);
        }
        kind
    }

    /// What payload types there are.
    pub(super) fn kinds(&self) -> impl Iterator<Item = &Kind> + Clone {
        self.kinds.iter()
    }

    /// Takes what was negotiated. True when the socket has to be unconnected.
    pub(super) fn configure(&mut self, now: Instant, negotiated: Negotiated) -> bool {
        self.usual = (0, Kind::Unknown);
        self.kinds = [Kind::Unknown; 128];
        self.kinds[usize::from(COMFORT_NOISE)] = Kind::ComfortNoise;
        for format in &negotiated.formats {
            if let Some(kind) = self.kinds.get_mut(usize::from(format.payload_type)) {
                *kind = Kind::Audio(format.codec);
            }
        }
        if let Some(payload_type) = negotiated.dtmf_receive
            && let Some(kind) = self.kinds.get_mut(usize::from(payload_type))
        {
            *kind = Kind::Dtmf;
        }
        let dtmf_clock = match negotiated.dtmf_clock {
            0 => DEFAULT_CLOCK,
            hz => hz,
        };
        self.ear = negotiated
            .detect_inband
            .then(|| self.ear.take().unwrap_or_default());
        self.listener.set_clock(dtmf_clock);
        self.keypad.set_clock(dtmf_clock);
        let still = self
            .heard_codec
            .filter(|&codec| negotiated.formats.iter().any(|f| f.codec == codec));
        self.heard_codec = still.or_else(|| negotiated.formats.first().map(|format| format.codec));
        let moved = self.config.as_ref().is_none_or(|old| {
            old.remote_rtp != negotiated.remote_rtp || old.symmetric != negotiated.symmetric
        });
        let codec = negotiated.send.codec;
        self.sender.set_clock_rate(codec.clock_rate());
        self.config = Some(Config {
            remote_rtp: negotiated.remote_rtp,
            remote_rtcp: negotiated.remote_rtcp.or_else(|| {
                let rtp = negotiated.remote_rtp?;
                Some(SocketAddr::new(rtp.ip(), rtp.port().checked_add(1)?))
            }),
            send: negotiated.send,
            ptime_ms: codec.ptime(u32::from(negotiated.ptime_ms)),
            encoder: negotiated.encoder,
            comfort_noise: negotiated.comfort_noise,
            dtmf_send: negotiated.dtmf_send.filter(|&pt| pt < 128),
            dtmf_clock,
            dtmf_tones: negotiated.dtmf_tones,
            sending: negotiated.sending,
            receiving: negotiated.receiving,
            symmetric: negotiated.symmetric,
            timeout: (negotiated.rtp_timeout_ms > 0)
                .then(|| Duration::from_millis(u64::from(negotiated.rtp_timeout_ms))),
            keepalive_s: negotiated.keepalive_s,
            rtcp_mux: negotiated.rtcp_mux,
            rtcp_xr: negotiated.rtcp_xr,
        });
        self.set_keys(now, negotiated.srtp);
        self.heard = now;
        self.timed_out = false;
        if self.wire != Wire::None {
            self.attach();
            return false;
        }
        if !moved {
            return false;
        }
        if let Some(old) = self.latched.take() {
            self.old_source = Some((old, now + OLD_SOURCE));
        }
        self.destination = negotiated.remote_rtp;
        self.reports.forget_source();
        std::mem::take(&mut self.connected)
    }

    /// May this source send to the leg? `None`: the kernel has checked already; but what a socket still holds from a
    /// connection that was given up is not wanted.
    #[inline]
    pub(super) fn admits(&self, now: Instant, config: &Config, source: Option<SocketAddr>) -> bool {
        let Some(source) = source else {
            return self.connected;
        };
        match (config.symmetric, self.latched) {
            (true, Some(latched)) => source == latched,
            (true, None) => match self.old_source {
                Some((old, until)) if old == source && now < until => {
                    config.remote_rtp == Some(source)
                }
                _ => true,
            },
            (false, _) => config.remote_rtp.map(|r| r.ip()) == Some(source.ip()),
        }
    }

    /// May this address send control packets to the leg?
    pub(super) fn admits_control(&self, source: SocketAddr) -> bool {
        let known: [Option<IpAddr>; 3] = [
            self.latched.map(|a| a.ip()),
            self.config
                .as_ref()
                .and_then(|c| c.remote_rtcp)
                .map(|a| a.ip()),
            self.config
                .as_ref()
                .and_then(|c| c.remote_rtp)
                .map(|a| a.ip()),
        ];
        known.contains(&Some(source.ip()))
    }

    /// Is anything to be done every 20 ms?
    pub(super) fn is_generating(&self) -> bool {
        self.player.is_some()
            || self.far.is_some()
            || self.keypad.is_busy()
            || self.recorders.iter().any(Recorder::is_impatient)
            || self.ear.is_some()
            || self.attention.is_some()
            || (self.hearing.is_some() && !self.heard_by_room)
    }

    pub(super) fn is_bridged(&self) -> bool {
        matches!(self.target, Target::Relay(_) | Target::Room(_))
    }

    /// The common start of recorders that start together.
    pub(super) fn recorder_start(&mut self, now: Instant) -> Instant {
        together(&mut self.last_start, now)
    }

    /// The common end of recorders that stop together.
    pub(super) fn recorder_stop(&mut self, now: Instant) -> Instant {
        together(&mut self.last_stop, now)
    }

    #[inline]
    pub(super) fn count_received(&mut self, payload_bytes: usize) {
        self.packets += 1;
        self.bytes += payload_bytes as u64;
    }

    /// Has anything been sent or received?
    pub(super) fn was_used(&self) -> bool {
        self.packets > 0 || self.sender.packets() > 0
    }

    #[inline]
    pub(super) fn drop_packet(&mut self, counters: &Counters, why: Drop) {
        let (own, all) = match why {
            Drop::Invalid => (&mut self.drops.invalid, &counters.drop_invalid),
            Drop::Unconfigured => (&mut self.drops.unconfigured, &counters.drop_unconfigured),
            Drop::WrongSource => (&mut self.drops.wrong_source, &counters.drop_wrong_source),
            Drop::UnknownPayload => (
                &mut self.drops.unknown_payload,
                &counters.drop_unknown_payload,
            ),
            Drop::Duplicate => (&mut self.drops.duplicate, &counters.drop_duplicate),
            Drop::Late => (&mut self.drops.late, &counters.drop_late),
            Drop::NotReceiving => (&mut self.drops.not_receiving, &counters.drop_not_receiving),
            Drop::ComfortNoise => (&mut self.drops.comfort_noise, &counters.drop_comfort_noise),
            Drop::Empty => (&mut self.drops.empty, &counters.drop_empty),
            Drop::NotSending => (&mut self.drops.not_sending, &counters.drop_not_sending),
            Drop::Replaced => (&mut self.drops.replaced, &counters.drop_replaced),
            Drop::DtmfUnwanted => (&mut self.drops.dtmf_unwanted, &counters.drop_dtmf_unwanted),
            Drop::SrtpAuth => (&mut self.drops.srtp_auth, &counters.drop_srtp_auth),
            Drop::SrtpReplay => (&mut self.drops.srtp_replay, &counters.drop_srtp_replay),
            Drop::SrtpUnprotected => (
                &mut self.drops.srtp_unprotected,
                &counters.drop_srtp_unprotected,
            ),
            Drop::SrtpExpired => (&mut self.drops.srtp_expired, &counters.drop_srtp_expired),
            Drop::SrtpNotSent => (&mut self.drops.srtp_not_sent, &counters.drop_srtp_not_sent),
            Drop::Transcode => (&mut self.drops.transcode, &counters.drop_transcode),
        };
        *own += 1;
        all.add(1);
    }

    /// Nobody wants a steady stream any more.
    pub(super) fn drop_hearing(&mut self) {
        self.heard_before = self.heard_report();
        self.hearing = None;
    }

    fn heard_report(&self) -> jitter::Report {
        match &self.hearing {
            Some(hearing) => self.heard_before.followed_by(hearing.report()),
            None => self.heard_before,
        }
    }

    pub(super) fn stats(&self) -> LegStats {
        let clock_rate = u64::from(self.sender.clock_rate());
        let us = |units: u32| (u64::from(units) * 1_000_000 / clock_rate) as u32;
        LegStats {
            inside: self.wire != Wire::None,
            ssrc: self.sender.ssrc(),
            remote_ssrc: self.receiver.ssrc(),
            codec: self.config.as_ref().map(|config| config.send.codec),
            packets_received: self.packets,
            bytes_received: self.bytes,
            packets_sent: self.sender.packets(),
            bytes_sent: self.sender.bytes(),
            lost: self.receiver.lost(),
            duplicates: self.receiver.duplicates(),
            reordered: self.receiver.reordered(),
            late: self.receiver.late(),
            source_changes: self.receiver.source_changes(),
            jitter_us: us(self.receiver.jitter_units()),
            jitter_us_max: us(self.receiver.jitter_units_max()),
            round_trip_us: self.reports.round_trip_us,
            remote_lost: self.reports.remote_lost,
            remote_jitter_us: self.reports.remote_jitter.map(us),
            dtmf_received: self.dtmf_received,
            rtcp_received: self.reports.received,
            rtcp_sent: self.reports.sent,
            quality: self.reports.quality.clone(),
            drops: self.drops.clone(),
            heard: self.heard_report(),
        }
    }
}

fn together(last: &mut Option<Instant>, now: Instant) -> Instant {
    match *last {
        Some(at) if now.saturating_duration_since(at) < TOGETHER => at,
        _ => *last.insert(now),
    }
}
