//! A version of the files, run aside: which contexts, extensions and hints it defines, and what is wrong with it.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mlua::chunk::Compiler;
use mlua::{Table, Value};
use rustc_hash::FxHashMap;
use rustix::time::{ClockId, clock_gettime};
use strowger_dialplan::plan::Origin;
use strowger_dialplan::script::{Entry, Place, ProgramFile, ScriptExtension};
use strowger_dialplan::{Problem, Program, ScriptContext, Severity};

use super::api;
use super::current::{self, Running};
use super::files;
use super::services::Services;
use super::values;
use super::world::{Mains, World};
use crate::vm::{Counters, Limits, Vm, VmError};

/// Memory that the files may take while they are looked at.
const MEMORY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What running the files may take: each call does so, and others wait meanwhile.
const LOAD_TIME_MAX: Duration = Duration::from_millis(20);
/// Memory that they may leave behind for each call.
const LOAD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What else goes on may make files slow once: caches are cold, memory comes late.
const LOOKS: usize = 3;
/// Lines and names of functions for errors; no inlining, which would lose them.
const DEBUG_LEVEL: u8 = 1;

/// A version of the files, and what they define.
#[derive(Clone, Debug, Default)]
pub struct Scripts {
    pub(crate) program: Arc<Program>,
    pub(crate) contexts: Vec<ScriptContext>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// A file could not be loaded and is left out.
    pub(crate) failed: bool,
}

impl Scripts {
    /// Reads the folder and looks at its files. Reads files and runs scripts, so not for a shard's thread.
    pub fn read(folder: &Path) -> Self {
        let (sources, faults) = files::read(folder);
        let mut look = Look::default();
        for (name, what) in faults {
            look.fault(
                Place::new(&name, 0),
                what,
                "put the file right; until then it is left out",
            );
        }
        if sources.is_empty() {
            return look.scripts;
        }
        let compiler = Compiler::new()
            .set_optimization_level(1)
            .set_debug_level(DEBUG_LEVEL);
        let mut files = Vec::new();
        for source in &sources {
            match compiler.compile(&source.text) {
                Ok(bytecode) => files.push(ProgramFile {
                    name: source.name.clone(),
                    module: source.module(),
                    root: source.is_root(),
                    bytecode,
                }),
                Err(error) => look.syntax(&source.name, &error),
            }
        }
        look.run(files);
        look.scripts
    }

    /// The files by name, with `true` for those that define the dialplan.
    pub fn files(&self) -> impl Iterator<Item = (&str, bool)> {
        self.program
            .files
            .iter()
            .map(|file| (file.name.as_str(), file.root))
    }
}

#[derive(Default)]
struct Look {
    scripts: Scripts,
}

impl Look {
    fn fault(&mut self, place: Place, what: String, hint: &'static str) {
        self.scripts.failed = true;
        self.problem(Severity::Error, "", place, what, hint);
    }

    fn problem(
        &mut self,
        severity: Severity,
        context: &str,
        place: Place,
        what: String,
        hint: &'static str,
    ) {
        self.scripts.problems.push(Problem {
            severity,
            context: context.to_owned(),
            exten: None,
            priority: None,
            origin: Some(Origin::Script(place)),
            what,
            hint: Cow::Borrowed(hint),
        });
    }

    fn syntax(&mut self, name: &str, error: &mlua::Error) {
        let message = match error {
            mlua::Error::SyntaxError { message, .. } => message.clone(),
            other => other.to_string(),
        };
        // The compiler knows no name of the file: its message begins with `:line:`.
        let (line, message) = line_of(message.trim_start_matches(':')).unwrap_or((0, message));
        self.fault(
            Place::new(name, line),
            message,
            "the file is not Lua as it stands",
        );
    }

