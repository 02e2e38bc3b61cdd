//! `AGI`: a script outside of the exchange leads the call. Here is the conversation on the channel's side: when it
//! begins, what interrupts it, how it ends. What commands do is in `verbs` and `media`; processes and connections are in
//! `crate::agi`.

mod media;
mod product;
mod remote;
mod verbs;

use std::future::Future;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use strowger_core::channel::{Channel, Interrupt, Location, Tapped};
use strowger_core::events::{Event, escape};

use strowger_media::attention::TapReader;

use super::{App, AppResult, Call, Next, Stop, app, files};
use crate::agi::AUDIO_SAMPLES_MAX;
use crate::agi::protocol::{Environment, Line, Reply, words};
use crate::agi::{Agi, Ending, Kind, Link, Program, Server, StartError, commands};
use crate::func::party::presentation_number;
use crate::func::text::{is_no, is_yes};

pub(super) const APPS: &[App] = &[
    app!(
        "AGI",
        "AGI(script[,arguments...])",
        "lets a script lead the call",
        run
    )
    .reaching(),
    app!(
        "EAGI",
        "EAGI(script[,arguments...])",
        "the same with the caller's audio on descriptor 3",
        enhanced
    )
    .reaching(),
    app!(
        "DeadAGI",
        "DeadAGI(script[,arguments...])",
        "the same as AGI",
        run
    )
    .reaching(),
];

/// Arguments of a script.
const ARGUMENTS_MAX: usize = 128;

/// What is written instead of a script where a program leads the call by the Manager.
const ASYNC: &str = "agi:async";

/// How a conversation ended.
#[derive(Debug)]
enum Outcome {
    Ended(Ending),
    /// Something happened to the call, and nobody waits for the script any longer.
    Left(Interrupt),
    NotFound,
    NotStarted,
}

async fn run(call: Call) -> AppResult {
    lead(call, false).await
}

async fn enhanced(call: Call) -> AppResult {
    if call.channel().is_over() {
        call.warn("EAGI: the call is over and has no audio; AGI runs then");
        call.set("AGISTATUS", "FAILURE");
        return Ok(Next::Continue);
    }
    lead(call, true).await
}

/// `enhanced`: with the caller's audio.
async fn lead(call: Call, enhanced: bool) -> AppResult {
    let before = call.channel().location();
    let mut session = Session {
        life: Life::new(&call),
        agi: Arc::clone(call.task.host.agi()),
        moved: Moved::No,
        enhanced,
        tapped: None,
        left: None,
        broken_off: false,
        call,
    };
    let outcome = if session.call.arg(0).eq_ignore_ascii_case(ASYNC) {
        session.led_by_manager().await
    } else {
        session.begin().await
    };
    let Session {
        life,
        agi,
        moved,
        call,
        ..
    } = session;
    let counters = &agi.counters;
    let status = match &outcome {
        Outcome::NotFound => {
            counters.scripts_not_found();
            "NOTFOUND"
        }
        Outcome::Left(_) => {
            counters.scripts_hung_up();
            "HANGUP"
        }
        _ if life.hung_up => {
            counters.scripts_hung_up();
            "HANGUP"
        }
        Outcome::Ended(Ending::Success) => {
            counters.scripts_succeeded();
            "SUCCESS"
        }
        Outcome::Ended(Ending::Failure(why)) => {
            counters.scripts_failed();
            call.warn(&format!("AGI {}: {why}", call.arg(0)));
            "FAILURE"
        }
        Outcome::NotStarted => {
            counters.scripts_failed();
            "FAILURE"
        }
    };
    call.set("AGISTATUS", status);
    match outcome {
        Outcome::Left(interrupt) => Err(Stop::Interrupted(interrupt)),
        _ if life.hung_up => Err(Stop::Interrupted(Interrupt::Hangup)),
        _ => {
            let place = call.channel().location();
            Ok(match moved {
                Moved::No => Next::Continue,
                Moved::Place => Next::Jump(Location {
                    priority: before.priority.saturating_add(1),
                    ..place
                }),
                Moved::Priority => Next::Jump(place),
            })
        }
    }
}

