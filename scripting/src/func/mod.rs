//! Dialplan functions: what `${NAME(arguments)}` reads and `Set(NAME(arguments)=value)` writes. One file per family, each
//! with its table; pure work (cutting text, formatting times) in files without a channel. Functions return at once; the
//! few that have to wait are in `outside`, and only rows can call them.

pub(crate) mod channel;
mod clock;
mod conference;
pub(crate) mod curl;
mod database;
mod device;
mod dialplan;
pub(crate) mod fax;
pub(crate) mod feature;
mod file_write;
mod format;
mod group;
mod list;
mod logic;
mod math;
mod media;
mod message;
pub(crate) mod module;
pub(crate) mod odbc;
mod outside;
pub(crate) mod party;
mod pjsip;
mod queue;
mod realtime;
mod redirecting;
mod remote;
mod statement;
mod string;
mod system;
pub(crate) mod text;
mod variable;
mod voicemail;

use std::pin::Pin;
use std::rc::Rc;
use std::sync::LazyLock;

use rustc_hash::FxHashMap;
use strowger_dialplan::subst::{self, Node, Template};
use strowger_dialplan::{CallError, Vars, args, expr};
use strowger_store::Snapshot;

use crate::task::Task;

type Read = fn(&Task, &str) -> Result<String, String>;
/// Waits for something outside of the call.
type Wait = fn(Rc<Task>, String) -> outside::Waited;
type Write = fn(&Task, &str, &str) -> Result<(), String>;
/// Writes something outside of the call: arguments, then the value.
type WriteLater = fn(Rc<Task>, String, String) -> realtime::Written;

/// A dialplan function. Arguments arrive substituted and not split.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) syntax: &'static str,
    pub(crate) synopsis: &'static str,
    read: Option<Read>,
    write: Option<Write>,
    wait: Option<Wait>,
    write_later: Option<WriteLater>,
    /// Reading it shows or changes more than its call.
    read_reaches: bool,
    /// Writing it does.
    write_reaches: bool,
}

impl Function {
    const fn read(
        name: &'static str,
        syntax: &'static str,
        synopsis: &'static str,
        read: Read,
    ) -> Self {
        Self {
            name,
            syntax,
            synopsis,
            read: Some(read),
            write: None,
            wait: None,
            write_later: None,
            read_reaches: false,
            write_reaches: false,
        }
    }

    const fn write(
        name: &'static str,
        syntax: &'static str,
        synopsis: &'static str,
        write: Write,
    ) -> Self {
        Self {
            name,
            syntax,
            synopsis,
            read: None,
            write: Some(write),
            wait: None,
            write_later: None,
            read_reaches: false,
            write_reaches: false,
        }
    }

    /// A function that is read and has to wait for what it reads.
    const fn waiting(
        name: &'static str,
        syntax: &'static str,
        synopsis: &'static str,
        wait: Wait,
    ) -> Self {
        Self {
            name,
            syntax,
            synopsis,
            read: None,
            write: None,
            wait: Some(wait),
            write_later: None,
            read_reaches: true,
            write_reaches: true,
        }
    }

    const fn read_write(
        name: &'static str,
        syntax: &'static str,
        synopsis: &'static str,
        read: Read,
        write: Write,
    ) -> Self {
        Self {
            name,
            syntax,
            synopsis,
            read: Some(read),
            write: Some(write),
            wait: None,
            write_later: None,
            read_reaches: false,
            write_reaches: false,
        }
    }
}

impl Function {
    /// A function that is written and has to wait for that.
    const fn writing(
        name: &'static str,
        syntax: &'static str,
        synopsis: &'static str,
        write: WriteLater,
    ) -> Self {
        Self {
            name,
            syntax,
            synopsis,
            read: None,
            write: None,
            wait: None,
            write_later: Some(write),
            read_reaches: true,
            write_reaches: true,
        }
    }

    /// The same, which shows or changes more than its call: read and written.
    const fn reaching(self) -> Self {
        Self {
            read_reaches: true,
            write_reaches: true,
            ..self
        }
    }

    /// The same, which changes more than its call when it is written.
    const fn reaching_when_written(self) -> Self {
        Self {
            write_reaches: true,
            ..self
        }
    }

