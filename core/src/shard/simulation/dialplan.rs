//! The dialplan of simulated exchanges: each number belongs to a place in the plan of a call, and does what that says with the
//! verbs that applications are made of.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use strowger_sip::Method;

use super::exchange::NAMES;
use super::plan::{Act, CallPlan, Sign, Talk, Verdict, exten, read_exten};
use crate::call::bridge::BridgeOptions;
use crate::call::dial::DialRequest;
use crate::call::renegotiate::Wanted;
use crate::channel::{Cause, Channel, Interrupt, Location};
use crate::dialplan::{
    Dialplan, DialplanFactory, Exists, LocalFuture, OutOfReach, Reach, SubroutineEnd,
};

/// Longer than anybody rings whom nobody answers.
const RINGS_MAX: Duration = Duration::from_secs(60);
/// How long who was transferred talks.
const TRANSFERRED: Duration = Duration::from_secs(3);

/// What happened to the channels that ran a dialplan, and how often each thing was done.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Exchange, place in the plan, unique id, and the cause once it has ended.
    pub(super) runs: Vec<Run>,
    pub(super) acts: [u64; 4],
    pub(super) answered: u64,
    pub(super) bridged: u64,
    pub(super) transferred: u64,
}

#[derive(Debug)]
pub(super) struct Run {
    pub(super) exchange: usize,
    pub(super) exten: String,
    pub(super) uniqueid: String,
    pub(super) cause: Option<Cause>,
    pub(super) answered: bool,
}

struct Planned {
    exchange: usize,
    plans: Arc<Vec<CallPlan>>,
    log: Arc<Mutex<Log>>,
}

/// What makes the dialplan of an exchange.
pub(super) fn factory(
    exchange: usize,
    plans: &Arc<Vec<CallPlan>>,
    log: &Arc<Mutex<Log>>,
) -> DialplanFactory {
    let (plans, log) = (Arc::clone(plans), Arc::clone(log));
    Arc::new(move |_| {
        Ok(Rc::new(Planned {
            exchange,
            plans: Arc::clone(&plans),
            log: Arc::clone(&log),
        }))
    })
}

/// One channel on its way through the plan.
struct Walk {
    channel: Channel,
    plans: Arc<Vec<CallPlan>>,
    log: Arc<Mutex<Log>>,
}

impl Dialplan for Planned {
    fn exists(&self, context: &str, exten: &str, _: &str) -> Exists {
        match read_exten(exten) {
            Some((_, call, _)) if context == "calls" && call < self.plans.len() => Exists::Yes,
            _ => Exists::No,
        }
    }

    fn priority(&self, _: &str, _: &str, _: &str, written: &str) -> Option<i32> {
        written.parse().ok()
    }

    fn hint(&self, _: &str, _: &str) -> Option<String> {
        None
    }

    fn feature_code(&self, _: &Channel, _: &str) -> Option<String> {
        None
    }

    fn run(&self, channel: Channel) -> LocalFuture<()> {
        let place = {
            let mut log = self.log.lock();
            log.runs.push(Run {
                exchange: self.exchange,
                exten: channel.location().exten,
                uniqueid: channel.uniqueid().to_string(),
                cause: None,
                answered: false,
            });
            log.runs.len() - 1
        };
        let walk = Walk {
            channel,
            plans: Arc::clone(&self.plans),
            log: Arc::clone(&self.log),
        };
        Box::pin(async move {
            walk.go().await;
            let data = walk.channel.data();
            let mut log = walk.log.lock();
            let run = &mut log.runs[place];
            run.cause = data.ended.map(|end| end.cause);
            run.answered = data.answered.is_some();
        })
    }

    fn application(&self, _: Channel, _: String, _: String, _: Reach) -> LocalFuture<()> {
        Box::pin(async {})
    }

    fn read(&self, _: &Channel, _: &str, _: Reach) -> Result<String, OutOfReach> {
        Ok(String::new())
    }

    fn write(&self, _: &Channel, _: &str, _: &str, _: Reach) -> Result<(), String> {
        Ok(())
    }

    fn subroutine(&self, _: Channel, _: Location, _: Vec<String>) -> LocalFuture<SubroutineEnd> {
        Box::pin(async { SubroutineEnd::Missing })
    }

    fn hangup_handlers(&self, _: Channel) -> LocalFuture<()> {
        Box::pin(async {})
    }
}

