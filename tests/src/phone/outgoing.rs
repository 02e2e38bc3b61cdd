//! What the scripted telephones send: requests, and answers to incoming calls.

use super::rtp::RtpLeg;
use super::signal::{GIVE_UP, Inner, T1};
use super::state::{CallState, Ending, Pending, Purpose, Stage, Unacknowledged};
use crate::wire::{self, AudioLine, SipText};
use std::net::SocketAddr;
use std::time::Instant;

impl Inner {
    /// Sends a request of ours and keeps it for retransmission. Via, Max-Forwards and Contact are put in here.
    pub(super) fn send(
        &mut self,
        account: usize,
        call: Option<usize>,
        purpose: Purpose,
        mut message: SipText,
        now: Instant,
    ) {
        let branch = format!("z9hG4bK{:016x}", self.unique());
        let local = self.accounts[account].local;
        message.remove("Via");
        message.headers.insert(
            0,
            (
                "Via".to_owned(),
                format!("SIP/2.0/UDP {local};branch={branch};rport"),
            ),
        );
        message.set("Max-Forwards", "70");
        let bytes = message.to_bytes();
        self.transmit(account, call, &bytes);
        self.pending.push_back(Pending {
            account,
            call,
            purpose,
            message,
            branch,
            next: Some(now + T1),
            interval: T1,
            deadline: now + GIVE_UP,
            authorised: false,
            finished: false,
            ack: None,
        });
    }

    pub(super) fn transmit(&self, account: usize, call: Option<usize>, bytes: &[u8]) {
        let account = &self.accounts[account];
        let to = call.map_or(account.exchange, |call| self.calls[call].peer);
        // A full socket buffer loses the datagram, as a network would; retransmission is there for that.
        let _ = account.socket.send_to(bytes, to);
    }

    pub(super) fn register(&mut self, index: usize, expires: u32, now: Instant) {
        let tag = self.unique();
        let account = &mut self.accounts[index];
        account.registered = None;
        account.cseq += 1;
        let (user, domain) = (account.user.clone(), account.exchange);
        let mut message = SipText::request("REGISTER", &format!("sip:{domain}"));
        message.push("From", &format!("<sip:{user}@{domain}>;tag={tag:x}"));
        message.push("To", &format!("<sip:{user}@{domain}>"));
        message.push("Call-ID", &account.call_id);
        message.push("CSeq", &format!("{} REGISTER", account.cseq));
        message.push("Contact", &format!("<sip:{user}@{}>", account.local));
        message.push("Expires", &expires.to_string());
        message.push("User-Agent", "scripted telephone");
        self.send(index, None, Purpose::Register, message, now);
    }