    /// Runs all files that define the dialplan; those that fail are left out of the version.
    fn run(&mut self, mut files: Vec<ProgramFile>) {
        let mut machine = match Machine::new() {
            Ok(machine) => machine,
            Err(error) => {
                let what = format!("the script machine cannot start: {error}");
                self.fault(Place::new("", 0), what, "see the message");
                return;
            }
        };
        // What one file defines may be needed by the next, so all are tried in one set of globals, and once more from
        // the beginning without those that failed.
        loop {
            let program = Arc::new(Program { files });
            match machine.affordable(&program) {
                Ok(contexts) => {
                    self.scripts.program = program;
                    self.collect(contexts);
                    return;
                }
                Err((index, error)) => {
                    let name = program
                        .files
                        .get(index)
                        .map_or_else(String::new, |file| file.name.clone());
                    let (place, what) = placed(&name, &error);
                    self.fault(place, what, "a file that fails defines nothing");
                    let Ok(mut taken) = Arc::try_unwrap(program) else {
                        return;
                    };
                    if index >= taken.files.len() {
                        return;
                    }
                    taken.files.remove(index);
                    files = taken.files;
                    match Machine::new() {
                        Ok(fresh) => machine = fresh,
                        Err(_) => return,
                    }
                }
            }
        }
    }

    fn collect(&mut self, files: Vec<FileContexts>) {
        let mut known: FxHashMap<(String, String, bool), Place> = FxHashMap::default();
        for (file, contexts) in files {
            for (mut context, wrong) in contexts {
                for (place, what, hint) in wrong {
                    self.problem(Severity::Error, &context.name, place, what, hint);
                }
                context.extensions.retain(|extension| {
                    let is_hint = matches!(extension.entry, Entry::Hint(_));
                    let key = (context.name.clone(), extension.exten.clone(), is_hint);
                    if let Some(first) = known.get(&key) {
                        let exten = &extension.exten;
                        let what = format!("extension {exten} is written at {first} already; this one is never reached");
                        self.scripts.problems.push(Problem {
                            severity: Severity::Error,
                            context: context.name.clone(),
                            exten: Some(extension.exten.clone()),
                            priority: None,
                            origin: Some(Origin::Script(extension.place)),
                            what,
                            hint: Cow::Borrowed("keep one of the two"),
                        });
                        return false;
                    }
                    known.insert(key, extension.place);
                    true
                });
                context.place = Place::new(&file, 0);
                self.scripts.contexts.push(context);
            }
        }
    }
}

