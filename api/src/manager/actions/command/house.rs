//! The exchange: its end, queues, call records, codecs, its key-value database, and what is not printed here.

use std::time::Instant;

use strowger_core::conference::Table;
use strowger_core::ending::{When, Wish};
use strowger_core::queue::QueueInfo;

use super::super::super::classes::Classes;
use super::super::Context;
use super::super::phones::words as state_words;
use super::{Output, count, failed, printed, usage};

fn queue_lines(on: &Context<'_>, queue: &QueueInfo) -> Vec<String> {
    let (settings, statistics) = (&queue.settings, queue.statistics);
    let most = match settings.max_len {
        0 => "unlimited".to_owned(),
        most => most.to_string(),
    };
    let mut lines = vec![format!(
        "{} has {} calls (max {most}) in '{}' strategy ({}s holdtime, {}s talktime), W:{}, C:{}, A:{}, SL:{:.1}%, \
         SL2:{:.1}% within {}s",
        queue.name,
        queue.entries.len(),
        settings.strategy.as_str(),
        statistics.hold_time,
        statistics.talk_time,
        settings.weight,
        statistics.completed,
        statistics.abandoned,
        statistics.level_percent(),
        statistics.all_in_level_percent(),
        settings.service_level.as_secs()
    )];
    let ago = |at: Option<Instant>| at.map_or(0, |at| at.elapsed().as_secs());
    if queue.members.is_empty() {
        lines.push("   No Members".to_owned());
    } else {
        lines.push("   Members: ".to_owned());
    }
    for member in &queue.members {
        let mut line = format!("      {}", member.name);
        if member.name != member.interface {
            line.push_str(&format!(" ({}", member.interface));
            if member.state_interface != member.interface {
                line.push_str(&format!(" from {}", member.state_interface));
            }
            line.push(')');
        }
        if member.penalty > 0 {
            line.push_str(&format!(" with penalty {}", member.penalty));
        }
        let rings = member.ring_in_use.unwrap_or(settings.ring_in_use);
        let rings = if rings { "enabled" } else { "disabled" };
        line.push_str(&format!(" (ringinuse {rings})"));
        if member.dynamic {
            line.push_str(" (dynamic)");
        }
        if member.realtime.is_some() {
            line.push_str(" (realtime)");
        }
        if member.talking > 0 {
            line.push_str(" (in call)");
        }
        if member.paused {
            let reason = match member.reason.as_str() {
                "" => String::new(),
                reason => format!(":{reason}"),
            };
            let since = ago(member.last_pause);
            line.push_str(&format!(" (paused{reason} was {since} secs ago)"));
        }
        let state = on.manager.shared.device_state(&member.state_interface);
        line.push_str(&format!(" ({})", state_words(state)));
        line.push_str(&match member.calls {
            0 => " has taken no calls yet".to_owned(),
            calls => format!(
                " has taken {calls} calls (last was {} secs ago)",
                ago(member.last_call)
            ),
        });
        lines.push(line);
    }
    if queue.entries.is_empty() {
        lines.push("   No Callers".to_owned());
    } else {
        lines.push("   Callers: ".to_owned());
    }
    for (place, entry) in queue.entries.iter().enumerate() {
        let waits = entry.joined.elapsed().as_secs();
        lines.push(format!(
            "      {}. {} (wait: {}:{:02}, prio: {})",
            place + 1,
            entry.arrival.channel,
            waits / 60,
            waits % 60,
            entry.arrival.priority
        ));
    }
    lines.push(String::new());
    lines
}

pub(super) fn queues(on: &Context<'_>, wanted: Option<&str>) -> Output {
    let queues: Vec<QueueInfo> = on.manager.shared.queues.with(|table| {
        let mut names: Vec<String> = table.names().map(str::to_owned).collect();
        names.retain(|name| wanted.is_none_or(|wanted| wanted == name));
        names.sort();
        names.iter().filter_map(|name| table.info(name)).collect()
    });
    match (queues.as_slice(), wanted) {
        ([], Some(name)) => failed(format!("No such queue: {name}.")),
        ([], None) => printed(vec!["No queues.".to_owned()]),
        (queues, _) => printed(
            queues
                .iter()
                .flat_map(|queue| queue_lines(on, queue))
                .collect(),
        ),
    }
}

