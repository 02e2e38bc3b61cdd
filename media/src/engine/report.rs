//! RTCP: reports sent every five seconds, reports read.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::leg::{Drop, Leg};
use super::protection::PlainControl;
use super::{Clock, Engine, Out, Slot, Transmit, leg_mut};
use crate::counters::Counters;
use crate::rtp::rtcp::{self, Block, PACKET_MAX, Part, Report, SenderInfo};
use crate::rtp::srtp::CONTROL_OVERHEAD_MAX;

/// Between two reports of a leg.
const INTERVAL: Duration = Duration::from_secs(5);
/// First reports of legs opened together are spread over so many steps of 100 ms.
const SPREAD: u32 = 25;

/// What is known from and for control packets.
pub(super) struct Reports {
    cname: Box<str>,
    /// The remote's last sender report: middle bits of its time, and when it came.
    last_report: Option<(u32, Instant)>,
    /// Where the remote's control packets come from.
    source: Option<SocketAddr>,
    next: Option<Instant>,
    /// Packets that we had sent at the report before.
    packets: u64,
    pub(super) round_trip_us: Option<u32>,
    pub(super) remote_lost: Option<u32>,
    pub(super) remote_jitter: Option<u32>,
    pub(super) received: u64,
    pub(super) sent: u64,
}

impl Reports {
    pub(super) fn new(cname: String) -> Self {
        Self {
            cname: cname.into_boxed_str(),
            last_report: None,
            source: None,
            next: None,
            packets: 0,
            round_trip_us: None,
            remote_lost: None,
            remote_jitter: None,
            received: 0,
            sent: 0,
        }
    }

    /// The remote moved.
    pub(super) fn forget_source(&mut self) {
        self.source = None;
    }

    /// The leg was configured.
    pub(super) fn begin(&mut self, now: Instant, slot: Slot) {
        let early = Duration::from_millis(100) * (slot.0 % SPREAD);
        self.next = Some(now + INTERVAL - early);
    }
}

impl Engine {
    /// Takes a datagram that came to the RTCP socket of a leg.
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
        let read = rtcp::parse(packet, |part| leg.control_part(now, clock, &part));
        if read.is_err() {
            self.counters.rtcp_invalid.add(1);
            return;
        }
        leg.reports.received += 1;
        let symmetric = leg.config.as_ref().is_some_and(|c| c.symmetric);
        if symmetric && leg.latched.is_some() && source.is_some() {
            leg.reports.source = source;
        }
    }

    /// A report, if the leg's time has come.
    pub(super) fn report(&mut self, now: Instant, slot: Slot, out: Out<'_>) {
        let clock = self.clock;
        let Some(leg) = leg_mut(&mut self.legs, slot) else {
            return;
        };
        let Some(next) = leg.reports.next else {
            return;
        };
        if now < next {
            return;
        }
        leg.reports.next = Some((next + INTERVAL).max(now + INTERVAL / 2));
        leg.send_report(now, clock, false, &self.counters, out);
    }

    /// The last report of a leg that is closed.
    pub(super) fn goodbye(&mut self, now: Instant, leg: &mut Leg, out: Out<'_>) {
        leg.send_report(now, self.clock, true, &self.counters, out);
    }
}

impl Leg {
    fn control_part(&mut self, now: Instant, clock: Clock, part: &Part) {
        match part {
            Part::Sender { info, .. } => {
                self.reports.last_report = Some((info.ntp.middle(), now));
            }
            Part::Block { block, .. } if block.ssrc == self.sender.ssrc() => {
                let reports = &mut self.reports;
                reports.remote_lost = u32::try_from(block.reception.cumulative_lost).ok();
                reports.remote_jitter = Some(block.reception.jitter);
                if block.last_report != 0 {
                    // §6.4.1: A - LSR - DLSR, in 1/65536 s.
                    let units = clock
                        .ntp_at(now)
                        .middle()
                        .wrapping_sub(block.last_report)
                        .wrapping_sub(block.delay);
                    // Clocks that step can make it negative; ten seconds are no round trip.
                    if units < 10 * 65536 {
                        reports.round_trip_us = Some(((u64::from(units) * 1_000_000) >> 16) as u32);
                    }
                }
            }
            _ => {}
        }
    }

    fn send_report(
        &mut self,
        now: Instant,
        clock: Clock,
        goodbye: bool,
        counters: &Counters,
        out: Out<'_>,
    ) {
        let configured = self.config.as_ref().and_then(|c| c.remote_rtcp);
        let Some(dest) = self.reports.source.or(configured) else {
            return;
        };
        if !self.was_used() {
            return;
        }
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
            let (last_report, delay) = self.reports.last_report.map_or((0, 0), |(middle, at)| {
                let since = now.saturating_duration_since(at).as_micros();
                (middle, (since * 65536 / 1_000_000) as u32)
            });
            Some(Block {
                ssrc,
                reception: self.receiver.reception()?,
                last_report,
                delay,
            })
        });
        let report = Report {
            ssrc: self.sender.ssrc(),
            sender,
            block,
            cname: &self.reports.cname,
            goodbye,
        };
        let mut packet = [0; PACKET_MAX + CONTROL_OVERHEAD_MAX];
        let length = rtcp::build(&report, &mut packet);
        if let Some(length) =
            length.and_then(|end| self.protect_control(counters, &mut packet, end))
        {
            self.reports.sent += 1;
            counters.rtcp_out.add(1);
            let transmit = Transmit {
                slot: self.slot,
                rtcp: true,
                dest,
            };
            out(transmit, &packet[..length]);
        }
    }
}
