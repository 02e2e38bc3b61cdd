//! Queues: who waits, who works, and who is to work.

use strowger_core::events::known;
use strowger_core::queue::{Changed, Member, QueueInfo, moment, status_number};

use super::super::answer::Answer;
use super::super::request::is_true;
use super::Context;

fn queues(on: &Context<'_>) -> Vec<QueueInfo> {
    let wanted = on.request.get("Queue");
    on.manager.shared.queues.with(|table| {
        let mut names: Vec<String> = table
            .names()
            .filter(|name| wanted.is_empty() || *name == wanted)
            .map(str::to_owned)
            .collect();
        names.sort();
        names.iter().filter_map(|name| table.info(name)).collect()
    })
}

fn flag(yes: bool) -> &'static str {
    if yes { "1" } else { "0" }
}

pub(super) fn status(on: Context<'_>) -> String {
    let wanted = on.request.get("Member");
    let mut text = Answer::to(on.request);
    text.list("Queue status will follow");
    for queue in queues(&on) {
        let statistics = queue.statistics;
        let settings = &queue.settings;
        let level = format!("{:.1}", statistics.level_percent());
        text.bare_item("QueueParams")
            .line("Queue", &queue.name)
            .line("Max", settings.max_len.to_string())
            .line("Strategy", settings.strategy.as_str())
            .line("Calls", queue.entries.len().to_string())
            .line("Holdtime", statistics.hold_time.to_string())
            .line("TalkTime", statistics.talk_time.to_string())
            .line("Completed", statistics.completed.to_string())
            .line("Abandoned", statistics.abandoned.to_string())
            .line("ServiceLevel", settings.service_level.as_secs().to_string())
            .line("ServicelevelPerf", &level)
            .line(
                "ServicelevelPerf2",
                format!("{:.1}", statistics.all_in_level_percent()),
            )
            .line("Weight", settings.weight.to_string())
            .id()
            .end();
        let members = queue.members.iter().filter(|member| {
            wanted.is_empty() || member.interface == wanted || member.name == wanted
        });
        for member in members {
            let state = on.manager.shared.device_state(&member.state_interface);
            let rest = member.wrapup.map_or(0, |time| time.as_secs());
            text.bare_item("QueueMember")
                .line("Queue", &queue.name)
                .line("Name", &member.name)
                .line("Location", &member.interface)
                .line("StateInterface", &member.state_interface)
                .line("Membership", member.membership())
                .line("Penalty", member.penalty.to_string())
                .line("CallsTaken", member.calls.to_string())
                .line("LastCall", moment(member.last_call))
                .line("LastPause", moment(member.last_pause))
                .line("LoginTime", moment(member.logged_in))
                .line("InCall", flag(member.talking > 0))
                .line("Status", status_number(state))
                .line("Paused", flag(member.paused))
                .line("PausedReason", &member.reason)
                .line("Wrapuptime", rest.to_string())
                .id()
                .end();
        }
        for (position, entry) in queue.entries.iter().enumerate() {
            let arrival = &entry.arrival;
            text.bare_item("QueueEntry")
                .line("Queue", &queue.name)
                .line("Position", (position + 1).to_string())
                .line("Channel", &arrival.channel)
                .line("Uniqueid", &arrival.uniqueid)
                .line("CallerIDNum", known(&arrival.caller_number))
                .line("CallerIDName", known(&arrival.caller_name))
                .line("ConnectedLineNum", known(&arrival.connected_number))
                .line("ConnectedLineName", known(&arrival.connected_name))
                .line("Wait", entry.joined.elapsed().as_secs().to_string())
                .line("Priority", arrival.priority.to_string())
                .id()
                .end();
        }
    }
    text.complete("QueueStatusComplete").end();
    text.into_text()
}

pub(super) fn summary(on: Context<'_>) -> String {
    let mut text = Answer::to(on.request);
    text.list("Queue summary will follow");
    for queue in queues(&on) {
        let counts = on
            .manager
            .shared
            .queue(|table, now, states| table.count(&queue.name, now, states))
            .unwrap_or_default();
        let longest = queue
            .entries
            .iter()
            .map(|entry| entry.joined.elapsed().as_secs());
        text.bare_item("QueueSummary")
            .line("Queue", &queue.name)
            .line("LoggedIn", counts.logged.to_string())
            .line("Available", counts.free.to_string())
            .line("Callers", queue.entries.len().to_string())
            .line("HoldTime", queue.statistics.hold_time.to_string())
            .line("TalkTime", queue.statistics.talk_time.to_string())
            .line("LongestHoldTime", longest.max().unwrap_or(0).to_string())
            .id()
            .end();
    }
    text.complete("QueueSummaryComplete").end();
    text.into_text()
}

