//! Conferences: who is in them, muting, locking, sending away.

use strowger_core::channel::Channel;
use strowger_core::conference::{Effect, Table, Who};
use strowger_core::events::channel_fields;
use strowger_core::record;

use super::super::answer::Answer;
use super::super::classes::Classes;
use super::super::epoch;
use super::Context;

fn yes(yes: bool) -> &'static str {
    if yes { "Yes" } else { "No" }
}

pub(super) fn rooms(on: Context<'_>) -> String {
    let all = on.manager.shared.conferences.read(Table::list);
    if all.is_empty() {
        return on.error("No active conferences.");
    }
    let mut text = Answer::to(on.request);
    text.list("Confbridge conferences will follow");
    for room in all {
        text.item("ConfbridgeListRooms")
            .line("Conference", &room.name)
            .line("Parties", room.parties.to_string())
            .line("Marked", room.marked.to_string())
            .line("Locked", yes(room.locked))
            .line("Muted", yes(room.muted))
            .end();
    }
    text.complete("ConfbridgeListRoomsComplete").end();
    text.into_text()
}

/// The name of a conference that there is.
fn named<'r>(on: &Context<'r>) -> Result<&'r str, String> {
    let name = on
        .request
        .given("Conference")
        .ok_or_else(|| on.error("No Conference name provided."))?;
    let conferences = &on.manager.shared.conferences;
    if conferences.read(|table| table.list().is_empty()) {
        return Err(on.error("No active conferences."));
    }
    match conferences.read(|table| table.info(name)) {
        Some(_) => Ok(name),
        None => Err(on.error("No Conference by that name found.")),
    }
}

pub(super) async fn list(on: Context<'_>) -> String {
    let name = match named(&on) {
        Ok(name) => name,
        Err(text) => return text,
    };
    let members = on
        .manager
        .shared
        .conferences
        .read(|table| table.members(name));
    let mut text = Answer::to(on.request);
    text.list("Confbridge user list will follow");
    for member in members {
        let block = on
            .with_channel(&member.channel, |channel: &Channel| channel_fields(channel))
            .await;
        // He has gone meanwhile.
        let Some(block) = block else {
            continue;
        };
        let answered = member.joined.elapsed().unwrap_or_default().as_secs();
        text.item("ConfbridgeList")
            .line("Conference", name)
            .line("Admin", yes(member.admin))
            .line("MarkedUser", yes(member.marked))
            .line("WaitMarked", yes(member.wait_marked))
            .line("EndMarked", yes(member.end_marked))
            .line("Waiting", yes(member.waiting))
            .line("Muted", yes(member.muted))
            .line("Talking", yes(member.talking))
            .line("AnsweredTime", answered.to_string());
        for (name, value) in &block {
            text.line(name, value);
        }
        text.end();
    }
    text.complete("ConfbridgeListComplete").end();
    text.into_text()
}

/// Changes a conference.
fn change<R>(on: &Context<'_>, change: impl FnOnce(&mut Table, &mut Vec<Effect>) -> R) -> R {
    let shared = &on.manager.shared;
    shared.conferences.change(shared, None, change)
}

/// Members that a request names.
fn who<'r>(on: &Context<'r>) -> Option<Who<'r>> {
    let name = on.request.given("Channel")?;
    Some(match name.to_ascii_lowercase().as_str() {
        "all" => Who::All,
        "participants" => Who::Participants,
        _ => Who::Channel(name),
    })
}

pub(super) fn kick(on: Context<'_>) -> String {
    let name = match named(&on) {
        Ok(name) => name,
        Err(text) => return text,
    };
    let Some(who) = who(&on) else {
        return on.error("No channel name provided.");
    };
    let count = change(&on, |table, effects| table.kick(name, who, effects));
    match who {
        Who::All => on.success("All participants kicked"),
        _ if count > 0 => on.success("User kicked"),
        _ => on.error("No Channel by that name found in Conference."),
    }
}

pub(super) fn mute(on: Context<'_>, muted: bool) -> String {
    let name = match named(&on) {
        Ok(name) => name,
        Err(text) => return text,
    };
    let Some(who) = who(&on) else {
        return on.error("No channel name provided.");
    };
    let count = change(&on, |table, effects| table.mute(name, who, muted, effects));
    if count == 0 {
        return on.error("No Channel by that name found in Conference.");
    }
    on.success(if muted { "User muted" } else { "User unmuted" })
}

pub(super) fn lock(on: Context<'_>, locked: bool) -> String {
    let name = match named(&on) {
        Ok(name) => name,
        Err(text) => return text,
    };
    change(&on, |table, _| table.lock(name, locked));
    on.success(if locked {
        "Conference locked"
    } else {
        "Conference unlocked"
    })
}

pub(super) async fn start_record(on: Context<'_>) -> String {
    let name = match named(&on) {
        Ok(name) => name,
        Err(text) => return text,
    };
    let file = on.request.get("RecordFile");
    let shared = &on.manager.shared;
    let elsewhere = file.starts_with('/') || file.split('/').any(|part| part == "..");
    if elsewhere && on.user.write.both(Classes::SYSTEM).is_none() {
        return on.error("RecordFile outside of the folder of recordings needs class system");
    }
    let path = strowger_scripting::conference_recording(shared.monitor(), name, file, epoch());
    let target = match record::target(&path.to_string_lossy(), shared.monitor()) {
        Ok(target) => target,
        Err(why) => return on.error(&why),
    };
    if let Some(folder) = target.path.parent()
        && let Err(error) = tokio::fs::create_dir_all(folder).await
    {
        tracing::warn!(%error, folder = %folder.display(), "Manager: ConfbridgeStartRecord");
        return on.error("Internal error starting conference recording.");
    }
    let started = change(&on, |table, effects| {
        table.record(name, target.path, target.format, true, effects)
    });
    if started {
        on.success("Conference Recording Started.")
    } else {
        on.error("Conference is already being recorded.")
    }
}

pub(super) fn stop_record(on: Context<'_>) -> String {
    let name = match named(&on) {
        Ok(name) => name,
        Err(text) => return text,
    };
    if change(&on, |table, effects| table.stop_record(name, effects)) {
        on.success("Conference Recording Stopped.")
    } else {
        on.error("Internal error while stopping recording.")
    }
}