/// Did the script choose where the dialplan goes on?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moved {
    No,
    /// Context or extension: their next priority.
    Place,
    /// Exactly there.
    Priority,
}

/// The call behind a conversation, as far as it ends it.
struct Life {
    /// The call is over: only some commands are allowed.
    over: bool,
    /// It ended while the script ran.
    hung_up: bool,
    /// When the script has to be done, once its call is over.
    deadline: Option<Instant>,
    after: Duration,
}

enum Waited<T> {
    Done(T),
    Interrupted(Interrupt),
    TooLate,
}

impl Life {
    fn new(call: &Call) -> Self {
        let after = call.task.host.agi().after_hangup();
        let over = call.channel().is_over();
        Self {
            over,
            hung_up: false,
            deadline: over.then(|| Instant::now() + after),
            after,
        }
    }

    /// Waits for `work`, as long as the call and the time after it allow.
    async fn wait<T>(&self, channel: &Channel, work: impl Future<Output = T>) -> Waited<T> {
        let deadline = self.deadline;
        tokio::select! {
            biased;
            interrupt = interrupted(channel), if !self.over => Waited::Interrupted(interrupt),
            done = work => Waited::Done(done),
            () = until(deadline), if deadline.is_some() => Waited::TooLate,
        }
    }

    fn hung_up(&mut self) {
        self.over = true;
        self.hung_up = true;
        self.deadline = Some(Instant::now() + self.after);
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Waits for `deadline`, or, where the call still lasts, until it has been over for `after`. What moves the call without
/// ending it is for the command that runs.
async fn out_of_time(channel: &Channel, deadline: Option<Instant>, after: Duration) {
    let deadline = match deadline {
        Some(deadline) => deadline,
        None => {
            channel.until_over().await;
            Instant::now() + after
        }
    };
    tokio::time::sleep_until(deadline.into()).await;
}

/// Waits until something happens to the call; digits dialled meanwhile are kept for the next command.
async fn interrupted(channel: &Channel) -> Interrupt {
    loop {
        if let Err(interrupt) = channel.wait_change(None).await {
            return interrupt;
        }
    }
}

/// A command that programs which watch the exchange are told of.
struct Told {
    number: u32,
    text: String,
}

impl Told {
    /// It begins; None while nobody listens.
    fn begin(session: &Session, text: &str) -> Option<Self> {
        static NUMBERS: AtomicU32 = AtomicU32::new(1);
        let events = &session.call.shared().events;
        if !events.are_heard() {
            return None;
        }
        let told = Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            text: escape(text),
        };
        events.tell(|| told.event("AGIExecStart", session));
        Some(told)
    }

    fn event(&self, name: &'static str, session: &Session) -> Event {
        Event::of(name, session.channel())
            .with("CommandId", self.number.to_string())
            .with("Command", self.text.clone())
    }

    fn end(&self, session: &Session, reply: &Reply) {
        let (code, result) = reply.outcome();
        session.call.shared().events.tell(|| {
            self.event("AGIExecEnd", session)
                .with("ResultCode", code)
                .with("Result", result)
        });
    }
}

struct Session {
    call: Call,
    agi: Arc<Agi>,
    life: Life,
    moved: Moved,
    /// The script gets the caller's audio.
    enhanced: bool,
    /// While it lives, the audio comes here, whatever the script does.
    tapped: Option<Tapped>,
    /// A command ended the conversation before its answer was there.
    left: Option<Outcome>,
    /// `ASYNCAGI BREAK` was said.
    broken_off: bool,
}

/// What the name of a script means.
enum Script {
    Process(PathBuf),
    Server(Server),
}

impl Session {
    fn channel(&self) -> &Channel {
        self.call.channel()
    }

