//! What Asterisk's Lua dialplans use: `app`, `channel`, `autoservice_*` and `check_hangup`.

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{
    Function, Lua, LuaString, MetaMethod, MultiValue, Table, UserData, UserDataFields,
    UserDataMethods, Value,
};
use rustc_hash::FxHashMap;
use strowger_dialplan::{Vars, subst};

use super::{current, run, values};
use crate::func::channel::reads_stats;
use crate::task::Task;
use crate::{app, func};

/// `app`: the applications by name, each made a function when it is named first.
#[derive(Default)]
struct Apps(RefCell<FxHashMap<&'static str, Function>>);

impl UserData for Apps {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::Index, |lua, this, name: LuaString| {
            let name = name.to_string_lossy();
            let Some(known) = app::find(&name).map(|app| app.name) else {
                return Err(mlua::Error::runtime(app::unknown(&name)));
            };
            if let Some(function) = this.0.borrow().get(known) {
                return Ok(function.clone());
            }
            let function = lua.create_async_function(move |_, arguments: MultiValue| {
                let called =
                    current::task().and_then(|task| Ok((task, values::joined(&arguments, known)?)));
                async move {
                    let (task, data) = called?;
                    run::application(&task, known, data, None).await
                }
            })?;
            this.0.borrow_mut().insert(known, function.clone());
            Ok(function)
        });
        methods.add_meta_method(
            MetaMethod::NewIndex,
            |_, _, (name, _): (LuaString, Value)| -> mlua::Result<()> {
                Err(mlua::Error::runtime(format!(
                    "app.{} cannot be set: applications are those of the exchange",
                    name.to_string_lossy()
                )))
            },
        );
    }
}

/// `channel`.
struct Variables;

impl UserData for Variables {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::Index, |_, _, name: LuaString| {
            let name = name.to_string_lossy();
            let value = if name.ends_with(')') {
                None
            } else {
                variable(&*current::task()?, &name)
            };
            Ok(Variable { name, value })
        });
        methods.add_meta_method(
            MetaMethod::NewIndex,
            |_, _, (name, value): (LuaString, Value)| {
                assign(&*current::task()?, &name.to_string_lossy(), &value)
            },
        );
    }
}

/// `channel.NAME` or `channel.FUNC("argument")`.
struct Variable {
    name: String,
    /// What it was when it was named.
    value: Option<String>,
}

impl UserData for Variable {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("name", |_, this| Ok(this.name.clone()));
        fields.add_field_method_get("value", |_, this| Ok(this.value.clone()));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_function("get", |_, this: Value| {
            let named = named(&this, "get").and_then(|name| Ok((current::task()?, name)));
            async move {
                let (task, name) = named?;
                read(&task, &name).await
            }
        });
        methods.add_function("set", |_, (this, value): (Value, Value)| {
            assign(&*current::task()?, &named(&this, "set")?, &value)
        });
        methods.add_meta_method(MetaMethod::Call, |_, this, arguments: MultiValue| {
            let arguments = values::joined(&arguments, &this.name)?;
            Ok(Self {
                name: format!("{}({arguments})", this.name),
                value: None,
            })
        });
    }
}

/// The name behind `variable:get()`; `variable.get()` has none.
fn named(this: &Value, method: &str) -> mlua::Result<String> {
    if let Value::UserData(this) = this
        && let Ok(variable) = this.borrow::<Variable>()
    {
        return Ok(variable.name.clone());
    }
    Err(mlua::Error::runtime(format!(
        "write channel.NAME:{method}() with a colon, not channel.NAME.{method}()"
    )))
}

/// A variable, with offset and length as in `${NAME:1:2}`; None when it is not set.
fn variable(task: &Task, name: &str) -> Option<String> {
    match name.split_once(':') {
        Some((base, _)) => {
            task.get(base)?;
            Some(subst::resolve(name, task))
        }
        None => task.get(name),
    }
}

/// A variable or `FUNC(arguments)`; nil when it is not set or cannot be read, which is logged.
pub(super) async fn read(task: &Rc<Task>, name: &str) -> mlua::Result<Option<String>> {
    let Some((function, arguments)) = split_call(name) else {
        return Ok(variable(task, name));
    };
    if reads_stats(name) {
        task.channel.refresh_stats().await;
    }
    match func::read(task, function, arguments).await {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            task.warn(&format!("{name}: {error}"));
            Ok(None)
        }
    }
}

/// The same where nothing can be waited for.
pub(super) fn read_at_once(task: &Task, name: &str) -> Option<String> {
    match split_call(name) {
        None => variable(task, name),
        Some((function, arguments)) => task.call(function, arguments).ok(),
    }
}

/// `FUNC(arguments)`.
fn split_call(name: &str) -> Option<(&str, &str)> {
    let (function, rest) = name.strip_suffix(')')?.split_once('(')?;
    Some((function, rest))
}

pub(super) fn assign(task: &Task, name: &str, value: &Value) -> mlua::Result<()> {
    let text = values::argument(value, 1, name)?;
    task.assign(name, &text).map_err(mlua::Error::runtime)
}

/// Puts the names into `api`.
pub(super) fn add(lua: &Lua, api: &Table) -> mlua::Result<()> {
    api.set("app", lua.create_userdata(Apps::default())?)?;
    api.set("channel", lua.create_userdata(Variables)?)?;
    api.set(
        "autoservice_start",
        lua.create_function(|_, ()| {
            current::world()?.autoservice.set(true);
            Ok(true)
        })?,
    )?;
    api.set(
        "autoservice_stop",
        lua.create_function(|_, ()| Ok(current::world()?.autoservice.replace(false)))?,
    )?;
    api.set(
        "autoservice_status",
        lua.create_function(|_, ()| Ok(current::world()?.autoservice.get()))?,
    )?;
    api.set(
        "check_hangup",
        lua.create_function(|_, ()| Ok(current::task()?.channel.is_over()))?,
    )
}
