//! Applications: the verbs of the dialplan. One file per family, each with its table. An application does its work
//! through the primitives of the channel and says how the dialplan goes on; where a call is in the dialplan is the
//! runner's business.

mod again;
mod agi;
mod attended;
mod authenticate;
mod basic;
mod branch;
mod bridge;
mod conference;
mod control;
mod dial;
pub(crate) mod dial_options;
mod dictate;
mod fax;
pub(crate) mod features;
mod files;
pub(crate) mod jump;
mod listening;
mod loops;
mod macros;
pub(crate) mod mapped;
mod message;
mod morse;
mod music;
mod originate;
mod others;
mod paging;
mod parking;
mod pickup;
pub(crate) mod play;
pub(crate) mod queue;
pub(crate) mod read;
mod read_exten;
mod record;
mod recording;
mod say;
mod screening;
mod shell;
mod spy;
mod tones;
mod transfer;
mod user_event;
mod voicemail;

use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use rustc_hash::FxHashMap;
use strowger_core::Shared;
use strowger_core::channel::{Channel, Interrupt, Location};
use strowger_core::dialplan::LocalFuture;
use strowger_dialplan::args;
use strowger_dialplan::registry::{ArgumentStyle, nearest, standard_style};

use crate::depth;
use crate::task::Task;

pub(crate) use attended::configured_code as transfer_code;
pub(crate) use basic::refuse_channel;
pub(crate) use files::not_written as file_refused;
pub(crate) use record::Recording;

/// How long an answer waits for the first packet, so that the beginning of a prompt is heard.
pub(crate) const ANSWER_MEDIA_WAIT: Duration = Duration::from_millis(500);

/// Longest data of an application after substitution, in bytes.
pub(crate) const DATA_BYTES_MAX: usize = 8192;

/// How the dialplan goes on after an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// With the next priority.
    Continue,
    /// There.
    Jump(Location),
    /// With this priority of the extension it is in; [`execute`] makes a place of it.
    Priority(i32),
    /// A digit was dialled: collect the rest of the number.
    Digit(char),
    /// The number is not complete: collect more digits.
    Incomplete,
    /// The subroutine that another part of the exchange asked for is over.
    Returned(String),
    /// The call ends.
    End,
}

/// Why an application could not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Interrupted(Interrupt),
    /// Something is wrong with the dialplan or the exchange: logged with its place, and the call ends.
    Failed(String),
    /// The same, and the log has it.
    Told,
}

impl From<Interrupt> for Stop {
    fn from(interrupt: Interrupt) -> Self {
        Self::Interrupted(interrupt)
    }
}

pub(crate) type AppResult = Result<Next, Stop>;

/// One execution of an application.
pub(crate) struct Call {
    pub(crate) task: Rc<Task>,
    /// Data after substitution.
    pub(crate) data: String,
    /// Data split as the application wants it; empty for those that parse it themselves.
    pub(crate) args: Vec<String>,
}

impl Call {
    fn channel(&self) -> &Channel {
        &self.task.channel
    }

    fn shared(&self) -> &Shared {
        self.task.shared()
    }

    /// An argument, trimmed; empty when it is missing.
    fn arg(&self, index: usize) -> &str {
        self.args
            .get(index)
            .map(|argument| argument.trim())
            .unwrap_or_default()
    }

    /// Does something with a channel of any shard. None if there is none.
    async fn with_channel<R: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&Channel) -> R + Send + 'static,
    ) -> Option<R> {
        if *name == *self.channel().name() {
            return Some(work(self.channel()));
        }
        match self.channel().shard().channel_by_name(name) {
            Some(channel) => Some(work(&channel)),
            None => self.shared().with_channel(name, work).await,
        }
    }

    /// Sets a channel variable.
    fn set(&self, name: &str, value: &str) {
        self.task.channel.set_variable(name, value);
    }

    /// Logs something the call goes on after.
    fn warn(&self, what: &str) {
        use strowger_dialplan::Vars;
        self.task.warn(what);
    }

    /// A length of time in seconds at `index`; None when it is missing, empty or no number.
    fn seconds(&self, index: usize) -> Option<Duration> {
        seconds(self.arg(index))
    }

    /// Logs option letters that mean nothing to the application.
    fn warn_unknown(&self, application: &str, options: &args::Options, known: &str) {
        let unknown = options.unknown(known);
        if !unknown.is_empty() {
            self.warn(&format!(
                "{application}: options \"{unknown}\" are not known and ignored; known are {known}"
            ));
        }
    }

    /// Reads option letters; what cannot be read is logged.
    fn options(&self, application: &str, index: usize) -> args::Options {
        match args::Options::parse(self.arg(index)) {
            Ok(options) => options,
            Err((letter, options)) => {
                self.warn(&format!(
                    "{application}: the argument of option {letter} has no closing parenthesis"
                ));
                options
            }
        }
    }
}