    async fn begin(&mut self) -> Outcome {
        let script = match self.script() {
            Ok(script) => script,
            Err(why) => {
                self.call.warn(&format!("AGI: {why}"));
                return Outcome::NotStarted;
            }
        };
        let kind = match script {
            Script::Process(_) => Kind::Process,
            Script::Server(_) => Kind::Connection,
        };
        let agi = Arc::clone(&self.agi);
        let permit = match self.life.wait(self.channel(), agi.enter(kind)).await {
            Waited::Done(Ok(permit)) => permit,
            Waited::Done(Err(refusal)) => {
                agi.counters.scripts_refused();
                self.call.warn(&format!(
                    "AGI {}: it does not begin: {refusal}",
                    self.call.arg(0)
                ));
                return Outcome::NotStarted;
            }
            Waited::Interrupted(interrupt) => return Outcome::Left(interrupt),
            Waited::TooLate => return Outcome::NotStarted,
        };
        let network_script = match &script {
            Script::Server(server) => Some(server.script.clone()),
            Script::Process(_) => None,
        };
        let block = self.environment(network_script).block();
        let control = self.call.shared().control.clone();
        let mut starting = match script {
            Script::Process(path) => {
                let audio = match self.audio() {
                    Ok(audio) => audio,
                    Err(why) => {
                        self.call.warn(&format!("EAGI {}: {why}", self.call.arg(0)));
                        return Outcome::NotStarted;
                    }
                };
                let program = Program {
                    path,
                    name: self.call.arg(0).to_owned(),
                    arguments: self.arguments(),
                    environment: self.folders(),
                    block,
                    audio,
                };
                control.spawn(crate::agi::start(agi, program, permit))
            }
            Script::Server(server) => {
                let shared = Arc::clone(self.call.task.shared());
                control.spawn(crate::agi::connect(agi, shared, server, block, permit))
            }
        };
        let started = match self.life.wait(self.channel(), &mut starting).await {
            Waited::Done(Ok(started)) => started,
            Waited::Done(Err(error)) => Err(StartError::Failed(error.to_string())),
            Waited::Interrupted(interrupt) => {
                // What begins nevertheless is told that its call is gone.
                let told = !self.says("AGISIGHUP", is_no);
                control.spawn(async move {
                    if let Ok(Ok(link)) = starting.await
                        && told
                    {
                        link.hang_up();
                    }
                });
                return Outcome::Left(interrupt);
            }
            Waited::TooLate => return Outcome::NotStarted,
        };
        match started {
            Ok(mut link) => {
                let outcome = self.converse(&mut link).await;
                match outcome {
                    Some(outcome) => outcome,
                    None => self.ended(&mut link).await,
                }
            }
            Err(StartError::NotFound(why)) => match product::find(self.call.arg(0)) {
                Some(product) => {
                    let arguments = self.arguments();
                    product::run(&self.call, &self.life, product, &arguments, &why).await
                }
                None => {
                    self.call.warn(&format!("AGI: {why}"));
                    Outcome::NotFound
                }
            },
            Err(StartError::Failed(why)) => {
                self.call.warn(&format!("AGI: {why}"));
                Outcome::NotStarted
            }
        }
    }

    fn script(&self) -> Result<Script, String> {
        let name = self.call.arg(0);
        if name.is_empty() {
            return Err("the name of a script is missing: write AGI(script)".to_owned());
        }
        if self.call.args.len() > ARGUMENTS_MAX {
            return Err(format!("a script takes {ARGUMENTS_MAX} arguments at most"));
        }
        if let Some(rest) = name.strip_prefix("agi://") {
            return Server::parse(rest).map(Script::Server);
        }
        if let Some(rest) = name.strip_prefix("hagi://") {
            return Server::of_service(rest).map(Script::Server);
        }
        if name.starts_with("agi:") {
            return Err(format!(
                "\"{name}\" is no script: write agi:async, agi://host/script, or the name of a file"
            ));
        }
        if let Some(why) = files::not_written(&self.call.task, name) {
            return Err(format!("script \"{name}\" is not run: {why}"));
        }
        Ok(Script::Process(self.call.shared().paths().agi.join(name)))
    }

