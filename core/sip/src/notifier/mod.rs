//! A subscription at the side that notifies (RFC 6665 §4.2): how long it lasts, when a NOTIFY is due, and what its
//! Subscription-State says.
//!
//! A [`Notifier`] is told of refreshes, changes and answers, and is asked for the next NOTIFY. One is under way at a time:
//! what changes meanwhile is told by the next one, so that a subscriber who answers slowly gets the newest state and not a
//! queue of old ones. Never here: dialogs, messages, bodies, and what a state is.

mod negotiate;

use std::time::{Duration, Instant};

pub use crate::headers::{EndReason, SubscriptionState};
pub use negotiate::{TooBrief, accepted, grant};

/// Least wait before what was refused is told again, whatever Retry-After says; it doubles with each refusal in a row.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Longest wait that a subscriber may ask for with Retry-After.
const RETRY_MAX: Duration = Duration::from_secs(300);

/// A NOTIFY to be sent now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its Subscription-State.
    pub state: SubscriptionState,
    /// The whole state is to be told: first, after a refresh, at the end (RFC 6665 §4.2.1.4, RFC 4662 §5.2).
    pub full: bool,
}

/// One subscription.
#[derive(Clone, Debug)]
pub struct Notifier {
    until: Instant,
    /// Set once it is to end, until the last NOTIFY is answered.
    ending: Option<(EndReason, Option<u32>)>,
    /// There is something to tell, from this time on.
    due: Option<Instant>,
    full: bool,
    /// A NOTIFY waits for its answer; true: it is the last one.
    sent: Option<bool>,
    /// NOTIFYs refused in a row.
    refused: u32,
    /// How long changes are gathered before they are told.
    gather: Duration,
    over: bool,
}

impl Notifier {
    /// A subscription that lasts `expires_s` seconds; zero: it is told once and ends (§4.4.3). Its first NOTIFY is due.
    #[must_use]
    pub fn new(now: Instant, expires_s: u32, gather: Duration) -> Self {
        Self {
            until: now + Duration::from_secs(expires_s.into()),
            ending: (expires_s == 0).then_some((EndReason::Timeout, None)),
            due: Some(now),
            full: true,
            sent: None,
            refused: 0,
            gather,
            over: false,
        }
    }

    /// A SUBSCRIBE in the dialog: it lasts so long from now on, or ends. The whole state is told again. False: it has
    /// ended already (answer 481).
    pub fn refresh(&mut self, now: Instant, expires_s: u32) -> bool {
        self.expire(now);
        if self.over || self.ending.is_some() {
            return false;
        }
        if expires_s == 0 {
            self.end(now, EndReason::Timeout, None);
        } else {
            self.until = now + Duration::from_secs(expires_s.into());
            self.tell(now, true);
        }
        true
    }

    /// Something else is to be told.
    pub fn changed(&mut self, now: Instant) {
        if self.over {
            return;
        }
        if self.due.is_none() {
            self.due = Some(now + self.gather);
        }
    }

    /// Ends it from here: one NOTIFY more says why.
    pub fn end(&mut self, now: Instant, reason: EndReason, retry_after_s: Option<u32>) {
        if !self.over && self.ending.is_none() {
            self.ending = Some((reason, retry_after_s));
            self.tell(now, true);
        }
    }

    fn tell(&mut self, now: Instant, full: bool) {
        self.full |= full;
        self.due = Some(now);
    }

    fn expire(&mut self, now: Instant) {
        if now >= self.until {
            self.end(now, EndReason::Timeout, None);
        }
    }

    /// The NOTIFY to send now, if one is due and none is under way. Tell [`Self::answered`] or [`Self::failed`] what came
    /// of it.
    pub fn poll(&mut self, now: Instant) -> Option<Due> {
        self.expire(now);
        if self.over || self.sent.is_some() || self.due.is_none_or(|due| due > now) {
            return None;
        }
        self.due = None;
        self.sent = Some(self.ending.is_some());
        let state = match self.ending {
            Some((reason, retry_after_s)) => SubscriptionState::Terminated {
                reason: Some(reason),
                retry_after_s,
            },
            None => SubscriptionState::Active {
                expires_s: Some(self.expires_s(now)),
            },
        };
        Some(Due {
            state,
            full: std::mem::take(&mut self.full),
        })
    }

    /// The final response to the NOTIFY under way, with its Retry-After. Anything but a success ends the subscription,
    /// unless the subscriber only asks to wait (§4.2.2).
    pub fn answered(&mut self, now: Instant, status: u16, retry_after_s: Option<u32>) {
        let Some(last) = self.sent.take() else {
            return;
        };
        match (status, retry_after_s) {
            _ if last => self.over = true,
            (200..=299, _) => self.refused = 0,
            (481, _) | (_, None) => self.over = true,
            (_, Some(seconds)) => {
                let least = RETRY_MIN.saturating_mul(1 << self.refused.min(16));
                let wait = Duration::from_secs(seconds.into()).max(least);
                let wait = wait.min(RETRY_MAX);
                self.refused = self.refused.saturating_add(1);
                // What it did not take is told again, whole.
                self.tell(now + wait, true);
            }
        }
    }

    /// The NOTIFY under way was not answered, or could not be sent: nobody is there any more.
    pub fn failed(&mut self) {
        self.sent = None;
        self.over = true;
    }

    /// Gives it up without a word.
    pub fn abandon(&mut self) {
        self.over = true;
    }

    /// When to [`Self::poll`] again; `None`: not before something is told.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        let due = self.due.filter(|_| self.sent.is_none());
        let until = (self.ending.is_none()).then_some(self.until);
        due.into_iter().chain(until).min()
    }

    /// Seconds it lasts still.
    #[must_use]
    pub fn expires_s(&self, now: Instant) -> u32 {
        let left = self.until.saturating_duration_since(now);
        u32::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
    }

    /// It is over or about to be.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.over || self.ending.is_some()
    }

    /// Nothing more is to come.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// A NOTIFY waits for its answer.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.sent.is_some()
    }
}

#[cfg(test)]
mod tests;
