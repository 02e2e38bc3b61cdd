//! What each SIP message means for its call: answers to our requests, requests of the server, and repetitions.

use super::calls::Act;
use super::leg::{Due, Leg, LegRef, Repeated, Stage};
use super::{Engine, Letter, Owner, What, wall_ns};
use crate::scenario::DigitsBy;
use crate::sip::{self, Account, Dialog};
use crate::talk::Side;
use anyhow::Result;
use rsip::{Method, Request, Response, SipMessage};
use std::collections::VecDeque;
use std::time::Duration;

/// So long after a CANCEL the final answer is waited for where not even a provisional one has come.
const SILENCE_MS: u64 = 3000;

impl Engine {
    /// Reads a message and gives it to whom it concerns.
    pub(super) fn receive(&mut self, letter: &Letter) {
        let Ok(message) = sip::read(&letter.bytes) else {
            self.totals.unreadable += 1;
            return;
        };
        let owner = sip::call_id(&message)
            .and_then(|id| self.by_id.get(id))
            .copied();
        match (message, owner) {
            (SipMessage::Response(response), Some(Owner::Leg(me))) => {
                self.response(me, &response, letter);
            }
            (SipMessage::Response(response), Some(Owner::Registration(n))) => {
                self.registration_response(n, &response, letter);
            }
            (SipMessage::Response(_), None) => self.totals.strays += 1,
            (SipMessage::Request(request), Some(Owner::Leg(me))) => self.request(me, request),
            (SipMessage::Request(request), _) => self.new_request(request, letter),
        }
    }

    /// Sends again what was not answered, or gives up.
    pub(super) fn repeat(&mut self, me: LegRef, now: u64) {
        let Some(leg) = self.leg(me) else {
            return;
        };
        let signal = leg.signal;
        let Some(repeated) = &mut leg.repeated else {
            return;
        };
        match repeated.ask(now) {
            // Another one is waiting by now, with a timer of its own.
            Due::NotYet => {}
            Due::Again => {
                let (bytes, due) = (repeated.bytes.clone(), repeated.due_ms);
                self.totals.repeated += 1;
                self.send(signal, &bytes);
                self.at(due, What::Repeat(me.place, me.generation, me.side.number()));
            }
            Due::GiveUp => {
                let method = repeated.method;
                self.fail(me, &format!("no answer to {method}"));
                self.leg_over(me);
            }
        }
    }

    fn response(&mut self, me: LegRef, response: &Response, letter: &Letter) {
        let code = response.status_code.code();
        let message = SipMessage::Response(response.clone());
        let Some((cseq, method)) = sip::cseq(&message) else {
            self.totals.unreadable += 1;
            return;
        };
        let Some(leg) = self.leg(me) else {
            return;
        };
        let ours = leg
            .repeated
            .as_ref()
            .is_some_and(|r| r.cseq == cseq && r.method == method);
        if !ours {
            // A 200 that came again wants its ACK again (RFC 3261 §13.2.2.4).
            if method == Method::Invite && (200..300).contains(&code) {
                self.totals.repeated += 1;
                self.acknowledge(me, cseq, None);
            }
            return;
        }
        match (method, code) {
            (_, ..=199) => {
                if method == Method::Invite
                    && let Some(repeated) = &mut leg.repeated
                {
                    repeated.rings();
                }
            }
            (Method::Invite, _) => self.invite_answered(me, response, cseq, letter),
            (Method::Bye, _) => {
                if code >= 300 {
                    self.fail(me, &format!("BYE: {code}"));
                }
                self.leg_over(me);
            }
            (Method::Cancel, _) => leg.repeated = None,
            (Method::Info, _) => {
                leg.repeated = None;
                if code >= 300 {
                    self.fail(me, &format!("INFO: {code}"));
                }
                self.send_info(me);
            }
            _ => leg.repeated = None,
        }
    }

    fn invite_answered(&mut self, me: LegRef, response: &Response, cseq: u32, letter: &Letter) {
        let code = response.status_code.code();
        let Some(leg) = self.leg(me) else {
            return;
        };
        let invited_ns = leg.invited_ns;
        let branch = leg.repeated.take().map(|r| r.branch);
        let (stage, challenged) = (leg.stage, leg.challenged);
        let connected = stage == Stage::Up;
        if code >= 300 {
            if let Some(branch) = branch {
                let ack = leg.dialog.ack(cseq, &branch, Some(response));
                let (signal, bytes) = (leg.signal, sip::finish(ack, None));
                self.send(signal, &bytes);
            }
            if matches!(code, 401 | 407) && !challenged {
                if let Some(leg) = self.leg(me) {
                    leg.challenged = true;
                }
                self.invite(me, Some(response));
                return;
            }
            if connected {
                self.fail(me, &format!("re-INVITE: {code}"));
                self.act_of_call(me.place, me.generation, Act::End);
                return;
            }
            if stage != Stage::Ending {
                self.fail(me, &code.to_string());
            }
            self.leg_over(me);
            return;
        }
        if connected {
            leg.dialog.refreshed(&response.headers);
            // What a challenged re-INVITE may be asked again.
            leg.challenged = false;
        } else if leg.dialog.established(response).is_err() {
            self.totals.unreadable += 1;
            self.fail(me, "200 without a Contact that can be read");
        }
        self.acknowledge(me, cseq, None);
        if connected {
            self.session_changed(me);
            return;
        }
        let took = letter.at.map_or_else(wall_ns, |at| at.as_nanos() as u64);
        self.note_setup(Duration::from_nanos(took.saturating_sub(invited_ns)));
        let described = self.described(me, &response.body);
        let Some(leg) = self.leg(me) else {
            return;
        };
        leg.challenged = false;
        if stage == Stage::Ending {
            // It was answered before the CANCEL came.
            leg.stage = Stage::Up;
            self.send_bye(me);
            return;
        }
        leg.stage = Stage::Up;
        if described {
            self.leg_up(me);
        } else {
            self.fail(me, "the answer has no audio in the codec that was offered");
            self.act_of_call(me.place, me.generation, Act::End);
        }
    }

