//! The exchange's own small database (AstDB) and the dial groups that live in it.

use std::sync::Mutex;

use strowger_dialplan::args;

use super::{Function, argument};
use crate::task::Task;

/// Family of the dial groups.
const DIALGROUP: &str = "dialgroup";
/// Members a dial group may have.
const MEMBERS_MAX: usize = 1024;

/// A change reads the list, alters it and writes it back; shards must not do so at the same time.
static CHANGING: Mutex<()> = Mutex::new(());

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::read_write("DB", "DB(family/key)", "a value of the database", get, put).reaching(),
    Function::read(
        "DB_EXISTS",
        "DB_EXISTS(family/key)",
        "1 if the key exists, else 0",
        exists,
    )
    .reaching(),
    Function::read_write(
        "DB_DELETE",
        "DB_DELETE(family/key)",
        "deletes a key and gives its value",
        delete,
        |task, args, _| delete(task, args).map(drop),
    )
    .reaching(),
    Function::read(
        "DB_KEYS",
        "DB_KEYS(prefix)",
        "the keys below a prefix",
        |task, args| Ok(task.shared().astdb.keys(args.trim()).join(",")),
    )
    .reaching(),
    Function::read(
        "DB_KEYCOUNT",
        "DB_KEYCOUNT(prefix)",
        "how many keys are below a prefix",
        |task, args| Ok(task.shared().astdb.count(args.trim()).to_string()),
    )
    .reaching(),
    Function::read_write(
        "DIALGROUP",
        "DIALGROUP(group[,add|del])",
        "devices to ring together",
        group,
        set_group,
    )
    .reaching_when_written(),
];

/// `family/key`: the family ends at the first slash.
fn split(args: &str) -> Result<(&str, &str), String> {
    let path = args.trim().trim_start_matches('/');
    match path.split_once('/') {
        Some((family, key)) if !family.is_empty() && !key.is_empty() => Ok((family, key)),
        _ => Err(format!(
            "\"{args}\" is no place in the database: write family/key"
        )),
    }
}

fn get(task: &Task, args: &str) -> Result<String, String> {
    let (family, key) = split(args)?;
    let value = task.shared().astdb.get(family, key).unwrap_or_default();
    task.channel.set_variable("DB_RESULT", &value);
    Ok(value)
}

fn put(task: &Task, args: &str, value: &str) -> Result<(), String> {
    let (family, key) = split(args)?;
    task.shared()
        .astdb
        .put(family, key, value)
        .map_err(|error| error.to_string())
}

fn exists(task: &Task, args: &str) -> Result<String, String> {
    let (family, key) = split(args)?;
    match task.shared().astdb.get(family, key) {
        Some(value) => {
            task.channel.set_variable("DB_RESULT", &value);
            Ok("1".to_owned())
        }
        None => Ok("0".to_owned()),
    }
}

fn delete(task: &Task, args: &str) -> Result<String, String> {
    let (family, key) = split(args)?;
    let value = task.shared().astdb.get(family, key).unwrap_or_default();
    task.channel.set_variable("DB_RESULT", &value);
    task.shared().astdb.del(family, key);
    Ok(value)
}

fn group(task: &Task, args: &str) -> Result<String, String> {
    let name = argument(args, 0);
    task.shared()
        .astdb
        .get(DIALGROUP, &name)
        .ok_or_else(|| format!("DIALGROUP({name}): there is no such group yet; add a device with Set(DIALGROUP({name},add)=PJSIP/100)"))
}

fn set_group(task: &Task, args: &str, value: &str) -> Result<(), String> {
    let parts = args::split(args);
    let name = parts.first().map(|name| name.trim()).unwrap_or_default();
    let operation = parts
        .get(1)
        .map(|operation| operation.trim())
        .unwrap_or_default();
    if name.is_empty() {
        return Err("DIALGROUP needs the name of a group".to_owned());
    }
    let _changing = CHANGING
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let astdb = &task.shared().astdb;
    let old = astdb.get(DIALGROUP, name).unwrap_or_default();
    let new = change(&old, operation, value)?;
    if new != old {
        if new.is_empty() {
            astdb.del(DIALGROUP, name);
        } else {
            astdb
                .put(DIALGROUP, name, &new)
                .map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

/// The list of a group after an operation: `add`, `del`, or nothing to replace the whole list.
fn change(old: &str, operation: &str, value: &str) -> Result<String, String> {
    let named = value
        .split('&')
        .map(str::trim)
        .filter(|member| !member.is_empty());
    let mut members: Vec<&str> = old.split('&').filter(|member| !member.is_empty()).collect();
    match operation.to_ascii_lowercase().as_str() {
        "del" => {
            let gone: Vec<&str> = named.collect();
            members.retain(|member| !gone.contains(member));
        }
        "add" | "" => {
            if operation.is_empty() {
                members.clear();
            }
            for member in named {
                if !members.contains(&member) {
                    members.push(member);
                }
            }
        }
        other => {
            return Err(format!(
                "DIALGROUP: operation \"{other}\": known are add and del"
            ));
        }
    }
    if members.len() > MEMBERS_MAX {
        return Err(format!("DIALGROUP: a group may have {MEMBERS_MAX} members"));
    }
    Ok(members.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_database_is_a_family_and_a_key() {
        assert_eq!(split("cidname/100"), Ok(("cidname", "100")));
        assert_eq!(split("/a/b/c"), Ok(("a", "b/c")));
        for wrong in ["", "a", "a/", "/"] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn groups_grow_shrink_and_are_replaced() {
        for (old, operation, value, new) in [
            ("", "add", "PJSIP/101", "PJSIP/101"),
            ("PJSIP/101", "add", "PJSIP/102", "PJSIP/101&PJSIP/102"),
            ("PJSIP/101", "add", "PJSIP/101", "PJSIP/101"),
            (
                "PJSIP/101",
                "add",
                "PJSIP/102&PJSIP/103&",
                "PJSIP/101&PJSIP/102&PJSIP/103",
            ),
            ("PJSIP/101&PJSIP/102", "del", "PJSIP/101", "PJSIP/102"),
            (
                "PJSIP/101&PJSIP/102",
                "del",
                "PJSIP/109",
                "PJSIP/101&PJSIP/102",
            ),
            ("PJSIP/101", "", "PJSIP/7&PJSIP/8", "PJSIP/7&PJSIP/8"),
            ("PJSIP/101", "", "", ""),
        ] {
            assert_eq!(
                change(old, operation, value).as_deref(),
                Ok(new),
                "{old} {operation} {value}"
            );
        }
        assert!(change("", "mix", "x").is_err());
    }
}
