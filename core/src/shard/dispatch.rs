//! From bytes to whoever they concern: the owner shard, the transaction layer, the channel of a dialog.

use std::cell::Cell;
use std::hash::Hasher;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use bytes::Bytes;
use strowger_media::Event as MediaEvent;
use strowger_sip::message::peek;
use strowger_sip::transaction::{ClientId, Event};
use strowger_sip::{Flow, Message, Method};

use super::inbox::ShardMessage;
use super::{ClientUser, DialogKey, Shard};
use crate::channel::{Cause, Channel, RecorderResult};
use crate::protect::Offence;

/// The mark that a pump runs; taken away however that ends.
struct Pumping<'a>(&'a Cell<bool>);

impl Drop for Pumping<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Shard {
    /// Takes a whole message from a transport: ours is worked on, another shard's goes to its inbox.
    pub(crate) fn receive(self: &Rc<Self>, flow: Flow, bytes: Bytes) {
        self.counters.sip_received.add(1);
        let protection = &self.shared.protection;
        let blocked = protection.is_blocked(flow.remote.ip());
        let peeked = peek(&bytes);
        // What calls under way and answers to us are is looked at still: who forges an address ends no calls of its owner.
        if blocked && !peeked.is_some_and(|peeked| Self::may_be_known(&peeked, &bytes)) {
            return protection.dropped(flow.remote.ip());
        }
        let Some(peeked) = peeked else {
            self.counters.sip_malformed.add(1);
            self.unreadable(flow, &bytes);
            return;
        };
        let owner = owner_of(peeked.call_id, self.count);
        if owner == self.index {
            self.guarded("message", |shard| shard.receive_own(flow, bytes));
            return;
        }
        self.counters.sip_forwarded.add(1);
        let full = self
            .shared
            .inboxes()
            .get(owner)
            .is_none_or(|inbox| inbox.send(ShardMessage::Sip { flow, bytes }).is_err());
        if full {
            self.counters.sip_forward_full.add(1);
        }
    }

    pub(super) fn receive_own(self: &Rc<Self>, flow: Flow, bytes: Bytes) {
        match Message::parse(bytes.clone()) {
            Ok(message) => {
                let now = crate::clock::now();
                let protection = &self.shared.protection;
                if protection.is_blocked(flow.remote.ip()) && !self.is_known_here(&message) {
                    return protection.dropped(flow.remote.ip());
                }
                // Who is blocked fills no trace.
                self.shared.tracer.message(&flow, false, &bytes);
                self.parsed_at.set(now);
                let refused = {
                    let mut layer = self.layer.borrow_mut();
                    let before = layer.refused();
                    layer.receive(now, message, flow);
                    layer.refused() > before
                };
                if refused {
                    self.offended(flow, Offence::Junk);
                }
                self.pump();
            }
            Err(error) => {
                self.counters.sip_malformed.add(1);
                if self.shared.protection.is_blocked(flow.remote.ip()) {
                    return self.shared.protection.dropped(flow.remote.ip());
                }
                self.shared.tracer.message(&flow, false, &bytes);
                tracing::debug!(remote = %flow.remote, %error, "unreadable SIP message");
                self.offended(flow, Offence::Junk);
                // What can be answered is, without a transaction (RFC 3261 §8.2.7): the sender learns what is wrong.
                if let Some(response) = error.response() {
                    self.transmit(flow, response.raw());
                    if !self.batching.get() {
                        self.flush();
                    }
                }
            }
        }
    }

    /// Sends what the transactions want sent and tells their users what happened, until nothing is left.
    pub(crate) fn pump(self: &Rc<Self>) {
        if self.pumping.replace(true) {
            return;
        }
        let mark = Pumping(&self.pumping);
        loop {
            let transmit = self.layer.borrow_mut().poll_transmit();
            if let Some(transmit) = transmit {
                self.transmit(transmit.flow, &transmit.bytes);
                continue;
            }
            let event = self.layer.borrow_mut().poll_event();
            if let Some(event) = event {
                self.dispatch_guarded(event);
                continue;
            }
            let broken = self.broken_streams.borrow_mut().pop();
            let Some(flow) = broken else { break };
            self.layer
                .borrow_mut()
                .transport_failed(crate::clock::now(), &flow);
        }
        drop(mark);
        self.rearm_timer();
        if !self.batching.get() {
            self.flush();
        }
    }

