//! What the scripted telephones do with the messages that come.

use super::outgoing::describe;
use super::signal::{GIVE_UP, Inner, T1};
use super::state::{Challenge, Ending, Manner, Purpose, Stage, Unacknowledged};
use crate::wire::{self, AudioLine, SipText};
use std::net::SocketAddr;
use std::time::Instant;

impl Inner {
    pub(super) fn receive(
        &mut self,
        account: usize,
        message: &SipText,
        from: SocketAddr,
        now: Instant,
    ) {
        match message.status() {
            Some(status) => self.receive_response(account, status, message, now),
            None => self.receive_request(account, message, from, now),
        }
    }

    pub(super) fn receive_response(
        &mut self,
        account: usize,
        status: u16,
        message: &SipText,
        now: Instant,
    ) {
        let Some(branch) = message.branch() else {
            return;
        };
        let is_invite = message.cseq().is_some_and(|(_, method)| method == "INVITE");
        if message.cseq().is_some_and(|(_, method)| method == "CANCEL") {
            return;
        }
        let Some(position) = self
            .pending
            .iter()
            .position(|p| p.account == account && p.branch == branch)
        else {
            return;
        };
        let pending = &mut self.pending[position];
        if pending.finished {
            // A retransmitted final response wants its ACK again.
            let again = pending.ack.clone().filter(|_| status >= 200);
            if let Some(ack) = again {
                let call = self.pending[position].call;
                self.transmit(account, call, &ack);
            }
            return;
        }
        if status < 200 {
            if is_invite {
                pending.next = None;
                // Without Timer B the call would wait for ever on a mute exchange; the test has its own limit.
            }
            if let (Purpose::Invite, Some(call)) = (pending.purpose, pending.call) {
                self.provisional(call, status, message, now);
            }
            return;
        }
        pending.finished = true;
        pending.deadline = now + GIVE_UP;
        let (purpose, call, mut request) = (pending.purpose, pending.call, pending.message.clone());
        let authorised = pending.authorised;
        if is_invite && status >= 300 {
            let mut ack = SipText::request("ACK", request.uri().unwrap_or_default());
            for name in ["Via", "From", "Call-ID", "Max-Forwards"] {
                ack.push(name, request.header(name).unwrap_or_default());
            }
            ack.push("To", message.header("To").unwrap_or_default());
            ack.push(
                "CSeq",
                &format!("{} ACK", request.cseq().map_or(1, |(n, _)| n)),
            );
            let bytes = ack.to_bytes();
            self.transmit(account, call, &bytes);
            self.pending[position].ack = Some(bytes);
        }
        if matches!(status, 401 | 407)
            && !authorised
            && self.authorise(account, call, status, message, &mut request)
        {
            if let (Purpose::Invite, Some(call)) = (purpose, call) {
                self.calls[call].responses.push(message.clone());
            }
            self.send(account, call, purpose, request, now);
            if let Some(last) = self.pending.back_mut() {
                last.authorised = true;
            }
            return;
        }
        match (purpose, call) {
            (Purpose::Register, _) => {
                let expires = message
                    .all("Contact")
                    .iter()
                    .find_map(|contact| wire::param(contact, "expires")?.parse().ok())
                    .or_else(|| message.header("Expires")?.parse().ok())
                    .unwrap_or(0);
                self.accounts[account].registered = Some((status, expires));
            }
            (Purpose::Invite, Some(call)) => {
                self.final_to_invite(position, call, status, message, now)
            }
            (Purpose::ReInvite, Some(call)) => {
                if status < 300 {
                    self.acknowledge(position, call, message, now);
                }
                self.calls[call].reinvite = Some(status);
            }
            (Purpose::Other, Some(call)) => self.calls[call].responses.push(message.clone()),
            _ => {}
        }
    }

    /// Puts credentials into the request and gives it the next CSeq. False when the challenge cannot be answered.
    pub(super) fn authorise(
        &mut self,
        account: usize,
        call: Option<usize>,
        status: u16,
        message: &SipText,
        request: &mut SipText,
    ) -> bool {
        let (challenge, answer) = if status == 401 {
            ("WWW-Authenticate", "Authorization")
        } else {
            ("Proxy-Authenticate", "Proxy-Authorization")
        };
        let state = &mut self.accounts[account];
        let (method, uri) = (
            request.method().unwrap_or("").to_owned(),
            request.uri().unwrap_or("").to_owned(),
        );
        let value = message.all(challenge).iter().find_map(|challenge| {
            let who = wire::Answer {
                user: &state.user,
                password: &state.password,
                method: &method,
                uri: &uri,
            };
            wire::authorization(challenge, who)
        });
        let Some(value) = value else { return false };
        request.set(answer, &value);
        let number = match call {
            Some(call) => &mut self.calls[call].cseq,
            None => &mut state.cseq,
        };
        *number += 1;
        request.set("CSeq", &format!("{number} {method}"));
        true
    }

