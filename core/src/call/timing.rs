//! The session timer of a call (RFC 4028): who refreshes it, and its end when nobody does.

use std::rc::Rc;

use strowger_sip::session_timer::{Due, Policy, SessionTimer, Terms, Wish};
use strowger_store::{Endpoint, SessionTimers};
use tokio::task::AbortHandle;

use super::renegotiate::Wanted;
use crate::channel::{Cause, Channel};

/// What an endpoint's columns say of session timers.
pub(super) fn policy(endpoint: &Endpoint) -> Policy {
    let wish = match endpoint.timers {
        SessionTimers::No => Wish::Never,
        SessionTimers::Yes => Wish::Offered,
        SessionTimers::Required => Wish::Required,
        SessionTimers::Forced => Wish::Always,
    };
    Policy::new(wish, endpoint.timers_sess_expires, endpoint.timers_min_se)
}

/// The timer of one session.
pub(crate) struct Timing {
    pub(crate) policy: Policy,
    /// What was agreed, until the answer starts the clock.
    pub(crate) terms: Option<Terms>,
    timer: Option<SessionTimer>,
    clock: Option<Clock>,
}

/// The task that waits for the next moment; it ends with this.
struct Clock(AbortHandle);

impl Drop for Clock {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Timing {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy,
            terms: None,
            timer: None,
            clock: None,
        }
    }

    /// Nobody waits any more.
    pub(super) fn stop(&mut self) {
        self.timer = None;
        self.clock = None;
    }

    /// What holds in the session now.
    pub(super) fn current(&self) -> Option<Terms> {
        self.timer.map(|timer| timer.terms())
    }
}

impl Channel {
    /// The session was begun or refreshed on these terms; none: it goes on without a timer.
    pub(super) fn keep_time(&self, terms: Option<Terms>) {
        let mut guard = self.session();
        let Some(session) = guard.as_mut() else {
            return;
        };
        let timing = &mut session.timing;
        timing.stop();
        timing.terms = terms;
        let Some(terms) = terms.filter(|_| !self.is_over()) else {
            return;
        };
        timing.timer = Some(SessionTimer::new(crate::clock::now(), terms));
        let shard = Rc::clone(self.shard());
        let id = self.id();
        let task = tokio::task::spawn_local(async move {
            loop {
                let next = shard.channel(id).and_then(|channel| {
                    let guard = channel.session();
                    Some(guard.as_ref()?.timing.timer?.next_timeout())
                });
                let Some(at) = next else { break };
                tokio::time::sleep_until(at.into()).await;
                let Some(channel) = shard.channel(id) else {
                    break;
                };
                let due = channel.session().as_mut().and_then(|session| {
                    let timer = session.timing.timer.as_mut()?;
                    timer.handle_timeout(crate::clock::now())
                });
                match due {
                    Some(Due::Refresh) => {
                        let (wanted, told) = Wanted::refresh(None).told();
                        channel.renegotiate(wanted);
                        let end = channel
                            .session()
                            .as_ref()
                            .and_then(|session| Some(session.timing.timer?.ends_at()));
                        drop(channel);
                        let Some(end) = end else { break };
                        // One that is accepted begins another clock, and ends this one.
                        if matches!(
                            tokio::time::timeout_at(end.into(), told).await,
                            Ok(Ok(Err(_)))
                        ) && let Some(channel) = shard.channel(id)
                            && let Some(session) = channel.session().as_mut()
                            && let Some(timer) = session.timing.timer.as_mut()
                        {
                            timer.refused(crate::clock::now());
                        }
                    }
                    Some(Due::Expired) => {
                        tracing::info!(channel = %channel.name(), "the session was not refreshed: the call is ended");
                        channel.hangup(Cause::RECOVERY_ON_TIMER_EXPIRE);
                        break;
                    }
                    None => {}
                }
            }
        });
        timing.clock = Some(Clock(task.abort_handle()));
    }
}
