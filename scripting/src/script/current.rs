//! Whose call it is that runs now. What a script calls is the same for all calls of a shard; it asks here for the call.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::world::World;
use crate::task::Task;

/// A call and what it loaded. Without a task the files are only looked at.
#[derive(Clone)]
pub(super) struct Running {
    pub(super) task: Option<Rc<Task>>,
    pub(super) world: Rc<World>,
}

thread_local! {
    static CURRENT: RefCell<Option<Running>> = const { RefCell::new(None) };
}

/// The call whose script runs now.
pub(super) fn task() -> mlua::Result<Rc<Task>> {
    CURRENT
        .with_borrow(|current| current.as_ref().and_then(|running| running.task.clone()))
        .ok_or_else(|| {
            mlua::Error::runtime(
                "there is no call yet: a file is loaded before its functions run; do this inside an extension's function",
            )
        })
}

/// What the call loaded.
pub(super) fn world() -> mlua::Result<Rc<World>> {
    CURRENT
        .with_borrow(|current| current.as_ref().map(|running| Rc::clone(&running.world)))
        .ok_or_else(|| mlua::Error::runtime("no script runs"))
}

struct Restore(Option<Running>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

fn enter(running: Running) -> Restore {
    Restore(CURRENT.replace(Some(running)))
}

/// Does something for a call.
pub(super) fn within<R>(running: Running, work: impl FnOnce() -> R) -> R {
    let _restore = enter(running);
    work()
}

/// A future that is polled for a call.
pub(super) struct Within<F> {
    pub(super) running: Running,
    pub(super) future: Pin<Box<F>>,
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _restore = enter(self.running.clone());
        self.future.as_mut().poll(cx)
    }
}
