//! The INVITE client transaction: RFC 3261 §17.1.1 as corrected by RFC 6026 §8.4 (state Accepted, timer M).

use std::time::{Duration, Instant};

use super::effects::{Effects, Failure};
use super::timers::Timers;

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Calling,
    Proceeding,
    /// A failure came; its retransmissions are acknowledged until timer D.
    Completed,
    /// A 2xx came; its retransmissions, and those of other forks, go to the user until timer M.
    Accepted,
}

#[derive(Debug)]
pub(super) struct ClientInvite {
    state: State,
    reliable: bool,
    cancelled: bool,
    /// Timer A and its present interval.
    resend_at: Option<Instant>,
    resend_every: Duration,
    /// Timer B in Calling, the provisional limit or §9.1's wait in Proceeding, D in Completed, M in Accepted.
    end_at: Instant,
}

impl ClientInvite {
    /// The request has just been sent for the first time.
    pub(super) fn start(now: Instant, timers: &Timers, reliable: bool) -> Self {
        Self {
            state: State::Calling,
            reliable,
            cancelled: false,
            resend_at: (!reliable).then(|| now + timers.t1),
            resend_every: timers.t1,
            end_at: now + timers.timer_b,
        }
    }

    #[cfg(test)]
    pub(super) fn state(&self) -> State {
        self.state
    }

    /// No final response yet.
    pub(super) fn is_pending(&self) -> bool {
        matches!(self.state, State::Calling | State::Proceeding)
    }

    /// §9.1: a CANCEL may be sent only once a provisional response has come.
    pub(super) fn may_send_cancel(&self) -> bool {
        self.state == State::Proceeding
    }

    /// A CANCEL has been sent: the final response must come within 64*T1 (§9.1).
    pub(super) fn cancelled(&mut self, now: Instant, timers: &Timers) {
        if self.state == State::Proceeding {
            self.cancelled = true;
            self.end_at = now + timers.linger();
        }
    }

    pub(super) fn response(&mut self, now: Instant, timers: &Timers, status: u16) -> Effects {
        match (self.state, status) {
            (State::Calling | State::Proceeding, 100..=199) => {
                self.state = State::Proceeding;
                self.resend_at = None;
                if !self.cancelled {
                    self.end_at = now + timers.proceeding;
                }
                Effects::DELIVER
            }
            // RFC 6026 §7.2: any 2xx in Calling or Proceeding goes to Accepted, and to the user.
            (State::Calling | State::Proceeding, 200..=299) => {
                self.state = State::Accepted;
                self.resend_at = None;
                self.end_at = now + timers.linger();
                Effects::DELIVER
            }
            (State::Calling | State::Proceeding, 300..=699) => {
                self.state = State::Completed;
                self.resend_at = None;
                self.end_at = now + timers.timer_d;
                Effects {
                    acknowledge: true,
                    deliver: true,
                    // Timer D is zero over a reliable transport.
                    ended: self.reliable,
                    ..Effects::NONE
                }
            }
            (State::Completed, 300..=699) => Effects {
                acknowledge: true,
                ..Effects::NONE
            },
            (State::Accepted, 200..=299) => Effects::DELIVER,
            _ => Effects::NONE,
        }
    }

    pub(super) fn transport_failed(&mut self) -> Effects {
        match self.state {
            // Nothing more is sent by the transaction in Accepted: the user's ACK is on its own.
            State::Accepted => Effects::NONE,
            // The user has its final response already; only the ACK is lost (§17.1.1.2 tells the user nothing new).
            State::Completed => Effects::ENDED,
            State::Calling | State::Proceeding => Effects::failed(Failure::Transport),
        }
    }

    pub(super) fn next_timeout(&self) -> Instant {
        self.resend_at.map_or(self.end_at, |at| at.min(self.end_at))
    }

