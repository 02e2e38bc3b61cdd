//! `spawn`: functions that run beside each other within one call, each in a coroutine of its own.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use mlua::{
    Function, IntoLua as _, Lua, MultiValue, Table, UserData, UserDataFields, UserDataMethods,
    UserDataRef, Value,
};
use tokio::sync::Notify;

use super::current::{self, Running, Within};
use super::run::{self, Leave};
use super::values;
use super::world::World;
use crate::vm::Failure;

/// Spawned functions of a call that run at once.
const CHILDREN_MAX: usize = 16;

/// A spawned function, polled along with the one that spawned it.
pub(super) type Child = Pin<Box<dyn Future<Output = ()>>>;

#[derive(Default)]
pub(super) struct State {
    result: RefCell<Option<mlua::Result<MultiValue>>>,
    done: Cell<bool>,
    waited_for: Cell<bool>,
    cancelled: Cell<bool>,
    changed: Notify,
}

impl State {
    /// Lets go of the values that were given back.
    pub(super) fn forget(&self) {
        let result = self.result.take();
        drop(result);
    }
}

/// What `spawn` gives back.
struct Job(Rc<State>);

/// Counts a child as long as it runs, however it ends.
struct Counted(Rc<World>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.children.set(self.0.children.get().saturating_sub(1));
    }
}

impl UserData for Job {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("done", |_, this| Ok(this.0.done.get()));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_method("wait", |lua, this: UserDataRef<Self>, limit: Value| {
            let state = Rc::clone(&this.0);
            async move {
                let limit = match &limit {
                    Value::Nil => None,
                    value => Some(values::seconds(value).ok_or_else(|| {
                        mlua::Error::runtime("wait(seconds): the limit is a number of seconds")
                    })?),
                };
                state.waited_for.set(true);
                let finished = async {
                    loop {
                        let changed = state.changed.notified();
                        if state.done.get() {
                            return;
                        }
                        changed.await;
                    }
                };
                let in_time = match limit {
                    None => {
                        finished.await;
                        true
                    }
                    Some(limit) => tokio::time::timeout(limit, finished).await.is_ok(),
                };
                if !in_time {
                    return Ok(MultiValue::from_iter([
                        Value::Nil,
                        "timeout".into_lua(&lua)?,
                    ]));
                }
                match &*state.result.borrow() {
                    Some(Ok(values)) => Ok(values.clone()),
                    Some(Err(error)) => Err(error.clone()),
                    None => Ok(MultiValue::from_iter([
                        Value::Nil,
                        "cancelled".into_lua(&lua)?,
                    ])),
                }
            }
        });
        methods.add_method("cancel", |_, this, ()| {
            this.0.cancelled.set(true);
            this.0.changed.notify_waiters();
            Ok(())
        });
    }
}

/// Puts `spawn` into `api`.
pub(super) fn add(lua: &Lua, api: &Table) -> mlua::Result<()> {
    api.set(
        "spawn",
        lua.create_function(|_, (function, arguments): (Function, MultiValue)| {
            let (task, world) = (current::task()?, current::world()?);
            if world.children.get() >= CHILDREN_MAX {
                return Err(mlua::Error::runtime(format!(
                    "spawn: {CHILDREN_MAX} functions of this call run already; wait for one of them"
                )));
            }
            world.children.set(world.children.get() + 1);
            let counted = Counted(Rc::clone(&world));
            let state = Rc::new(State::default());
            world.expects(&state);
            let (telling, host) = (Rc::clone(&state), Rc::clone(&task.host));
            let running = Running {
                task: Some(Rc::clone(&task)),
                world: Rc::clone(&world),
            };
            let work = async move {
                let called = host.vm().call_for::<MultiValue, _>(&function, arguments);
                let cancelled = async {
                    loop {
                        let changed = telling.changed.notified();
                        if telling.cancelled.get() {
                            return;
                        }
                        changed.await;
                    }
                };
                let result = tokio::select! {
                    biased;
                    () = cancelled => None,
                    result = called => Some(result),
                };
                let result = result.map(|result| {
                    result.map_err(|failure| match failure {
                        Failure::Stopped(error) => mlua::Error::runtime(error.to_string()),
                        Failure::Lua(error) => error,
                    })
                });
                if let Some(Err(error)) = &result
                    && !telling.waited_for.get()
                    && error.downcast_ref::<Leave>().is_none()
                {
                    run::report(&task, &format!("spawn: {}", run::story(error)));
                }
                *telling.result.borrow_mut() = result;
                telling.done.set(true);
                telling.changed.notify_waiters();
                drop(counted);
            };
            world.spawned.borrow_mut().push(Box::pin(Within {
                running,
                future: Box::pin(work),
            }));
            Ok(Job(state))
        })?,
    )
}
