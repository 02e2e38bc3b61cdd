//! Ringing members for a caller, and what happens when one answers.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use strowger_core::call::{
    Begun, BridgeEnd, BridgeOptions, DialOutcome, DialRequest, DialStatus, Feature, LegReport,
    PreDial, RingMode,
};
use strowger_core::channel::{Cause, Channel, Interrupt, Location};
use strowger_core::dialplan::SubroutineEnd;
use strowger_core::events::Event;
use strowger_core::queue::{Candidate, Member};
use strowger_dialplan::args;

use super::super::dial_options::{place, subroutine};
use super::super::features::{self, Heard};
use super::super::jump::resolve;
use super::super::play::load_all;
use super::super::{AppResult, Next, Stop};
use super::caller::{Caller, End};
use crate::say::{self, Gender, Grammar};

/// Members count as rung while this exists.
struct Rung<'r, 'c> {
    caller: &'r Caller<'c>,
    candidates: Vec<Candidate>,
}

impl Rung<'_, '_> {
    /// The caller has a member: the table makes of this one what it is now and of the others what they were, all at once.
    /// False: he is not in the queue.
    fn connected(mut self, interface: &str) -> bool {
        let (caller, candidates) = (self.caller, std::mem::take(&mut self.candidates));
        let shared = caller.call.shared();
        shared
            .queue(|table, now, _| {
                table.connected(&caller.queue, caller.id, interface, &candidates, now)
            })
            .is_some()
    }
}

impl Drop for Rung<'_, '_> {
    fn drop(&mut self) {
        let (caller, candidates) = (self.caller, &self.candidates);
        if candidates.is_empty() {
            return;
        }
        let shared = caller.call.shared();
        shared.queue(|table, _, _| table.rang(&caller.queue, caller.id, candidates));
    }
}

/// A member counts as talking while this exists.
struct Talking<'r, 'c> {
    caller: &'r Caller<'c>,
    interface: String,
    since: Instant,
}

impl Drop for Talking<'_, '_> {
    fn drop(&mut self) {
        let talked = self.since.elapsed();
        let caller = self.caller;
        let shared = caller.call.shared();
        shared.queue(|table, now, _| {
            table.completed(&caller.queue, &self.interface, talked, now);
        });
        shared.tell_queue_member_status(&caller.queue, &self.interface);
    }
}

/// Ends an answered leg that nobody takes over.
struct Answered<'p>(&'p Channel);

impl Drop for Answered<'_> {
    fn drop(&mut self) {
        if !self.0.is_over() {
            self.0.hangup(Cause::NORMAL_CLEARING);
        }
    }
}

const fn who_ended(by_caller: bool) -> &'static str {
    if by_caller { "caller" } else { "agent" }
}