/// Queue and interface, both needed.
fn queue_and_interface<'r>(on: &Context<'r>) -> Result<(&'r str, &'r str), String> {
    let queue = on
        .request
        .given("Queue")
        .ok_or_else(|| on.error("'Queue' not specified."))?;
    let interface = on
        .request
        .given("Interface")
        .ok_or_else(|| on.error("'Interface' not specified."))?;
    Ok((queue, interface))
}

pub(super) fn add(on: Context<'_>) -> String {
    let (queue, interface) = match queue_and_interface(&on) {
        Ok(found) => found,
        Err(text) => return text,
    };
    let request = on.request;
    let name = request.get("MemberName");
    let mut member = Member::new(interface).named(name, request.get("StateInterface"));
    member.penalty = request.get("Penalty").trim().parse().unwrap_or(0);
    member.paused = request.given("Paused").is_some_and(is_true);
    request.get("Reason").clone_into(&mut member.reason);
    match on.manager.shared.add_queue_member(queue, member, "MANAGER") {
        Changed::Done => on.success("Added interface to queue"),
        Changed::NoSuchQueue => on.error("Unable to add interface to queue: No such queue"),
        Changed::Not | Changed::NotDynamic => on.error("Unable to add interface: Already there"),
    }
}

pub(super) fn remove(on: Context<'_>) -> String {
    let (queue, interface) = match queue_and_interface(&on) {
        Ok(found) => found,
        Err(text) => return text,
    };
    match on
        .manager
        .shared
        .remove_queue_member(queue, interface, "MANAGER")
    {
        Changed::Done => on.success("Removed interface from queue"),
        Changed::NoSuchQueue => on.error("Unable to remove interface from queue: No such queue"),
        Changed::Not => on.error("Unable to remove interface: Not there"),
        Changed::NotDynamic => on.error("Member not dynamic"),
    }
}

pub(super) fn pause(on: Context<'_>) -> String {
    let request = on.request;
    let (Some(interface), Some(paused)) = (request.given("Interface"), request.given("Paused"))
    else {
        return on.error("Need 'Interface' and 'Paused' parameters.");
    };
    let paused = is_true(paused);
    let reason = request.get("Reason");
    let shared = &on.manager.shared;
    if !shared.pause_queue_member(request.given("Queue"), interface, paused, reason) {
        return on.error("Interface not found");
    }
    on.success(if paused {
        "Interface paused successfully"
    } else {
        "Interface unpaused successfully"
    })
}

pub(super) fn penalty(on: Context<'_>) -> String {
    let request = on.request;
    let (Some(interface), Some(text)) = (request.given("Interface"), request.given("Penalty"))
    else {
        return on.error("Need 'Interface' and 'Penalty' parameters.");
    };
    let Ok(penalty) = text.trim().parse::<u32>() else {
        return on.error("Invalid interface, queuename or penalty");
    };
    let columns = [("penalty", text.trim())];
    let changed = on.manager.shared.change_queue_member(
        request.given("Queue"),
        interface,
        &columns,
        |member| member.penalty = penalty,
    );
    if changed.is_empty() {
        return on.error("Invalid interface, queuename or penalty");
    }
    for (queue, member) in &changed {
        let data = [text.trim()];
        let shared = &on.manager.shared;
        shared.queue_log("MANAGER", queue, &member.name, "PENALTY", &data);
    }
    on.success("Interface penalty set successfully")
}

pub(super) fn log(on: Context<'_>) -> String {
    let request = on.request;
    let (Some(queue), Some(event)) = (request.given("Queue"), request.given("Event")) else {
        return on.error("Need 'Queue' and 'Event' parameters.");
    };
    on.manager.shared.queue_log(
        request.given("Uniqueid").unwrap_or("NONE"),
        queue,
        request.given("Interface").unwrap_or("NONE"),
        event,
        &[request.get("Message")],
    );
    on.success("Event added successfully")
}

pub(super) fn reset(on: Context<'_>) -> String {
    let wanted = on.request.get("Queue");
    let found = on.manager.shared.queues.with(|table| {
        let names: Vec<String> = table
            .names()
            .filter(|name| wanted.is_empty() || *name == wanted)
            .map(str::to_owned)
            .collect();
        for name in &names {
            table.reset_statistics(name);
        }
        !names.is_empty()
    });
    if found || wanted.is_empty() {
        on.success("Queue stats reset successfully")
    } else {
        on.error("No such queue")
    }
}