/// `core stop ...`, `core restart ...`, `core abort shutdown`: for users of class `system`, whatever else a command asks.
pub(super) fn end(on: &Context<'_>, verb: &str, rest: &[&str]) -> Option<Output> {
    let when = match (verb, rest) {
        ("abort", ["shutdown"]) => None,
        ("stop" | "restart", ["now"]) => Some(When::Now),
        ("stop" | "restart", ["gracefully"]) => Some(When::LastCall),
        ("stop" | "restart", ["when", "convenient"]) => Some(When::Convenient),
        _ => return None,
    };
    if on.user.write.both(Classes::SYSTEM).is_none() {
        return Some(failed("Permission denied".to_owned()));
    }
    let shared = &on.manager.shared;
    let user = on.user.name.as_str();
    let (done, why) = match when {
        Some(when) => {
            let restart = verb == "restart";
            let done = shared.ask_to_end(Wish { when, restart });
            (done, "An end as soon as this one is under way already.")
        }
        None => (
            shared.end_no_more(),
            "There is no shutdown that can be aborted.",
        ),
    };
    if !done {
        return Some(failed(why.to_owned()));
    }
    tracing::info!(user, command = %format_args!("core {verb} {}", rest.join(" ")), "Manager: the end of the exchange");
    Some(printed(match when {
        Some(When::LastCall | When::Convenient) => {
            let what = if verb == "restart" { "restart" } else { "halt" };
            vec![format!("Waiting for inactivity to perform {what}...")]
        }
        _ => Vec::new(),
    }))
}

pub(super) fn records(on: &Context<'_>) -> Output {
    let yes = |yes: bool| if yes { "Yes" } else { "No" };
    let shared = &on.manager.shared;
    printed(vec![
        String::new(),
        "Call Detail Record (CDR) settings".to_owned(),
        "----------------------------------".to_owned(),
        "  Logging:                    Enabled".to_owned(),
        "  Mode:                       Batch".to_owned(),
        String::new(),
        "* Registered Backends".to_owned(),
        "  -------------------".to_owned(),
        "    Table cdr".to_owned(),
        format!(
            "    Manager events            ({})",
            yes(on.manager.settings().records)
        ),
        format!(
            "  Database answers:           {}",
            yes(shared.realtime.healthy())
        ),
        String::new(),
    ])
}

pub(super) fn database(on: &Context<'_>, lower: &[&str], words: &[&str]) -> Output {
    let astdb = &on.manager.shared.astdb;
    match lower {
        ["show", rest @ ..] if rest.len() <= 2 => {
            // Families and keys have a case.
            let all = astdb.tree(&words[1..].join("/"));
            let rows = all.iter();
            let mut lines: Vec<String> = rows
                .map(|(key, value)| format!("{key:<50}: {value:<25}"))
                .collect();
            lines.push(format!("{} results found.", all.len()));
            printed(lines)
        }
        ["showkey", _] => {
            let ending = format!("/{}", words[1]);
            let all = astdb.tree("");
            let rows = all.iter().filter(|(key, _)| key.ends_with(&ending));
            let mut lines: Vec<String> = rows
                .map(|(key, value)| format!("{key:<50}: {value:<25}"))
                .collect();
            let found = lines.len();
            lines.push(format!("{found} results found."));
            printed(lines)
        }
        ["get", _, _] => match astdb.get(words[1], words[2]) {
            Some(value) => printed(vec![format!("Value: {value}")]),
            None => printed(vec!["Database entry not found.".to_owned()]),
        },
        ["put", _, _, _] => {
            let put = astdb.put(words[1], words[2], words[3]);
            printed(vec![match put {
                Ok(()) => "Updated database successfully".to_owned(),
                Err(_) => "Failed to update entry".to_owned(),
            }])
        }
        ["del", _, _] => printed(vec![
            if astdb.del(words[1], words[2]) {
                "Database entry removed."
            } else {
                "Database entry could not be removed."
            }
            .to_owned(),
        ]),
        ["deltree", _, rest @ ..] if rest.len() <= 1 => {
            let removed = astdb.deltree(words[1], words.get(2).copied());
            printed(vec![match removed {
                0 => "Database unavailable or no entries.".to_owned(),
                removed => format!("{removed} database entries removed."),
            }])
        }
        _ => usage(&[
            "database show [family [keytree]]",
            "database showkey <keytree>",
            "database get <family> <key>",
            "database put <family> <key> <value>",
            "database del <family> <key>",
            "database deltree <family> [keytree]",
        ]),
    }
}

