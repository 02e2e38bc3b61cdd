//! Calls that a program led by the Manager leads (AsyncAGI): who waits for its commands, and the bounded queue of each.
//! Where the commands come from and what is told of their answers is known elsewhere.

use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::mpsc;

/// Commands that may wait for one call.
const COMMANDS_MAX: usize = 128;

/// A command that a program gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) line: String,
    /// What its answer is to be known by; empty for nothing.
    pub(crate) id: String,
}

/// Why a command was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    #[error("the call is not led by AGI(agi:async)")]
    NotWaiting,
    #[error("{} commands wait already", COMMANDS_MAX)]
    QueueFull,
}

type Queues = Arc<Mutex<FxHashMap<Box<str>, mpsc::Sender<Command>>>>;

/// The calls that are led so.
#[derive(Debug, Default)]
pub(super) struct Remote(Queues);

/// A call that is led so, as long as this lives.
#[derive(Debug)]
pub(crate) struct Led {
    queues: Queues,
    channel: Box<str>,
    commands: mpsc::Receiver<Command>,
    /// One in the table belongs to an `AGI` within this one, or this one to it.
    outer: Option<mpsc::Sender<Command>>,
}

impl Remote {
    /// From now on commands for this channel are taken.
    pub(super) fn enter(&self, channel: &str) -> Led {
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let outer = self.0.lock().insert(channel.into(), sender);
        Led {
            queues: Arc::clone(&self.0),
            channel: channel.into(),
            commands,
            outer,
        }
    }

    pub(super) fn give(&self, channel: &str, command: Command) -> Result<(), NotTaken> {
        let sender = self.0.lock().get(channel).cloned();
        let sender = sender.ok_or(NotTaken::NotWaiting)?;
        sender.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NotTaken::QueueFull,
            mpsc::error::TrySendError::Closed(_) => NotTaken::NotWaiting,
        })
    }

    pub(super) fn count(&self) -> usize {
        self.0.lock().len()
    }
}

impl Led {
    /// The next command. It never ends: the table has the other end.
    pub(crate) async fn command(&mut self) -> Option<Command> {
        self.commands.recv().await
    }

    /// One that waits already.
    pub(crate) fn waiting(&mut self) -> Option<Command> {
        self.commands.try_recv().ok()
    }
}

impl Drop for Led {
    fn drop(&mut self) {
        let mut queues = self.queues.lock();
        match self.outer.take() {
            Some(outer) => queues.insert(std::mem::take(&mut self.channel), outer),
            None => queues.remove(&self.channel),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> Command {
        Command {
            line: line.to_owned(),
            id: String::new(),
        }
    }

    #[test]
    fn commands_are_taken_in_order_as_long_as_the_call_is_led_and_no_more_than_fit() {
        let remote = Remote::default();
        assert_eq!(remote.give("a", command("x")), Err(NotTaken::NotWaiting));
        let mut led = remote.enter("a");
        assert_eq!(remote.count(), 1);
        for number in 0..COMMANDS_MAX {
            assert_eq!(remote.give("a", command(&number.to_string())), Ok(()));
        }
        assert_eq!(remote.give("a", command("x")), Err(NotTaken::QueueFull));
        assert_eq!(remote.give("b", command("x")), Err(NotTaken::NotWaiting));
        assert_eq!(led.waiting(), Some(command("0")));
        assert_eq!(remote.give("a", command("last")), Ok(()));
        let rest: Vec<_> = std::iter::from_fn(|| led.waiting()).collect();
        assert_eq!(rest.len(), COMMANDS_MAX);
        assert_eq!(rest.last(), Some(&command("last")));
        drop(led);
        assert_eq!(remote.give("a", command("x")), Err(NotTaken::NotWaiting));
        assert_eq!(remote.count(), 0);
    }

    #[test]
    fn one_within_another_takes_the_commands_until_it_ends() {
        let remote = Remote::default();
        let mut outer = remote.enter("a");
        let mut inner = remote.enter("a");
        assert_eq!(remote.give("a", command("1")), Ok(()));
        assert_eq!(inner.waiting(), Some(command("1")));
        drop(inner);
        assert_eq!(remote.give("a", command("2")), Ok(()));
        assert_eq!(outer.waiting(), Some(command("2")));
        assert_eq!(outer.waiting(), None);
    }
}