    /// A panic while one message is worked on ends that call, not the exchange.
    fn dispatch_guarded(self: &Rc<Self>, event: Event) {
        let channel = self.channel_of(&event);
        if catch_unwind(AssertUnwindSafe(|| self.dispatch(event))).is_err() {
            self.counters.calls_failed_panic.add(1);
            if let Some(channel) = channel {
                tracing::error!(channel = %channel.name(), "the call is ended because of a fault in the exchange");
                let _ = catch_unwind(AssertUnwindSafe(|| {
                    channel.hangup(Cause::NORMAL_TEMPORARY_FAILURE)
                }));
            }
        }
    }

    fn channel_of(&self, event: &Event) -> Option<Channel> {
        let id = match event {
            Event::Request { message, .. } | Event::Ack { message, .. } => {
                *self.dialogs.borrow().get(&dialog_key(message)?)?
            }
            Event::Cancel { invite, .. } => *self.servers.borrow().get(invite)?,
            Event::Response { id, .. } | Event::Timeout { id } | Event::TransportError { id } => {
                match self.clients.borrow().get(id)? {
                    ClientUser::Invite(channel) | ClientUser::Dialog(channel) => *channel,
                    ClientUser::InDialog
                    | ClientUser::Qualify
                    | ClientUser::Register
                    | ClientUser::Publish
                    | ClientUser::Notify(_) => {
                        return None;
                    }
                }
            }
            _ => return None,
        };
        self.channel(id)
    }

    fn dispatch(self: &Rc<Self>, event: Event) {
        let channel = self.channel_of(&event);
        match event {
            Event::Request { id, message, flow } => self.on_request(id, message, flow, channel),
            Event::Ack { message, .. } => {
                if let Some(channel) = channel {
                    channel.on_ack(&message);
                }
            }
            Event::Cancel { message, .. } => {
                if let Some(channel) = channel {
                    channel.on_cancel(&message);
                }
            }
            Event::Response { id, message, flow } => {
                let user = self.clients.borrow().get(&id).copied();
                match (user, channel) {
                    (Some(ClientUser::Invite(_)), Some(channel)) => {
                        channel.on_invite_response(id, &message, flow)
                    }
                    (Some(ClientUser::Dialog(_)), Some(channel)) => {
                        channel.on_dialog_response(id, &message);
                    }
                    (Some(ClientUser::Qualify), _) => self.qualify_response(id, &message, flow),
                    (Some(ClientUser::Register), _) => self.register_response(id, &message, flow),
                    (Some(ClientUser::Publish), _) => self.publish_response(id, &message, flow),
                    (Some(ClientUser::Notify(number)), _)
                        if message.status().is_some_and(|status| status >= 200) =>
                    {
                        self.clients.borrow_mut().remove(&id);
                        crate::subscription::answered(self, number, &message, flow);
                    }
                    (Some(ClientUser::InDialog), _) => {
                        if message.status().is_some_and(|status| status >= 200) {
                            // Nothing more is waited for, though the transaction stays for repetitions.
                            self.clients.borrow_mut().remove(&id);
                        }
                        self.answer_in_dialog(id, &message, flow);
                    }
                    _ => {}
                }
            }
            Event::Timeout { id } => self.client_failed(id, 408, channel),
            Event::TransportError { id } => self.client_failed(id, 503, channel),
            Event::ClientTerminated { id } => {
                let user = self.clients.borrow_mut().remove(&id);
                self.challengeable.borrow_mut().remove(&id);
                if let Some(ClientUser::Invite(of) | ClientUser::Dialog(of)) = user
                    && let Some(channel) = self.channel(of)
                {
                    channel.on_dialog_terminated(id);
                    if !channel.has_open_transactions() {
                        self.forget_lingering(of);
                    }
                }
            }
            Event::ServerTerminated { id } => {
                self.servers.borrow_mut().remove(&id);
            }
            Event::ResponseFailed { id } | Event::Abandoned { id } => {
                let waiting = self
                    .servers
                    .borrow()
                    .get(&id)
                    .copied()
                    .and_then(|id| self.channel(id));
                if let Some(channel) = waiting {
                    channel.on_connection_lost();
                }
            }
            Event::NoAck { .. } => {}
        }
    }

