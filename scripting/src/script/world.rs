//! What one call sees: globals of its own, into which the files of its version are loaded, and the tables `extensions` and
//! `hints` they leave behind. The functions of a file are compiled once and share their code between calls.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, Table, Value};
use rustc_hash::FxHashMap;
use strowger_dialplan::Program;

use super::api::Base;
use super::spawn::{Child, State};
use crate::vm::{Vm, VmError};

/// Functions that a hang-up calls, for each call.
pub(super) const HANGUP_FUNCTIONS_MAX: usize = 32;

/// The main function of each file of a version.
pub(crate) struct Mains {
    program: Arc<Program>,
    functions: Vec<Function>,
}

/// The versions a shard has loaded.
#[derive(Default)]
pub(crate) struct Programs {
    loaded: RefCell<FxHashMap<*const Program, Rc<Mains>>>,
}

impl Programs {
    /// The main functions of a version, loaded when they are needed first. Versions that nobody follows any more go.
    pub(crate) fn mains(&self, vm: &Vm, program: &Arc<Program>) -> Result<Rc<Mains>, VmError> {
        let key = Arc::as_ptr(program);
        if let Some(mains) = self.loaded.borrow().get(&key) {
            return Ok(Rc::clone(mains));
        }
        let mains = Rc::new(Mains::load(vm, program)?);
        let mut loaded = self.loaded.borrow_mut();
        loaded.retain(|_, mains| Arc::strong_count(&mains.program) > 1);
        loaded.insert(key, Rc::clone(&mains));
        Ok(mains)
    }
}

impl Mains {
    pub(super) fn load(vm: &Vm, program: &Arc<Program>) -> Result<Self, VmError> {
        let functions = program
            .files
            .iter()
            .map(|file| {
                vm.lua()
                    .load(&file.bytecode[..])
                    .set_mode(ChunkMode::Binary)
                    .set_name(format!("={}", file.name))
                    .into_function()
                    .map_err(|error| vm.failed(&error))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            program: Arc::clone(program),
            functions,
        })
    }
}

enum Module {
    Loading,
    Loaded(Value),
}

/// The globals of one call.
pub(crate) struct World {
    mains: Rc<Mains>,
    env: Table,
    modules: RefCell<FxHashMap<usize, Module>>,
    /// What a file left in `extensions` and `hints`.
    extensions: Table,
    hints: Table,
    /// Functions that a hang-up calls.
    pub(super) hangups: RefCell<Vec<Function>>,
    /// `call.data`.
    pub(super) data: Table,
    /// Coroutines that `spawn` made and nobody polls yet.
    pub(super) spawned: RefCell<Vec<Child>>,
    pub(super) children: Cell<usize>,
    /// What spawned functions gave back, as long as a script can ask for it.
    results: RefCell<Vec<Weak<State>>>,
    /// Whether the files ran.
    pub(super) loaded: Cell<bool>,
    /// What `autoservice_start` and `autoservice_stop` said last.
    pub(super) autoservice: Cell<bool>,
}

impl World {
    /// Empty globals; [`Self::load`] fills them.
    /// What the call keeps from `before`, an older version: its data.
    pub(super) fn open(
        lua: &Lua,
        base: &Base,
        mains: Rc<Mains>,
        before: Option<&Self>,
    ) -> mlua::Result<Rc<Self>> {
        let env = lua.create_table()?;
        env.raw_set("_G", &env)?;
        env.set_metatable(Some(base.meta.clone()))?;
        Ok(Rc::new(Self {
            mains,
            env,
            modules: RefCell::default(),
            extensions: lua.create_table()?,
            hints: lua.create_table()?,
            hangups: RefCell::default(),
            data: match before {
                Some(before) => before.data.clone(),
                None => lua.create_table()?,
            },
            spawned: RefCell::default(),
            children: Cell::new(0),
            results: RefCell::default(),
            loaded: Cell::new(false),
            autoservice: Cell::new(true),
        }))
    }

    pub(super) fn program(&self) -> &Arc<Program> {
        &self.mains.program
    }

    pub(super) fn mains(&self) -> Rc<Mains> {
        Rc::clone(&self.mains)
    }

    /// Remembers what a spawned function will give back.
    pub(super) fn expects(&self, state: &Rc<State>) {
        let mut results = self.results.borrow_mut();
        results.retain(|known| known.strong_count() > 0);
        results.push(Rc::downgrade(state));
    }