pub(super) fn ring_in_use(on: Context<'_>) -> String {
    let request = on.request;
    let (Some(interface), Some(text)) = (request.given("Interface"), request.given("RingInUse"))
    else {
        return on.error("Need 'Interface' and 'RingInUse' parameters.");
    };
    let ring = is_true(text);
    let columns = [("ringinuse", flag(ring))];
    let changed = on.manager.shared.change_queue_member(
        request.given("Queue"),
        interface,
        &columns,
        |member| member.ring_in_use = Some(ring),
    );
    if changed.is_empty() {
        return on.error("Invalid interface, queuename or ringinuse value");
    }
    on.success("Interface ringinuse set successfully")
}

pub(super) async fn reload(on: Context<'_>) -> String {
    let wanted = on.request.get("Queue");
    let known = on.manager.shared.queues.with(|table| table.exists(wanted));
    if !wanted.is_empty() && !known {
        return on.error("No such queue");
    }
    // Whoever may do nothing else may ask for this: only what changed in the tables is read, a little earlier than by itself.
    match on.manager.shared.realtime.look_now().await {
        Ok(_) => on.success("Queue reloaded successfully"),
        Err(error) => {
            tracing::warn!(%error, "Manager: QueueReload");
            on.error("An unknown error occurred")
        }
    }
}

/// Rules of penalties as they are written down, in the order of their times.
pub(super) fn rules(on: Context<'_>) -> String {
    let wanted = on.request.given("Rule");
    let snapshot = on.manager.shared.snapshot();
    let mut rules: Vec<(String, u64, String)> = Vec::new();
    let lines = snapshot.statics.iter().filter(|row| {
        row.filename.eq_ignore_ascii_case("queuerules.conf")
            && row.var_name.eq_ignore_ascii_case("penaltychange")
    });
    for row in lines {
        let (time, change) = row.var_val.split_once(',').unwrap_or((&row.var_val, ""));
        if let Ok(time) = time.trim_start_matches('>').trim().parse() {
            rules.push((row.category.clone(), time, change.trim().to_owned()));
        }
    }
    for row in &*snapshot.queue_rules {
        if let Ok(time) = row.get("time").trim().parse() {
            let change = format!("{},{}", row.get("max_penalty"), row.get("min_penalty"));
            rules.push((row.get("rule_name").to_owned(), time, change));
        }
    }
    rules.retain(|(name, _, _)| wanted.is_none_or(|wanted| *wanted == **name));
    if let Some(name) = wanted.filter(|_| rules.is_empty()) {
        return on.error(&format!("Invalid rule name {name}"));
    }
    rules.sort();
    let mut text = Answer::to(on.request);
    text.response("Success");
    for one in rules.chunk_by(|a, b| a.0 == b.0) {
        if let Some((name, _, _)) = one.first() {
            text.line("RuleList", name);
        }
        for (_, time, change) in one {
            text.line("Rule", format!("{time},{change}"));
        }
    }
    text.end();
    text.into_text()
}

/// Queue and caller, both needed: the name of the caller's channel.
fn queue_and_caller<'r>(on: &Context<'r>) -> Result<(&'r str, &'r str), String> {
    let queue = on
        .request
        .given("Queue")
        .ok_or_else(|| on.error("'Queue' not specified."))?;
    let caller = on
        .request
        .given("Caller")
        .ok_or_else(|| on.error("'Caller' not specified."))?;
    if on.manager.shared.queues.with(|table| table.exists(queue)) {
        Ok((queue, caller))
    } else {
        Err(on.error("Unable to find queue"))
    }
}

pub(super) fn change_priority(on: Context<'_>) -> String {
    let (queue, caller) = match queue_and_caller(&on) {
        Ok(found) => found,
        Err(text) => return text,
    };
    let Some(priority) = on.request.given("Priority") else {
        return on.error("'Priority' not specified.");
    };
    let Ok(priority) = priority.trim().parse::<i64>() else {
        return on.error("Priority need to be integer");
    };
    let queues = &on.manager.shared.queues;
    if queues.with(|table| table.set_priority(queue, caller, priority)) {
        on.success("Priority change for caller on queue")
    } else {
        on.error("Unable to change priority caller on queue: No such caller")
    }
}

pub(super) fn withdraw(on: Context<'_>) -> String {
    let (queue, caller) = match queue_and_caller(&on) {
        Ok(found) => found,
        Err(text) => return text,
    };
    let info = on.request.get("WithdrawInfo");
    let queues = &on.manager.shared.queues;
    if queues.with(|table| table.withdraw(queue, caller, info)) {
        on.success("Withdraw requested successfully")
    } else {
        on.error("Caller not found in queue")
    }
}