impl Walk {
    async fn go(&self) {
        loop {
            let place = self.channel.location();
            let _ = self.step(&place.exten).await;
            let moved = self.channel.data_mut().redirect.take();
            match moved {
                Some(place) if !self.channel.is_over() => self.channel.set_location(place),
                _ => break,
            }
        }
        self.channel.hangup(Cause::NORMAL_CLEARING);
    }

    async fn step(&self, exten: &str) -> Result<(), Interrupt> {
        let (letter, call, place) = read_exten(exten).expect("a number of the plan");
        let plan = &self.plans[call];
        if letter == 't' {
            self.log.lock().transferred += 1;
            self.channel.answer(Duration::ZERO).await?;
            return self.channel.wait(TRANSFERRED).await;
        }
        if place == 0 {
            self.talk(call, &plan.caller).await
        } else if place == plan.last() {
            self.called(call, plan).await
        } else {
            self.pass_on(call, place, plan).await
        }
    }

    async fn called(&self, call: usize, plan: &CallPlan) -> Result<(), Interrupt> {
        for (after, sign) in &plan.signs {
            self.channel.wait(*after).await?;
            match sign {
                Sign::Ringing => self.channel.indicate_ringing(),
                Sign::Progress => self.channel.indicate_progress(),
            }
        }
        let (after, verdict) = plan.verdict;
        self.channel.wait(after).await?;
        match verdict {
            Verdict::Answer => {
                self.channel.answer(Duration::ZERO).await?;
                self.log.lock().answered += 1;
                self.talk(call, &plan.callee).await
            }
            Verdict::Refuse(cause) => {
                self.channel.hangup(cause);
                Ok(())
            }
            Verdict::Ring => {
                self.channel.wait(RINGS_MAX).await?;
                self.channel.hangup(Cause::NO_ANSWER);
                Ok(())
            }
        }
    }

    async fn pass_on(&self, call: usize, place: usize, plan: &CallPlan) -> Result<(), Interrupt> {
        let next = NAMES[plan.path[place + 1]];
        let request = DialRequest {
            destinations: vec![format!("PJSIP/{}@{next}", exten('c', call, place + 1))],
            timeout: Some(plan.dial_timeout),
            ..DialRequest::default()
        };
        let outcome = self.channel.dial(request).await;
        let Some(peer) = &outcome.answered else {
            self.channel.hangup(outcome.cause);
            return Ok(());
        };
        if let Err(interrupt) = self.channel.answer(Duration::ZERO).await {
            peer.hangup(Cause::NORMAL_CLEARING);
            return Err(interrupt);
        }
        self.log.lock().bridged += 1;
        let options = BridgeOptions {
            limit: plan.limit,
            ..BridgeOptions::default()
        };
        let bridged = self.channel.bridge(peer, options).await;
        bridged.hang_up_peer(Cause::NORMAL_CLEARING);
        self.channel.check()
    }

    async fn talk(&self, call: usize, talk: &Talk) -> Result<(), Interrupt> {
        for (after, act) in &talk.acts {
            self.channel.wait(*after).await?;
            self.act(call, *act);
        }
        match talk.hang_up {
            Some(after) => self.channel.wait(after).await,
            None => Err(self.channel.wait_for_end().await),
        }
    }

    fn act(&self, call: usize, act: Act) {
        let channel = &self.channel;
        self.log.lock().acts[act_number(act)] += 1;
        match act {
            Act::Hold | Act::Resume => {
                let changed = {
                    let mut session = channel.session();
                    let media = session.as_mut().and_then(|session| session.media.as_mut());
                    media.is_some_and(|media| media.hold(act == Act::Hold))
                };
                if changed {
                    channel.renegotiate(Wanted::media(Method::Invite));
                }
            }
            Act::Refresh(by_update) => {
                let method = if by_update {
                    Method::Update
                } else {
                    Method::Invite
                };
                channel.renegotiate(Wanted::refresh(Some(method)));
            }
            Act::Transfer => {
                channel.send_refer(&self.transfer_target(call));
            }
        }
    }

    fn transfer_target(&self, call: usize) -> String {
        let session = self.channel.session();
        let remote = session.as_ref().map(|session| session.flow.remote);
        let remote = remote.expect("a channel with a session");
        format!("sip:{}@{remote}", exten('t', call, 0))
    }
}

fn act_number(act: Act) -> usize {
    match act {
        Act::Hold => 0,
        Act::Resume => 1,
        Act::Refresh(_) => 2,
        Act::Transfer => 3,
    }
}
