//! A compiled dialplan and the search in it.
//!
//! A plan is immutable: calls hold it by reference count while a new one is compiled beside it. Contexts whose rows did not change
//! are shared between plans.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rustc_hash::FxHashMap;

use crate::lint::Problem;
use crate::matcher::{Matcher, Verdict};
use crate::pattern::{Mode, Pattern};
use crate::script::{Place, Program};
use crate::statics::General;
use crate::subst::Template;
use crate::timespec::TimeSpec;
use crate::vars::{CallError, Vars};

/// The priority of a hint.
pub const HINT: i32 = -1;

/// Contexts entered in one search, includes and switches together.
const SEARCH_LIMIT: usize = 128;

/// The row a step was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// Row of `realtime_extensions`, by id.
    Realtime(i64),
    /// Row of the static table of `extensions.conf`, by id.
    Static(i64),
    /// A function in a script.
    Script(Place),
    /// Nowhere: it was added while the exchange runs.
    Added,
    /// Nowhere: it follows from a setting, as the steps of a parking lot do.
    Made,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Realtime(id) => write!(out, "realtime row {id}"),
            Self::Static(id) => write!(out, "static row {id}"),
            Self::Script(place) => write!(out, "{place}"),
            Self::Added => out.write_str("a step that was added"),
            Self::Made => out.write_str("a setting"),
        }
    }
}

/// One priority of one extension.
#[derive(Debug)]
pub struct Step {
    /// Where it is written.
    pub origin: Origin,
    /// Who made it where nobody wrote it, as `res_parking/default`.
    pub registrar: Option<Arc<str>>,
    /// Extension name or pattern as written, without the caller's part.
    pub exten: Arc<str>,
    /// Caller's number it is meant for, when it is meant for one.
    pub caller: Option<Arc<str>>,
    /// Priority, from 1; [`HINT`] for a hint.
    pub priority: i32,
    /// Label of the priority.
    pub label: Option<Arc<str>>,
    /// Canonical name of the application, or as written when it is unknown; the device for a hint.
    pub app: Arc<str>,
    /// Is the application known to the registry?
    pub known: bool,
    /// Never waits, so it runs at once and not in the machine ([`crate::Registry::immediate`]).
    pub immediate: bool,
    /// Its data are known without waiting, so they need no machine ([`crate::Registry::ready`]).
    pub ready: bool,
    /// Data as written, before substitution.
    pub appdata: Arc<str>,
    /// Data parsed, constants folded.
    pub template: Template,
}

/// An extension: all priorities of one name (or pattern) and caller.
#[derive(Debug)]
pub(crate) struct Extension {
    pub(crate) name: Arc<str>,
    pub(crate) caller: Option<Pattern>,
    /// Priorities in ascending order, each with its step.
    pub(crate) steps: Vec<(i32, u32)>,
}

impl Extension {
    fn is_for(&self, caller: Option<&str>) -> bool {
        match (&self.caller, caller.filter(|caller| !caller.is_empty())) {
            (None, _) => true,
            // An empty caller pattern is for calls without a number.
            (Some(Pattern::Name(name)), None) => name.is_empty(),
            (Some(_), None) => false,
            (Some(pattern), Some(caller)) => pattern.matches(caller),
        }
    }

    pub(crate) fn step(&self, wanted: Wanted<'_>, all: &[Step]) -> Option<u32> {
        match wanted {
            Wanted::Priority(priority) => {
                let place = self
                    .steps
                    .binary_search_by_key(&priority, |(priority, _)| *priority)
                    .ok()?;
                Some(self.steps[place].1)
            }
            Wanted::Label(label) => self
                .steps
                .iter()
                .map(|(_, step)| *step)
                .find(|step| all[*step as usize].label.as_deref() == Some(label)),
        }
    }
}

/// Extensions of one source with their index.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) matcher: Matcher,
    pub(crate) extensions: Vec<Extension>,
}

impl Table {
    fn judge(&self, place: usize, query: &Query<'_>, all: &[Step]) -> Verdict {
        let extension = &self.extensions[place];
        if extension.caller.is_some() {
            query.note_varying();
        }
        if !extension.is_for(query.caller) {
            Verdict::NotForCaller
        } else if extension.step(query.wanted, all).is_some() {
            Verdict::Take
        } else {
            Verdict::NoPriority
        }
    }