impl Caller<'_> {
    /// Rings members until one answers, nobody is left or the time for it is over. `Some`: he was served.
    pub(super) async fn attempt(&self) -> Result<Option<AppResult>, End> {
        let mut tried: Vec<String> = Vec::new();
        let mut started = Instant::now();
        loop {
            let settings = self.settings();
            let ring_until = (!settings.timeout.is_zero()).then(|| started + settings.timeout);
            let limit = [
                ring_until,
                // A ring without a limit of its own has that of the application in any case.
                self.until
                    .filter(|_| settings.timeout_of_application || settings.timeout.is_zero()),
            ]
            .into_iter()
            .flatten()
            .min();
            if limit.is_some_and(|limit| Instant::now() >= limit) {
                break;
            }
            let candidates = self.call.shared().queue(|table, now, states| {
                table.choose(&self.queue, self.id, &tried, now, states)
            });
            if candidates.is_empty() {
                break;
            }
            if tried.is_empty() {
                self.ring();
            }
            tried.extend(candidates.iter().map(|one| one.interface.clone()));
            let rung = Rung {
                caller: self,
                candidates,
            };
            let began = Instant::now();
            self.rung.borrow_mut().clear();
            let request = self.request(&rung.candidates, limit)?;
            let outcome = self.channel().dial(request).await;
            self.call.task.legs.borrow_mut().clone_from(&outcome.legs);
            if let Some(peer) = outcome.answered.clone() {
                let served = self.answered(rung, &outcome, &peer, began).await?;
                if let Some(result) = served {
                    return Ok(Some(result));
                }
                // The member hung up before he had the caller.
                continue;
            }
            let refused = self.unanswered(&rung.candidates, &outcome)?;
            self.rung.borrow_mut().clear();
            drop(rung);
            if refused && settings.timeout_restart {
                started = Instant::now();
            }
            if outcome.status == DialStatus::NoAnswer
                && limit.is_some_and(|limit| Instant::now() >= limit)
            {
                break;
            }
        }
        if !tried.is_empty() {
            self.stop_ringing().await?;
        }
        Ok(None)
    }

    fn request(
        &self,
        candidates: &[Candidate],
        limit: Option<Instant>,
    ) -> Result<DialRequest, End> {
        let settings = self.settings();
        let task = Rc::clone(&self.call.task);
        let (context, disconnect) = (settings.context.clone(), Rc::clone(&self.disconnect));
        let exit: Rc<dyn Fn(char) -> bool> = Rc::new(move |digit| {
            disconnect.push(digit)
                || (!context.is_empty() && task.exists(&context, digit.encode_utf8(&mut [0; 4]), 1))
        });
        let pre_dial = match self.options.argument('b') {
            Some(text) => {
                let (location, arguments) = self.subroutine(text)?;
                let run: PreDial = Rc::new(move |channel: Channel| {
                    let dialplan = channel.shard().dialplan();
                    let run = dialplan.subroutine(channel, location.clone(), arguments.clone());
                    Box::pin(async move {
                        run.await;
                    })
                });
                Some(run)
            }
            None => None,
        };
        Ok(DialRequest {
            begun: self.begun(candidates),
            destinations: candidates.iter().map(|one| one.interface.clone()).collect(),
            timeout: limit.map(|limit| limit.saturating_duration_since(Instant::now())),
            ring: RingMode::Background,
            exit_digit: Some(exit),
            answered_elsewhere: self.options.has('C'),
            pre_dial,
            forward_context: (!self.options.has('i')).then(|| {
                let set = self.channel().variable("FORWARD_CONTEXT");
                set.filter(|context| !context.is_empty())
                    .unwrap_or_else(|| self.channel().location().context)
            }),
            ..DialRequest::default()
        })
    }

    /// Tells programs that watch of each member as it is rung, if there are any.
    fn begun(&self, candidates: &[Candidate]) -> Option<Begun> {
        if !self.call.shared().events.are_heard() {
            return None;
        }
        let candidates = candidates.to_vec();
        let (rung, caller) = (Rc::clone(&self.rung), self.channel().clone());
        let queue = self.queue.clone();
        Some(Rc::new(move |leg: &Channel, interface: &str| {
            rung.borrow_mut().push((interface.to_owned(), leg.clone()));
            let found = candidates.iter().find(|one| one.interface == interface);
            caller.shard().shared().events.tell(|| {
                Event::of("AgentCalled", &caller)
                    .channel("Dest", leg)
                    .with("Queue", &queue)
                    .with("Interface", interface)
                    .with("MemberName", found.map_or(interface, |one| &one.name))
            });
        }))
    }

    fn subroutine(&self, text: &str) -> Result<(Location, Vec<String>), Stop> {
        let text = place(text);
        let (destination, arguments) = args::parse_gosub(&text);
        let location = resolve(&self.call.task, &destination)?;
        Ok((location, arguments.map(args::split).unwrap_or_default()))
    }

    /// Nobody answered: tells the log and pauses those who should have. True if somebody refused.
    fn unanswered(&self, candidates: &[Candidate], outcome: &DialOutcome) -> Result<bool, End> {
        let mut refused = false;
        if let Some(digit) = outcome.exit_digit {
            return Err(End::Key(digit));
        }
        let cancelled = outcome.status == DialStatus::Cancel;
        for leg in outcome.legs.iter().filter(|leg| !leg.name.is_empty()) {
            let Some(candidate) = candidates
                .iter()
                .find(|candidate| candidate.interface == leg.destination)
            else {
                continue;
            };
            if cancelled {
                let rang = leg.rang.as_millis().to_string();
                self.log(&candidate.name, "RINGCANCELED", &[&rang]);
            } else {
                refused |= self.did_not_answer(candidate, leg);
            }
        }
        if cancelled {
            self.channel().check()?;
        }
        Ok(refused)
    }

    /// A member was rung and did not take the call. True if it refused.
    fn did_not_answer(&self, candidate: &Candidate, leg: &LegReport) -> bool {
        let rang = leg.rang.as_millis().to_string();
        self.log(&candidate.name, "RINGNOANSWER", &[&rang]);
        let member = (candidate.interface.as_str(), candidate.name.as_str());
        self.tell_agent("AgentRingNoAnswer", member, None, |event| {
            event.with("RingTime", &rang)
        });
        let settings = self.settings();
        let (refused, pauses) = match leg.cause {
            Cause::USER_BUSY => (true, settings.auto_pause_busy),
            Cause::NO_ANSWER | Cause::NORMAL_CLEARING | Cause::ANSWERED_ELSEWHERE => (false, true),
            _ => (true, settings.auto_pause_unavailable),
        };
        if pauses {
            self.auto_pause(&candidate.interface);
        }
        refused
    }

    fn auto_pause(&self, interface: &str) {
        let shared = self.call.shared();
        let pause = shared.queue(|table, now, _| table.auto_pause(&self.queue, interface, now));
        if let Some(queue) = pause {
            shared.pause_queue_member(queue.as_deref(), interface, true, "Auto-Pause");
        }
    }

    /// A member answered. `None`: he left again before he had the caller.
    async fn answered(
        &self,
        rung: Rung<'_, '_>,
        outcome: &DialOutcome,
        peer: &Channel,
        began: Instant,
    ) -> Result<Option<AppResult>, End> {
        let answered = Answered(peer);
        let name = peer.name();
        let leg = outcome.legs.iter().find(|leg| leg.name == *name);
        let interface = leg.map(|leg| leg.destination.clone()).unwrap_or_default();
        let rang = outcome.answer_time.unwrap_or_else(|| began.elapsed());
        // Who refused before this one answered was rung in vain; who was still ringing was not.
        for candidate in &rung.candidates {
            let leg = outcome.legs.iter().find(|leg| {
                !leg.name.is_empty()
                    && leg.name != *name
                    && leg.destination == candidate.interface
                    && leg.cause != Cause::ANSWERED_ELSEWHERE
            });
            if let Some(leg) = leg {
                self.did_not_answer(candidate, leg);
            }
        }
        let member = self
            .call
            .shared()
            .queue(|table, _, _| table.member(&self.queue, &interface).cloned())
            .unwrap_or_else(|| Member::new(&interface));
        self.set_variables(&member, peer);
        let gosub = self.prepare(peer, &member).await;
        self.channel().check()?;
        if gosub.is_err() || peer.is_over() {
            self.log(&member.name, "AGENTDUMP", &[]);
            let dumped = (interface.as_str(), member.name.as_str());
            self.tell_agent("AgentDump", dumped, Some(peer), |event| event);
            return Ok(None);
        }
        let channel = self.channel();
        if !rung.connected(&interface) {
            // The queue was taken away in this very moment.
            return Err(End::Empty);
        }
        let since = Instant::now();
        let talking = RefCell::new(Some(Talking {
            caller: self,
            interface: interface.clone(),
            since,
        }));
        self.connected.set(true);
        self.tell_left();
        // He no longer waits.
        self.touch_device();
        self.stop_background();
        channel.answer(Duration::ZERO).await?;
        let held = self.waited();
        super::set_duration(&self.call.task, "QUEUEWAIT", held);
        let held = held.as_secs().to_string();
        self.log(
            &member.name,
            "CONNECT",
            &[&held, &peer.uniqueid(), &rang.as_secs().to_string()],
        );
        let agent = (interface.as_str(), member.name.as_str());
        self.tell_agent("AgentConnect", agent, Some(peer), |event| {
            event
                .with("HoldTime", &held)
                .with("RingTime", rang.as_secs().to_string())
        });
        let shared = self.call.shared();
        shared.tell_queue_member_status(&self.queue, &interface);
        self.call.set("DIALEDPEERNUMBER", &outcome.number);
        self.monitor().await;
        self.run_agi().await;
        let (caller_keys, callee_keys) = features::keys(self.call, &self.options);
        let bridge = BridgeOptions {
            caller_keys,
            callee_keys,
            ..BridgeOptions::default()
        };
        // The member is free, whatever the caller he let go does.
        let departed = |feature: Feature, by_caller: bool, to: Option<&Location>| {
            if talking.take().is_some() {
                let talked = since.elapsed().as_secs().to_string();
                let reason = if to.is_some() {
                    "transfer"
                } else {
                    who_ended(by_caller)
                };
                self.tell_agent("AgentComplete", agent, Some(peer), |event| {
                    event
                        .with("HoldTime", &held)
                        .with("TalkTime", &talked)
                        .with("Reason", reason)
                });
                self.log_departure(&member, (feature, by_caller, to), &held, &talked);
            }
        };
        let tell = |heard: Heard<'_>| match heard {
            Heard::Talked => {
                super::set_duration(&self.call.task, "ANSWEREDTIME", since.elapsed());
                super::set_duration(&self.call.task, "DIALEDTIME", began.elapsed());
            }
            Heard::Left {
                feature,
                by_caller,
                to,
            } => departed(feature, by_caller, to),
        };
        let bridged = features::bridge(self.call, peer, bridge, &tell).await;
        let talked = since.elapsed();
        let (end, last) = match bridged {
            Ok(bridged) => (bridged.end, bridged.peer),
            // Transferred or parked: whoever goes on does so by himself.
            Err(departure) => {
                std::mem::forget(answered);
                departed(
                    departure.feature,
                    departure.by_caller,
                    departure.to.as_ref(),
                );
                return Ok(Some(departure.result));
            }
        };
        talking.take();
        let peer = &last;
        let by_caller = matches!(
            end,
            BridgeEnd::CallerHungUp | BridgeEnd::CallerDisconnected | BridgeEnd::Interrupted(_)
        );
        let event = if by_caller {
            "COMPLETECALLER"
        } else {
            "COMPLETEAGENT"
        };
        self.tell_agent("AgentComplete", agent, Some(peer), |event| {
            event
                .with("HoldTime", &held)
                .with("TalkTime", talked.as_secs().to_string())
                .with("Reason", who_ended(by_caller))
        });
        let original = self.original_position().to_string();
        self.log(
            &member.name,
            event,
            &[&held, &talked.as_secs().to_string(), &original],
        );
        if end == BridgeEnd::PeerTaken {
            // Another call has the member.
            std::mem::forget(answered);
        } else if by_caller && self.options.has('F') && !peer.is_over() {
            self.member_goes_on(peer)?;
            std::mem::forget(answered);
        } else {
            drop(answered);
            // Behind a Local channel it is another than was rung.
            peer.hangup(Cause::NORMAL_CLEARING);
        }
        Ok(Some(match end {
            BridgeEnd::CallerHungUp => Err(Interrupt::Hangup.into()),
            BridgeEnd::Interrupted(interrupt) => Err(interrupt.into()),
            _ => match channel.check() {
                Err(interrupt) => Err(interrupt.into()),
                Ok(()) if self.options.has('c') => {
                    self.call.set("QUEUESTATUS", "CONTINUE");
                    Ok(Next::Continue)
                }
                Ok(()) => Ok(Next::End),
            },
        }))
    }

    /// A transfer says where to; who parks somebody has completed the call.
    fn log_departure(
        &self,
        member: &Member,
        (feature, by_caller, to): (Feature, bool, Option<&Location>),
        held: &str,
        talked: &str,
    ) {
        let original = self.original_position().to_string();
        match (to, feature) {
            (Some(to), Feature::AttendedTransfer) => {
                let data = ["DIALPLAN", to.exten.as_str(), &to.context, held, talked];
                self.log(&member.name, "ATTENDEDTRANSFER", &data);
            }
            (Some(to), _) => {
                let data = [to.exten.as_str(), &to.context, held, talked, &original];
                self.log(&member.name, "BLINDTRANSFER", &data);
            }
            (None, _) => {
                let event = if by_caller {
                    "COMPLETECALLER"
                } else {
                    "COMPLETEAGENT"
                };
                self.log(&member.name, event, &[held, talked, &original]);
            }
        }
    }

    /// The script of the argument agi, on the caller while the member waits.
    async fn run_agi(&self) {
        let agi = &self.arguments.agi;
        if agi.is_empty() {
            return;
        }
        let task = Rc::clone(&self.call.task);
        let run = Box::pin(super::super::execute(&task, "AGI", agi.clone(), None));
        // Who hung up meanwhile is noticed by the bridge.
        if let Err(Stop::Failed(error)) = run.await {
            self.call.warn(&format!("Queue: {error}"));
        }
        self.channel().set_application("Queue", &self.call.data);
    }

    /// Option `B`: a subroutine on the caller before members are rung for him.
    pub(super) async fn before_ringing(&self) -> Result<(), End> {
        let Some(text) = self.options.argument('B') else {
            return Ok(());
        };
        let (location, arguments) = self.subroutine(text)?;
        self.stop_background();
        let task = &self.call.task;
        let end = crate::runner::subroutine_here(task, location, &arguments).await;
        if end == SubroutineEnd::Missing {
            self.call
                .warn("Queue: the subroutine of option B does not exist");
        }
        self.channel().check()?;
        self.start_background().await
    }

    /// Option `F`: the caller left, and the member goes on in the dialplan.
    fn member_goes_on(&self, peer: &Channel) -> Result<(), Stop> {
        let here = self.channel().location();
        let target = match self.options.argument('F') {
            Some(text) if !text.is_empty() => {
                resolve(&self.call.task, &args::parse_goto(&place(text)))?
            }
            _ => Location {
                priority: here.priority.saturating_add(1),
                ..here
            },
        };
        peer.go_to(target);
        Ok(())
    }

    fn set_variables(&self, member: &Member, peer: &Channel) {
        let settings = self.settings();
        let set = |name: &str, value: &str| {
            self.call.set(name, value);
            peer.set_variable(name, value);
        };
        if let Some(info) = self.tell_queue() {
            super::set_queue_variables(peer, &info);
        }
        if settings.set_interface_var {
            let last = member.last_call.map_or(0, |at| {
                let then = std::time::SystemTime::now().checked_sub(at.elapsed());
                then.and_then(|then| then.duration_since(std::time::UNIX_EPOCH).ok())
                    .map_or(0, |since| since.as_secs())
            });
            set("MEMBERINTERFACE", &member.interface);
            set("MEMBERNAME", &member.name);
            set("MEMBERCALLS", &member.calls.to_string());
            set("MEMBERLASTCALL", &last.to_string());
            set("MEMBERPENALTY", &member.penalty.to_string());
            set("MEMBERDYNAMIC", &u8::from(member.dynamic).to_string());
            let realtime = u8::from(member.realtime.is_some());
            set("MEMBERREALTIME", &realtime.to_string());
        }
        if settings.set_queue_entry_var {
            set("QEHOLDTIME", &self.waited().as_secs().to_string());
            set("QEORIGINALPOS", &self.original_position().to_string());
        }
    }

    /// What the member hears and does before he has the caller.
    async fn prepare(&self, peer: &Channel, member: &Member) -> Result<(), Interrupt> {
        let settings = self.settings();
        if !settings.member_delay.is_zero() {
            peer.wait(settings.member_delay).await?;
        }
        let mut prompts: Vec<String> = Vec::new();
        let own = self.call.arg(3);
        let announce = if own.is_empty() {
            &settings.announce
        } else {
            own
        };
        prompts.extend(announce.split('&').map(str::to_owned));
        if settings.report_hold_time {
            let waited = self.waited().as_secs();
            let (minutes, seconds) = (waited / 60, waited % 60);
            let grammar = Grammar::of(&peer.data().language);
            let say = |number: u64| {
                say::number(
                    grammar,
                    i64::try_from(number).unwrap_or(i64::MAX),
                    Gender::Feminine,
                )
            };
            prompts.push(settings.prompts.report_hold.clone());
            if minutes > 0 {
                prompts.extend(say(minutes));
                prompts.push(settings.prompts.minutes.clone());
            }
            if seconds > 0 || minutes == 0 {
                prompts.extend(say(seconds));
                prompts.push(settings.prompts.seconds.clone());
            }
        }
        let names = prompts
            .iter()
            .map(|name| name.trim())
            .filter(|name| !name.is_empty());
        let sounds = load_all(self.call, names, None).await.0;
        if !sounds.is_empty() {
            // A caller who leaves meanwhile lets the member go.
            tokio::select! {
                played = peer.play(sounds, false, &|_| false) => played.map(drop)?,
                () = self.channel().until_over() => return Err(Interrupt::Hangup),
            }
        }
        let own = |own: &str, of_queue: &str| match own {
            "" => of_queue.to_owned(),
            own => own.to_owned(),
        };
        let macro_name = own(&self.arguments.macro_name, &settings.member_macro);
        if !macro_name.is_empty() {
            let (name, arguments) = subroutine(&macro_name);
            let place = Location::new(&format!("macro-{name}"), "s", 1);
            self.run_on_member(peer, "macro", &macro_name, (place, arguments))
                .await;
        }
        let gosub = own(&self.arguments.gosub, &settings.member_gosub);
        if !gosub.is_empty() && !peer.is_over() {
            let found = if gosub.contains(['^', ',']) {
                self.subroutine(&gosub)
            } else {
                Ok((Location::new(&gosub, "s", 1), Vec::new()))
            };
            match found {
                Ok(place) => {
                    self.run_on_member(peer, "subroutine", &gosub, place).await;
                }
                Err(_) => self.call.warn(&format!(
                    "Queue: subroutine {gosub} of {} does not exist",
                    member.name
                )),
            }
        }
        if peer.is_over() {
            return Err(Interrupt::Hangup);
        }
        Ok(())
    }

    async fn run_on_member(
        &self,
        peer: &Channel,
        kind: &str,
        name: &str,
        (place, arguments): (Location, Vec<String>),
    ) {
        let dialplan = self.channel().shard().dialplan();
        let end = dialplan.subroutine(peer.clone(), place, arguments).await;
        if end == SubroutineEnd::Missing {
            self.call
                .warn(&format!("Queue: {kind} {name} does not exist"));
        }
    }

    /// Begins the recording that the queue wants.
    async fn monitor(&self) {
        let settings = self.settings();
        if settings.monitor_format.is_empty() {
            return;
        }
        let variable = |name: &str| self.channel().variable(name).unwrap_or_default();
        let file = match variable("MONITOR_FILENAME") {
            name if name.is_empty() => self.channel().uniqueid().to_string(),
            name => name,
        };
        let format = settings
            .monitor_format
            .split('|')
            .next()
            .unwrap_or_default();
        let arguments = vec![
            format!("{file}.{format}"),
            format!("b{}", variable("MONITOR_OPTIONS")),
            variable("MONITOR_EXEC"),
        ];
        let data = arguments.join(",");
        let task = Rc::clone(&self.call.task);
        let _reach = task.as_dialplan();
        let started = Box::pin(super::super::execute(
            &task,
            "MixMonitor",
            data,
            Some(arguments),
        ));
        if let Err(Stop::Failed(error)) = started.await {
            self.call
                .warn(&format!("Queue: the call is not recorded: {error}"));
        }
        let data = Arc::<str>::from(self.queue.as_str());
        self.channel().set_application("Queue", &data);
    }
}
