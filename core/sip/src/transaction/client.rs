//! The non-INVITE client transaction: RFC 3261 §17.1.2.

use std::time::{Duration, Instant};

use super::effects::{Effects, Failure};
use super::timers::Timers;

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Trying,
    Proceeding,
    /// The final response came; retransmissions of it are absorbed until timer K.
    Completed,
}

#[derive(Debug)]
pub(super) struct Client {
    state: State,
    reliable: bool,
    /// Timer E and its present interval.
    resend_at: Option<Instant>,
    resend_every: Duration,
    /// Timer F, in Completed timer K.
    end_at: Instant,
}

impl Client {
    /// The request has just been sent for the first time.
    pub(super) fn start(now: Instant, timers: &Timers, reliable: bool) -> Self {
        Self {
            state: State::Trying,
            reliable,
            resend_at: (!reliable).then(|| now + timers.t1),
            resend_every: timers.t1,
            end_at: now + timers.timer_b,
        }
    }

    /// No final response yet.
    pub(super) fn is_pending(&self) -> bool {
        self.state != State::Completed
    }

    pub(super) fn response(&mut self, now: Instant, timers: &Timers, status: u16) -> Effects {
        match (self.state, status) {
            (State::Completed, _) => Effects::NONE,
            (_, 100..=199) => {
                self.state = State::Proceeding;
                Effects::DELIVER
            }
            (_, 200..=699) => {
                self.state = State::Completed;
                self.resend_at = None;
                self.end_at = now + timers.t4;
                Effects {
                    deliver: true,
                    // Timer K is zero over a reliable transport.
                    ended: self.reliable,
                    ..Effects::NONE
                }
            }
            _ => Effects::NONE,
        }
    }

    pub(super) fn transport_failed(&mut self) -> Effects {
        if self.is_pending() {
            Effects::failed(Failure::Transport)
        } else {
            Effects::ENDED
        }
    }

    pub(super) fn next_timeout(&self) -> Instant {
        self.resend_at.map_or(self.end_at, |at| at.min(self.end_at))
    }

    pub(super) fn timeout(&mut self, now: Instant, timers: &Timers) -> Effects {
        if now >= self.end_at {
            return if self.is_pending() {
                Effects::failed(Failure::Timeout)
            } else {
                Effects::ENDED
            };
        }
        if self.resend_at.is_some_and(|at| now >= at) {
            // §17.1.2.2: T1, 2*T1, ... up to T2 while trying; T2 once a provisional response has come.
            self.resend_every = match self.state {
                State::Proceeding => timers.t2,
                _ => (self.resend_every * 2).min(timers.t2),
            };
            self.resend_at = Some(now + self.resend_every);
            return Effects::SEND;
        }
        Effects::NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resends_ms(provisional_at: Option<Duration>) -> Vec<u128> {
        let timers = Timers::default();
        let start = Instant::now();
        let mut machine = Client::start(start, &timers, false);
        let mut sent = Vec::new();
        let mut told = false;
        loop {
            let now = machine.next_timeout();
            if let Some(at) = provisional_at
                && !told
                && now >= start + at
            {
                told = true;
                assert_eq!(machine.response(start + at, &timers, 100), Effects::DELIVER);
                continue;
            }
            let effects = machine.timeout(now, &timers);
            if effects.ended {
                assert_eq!(effects, Effects::failed(Failure::Timeout));
                assert_eq!(now - start, timers.timer_b);
                return sent;
            }
            sent.push((now - start).as_millis());
        }
    }

    #[test]
    fn an_unanswered_request_is_sent_eleven_times_in_32_seconds() {
        assert_eq!(
            resends_ms(None),
            [
                500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500
            ]
        );
    }

    #[test]
    fn a_provisional_response_slows_retransmission_to_t2() {
        assert_eq!(
            resends_ms(Some(Duration::from_millis(700))),
            [500, 1500, 5500, 9500, 13500, 17500, 21500, 25500, 29500]
        );
    }

    #[test]
    fn a_final_response_is_delivered_once_and_timer_k_ends_it() {
        let timers = Timers::default();
        let start = Instant::now();
        let mut machine = Client::start(start, &timers, false);
        assert_eq!(machine.response(start, &timers, 200), Effects::DELIVER);
        assert_eq!(machine.response(start, &timers, 200), Effects::NONE);
        assert_eq!(machine.response(start, &timers, 100), Effects::NONE);
        assert_eq!(machine.next_timeout(), start + timers.t4);
        assert_eq!(machine.timeout(start + timers.t4, &timers), Effects::ENDED);
        assert_eq!(machine.transport_failed(), Effects::ENDED);
    }

    #[test]
    fn over_tcp_the_final_response_ends_it() {
        let timers = Timers::default();
        let start = Instant::now();
        let mut machine = Client::start(start, &timers, true);
        assert_eq!(machine.next_timeout(), start + timers.timer_b);
        let effects = machine.response(start, &timers, 404);
        assert!(effects.deliver && effects.ended);
        let mut machine = Client::start(start, &timers, true);
        assert_eq!(
            machine.transport_failed(),
            Effects::failed(Failure::Transport)
        );
    }
}
