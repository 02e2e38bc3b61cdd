//! Registrations: those of callers and callees before the first step, and those that are the load themselves.

use super::leg::{Due, Repeated};
use super::{Engine, Letter, Owner, What, wall_ns};
use crate::sip::{self, Account, Dialog};
use crate::talk::Side;
use crate::uring::Slot;
use anyhow::{Result, bail};
use rsip::{Method, Response, SipMessage};
use std::time::{Duration, Instant};

/// How long a registration is asked for, in seconds.
const LIFETIME: u32 = 3600;
/// Registrations before the first step that are under way at once.
const AT_ONCE: usize = 200;
/// Registrations that are under way at once when they are the load.
const UNDER_WAY_MAX: usize = 20_000;

/// One REGISTER until its final answer.
#[derive(Debug)]
pub(super) struct Registration {
    dialog: Dialog,
    account: Account,
    signal: Slot,
    repeated: Repeated,
    challenged: bool,
    begun_ns: u64,
    /// One of those before the first step.
    before: bool,
}

impl Engine {
    /// Registers all users that have to be before the first step.
    pub(super) fn register_all(&mut self) -> Result<()> {
        let mut users: Vec<(Side, u32)> = Vec::new();
        for (side, party) in [
            (Side::Caller, &self.scenario.caller),
            (Side::Callee, &self.scenario.callee),
        ] {
            if party.register {
                users.extend((0..party.users).map(|index| (side, index)));
            }
        }
        if users.is_empty() {
            return Ok(());
        }
        let count = users.len();
        let rate = self
            .scenario
            .caller
            .register_rate
            .min(self.scenario.callee.register_rate);
        let start = Instant::now();
        let limit = Duration::from_secs_f64(count as f64 / rate) + Duration::from_secs(40);
        let mut begun = 0;
        loop {
            let due = (start.elapsed().as_secs_f64() * rate) as usize + 1;
            while begun < due.min(count) && self.registering() < AT_ONCE {
                let (side, index) = users[begun];
                self.register(side, index, true)?;
                begun += 1;
            }
            if self.totals.failed > 0 {
                let why = self.totals.reasons.keys().next().cloned();
                bail!("a user cannot be registered: {}", why.unwrap_or_default());
            }
            if begun == count && self.registering() == 0 {
                return Ok(());
            }
            if start.elapsed() > limit || self.stopped() {
                bail!(
                    "of {count} users {} are registered in time",
                    self.totals.registered
                );
            }
            self.turn(0)?;
            self.listen(Instant::now() + Duration::from_millis(1))?;
        }
    }

    /// Registrations under way.
    pub(super) fn registering(&self) -> usize {
        self.registrations.len() - self.free_registrations.len()
    }

    /// The next user registers, as load.
    pub(super) fn begin_registration(&mut self) {
        if self.registering() >= UNDER_WAY_MAX {
            self.totals.held_back += 1;
            return;
        }
        let index = self.next_user;
        self.next_user = (index + 1) % self.scenario.caller.users;
        self.totals.begun += 1;
        if let Err(error) = self.register(Side::Caller, index, false) {
            self.totals.fail(&format!("the generator: {error:#}"));
        }
    }

    fn register(&mut self, side: Side, index: u32, before: bool) -> Result<()> {
        let party = match side {
            Side::Caller => &self.scenario.caller,
            Side::Callee => &self.scenario.callee,
        };
        let account = Account {
            user: party.user_name(index),
            password: party.password_of(index),
        };
        let (own, signal) = (self.party(side).address, self.party(side).signal);
        let branch = self.branch();
        let id = format!("{branch}-register");
        let mut dialog = Dialog::registering(id.clone(), &account.user, own, self.setting.server)?;
        let bytes = sip::finish(dialog.register(&branch, LIFETIME), None);
        let now = self.now_ms();
        self.totals.register_requests += 1;
        self.send(signal, &bytes);
        let repeated = Repeated::new(bytes, Method::Register, dialog.cseq(), branch, now);
        let due = repeated.due_ms;
        let registration = Registration {
            dialog,
            account,
            signal,
            repeated,
            challenged: false,
            begun_ns: wall_ns(),
            before,
        };
        let place = match self.free_registrations.pop() {
            Some(place) => {
                self.registrations[place as usize] = Some(registration);
                place
            }
            None => {
                self.registrations.push(Some(registration));
                (self.registrations.len() - 1) as u32
            }
        };
        self.by_id.insert(id, Owner::Registration(place));
        self.at(due, What::RepeatRegistration(place));
        Ok(())
    }

    fn end_registration(&mut self, place: u32, failure: Option<&str>) {
        let Some(done) = self
            .registrations
            .get_mut(place as usize)
            .and_then(Option::take)
        else {
            return;
        };
        self.free_registrations.push(place);
        self.by_id.remove(&done.dialog.call_id);
        match failure {
            Some(reason) => self.totals.fail(&format!(
                "REGISTER of {}: {reason}",
                if done.before {
                    &done.account.user
                } else {
                    "a user"
                }
            )),
            None => {
                self.totals.registered += 1;
                if !done.before {
                    self.totals.answered += 1;
                    self.totals.completed += 1;
                }
            }
        }
    }

    pub(super) fn repeat_registration(&mut self, place: u32, now: u64) {
        let Some(Some(registration)) = self.registrations.get_mut(place as usize) else {
            return;
        };
        match registration.repeated.ask(now) {
            Due::NotYet => {
                // This place may have been given to another since; each has a timer of its own.
            }
            Due::Again => {
                let (bytes, signal) = (registration.repeated.bytes.clone(), registration.signal);
                let due = registration.repeated.due_ms;
                self.totals.repeated += 1;
                self.send(signal, &bytes);
                self.at(due, What::RepeatRegistration(place));
            }
            Due::GiveUp => self.end_registration(place, Some("no answer")),
        }
    }

    pub(super) fn registration_response(
        &mut self,
        place: u32,
        response: &Response,
        letter: &Letter,
    ) {
        let code = response.status_code.code();
        let cseq = sip::cseq(&SipMessage::Response(response.clone()));
        let branch = self.branch();
        let now = self.now_ms();
        let Some(Some(registration)) = self.registrations.get_mut(place as usize) else {
            return;
        };
        if code < 200 || cseq.is_none_or(|(number, _)| number != registration.dialog.cseq()) {
            return;
        }
        if matches!(code, 401 | 407) && !registration.challenged {
            registration.challenged = true;
            let mut request = registration.dialog.register(&branch, LIFETIME);
            if let Err(error) = sip::authorize(&mut request, response, &registration.account) {
                self.end_registration(place, Some(&format!("{error:#}")));
                return;
            }
            let bytes = sip::finish(request, None);
            let (cseq, signal) = (registration.dialog.cseq(), registration.signal);
            registration.repeated =
                Repeated::new(bytes.clone(), Method::Register, cseq, branch, now);
            let due = registration.repeated.due_ms;
            self.totals.register_requests += 1;
            self.send(signal, &bytes);
            self.at(due, What::RepeatRegistration(place));
            return;
        }
        let begun_ns = registration.begun_ns;
        if (200..300).contains(&code) {
            let at = letter.at.map_or_else(wall_ns, |at| at.as_nanos() as u64);
            self.note_setup(Duration::from_nanos(at.saturating_sub(begun_ns)));
            self.end_registration(place, None);
        } else {
            self.end_registration(place, Some(&code.to_string()));
        }
    }
}
