//! Variables of other channels, on whatever shard they are: `IMPORT`, `EXPORT`, `MASTER_CHANNEL`.

use std::rc::Rc;

use strowger_core::channel::Channel;
use strowger_core::dialplan::Reach;
use strowger_dialplan::Vars;

use super::{Function, argument};
use crate::task::Task;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::waiting(
        "IMPORT",
        "IMPORT(channel,variable)",
        "a variable of another channel",
        |task, args| Box::pin(import(task, args)),
    ),
    Function::write(
        "EXPORT",
        "EXPORT(channel,variable)",
        "sets a variable of another channel",
        export,
    )
    .reaching(),
    Function::read_write(
        "MASTER_CHANNEL",
        "MASTER_CHANNEL(variable)",
        "a variable of the channel that the call began with",
        master,
        set_master,
    ),
];

fn names(function: &str, args: &str) -> Result<(String, String), String> {
    let (channel, variable) = (argument(args, 0), argument(args, 1));
    if channel.is_empty() || variable.is_empty() {
        return Err(format!("write {function}(channel,variable)"));
    }
    Ok((channel, variable))
}

async fn import(task: Rc<Task>, args: String) -> Result<String, String> {
    let (name, variable) = names("IMPORT", &args)?;
    if *name == *task.channel.name() {
        return Ok(task.get(&variable).unwrap_or_default());
    }
    // A function is evaluated as on that channel itself.
    let read = move |channel: &Channel| match channel.variable(&variable) {
        Some(value) => value,
        None if variable.contains('(') => {
            let dialplan = channel.shard().dialplan();
            let value = dialplan.read(channel, &variable, Reach::Exchange);
            value.unwrap_or_default()
        }
        None => String::new(),
    };
    if let Some(channel) = task.channel.shard().channel_by_name(&name) {
        return Ok(read(&channel));
    }
    task.shared()
        .with_channel(&name, read)
        .await
        .ok_or_else(|| format!("there is no channel {name}"))
}

fn export(task: &Task, args: &str, value: &str) -> Result<(), String> {
    let (name, variable) = names("EXPORT", args)?;
    if *name == *task.channel.name() {
        return task.assign(&variable, value);
    }
    if variable.contains('(') {
        return Err("EXPORT sets variables of other channels, not functions".to_owned());
    }
    task.may_set(&variable)?;
    if let Some(channel) = task.channel.shard().channel_by_name(&name) {
        channel.set_variable(&variable, value);
        return Ok(());
    }
    if !task.shared().directory.exists(&name) {
        return Err(format!("there is no channel {name}"));
    }
    // Nobody waits for another shard here; it sets them in the order of the steps.
    let value = value.to_owned();
    let set = move |channel: &Channel| channel.set_variable(&variable, &value);
    if task.shared().post_to_channel(&name, set) {
        Ok(())
    } else {
        Err(format!("{name}: its core has too much to do"))
    }
}

/// The channel the call began with, if it is another one that lives still: all legs of a call are on one shard.
fn first(task: &Task) -> Option<Channel> {
    let linked = task.channel.data().linkedid.clone();
    if linked == *task.channel.uniqueid() {
        return None;
    }
    task.channel.shard().channel_by_uniqueid(&linked)
}

fn master(task: &Task, args: &str) -> Result<String, String> {
    let name = args.trim();
    if name.is_empty() {
        return Err("MASTER_CHANNEL needs the name of a variable".to_owned());
    }
    match first(task) {
        Some(channel) => Ok(channel.variable(name).unwrap_or_default()),
        None => match name.split_once('(') {
            Some((function, rest)) => {
                let args = rest.strip_suffix(')').unwrap_or(rest);
                // By the way that counts how deep calls are.
                Vars::call(task, function, args).map_err(|error| error.to_string())
            }
            None => Ok(task.get(name).unwrap_or_default()),
        },
    }
}

fn set_master(task: &Task, args: &str, value: &str) -> Result<(), String> {
    let name = args.trim();
    match first(task) {
        Some(channel) if !name.contains('(') => {
            task.may_set(name)?;
            channel.set_variable(name, value);
            Ok(())
        }
        Some(_) => Err("MASTER_CHANNEL sets variables, not functions".to_owned()),
        None => task.assign(name, value),
    }
}
