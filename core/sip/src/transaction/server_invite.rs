//! The INVITE server transaction: RFC 3261 §17.2.1 as corrected by RFC 6026 §8.7 (state Accepted, timer L).

use std::time::{Duration, Instant};

use super::effects::{Effects, Failure};
use super::timers::Timers;

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Proceeding,
    /// A failure was sent; it is repeated (timer G) until the ACK or timer H.
    Completed,
    /// The ACK came; further ACKs are absorbed until timer I.
    Confirmed,
    /// A 2xx was sent; retransmitted INVITEs are absorbed until timer L, the 2xx is repeated by the user.
    Accepted,
}

#[derive(Debug)]
pub(super) struct ServerInvite {
    state: State,
    reliable: bool,
    /// A response exists that can be sent again.
    responded: bool,
    /// In Proceeding the moment for 100 Trying, in Completed timer G.
    act_at: Option<Instant>,
    resend_every: Duration,
    /// The provisional limit, timer H, I or L.
    end_at: Instant,
}

impl ServerInvite {
    pub(super) fn start(now: Instant, timers: &Timers, reliable: bool) -> Self {
        Self {
            state: State::Proceeding,
            reliable,
            responded: false,
            act_at: Some(now + timers.trying),
            resend_every: timers.t1,
            end_at: now + timers.proceeding,
        }
    }

    #[cfg(test)]
    pub(super) fn state(&self) -> State {
        self.state
    }

    /// No final response yet: a CANCEL still matters.
    pub(super) fn is_pending(&self) -> bool {
        self.state == State::Proceeding
    }

    /// The INVITE came again.
    pub(super) fn retransmission(&mut self) -> Effects {
        match self.state {
            State::Proceeding if self.responded => Effects::SEND,
            // The caller is already repeating itself: do not wait for the 200 ms.
            State::Proceeding => self.trying(),
            State::Completed => Effects::SEND,
            State::Confirmed | State::Accepted => Effects::NONE,
        }
    }

    fn trying(&mut self) -> Effects {
        self.act_at = None;
        self.responded = true;
        Effects {
            trying: true,
            ..Effects::NONE
        }
    }

    /// The user responds; `None` if that response is not possible any more.
    pub(super) fn respond(
        &mut self,
        now: Instant,
        timers: &Timers,
        status: u16,
    ) -> Option<Effects> {
        match (self.state, status) {
            (State::Proceeding, 100..=199) => {
                self.responded = true;
                self.act_at = None;
                self.end_at = now + timers.proceeding;
            }
            (State::Proceeding, 200..=299) => {
                self.state = State::Accepted;
                self.act_at = None;
                self.end_at = now + timers.linger();
            }
            (State::Proceeding, 300..=699) => {
                self.state = State::Completed;
                self.responded = true;
                self.act_at = (!self.reliable).then(|| now + timers.t1);
                self.resend_every = timers.t1;
                self.end_at = now + timers.linger();
            }
            // §13.3.1.4: the user repeats its 2xx until the ACK; it may also answer for several forks (RFC 6026 §7.1).
            (State::Accepted, 200..=299) => {}
            _ => return None,
        }
        Some(Effects::SEND)
    }

    pub(super) fn ack(&mut self, now: Instant, timers: &Timers) -> Effects {
        match self.state {
            State::Completed => {
                self.state = State::Confirmed;
                self.act_at = None;
                self.end_at = now + timers.t4;
                Effects {
                    // Timer I is zero over a reliable transport.
                    ended: self.reliable,
                    ..Effects::NONE
                }
            }
            State::Accepted => Effects::DELIVER,
            State::Proceeding | State::Confirmed => Effects::NONE,
        }
    }

    pub(super) fn transport_failed(&mut self) -> Effects {
        match self.state {
            State::Proceeding | State::Completed => Effects::failed(Failure::Transport),
            // The user hears of a lost 2xx by the ACK that never comes.
            State::Confirmed | State::Accepted => Effects::NONE,
        }
    }

    pub(super) fn next_timeout(&self) -> Instant {
        self.act_at.map_or(self.end_at, |at| at.min(self.end_at))
    }

