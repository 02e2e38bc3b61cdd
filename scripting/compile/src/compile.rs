//! Rows to a [`Plan`], context by context; contexts whose rows did not change come from the plan before.

use std::borrow::Cow;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::edits::{Edits, Spot, Spots};
use crate::lint::{self, Problem};
use crate::matcher::{Matcher, Order};
use crate::pattern::Pattern;
use crate::plan::{
    Context, Extension, HINT, Include, LoopbackSwitch, Origin, Plan, RealtimeSwitch, Step, Switch,
    SwitchKind, Table,
};
use crate::registry::Registry;
use crate::script::{Entry, ScriptContext};
use crate::statics::{self, General, Line, Reader, StaticStep};
use crate::subst::Template;
use crate::timespec::TimeSpec;

/// A row of `realtime_extensions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row<'r> {
    /// Primary key.
    pub id: i64,
    /// Context.
    pub context: &'r str,
    /// Number, name or `_pattern`.
    pub exten: &'r str,
    /// Priority, from 1.
    pub priority: i32,
    /// Application in any case.
    pub app: &'r str,
    /// Its data before substitution.
    pub appdata: &'r str,
}

/// A row of the static table with `filename` = `extensions.conf`, not commented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StaticRow<'r> {
    /// Primary key.
    pub id: i64,
    /// Section: a context, `general` or `globals`.
    pub category: &'r str,
    /// `exten`, `same`, `include` ..., or the name of a global.
    pub name: &'r str,
    /// What stands after `=>`.
    pub value: &'r str,
}

/// A step that follows from a setting. What rows, scripts or programs write under the name of its extension counts instead.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MadeStep {
    /// Context.
    pub context: String,
    /// Number, name or `_pattern`.
    pub exten: String,
    /// Priority, from 1; [`HINT`] for a hint.
    pub priority: i32,
    /// Application in any case; the devices of a hint.
    pub app: String,
    /// Its data before substitution.
    pub appdata: String,
    /// Who makes it, as `res_parking/default`.
    pub registrar: String,
}