    fn find(&self, query: &Query<'_>, all: &[Step], patterns: bool) -> Option<u32> {
        let place = self.matcher.find(query.exten, |place| {
            if !patterns && self.extensions[place].name.starts_with('_') {
                return Verdict::NotForCaller;
            }
            self.judge(place, query, all)
        })?;
        self.extensions[place].step(query.wanted, all)
    }

    fn could(&self, query: &Query<'_>, all: &[Step], patterns: bool, mode: Mode) -> bool {
        self.matcher.could(query.exten, mode, |place| {
            if !patterns && self.extensions[place].name.starts_with('_') {
                return Verdict::NotForCaller;
            }
            self.judge(place, query, all)
        })
    }
}

/// An include of another context.
#[derive(Debug)]
pub struct Include {
    /// Where it is written.
    pub origin: Origin,
    /// Context included.
    pub context: Arc<str>,
    /// When it holds; `None`: always.
    pub condition: Option<TimeSpec>,
    /// The condition could not be read, so the include never holds.
    pub broken: bool,
}

/// Data of a switch to realtime rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RealtimeSwitch {
    /// Context of the rows; `None`: the context searched.
    pub context: Option<String>,
    /// Are patterns looked at? (Not with option `p`.)
    pub patterns: bool,
    /// Is the family one that is the extensions table?
    pub known_family: bool,
}

impl RealtimeSwitch {
    /// Reads `[[context@]family][/options]`.
    #[must_use]
    pub fn parse(data: &str) -> Self {
        let (place, options) = data.split_once('/').unwrap_or((data, ""));
        let (context, family) = place
            .split_once('@')
            .map_or((None, place), |(context, family)| (Some(context), family));
        Self {
            context: context
                .map(str::trim)
                .filter(|context| !context.is_empty())
                .map(str::to_owned),
            patterns: !options.contains('p'),
            known_family: matches!(family.trim(), "" | "extensions" | "realtime_extensions"),
        }
    }
}

/// Data of a switch to other numbers: `[exten][@context[:priority]][/pattern]`, in which `${EXTEN}`, `${CONTEXT}` and
/// `${PRIORITY}` are those that are looked for.
#[derive(Debug)]
pub struct LoopbackSwitch {
    exten: Template,
    context: Template,
    priority: Option<Template>,
    /// Numbers that it is meant for.
    only: Option<Pattern>,
}

/// The variables of a loopback switch, before those of the channel.
struct Looked<'q> {
    query: &'q Query<'q>,
    context: &'q str,
}

impl Vars for Looked<'_> {
    fn get(&self, name: &str) -> Option<String> {
        match name {
            "EXTEN" => Some(self.query.exten.to_owned()),
            "CONTEXT" => Some(self.context.to_owned()),
            "PRIORITY" => match self.query.wanted {
                Wanted::Priority(priority) => Some(priority.to_string()),
                Wanted::Label(_) => None,
            },
            name => self.query.vars?.get(name),
        }
    }

    fn call(&self, function: &str, arguments: &str) -> Result<String, CallError> {
        match self.query.vars {
            Some(vars) => vars.call(function, arguments),
            None => Err(CallError::Unknown),
        }
    }

    fn warn(&self, warning: &str) {
        if let Some(vars) = self.query.vars {
            vars.warn(warning);
        }
    }
}

impl LoopbackSwitch {
    /// Reads its data.
    #[must_use]
    pub fn parse(data: &str) -> Self {
        let (place, only) = match data.rsplit_once('/') {
            Some((place, pattern)) => (place, Some(pattern.trim())),
            None => (data, None),
        };
        let (exten, rest) = place.split_once('@').unwrap_or((place, ""));
        let (context, priority) = match rest.split_once(':') {
            Some((context, priority)) => (context, Some(priority.trim())),
            None => (rest, None),
        };
        let or = |text: &str, usual: &str| {
            let text = text.trim();
            Template::parse(if text.is_empty() { usual } else { text })
        };
        Self {
            exten: or(exten, "${EXTEN}"),
            context: or(context, "${CONTEXT}"),
            priority: priority
                .filter(|text| !text.is_empty())
                .map(Template::parse),
            only: only
                .filter(|pattern| !pattern.is_empty())
                .map(Pattern::parse),
        }
    }

    /// Where it leads from context `here`; None: it is not meant for this number.
    fn leads(&self, here: &str, query: &Query<'_>) -> Option<(String, String, Option<i32>)> {
        if let Some(only) = &self.only
            && !only.matches(query.exten)
        {
            return None;
        }
        let vars = Looked {
            query,
            context: here,
        };
        let priority = match &self.priority {
            None => None,
            Some(priority) => Some(priority.evaluate(&vars).trim().parse().ok()?),
        };
        Some((
            self.context.evaluate(&vars),
            self.exten.evaluate(&vars),
            priority,
        ))
    }
}