    /// Begins an outgoing call and returns its number.
    pub(super) fn invite(
        &mut self,
        index: usize,
        target: &str,
        extra: &[(String, String)],
        now: Instant,
    ) -> std::io::Result<usize> {
        let call_id = format!("{:016x}@peer", self.unique());
        let tag = self.unique();
        let ssrc = self.unique() as u32;
        let account = &self.accounts[index];
        let domain = account.exchange;
        let local = format!("<sip:{}@{domain}>;tag={tag:x}", account.user);
        let remote = format!("<sip:{target}@{domain}>");
        let uri = format!("sip:{target}@{domain}");
        let rtp = RtpLeg::open(
            account.local.ip(),
            ssrc,
            account.source.clone(),
            account.keep_samples,
        )?;
        let mut message = SipText::request("INVITE", &uri);
        message.push("From", &local);
        message.push("To", &remote);
        message.push("Call-ID", &call_id);
        message.push("CSeq", "1 INVITE");
        message.push(
            "Contact",
            &format!("<sip:{}@{}>", account.user, account.local),
        );
        message.push(
            "Allow",
            "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE, NOTIFY",
        );
        for (name, value) in extra {
            message.push(name, value);
        }
        message.push("Content-Type", "application/sdp");
        message.body = describe(rtp.address, 1, "sendrecv");
        let call = self.add_call(
            index,
            true,
            message.clone(),
            local,
            remote,
            uri,
            Some(rtp),
            domain,
            now,
        );
        self.send(index, Some(call), Purpose::Invite, message, now);
        Ok(call)
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "the parts of a new call, named at its two callers"
    )]
    pub(super) fn add_call(
        &mut self,
        account: usize,
        outgoing: bool,
        invite: SipText,
        local: String,
        remote: String,
        target: String,
        rtp: Option<RtpLeg>,
        peer: SocketAddr,
        now: Instant,
    ) -> usize {
        let call_id = invite.header("Call-ID").unwrap_or_default().to_owned();
        let index = self.calls.len();
        self.by_call_id.insert((account, call_id.clone()), index);
        self.live.push(index);
        self.calls.push(CallState {
            account,
            outgoing,
            peer,
            call_id,
            local,
            remote,
            target,
            routes: Vec::new(),
            cseq: 1,
            stage: Stage::Early,
            ending: None,
            statuses: Vec::new(),
            responses: Vec::new(),
            requests: Vec::new(),
            invite,
            answered_invite: None,
            unacknowledged: None,
            acknowledged: false,
            rtp,
            heard: super::Heard::default(),
            sdp_version: 1,
            direction: "sendrecv",
            reinvite: None,
            began: now,
            answered_at: None,
            ended_at: None,
            answer_at: None,
            hang_up_at: None,
            hang_up_after: None,
        });
        index
    }

    /// A request inside the dialog of a call.
    pub(super) fn in_dialog(&mut self, index: usize, method: &str) -> SipText {
        let call = &mut self.calls[index];
        call.cseq += 1;
        let mut message = SipText::request(method, &call.target);
        for route in &call.routes {
            message.push("Route", route);
        }
        message.push("From", &call.local);
        message.push("To", &call.remote);
        message.push("Call-ID", &call.call_id);
        message.push("CSeq", &format!("{} {method}", call.cseq));
        let account = &self.accounts[call.account];
        message.push(
            "Contact",
            &format!("<sip:{}@{}>", account.user, account.local),
        );
        message
    }

    /// BYE when the call is up, CANCEL or a rejection while it is early.
    pub(super) fn hang_up(&mut self, index: usize, now: Instant) {
        let (account, stage, outgoing) = {
            let call = &self.calls[index];
            (call.account, call.stage, call.outgoing)
        };
        match (stage, outgoing) {
            (Stage::Up, _) => {
                let bye = self.in_dialog(index, "BYE");
                self.calls[index].end(Ending::WeHungUp, now);
                self.send(account, Some(index), Purpose::Other, bye, now);
            }
            (Stage::Early, true) => self.cancel(index),
            (Stage::Early, false) => self.answer_final(index, 603, "Decline", now),
            (Stage::Ended, _) => {}
        }
    }

    /// CANCEL has the branch and the CSeq number of its INVITE (RFC 3261 §9.1); the call ends with the 487.
    pub(super) fn cancel(&mut self, index: usize) {
        let found = self
            .pending
            .iter()
            .find(|p| p.call == Some(index) && p.purpose == Purpose::Invite && !p.finished);
        let Some(invite) = found else { return };
        let mut cancel = SipText::request("CANCEL", invite.message.uri().unwrap_or_default());
        for name in ["Via", "From", "To", "Call-ID", "Max-Forwards"] {
            cancel.push(name, invite.message.header(name).unwrap_or_default());
        }
        let number = invite.message.cseq().map_or(1, |(n, _)| n);
        cancel.push("CSeq", &format!("{number} CANCEL"));
        let account = invite.account;
        self.transmit(account, Some(index), &cancel.to_bytes());
    }

    /// Sends a new offer within the call.
    pub(super) fn reinvite(&mut self, index: usize, direction: &'static str, now: Instant) {
        let mut message = self.in_dialog(index, "INVITE");
        let call = &mut self.calls[index];
        call.sdp_version += 1;
        call.direction = direction;
        call.reinvite = None;
        if let Some(rtp) = &call.rtp {
            message.push("Content-Type", "application/sdp");
            message.body = describe(rtp.address, call.sdp_version, direction);
        }
        let account = call.account;
        self.send(account, Some(index), Purpose::ReInvite, message, now);
    }

    // ---- answers of ours to an incoming INVITE ----

    /// A provisional response; 183 carries a session description.
    pub(super) fn answer_provisional(
        &mut self,
        index: usize,
        status: u16,
        reason: &str,
        now: Instant,
    ) {
        let mut response = self.response(index, status, reason);
        if status == 183 {
            self.describe_in(index, &mut response, now);
        }
        let bytes = response.to_bytes();
        let call = &mut self.calls[index];
        call.statuses.push((now, status));
        let number = call.invite.cseq().map_or(0, |(n, _)| n);
        call.answered_invite = Some((number, bytes.clone()));
        let account = call.account;
        self.transmit(account, Some(index), &bytes);
    }

    /// 200 with a session description.
    pub(super) fn answer(&mut self, index: usize, now: Instant) {
        if self.calls[index].stage != Stage::Early {
            return;
        }
        let mut response = self.response(index, 200, "OK");
        self.describe_in(index, &mut response, now);
        let call = &mut self.calls[index];
        call.stage = Stage::Up;
        call.answered_at = Some(now);
        call.answer_at = None;
        call.hang_up_at = call.hang_up_after.map(|after| now + after);
        self.final_response(index, 200, response, now);
    }

    /// A rejection.
    pub(super) fn answer_final(&mut self, index: usize, status: u16, reason: &str, now: Instant) {
        if self.calls[index].stage != Stage::Early {
            return;
        }
        let response = self.response(index, status, reason);
        self.final_response(index, status, response, now);
        self.calls[index].end(Ending::Status(status), now);
    }

    pub(super) fn response(&self, index: usize, status: u16, reason: &str) -> SipText {
        let call = &self.calls[index];
        let tag = wire::tag_of(&call.local).unwrap_or("t");
        let mut response = SipText::response(&call.invite, status, reason, tag);
        let account = &self.accounts[call.account];
        response.push(
            "Contact",
            &format!("<sip:{}@{}>", account.user, account.local),
        );
        response
    }

    pub(super) fn describe_in(&mut self, index: usize, response: &mut SipText, now: Instant) {
        let ssrc = self.unique() as u32;
        let call = &mut self.calls[index];
        let account = &self.accounts[call.account];
        if call.rtp.is_none() {
            call.rtp = RtpLeg::open(
                account.local.ip(),
                ssrc,
                account.source.clone(),
                account.keep_samples,
            )
            .ok();
        }
        let Some(rtp) = &mut call.rtp else { return };
        if let Some(audio) = AudioLine::parse(&call.invite.body) {
            rtp.apply(&audio, now);
        }
        response.push("Content-Type", "application/sdp");
        response.body = describe(rtp.address, call.sdp_version, "sendrecv");
    }

    pub(super) fn final_response(
        &mut self,
        index: usize,
        status: u16,
        response: SipText,
        now: Instant,
    ) {
        let bytes = response.to_bytes();
        let call = &mut self.calls[index];
        call.statuses.push((now, status));
        let number = call.invite.cseq().map_or(0, |(n, _)| n);
        call.answered_invite = Some((number, bytes.clone()));
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

/// Our session description: PCMA, PCMU and telephone-event.
pub(super) fn describe(address: SocketAddr, version: u32, direction: &str) -> String {
    let (ip, port) = (address.ip(), address.port());
    format!(
        "v=0\r\no=- 4711 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 8 0 101\r\n\
         a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n\
         a=ptime:20\r\na={direction}\r\n"
    )
}
