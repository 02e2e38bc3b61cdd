//! RTCP: reports sent and read, and what they tell about how the call sounds.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::leg::{Drop, Leg};
use super::protection::PlainControl;
use super::{Clock, Engine, Out, Slot, Transmit, leg_mut};
use crate::codec::Codec;
use crate::counters::Counters;
use crate::rtp::quality::{self, GMIN, Impairment, Quality};
use crate::rtp::rtcp::{
    self, Block, Dlrr, Extended, Ntp, PACKET_MAX, Part, Report, SenderInfo, VoipMetrics,
};
use crate::rtp::srtp::CONTROL_OVERHEAD_MAX;
use crate::types::{ControlReport, Event};

/// RTCP's share of a session, octets a second: 5 % of 80 kbit/s (RFC 3550 §6.2), what G.711 takes.
const BANDWIDTH: f64 = 500.0;
/// UDP and IPv4 headers, which count towards the share.
const OVERHEAD: usize = 28;
/// No round trip takes so long, 1/65536 s: a clock was set.
const ROUND_TRIP_MAX: u32 = 10 * 65536;

/// What is known from and for control packets.
pub(super) struct Reports {
    cname: Box<str>,
    /// The remote's last sender report: middle bits of its time, and when it came.
    last_report: Option<(u32, Instant)>,
    /// The remote's clock as a receiver (RFC 3611 §4.4): whose, middle bits, when it came.
    reference: Option<(u32, u32, Instant)>,
    /// Where the remote's control packets come from.
    source: Option<SocketAddr>,
    next: Option<Instant>,
    /// Spreads the times of reports.
    random: u32,
    /// Mean size of packets, octets.
    size: f64,
    /// Packets that we had sent at the report before.
    packets: u64,
    /// Losses, and packets that should have come, at the report before.
    lost: u64,
    expected: u64,
    /// Cumulative loss that the remote reported before.
    remote_lost_before: Option<i32>,
    pub(super) round_trip_us: Option<u32>,
    pub(super) remote_lost: Option<u32>,
    pub(super) remote_jitter: Option<u32>,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) quality: Quality,
}

impl Reports {
    /// `seed`: any number that differs between legs.
    pub(super) fn new(cname: String, seed: u32) -> Self {
        Self {
            cname: cname.into_boxed_str(),
            last_report: None,
            reference: None,
            source: None,
            next: None,
            random: seed | 1,
            size: 100.0,
            packets: 0,
            lost: 0,
            expected: 0,
            remote_lost_before: None,
            round_trip_us: None,
            remote_lost: None,
            remote_jitter: None,
            received: 0,
            sent: 0,
            quality: Quality::default(),
        }
    }

    /// The remote moved.
    pub(super) fn forget_source(&mut self) {
        self.source = None;
    }

    /// The leg was configured.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.next.is_none() {
            self.next = Some(now + self.interval());
        }
    }

    fn interval(&mut self) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        let random = f64::from(self.random) / f64::from(u32::MAX);
        rtcp::interval(self.sent == 0, self.size, BANDWIDTH, random)
    }

    /// §6.3.3: the mean size follows with a sixteenth.
    fn measure(&mut self, length: usize) {
        self.size += ((length + OVERHEAD) as f64 - self.size) / 16.0;
    }
}

impl Engine {
    /// Takes a datagram that came to the RTCP socket of a leg, or a control packet that came to its RTP socket.
    pub fn rtcp(&mut self, now: Instant, slot: Slot, source: Option<SocketAddr>, packet: &[u8]) {
        self.counters.rtcp_in.add(1);
        let Some(leg) = leg_mut(&mut self.legs, slot) else {
            self.counters.drop_no_leg.add(1);
            return;
        };
        if source.is_some_and(|source| !leg.admits_control(source)) {
            leg.drop_packet(&self.counters, Drop::WrongSource);
            return;
        }
        let clock = self.clock;
        let mut plain = PlainControl::new();
        let packet = match leg.srtp.as_deref_mut() {
            None => packet,
            Some(srtp) => match plain.of(now, srtp, packet) {
                Ok(plain) => plain,
                Err(why) => {
                    leg.drop_packet(&self.counters, why);
                    return;
                }
            },
        };
        let mut report: Option<ControlReport> = None;
        let read = rtcp::parse(packet, |part| {
            let round_trip_us = leg.control_part(now, clock, &part);
            match part {
                Part::Sender { ssrc, info } if report.is_none() => {
                    report = Some(received(ssrc, source, Some(info)));
                }
                Part::Receiver { ssrc } if report.is_none() => {
                    report = Some(received(ssrc, source, None));
                }
                Part::Block { from, block } => {
                    if let Some(report) = &mut report
                        && report.ssrc == from
                        && (report.block.is_none() || round_trip_us.is_some())
                    {
                        report.block = Some(block);
                        report.round_trip_us = round_trip_us;
                    }
                }
                _ => {}
            }
        });
        if read.is_err() {
            self.counters.rtcp_invalid.add(1);
            return;
        }
        leg.reports.received += 1;
        leg.reports.measure(packet.len());
        let symmetric = leg.config.as_ref().is_some_and(|c| c.symmetric);
        if symmetric && leg.latched.is_some() && source.is_some() {
            leg.reports.source = source;
        }
        if let Some(report) = report {
            self.events.tell_of_remote(Event::Report {
                leg: leg.id,
                report,
            });
        }
    }