    pub(super) fn timeout(&mut self, now: Instant, timers: &Timers) -> Effects {
        if now >= self.end_at {
            return match self.state {
                State::Proceeding => Effects {
                    failure: Some(Failure::Abandoned),
                    ..Effects::NONE
                },
                State::Completed => Effects::failed(Failure::NoAck),
                State::Confirmed | State::Accepted => Effects::ENDED,
            };
        }
        if self.act_at.is_none_or(|at| now < at) {
            return Effects::NONE;
        }
        if self.state == State::Proceeding {
            return self.trying();
        }
        self.resend_every = (self.resend_every * 2).min(timers.t2);
        self.act_at = Some(now + self.resend_every);
        Effects::SEND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRYING: Effects = Effects {
        trying: true,
        ..Effects::NONE
    };

    fn in_state(state: State, reliable: bool) -> (ServerInvite, Instant, Timers) {
        let timers = Timers::default();
        let now = Instant::now();
        let mut machine = ServerInvite::start(now, &timers, reliable);
        match state {
            State::Proceeding => {}
            State::Accepted => drop(machine.respond(now, &timers, 200)),
            State::Completed => drop(machine.respond(now, &timers, 486)),
            State::Confirmed => {
                machine.respond(now, &timers, 486);
                machine.ack(now, &timers);
            }
        }
        assert_eq!(machine.state(), state);
        (machine, now, timers)
    }

    #[test]
    fn every_response_of_the_user_in_every_state_follows_the_figure() {
        use State::*;
        let table = [
            (Proceeding, 100, Proceeding, true),
            (Proceeding, 180, Proceeding, true),
            (Proceeding, 200, Accepted, true),
            (Proceeding, 302, Completed, true),
            (Proceeding, 603, Completed, true),
            (Completed, 180, Completed, false),
            (Completed, 200, Completed, false),
            (Completed, 486, Completed, false),
            (Confirmed, 200, Confirmed, false),
            (Accepted, 180, Accepted, false),
            (Accepted, 200, Accepted, true),
            (Accepted, 486, Accepted, false),
        ];
        for (state, status, next, sent) in table {
            let (mut machine, now, timers) = in_state(state, false);
            let effects = machine.respond(now, &timers, status);
            assert_eq!(effects == Some(Effects::SEND), sent, "{state:?} {status}");
            assert_eq!(effects.is_some(), sent, "{state:?} {status}");
            assert_eq!(machine.state(), next, "{state:?} {status}");
        }
    }

    #[test]
    fn retransmitted_invites_and_acks_follow_the_figure() {
        use State::*;
        let table = [
            (Proceeding, TRYING, Effects::NONE, Proceeding),
            (Completed, Effects::SEND, Effects::NONE, Confirmed),
            (Confirmed, Effects::NONE, Effects::NONE, Confirmed),
            (Accepted, Effects::NONE, Effects::DELIVER, Accepted),
        ];
        for (state, on_invite, on_ack, after_ack) in table {
            let (mut machine, now, timers) = in_state(state, false);
            assert_eq!(machine.retransmission(), on_invite, "{state:?}");
            assert_eq!(machine.state(), state);
            assert_eq!(machine.ack(now, &timers), on_ack, "{state:?}");
            assert_eq!(machine.state(), after_ack);
        }
    }

    #[test]
    fn a_hundred_is_sent_after_200_ms_unless_the_user_was_quicker() {
        let (mut machine, start, timers) = in_state(State::Proceeding, false);
        assert_eq!(machine.next_timeout(), start + Duration::from_millis(200));
        assert_eq!(machine.timeout(machine.next_timeout(), &timers), TRYING);
        assert_eq!(machine.retransmission(), Effects::SEND);
        let (mut machine, start, timers) = in_state(State::Proceeding, false);
        machine.respond(start, &timers, 180);
        assert_eq!(machine.next_timeout(), start + timers.proceeding);
        let end = machine.next_timeout();
        let effects = machine.timeout(end, &timers);
        assert_eq!(effects.failure, Some(Failure::Abandoned));
        assert!(!effects.ended, "the layer still has to answer 408");
    }

    #[test]
    fn a_failure_is_repeated_up_to_t2_until_timer_h() {
        let (mut machine, start, timers) = in_state(State::Completed, false);
        let mut sent_ms = Vec::new();
        loop {
            let now = machine.next_timeout();
            let effects = machine.timeout(now, &timers);
            if effects.ended {
                assert_eq!(effects, Effects::failed(Failure::NoAck));
                assert_eq!(now - start, timers.linger());
                break;
            }
            sent_ms.push((now - start).as_millis());
        }
        assert_eq!(
            sent_ms,
            [
                500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500
            ]
        );
    }

    #[test]
    fn confirmed_and_accepted_end_quietly() {
        for (state, wait) in [
            (State::Confirmed, Timers::default().t4),
            (State::Accepted, Timers::default().linger()),
        ] {
            let (mut machine, start, timers) = in_state(state, false);
            assert_eq!(machine.next_timeout(), start + wait);
            assert_eq!(machine.timeout(start + wait, &timers), Effects::ENDED);
        }
    }

    #[test]
    fn over_tcp_a_failure_is_sent_once_and_the_ack_ends_it() {
        let (mut machine, start, timers) = in_state(State::Completed, true);
        assert_eq!(machine.next_timeout(), start + timers.linger());
        assert_eq!(machine.ack(start, &timers), Effects::ENDED);
    }

    #[test]
    fn a_transport_error_is_told_only_while_the_transaction_sends() {
        for (state, effects) in [
            (State::Proceeding, Effects::failed(Failure::Transport)),
            (State::Completed, Effects::failed(Failure::Transport)),
            (State::Confirmed, Effects::NONE),
            (State::Accepted, Effects::NONE),
        ] {
            assert_eq!(in_state(state, false).0.transport_failed(), effects);
        }
    }
}
