//! The scripting side of one shard: its virtual machine, the chunks loaded into it, and the functions that compiled
//! steps call.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use mlua::{AnyUserData, Function, Lua, LuaString, Table, UserData, UserDataRef};
use rustc_hash::FxHashMap;
use strowger_dialplan::{Context, Plan, Vars, expr, lua, subst};

use crate::agi::Agi;
use crate::app;
use crate::fax::Fax;
use crate::func;
use crate::plans::Plans;
use crate::registry::Applications;
use crate::script::{self, Programs, Services};
use crate::task::Task;
use crate::vm::{Counters, Limits, Vm, VmError};

/// What a step gets as `ch`.
struct Handle(Weak<Task>);

impl UserData for Handle {}

impl Handle {
    fn task(&self) -> mlua::Result<Rc<Task>> {
        self.0
            .upgrade()
            .ok_or_else(|| mlua::Error::runtime("the channel is gone"))
    }
}

/// The steps of a context that calls came to.
struct Loaded {
    context: Arc<Context>,
    steps: FxHashMap<usize, Function>,
}

/// The scripting side of one shard.
pub(crate) struct Host {
    vm: Vm,
    rt: Table,
    base: script::Base,
    programs: Programs,
    plans: Arc<Plans>,
    loaded: RefCell<FxHashMap<*const Context, Loaded>>,
    seen: RefCell<Arc<Plan>>,
    entity_id: String,
}

impl Host {
    pub(crate) fn new(plans: Arc<Plans>, limits: Limits) -> Result<Rc<Self>, VmError> {
        let vm = Vm::new(limits, Arc::clone(plans.counters()))?;
        let rt = runtime(vm.lua()).map_err(|error| VmError::Script(error.to_string()))?;
        let base = script::open(vm.lua(), plans.services())
            .map_err(|error| VmError::Script(error.to_string()))?;
        let seen = RefCell::new(plans.current());
        Ok(Rc::new(Self {
            vm,
            rt,
            base,
            programs: Programs::default(),
            plans,
            loaded: RefCell::default(),
            seen,
            entity_id: entity_id(),
        }))
    }

    pub(crate) fn vm(&self) -> &Vm {
        &self.vm
    }

    /// What scripts find.
    pub(crate) fn base(&self) -> &script::Base {
        &self.base
    }

    /// The versions of scripts that are loaded.
    pub(crate) fn programs(&self) -> &Programs {
        &self.programs
    }

    pub(crate) fn counters(&self) -> &Counters {
        self.plans.counters()
    }

    pub(crate) fn agi(&self) -> &Arc<Agi> {
        self.plans.agi()
    }

    pub(crate) fn fax(&self) -> &Arc<Fax> {
        self.plans.fax()
    }

    /// What the scripts of all shards share.
    pub(crate) fn services(&self) -> &Arc<Services> {
        self.plans.services()
    }

    pub(crate) fn entity_id(&self) -> &str {
        &self.entity_id
    }

    /// The newest plan. Chunks of contexts that it no longer has are dropped; a call that still follows an older plan
    /// loads its own again.
    pub(crate) fn current(&self) -> Arc<Plan> {
        let current = self.plans.current();
        let mut seen = self.seen.borrow_mut();
        if !Arc::ptr_eq(&seen, &current) {
            *seen = Arc::clone(&current);
            self.loaded.borrow_mut().retain(|_, loaded| {
                current
                    .context(&loaded.context.name)
                    .is_some_and(|context| Arc::ptr_eq(context, &loaded.context))
            });
        }
        current
    }

    pub(crate) fn handle(&self, task: Weak<Task>) -> mlua::Result<AnyUserData> {
        self.vm.lua().create_userdata(Handle(task))
    }

    /// The function of a step, loaded when it is needed first.
    pub(crate) fn step(&self, context: &Arc<Context>, index: usize) -> Result<Function, VmError> {
        let key = Arc::as_ptr(context);
        let known = self
            .loaded
            .borrow()
            .get(&key)
            .and_then(|loaded| loaded.steps.get(&index).cloned());
        if let Some(step) = known {
            return Ok(step);
        }
        let step = context
            .steps
            .get(index)
            .ok_or_else(|| VmError::Script("the step is gone".to_owned()))?;
        let source = lua::single(step, &Applications);
        let function = self.vm.load(&context.name, &source, &self.rt)?;
        self.loaded
            .borrow_mut()
            .entry(key)
            .or_insert_with(|| Loaded {
                context: Arc::clone(context),
                steps: FxHashMap::default(),
            })
            .steps
            .insert(index, function.clone());
        Ok(function)
    }
}

