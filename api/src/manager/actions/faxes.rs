//! Faxes that are under way, and what came of those before.

use strowger_scripting::fax::{Direction, Session};

use super::super::answer::Answer;
use super::Context;

/// What makes the faxes, in the word of Asterisk.
pub(super) const TECHNOLOGY: &str = "Spandsp";

pub(super) fn operation(session: &Session) -> &'static str {
    match session.direction {
        Direction::Send => "send",
        Direction::Receive => "receive",
    }
}

pub(super) fn state(session: &Session) -> &'static str {
    if session.active {
        "Active"
    } else {
        "Initialized"
    }
}

/// `8031x7700`: pixels for each meter, as the library counts them; empty before it is agreed upon.
pub(super) fn resolution(session: &Session) -> String {
    let (x, y) = session.progress.resolution;
    if x == 0 || y == 0 {
        return String::new();
    }
    format!("{x}x{y}")
}

pub(super) fn list(on: Context<'_>) -> String {
    let sessions = on.manager.plans.fax().under_way();
    let mut text = Answer::to(on.request);
    text.list("FAXSessionsEntry event list will follow");
    for session in &sessions {
        text.item("FAXSessionsEntry")
            .line("Channel", &session.channel)
            .line("Technology", TECHNOLOGY)
            .line("SessionNumber", session.number.to_string())
            .line("SessionType", "G.711")
            .line("Operation", operation(session))
            .line("State", state(session))
            .line("Files", session.files.join(","))
            .end();
    }
    let total = sessions.len().to_string();
    text.complete("FAXSessionsComplete")
        .line("Total", total)
        .end();
    text.into_text()
}

pub(super) fn one(on: Context<'_>) -> String {
    let number = on.request.get("SessionNumber").trim().parse::<u64>();
    let Ok(number) = number else {
        return on.error("Invalid session ID");
    };
    let sessions = on.manager.plans.fax().under_way();
    let Some(session) = sessions.iter().find(|session| session.number == number) else {
        return on.error("Session not found");
    };
    let progress = &session.progress;
    let (pages, rows) = (progress.pages.to_string(), progress.bad_rows.to_string());
    let mut text = Answer::to(on.request);
    text.response("Success")
        .line("Message", "FAXSession event will follow")
        .end();
    text.item("FAXSession")
        .line("SessionNumber", number.to_string())
        .line("Operation", operation(session))
        .line("State", state(session))
        .line(
            "ErrorCorrectionMode",
            if progress.ecm { "yes" } else { "no" },
        )
        .line("DataRate", progress.rate.to_string())
        .line("ImageResolution", resolution(session))
        .line("PageNumber", &pages)
        .line("FileName", session.files.join(","));
    match session.direction {
        Direction::Send => text.line("PagesTransmitted", &pages),
        Direction::Receive => text.line("PagesReceived", &pages),
    };
    text.line("TotalBadLines", rows).end();
    text.into_text()
}

pub(super) fn statistics(on: Context<'_>) -> String {
    let totals = on.manager.plans.fax().totals();
    let mut text = Answer::to(on.request);
    text.response("Success")
        .line("Message", "FAXStats event will follow")
        .end();
    text.item("FAXStats");
    for (name, value) in [
        ("CurrentSessions", totals.running),
        // A machine is there as soon as it is wanted: nothing is reserved.
        ("ReservedSessions", 0),
        ("TransmitAttempts", totals.send_attempts),
        ("ReceiveAttempts", totals.receive_attempts),
        ("CompletedFAXes", totals.completed),
        ("FailedFAXes", totals.failed),
    ] {
        text.line(name, value.to_string());
    }
    text.end();
    text.into_text()
}
