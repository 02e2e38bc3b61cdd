//! Conferences. A key of a group sees those in which calls of the group are, and of these only its own members.

use serde::{Deserialize, Serialize};
use strowger_core::conference::{ConferenceInfo, MemberInfo, Who};
use utoipa::ToSchema;
use warp::http::StatusCode;

use super::problem::Problem;
use super::{Answered, On, done};
use crate::http::json;
use crate::shards;

/// A conference.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConferenceView {
    name: String,
    /// Everybody in it.
    parties: usize,
    admins: usize,
    marked: usize,
    locked: bool,
    /// All who are no admins.
    muted: bool,
    /// Hz.
    rate: u32,
    recording: bool,
    members: Vec<MemberView>,
}

/// Somebody in a conference.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MemberView {
    /// The unique id of the call.
    id: String,
    channel: String,
    caller_number: String,
    caller_name: String,
    admin: bool,
    marked: bool,
    /// For a marked member.
    waiting: bool,
    muted: bool,
    talking: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConferenceList {
    conferences: Vec<ConferenceView>,
}

impl MemberView {
    fn of(member: MemberInfo) -> Self {
        Self {
            id: member.uniqueid,
            channel: member.channel,
            caller_number: member.caller_number,
            caller_name: member.caller_name,
            admin: member.admin,
            marked: member.marked,
            waiting: member.waiting,
            muted: member.muted,
            talking: member.talking,
        }
    }
}

/// A conference as this key sees it; None: nobody of his is in it.
async fn view(on: &On, room: ConferenceInfo) -> Option<ConferenceView> {
    let conferences = &on.shared().conferences;
    let mut members = Vec::new();
    for member in conferences.read(|table| table.members(&room.name)) {
        if owns(on, &member.channel).await {
            members.push(MemberView::of(member));
        }
    }
    if members.is_empty() && on.caller.group().is_some() {
        return None;
    }
    Some(ConferenceView {
        parties: room.parties,
        admins: room.admins,
        marked: room.marked,
        locked: room.locked,
        muted: room.muted,
        rate: room.rate,
        recording: room.recording.is_some(),
        name: room.name,
        members,
    })
}

async fn owns(on: &On, channel: &str) -> bool {
    if on.caller.group().is_none() {
        return true;
    }
    let place = shards::with_channel(on.shared(), channel, |channel| channel.location().context);
    let context = place.await.unwrap_or_default();
    on.caller.owns_channel(channel, &context)
}

/// The conferences that there are.
#[utoipa::path(get, path = "/api/v1/conferences", tag = "conferences", responses((status = 200, body = ConferenceList)))]
pub(super) async fn list(on: On) -> Answered {
    let mut conferences = Vec::new();
    for room in on.shared().conferences.read(|table| table.list()) {
        conferences.extend(view(&on, room).await);
    }
    Ok(json(StatusCode::OK, &ConferenceList { conferences }))
}

/// One conference.
#[utoipa::path(get, path = "/api/v1/conferences/{name}", tag = "conferences", params(("name" = String, Path)),
    responses((status = 200, body = ConferenceView), (status = 404, description = "There is none", content_type = "application/problem+json")))]
pub(super) async fn one(on: On) -> Answered {
    let room = found(&on).await?;
    Ok(json(StatusCode::OK, &room))
}

async fn found(on: &On) -> Result<ConferenceView, Problem> {
    let name = on.place(0);
    let missing = || Problem::missing(format_args!("conference {name}"));
    let room = on
        .shared()
        .conferences
        .read(|table| table.info(name))
        .ok_or_else(missing)?;
    view(on, room).await.ok_or_else(missing)
}

/// Whether others may come in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LockBody {
    locked: bool,
}

/// Locks a conference, or ends that; for keys without a group.
#[utoipa::path(post, path = "/api/v1/conferences/{name}/lock", tag = "conferences", request_body = LockBody, params(("name" = String, Path)),
    responses((status = 204, description = "It is so"), (status = 404, description = "There is none", content_type = "application/problem+json")))]
pub(super) async fn lock(mut on: On) -> Answered {
    on.unbound()?;
    let LockBody { locked } = on.body().await?;
    let shared = on.shared();
    if !shared
        .conferences
        .change(shared, None, |table, _| table.lock(on.place(0), locked))
    {
        return Err(Problem::missing(format_args!("conference {}", on.place(0))));
    }
    on.audit(if locked { "locked" } else { "unlocked" });
    Ok(done())
}

/// The channel of a member that this key sees.
async fn member(on: &On) -> Result<String, Problem> {
    let room = found(on).await?;
    let id = on.place(1);
    let mut members = room.members.into_iter();
    let member = members.find(|member| member.id == id || member.channel == id);
    let member = member.ok_or_else(|| Problem::missing(format_args!("member {id}")))?;
    Ok(member.channel)
}

/// Silence of a member.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MemberMuteBody {
    muted: bool,
}

/// Silences a member, or ends that.
#[utoipa::path(post, path = "/api/v1/conferences/{name}/members/{id}/mute", tag = "conferences", request_body = MemberMuteBody, params(
    ("name" = String, Path), ("id" = String, Path, description = "Unique id of the call, or name of the channel")),
    responses((status = 204, description = "It is so"), (status = 404, description = "There is none", content_type = "application/problem+json")))]
pub(super) async fn mute(mut on: On) -> Answered {
    let MemberMuteBody { muted } = on.body().await?;
    let channel = member(&on).await?;
    let shared = on.shared();
    let name = on.place(0);
    shared.conferences.change(shared, None, |table, effects| {
        table.mute(name, Who::Channel(&channel), muted, effects)
    });
    on.audit(if muted {
        "member muted"
    } else {
        "member unmuted"
    });
    Ok(done())
}

/// Sends a member away.
#[utoipa::path(delete, path = "/api/v1/conferences/{name}/members/{id}", tag = "conferences", params(
    ("name" = String, Path), ("id" = String, Path, description = "Unique id of the call, or name of the channel")),
    responses((status = 204, description = "He goes"), (status = 404, description = "There is none", content_type = "application/problem+json")))]
pub(super) async fn kick(on: On) -> Answered {
    let channel = member(&on).await?;
    let shared = on.shared();
    let name = on.place(0);
    shared.conferences.change(shared, None, |table, effects| {
        table.kick(name, Who::Channel(&channel), effects)
    });
    on.audit("member sent away");
    Ok(done())
}