/// The table `rt` of the compiled steps.
fn runtime(lua: &Lua) -> mlua::Result<Table> {
    let rt = lua.create_table()?;
    rt.set(
        "v",
        lua.create_function(|_, (ch, name): (UserDataRef<Handle>, LuaString)| {
            Ok(ch.task()?.get(&name.to_string_lossy()).unwrap_or_default())
        })?,
    )?;
    rt.set(
        "f",
        lua.create_function(
            |_, (ch, name, args): (UserDataRef<Handle>, LuaString, LuaString)| {
                let task = ch.task()?;
                let (name, args) = (name.to_string_lossy(), args.to_string_lossy());
                Ok(call(&task, &name, &args))
            },
        )?,
    )?;
    rt.set("f", functions(lua, rt.get("f")?)?)?;
    rt.set(
        "sub",
        lua.create_function(
            |lua, (text, offset, length): (LuaString, i64, Option<i64>)| {
                lua.create_string(subst::substring(&text.to_string_lossy(), offset, length))
            },
        )?,
    )?;
    rt.set(
        "ref",
        lua.create_function(|_, (ch, inside): (UserDataRef<Handle>, LuaString)| {
            Ok(subst::resolve(&inside.to_string_lossy(), &*ch.task()?))
        })?,
    )?;
    rt.set(
        "expr",
        lua.create_function(|_, (text, ch): (LuaString, UserDataRef<Handle>)| {
            Ok(expr::evaluate(&text.to_string_lossy(), &*ch.task()?))
        })?,
    )?;
    rt.set(
        "run",
        lua.create_async_function(
            |_,
             (ch, name, data, args): (
                UserDataRef<Handle>,
                LuaString,
                LuaString,
                Option<Vec<String>>,
            )| {
                let task = ch.task();
                let (name, data) = (name.to_string_lossy(), data.to_string_lossy());
                drop(ch);
                async move {
                    let task = task?;
                    let result = app::execute(&task, &name, data, args).await;
                    task.set_outcome(result);
                    Ok(())
                }
            },
        )?,
    )?;
    rt.set_readonly(true);
    Ok(rt)
}

/// `rt.f` for all functions: those that have to wait do so in the step's coroutine, and those that a table defines may.
fn functions(lua: &Lua, at_once: Function) -> mlua::Result<Function> {
    let waiting = lua.create_table()?;
    for function in func::all() {
        waiting.set(function.name, function.waits())?;
    }
    let later = lua.create_async_function(
        |lua, (ch, name, args): (UserDataRef<Handle>, LuaString, LuaString)| {
            let task = ch.task();
            let (name, args) = (name.to_string_lossy(), args.to_string_lossy());
            drop(ch);
            async move {
                let task = task?;
                let value = match func::wait(&task, &name, args.clone()).await {
                    Some(Ok(value)) => value,
                    Some(Err(error)) => {
                        task.warn(&format!("{}: {error}", func::shown(&name, &args)));
                        String::new()
                    }
                    None => call(&task, &name, &args),
                };
                lua.create_string(value)
            }
        },
    )?;
    lua.load(
        "local waiting, at_once, later = ...\n\
         return function(ch, name, args)\n\
           if waiting[name] == false then return at_once(ch, name, args) end\n\
           return later(ch, name, args)\n\
         end",
    )
    .set_name("=functions")
    .call((waiting, at_once, later))
}

/// A function in a text: what it refuses is logged, and the text goes on with nothing in its place.
fn call(task: &Task, name: &str, args: &str) -> String {
    match task.call(name, args) {
        Ok(value) => value,
        Err(error) => {
            task.warn(&format!("{}: {error}", func::shown(name, args)));
            String::new()
        }
    }
}

/// The identity of this machine, in the form of an Ethernet address, from its stable machine id.
fn entity_id() -> String {
    let id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let hex: Vec<u8> = id
        .trim()
        .bytes()
        .filter(u8::is_ascii_hexdigit)
        .take(12)
        .collect();
    if hex.len() < 12 {
        return "02:00:00:00:00:00".to_owned();
    }
    let pairs: Vec<String> = hex
        .chunks(2)
        .map(|pair| String::from_utf8_lossy(pair).into_owned())
        .collect();
    pairs.join(":")
}