    fn client_failed(self: &Rc<Self>, id: ClientId, status: u16, channel: Option<Channel>) {
        let user = self.clients.borrow().get(&id).copied();
        match (user, channel) {
            (Some(ClientUser::Invite(_)), Some(channel)) => channel.on_invite_failed(id, status),
            (Some(ClientUser::Dialog(_)), Some(channel)) => channel.on_dialog_failed(id, status),
            (Some(ClientUser::Qualify), _) => self.qualify_failed(id),
            (Some(ClientUser::InDialog), _) => self.in_dialog_failed(id),
            (Some(ClientUser::Register), _) => self.register_failed(id, status),
            (Some(ClientUser::Publish), _) => self.publish_failed(id, status),
            (Some(ClientUser::Notify(number)), _) => {
                self.clients.borrow_mut().remove(&id);
                crate::subscription::failed(self, number);
            }
            _ => {}
        }
    }

    /// Does something for which no single call answers; a panic is counted and ends nothing else.
    pub(crate) fn guarded(self: &Rc<Self>, what: &str, work: impl FnOnce(&Rc<Self>)) {
        if catch_unwind(AssertUnwindSafe(|| work(self))).is_err() {
            self.counters.calls_failed_panic.add(1);
            tracing::error!(what, "fault in the exchange; the shard goes on");
        }
    }

    pub(super) fn on_media(self: &Rc<Self>, event: MediaEvent) {
        let channel_for = |leg| {
            let id = self.legs.borrow().get(&leg).copied()?;
            self.channel(id)
        };
        let name_of = |leg| {
            channel_for(leg)
                .map(|channel| channel.name().to_string())
                .unwrap_or_default()
        };
        match event {
            MediaEvent::DtmfBegin { .. } | MediaEvent::RtpResumed { .. } => {}
            MediaEvent::Report { leg, report } => {
                tracing::debug!(channel = %name_of(leg), ?report, "RTCP");
            }
            MediaEvent::Stats { leg, stats } => {
                if let Some(channel) = channel_for(leg) {
                    channel.set_stats(stats);
                }
            }
            MediaEvent::DtmfEnd {
                leg,
                digit,
                duration_ms,
            } => {
                if let Some(channel) = channel_for(leg) {
                    channel.heard_digit(digit, duration_ms);
                }
            }
            MediaEvent::PlayEnded {
                leg,
                play,
                position_ms,
                ..
            } => {
                if let Some(state) = self.ended_plays.borrow_mut().get_mut(&play) {
                    state.set_ended(position_ms);
                }
                if let Some(channel) = channel_for(leg) {
                    channel.touch();
                }
            }
            MediaEvent::Noticed {
                leg,
                watch,
                noticed,
            } => {
                if let Some(channel) = channel_for(leg) {
                    channel.noticed(watch, noticed);
                }
            }
            MediaEvent::RoomTalking { leg, talking, .. } => {
                if let Some(channel) = channel_for(leg) {
                    crate::conference::talking(self, &channel, talking);
                }
            }
            MediaEvent::RoomPlayEnded { .. } => {}
            MediaEvent::FirstRtp { leg, .. } => {
                self.with_media.borrow_mut().insert(leg);
                if let Some(channel) = channel_for(leg) {
                    channel.touch();
                }
            }
            MediaEvent::RtpTimeout { leg, silent_ms } => {
                if let Some(channel) = channel_for(leg) {
                    self.counters.rtp_timeouts.add(1);
                    tracing::info!(channel = %channel.name(), silent_ms, "no RTP: the call is ended");
                    channel.hangup(Cause::REQUESTED_CHAN_UNAVAIL);
                }
            }
            MediaEvent::RecorderSilence { leg, recorder } => {
                if let Some(state) = self.recorders.borrow_mut().get_mut(&recorder) {
                    state.silent = true;
                }
                if let Some(channel) = channel_for(leg) {
                    channel.touch();
                }
            }
            MediaEvent::RecorderTrouble {
                leg,
                recorder: _,
                error,
            } => {
                self.counters.recordings_in_trouble.add(1);
                tracing::error!(channel = %name_of(leg), error = %error, "recording in trouble; the call goes on");
            }
            MediaEvent::RecorderResumed {
                leg,
                recorder: _,
                lost_samples,
            } => {
                tracing::warn!(channel = %name_of(leg), lost_samples, "recording goes on");
            }
            MediaEvent::RecorderClosed {
                recorder,
                leg,
                path,
                samples,
                lost_samples,
                error,
            } => {
                let state = self.recorders.borrow_mut().remove(&recorder);
                self.room_recorders
                    .borrow_mut()
                    .retain(|_, known| *known != recorder);
                if let Some(error) = &error {
                    tracing::error!(channel = %name_of(leg), path = %path.display(), lost_samples, error, "recording");
                } else if lost_samples > 0 {
                    tracing::warn!(channel = %name_of(leg), path = %path.display(), lost_samples, "recording has gaps");
                }
                if let Some(state) = state {
                    (state.closed)(RecorderResult {
                        path,
                        samples,
                        lost_samples,
                        error,
                    });
                }
                if let Some(channel) = channel_for(leg) {
                    channel.touch();
                }
            }
            MediaEvent::Closed { leg, stats } => {
                self.media_closed(leg, stats);
            }
        }
    }
}

