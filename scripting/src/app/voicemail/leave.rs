//! `VoiceMail`: a caller leaves a message.

use std::sync::Arc;
use std::time::Duration;

use strowger_core::channel::{Interrupt, Location};
use strowger_core::voicemail::{INBOX, Mailbox, Message, Spool, now, with_extension};

use super::super::play::audible;
use super::super::{AppResult, Call, Next, Stop};
use super::{has_greeting, names, record, tell};
use crate::say;

/// Options of `VoiceMail`.
const KNOWN: &str = "bdegPsStuU";

/// How it ended.
enum End {
    Stored,
    Failed,
    /// The caller wants to be elsewhere.
    Exit(Location),
}

pub(super) async fn voice_mail(call: Call) -> AppResult {
    call.set("VMSTATUS", "");
    let options = call.options("VoiceMail", 1);
    call.warn_unknown("VoiceMail", &options, KNOWN);
    let mailboxes: Vec<Mailbox> = call
        .arg(0)
        .split('&')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .filter_map(|name| {
            let found = call.shared().mailbox(name);
            if found.is_none() {
                call.warn(&format!("VoiceMail: there is no mailbox \"{name}\""));
            }
            found
        })
        .collect();
    let Some(first) = mailboxes.first() else {
        call.set("VMSTATUS", "FAILED");
        return Ok(Next::Continue);
    };
    audible(&call, true).await?;
    let (status, result) = match leave(&call, first, &mailboxes, &options).await {
        Ok(End::Stored) => ("SUCCESS", Ok(Next::Continue)),
        Ok(End::Failed) => ("FAILED", Ok(Next::Continue)),
        Ok(End::Exit(place)) => ("USEREXIT", Ok(Next::Jump(place))),
        Err(Stop::Failed(error)) => {
            call.warn(&format!("VoiceMail: {error}"));
            ("FAILED", Ok(Next::Continue))
        }
        Err(stop) => {
            let stored = call.channel().variable("VMSTATUS").unwrap_or_default();
            let status = if stored == "SUCCESS" {
                "SUCCESS"
            } else {
                "FAILED"
            };
            (status, Err(stop))
        }
    };
    call.set("VMSTATUS", status);
    result
}

/// Where `0` and `*` lead, if anywhere.
fn ways_out(
    call: &Call,
    mailbox: &Mailbox,
    options: &strowger_dialplan::args::Options,
) -> Vec<(char, Location)> {
    let context = match mailbox.exit_context.as_str() {
        "" => call.channel().location().context,
        context => context.to_owned(),
    };
    let mut ways = Vec::new();
    for (digit, exten, wanted) in [('0', "o", mailbox.operator), ('*', "a", true)] {
        if wanted && call.task.exists(&context, exten, 1) {
            ways.push((digit, Location::new(&context, exten, 1)));
        }
    }
    if let Some(context) = options.argument('d') {
        for digit in '0'..='9' {
            let exten = digit.to_string();
            if call.task.exists(context, &exten, 1) {
                ways.push((digit, Location::new(context, &exten, 1)));
            }
        }
    }
    ways
}

