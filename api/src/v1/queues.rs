//! Queues: who waits and who works. They belong to no group: only keys without one see them.

use serde::{Deserialize, Serialize};
use strowger_core::queue::{Changed, Member, QueueInfo};
use utoipa::ToSchema;
use warp::http::StatusCode;

use super::problem::Problem;
use super::{Answered, On, done};
use crate::http::json;

/// Who asks, in `queue_log`.
const WHO: &str = "API";

/// A queue.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QueueView {
    name: String,
    strategy: String,
    /// Callers that may wait; 0: any number.
    callers_max: usize,
    completed: u64,
    abandoned: u64,
    /// Seconds, on average.
    hold_time: u64,
    talk_time: u64,
    /// Calls answered within the time that the queue promises, in percent.
    service_level: f64,
    members: Vec<QueueMemberView>,
    callers: Vec<CallerView>,
}

/// Somebody who works in a queue.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QueueMemberView {
    interface: String,
    name: String,
    /// Asterisk's word: `NOT_INUSE`, `INUSE`, ...
    state: &'static str,
    penalty: u32,
    paused: bool,
    pause_reason: String,
    /// Calls taken.
    calls: u64,
    talking: bool,
    /// Came by a call or a program, and not by a row.
    dynamic: bool,
}

/// Somebody who waits.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CallerView {
    /// From 1.
    position: usize,
    /// The unique id of the call.
    id: String,
    channel: String,
    caller_number: String,
    caller_name: String,
    waits_s: u64,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QueueList {
    queues: Vec<QueueView>,
}

fn view(on: &On, queue: &QueueInfo) -> QueueView {
    let statistics = queue.statistics;
    let members = queue.members.iter().map(|member| QueueMemberView {
        interface: member.interface.clone(),
        name: member.name.clone(),
        state: on.shared().device_state(&member.state_interface).as_str(),
        penalty: member.penalty,
        paused: member.paused,
        pause_reason: member.reason.clone(),
        calls: member.calls,
        talking: member.talking > 0,
        dynamic: member.dynamic,
    });
    let callers = queue
        .entries
        .iter()
        .enumerate()
        .map(|(index, entry)| CallerView {
            position: index + 1,
            id: entry.arrival.uniqueid.clone(),
            channel: entry.arrival.channel.clone(),
            caller_number: entry.arrival.caller_number.clone(),
            caller_name: entry.arrival.caller_name.clone(),
            waits_s: entry.joined.elapsed().as_secs(),
        });
    QueueView {
        name: queue.name.clone(),
        strategy: queue.settings.strategy.as_str().to_owned(),
        callers_max: queue.settings.max_len,
        completed: statistics.completed,
        abandoned: statistics.abandoned,
        hold_time: statistics.hold_time,
        talk_time: statistics.talk_time,
        service_level: statistics.level_percent(),
        members: members.collect(),
        callers: callers.collect(),
    }
}

fn missing(name: &str) -> Problem {
    Problem::missing(format_args!("queue {name}"))
}

/// The queues, by name.
#[utoipa::path(get, path = "/api/v1/queues", tag = "queues", responses((status = 200, body = QueueList)))]
pub(super) fn list(on: &On) -> Answered {
    on.unbound()?;
    let queues = on.shared().queues.with(|table| {
        let mut names: Vec<String> = table.names().map(str::to_owned).collect();
        names.sort();
        names
            .iter()
            .filter_map(|name| table.info(name))
            .collect::<Vec<_>>()
    });
    let queues = queues.iter().map(|queue| view(on, queue)).collect();
    Ok(json(StatusCode::OK, &QueueList { queues }))
}

/// One queue.
#[utoipa::path(get, path = "/api/v1/queues/{name}", tag = "queues", params(("name" = String, Path)),
    responses((status = 200, body = QueueView), (status = 404, description = "There is none", content_type = "application/problem+json")))]
pub(super) fn one(on: &On) -> Answered {
    on.unbound()?;
    let found = on.shared().queues.with(|table| table.info(on.place(0)));
    let found = found.ok_or_else(|| missing(on.place(0)))?;
    Ok(json(StatusCode::OK, &view(on, &found)))
}

/// Somebody who is to work.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"interface": "PJSIP/100", "name": "Alice"}))]
pub(super) struct MemberBody {
    /// `PJSIP/100`.
    #[schema(pattern = "^[^/]*/.")]
    interface: String,
    #[serde(default)]
    name: String,
    /// Whose state says whether he is free; the interface if missing.
    #[serde(default)]
    state_interface: String,
    #[serde(default)]
    #[schema(maximum = 2_147_483_647)]
    penalty: u32,
    #[serde(default)]
    paused: bool,
}