    /// The caller's audio, where the script is to have it.
    fn audio(&mut self) -> Result<Option<TapReader>, &'static str> {
        if !self.enhanced {
            return Ok(None);
        }
        let format = self.channel().variable("EAGI_AUDIO_FORMAT");
        if let Some(format) = format.filter(|format| !matches!(format.trim(), "" | "slin")) {
            self.call.warn(&format!(
                "EAGI: EAGI_AUDIO_FORMAT={format}: the audio is slin, 8000 samples a second"
            ));
        }
        let audio = self.channel().tap_audio(AUDIO_SAMPLES_MAX);
        let (audio, tapped) = audio.ok_or("the channel has no media")?;
        self.tapped = Some(tapped);
        Ok(Some(audio))
    }

    fn arguments(&self) -> Vec<String> {
        let arguments = self.call.args.iter().skip(1);
        // No argument of a process can hold a NUL.
        arguments
            .map(|argument| argument.replace('\0', ""))
            .collect()
    }

    fn environment(&self, network_script: Option<String>) -> Environment {
        let data = self.channel().data();
        let name = self.channel().name();
        Environment {
            network_script,
            request: self.call.arg(0).to_owned(),
            channel: name.to_string(),
            language: data.language.clone(),
            kind: name.split('/').next().unwrap_or_default().to_owned(),
            uniqueid: self.channel().uniqueid().to_string(),
            callerid: data.caller.number.clone(),
            calleridname: data.caller.name.clone(),
            callingpres: presentation_number(data.caller.presentation),
            dnid: data.dnid.clone(),
            rdnis: data.rdnis.clone(),
            context: data.location.context.clone(),
            extension: data.location.exten.clone(),
            priority: data.location.priority,
            accountcode: data.accountcode.clone(),
            threadid: self.channel().id().0,
            arguments: self.arguments(),
            enhanced: self.enhanced,
        }
    }

    /// Where things are, for the environment of a process.
    fn folders(&self) -> Vec<(&'static str, PathBuf)> {
        let paths = self.call.shared().paths();
        let spool = paths.monitor.parent().unwrap_or(&paths.monitor).to_owned();
        let mut folders: Vec<_> = [
            "AST_CONFIG_DIR",
            "AST_MODULE_DIR",
            "AST_VAR_DIR",
            "AST_DATA_DIR",
            "AST_LOG_DIR",
            "AST_KEY_DIR",
            "AST_RUN_DIR",
        ]
        .into_iter()
        .map(|name| (name, paths.data.clone()))
        .collect();
        folders.push(("AST_CONFIG_FILE", paths.data.join("asterisk.conf")));
        folders.push(("AST_SPOOL_DIR", spool));
        folders.push(("AST_MONITOR_DIR", paths.monitor.clone()));
        folders.push(("AST_AGI_DIR", paths.agi.clone()));
        folders
    }

    /// Answers commands until the script says no more (None), or something else ends it.
    async fn converse(&mut self, link: &mut Link) -> Option<Outcome> {
        loop {
            match self.life.wait(self.channel(), link.line()).await {
                Waited::Done(None) => return None,
                Waited::Done(Some(line)) => {
                    let Some(reply) = self.answer_in_time(&line, link).await else {
                        return Some(Self::too_late(link));
                    };
                    if let Some(outcome) = self.left.take() {
                        return Some(outcome);
                    }
                    if let Some(outcome) = self.say(reply.into_bytes(), link).await {
                        return Some(outcome);
                    }
                }
                Waited::Interrupted(interrupt) => {
                    if let Some(outcome) = self.interrupted(interrupt, link) {
                        return Some(outcome);
                    }
                }
                Waited::TooLate => return Some(Self::too_late(link)),
            }
        }
    }