/// Compiles rows. `statics` must be in the order in which the file would have them; `rows` may be in any order.
///
/// Contexts of `previous` whose rows, globals and registry generation are the same are taken over as they are. What is wrong with
/// the rows is in [`Plan::problems`]; a step that is wrong is left out or does at run time what the original would do.
#[must_use]
pub fn compile(
    rows: &[Row<'_>],
    statics: &[StaticRow<'_>],
    registry: &dyn Registry,
    previous: Option<&Plan>,
) -> Plan {
    compile_with_scripts(
        rows,
        statics,
        &[],
        &[],
        &Edits::default(),
        registry,
        previous,
    )
}

/// The same with the contexts that scripts define, with steps that settings make, and with those that were added and taken away since. A context may have rows and
/// scripts: the rows are searched first.
#[must_use]
pub fn compile_with_scripts(
    rows: &[Row<'_>],
    statics: &[StaticRow<'_>],
    scripts: &[ScriptContext],
    made: &[MadeStep],
    edits: &Edits,
    registry: &dyn Registry,
    previous: Option<&Plan>,
) -> Plan {
    let mut sections: BTreeMap<&str, Section<'_, '_>> = BTreeMap::new();
    let (mut general, mut globals) = (Vec::new(), Vec::new());
    for row in statics {
        match row.category.trim() {
            "general" => general.push(row),
            "globals" => globals.push(row),
            context => sections.entry(context).or_default().statics.push(row),
        }
    }
    for row in rows {
        sections.entry(row.context).or_default().rows.push(row);
    }
    for script in scripts {
        sections
            .entry(&script.name)
            .or_default()
            .scripts
            .push(script);
    }
    for step in made {
        sections.entry(&step.context).or_default().made.push(step);
    }
    for name in edits.contexts() {
        sections.entry(name).or_default();
    }
    for (name, section) in &mut sections {
        section.edits = edits.of(name);
    }
    let general = General::read(&general);
    let globals = statics::globals(&globals);
    let mut plan = Plan {
        globals,
        general,
        ..Plan::default()
    };
    let map: HashMap<String, String> = plan.globals.iter().cloned().collect();
    plan.override_switch = plan.general.override_switch.as_deref().map(|value| {
        let (name, data) = statics::override_switch(value);
        Switch {
            origin: Origin::Static(0),
            kind: switch_kind(&name, &data, false),
        }
    });
    for (name, mut section) in sections {
        section.rows.sort_by(|left, right| {
            (left.exten, left.priority, left.id).cmp(&(right.exten, right.priority, right.id))
        });
        let fingerprint = section.fingerprint(name, &plan.globals, registry);
        let known = previous
            .and_then(|previous| previous.contexts.get(name))
            .filter(|context| context.fingerprint == fingerprint);
        let context = match known {
            Some(context) => Arc::clone(context),
            None => Arc::new(Builder::new(name, registry).build(&section, fingerprint, &map)),
        };
        plan.contexts.insert(Arc::clone(&context.name), context);
    }
    plan.problems = lint::problems(&plan);
    plan
}

/// All rows of one context.
#[derive(Default)]
struct Section<'s, 'r> {
    statics: Vec<&'s StaticRow<'r>>,
    rows: Vec<&'s Row<'r>>,
    scripts: Vec<&'s ScriptContext>,
    made: Vec<&'s MadeStep>,
    edits: Option<&'s Spots>,
}

impl Section<'_, '_> {
    fn fingerprint(
        &self,
        name: &str,
        globals: &[(String, String)],
        registry: &dyn Registry,
    ) -> u64 {
        let mut hasher = DefaultHasher::new();
        (name, registry.generation()).hash(&mut hasher);
        if !self.statics.is_empty() {
            globals.hash(&mut hasher);
        }
        self.statics.hash(&mut hasher);
        self.rows.hash(&mut hasher);
        self.scripts.hash(&mut hasher);
        self.made.hash(&mut hasher);
        self.edits.hash(&mut hasher);
        hasher.finish()
    }
}

/// Names that many steps share, kept once.
#[derive(Default)]
struct Names(rustc_hash::FxHashMap<Box<str>, Arc<str>>);

impl Names {
    fn share(&mut self, name: &str) -> Arc<str> {
        match self.0.get(name) {
            Some(known) => Arc::clone(known),
            None => {
                let shared: Arc<str> = name.into();
                self.0.insert(name.into(), Arc::clone(&shared));
                shared
            }
        }
    }
}

struct Builder<'b> {
    name: Arc<str>,
    registry: &'b dyn Registry,
    names: Names,
    steps: Vec<Step>,
    problems: Vec<Problem>,
    jumps: Vec<lint::Jump>,
    includes: Vec<Include>,
    script_includes: Vec<Include>,
    switches: Vec<Switch>,
    ignore_patterns: Vec<Pattern>,
}

/// A step before it is compiled.
struct Draft<'d> {
    origin: Origin,
    registrar: Option<&'d str>,
    exten: &'d str,
    caller: Option<&'d str>,
    priority: i32,
    label: Option<&'d str>,
    app: &'d str,
    appdata: &'d str,
}

impl<'b> Builder<'b> {
    fn new(name: &str, registry: &'b dyn Registry) -> Self {
        Self {
            name: name.into(),
            registry,
            names: Names::default(),
            steps: Vec::new(),
            problems: Vec::new(),
            jumps: Vec::new(),
            includes: Vec::new(),
            script_includes: Vec::new(),
            switches: Vec::new(),
            ignore_patterns: Vec::new(),
        }
    }

    fn build(
        mut self,
        section: &Section<'_, '_>,
        fingerprint: u64,
        globals: &HashMap<String, String>,
    ) -> Context {
        let no_edits = Spots::new();
        let edits = section.edits.unwrap_or(&no_edits);
        let mut fixed = self.statics(&section.statics, globals, edits);
        let written = fixed.len();
        fixed.extend(self.added(edits));
        fixed.extend(self.made(section, edits));
        let has_added = fixed.len() > written;
        let fixed = self.table(Order::Specific, fixed);
        let rows = section
            .rows
            .iter()
            .filter_map(|row| self.row(row))
            .collect();
        let realtime = self.table(Order::Longest, rows);
        let script = self.scripts(&section.scripts);
        let script = self.table(Order::Specific, script);
        let lua = crate::lua::chunk(&self.name, &self.steps, self.registry);
        Context {
            name: self.name,
            fingerprint,
            steps: self.steps,
            lua,
            includes: self.includes,
            switches: self.switches,
            ignore_patterns: self.ignore_patterns,
            has_section: !section.statics.is_empty(),
            has_added,
            fixed,
            realtime,
            script,
            script_includes: self.script_includes,
            problems: self.problems,
            jumps: self.jumps,
        }
    }

    fn row(&mut self, row: &Row<'_>) -> Option<u32> {
        let origin = Origin::Realtime(row.id);
        if row.priority < 1 {
            let what = format!(
                "priority {} is below 1, so the row is never reached",
                row.priority
            );
            self.problem(
                origin,
                row.exten,
                row.priority,
                what,
                "priorities count from 1; hints are written in extensions.conf",
            );
            return None;
        }
        Some(self.step(&Draft {
            origin,
            registrar: None,
            exten: row.exten,
            caller: None,
            priority: row.priority,
            label: None,
            app: row.app.trim(),
            appdata: row.appdata,
        }))
    }

    /// Steps that are in no row.
    fn added(&mut self, edits: &Spots) -> Vec<u32> {
        let mut list = Vec::new();
        for (spot, edit) in edits {
            let Some(step) = &edit.step else {
                continue;
            };
            list.push(self.step(&Draft {
                origin: Origin::Added,
                registrar: None,
                exten: &spot.exten,
                caller: spot.caller.as_deref(),
                priority: spot.priority,
                label: None,
                app: step.app.trim(),
                appdata: &step.appdata,
            }));
        }
        list
    }

    /// Steps that settings make, where nobody wrote any: a hint stands beside the steps of its extension.
    fn made(&mut self, section: &Section<'_, '_>, edits: &Spots) -> Vec<u32> {
        if section.made.is_empty() {
            return Vec::new();
        }
        // With whether it is a hint.
        let mut written: HashSet<(String, bool)> = HashSet::new();
        for step in &self.steps {
            written.insert((step.exten.to_string(), step.priority == HINT));
        }
        for row in &section.rows {
            written.insert((row.exten.to_owned(), false));
        }
        for extension in section.scripts.iter().flat_map(|script| &script.extensions) {
            let is_hint = matches!(extension.entry, Entry::Hint(_));
            written.insert((extension.exten.clone(), is_hint));
        }
        let mut list = Vec::new();
        for step in &section.made {
            let spot = Spot {
                exten: step.exten.clone(),
                caller: None,
                priority: step.priority,
            };
            let taken = written.contains(&(step.exten.clone(), step.priority == HINT));
            if taken || edits.contains_key(&spot) {
                continue;
            }
            list.push(self.step(&Draft {
                origin: Origin::Made,
                registrar: Some(&step.registrar),
                exten: &step.exten,
                caller: None,
                priority: step.priority,
                label: None,
                app: &step.app,
                appdata: &step.appdata,
            }));
        }
        list
    }

    fn statics(
        &mut self,
        rows: &[&StaticRow<'_>],
        globals: &HashMap<String, String>,
        edits: &Spots,
    ) -> Vec<u32> {
        let mut reader = Reader::new(globals);
        let mut list = Vec::new();
        for row in rows {
            let origin = Origin::Static(row.id);
            match reader.read(row) {
                Ok(Line::Step(StaticStep {
                    exten,
                    caller,
                    priority,
                    label,
                    app,
                    appdata,
                })) => {
                    let spot = Spot {
                        exten,
                        caller,
                        priority,
                    };
                    if !edits.contains_key(&spot) {
                        list.push(self.step(&Draft {
                            origin,
                            registrar: None,
                            exten: &spot.exten,
                            caller: spot.caller.as_deref(),
                            priority,
                            label: label.as_deref(),
                            app: &app,
                            appdata: &appdata,
                        }));
                    }
                }
                Ok(Line::Include { context, condition }) => {
                    self.include(origin, &context, condition.as_deref())
                }
                Ok(Line::Switch { name, data }) => self.switch(origin, &name, &data, false),
                Ok(Line::EvaluatedSwitch { name, data }) => self.switch(origin, &name, &data, true),
                Ok(Line::IgnorePattern(pattern)) => {
                    self.ignore_patterns.push(Pattern::parse(&pattern))
                }
                Ok(Line::Nothing) => {}
                Err(error) => {
                    let problem = Problem::error(&self.name, error.what, error.hint).from(origin);
                    self.problems.push(problem);
                }
            }
        }
        list
    }

    fn scripts(&mut self, scripts: &[&ScriptContext]) -> Vec<u32> {
        let mut list = Vec::new();
        for script in scripts {
            for include in &script.includes {
                self.script_includes.push(Include {
                    origin: Origin::Script(script.place),
                    context: include.as_str().into(),
                    condition: None,
                    broken: false,
                });
            }
            for extension in &script.extensions {
                let (priority, app, appdata) = match &extension.entry {
                    Entry::Function => (1, "Lua", extension.place.to_string()),
                    Entry::Hint(devices) => (HINT, devices.as_str(), String::new()),
                };
                let index = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
                self.steps.push(Step {
                    origin: Origin::Script(extension.place),
                    registrar: None,
                    exten: self.names.share(&extension.exten),
                    caller: None,
                    priority,
                    label: None,
                    app: self.names.share(app),
                    known: true,
                    immediate: false,
                    ready: false,
                    template: Template::parse(&appdata).folded(),
                    appdata: appdata.into(),
                });
                list.push(index);
            }
        }
        list
    }

    fn include(&mut self, origin: Origin, context: &str, condition: Option<&str>) {
        let mut include = Include {
            origin,
            context: context.into(),
            condition: None,
            broken: false,
        };
        match condition.map(TimeSpec::parse) {
            None => {}
            Some(Ok(condition)) => include.condition = Some(condition),
            Some(Err(error)) => {
                include.broken = true;
                let what = format!("time condition of include `{context}`: {error}");
                let hint = "write include = context,times,weekdays,days,months[,timezone], as 09:00-18:00,mon-fri,*,*";
                self.problems
                    .push(Problem::error(&self.name, what, hint).from(origin));
            }
        }
        self.includes.push(include);
    }

    fn switch(&mut self, origin: Origin, name: &str, data: &str, evaluated: bool) {
        let kind = switch_kind(name, data, evaluated);
        let unknown_family =
            matches!(&kind, SwitchKind::Realtime(realtime) if !realtime.known_family);
        if matches!(kind, SwitchKind::Unknown(_)) {
            let what = format!("unknown switch `{name}`");
            let hint = if ["iax2", "dundi"].contains(&name.to_ascii_lowercase().as_str()) {
                "other exchanges are reached by a trunk of PJSIP; known are Realtime, Loopback and Lua"
            } else {
                "known are Realtime/[context@]family[/options], Loopback/[exten][@context][/pattern] and Lua/"
            };
            self.problems
                .push(Problem::error(&self.name, what, hint).from(origin));
        } else if unknown_family {
            let what = format!("switch to unknown family `{data}`");
            let hint =
                "the family of the extensions table is `extensions` or `realtime_extensions`";
            self.problems
                .push(Problem::error(&self.name, what, hint).from(origin));
        }
        self.switches.push(Switch { origin, kind });
    }

    fn step(&mut self, draft: &Draft<'_>) -> u32 {
        let known = if draft.priority == HINT {
            Some(draft.app)
        } else {
            self.registry.application(draft.app)
        };
        let (template, defects) = Template::parse_with_defects(draft.appdata);
        let immediate = draft.priority != HINT
            && known.is_some_and(|app| self.registry.immediate(app, &template));
        let ready = draft.priority != HINT
            && known.is_some()
            && (immediate || self.registry.ready(&template));
        let step = Step {
            origin: draft.origin,
            registrar: draft.registrar.map(|name| self.names.share(name)),
            exten: self.names.share(draft.exten),
            caller: draft.caller.map(|caller| self.names.share(caller)),
            priority: draft.priority,
            label: draft.label.map(|label| self.names.share(label)),
            app: self.names.share(known.unwrap_or(draft.app)),
            known: known.is_some(),
            immediate,
            ready,
            appdata: draft.appdata.into(),
            template: template.folded(),
        };
        lint::step(
            &self.name,
            &step,
            &template,
            &defects,
            self.registry,
            &mut self.problems,
        );
        lint::jumps(
            &step,
            &template,
            u32::try_from(self.steps.len()).unwrap_or(u32::MAX),
            &mut self.jumps,
        );
        let index = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
        self.steps.push(step);
        index
    }

    fn problem(
        &mut self,
        origin: Origin,
        exten: &str,
        priority: i32,
        what: String,
        hint: impl Into<Cow<'static, str>>,
    ) {
        self.problems.push(
            Problem::error(&self.name, what, hint)
                .at(exten, priority)
                .from(origin),
        );
    }

    /// Groups steps into extensions. Of two steps of the same place the first is kept.
    fn table(&mut self, order: Order, steps: Vec<u32>) -> Table {
        let mut places: HashMap<(Arc<str>, Option<Arc<str>>), usize> = HashMap::new();
        let mut extensions: Vec<(Option<Arc<str>>, Extension)> = Vec::new();
        for index in steps {
            let step = &self.steps[index as usize];
            let key = (Arc::clone(&step.exten), step.caller.clone());
            let place = *places.entry(key).or_insert_with(|| {
                let caller = step.caller.as_deref().map(Pattern::parse);
                let extension = Extension {
                    name: Arc::clone(&step.exten),
                    caller,
                    steps: Vec::new(),
                };
                extensions.push((step.caller.clone(), extension));
                extensions.len() - 1
            });
            let list = &mut extensions[place].1.steps;
            match list.binary_search_by_key(&step.priority, |(priority, _)| *priority) {
                Ok(taken) => {
                    let first = self.steps[list[taken].1 as usize].origin;
                    let what = format!(
                        "the same place is written in {first} already; this row is never reached"
                    );
                    let problem = Problem::warning(
                        &self.name,
                        what,
                        "remove one of the two or give it another priority",
                    );
                    self.problems
                        .push(problem.at(&step.exten, step.priority).from(step.origin));
                }
                Err(free) => list.insert(free, (step.priority, index)),
            }
        }
        // Entries for certain callers are tried before those for all; the sort is stable otherwise.
        extensions.sort_by(|(left, _), (right, _)| match (left, right) {
            (Some(left), Some(right)) => Pattern::parse(left).search_order(&Pattern::parse(right)),
            (left, right) => right.is_some().cmp(&left.is_some()),
        });
        for (_, extension) in extensions
            .iter()
            .filter(|(_, extension)| extension.name.starts_with('_'))
        {
            let origin = extension
                .steps
                .first()
                .map(|(_, step)| self.steps[*step as usize].origin);
            lint::pattern(&self.name, &extension.name, origin, &mut self.problems);
        }
        let extensions: Vec<Extension> = extensions
            .into_iter()
            .map(|(_, extension)| extension)
            .collect();
        Table {
            matcher: Matcher::new(order, extensions.iter().map(|extension| &*extension.name)),
            extensions,
        }
    }
}

fn switch_kind(name: &str, data: &str, evaluated: bool) -> SwitchKind {
    if name.eq_ignore_ascii_case("loopback") {
        SwitchKind::Loopback(LoopbackSwitch::parse(data))
    } else if name.eq_ignore_ascii_case("lua") {
        SwitchKind::Script
    } else if !name.eq_ignore_ascii_case("realtime") {
        SwitchKind::Unknown(name.to_owned())
    } else if evaluated {
        SwitchKind::Evaluated(Template::parse(data))
    } else {
        SwitchKind::Realtime(RealtimeSwitch::parse(data))
    }
}
