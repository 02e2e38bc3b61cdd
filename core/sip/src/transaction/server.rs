//! The non-INVITE server transaction: RFC 3261 §17.2.2.

use std::time::Instant;

use super::effects::{Effects, Failure};
use super::timers::Timers;

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Trying,
    Proceeding,
    /// The final response was sent; it is repeated for each retransmitted request until timer J.
    Completed,
}

#[derive(Debug)]
pub(super) struct Server {
    state: State,
    reliable: bool,
    /// 64*T1 for the user to answer, then timer J.
    end_at: Instant,
}

impl Server {
    pub(super) fn start(now: Instant, timers: &Timers, reliable: bool) -> Self {
        Self {
            state: State::Trying,
            reliable,
            // RFC 4320 §4.1: a response after 64*T1 finds nobody waiting for it.
            end_at: now + timers.linger(),
        }
    }

    /// The request came again.
    pub(super) fn retransmission(&mut self) -> Effects {
        match self.state {
            State::Trying => Effects::NONE,
            State::Proceeding | State::Completed => Effects::SEND,
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
            (State::Completed, _) => None,
            (_, 100..=199) => {
                self.state = State::Proceeding;
                Some(Effects::SEND)
            }
            (_, 200..=699) => {
                self.state = State::Completed;
                self.end_at = now + timers.linger();
                Some(Effects {
                    send: true,
                    // Timer J is zero over a reliable transport.
                    ended: self.reliable,
                    ..Effects::NONE
                })
            }
            _ => None,
        }
    }

    pub(super) fn transport_failed(&mut self) -> Effects {
        match self.state {
            // It has been answered: what remains is to absorb retransmissions, which an ICMP error does not end.
            State::Completed => Effects::NONE,
            State::Trying | State::Proceeding => Effects::failed(Failure::Transport),
        }
    }

    pub(super) fn next_timeout(&self) -> Instant {
        self.end_at
    }

    pub(super) fn timeout(&mut self, now: Instant) -> Effects {
        if now < self.end_at {
            return Effects::NONE;
        }
        match self.state {
            State::Completed => Effects::ENDED,
            State::Trying | State::Proceeding => Effects::failed(Failure::Abandoned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_in_every_state_follows_the_figure() {
        let timers = Timers::default();
        let now = Instant::now();
        let mut machine = Server::start(now, &timers, false);
        assert_eq!(machine.retransmission(), Effects::NONE);
        assert_eq!(machine.respond(now, &timers, 100), Some(Effects::SEND));
        assert_eq!(machine.state, State::Proceeding);
        assert_eq!(machine.retransmission(), Effects::SEND);
        assert_eq!(machine.respond(now, &timers, 200), Some(Effects::SEND));
        assert_eq!(machine.state, State::Completed);
        assert_eq!(machine.retransmission(), Effects::SEND);
        assert_eq!(machine.respond(now, &timers, 200), None);
        assert_eq!(machine.respond(now, &timers, 100), None);
        assert_eq!(machine.transport_failed(), Effects::NONE);
        assert_eq!(machine.next_timeout(), now + timers.linger());
        assert_eq!(machine.timeout(now), Effects::NONE);
        assert_eq!(machine.timeout(now + timers.linger()), Effects::ENDED);
    }

    #[test]
    fn over_tcp_the_final_response_ends_it() {
        let timers = Timers::default();
        let now = Instant::now();
        let mut machine = Server::start(now, &timers, true);
        let effects = machine.respond(now, &timers, 404).expect("first response");
        assert!(effects.send && effects.ended);
    }

    #[test]
    fn an_unanswered_request_is_given_up_and_told() {
        let timers = Timers::default();
        let now = Instant::now();
        let mut machine = Server::start(now, &timers, false);
        assert_eq!(
            machine.timeout(now + timers.linger()),
            Effects::failed(Failure::Abandoned)
        );
    }
}