    fn acknowledge(&mut self, me: LegRef, cseq: u32, refused: Option<&Response>) {
        let branch = self.branch();
        if let Some(leg) = self.leg(me) {
            let ack = leg.dialog.ack(cseq, &branch, refused);
            let (signal, bytes) = (leg.signal, sip::finish(ack, None));
            self.send(signal, &bytes);
        }
    }

    /// A request within a call that we know.
    fn request(&mut self, me: LegRef, request: Request) {
        let Some(leg) = self.leg(me) else {
            return;
        };
        let signal = leg.signal;
        match request.method {
            Method::Ack => {
                if leg.stage == Stage::Answered {
                    leg.stage = Stage::Up;
                    leg.repeated = None;
                    leg.invite = None;
                    self.leg_up(me);
                } else if leg.stage == Stage::Ending {
                    leg.repeated = None;
                }
            }
            Method::Bye => {
                let ended = leg.stage == Stage::Over;
                let answer = sip::finish_response(leg.dialog.respond(&request, 200), None);
                self.send(signal, &answer);
                if !ended {
                    self.leg_over(me);
                }
            }
            Method::Cancel => {
                let answer = sip::finish_response(sip::respond(&request, 200), None);
                self.send(signal, &answer);
                self.refuse(me, 487);
            }
            Method::Invite if leg.stage == Stage::Calling || leg.invite.is_some() => {
                // It came again: the answer was lost or is under way.
                let answer = leg.last_answer.clone();
                self.totals.repeated += 1;
                self.send(signal, &answer);
            }
            Method::Invite | Method::Update => {
                leg.dialog.refreshed(&request.headers);
                let response = leg.dialog.respond(&request, 200);
                let offers = !request.body.is_empty() || request.method == Method::Invite;
                if !request.body.is_empty() {
                    self.described(me, &request.body);
                }
                let body = offers.then(|| answered(&self.description(me), &request.body));
                let bytes = sip::finish_response(response, body);
                self.send(signal, &bytes);
            }
            Method::Info | Method::Options | Method::Notify | Method::Message => {
                let answer = sip::finish_response(leg.dialog.respond(&request, 200), None);
                self.send(signal, &answer);
            }
            _ => {
                let answer = sip::finish_response(sip::respond(&request, 501), None);
                self.send(signal, &answer);
            }
        }
    }

    /// A request that belongs to no call: a call for one of our callees, or something that is answered and forgotten.
    fn new_request(&mut self, request: Request, letter: &Letter) {
        if request.method == Method::Invite && letter.slot == self.callee.signal {
            if self.called(&request, letter).is_err() {
                self.totals.unreadable += 1;
            }
            return;
        }
        let code = match request.method {
            Method::Ack => return,
            Method::Options | Method::Notify => 200,
            Method::Invite => 404,
            _ => {
                self.totals.strays += 1;
                481
            }
        };
        let answer = sip::finish_response(sip::respond(&request, code), None);
        self.send(letter.slot, &answer);
    }

