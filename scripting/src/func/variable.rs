//! Variables by other ways: globals, frame-local ones, hashes, several at once.

use strowger_dialplan::args;

use super::{Function, argument};
use crate::task::Task;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::read_write(
        "GLOBAL",
        "GLOBAL(name)",
        "a global variable",
        |task, args| Ok(task.shared().globals.get(args.trim()).unwrap_or_default()),
        |task, args, value| {
            if task.shared().globals.set(args.trim(), value) {
                Ok(())
            } else {
                Err(format!(
                    "GLOBAL({}): there are too many global variables",
                    args.trim()
                ))
            }
        },
    ),
    Function::read(
        "GLOBAL_EXISTS",
        "GLOBAL_EXISTS(name)",
        "1 if the global variable is set, else 0",
        |task, args| Ok(u8::from(task.shared().globals.get(args.trim()).is_some()).to_string()),
    ),
    Function::read_write(
        "GLOBAL_DELETE",
        "GLOBAL_DELETE(name)",
        "deletes a global variable and gives its value",
        delete_global,
        |task, args, _| delete_global(task, args).map(drop),
    )
    .reaching(),
    Function::read_write(
        "LOCAL",
        "LOCAL(name)",
        "a variable that lasts until Return",
        |task, args| Ok(task.channel.variable(args.trim()).unwrap_or_default()),
        |task, args, value| task.set_local(args.trim(), value),
    ),
    Function::read(
        "VARIABLE_EXISTS",
        "VARIABLE_EXISTS(name)",
        "1 if the variable is set, else 0",
        |task, args| Ok(u8::from(task.channel.variable(args.trim()).is_some()).to_string()),
    ),
    Function::write(
        "ARRAY",
        "ARRAY(a,b,...)",
        "sets several variables from a list",
        set_array,
    ),
    Function::read_write(
        "HASH",
        "HASH(name,key)",
        "a value of a hash",
        hash,
        set_hash,
    ),
    Function::read(
        "HASHKEYS",
        "HASHKEYS(name)",
        "the keys of a hash",
        hash_keys,
    ),
];

fn delete_global(task: &Task, args: &str) -> Result<String, String> {
    let name = args.trim();
    let value = task.shared().globals.get(name).unwrap_or_default();
    task.shared().globals.remove(name);
    Ok(value)
}

fn set_array(task: &Task, args: &str, value: &str) -> Result<(), String> {
    let values = args::split(value);
    for (index, name) in args::split(args).iter().enumerate() {
        task.assign(
            name.trim(),
            values.get(index).map(String::as_str).unwrap_or_default(),
        )?;
    }
    Ok(())
}

/// What a function that reads rows or forms leaves for `HASH`: the names of its values.
pub(crate) const FIELDS: &str = "~ODBCFIELDS~";

/// A key of a hash is a variable of this name.
fn entry(name: &str, key: &str) -> String {
    format!("~HASH~{name}~{key}~")
}

fn hash(task: &Task, args: &str) -> Result<String, String> {
    let (name, key) = (argument(args, 0), argument(args, 1));
    if key.is_empty() {
        let values: Vec<String> = keys_of(task, &name)
            .iter()
            .map(|key| {
                task.channel
                    .variable(&entry(&name, key))
                    .unwrap_or_default()
            })
            .collect();
        return Ok(values.join(","));
    }
    Ok(task
        .channel
        .variable(&entry(&name, &key))
        .unwrap_or_default())
}

fn set_hash(task: &Task, args: &str, value: &str) -> Result<(), String> {
    let (name, key) = (argument(args, 0), argument(args, 1));
    if let (false, true, Some(fields)) = (
        name.is_empty(),
        key.is_empty(),
        task.channel.variable(FIELDS),
    ) {
        // A record takes the place of the former one, also if no row was found.
        for key in keys_of(task, &name) {
            let key = entry(&name, &key);
            task.channel.data_mut().variables.remove(&key);
        }
        let values = args::split(value);
        let fields = args::split(&fields);
        let fields = fields.iter().filter(|field| !field.is_empty());
        for (index, field) in fields.enumerate() {
            let value = values.get(index).map(String::as_str).unwrap_or_default();
            task.channel.set_variable(&entry(&name, field), value);
        }
        return Ok(());
    }
    if name.is_empty() || key.is_empty() {
        return Err("HASH needs a name and a key: Set(HASH(h,key)=value); without a key only what REALTIME_HASH, ODBC_... or CURL gave".to_owned());
    }
    task.channel.set_variable(&entry(&name, &key), value);
    Ok(())
}

fn hash_keys(task: &Task, args: &str) -> Result<String, String> {
    Ok(keys_of(task, args.trim()).join(","))
}

/// Oldest first.
fn keys_of(task: &Task, name: &str) -> Vec<String> {
    let prefix = format!("~HASH~{name}~");
    let mut keys: Vec<String> = task
        .channel
        .data()
        .variables
        .iter()
        .filter_map(|(known, _)| Some(known.strip_prefix(&prefix)?.strip_suffix('~')?.to_owned()))
        .collect();
    keys.reverse();
    keys
}