    pub(super) fn timeout(&mut self, now: Instant, timers: &Timers) -> Effects {
        if now >= self.end_at {
            return match self.state {
                State::Proceeding if !self.cancelled => {
                    self.cancelled(now, timers);
                    Effects {
                        cancel: true,
                        ..Effects::NONE
                    }
                }
                State::Calling | State::Proceeding => Effects::failed(Failure::Timeout),
                State::Completed | State::Accepted => Effects::ENDED,
            };
        }
        if self.resend_at.is_some_and(|at| now >= at) {
            // Timer A doubles without limit (§17.1.1.2); timer B ends it.
            self.resend_every *= 2;
            self.resend_at = Some(now + self.resend_every);
            return Effects::SEND;
        }
        Effects::NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACK: Effects = Effects {
        acknowledge: true,
        ..Effects::NONE
    };

    fn in_state(state: State, reliable: bool) -> (ClientInvite, Instant, Timers) {
        let timers = Timers::default();
        let now = Instant::now();
        let mut machine = ClientInvite::start(now, &timers, reliable);
        match state {
            State::Calling => {}
            State::Proceeding => drop(machine.response(now, &timers, 180)),
            State::Completed => drop(machine.response(now, &timers, 486)),
            State::Accepted => drop(machine.response(now, &timers, 200)),
        }
        assert_eq!(machine.state(), state);
        (machine, now, timers)
    }

    #[test]
    fn every_response_in_every_state_follows_the_figure() {
        use State::*;
        let ack_deliver = Effects {
            deliver: true,
            ..ACK
        };
        let table = [
            (Calling, 100, Proceeding, Effects::DELIVER),
            (Calling, 200, Accepted, Effects::DELIVER),
            (Calling, 302, Completed, ack_deliver),
            (Calling, 699, Completed, ack_deliver),
            (Proceeding, 183, Proceeding, Effects::DELIVER),
            (Proceeding, 299, Accepted, Effects::DELIVER),
            (Proceeding, 486, Completed, ack_deliver),
            (Completed, 100, Completed, Effects::NONE),
            (Completed, 200, Completed, Effects::NONE),
            (Completed, 486, Completed, ACK),
            (Accepted, 180, Accepted, Effects::NONE),
            (Accepted, 200, Accepted, Effects::DELIVER),
            (Accepted, 486, Accepted, Effects::NONE),
        ];
        for (state, status, next, effects) in table {
            let (mut machine, now, timers) = in_state(state, false);
            assert_eq!(
                machine.response(now, &timers, status),
                effects,
                "{state:?} {status}"
            );
            assert_eq!(machine.state(), next, "{state:?} {status}");
        }
    }

    #[test]
    fn an_unanswered_invite_is_sent_seven_times_and_times_out_after_32_seconds() {
        let (mut machine, start, timers) = in_state(State::Calling, false);
        let mut sent_ms = Vec::new();
        loop {
            let now = machine.next_timeout();
            let effects = machine.timeout(now, &timers);
            let elapsed = (now - start).as_millis();
            if effects.ended {
                assert_eq!(effects, Effects::failed(Failure::Timeout));
                assert_eq!(elapsed, 32_000);
                break;
            }
            assert_eq!(effects, Effects::SEND);
            sent_ms.push(elapsed);
        }
        assert_eq!(sent_ms, [500, 1500, 3500, 7500, 15500, 31500]);
    }

    #[test]
    fn over_tcp_nothing_is_sent_again_and_a_failure_ends_at_once() {
        let (mut machine, start, timers) = in_state(State::Calling, true);
        assert_eq!(machine.next_timeout(), start + timers.timer_b);
        assert!(machine.response(start, &timers, 404).ended);
    }

    #[test]
    fn ringing_stops_timer_b_and_a_forgotten_call_is_cancelled_then_dropped() {
        let (mut machine, start, timers) = in_state(State::Proceeding, false);
        assert_eq!(machine.next_timeout(), start + timers.proceeding);
        let now = machine.next_timeout();
        assert!(machine.timeout(now, &timers).cancel);
        // A provisional response does not prolong a cancelled INVITE.
        assert_eq!(machine.response(now, &timers, 180), Effects::DELIVER);
        assert_eq!(machine.next_timeout(), now + timers.linger());
        let now = machine.next_timeout();
        assert_eq!(
            machine.timeout(now, &timers),
            Effects::failed(Failure::Timeout)
        );
    }

    #[test]
    fn completed_ends_with_timer_d_and_accepted_with_timer_m() {
        for (state, wait) in [
            (State::Completed, Timers::default().timer_d),
            (State::Accepted, Timers::default().linger()),
        ] {
            let (mut machine, start, timers) = in_state(state, false);
            assert_eq!(machine.next_timeout(), start + wait);
            assert_eq!(machine.timeout(start + wait, &timers), Effects::ENDED);
        }
    }

    #[test]
    fn a_transport_error_is_told_only_before_the_final_response() {
        for (state, effects) in [
            (State::Calling, Effects::failed(Failure::Transport)),
            (State::Proceeding, Effects::failed(Failure::Transport)),
            (State::Completed, Effects::ENDED),
            (State::Accepted, Effects::NONE),
        ] {
            assert_eq!(in_state(state, false).0.transport_failed(), effects);
        }
    }

    #[test]
    fn cancel_waits_for_a_provisional_response() {
        assert!(!in_state(State::Calling, false).0.may_send_cancel());
        assert!(in_state(State::Proceeding, false).0.may_send_cancel());
        assert!(!in_state(State::Completed, false).0.may_send_cancel());
        assert!(!in_state(State::Accepted, false).0.is_pending());
    }
}