    /// Lets go of what the machine cannot find as garbage by itself: values that are held from outside of it.
    pub(super) fn end(&self) {
        let (hangups, spawned) = (self.hangups.take(), self.spawned.take());
        let results = self.results.take();
        drop((hangups, spawned));
        for state in results.iter().filter_map(Weak::upgrade) {
            state.forget();
        }
    }

    /// Runs the files that define the dialplan, in order.
    pub(super) fn load(&self, lua: &Lua) -> mlua::Result<()> {
        for (index, file) in self.mains.program.files.iter().enumerate() {
            if file.root {
                let (extensions, hints) = self.load_file(lua, index)?;
                merge(&self.extensions, &extensions)?;
                merge(&self.hints, &hints)?;
            }
        }
        self.env.raw_set("extensions", &self.extensions)?;
        self.env.raw_set("hints", &self.hints)
    }

    /// Runs one file; gives back its `extensions` and `hints`.
    pub(super) fn load_file(&self, lua: &Lua, index: usize) -> mlua::Result<(Table, Table)> {
        self.env.raw_set("extensions", lua.create_table()?)?;
        self.env.raw_set("hints", lua.create_table()?)?;
        self.module(index)?;
        Ok((
            self.global_table("extensions")?,
            self.global_table("hints")?,
        ))
    }

    fn global_table(&self, name: &str) -> mlua::Result<Table> {
        match self.env.raw_get(name)? {
            Value::Table(table) => Ok(table),
            other => Err(mlua::Error::runtime(format!(
                "the global {name} is a {}; it has to be a table of contexts",
                other.type_name()
            ))),
        }
    }

    /// What a file gives back; it is run when it is asked for first.
    fn module(&self, index: usize) -> mlua::Result<Value> {
        if let Some(module) = self.modules.borrow().get(&index) {
            return match module {
                Module::Loaded(value) => Ok(value.clone()),
                Module::Loading => Err(mlua::Error::runtime(
                    "files require each other in a circle: this one is still being loaded",
                )),
            };
        }
        let Some(main) = self.mains.functions.get(index) else {
            return Err(mlua::Error::runtime("no such file"));
        };
        let main = main.deep_clone()?;
        main.set_environment(self.env.clone())?;
        self.modules.borrow_mut().insert(index, Module::Loading);
        let value = main.call::<Value>(());
        let mut modules = self.modules.borrow_mut();
        match value {
            Ok(value) => {
                let value = if value.is_nil() {
                    Value::Boolean(true)
                } else {
                    value
                };
                modules.insert(index, Module::Loaded(value.clone()));
                Ok(value)
            }
            Err(error) => {
                modules.remove(&index);
                Err(error)
            }
        }
    }

    /// `require(name)`.
    pub(super) fn require(&self, name: &str) -> mlua::Result<Value> {
        let wanted = name.strip_suffix(".lua").unwrap_or(name).replace('/', ".");
        let files = &self.mains.program.files;
        match files.iter().position(|file| file.module == wanted) {
            Some(index) => self.module(index),
            None => {
                let known: Vec<&str> = files.iter().map(|file| file.module.as_str()).collect();
                Err(mlua::Error::runtime(format!(
                    "require(\"{name}\"): there is no such file in the dialplan folder; there are: {}",
                    known.join(", ")
                )))
            }
        }
    }

    /// The function of an extension.
    pub(super) fn function(&self, context: &str, exten: &str) -> mlua::Result<Option<Function>> {
        let Value::Table(context) = self.extensions.raw_get(context)? else {
            return Ok(None);
        };
        let value: Value = context.raw_get(exten)?;
        let value = match (value, exten.parse::<f64>()) {
            (Value::Nil, Ok(number)) => context.raw_get(number)?,
            (value, _) => value,
        };
        Ok(match value {
            Value::Function(function) => Some(function),
            _ => None,
        })
    }
}

/// Adds the contexts of `from`; what is there already stays.
fn merge(into: &Table, from: &Table) -> mlua::Result<()> {
    from.for_each(|name: Value, context: Value| {
        let known: Value = into.raw_get(name.clone())?;
        match (known, context) {
            (Value::Nil, context) => into.raw_set(name, context),
            (Value::Table(known), Value::Table(context)) => {
                if known == context {
                    return Ok(());
                }
                context.for_each(|exten: Value, entry: Value| {
                    if known.raw_get::<Value>(exten.clone())?.is_nil() {
                        known.raw_set(exten, entry)?;
                    }
                    Ok(())
                })
            }
            _ => Ok(()),
        }
    })
}
