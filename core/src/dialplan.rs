//! The seam between calls and whatever decides about them: the scripting layer implements [`Dialplan`] once for each
//! shard, the shard starts it for every new channel.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use crate::channel::{Channel, Location};
use crate::shard::Shard;

/// A future that stays on its shard's thread.
pub type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// Whether a number exists in a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exists {
    /// Priority 1 of a matching extension exists.
    Yes,
    /// Not yet, but more digits could make it exist.
    Incomplete,
    No,
}

/// How a subroutine (`Gosub`) on a channel ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubroutineEnd {
    /// `Return(value)`.
    Returned(String),
    /// The place to go does not exist.
    Missing,
    /// The channel hung up, or the dialplan ended it.
    Ended,
}

/// How far a function or an application that somebody asks for from outside may reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// As far as the dialplan.
    #[default]
    Exchange,
    /// What belongs to its call: no programs and files, no database, nothing that other calls depend on.
    Call,
}

/// Something was asked for that reaches further than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it reaches further than its call")]
pub struct OutOfReach;

/// Runs channels through the dialplan.
pub trait Dialplan {
    /// Whether `exten` can be reached in `context` by a caller with this number.
    fn exists(&self, context: &str, exten: &str, caller: &str) -> Exists;

    /// The number of a priority, written as a number or a label, where the extension has it.
    fn priority(&self, context: &str, exten: &str, caller: &str, written: &str) -> Option<i32>;

    /// The hint of an extension, its variables put in; patterns and included contexts count.
    fn hint(&self, context: &str, exten: &str) -> Option<String>;

    /// The digits of a feature of `features.conf` (`automixmon`, or the name of an application of its own) on a channel.
    fn feature_code(&self, channel: &Channel, name: &str) -> Option<String>;

    /// Runs the channel from its location until its dialplan ends, extension `h` included. The implementation calls
    /// [`Channel::hangup`] before `h`; the shard destroys the channel when the future is done.
    fn run(&self, channel: Channel) -> LocalFuture<()>;

    /// Runs one application on a channel, and ends the channel with it. `reach` holds for the application, not for where it
    /// sends the channel in the dialplan.
    fn application(
        &self,
        channel: Channel,
        name: String,
        data: String,
        reach: Reach,
    ) -> LocalFuture<()>;

    /// What `${name}` is on a channel, a function or a variable; functions that wait are refused.
    ///
    /// # Errors
    /// The function reaches too far.
    fn read(&self, channel: &Channel, name: &str, reach: Reach) -> Result<String, OutOfReach>;

    /// Sets a variable of a channel, or writes a function where the name has arguments.
    ///
    /// # Errors
    /// What is wrong with the name or the value.
    fn write(&self, channel: &Channel, name: &str, value: &str, reach: Reach)
    -> Result<(), String>;

    /// Runs `Gosub(location(arguments))` on a channel that is not in the dialplan, and comes back.
    fn subroutine(
        &self,
        channel: Channel,
        location: Location,
        arguments: Vec<String>,
    ) -> LocalFuture<SubroutineEnd>;

    /// Runs the hang-up handlers of a channel that is over and runs no dialplan.
    fn hangup_handlers(&self, channel: Channel) -> LocalFuture<()>;
}

/// Makes the dialplan of one shard, on that shard's thread.
pub type DialplanFactory =
    Arc<dyn Fn(&Rc<Shard>) -> Result<Rc<dyn Dialplan>, String> + Send + Sync>;