/// What the column of the penalty holds.
const PENALTY_MAX: u32 = i32::MAX.unsigned_abs();

fn within(penalty: u32) -> Result<(), Problem> {
    if penalty <= PENALTY_MAX {
        return Ok(());
    }
    let why = format!("penalty: {penalty} is more than {PENALTY_MAX}");
    Err(Problem::bad(why))
}

/// Has somebody work in a queue.
#[utoipa::path(post, path = "/api/v1/queues/{name}/members", tag = "queues", request_body = MemberBody, params(("name" = String, Path)),
    responses((status = 204, description = "He works"), (status = 404, description = "There is no such queue", content_type = "application/problem+json"),
        (status = 409, description = "He works there", content_type = "application/problem+json")))]
pub(super) async fn add(mut on: On) -> Answered {
    on.unbound()?;
    let body: MemberBody = on.body().await?;
    if body
        .interface
        .split_once('/')
        .is_none_or(|(_, rest)| rest.is_empty())
    {
        return Err(Problem::bad(
            "interface: TECHNOLOGY/RESOURCE is wanted, such as PJSIP/100",
        ));
    }
    within(body.penalty)?;
    let mut member = Member::new(&body.interface).named(&body.name, &body.state_interface);
    member.penalty = body.penalty;
    member.paused = body.paused;
    match on.shared().add_queue_member(on.place(0), member, WHO) {
        Changed::Done => {}
        Changed::NoSuchQueue => return Err(missing(on.place(0))),
        Changed::Not | Changed::NotDynamic => {
            let why = format!("interface: {} works there", body.interface);
            return Err(Problem::new(StatusCode::CONFLICT, why));
        }
    }
    on.audit(&format!("member {} added", body.interface));
    Ok(done())
}

/// What is to be different.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MemberChange {
    paused: Option<bool>,
    #[serde(default)]
    pause_reason: String,
    #[schema(maximum = 2_147_483_647)]
    penalty: Option<u32>,
}

/// Lets somebody rest or work again, or changes his penalty.
#[utoipa::path(patch, path = "/api/v1/queues/{name}/members/{interface}", tag = "queues", request_body = MemberChange, params(
    ("name" = String, Path), ("interface" = String, Path, description = "With `/` as `%2F`")),
    responses((status = 204, description = "It is so"), (status = 404, description = "There is none", content_type = "application/problem+json")))]
pub(super) async fn change(mut on: On) -> Answered {
    on.unbound()?;
    let body: MemberChange = on.body().await?;
    if body.paused.is_none() && body.penalty.is_none() {
        return Err(Problem::bad("paused, penalty: one of them is wanted"));
    }
    body.penalty.map_or(Ok(()), within)?;
    let (queue, interface) = (on.place(0), on.place(1));
    let shared = on.shared();
    let nobody = || Problem::missing(format_args!("member {interface} of queue {queue}"));
    if let Some(paused) = body.paused
        && !shared.pause_queue_member(Some(queue), interface, paused, &body.pause_reason)
    {
        return Err(nobody());
    }
    if let Some(penalty) = body.penalty {
        let text = penalty.to_string();
        let columns = [("penalty", text.as_str())];
        let changed = shared.change_queue_member(Some(queue), interface, &columns, |member| {
            member.penalty = penalty;
        });
        if changed.is_empty() {
            return Err(nobody());
        }
        for (queue, member) in &changed {
            shared.queue_log(WHO, queue, &member.name, "PENALTY", &[text.as_str()]);
        }
    }
    on.audit("member changed");
    Ok(done())
}

/// Takes somebody out of a queue who came by a call or a program.
#[utoipa::path(delete, path = "/api/v1/queues/{name}/members/{interface}", tag = "queues", params(
    ("name" = String, Path), ("interface" = String, Path, description = "With `/` as `%2F`")),
    responses((status = 204, description = "He works there no more"), (status = 404, description = "There is none", content_type = "application/problem+json"),
        (status = 409, description = "He stands in a row", content_type = "application/problem+json")))]
pub(super) fn remove(on: &On) -> Answered {
    on.unbound()?;
    let (queue, interface) = (on.place(0), on.place(1));
    match on.shared().remove_queue_member(queue, interface, WHO) {
        Changed::Done => {}
        Changed::NoSuchQueue => return Err(missing(queue)),
        Changed::Not => {
            return Err(Problem::missing(format_args!(
                "member {interface} of queue {queue}"
            )));
        }
        Changed::NotDynamic => {
            let why = "the member stands in a row of queue_members: delete the row";
            return Err(Problem::new(StatusCode::CONFLICT, why));
        }
    }
    on.audit("member removed");
    Ok(done())
}