    /// A call for one of our callees.
    fn called(&mut self, request: &Request, letter: &Letter) -> Result<()> {
        let user = request.uri.user().unwrap_or_default().to_owned();
        let found = self.waiting.get_mut(&user).and_then(VecDeque::pop_front);
        if self.waiting.get(&user).is_some_and(VecDeque::is_empty) {
            self.waiting.remove(&user);
        }
        let number = found.and_then(|(place, generation)| {
            let call = self.call(place, generation)?;
            (!call.ending).then_some(call.number)
        });
        let (Some((place, generation)), Some(number)) = (found, number) else {
            self.totals.unexpected_calls += 1;
            let answer = sip::finish_response(sip::respond(request, 404), None);
            self.send(letter.slot, &answer);
            return Ok(());
        };
        let me = LegRef {
            place,
            generation,
            side: Side::Callee,
        };
        let tag = format!("{:x}-{number}", self.run);
        let dialog = Dialog::called(request, &tag, self.callee.address)?;
        let id = dialog.call_id.clone();
        self.by_id.insert(id, Owner::Leg(me));
        let media = self.media(number, me)?;
        let ringing = sip::finish_response(dialog.respond(request, 180), None);
        let signal = self.callee.signal;
        if let Some(call) = self.call(place, generation) {
            call.callee = Some(Leg {
                dialog,
                account: Account::default(),
                signal,
                stage: Stage::Calling,
                repeated: None,
                invite: Some(request.clone()),
                last_answer: ringing.clone(),
                challenged: false,
                invited_ns: 0,
                media,
                version: 1,
            });
        }
        self.send(signal, &ringing);
        if !self.described(me, &request.body) {
            self.fail(me, "the server offers no audio in the callee's codec");
            self.refuse(me, 488);
            return Ok(());
        }
        match u64::from(self.scenario.callee.rings_ms) {
            0 => self.answer(me),
            rings => {
                let at = self.now_ms() + rings;
                self.at(at, What::Act(place, generation, Act::Answer));
            }
        }
        Ok(())
    }

    /// The callee answers with 200.
    pub(super) fn answer(&mut self, me: LegRef) {
        let now = self.now_ms();
        let description = self.description(me);
        let Some(leg) = self.leg(me).filter(|leg| leg.stage == Stage::Calling) else {
            return;
        };
        let Some(invite) = &leg.invite else {
            return;
        };
        let response = leg.dialog.respond(invite, 200);
        let bytes = sip::finish_response(response, Some(description));
        leg.stage = Stage::Answered;
        leg.last_answer.clone_from(&bytes);
        let signal = leg.signal;
        self.send(signal, &bytes);
        let again = Repeated::new(bytes, Method::Ack, 0, String::new(), now);
        self.repeat_until_answered(me, again);
    }

    /// The callee does not take the call.
    fn refuse(&mut self, me: LegRef, code: u16) {
        let Some(leg) = self.leg(me).filter(|leg| leg.stage == Stage::Calling) else {
            return;
        };
        let Some(invite) = &leg.invite else {
            return;
        };
        let bytes = sip::finish_response(leg.dialog.respond(invite, code), None);
        leg.last_answer.clone_from(&bytes);
        let signal = leg.signal;
        self.send(signal, &bytes);
        self.leg_over(me);
    }

    pub(super) fn send_bye(&mut self, me: LegRef) {
        self.send_plain(me, Method::Bye, None);
    }

    /// The next digit by INFO; after the last one the talk begins.
    pub(super) fn send_info(&mut self, me: LegRef) {
        if self.scenario.call.digits_by != DigitsBy::Info {
            return;
        }
        let digits: Vec<char> = self.scenario.call.digits.chars().collect();
        let Some(call) = self
            .call(me.place, me.generation)
            .filter(|call| !call.ending)
        else {
            return;
        };
        let next = digits.get(call.infos).copied();
        call.infos += 1;
        match next {
            None => self.digits_done(me),
            Some(digit) => {
                let body = format!("Signal={digit}\r\nDuration=100\r\n");
                self.send_plain(me, Method::Info, Some(("application/dtmf-relay", body)));
            }
        }
    }

    fn send_plain(&mut self, me: LegRef, method: Method, body: Option<(&str, String)>) {
        let branch = self.branch();
        let now = self.now_ms();
        let Some(leg) = self.leg(me) else {
            return;
        };
        if method == Method::Bye {
            leg.stage = Stage::Ending;
        }
        let request = leg.dialog.request(method, &branch);
        let bytes = sip::finish(request, body);
        let (cseq, signal) = (leg.dialog.cseq(), leg.signal);
        self.send(signal, &bytes);
        self.repeat_until_answered(me, Repeated::new(bytes, method, cseq, branch, now));
    }

    pub(super) fn send_cancel(&mut self, me: LegRef) {
        let Some(leg) = self.leg(me) else {
            return;
        };
        leg.stage = Stage::Ending;
        let Some(repeated) = &leg.repeated else {
            self.leg_over(me);
            return;
        };
        // The INVITE goes on waiting for its final answer; a lost CANCEL is made up for by the end of the call's time.
        let cancel = leg.dialog.cancel(&repeated.branch);
        let (signal, bytes) = (leg.signal, sip::finish(cancel, None));
        let silent = !repeated.has_rung();
        self.send(signal, &bytes);
        if silent {
            // Who has not said a word will hardly say the last one.
            let at = self.now_ms() + SILENCE_MS;
            self.at(at, What::Act(me.place, me.generation, Act::Forget));
        }
    }
}

/// Our description as an answer: who is held hears only (RFC 3264 §6.1).
fn answered(description: &str, offer: &[u8]) -> String {
    let offer = String::from_utf8_lossy(offer);
    let direction = if offer.contains("a=sendonly") {
        "a=recvonly"
    } else if offer.contains("a=inactive") {
        "a=inactive"
    } else if offer.contains("a=recvonly") {
        "a=sendonly"
    } else {
        "a=sendrecv"
    };
    description.replace("a=sendrecv", direction)
}