/// Another place where extensions are looked for.
#[derive(Debug)]
pub enum SwitchKind {
    /// Rows of the realtime table.
    Realtime(RealtimeSwitch),
    /// The same with data that is substituted for each call.
    Evaluated(Template),
    /// Another number of another context.
    Loopback(LoopbackSwitch),
    /// What files of Lua define.
    Script,
    /// A switch that does not exist here, by name.
    Unknown(String),
}

/// A `switch`, `lswitch` or `eswitch`.
#[derive(Debug)]
pub struct Switch {
    /// Where it is written.
    pub origin: Origin,
    /// What it reaches.
    pub kind: SwitchKind,
}

/// A compiled context.
#[derive(Debug)]
pub struct Context {
    /// Name.
    pub name: Arc<str>,
    /// Changes with the rows (and the registry and globals they were compiled with).
    pub fingerprint: u64,
    /// All steps; step `i` is function `i + 1` of the Lua chunk.
    pub steps: Vec<Step>,
    /// Source of the chunk: `chunk(rt)` returns the array of step functions.
    pub lua: String,
    /// Contexts searched after this one.
    pub includes: Vec<Include>,
    /// Switches searched before the includes.
    pub switches: Vec<Switch>,
    /// Patterns after which dial tone goes on.
    pub ignore_patterns: Vec<Pattern>,
    /// Has it a section of `extensions.conf`?
    pub has_section: bool,
    /// Has it steps that are in no row? They are searched with those of the section.
    pub has_added: bool,
    pub(crate) fixed: Table,
    pub(crate) realtime: Table,
    /// Extensions of scripts, searched after the rows.
    pub(crate) script: Table,
    /// Includes of scripts, searched after their extensions and before [`Self::includes`].
    pub script_includes: Vec<Include>,
    /// Problems of its rows by themselves.
    pub(crate) problems: Vec<Problem>,
    /// Places its steps jump to, when these are constant.
    pub(crate) jumps: Vec<crate::lint::Jump>,
}

impl Context {
    /// Has it rows of the realtime table?
    #[must_use]
    pub fn has_realtime(&self) -> bool {
        !self.realtime.extensions.is_empty()
    }

    /// Does a script define a part of it?
    #[must_use]
    pub fn has_script(&self) -> bool {
        !self.script.extensions.is_empty() || !self.script_includes.is_empty()
    }
}

/// What is looked for in an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted<'q> {
    /// A priority.
    Priority(i32),
    /// A label.
    Label(&'q str),
}

/// A search for a step.
#[derive(Clone, Copy)]
pub struct Query<'q> {
    /// Context to begin in.
    pub context: &'q str,
    /// Extension: a name or dialled digits.
    pub exten: &'q str,
    /// Priority or label.
    pub wanted: Wanted<'q>,
    /// Caller's number, for extensions that are meant for certain callers.
    pub caller: Option<&'q str>,
    /// Time for conditional includes.
    pub now: DateTime<Utc>,
    /// Variables for switches that are evaluated per call.
    pub vars: Option<&'q dyn Vars>,
    /// Set when the result depends on more than the plan and the place: the time, the caller, variables.
    pub varies: Option<&'q Cell<bool>>,
}

impl<'q> Query<'q> {
    /// Looks for a priority of an extension, without a caller, at the present time.
    #[must_use]
    pub fn new(context: &'q str, exten: &'q str, priority: i32) -> Self {
        Self {
            context,
            exten,
            wanted: Wanted::Priority(priority),
            caller: None,
            now: Utc::now(),
            vars: None,
            varies: None,
        }
    }

    fn note_varying(&self) {
        if let Some(varies) = self.varies {
            varies.set(true);
        }
    }

    /// The same, telling whether the result could be another at another time or for another caller.
    #[must_use]
    pub fn varies(self, varies: &'q Cell<bool>) -> Self {
        Self {
            varies: Some(varies),
            ..self
        }
    }

    /// Looks for a label of an extension.
    #[must_use]
    pub fn label(context: &'q str, exten: &'q str, label: &'q str) -> Self {
        Self {
            wanted: Wanted::Label(label),
            ..Self::new(context, exten, 1)
        }
    }

    /// The same for this caller's number.
    #[must_use]
    pub fn caller(self, caller: Option<&'q str>) -> Self {
        Self { caller, ..self }
    }