/// The dialog a request belongs to, from its Call-ID and To tag.
pub(super) fn dialog_key(request: &Message) -> Option<DialogKey> {
    Some(DialogKey {
        call_id: request.call_id().ok()?.to_owned(),
        local_tag: request.to().ok()?.tag()?.to_owned(),
    })
}

/// Which of `count` shards owns a call: the number we put in Call-IDs we made, else a hash.
pub(super) fn owner_of(call_id: &[u8], count: usize) -> usize {
    if let Some(rest) = call_id.strip_prefix(b"s")
        && let Some(dot) = rest.iter().take(5).position(|byte| *byte == b'.')
        && let Some(number) = rest.get(..dot)
        && let Some(index) = std::str::from_utf8(number)
            .ok()
            .and_then(|text| text.parse::<usize>().ok())
        && index < count
    {
        return index;
    }
    let mut hasher = rustc_hash::FxHasher::default();
    hasher.write(call_id);
    (hasher.finish() >> 16) as usize % count.max(1)
}

/// Methods we take in and outside dialogs, for Allow (RFC 3261 §20.5).
pub(crate) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, INFO, UPDATE, MESSAGE, PRACK, \
     SUBSCRIBE, NOTIFY, REFER, PUBLISH";

/// True for the methods of [`ALLOW`].
pub(super) fn is_known(method: &Method) -> bool {
    matches!(
        method,
        Method::Invite
            | Method::Ack
            | Method::Cancel
            | Method::Bye
            | Method::Options
            | Method::Register
            | Method::Info
            | Method::Update
            | Method::Message
            | Method::Prack
            | Method::Refer
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_call_ids_name_their_shard_and_others_are_spread() {
        assert_eq!(owner_of(b"s1.abcdef", 2), 1);
        assert_eq!(owner_of(b"s0.abcdef", 2), 0);
        // A number no shard has is hashed like any other.
        assert!(owner_of(b"s7.abcdef", 2) < 2);
        let mut seen = [0usize; 4];
        for number in 0..4000 {
            seen[owner_of(format!("{number}@example.com").as_bytes(), 4)] += 1;
        }
        assert!(
            seen.iter().all(|count| (800..1200).contains(count)),
            "{seen:?}"
        );
    }
}