    /// The same, which can be written too and has to wait for that.
    const fn later(self, write: WriteLater) -> Self {
        Self {
            write_later: Some(write),
            ..self
        }
    }

    /// Does reading it have to wait?
    pub(crate) fn waits(&self) -> bool {
        self.wait.is_some()
    }
}

/// All functions, as the files here list them.
const GROUPS: [&[Function]; 27] = [
    string::FUNCTIONS,
    logic::FUNCTIONS,
    party::FUNCTIONS,
    channel::FUNCTIONS,
    database::FUNCTIONS,
    device::FUNCTIONS,
    variable::FUNCTIONS,
    dialplan::FUNCTIONS,
    conference::FUNCTIONS,
    list::FUNCTIONS,
    message::FUNCTIONS,
    group::FUNCTIONS,
    format::FUNCTIONS,
    system::FUNCTIONS,
    outside::FUNCTIONS,
    queue::FUNCTIONS,
    remote::FUNCTIONS,
    redirecting::FUNCTIONS,
    voicemail::FUNCTIONS,
    curl::FUNCTIONS,
    realtime::FUNCTIONS,
    odbc::FUNCTIONS,
    pjsip::FUNCTIONS,
    fax::FUNCTIONS,
    feature::FUNCTIONS,
    module::FUNCTIONS,
    media::FUNCTIONS,
];

static TABLE: LazyLock<FxHashMap<&'static str, &'static Function>> = LazyLock::new(|| {
    GROUPS
        .into_iter()
        .flatten()
        .map(|function| (function.name, function))
        .collect()
});

/// The function of this name (names are upper case and compare exactly).
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    TABLE.get(name).copied()
}

/// A function as the log shows it. What waits is sent to others and may hold a password; that is not repeated.
pub(crate) fn shown(name: &str, args: &str) -> String {
    let private = name == "CURLOPT"
        || find(name)
            .is_none_or(|function| function.wait.is_some() || function.write_later.is_some());
    if private {
        name.to_owned()
    } else {
        format!("{name}({args})")
    }
}

/// All functions, by name.
pub(crate) fn all() -> Vec<&'static Function> {
    let mut list: Vec<_> = TABLE.values().copied().collect();
    list.sort_by_key(|function| function.name);
    list
}

/// Does a text read or write a function that reaches further than its call, in any case and wherever it stands? Those that
/// `func_odbc.conf` defines do.
pub fn text_reaches_with(text: &str, snapshot: &Snapshot) -> bool {
    reaches(text, |name| odbc::is_defined(snapshot, name))
}

/// The same where nobody knows what is defined: every name that could be is taken for it (`ODBC_X`).
pub fn text_reaches(text: &str) -> bool {
    reaches(text, |name| name.contains('_'))
}

fn reaches(text: &str, is_defined: impl Fn(&str) -> bool) -> bool {
    text.match_indices('(').any(|(at, _)| {
        let before = text.get(..at).unwrap_or_default().trim_end();
        let name = before.rsplit(|char: char| !char.is_ascii_alphanumeric() && char != '_');
        name.take(1).any(|written| {
            let name = written.to_ascii_uppercase();
            match find(&name) {
                Some(function) => function.read_reaches || function.write_reaches || name == "EVAL",
                None => is_defined(written) || is_defined(&name),
            }
        })
    })
}

/// Variables that applications take the name of a file, or a program with its arguments, from.
const REACHING_VARIABLES: &[&str] = &[
    "MIXMONITOR_COMMAND",
    "MIXMONITOR_EXEC",
    "MONITOR_EXEC",
    "MONITOR_EXEC_ARGS",
    "MONITOR_FILENAME",
    "MONITOR_OPTIONS",
    "TOUCH_MIXMONITOR",
    "TOUCH_MIXMONITOR_FORMAT",
];

/// Does what is set under this name, inherited or not, reach further than its call?
pub fn variable_reaches(name: &str) -> bool {
    let bare = name.trim().trim_start_matches('_');
    REACHING_VARIABLES
        .iter()
        .any(|known| known.eq_ignore_ascii_case(bare))
}

/// What is said of a function, or a variable, that reaches too far.
pub(crate) fn out_of_reach(task: &Task, name: &str) -> String {
    task.overreach();
    format!("{name} reaches further than its call, which is not permitted here")
}