    /// The same at this time.
    #[must_use]
    pub fn at(self, now: DateTime<Utc>) -> Self {
        Self { now, ..self }
    }

    /// The same with variables of a channel.
    #[must_use]
    pub fn vars(self, vars: &'q dyn Vars) -> Self {
        Self {
            vars: Some(vars),
            ..self
        }
    }
}

/// Looks into a table for a number, which a switch may have made another.
type Look<'l, 'p> = dyn FnMut(&Query<'_>, &'p Arc<Context>, &'p Table, bool) -> bool + 'l;

/// Contexts that a search has entered.
#[derive(Default)]
struct Entered<'p> {
    /// For the number that is looked for.
    names: Vec<&'p str>,
    /// For all numbers.
    count: usize,
}

/// A step that was found.
#[derive(Debug, Clone)]
pub struct Found<'p> {
    /// The context that holds the row; the channel's context stays the one searched from.
    pub context: &'p Arc<Context>,
    /// Index into [`Context::steps`], from 0.
    pub index: usize,
    /// Where a loopback switch led: the channel goes there, context and number.
    pub moved: Option<Box<(String, String)>>,
}

impl<'p> Found<'p> {
    /// The step.
    #[must_use]
    pub fn step(&self) -> &'p Step {
        &self.context.steps[self.index]
    }
}

/// A compiled dialplan.
#[derive(Debug, Default)]
pub struct Plan {
    pub(crate) contexts: FxHashMap<Arc<str>, Arc<Context>>,
    /// Global variables as substituted at load, in order.
    pub globals: Vec<(String, String)>,
    /// The `[general]` section.
    pub general: General,
    /// Everything that is wrong, errors first.
    pub problems: Vec<Problem>,
    /// The scripts that its contexts were defined with.
    pub program: Arc<Program>,
    pub(crate) override_switch: Option<Switch>,
}

impl Plan {
    /// A context by name.
    #[must_use]
    pub fn context(&self, name: &str) -> Option<&Arc<Context>> {
        self.contexts.get(name)
    }

    /// All contexts, in no order.
    pub fn contexts(&self) -> impl Iterator<Item = &Arc<Context>> {
        self.contexts.values()
    }

    /// A global variable as loaded.
    #[must_use]
    pub fn global(&self, name: &str) -> Option<&str> {
        self.globals
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The first step in search order that answers `query`.
    #[must_use]
    pub fn find(&self, query: &Query<'_>) -> Option<Found<'_>> {
        let mut found = None;
        self.search(query, &mut |looked, context, table, patterns| {
            found = table
                .find(looked, &context.steps, patterns)
                .map(|index| Found {
                    context,
                    index: index as usize,
                    moved: (!std::ptr::eq(looked, query))
                        .then(|| Box::new((looked.context.to_owned(), looked.exten.to_owned()))),
                });
            found.is_some()
        });
        found
    }

    /// Is there a step that answers `query`?
    #[must_use]
    pub fn exists(&self, query: &Query<'_>) -> bool {
        self.find(query).is_some()
    }

    /// The priority with a label, from the query made by [`Query::label`].
    #[must_use]
    pub fn find_label(&self, query: &Query<'_>) -> Option<i32> {
        self.find(query).map(|found| found.step().priority)
    }

    /// While digits are collected: do they match already, or could they with more digits?
    #[must_use]
    pub fn can_match(&self, query: &Query<'_>) -> bool {
        self.search(query, &mut |query, context, table, patterns| {
            table.could(query, &context.steps, patterns, Mode::CanMatch)
        })
    }

    /// While digits are collected: could a longer number match? When not, and the digits match, collection ends.
    #[must_use]
    pub fn match_more(&self, query: &Query<'_>) -> bool {
        self.search(query, &mut |query, context, table, patterns| {
            table.could(query, &context.steps, patterns, Mode::MatchMore)
        })
    }

    /// Does dial tone go on after these digits?
    #[must_use]
    pub fn ignores(&self, context: &str, digits: &str) -> bool {
        self.contexts.get(context).is_some_and(|context| {
            context
                .ignore_patterns
                .iter()
                .any(|pattern| pattern.matches(digits))
        })
    }

    /// All hints: context, extension, devices.
    pub fn hints(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.contexts.values().flat_map(|context| {
            let steps = context.steps.iter().filter(|step| step.priority == HINT);
            steps.map(|step| (&*context.name, &*step.exten, &*step.app))
        })
    }

    /// Offers each table in search order to `look` until it says that is enough; tells whether it did.
    fn search<'p>(&'p self, query: &Query<'_>, look: &mut Look<'_, 'p>) -> bool {
        if let Some(switch) = &self.override_switch
            && self.follow(switch, query.context, query, &mut Entered::default(), look)
        {
            return true;
        }
        self.enter(query.context, query, &mut Entered::default(), look)
    }

    fn enter<'p>(
        &'p self,
        name: &str,
        query: &Query<'_>,
        entered: &mut Entered<'p>,
        look: &mut Look<'_, 'p>,
    ) -> bool {
        let Some(context) = self.contexts.get(name) else {
            return false;
        };
        if entered.count >= SEARCH_LIMIT || entered.names.contains(&&*context.name) {
            return false;
        }
        entered.count += 1;
        entered.names.push(&context.name);
        let rows = if context.has_section {
            look(query, context, &context.fixed, true)
                || context
                    .switches
                    .iter()
                    .any(|switch| self.follow(switch, name, query, entered, look))
        } else {
            (context.has_added && look(query, context, &context.fixed, true))
                || look(query, context, &context.realtime, true)
        };
        // Asterisk's Lua is a switch: what it includes is found before the includes of the rows.
        rows || (context.has_script() && look(query, context, &context.script, true))
            || context
                .script_includes
                .iter()
                .chain(&context.includes)
                .any(|include| {
                    if include.condition.is_some() {
                        query.note_varying();
                    }
                    let holds = !include.broken
                        && include
                            .condition
                            .as_ref()
                            .is_none_or(|condition| condition.holds(query.now));
                    holds && self.enter(&include.context, query, entered, look)
                })
    }