    pub(super) fn provisional(
        &mut self,
        call: usize,
        status: u16,
        message: &SipText,
        now: Instant,
    ) {
        let state = &mut self.calls[call];
        state.statuses.push((now, status));
        state.responses.push(message.clone());
        if let (Some(rtp), Some(audio)) = (&mut state.rtp, AudioLine::parse(&message.body)) {
            rtp.apply(&audio, now);
        }
    }

    pub(super) fn final_to_invite(
        &mut self,
        position: usize,
        call: usize,
        status: u16,
        message: &SipText,
        now: Instant,
    ) {
        let state = &mut self.calls[call];
        state.statuses.push((now, status));
        state.responses.push(message.clone());
        if status >= 300 {
            state.end(Ending::Status(status), now);
            return;
        }
        message
            .header("To")
            .unwrap_or_default()
            .clone_into(&mut state.remote);
        state.routes = message
            .all("Record-Route")
            .iter()
            .rev()
            .map(|&r| r.to_owned())
            .collect();
        if state.stage == Stage::Early {
            state.stage = Stage::Up;
            state.answered_at = Some(now);
            state.hang_up_at = state.hang_up_after.map(|after| now + after);
        }
        self.acknowledge(position, call, message, now);
    }

    /// ACK for a 2xx, and what its session description says.
    pub(super) fn acknowledge(
        &mut self,
        position: usize,
        call: usize,
        message: &SipText,
        now: Instant,
    ) {
        let state = &mut self.calls[call];
        if let Some(contact) = message.header("Contact") {
            wire::uri_of(contact).clone_into(&mut state.target);
        }
        if let (Some(rtp), Some(audio)) = (&mut state.rtp, AudioLine::parse(&message.body)) {
            rtp.apply(&audio, now);
            if state.direction == "sendonly" || state.direction == "inactive" {
                // On hold this telephone stays silent, as most do.
                rtp.apply(
                    &AudioLine {
                        direction: "sendonly".to_owned(),
                        ..audio
                    },
                    now,
                );
            }
        }
        let mut ack = SipText::request("ACK", &state.target);
        for route in &state.routes {
            ack.push("Route", route);
        }
        ack.push("From", &state.local);
        ack.push("To", message.header("To").unwrap_or_default());
        ack.push("Call-ID", &state.call_id);
        ack.push(
            "CSeq",
            &format!("{} ACK", message.cseq().map_or(1, |(n, _)| n)),
        );
        ack.push("Max-Forwards", "70");
        let account = state.account;
        let branch = format!("z9hG4bK{:016x}", self.unique());
        let local = self.accounts[account].local;
        ack.headers.insert(
            0,
            (
                "Via".to_owned(),
                format!("SIP/2.0/UDP {local};branch={branch};rport"),
            ),
        );
        let bytes = ack.to_bytes();
        self.transmit(account, Some(call), &bytes);
        self.pending[position].ack = Some(bytes);
    }

    pub(super) fn receive_request(
        &mut self,
        account: usize,
        message: &SipText,
        from: SocketAddr,
        now: Instant,
    ) {
        let method = message.method().unwrap_or("").to_owned();
        let call_id = message.header("Call-ID").unwrap_or("").to_owned();
        self.accounts[account].requests.push(message.clone());
        let call = self.by_call_id.get(&(account, call_id)).copied();
        let in_dialog = message
            .header("To")
            .is_some_and(|to| wire::tag_of(to).is_some());
        let reply = |inner: &Self, status: u16, reason: &str| {
            let response = SipText::response(message, status, reason, "peer");
            let _ = inner.accounts[account]
                .socket
                .send_to(&response.to_bytes(), from);
        };
        let challenged = match self.accounts[account].challenge {
            Challenge::Never => false,
            Challenge::Once => message.header("Authorization").is_none(),
            Challenge::Always => true,
        };
        if challenged && call.is_none() && matches!(method.as_str(), "INVITE" | "REGISTER") {
            let mut response = SipText::response(message, 401, "Unauthorized", "peer");
            let challenge = "Digest realm=\"peer\", nonce=\"4711\", algorithm=MD5, qop=\"auth\"";
            response.push("WWW-Authenticate", challenge);
            let _ = self.accounts[account]
                .socket
                .send_to(&response.to_bytes(), from);
            return;
        }
        match (method.as_str(), call) {
            ("ACK", Some(call)) => {
                let state = &mut self.calls[call];
                state.unacknowledged = None;
                state.acknowledged = true;
            }
            ("ACK", None) => {}
            ("INVITE", None) if !in_dialog => self.incoming(account, message, from, now),
            ("INVITE", Some(call)) => {
                let number = message.cseq().map_or(0, |(n, _)| n);
                match &self.calls[call].answered_invite {
                    Some((known, bytes)) if *known == number => {
                        let _ = self.accounts[account].socket.send_to(bytes, from);
                    }
                    _ if in_dialog => self.reinvited(call, message, now),
                    _ => {}
                }
            }
            ("CANCEL", Some(call)) => {
                reply(self, 200, "OK");
                self.calls[call].requests.push(message.clone());
                if self.calls[call].stage == Stage::Early {
                    let response = self.response(call, 487, "Request Terminated");
                    self.final_response(call, 487, response, now);
                    self.calls[call].end(Ending::Cancelled, now);
                }
            }
            ("BYE", Some(call)) => {
                reply(self, 200, "OK");
                self.calls[call].requests.push(message.clone());
                self.calls[call].unacknowledged = None;
                self.calls[call].end(Ending::TheyHungUp, now);
            }
            ("OPTIONS", _) => reply(self, 200, "OK"),
            ("REGISTER", _) => {
                // A telephone that stands in for an exchange lets everybody register.
                let mut response = SipText::response(message, 200, "OK", "peer");
                let contact = message.header("Contact").unwrap_or_default();
                response.push(
                    "Contact",
                    &format!("<{}>;expires=600", wire::uri_of(contact)),
                );
                let _ = self.accounts[account]
                    .socket
                    .send_to(&response.to_bytes(), from);
            }
            (_, Some(call)) => {
                self.calls[call].requests.push(message.clone());
                reply(self, 200, "OK");
            }
            ("NOTIFY" | "MESSAGE", None) => reply(self, 200, "OK"),
            (_, None) => reply(self, 481, "Call/Transaction Does Not Exist"),
        }
    }