    /// A script that reads no answers is waited for as long as one that says nothing.
    async fn say(&mut self, reply: Vec<u8>, link: &mut Link) -> Option<Outcome> {
        loop {
            match self
                .life
                .wait(self.channel(), link.say(reply.clone()))
                .await
            {
                // If it is gone the next reading tells.
                Waited::Done(_) => return None,
                Waited::Interrupted(interrupt) => {
                    if let Some(outcome) = self.interrupted(interrupt, link) {
                        return Some(outcome);
                    }
                }
                Waited::TooLate => return Some(Self::too_late(link)),
            }
        }
    }

    /// Waits for the end of a script that has said all.
    async fn ended(&mut self, link: &mut Link) -> Outcome {
        link.close();
        loop {
            match self.life.wait(self.channel(), link.ended()).await {
                Waited::Done(ending) => return Outcome::Ended(ending),
                Waited::Interrupted(interrupt) => {
                    if let Some(outcome) = self.interrupted(interrupt, link) {
                        return outcome;
                    }
                }
                Waited::TooLate => return Self::too_late(link),
            }
        }
    }

    fn too_late(link: &Link) -> Outcome {
        link.end();
        Outcome::Ended(Ending::Failure(
            "it went on too long after the call ([agi] after_hangup_s)".to_owned(),
        ))
    }

    fn says(&self, name: &str, test: fn(&str) -> bool) -> bool {
        self.channel()
            .variable(name)
            .is_some_and(|value| test(&value))
    }

    /// Something happened to the call. None: the conversation goes on without it.
    fn interrupted(&mut self, interrupt: Interrupt, link: &mut Link) -> Option<Outcome> {
        if !self.says("AGISIGHUP", is_no) {
            link.hang_up();
        }
        if interrupt != Interrupt::Hangup || self.says("AGIEXITONHANGUP", is_yes) {
            link.close();
            return Some(Outcome::Left(interrupt));
        }
        self.life.hung_up();
        None
    }

    /// None: the command took too long after the call, and is given up.
    async fn answer_in_time(&mut self, line: &Line, link: &mut Link) -> Option<Reply> {
        let task = Rc::clone(&self.call.task);
        let (place, frames) = (task.channel.location(), task.frame_depth());
        let (deadline, after) = (self.life.deadline, self.life.after);
        let reply = tokio::select! {
            biased;
            reply = self.answer(line, link) => Some(reply),
            () = out_of_time(&task.channel, deadline, after) => None,
        };
        if reply.is_none() {
            // Nobody leaves the subroutines that the command was in.
            while task.frame_depth() > frames && task.pop_frame().is_some() {}
            task.channel.set_location(place);
            if !self.life.over {
                self.life.hung_up();
            }
        }
        reply
    }

    async fn answer(&mut self, line: &Line, link: &mut Link) -> Reply {
        let counters = &self.agi.counters;
        counters.commands();
        let Line::Text(text) = line else {
            counters.lines_too_long();
            self.call.warn("AGI: a line of the script is too long");
            return Reply::unknown();
        };
        tracing::debug!(channel = %self.channel().name(), text, "AGI command");
        let told = Told::begin(self, text);
        let reply = self.execute(text, link).await;
        if let Some(told) = told {
            told.end(self, &reply);
        }
        reply
    }

    async fn execute(&mut self, text: &str, link: &mut Link) -> Reply {
        let counters = &self.agi.counters;
        let words = words(text);
        let Some((command, arguments)) = commands::find(&words) else {
            counters.commands_refused();
            return Reply::unknown();
        };
        if !command.dead && self.channel().is_over() {
            counters.commands_refused();
            return Reply::dead();
        }
        let reply = if command.takes(arguments.len()) {
            verbs::run(self, command.verb, arguments, link).await
        } else {
            Err(verbs::Wrong)
        };
        reply.unwrap_or_else(|verbs::Wrong| {
            self.agi.counters.commands_refused();
            Reply::usage(&command.usage())
        })
    }
}
