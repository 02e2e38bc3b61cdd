//! `fax show ...`: faxes that are under way, what came of those before, and what the machines can do.

use strowger_scripting::fax::{Direction, RATE_MAX, RATE_MIN};

use super::super::faxes::{TECHNOLOGY, operation, resolution, state};
use super::super::{Context, system};
use super::{Output, failed, printed};

/// `None`: there is no such command.
pub(super) fn show(on: &Context<'_>, rest: &[&str]) -> Option<Output> {
    Some(match rest {
        ["sessions"] => sessions(on),
        ["session", number] => session(on, number),
        ["stats"] => statistics(on),
        ["capabilities"] => capabilities(),
        ["settings"] => settings(on),
        ["version"] => printed(vec![
            "FAX For Asterisk Components:".to_owned(),
            format!("\tApplications: {}", system::version()),
            format!("\t{TECHNOLOGY} FAX Driver: {}", env!("CARGO_PKG_VERSION")),
        ]),
        _ => return None,
    })
}

fn sessions(on: &Context<'_>) -> Output {
    let row = |fields: [&str; 7]| {
        let [channel, technology, number, kind, operation, state, files] = fields;
        format!(
            "{channel:<20.20} {technology:<10.10} {number:<10.10} {kind:<5.5} {operation:<10.10} {state:<15.15} {files:<30}"
        )
    };
    let sessions = on.manager.plans.fax().under_way();
    let mut lines = vec![
        String::new(),
        "Current FAX Sessions:".to_owned(),
        String::new(),
        row([
            "Channel",
            "Tech",
            "FAXID",
            "Type",
            "Operation",
            "State",
            "File(s)",
        ]),
    ];
    lines.extend(sessions.iter().map(|session| {
        row([
            &session.channel,
            TECHNOLOGY,
            &session.number.to_string(),
            "G.711",
            operation(session),
            state(session),
            &session.files.join(", "),
        ])
    }));
    lines.push(String::new());
    lines.push(format!("{} FAX sessions", sessions.len()));
    printed(lines)
}

fn session(on: &Context<'_>, number: &str) -> Output {
    let sessions = on.manager.plans.fax().under_way();
    let found = sessions
        .iter()
        .find(|session| number.parse() == Ok(session.number));
    let Some(session) = found else {
        return failed(format!("There is no FAX session {number}"));
    };
    let progress = &session.progress;
    let (done, direction) = match session.direction {
        Direction::Send => ("Pages Transmitted", "Transmit"),
        Direction::Receive => ("Pages Received", "Receive"),
    };
    let row = |(name, value): (&str, String)| format!("{name:<22} : {value}");
    let mut lines = vec![
        String::new(),
        "FAX Session Details:".to_owned(),
        "--------------------".to_owned(),
        String::new(),
    ];
    let rows = [
        ("channel", session.channel.clone()),
        ("session", session.number.to_string()),
        ("operation", direction.to_owned()),
        ("state", state(session).to_owned()),
        (
            "ECM Mode",
            if progress.ecm { "Yes" } else { "No" }.to_owned(),
        ),
        ("Data Rate", progress.rate.to_string()),
        ("Image Resolution", resolution(session)),
        ("Page Number", progress.pages.to_string()),
        ("File Name", session.files.join(", ")),
        (done, progress.pages.to_string()),
        ("Total Bad Lines", progress.bad_rows.to_string()),
    ];
    lines.extend(rows.map(row));
    printed(lines)
}

fn statistics(on: &Context<'_>) -> Output {
    let totals = on.manager.plans.fax().totals();
    let mut lines = vec![
        String::new(),
        "FAX Statistics:".to_owned(),
        "---------------".to_owned(),
        String::new(),
    ];
    let rows = [
        ("Current Sessions", totals.running),
        ("Reserved Sessions", 0),
        ("Transmit Attempts", totals.send_attempts),
        ("Receive Attempts", totals.receive_attempts),
        ("Completed FAXes", totals.completed),
        ("Failed FAXes", totals.failed),
    ];
    lines.extend(rows.map(|(name, value)| format!("{name:<20.20} : {value}")));
    printed(lines)
}

fn capabilities() -> Output {
    let row = |name: &str, value: &str| format!("{name:<15} : {value}");
    printed(vec![
        String::new(),
        "Registered FAX Technology Modules:".to_owned(),
        String::new(),
        row("Type", TECHNOLOGY),
        row("Description", "Spandsp FAX Driver"),
        row("Capabilities", "SEND RECEIVE G.711"),
        String::new(),
        "1 registered modules".to_owned(),
    ])
}

fn settings(on: &Context<'_>) -> Output {
    let limits = &on.manager.shared.config.fax;
    printed(vec![
        "FAX For Asterisk Settings:".to_owned(),
        "\tECM: Enabled".to_owned(),
        "\tStatus Events: Off".to_owned(),
        format!("\tMinimum Bit Rate: {RATE_MIN}"),
        format!("\tMaximum Bit Rate: {RATE_MAX}"),
        "\tModem Modulations Allowed: V17,V27,V29".to_owned(),
        format!("\tSessions at once: {}", limits.sessions_max),
        format!("\tMinutes of a session: {}", limits.minutes_max),
    ])
}