    pub(super) fn incoming(
        &mut self,
        account: usize,
        message: &SipText,
        from: SocketAddr,
        now: Instant,
    ) {
        let tag = self.unique();
        let local = format!("{};tag={tag:x}", message.header("To").unwrap_or_default());
        let remote = message.header("From").unwrap_or_default().to_owned();
        let target = wire::uri_of(message.header("Contact").unwrap_or_default()).to_owned();
        let call = self.add_call(
            account,
            false,
            message.clone(),
            local,
            remote,
            target,
            None,
            from,
            now,
        );
        self.calls[call].routes = message
            .all("Record-Route")
            .iter()
            .map(|&r| r.to_owned())
            .collect();
        self.calls[call].requests.push(message.clone());
        self.accounts[account].incoming.push_back(call);
        let manner = self.accounts[account].manner;
        match manner {
            Manner::Dead => {}
            Manner::Manual => self.answer_provisional(call, 100, "Trying", now),
            Manner::Ring => self.answer_provisional(call, 180, "Ringing", now),
            Manner::Answer(after) | Manner::AnswerFor(after, _) => {
                self.answer_provisional(call, 180, "Ringing", now);
                self.calls[call].answer_at = Some(now + after);
            }
            Manner::Reject(status) => self.answer_final(call, status, "Rejected", now),
        }
        if let Manner::AnswerFor(_, length) = manner {
            self.calls[call].hang_up_after = Some(length);
        }
    }

    /// A new offer in a running call: answered with the matching direction (RFC 3264 §6.1), or with an offer when it has none.
    pub(super) fn reinvited(&mut self, index: usize, message: &SipText, now: Instant) {
        let call = &mut self.calls[index];
        call.requests.push(message.clone());
        let tag = wire::tag_of(&call.local).unwrap_or("t").to_owned();
        let mut response = SipText::response(message, 200, "OK", &tag);
        let account = &self.accounts[call.account];
        response.push(
            "Contact",
            &format!("<sip:{}@{}>", account.user, account.local),
        );
        if let Some(contact) = message.header("Contact") {
            wire::uri_of(contact).clone_into(&mut call.target);
        }
        if let Some(rtp) = &mut call.rtp {
            let mut direction = "sendrecv";
            if let Some(audio) = AudioLine::parse(&message.body) {
                direction = match audio.direction.as_str() {
                    "sendonly" => "recvonly",
                    "recvonly" => "sendonly",
                    "inactive" => "inactive",
                    _ => "sendrecv",
                };
                rtp.apply(&audio, now);
            }
            call.sdp_version += 1;
            response.push("Content-Type", "application/sdp");
            response.body = describe(rtp.address, call.sdp_version, direction);
        }
        let bytes = response.to_bytes();
        call.answered_invite = Some((message.cseq().map_or(0, |(n, _)| n), bytes.clone()));
        let account = call.account;
        self.transmit(account, Some(index), &bytes);
        self.calls[index].unacknowledged = Some(Unacknowledged {
            bytes,
            next: now + T1,
            interval: T1,
            deadline: now + GIVE_UP,
        });
    }
}