/// Reads seconds, with a fraction; negative is zero, at most a year.
pub(crate) fn seconds(text: &str) -> Option<Duration> {
    let value = crate::func::text::leading_number(text)?;
    Some(Duration::from_secs_f64(value.clamp(0.0, 365.0 * 86400.0)))
}

/// An application.
pub(crate) struct App {
    pub(crate) name: &'static str,
    pub(crate) syntax: &'static str,
    pub(crate) synopsis: &'static str,
    /// It runs programs, or applications that its data name.
    reaches: bool,
    run: Run,
}

/// How an application is run.
enum Run {
    /// It never waits, and reads its data itself: [`Call::args`] is empty.
    Now(fn(&Call) -> AppResult),
    Later(fn(Call) -> LocalFuture<AppResult>),
}

impl App {
    /// Is it one that never waits?
    pub(crate) fn is_immediate(&self) -> bool {
        matches!(self.run, Run::Now(_))
    }

    /// The same, which runs programs, or applications that its data name.
    const fn reaching(mut self) -> Self {
        self.reaches = true;
        self
    }
}

macro_rules! app {
    (now $name:literal, $syntax:literal, $synopsis:literal, $run:path) => {
        $crate::app::App {
            name: $name,
            syntax: $syntax,
            synopsis: $synopsis,
            reaches: false,
            run: $crate::app::Run::Now($run),
        }
    };
    ($name:literal, $syntax:literal, $synopsis:literal, $run:path) => {
        $crate::app::App {
            name: $name,
            syntax: $syntax,
            synopsis: $synopsis,
            reaches: false,
            run: $crate::app::Run::Later(|call| Box::pin($run(call))),
        }
    };
}
use app;

static LIST: &[&[App]] = &[
    basic::APPS,
    jump::APPS,
    loops::APPS,
    macros::APPS,
    mapped::APPS,
    message::APPS,
    play::APPS,
    control::APPS,
    music::APPS,
    say::APPS,
    tones::APPS,
    read::APPS,
    shell::APPS,
    dial::APPS,
    originate::APPS,
    bridge::APPS,
    pickup::APPS,
    parking::APPS,
    paging::APPS,
    again::APPS,
    transfer::APPS,
    spy::APPS,
    listening::APPS,
    morse::APPS,
    read_exten::APPS,
    dictate::APPS,
    fax::APPS,
    record::APPS,
    recording::APPS,
    conference::APPS,
    agi::APPS,
    branch::APPS,
    authenticate::APPS,
    others::APPS,
    queue::APPS,
    user_event::APPS,
    voicemail::APPS,
];

static TABLE: LazyLock<FxHashMap<String, &'static App>> = LazyLock::new(|| {
    LIST.iter()
        .copied()
        .flatten()
        .map(|app| (app.name.to_ascii_lowercase(), app))
        .collect()
});

/// The application of this name, in any case.
pub(crate) fn find(name: &str) -> Option<&'static App> {
    match TABLE.get(name) {
        Some(app) => Some(app),
        None => TABLE.get(&name.trim().to_ascii_lowercase()).copied(),
    }
}

/// Does this application, in any case and with blanks around its name, run programs, or applications that its data name?
pub fn application_reaches(name: &str) -> bool {
    find(name).is_some_and(|app| app.reaches)
}

/// All applications, by name.
pub(crate) fn all() -> Vec<&'static App> {
    let mut list: Vec<_> = TABLE.values().copied().collect();
    list.sort_by_key(|app| app.name);
    list
}