/// Reads `${name(args)}`. None when there is no such function.
pub(crate) fn call(task: &Task, name: &str, args: &str) -> Option<Result<String, String>> {
    let function = find(name)?;
    if function.read_reaches && task.is_confined() {
        return Some(Err(out_of_reach(task, function.name)));
    }
    Some(match function.read {
        Some(read) => read(task, args).map(text::limit),
        None if function.wait.is_some() => Err(format!(
            "{} has to wait for its result and cannot be used in a text that is computed (EVAL)",
            function.name
        )),
        None => Err(format!(
            "{} can only be written: Set({}=value)",
            function.name, function.syntax
        )),
    })
}

/// Has writing this function to wait? Of names that only a table may define, that is not known before the call.
pub(crate) fn writes_later(name: &str) -> bool {
    match find(name) {
        Some(function) => function.write_later.is_some(),
        None => name.contains('_'),
    }
}

/// Does a text that is assigned (`NAME(arguments)=value`) write a function that has to wait for that?
pub(crate) fn may_write_later(text: &str) -> bool {
    text.match_indices('(').any(|(at, _)| {
        let before = text.get(..at).unwrap_or_default();
        let name = before.rsplit(|char: char| !char.is_ascii_alphanumeric() && char != '_');
        name.take(1).any(writes_later)
    })
}

/// Writes a function that has to wait for that; None when it is none of those.
pub(crate) async fn assign_later(
    task: &Rc<Task>,
    name: &str,
    args: &str,
    value: &str,
) -> Option<Result<(), String>> {
    if task.is_confined() {
        // All that waits for something asks somebody else than its call.
        let is_one = find(name).map_or_else(
            || odbc::is_defined(&task.shared().snapshot(), name),
            |function| function.write_later.is_some(),
        );
        return is_one.then(|| Err(out_of_reach(task, name)));
    }
    let (own, args, value) = (Rc::clone(task), args.to_owned(), value.to_owned());
    let work = match find(name) {
        Some(function) => function.write_later?(own, args, value),
        None if odbc::is_defined(&task.shared().snapshot(), name) => {
            odbc::write(own, name.to_owned(), args, value)
        }
        None => return None,
    };
    if task.rehearsal.is_some() {
        // Nothing outside of a test is changed by it.
        return Some(Ok(()));
    }
    Some(work.await)
}

/// Reads a function that has to wait; None when it is none of those.
pub(crate) async fn wait(
    task: &Rc<Task>,
    name: &str,
    args: String,
) -> Option<Result<String, String>> {
    let wait = match find(name) {
        Some(function) => Some(function.wait?),
        None if odbc::is_defined(&task.shared().snapshot(), name) => None,
        None => return None,
    };
    if task.is_confined() {
        return Some(Err(out_of_reach(task, name)));
    }
    if let Some(test) = &task.rehearsal {
        let known = test.function(name, &args);
        return Some(Ok(known.unwrap_or_else(|| {
            test.fault(&format!(
                "{name}({args}) is not read in a test; say what it gives: functions = {{ \"{name}({args})\" = \"...\" }}"
            ));
            String::new()
        })));
    }
    let work = match wait {
        Some(wait) => wait(Rc::clone(task), args),
        None => Box::pin(odbc::read(Rc::clone(task), name.to_owned(), args)),
    };
    Some(work.await.map(text::limit))
}

/// Reads a function from where it can be waited for.
pub(crate) async fn read(task: &Rc<Task>, name: &str, args: &str) -> Result<String, CallError> {
    match wait(task, name, args.to_owned()).await {
        Some(result) => result.map_err(CallError::Failed),
        None => task.call(name, args),
    }
}

/// Substitutes a text that comes from outside, from where it can be waited for; as rows are, once.
pub(crate) async fn substitute(task: &Rc<Task>, text: &str) -> String {
    let (template, defects) = Template::parse_with_defects(text);
    for defect in defects {
        task.warn(&format!("{defect} in {text}"));
    }
    evaluate(task, &template).await
}

/// Templates are nested [`subst::DEPTH_LIMIT`] deep at most.
fn evaluate<'a>(
    task: &'a Rc<Task>,
    template: &'a Template,
) -> Pin<Box<dyn Future<Output = String> + 'a>> {
    Box::pin(async move {
        let mut out = String::new();
        for node in template.nodes() {
            append_node(task, node, &mut out).await;
        }
        out
    })
}