async fn leave(
    call: &Call,
    first: &Mailbox,
    all: &[Mailbox],
    options: &strowger_dialplan::args::Options,
) -> Result<End, Stop> {
    let ways = ways_out(call, first, options);
    let stops: String = std::iter::once('#')
        .chain(ways.iter().map(|(digit, _)| *digit))
        .collect();
    let way = |digit: Option<char>| {
        ways.iter()
            .find(|(known, _)| Some(*known) == digit)
            .map(|(_, place)| place.clone())
    };
    let mut prompts = greeting(call, first, options).await;
    let greeted = options.has('S') && !prompts.is_empty();
    if !options.has('s') && !greeted {
        prompts.extend(names(&["vm-intro"]));
    }
    let digit = tell(call, &prompts, &stops).await?;
    if let Some(place) = way(digit) {
        return Ok(End::Exit(place));
    }
    let shared = Arc::clone(call.task.shared());
    let max = first.messages_max;
    let name = call.channel().uniqueid().to_string();
    let draft = shared
        .with_mailbox(first, move |spool: &Spool| {
            let full = spool.count(INBOX)? >= max;
            Ok((!full).then_some(spool.draft(&name)?))
        })
        .await
        .map_err(|error| Stop::Failed(error.to_string()))?;
    let Some(draft) = draft else {
        tell(call, &names(&["vm-mailboxfull"]), "").await?;
        return Ok(End::Failed);
    };
    let recorded = record(call, &draft, first, first.operator, first.longest).await?;
    // The time before the tone was over counts as well: a message is never shorter than it says.
    let length = recorded.length.saturating_sub(Duration::from_millis(300));
    if recorded.operator
        && let Some(place) = way(Some('0'))
    {
        remove(call, first, &draft).await;
        return Ok(End::Exit(place));
    }
    if length < first.shortest {
        remove(call, first, &draft).await;
        call.warn(&format!(
            "VoiceMail: a message of {} s is too short for mailbox {}",
            length.as_secs(),
            first.name()
        ));
        return after(&recorded, End::Failed);
    }
    let message = {
        let data = call.channel().data();
        Message {
            number: 0,
            caller_id: if data.caller.number.is_empty() {
                "Unknown".to_owned()
            } else {
                format!("\"{}\" <{}>", data.caller.name, data.caller.number)
            },
            caller_channel: call.channel().name().to_string(),
            context: data.location.context.clone(),
            exten: data.location.exten.clone(),
            priority: data.location.priority,
            time: now(),
            duration: length.as_secs(),
            id: format!("{}-{}", now(), call.channel().uniqueid()),
        }
    };
    for mailbox in all {
        let (own, told, from) = (mailbox.clone(), message.clone(), draft.clone());
        let format = first.format.clone();
        let stored = shared
            .with_mailbox(mailbox, move |spool| {
                // All copies are in the format that was recorded.
                let own = Mailbox { format, ..own };
                spool.store(&from, INBOX, &own, &told, true)
            })
            .await;
        match stored {
            Ok(file) => send(call, mailbox, &message, file),
            Err(error) => call.warn(&format!(
                "VoiceMail: the message is not in mailbox {}: {error}",
                mailbox.name()
            )),
        }
    }
    remove(call, first, &draft).await;
    call.set("VMSTATUS", "SUCCESS");
    if !recorded.hung_up {
        tell(call, &names(&["vm-msgsaved"]), "#").await?;
    }
    after(&recorded, End::Stored)
}

fn after(recorded: &super::Recorded, end: End) -> Result<End, Stop> {
    if recorded.hung_up {
        Err(Stop::Interrupted(Interrupt::Hangup))
    } else {
        Ok(end)
    }
}

/// Sends the message by e-mail, behind the caller's back.
fn send(call: &Call, mailbox: &Mailbox, message: &Message, file: std::path::PathBuf) {
    if mailbox.email.is_empty() {
        return;
    }
    let shared = Arc::clone(call.task.shared());
    let (mailbox, message) = (mailbox.clone(), message.clone());
    call.shared().control.spawn(async move {
        let sent = shared.mail_message(&mailbox, &message, &file).await;
        if sent && mailbox.delete {
            let stem = file
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let number = stem.strip_prefix("msg").and_then(|text| text.parse().ok());
            let deleted = shared
                .with_mailbox(&mailbox, move |spool| match number {
                    Some(number) => spool.delete(INBOX, number),
                    None => Ok(()),
                })
                .await;
            if let Err(error) = deleted {
                tracing::warn!(mailbox = mailbox.name(), %error, "message not deleted");
            }
        }
    });
}

async fn remove(call: &Call, mailbox: &Mailbox, draft: &std::path::Path) {
    let file = with_extension(draft, &mailbox.format);
    let removed = call
        .shared()
        .control
        .spawn_blocking(move || std::fs::remove_file(file))
        .await;
    if let Ok(Err(error)) = removed {
        call.warn(&format!("VoiceMail: {}: {error}", draft.display()));
    }
}

/// What the caller hears before the tone.
async fn greeting(
    call: &Call,
    mailbox: &Mailbox,
    options: &strowger_dialplan::args::Options,
) -> Vec<String> {
    if has_greeting(call, mailbox, "temp").await {
        return vec![super::greeting_path(call, mailbox, "temp")];
    }
    let (name, instead) = if options.has('b') {
        ("busy", "vm-isonphone")
    } else if options.has('u') {
        ("unavail", "vm-isunavail")
    } else {
        return Vec::new();
    };
    if has_greeting(call, mailbox, name).await {
        return vec![super::greeting_path(call, mailbox, name)];
    }
    let mut prompts = names(&["vm-theperson"]);
    if has_greeting(call, mailbox, "greet").await {
        prompts = vec![super::greeting_path(call, mailbox, "greet")];
    } else {
        prompts.extend(say::spelled_digits(&mailbox.number));
    }
    prompts.push(instead.to_owned());
    prompts
}
