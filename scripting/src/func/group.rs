//! What channels tell each other: groups that calls are counted in, shared values, and who there is.

use regex::RegexBuilder;

use super::{Function, argument};
use crate::task::Task;

/// Largest regular expression, compiled, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::read_write(
        "GROUP",
        "GROUP([category])",
        "the group that the call is counted in",
        |task, args| {
            let directory = &task.shared().directory;
            let group = directory.group(&task.channel.name(), args.trim());
            Ok(group.unwrap_or_default())
        },
        set_group,
    ),
    Function::read(
        "GROUP_COUNT",
        "GROUP_COUNT([group][@category])",
        "how many calls are in a group",
        group_count,
    ),
    Function::read(
        "GROUP_MATCH_COUNT",
        "GROUP_MATCH_COUNT(pattern[@category pattern])",
        "how many calls are in groups that match",
        group_match_count,
    ),
    Function::read(
        "GROUP_LIST",
        "GROUP_LIST()",
        "the groups of the call",
        |task, _| {
            let groups = task.shared().directory.groups(&task.channel.name());
            let named: Vec<String> = groups
                .into_iter()
                .map(|(category, group)| {
                    if category.is_empty() {
                        group
                    } else {
                        format!("{group}@{category}")
                    }
                })
                .collect();
            Ok(named.join(" "))
        },
    ),
    Function::read_write(
        "SHARED",
        "SHARED(variable[,channel])",
        "a value that other channels see",
        |task, args| {
            let (variable, channel) = shared_place(task, args)?;
            task.shared()
                .directory
                .shared(&channel, &variable)
                .ok_or_else(|| format!("SHARED({args}): there is no channel {channel}"))
        },
        |task, args, value| {
            let (variable, channel) = shared_place(task, args)?;
            if task
                .shared()
                .directory
                .set_shared(&channel, &variable, value)
            {
                Ok(())
            } else {
                Err(format!(
                    "SHARED({args}): there is no channel {channel}, or it shares too many values"
                ))
            }
        },
    )
    .reaching_when_written(),
    Function::read(
        "CHANNELS",
        "CHANNELS([pattern])",
        "the names of all channels",
        |task, args| {
            let pattern = pattern(args)?;
            let names = task.shared().directory.names(|name| pattern.is_match(name));
            Ok(names.join(" "))
        },
    ),
    Function::read(
        "CHANNEL_EXISTS",
        "CHANNEL_EXISTS(name)",
        "1 if there is such a channel, else 0",
        |task, args| Ok(u8::from(task.shared().directory.exists(args.trim())).to_string()),
    ),
];

/// Case is no matter, as with Asterisk.
fn pattern(text: &str) -> Result<regex::Regex, String> {
    RegexBuilder::new(text.trim())
        .case_insensitive(true)
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| format!("\"{text}\" is no regular expression: {error}"))
}

fn set_group(task: &Task, args: &str, value: &str) -> Result<(), String> {
    let (group, category) = match value.split_once('@') {
        Some((group, category)) => (group.trim(), category.trim()),
        None => (value.trim(), args.trim()),
    };
    if task
        .shared()
        .directory
        .set_group(&task.channel.name(), category, group)
    {
        Ok(())
    } else {
        Err(format!(
            "GROUP({category})={group}: the call is in {} categories already, or over",
            strowger_core::channel::GROUPS_MAX
        ))
    }
}

fn group_count(task: &Task, args: &str) -> Result<String, String> {
    let directory = &task.shared().directory;
    let (group, category) = args.trim().split_once('@').unwrap_or((args.trim(), ""));
    // Without a category all of them count.
    let fits = |known: &str| category.is_empty() || known.eq_ignore_ascii_case(category);
    let group = if group.is_empty() {
        let groups = directory.groups(&task.channel.name());
        let own = groups.into_iter().find(|(known, _)| fits(known));
        own.map(|(_, group)| group).unwrap_or_default()
    } else {
        group.to_owned()
    };
    let count =
        directory.group_match_count(|known, name| fits(known) && name.eq_ignore_ascii_case(&group));
    Ok(count.to_string())
}

fn group_match_count(task: &Task, args: &str) -> Result<String, String> {
    let (groups, categories) = match args.trim().split_once('@') {
        Some((groups, categories)) => (groups, Some(pattern(categories)?)),
        None => (args.trim(), None),
    };
    if groups.is_empty() {
        return Err("GROUP_MATCH_COUNT needs a pattern".to_owned());
    }
    let groups = pattern(groups)?;
    let count = task
        .shared()
        .directory
        .group_match_count(|category, group| {
            groups.is_match(group)
                && categories
                    .as_ref()
                    .is_none_or(|categories| categories.is_match(category))
        });
    Ok(count.to_string())
}

fn shared_place(task: &Task, args: &str) -> Result<(String, String), String> {
    let (variable, channel) = (argument(args, 0), argument(args, 1));
    if variable.is_empty() {
        return Err("SHARED needs the name of a variable".to_owned());
    }
    let channel = if channel.is_empty() {
        task.channel.name().to_string()
    } else {
        channel
    };
    Ok((variable, channel))
}