type Wrong = (Place, String, &'static str);
type FileContexts = (String, Vec<(ScriptContext, Vec<Wrong>)>);

/// A machine that only looks: what runs in it has no call.
struct Machine {
    vm: Vm,
    base: api::Base,
}

impl Machine {
    fn new() -> Result<Self, VmError> {
        let limits = Limits {
            memory_bytes: MEMORY_BYTES_MAX,
            ..Limits::default()
        };
        let vm = Vm::new(limits, Arc::new(Counters::default()))?;
        let base = api::open(vm.lua(), &Arc::new(Services::default()))
            .map_err(|error| VmError::Script(error.to_string()))?;
        Ok(Self { vm, base })
    }

    /// Runs the files, and refuses what would take too much for each call.
    fn affordable(&self, program: &Arc<Program>) -> Result<Vec<FileContexts>, (usize, VmError)> {
        let (contexts, mut costs) = self.look(program)?;
        for _ in 1..LOOKS {
            if time_of(&costs) <= LOAD_TIME_MAX {
                break;
            }
            let fresh = Self::new().map_err(|error| (0, error))?;
            let (_, again) = fresh.look(program)?;
            for (cost, again) in costs.iter_mut().zip(again) {
                cost.time = cost.time.min(again.time);
            }
        }
        let time = time_of(&costs);
        if time > LOAD_TIME_MAX
            && let Some(most) = costs.iter().max_by_key(|cost| cost.time)
        {
            return Err((
                most.index,
                VmError::Script(format!(
                    "each call runs the files of the folder, which takes {} ms, {} of them for this one; {} are allowed (compute in functions, not while the file is loaded)",
                    time.as_millis(),
                    most.time.as_millis(),
                    LOAD_TIME_MAX.as_millis()
                )),
            ));
        }
        let bytes: usize = costs.iter().map(|cost| cost.bytes).sum();
        if bytes > LOAD_BYTES_MAX
            && let Some(most) = costs.iter().max_by_key(|cost| cost.bytes)
        {
            return Err((
                most.index,
                VmError::Script(format!(
                    "the files of the folder leave {bytes} bytes behind for each call, {} of them this one; {LOAD_BYTES_MAX} are allowed (keep large tables in a database or in shared)",
                    most.bytes
                )),
            ));
        }
        Ok(contexts)
    }

    /// Runs the files in order. An error comes with the file that failed.
    fn look(
        &self,
        program: &Arc<Program>,
    ) -> Result<(Vec<FileContexts>, Vec<Cost>), (usize, VmError)> {
        let lua = self.vm.lua();
        let mains = Mains::load(&self.vm, program).map_err(|error| (0, error))?;
        let world = World::open(lua, &self.base, std::rc::Rc::new(mains), None)
            .map_err(|error| (0, self.vm.failed(&error)))?;
        let mut list = Vec::new();
        let mut costs = Vec::new();
        let collected = |index| {
            lua.gc_collect()
                .map(|()| lua.used_memory())
                .map_err(|error| (index, self.vm.failed(&error)))
        };
        let mut before = collected(0)?;
        // Modules are looked at too, so that their faults are known before a call finds them; after the others, because
        // they may need what those define.
        let files = program.files.iter().enumerate();
        let (roots, modules): (Vec<_>, Vec<_>) = files.partition(|(_, file)| file.root);
        for (index, file) in roots.into_iter().chain(modules) {
            let began = worked();
            let loaded = self.vm.at_once(|| {
                let running = Running {
                    task: None,
                    world: std::rc::Rc::clone(&world),
                };
                current::within(running, || {
                    if !file.root {
                        return world.require(&file.module).map(|_| None);
                    }
                    let tables = world.load_file(lua, index)?;
                    contexts(&file.name, &tables.0, &tables.1).map(Some)
                })
            });
            let time = worked().saturating_sub(began);
            if file.root && loaded.is_ok() {
                let after = collected(index)?;
                costs.push(Cost {
                    index,
                    time,
                    bytes: after.saturating_sub(before),
                });
                before = after;
            }
            match loaded {
                Ok(Some(contexts)) => list.push((file.name.clone(), contexts)),
                Ok(None) => {}
                Err(error) => return Err((index, error)),
            }
        }
        Ok((list, costs))
    }
}

/// What one file of the folder takes of each call.
struct Cost {
    index: usize,
    time: Duration,
    bytes: usize,
}

/// CPU time of this thread: what others do with the machine is no fault of a file.
fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

fn time_of(costs: &[Cost]) -> Duration {
    costs.iter().map(|cost| cost.time).sum()
}

/// What the tables of a file define.
fn contexts(
    file: &str,
    extensions: &Table,
    hints: &Table,
) -> mlua::Result<Vec<(ScriptContext, Vec<Wrong>)>> {
    let whole = Place::new(file, 0);
    let mut list: Vec<(ScriptContext, Vec<Wrong>)> = Vec::new();
    extensions.for_each(|name: Value, entries: Value| {
        let mut context = empty(&name, whole);
        let mut wrong = Vec::new();
        match (&name, &entries) {
            (Value::String(_), Value::Table(entries)) => {
                entries.for_each(|key: Value, value: Value| {
                    extension(&key, &value, whole, &mut context, &mut wrong);
                    Ok(())
                })?;
            }
            _ => wrong.push((
                whole,
                format!(
                    "extensions[{}] is a {}",
                    values::shown(&name),
                    entries.type_name()
                ),
                "the key is the name of a context, the value a table of functions by extension",
            )),
        }
        list.push((context, wrong));
        Ok(())
    })?;
    hints.for_each(|name: Value, entries: Value| {
        let mut context = empty(&name, whole);
        let mut wrong = Vec::new();
        if let Value::Table(entries) = &entries {
            entries.for_each(|key: Value, value: Value| {
                match (values::exten(&key), values::text(&value)) {
                    (Some(exten), Some(devices)) if !devices.is_empty() => {
                        context.extensions.push(ScriptExtension {
                            exten,
                            entry: Entry::Hint(devices),
                            place: whole,
                        });
                    }
                    _ => wrong.push((
                        whole,
                        format!(
                            "the hint {} is a {}",
                            values::shown(&key),
                            value.type_name()
                        ),
                        "write hints = { context = { [\"100\"] = \"PJSIP/100\" } }",
                    )),
                }
                Ok(())
            })?;
        } else {
            wrong.push((
                whole,
                format!(
                    "hints[{}] is a {}",
                    values::shown(&name),
                    entries.type_name()
                ),
                "write hints = { context = { [\"100\"] = \"PJSIP/100\" } }",
            ));
        }
        list.push((context, wrong));
        Ok(())
    })?;
    for (context, _) in &mut list {
        context
            .extensions
            .sort_by(|left, right| left.exten.cmp(&right.exten));
    }
    list.sort_by(|left, right| left.0.name.cmp(&right.0.name));
    Ok(list)
}

fn empty(name: &Value, place: Place) -> ScriptContext {
    ScriptContext {
        name: values::text(name).unwrap_or_default(),
        extensions: Vec::new(),
        includes: Vec::new(),
        place,
    }
}

fn extension(
    key: &Value,
    value: &Value,
    whole: Place,
    context: &mut ScriptContext,
    wrong: &mut Vec<Wrong>,
) {
    let Some(exten) = values::exten(key) else {
        wrong.push((
            whole,
            format!("a {} cannot be an extension", key.type_name()),
            "an extension is a string such as \"100\" or \"_1XX\", or a whole number",
        ));
        return;
    };
    // Asterisk's name for contexts that are searched after this one.
    if exten.eq_ignore_ascii_case("include") || exten.eq_ignore_ascii_case("includes") {
        includes(value, whole, context, wrong);
        return;
    }
    let Value::Function(function) = value else {
        wrong.push((
            whole,
            format!("extension {exten} is a {}", value.type_name()),
            "an extension is a function(context, exten)",
        ));
        return;
    };
    let info = function.info();
    let file = info
        .source
        .as_deref()
        .map(|source| source.trim_start_matches(['=', '@']))
        .filter(|source| source.ends_with(".lua"))
        .unwrap_or(whole.file);
    let line = info
        .line_defined
        .and_then(|line| u32::try_from(line).ok())
        .unwrap_or(0);
    context.extensions.push(ScriptExtension {
        exten,
        entry: Entry::Function,
        place: Place::new(file, line),
    });
}

fn includes(value: &Value, whole: Place, context: &mut ScriptContext, wrong: &mut Vec<Wrong>) {
    let hint = "write include = {\"context\", \"another\"}";
    match value {
        Value::String(name) => context.includes.push(name.to_string_lossy()),
        Value::Table(list) => {
            for name in list.sequence_values::<Value>() {
                match name {
                    Ok(Value::String(name)) => context.includes.push(name.to_string_lossy()),
                    other => wrong.push((
                        whole,
                        format!(
                            "include names a {}, not a context",
                            other.map_or("broken value", |value| value.type_name())
                        ),
                        hint,
                    )),
                }
            }
            if context.includes.is_empty() && !list.is_empty() {
                wrong.push((whole, "include is no list of names".to_owned(), hint));
            }
        }
        other => wrong.push((whole, format!("include is a {}", other.type_name()), hint)),
    }
}

/// `12: message`.
fn line_of(text: &str) -> Option<(u32, String)> {
    let (line, message) = text.split_once(':')?;
    Some((line.trim().parse().ok()?, message.trim().to_owned()))
}

/// `menu.lua:12: message`, and otherwise the file as a whole.
fn placed(file: &str, error: &VmError) -> (Place, String) {
    let text = error.to_string();
    if let Some((name, rest)) = text.split_once(".lua:")
        && !name.contains(char::is_whitespace)
        && let Some((line, message)) = line_of(rest)
    {
        return (Place::new(&format!("{name}.lua"), line), message);
    }
    (Place::new(file, 0), text)
}
