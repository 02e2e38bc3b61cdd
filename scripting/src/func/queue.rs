//! Functions about queues and their members.

use strowger_core::queue::QueueInfo;

use super::text::is_yes;
use super::{Function, argument};
use crate::app;
use crate::task::Task;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::read(
        "QUEUE_EXISTS",
        "QUEUE_EXISTS(queue)",
        "1 if there is such a queue, else 0",
        |task, args| {
            let shared = task.shared();
            let exists = shared.queue(|table, _, _| table.exists(args.trim()));
            Ok(u8::from(exists).to_string())
        },
    ),
    Function::read(
        "QUEUE_WAITING_COUNT",
        "QUEUE_WAITING_COUNT(queue)",
        "how many callers wait",
        |task, args| {
            let shared = task.shared();
            let waiting = shared.queue(|table, _, _| table.waiting(args.trim()));
            Ok(waiting.unwrap_or(0).to_string())
        },
    ),
    Function::read(
        "QUEUE_MEMBER_LIST",
        "QUEUE_MEMBER_LIST(queue)",
        "the interfaces of all members",
        |task, args| {
            let members = needed(task, args.trim())?.members;
            let names: Vec<String> = members.into_iter().map(|one| one.interface).collect();
            Ok(names.join(","))
        },
    ),
    Function::read_write(
        "QUEUE_MEMBER",
        "QUEUE_MEMBER(queue,logged|free|ready|count|penalty|paused|ringinuse[,interface])",
        "how many members there are, or something of one",
        member,
        set_member,
    )
    .reaching_when_written(),
    Function::read(
        "QUEUE_MEMBER_COUNT",
        "QUEUE_MEMBER_COUNT(queue)",
        "how many members can be reached",
        |task, args| count(task, args.trim(), "logged"),
    ),
    Function::read_write(
        "QUEUE_MEMBER_PENALTY",
        "QUEUE_MEMBER_PENALTY(queue,interface)",
        "the penalty of a member",
        |task, args| {
            let (queue, interface) = (argument(args, 0), argument(args, 1));
            member(task, &format!("{queue},penalty,{interface}"))
        },
        |task, args, value| {
            let (queue, interface) = (argument(args, 0), argument(args, 1));
            set_member(task, &format!("{queue},penalty,{interface}"), value)
        },
    )
    .reaching_when_written(),
    Function::read(
        "QUEUE_VARIABLES",
        "QUEUE_VARIABLES(queue)",
        "sets the variables QUEUE... of a queue; 0 if it exists, else -1",
        |task, args| {
            Ok(match info(task, args.trim()) {
                Some(info) => {
                    app::queue::set_queue_variables(&task.channel, &info);
                    "0"
                }
                None => "-1",
            }
            .to_owned())
        },
    ),
    Function::read(
        "QUEUE_GET_CHANNEL",
        "QUEUE_GET_CHANNEL(queue[,position])",
        "the channel of a caller who waits",
        |task, args| {
            let info = needed(task, &argument(args, 0))?;
            let position: usize = match argument(args, 1).as_str() {
                "" => 1,
                text => text
                    .parse()
                    .map_err(|_| format!("QUEUE_GET_CHANNEL: position \"{text}\" is no number"))?,
            };
            let entry = info.entries.get(position.wrapping_sub(1));
            Ok(entry.map_or_else(String::new, |entry| entry.arrival.channel.clone()))
        },
    ),
];

fn info(task: &Task, queue: &str) -> Option<QueueInfo> {
    task.shared().queue(|table, _, _| table.info(queue))
}

fn needed(task: &Task, queue: &str) -> Result<QueueInfo, String> {
    info(task, queue).ok_or_else(|| format!("there is no queue \"{queue}\""))
}

fn count(task: &Task, queue: &str, what: &str) -> Result<String, String> {
    let counts = task
        .shared()
        .queue(|table, now, states| table.count(queue, now, states))
        .ok_or_else(|| format!("there is no queue \"{queue}\""))?;
    let number = match what {
        "logged" => counts.logged,
        "free" => counts.free,
        "ready" => counts.ready,
        _ => counts.count,
    };
    Ok(number.to_string())
}

fn member(task: &Task, args: &str) -> Result<String, String> {
    let (queue, option, interface) = (
        argument(args, 0),
        argument(args, 1).to_ascii_lowercase(),
        argument(args, 2),
    );
    match option.as_str() {
        "logged" | "free" | "ready" | "count" => return count(task, &queue, &option),
        "penalty" | "paused" | "ringinuse" | "ignorebusy" => {}
        other => {
            return Err(format!(
                "QUEUE_MEMBER: \"{other}\": known are logged, free, ready, count, penalty, paused, ringinuse"
            ));
        }
    }
    let found = task.shared().queue(|table, _, _| {
        let (settings, _) = table.settings(&queue)?;
        Some((
            settings.ring_in_use,
            table.member(&queue, &interface).cloned(),
        ))
    });
    let (of_queue, member) = found.ok_or_else(|| format!("there is no queue \"{queue}\""))?;
    let member = member.ok_or_else(|| {
        format!("QUEUE_MEMBER: \"{interface}\" is no member of the queue {queue}")
    })?;
    let ring_in_use = member.ring_in_use.unwrap_or(of_queue);
    Ok(match option.as_str() {
        "penalty" => member.penalty.to_string(),
        "paused" => u8::from(member.paused).to_string(),
        _ => u8::from(ring_in_use).to_string(),
    })
}

fn set_member(task: &Task, args: &str, value: &str) -> Result<(), String> {
    let (queue, option, interface) = (
        argument(args, 0),
        argument(args, 1).to_ascii_lowercase(),
        argument(args, 2),
    );
    let shared = task.shared();
    let queue = Some(queue.as_str()).filter(|queue| !queue.is_empty());
    let found = match option.as_str() {
        "penalty" => {
            let penalty: u32 = value
                .trim()
                .parse()
                .map_err(|_| format!("QUEUE_MEMBER: penalty \"{value}\" is no number from 0 on"))?;
            let text = penalty.to_string();
            let changed =
                shared.change_queue_member(queue, &interface, &[("penalty", &text)], |member| {
                    member.penalty = penalty;
                });
            for (name, member) in &changed {
                shared.queue_log("NONE", name, &member.name, "PENALTY", &[&text]);
            }
            !changed.is_empty()
        }
        "paused" => shared.pause_queue_member(queue, &interface, is_yes(value), ""),
        "ringinuse" | "ignorebusy" => {
            let on = is_yes(value);
            let text = if on { "yes" } else { "no" };
            let changed =
                shared.change_queue_member(queue, &interface, &[("ringinuse", text)], |member| {
                    member.ring_in_use = Some(on);
                });
            for (name, member) in &changed {
                let flag = u8::from(on).to_string();
                shared.queue_log("NONE", name, &member.name, "RINGINUSE", &[&flag]);
            }
            !changed.is_empty()
        }
        other => {
            return Err(format!(
                "QUEUE_MEMBER: \"{other}\" cannot be set; penalty, paused and ringinuse can"
            ));
        }
    };
    if found {
        Ok(())
    } else {
        Err(format!(
            "QUEUE_MEMBER: \"{interface}\" is no member of {}",
            queue.map_or_else(
                || "any queue".to_owned(),
                |queue| format!("the queue {queue}")
            )
        ))
    }
}