    /// A report, if the leg's time has come.
    pub(super) fn report(&mut self, now: Instant, slot: Slot, out: Out<'_>) {
        let clock = self.clock;
        let Some(leg) = leg_mut(&mut self.legs, slot) else {
            return;
        };
        if leg.reports.next.is_none_or(|next| now < next) {
            return;
        }
        let report = leg.send_report(now, clock, false, &self.counters, out);
        leg.reports.next = Some(now + leg.reports.interval());
        if let Some(report) = report {
            self.events.tell_of_remote(Event::Report {
                leg: leg.id,
                report,
            });
        }
    }

    /// The last report of a leg that is closed.
    pub(super) fn goodbye(&mut self, now: Instant, leg: &mut Leg, out: Out<'_>) {
        leg.send_report(now, self.clock, true, &self.counters, out);
    }
}

fn received(ssrc: u32, remote: Option<SocketAddr>, sender: Option<SenderInfo>) -> ControlReport {
    ControlReport {
        sent: false,
        ssrc,
        remote,
        sender,
        block: None,
        round_trip_us: None,
    }
}

/// §6.4.1: A - LSR - DLSR. `None` when a clock stepped.
fn round_trip_us(now: Ntp, last: u32, delay: u32) -> Option<u32> {
    let units = now.middle().wrapping_sub(last).wrapping_sub(delay);
    (last != 0 && units < ROUND_TRIP_MAX).then(|| ((u64::from(units) * 1_000_000) >> 16) as u32)
}

/// Time since in 1/65536 s.
fn since(now: Instant, at: Instant) -> u32 {
    let micros = now.saturating_duration_since(at).as_micros();
    (micros * 65536 / 1_000_000) as u32
}

impl Leg {
    /// Takes what a control packet says; the round trip that it tells of a stream of ours.
    fn control_part(&mut self, now: Instant, clock: Clock, part: &Part) -> Option<u32> {
        match *part {
            Part::Sender { info, .. } => {
                self.reports.last_report = Some((info.ntp.middle(), now));
                None
            }
            Part::Reference { ssrc, ntp } => {
                self.reports.reference = Some((ssrc, ntp.middle(), now));
                None
            }
            Part::Answer(answer) if answer.ssrc == self.sender.ssrc() => {
                let round_trip = round_trip_us(clock.ntp_at(now), answer.last, answer.delay)?;
                self.round_trip(round_trip);
                Some(round_trip)
            }
            Part::Block { block, .. } if block.ssrc == self.sender.ssrc() => {
                self.remote_report(clock.ntp_at(now), &block)
            }
            _ => None,
        }
    }

    fn round_trip(&mut self, round_trip_us: u32) {
        self.reports.round_trip_us = Some(round_trip_us);
        let seconds = round_trip_us as f32 / 1e6;
        self.reports.quality.round_trip.add(seconds);
    }

    fn round_trip_s(&self) -> f32 {
        self.reports.round_trip_us.unwrap_or(0) as f32 / 1e6
    }

    fn impairment(&self) -> Impairment {
        let codec = self.config.as_ref().map(|config| config.send.codec);
        Impairment::of(codec.unwrap_or(Codec::Pcmu))
    }

    /// How the remote hears us.
    fn remote_report(&mut self, now: Ntp, block: &Block) -> Option<u32> {
        let round_trip = round_trip_us(now, block.last_report, block.delay);
        if let Some(round_trip) = round_trip {
            self.round_trip(round_trip);
        }
        let jitter_s = block.reception.jitter as f32 / self.sender.clock_rate().max(1) as f32;
        let loss_percent = f32::from(block.reception.fraction_lost) * 100.0 / 256.0;
        let delay = quality::delay_ms(self.round_trip_s(), jitter_s);
        let r = quality::r_factor(self.impairment(), loss_percent, delay);
        let reports = &mut self.reports;
        let lost = block.reception.cumulative_lost;
        let before = reports.remote_lost_before.replace(lost).unwrap_or(0);
        reports.remote_lost = u32::try_from(lost).ok();
        reports.remote_jitter = Some(block.reception.jitter);
        let quality = &mut reports.quality;
        quality.remote_jitter.add(jitter_s);
        quality
            .remote_loss
            .add(lost.saturating_sub(before).max(0) as f32);
        quality.remote_mos.add(quality::mos(r));
        round_trip
    }