    /// Looks where a switch found in context `here` leads.
    fn follow<'p>(
        &'p self,
        switch: &Switch,
        here: &str,
        query: &Query<'_>,
        entered: &mut Entered<'p>,
        look: &mut Look<'_, 'p>,
    ) -> bool {
        let evaluated;
        let realtime = match &switch.kind {
            SwitchKind::Realtime(realtime) => realtime,
            SwitchKind::Evaluated(template) => {
                query.note_varying();
                let text = template.evaluate(query.vars.unwrap_or(&crate::vars::NoVars));
                evaluated = RealtimeSwitch::parse(&text);
                &evaluated
            }
            SwitchKind::Loopback(loopback) => {
                query.note_varying();
                let Some((context, exten, priority)) = loopback.leads(here, query) else {
                    return false;
                };
                let wanted = priority.map_or(query.wanted, Wanted::Priority);
                let other = Query {
                    context: &context,
                    exten: &exten,
                    wanted,
                    ..*query
                };
                // For another number these contexts were not searched yet by those that follow.
                let depth = entered.names.len();
                let found = self.enter(&context, &other, entered, look);
                entered.names.truncate(depth);
                return found;
            }
            SwitchKind::Script => {
                return self
                    .contexts
                    .get(here)
                    .is_some_and(|context| look(query, context, &context.script, true));
            }
            SwitchKind::Unknown(_) => return false,
        };
        if !realtime.known_family {
            return false;
        }
        match self
            .contexts
            .get(realtime.context.as_deref().unwrap_or(here))
        {
            // Realtime rows have neither labels nor hints.
            Some(context) => look(query, context, &context.realtime, realtime.patterns),
            None => false,
        }
    }

    /// For each context, the contexts whose search can reach its steps (itself included).
    pub(crate) fn reachable_from(&self) -> HashMap<&str, Vec<&str>> {
        let mut reached: HashMap<&str, Vec<&str>> = HashMap::new();
        for start in self.contexts.keys() {
            let mut seen: Vec<&str> = vec![start];
            let mut at = 0;
            while at < seen.len() && seen.len() < SEARCH_LIMIT {
                if let Some(context) = self.contexts.get(seen[at]) {
                    let switched =
                        context
                            .switches
                            .iter()
                            .filter_map(|switch| match &switch.kind {
                                SwitchKind::Realtime(realtime) => realtime.context.as_deref(),
                                _ => None,
                            });
                    let included = context
                        .script_includes
                        .iter()
                        .chain(&context.includes)
                        .map(|include| &*include.context);
                    for next in included.chain(switched) {
                        if !seen.contains(&next) {
                            seen.push(next);
                        }
                    }
                }
                at += 1;
            }
            for name in seen {
                reached.entry(name).or_default().push(start);
            }
        }
        reached
    }
}