/// Runs an application with substituted data. `args`: the data split at compile time, if it was constant.
pub(crate) async fn execute(
    task: &Rc<Task>,
    name: &str,
    data: String,
    args: Option<Vec<String>>,
) -> AppResult {
    let Some(app) = find(name) else {
        return Err(Stop::Failed(unknown(name)));
    };
    if app.reaches && task.is_confined() {
        task.overreach();
        return Err(Stop::Failed(format!(
            "{} reaches further than its call, which is not permitted here",
            app.name
        )));
    }
    if data.len() > DATA_BYTES_MAX {
        return Err(too_long(app, &data));
    }
    if !depth::application_may_begin() {
        return Err(Stop::Failed(format!(
            "{}: more than {} applications run within each other (Exec, ExecIf, TryExec, or subroutines of Dial)",
            app.name,
            depth::APPLICATIONS_MAX
        )));
    }
    begins(task, app, &data);
    let args = match app.run {
        Run::Now(_) => Vec::new(),
        Run::Later(_) => args.unwrap_or_else(|| arguments(app, &data)),
    };
    if let Some(test) = &task.rehearsal
        && let Some(result) = test.run(task, app, &data, &args)
    {
        return result;
    }
    let call = Call {
        task: Rc::clone(task),
        data,
        args,
    };
    let result = match app.run {
        Run::Now(_) if basic::waits(app.name, &call.data) => {
            basic::set_later(call, app.name == "MSet").await
        }
        Run::Now(run) => run(&call),
        Run::Later(run) => depth::Application(run(call)).await,
    };
    match result {
        Ok(Next::Priority(priority)) => Ok(Next::Jump(Location {
            priority,
            ..task.channel.location()
        })),
        other => other,
    }
}

fn begins(task: &Task, app: &App, data: &str) {
    task.channel.set_application(app.name, data);
    task.channel.tell_step(app.name, data);
    if let Some(test) = &task.rehearsal {
        test.application(app, data);
    }
    tracing::debug!(channel = %task.channel.name(), app = app.name, data, "execute");
}

fn arguments(app: &App, data: &str) -> Vec<String> {
    match standard_style(app.name) {
        ArgumentStyle::Raw => Vec::new(),
        ArgumentStyle::Split => args::split(data),
        ArgumentStyle::AtMost(count) => args::split_at_most(data, count),
    }
}

/// Runs a step whose application never waits, with its data, which comes back for its memory. None: it may wait.
pub(crate) fn execute_now(task: &Rc<Task>, app: &App, data: String) -> Option<(AppResult, String)> {
    let Run::Now(run) = app.run else {
        return None;
    };
    if data.len() > DATA_BYTES_MAX {
        return Some((Err(too_long(app, &data)), data));
    }
    begins(task, app, &data);
    // Applications that never wait read their data themselves.
    let call = Call {
        task: Rc::clone(task),
        data,
        args: Vec::new(),
    };
    let result = run(&call);
    Some((result, call.data))
}

fn too_long(app: &App, data: &str) -> Stop {
    Stop::Failed(format!(
        "{}: its data has {} bytes after substitution; {DATA_BYTES_MAX} are the limit",
        app.name,
        data.len()
    ))
}

/// What is wrong with an application that does not exist.
pub(crate) fn unknown(name: &str) -> String {
    let names: Vec<&str> = all().iter().map(|app| app.name).collect();
    match nearest(name, &names) {
        Some(meant) => format!("there is no application {name} (is {meant} meant?)"),
        None => format!("there is no application {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_application_is_listed_once_with_its_syntax() {
        let mut count = 0;
        for app in LIST.iter().copied().flatten() {
            count += 1;
            assert!(app.syntax.starts_with(app.name), "{}", app.name);
            assert!(!app.synopsis.is_empty(), "{}", app.name);
        }
        assert_eq!(count, all().len(), "a name is listed twice");
    }

    #[test]
    fn applications_are_found_in_any_case() {
        for name in [
            "NoOp",
            "noop",
            "NOOP",
            "Background",
            "BackGround",
            "gotoiftime",
        ] {
            assert!(find(name).is_some(), "{name}");
        }
        assert!(find("Frobnicate").is_none());
        assert!(unknown("Dail").contains("Dial"));
    }

    #[test]
    fn whatever_runs_programs_or_other_applications_is_marked_under_every_way_to_write_its_name() {
        for name in [
            "System",
            " system ",
            "TRYSYSTEM",
            "AGI",
            "EAGI",
            "DeadAGI",
            "MixMonitor",
            "Exec",
            "TryExec",
            "ExecIf",
            "ExecIfTime",
            "Originate ",
        ] {
            assert!(application_reaches(name), "{name}");
        }
        for name in ["Playback", "Dial", "Set", "Goto", "Nonsense", ""] {
            assert!(!application_reaches(name), "{name}");
        }
    }

    #[test]
    fn seconds_may_have_a_fraction_and_are_never_negative() {
        assert_eq!(seconds("1.5"), Some(Duration::from_millis(1500)));
        assert_eq!(seconds("-3"), Some(Duration::ZERO));
        assert_eq!(seconds("soon"), None);
        assert!(seconds("1e400").is_some());
    }
}