    /// How we heard the remote since the report before; the loss in percent.
    fn look_back(&mut self) {
        let (lost, expected) = (self.receiver.lost(), self.receiver.expected_in_all());
        let new_lost = lost.saturating_sub(self.reports.lost);
        let new_expected = expected.saturating_sub(self.reports.expected);
        if new_expected == 0 {
            return;
        }
        self.reports.lost = lost;
        self.reports.expected = expected;
        let jitter_s = self.jitter_s();
        let loss_percent = (new_lost as f32 * 100.0 / new_expected as f32).min(100.0);
        let delay = quality::delay_ms(self.round_trip_s(), jitter_s);
        let r = quality::r_factor(self.impairment(), loss_percent, delay);
        let quality = &mut self.reports.quality;
        quality.jitter.add(jitter_s);
        quality.loss.add(new_lost as f32);
        quality.mos.add(quality::mos(r));
    }

    fn jitter_s(&self) -> f32 {
        self.receiver.jitter_units() as f32 / self.sender.clock_rate().max(1) as f32
    }

    /// RFC 3611 §4.7 about what we receive.
    fn voip_metrics(&self) -> Option<VoipMetrics> {
        let ssrc = self.receiver.ssrc()?;
        let expected = self.receiver.expected_in_all().max(1);
        let (lost, late) = (self.receiver.lost(), self.receiver.late());
        let share = |part: u64| (part * 256 / expected).min(255) as u8;
        let bursts = self.receiver.bursts();
        let packet_ms = u64::from(self.config.as_ref().map_or(20, |config| config.ptime_ms));
        let ms = |packets: u64| u16::try_from(packets * packet_ms).unwrap_or(u16::MAX);
        let loss_percent = lost as f32 * 100.0 / expected as f32;
        let heard = quality::r_factor(self.impairment(), loss_percent, 0.0);
        let delay = quality::delay_ms(self.round_trip_s(), self.jitter_s());
        let talked = quality::r_factor(self.impairment(), loss_percent, delay);
        let tenths = |r: f32| (quality::mos(r) * 10.0).round() as u8;
        Some(VoipMetrics {
            ssrc,
            loss_rate: share(lost),
            discard_rate: share(late),
            burst_density: bursts.burst_density,
            gap_density: bursts.gap_density,
            burst_ms: ms(bursts.burst_packets),
            gap_ms: ms(bursts.gap_packets),
            round_trip_ms: u16::try_from(self.reports.round_trip_us.unwrap_or(0) / 1000)
                .unwrap_or(u16::MAX),
            gmin: GMIN as u8,
            r_factor: talked.round() as u8,
            mos_lq: tenths(heard),
            mos_cq: tenths(talked),
            ..VoipMetrics::default()
        })
    }

    fn send_report(
        &mut self,
        now: Instant,
        clock: Clock,
        goodbye: bool,
        counters: &Counters,
        out: Out<'_>,
    ) -> Option<ControlReport> {
        if !self.was_used() {
            return None;
        }
        self.look_back();
        let config = self.config.as_ref()?;
        let (mux, xr) = (config.rtcp_mux, config.rtcp_xr);
        let dest = if mux {
            self.destination?
        } else {
            self.reports.source.or(config.remote_rtcp)?
        };
        let packets = self.sender.packets();
        // §6.4: a sender report from who has sent since the report before.
        let sender = (packets > self.reports.packets)
            .then(|| self.sender.timestamp_at(now))
            .flatten()
            .map(|timestamp| SenderInfo {
                ntp: clock.ntp_at(now),
                timestamp,
                packets: packets as u32,
                bytes: self.sender.bytes() as u32,
            });
        self.reports.packets = packets;
        let block = self.receiver.ssrc().and_then(|ssrc| {
            let (last_report, delay) = self
                .reports
                .last_report
                .map_or((0, 0), |(middle, at)| (middle, since(now, at)));
            Some(Block {
                ssrc,
                reception: self.receiver.reception()?,
                last_report,
                delay,
            })
        });
        let extended = xr.then(|| Extended {
            // Who sends media gets the round trip from sender reports.
            reference: sender.is_none().then(|| clock.ntp_at(now)),
            answer: self.reports.reference.map(|(ssrc, last, at)| Dlrr {
                ssrc,
                last,
                delay: since(now, at),
            }),
            voip: self.voip_metrics(),
        });
        let report = Report {
            ssrc: self.sender.ssrc(),
            sender,
            block,
            cname: &self.reports.cname,
            extended: extended.filter(|extended| !extended.is_empty()),
            goodbye,
        };
        let mut packet = [0; PACKET_MAX + CONTROL_OVERHEAD_MAX];
        let end = rtcp::build(&report, &mut packet)?;
        let ssrc = report.ssrc;
        let length = self.protect_control(counters, &mut packet, end)?;
        let told = ControlReport {
            sent: true,
            ssrc,
            remote: Some(dest),
            sender,
            block,
            round_trip_us: None,
        };
        self.reports.measure(length);
        self.reports.sent += 1;
        counters.rtcp_out.add(1);
        let transmit = Transmit {
            slot: self.slot,
            rtcp: !mux,
            dest,
        };
        out(transmit, &packet[..length]);
        Some(told)
    }
}
