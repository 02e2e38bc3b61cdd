//! The clock of a bank of telephones: reads the sockets, sends again what was not answered, does what is due.

use super::state::{Account, CallState, Ending, Pending, Purpose, Stage};
use crate::wire::SipText;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

pub(super) const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
pub(super) const GIVE_UP: Duration = Duration::from_secs(32);

/// All telephones of a bank.
#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) accounts: Vec<Account>,
    pub(super) calls: Vec<CallState>,
    pub(super) live: Vec<usize>,
    pub(super) by_call_id: HashMap<(usize, String), usize>,
    pub(super) pending: VecDeque<Pending>,
    counter: u64,
    sweeps: u64,
}

impl Inner {
    /// A number that no other peer of this machine has used: process, time and a counter mixed.
    pub(super) fn unique(&mut self) -> u64 {
        self.counter += 1;
        let time = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as u64);
        let mut x =
            time ^ (u64::from(std::process::id()) << 40) ^ (self.counter << 20) ^ self.counter;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// Reads every socket, does what is due. Returns whether anything changed.
    pub(super) fn sweep(&mut self, now: Instant) -> bool {
        self.sweeps += 1;
        let mut changed = false;
        let mut buffer = [0_u8; 65_535];
        for index in 0..self.accounts.len() {
            while let Ok((length, from)) = self.accounts[index].socket.recv_from(&mut buffer) {
                if let Some(message) = SipText::parse(&buffer[..length]) {
                    self.receive(index, &message, from, now);
                    changed = true;
                }
            }
        }
        self.retransmit(now);
        let rtcp = self.sweeps.is_multiple_of(100);
        let mut due = Vec::new();
        for &index in &self.live {
            let call = &mut self.calls[index];
            if call.stage == Stage::Ended {
                if let Some(mut rtp) = call.rtp.take() {
                    // What came before the end and lies unread.
                    rtp.take_in(now);
                    rtp.sweep_rtcp();
                    call.heard = rtp.heard;
                }
            } else if let Some(rtp) = &mut call.rtp {
                changed |= rtp.sweep(now);
                if rtcp {
                    rtp.sweep_rtcp();
                }
            }
            let ready = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            if ready(call.answer_at) || ready(call.hang_up_at) {
                due.push(index);
            }
        }
        for index in due {
            changed = true;
            if self.calls[index].answer_at.take().is_some() {
                self.answer(index, now);
            } else if self.calls[index].hang_up_at.take().is_some() {
                self.hang_up(index, now);
            }
        }
        let calls = &self.calls;
        self.live.retain(|&index| {
            let call = &calls[index];
            call.stage != Stage::Ended || call.unacknowledged.is_some() || call.rtp.is_some()
        });
        changed
    }

    pub(super) fn retransmit(&mut self, now: Instant) {
        let mut out: Vec<(usize, Option<usize>, Vec<u8>)> = Vec::new();
        for pending in &mut self.pending {
            if pending.finished || pending.next.is_none_or(|next| next > now) {
                continue;
            }
            if now >= pending.deadline {
                pending.finished = true;
                match (pending.purpose, pending.call) {
                    (Purpose::Register, _) => {
                        self.accounts[pending.account].registered = Some((408, 0))
                    }
                    (Purpose::ReInvite, Some(call)) => self.calls[call].reinvite = Some(408),
                    (_, Some(call)) => self.calls[call].end(Ending::NoResponse, now),
                    _ => {}
                }
                continue;
            }
            pending.interval *= 2;
            if !matches!(pending.purpose, Purpose::Invite | Purpose::ReInvite) {
                pending.interval = pending.interval.min(T2);
            }
            pending.next = Some(now + pending.interval);
            out.push((pending.account, pending.call, pending.message.to_bytes()));
        }
        for &index in &self.live {
            let call = &mut self.calls[index];
            if let Some(waiting) = call.unacknowledged.as_mut().filter(|u| u.next <= now) {
                if now >= waiting.deadline {
                    call.unacknowledged = None;
                    continue;
                }
                waiting.interval = (waiting.interval * 2).min(T2);
                waiting.next = now + waiting.interval;
                out.push((call.account, Some(index), waiting.bytes.clone()));
            }
        }
        self.pending.retain(|p| !p.finished || p.deadline > now);
        for (account, call, bytes) in out {
            self.transmit(account, call, &bytes);
        }
    }
}