/// A piece of a text.
pub(crate) enum Part<'n> {
    Node(&'n Node),
    Template(&'n Template),
}

/// Adds what a piece of a text becomes.
async fn append(task: &Rc<Task>, part: Part<'_>, out: &mut String) {
    match part {
        Part::Node(node) => append_node(task, node, out).await,
        Part::Template(template) => out.push_str(&evaluate(task, template).await),
    }
}

async fn append_node(task: &Rc<Task>, node: &Node, out: &mut String) {
    match node {
        Node::Literal(text) => out.push_str(text),
        Node::Variable { name, cut } => {
            out.push_str(cut.apply(&task.get(name).unwrap_or_default()));
        }
        Node::Function {
            name,
            arguments,
            cut,
        } => {
            let args = evaluate(task, arguments).await;
            match read(task, name, &args).await {
                Ok(value) => out.push_str(cut.apply(&value)),
                Err(error) => task.warn(&format!("{}: {error}", shown(name, &args))),
            }
        }
        Node::Reference(inside) => {
            let inside = evaluate(task, inside).await;
            out.push_str(&subst::resolve(&inside, &**task));
        }
        Node::Expression(inside) => {
            let inside = evaluate(task, inside).await;
            out.push_str(&expr::evaluate(&inside, &**task));
        }
    }
}

/// Writes `Set(name(args)=value)`.
pub(crate) fn assign(task: &Task, name: &str, args: &str, value: &str) -> Result<(), String> {
    let Some(function) = find(name) else {
        return Err(format!("there is no function {name}"));
    };
    if function.write_reaches && task.is_confined() {
        return Err(out_of_reach(task, function.name));
    }
    match function.write {
        Some(write) => write(task, args, value),
        None if function.write_later.is_some() => Err(format!(
            "writing {} has to wait, which is only possible in a step with Set",
            function.name
        )),
        None => Err(format!(
            "{} can only be read: ${{{}}}",
            function.name, function.syntax
        )),
    }
}

/// The argument at `index` of standard splitting, trimmed; empty when it is missing.
fn argument(args: &str, index: usize) -> String {
    args::split(args)
        .get(index)
        .map(|argument| argument.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_reaches_further_than_its_call_is_seen_wherever_the_function_stands() {
        for (text, wanted) in [
            ("hello-world", false),
            ("CALLERID(name)=Bob", false),
            ("PJSIP/bob,30,U(house^s^1)tT", false),
            ("${CALLERID(num)} (home)", false),
            ("${shell(id)}", true),
            ("A=${LEN(${DB(a/b)})}", true),
            ("DB(a/b)=1", true),
            ("REALTIME_STORE(users,a,b)=1,2", true),
            ("ODBC_USERS(1)=2", true),
            ("OWN_TABLE(1)=2", true),
            ("one_two(three)", false),
            ("PJSIP/bob,30,U(my_sub(x))", false),
            ("QUEUE_MEMBER (q,paused,PJSIP/a)=1", true),
            ("EVAL(x)", true),
            ("${FILE(/etc/passwd)}", true),
            ("${ENV(HOME)}", true),
        ] {
            let tables = ["ODBC_USERS", "OWN_TABLE"];
            let found = reaches(text, |name| tables.contains(&name));
            assert_eq!(found, wanted, "{text}");
        }
    }

    #[test]
    fn every_function_is_listed_once_with_its_syntax() {
        let listed = GROUPS.into_iter().flatten();
        let mut count = 0;
        for function in listed {
            count += 1;
            assert!(
                function.syntax.starts_with(function.name),
                "{}",
                function.name
            );
            assert!(!function.synopsis.is_empty(), "{}", function.name);
            assert!(
                function.read.is_some()
                    || function.write.is_some()
                    || function.wait.is_some()
                    || function.write_later.is_some(),
                "{}",
                function.name
            );
            assert_eq!(function.name, function.name.to_uppercase());
        }
        assert_eq!(count, all().len(), "a name is listed twice");
        assert!(find("CALLERID").is_some());
        assert!(find("callerid").is_none());
    }
}