/// Conferences, or who is in one.
pub(super) fn conferences(on: &Context<'_>) -> Output {
    let rooms = on.manager.shared.conferences.read(Table::list);
    let row = |name: &str, users: &str, marked: &str, locked: &str, muted: &str| {
        format!("{name:<32} {users:>6} {marked:>6} {locked:>6} {muted:>5}")
    };
    let mut lines = vec![
        row(
            "Conference Bridge Name",
            "Users",
            "Marked",
            "Locked",
            "Muted",
        ),
        format!(
            "{} {} {} {} {}",
            "=".repeat(32),
            "=".repeat(6),
            "=".repeat(6),
            "=".repeat(6),
            "=".repeat(5)
        ),
    ];
    let yes = |yes: bool| if yes { "Yes" } else { "No" };
    lines.extend(rooms.iter().map(|room| {
        row(
            &room.name,
            &room.parties.to_string(),
            &room.marked.to_string(),
            yes(room.locked),
            yes(room.muted),
        )
    }));
    printed(lines)
}

/// What Asterisk prints to its console while it goes on.
pub(super) fn not_printed(what: &str) -> Output {
    failed(format!(
        "{what} are not printed to a console: trace a call with `strowger trace` or GET /trace, which say what they keep"
    ))
}

/// `core show settings`.
pub(super) fn settings(on: &Context<'_>) -> Output {
    let shared = &on.manager.shared;
    let local = |time: std::time::SystemTime| {
        let time = chrono::DateTime::<chrono::Local>::from(time);
        time.format("%Y/%m/%d %H:%M:%S").to_string()
    };
    let reloaded = on
        .manager
        .reloaded
        .load(std::sync::atomic::Ordering::Relaxed);
    let reloaded = std::time::UNIX_EPOCH + std::time::Duration::from_secs(reloaded);
    let row = |name: &str, value: &str| format!("  {name:<28} {value}");
    let yes = |yes: bool| if yes { "Enabled" } else { "Disabled" };
    let manager = on.manager.settings();
    printed(vec![
        String::new(),
        "PBX Core settings".to_owned(),
        "-----------------".to_owned(),
        row("Version:", &super::super::system::version()),
        row("Maximum calls:", "Not set"),
        row("Startup time:", &local(shared.started)),
        row("Last reload time:", &local(reloaded)),
        row("Signalling threads:", &shared.inboxes().len().to_string()),
        String::new(),
        "* Subsystems".to_owned(),
        "  -------------".to_owned(),
        row("Manager (AMI):", yes(manager.enabled)),
        row("Web Manager (AMI/HTTP):", yes(manager.web_enabled)),
        row("Call data records:", "Enabled"),
        row("Realtime Architecture (ARA):", "Enabled"),
        String::new(),
        "* Directories".to_owned(),
        "  -------------".to_owned(),
        row(
            "Data directory:",
            &shared.paths().data.display().to_string(),
        ),
        String::new(),
        count(on.manager.plans.current().contexts().count(), "context"),
    ])
}
