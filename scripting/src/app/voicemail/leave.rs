//! `VoiceMail`: a caller leaves a message.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use strowger_core::channel::Location;
use strowger_core::voicemail::{
    self, DISK_WAIT, INBOX, Mailbox, Message, Spool, now, with_extension,
};

use super::super::play::audible;
use super::super::{AppResult, Call, Next, Stop};
use super::{Recorded, has_greeting, names, record, tell};
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
    for (letter, _) in options.iter().filter(|(letter, _)| "gPU".contains(*letter)) {
        call.warn(&format!("VoiceMail: option {letter} has no effect"));
    }
    // With option e the greeting is early media, and the call is answered when the recording begins.
    audible(&call, !options.has('e')).await?;
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
    // A message before it in the same call may still be on its way into its mailbox.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("{}-{number}", call.channel().uniqueid());
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
    // Option t: another sound than the beep, or none.
    let beeps = options.argument('t').is_none() && !options.has('t');
    if let Some(sound) = options.argument('t').filter(|sound| !sound.is_empty()) {
        tell(call, &names(&[sound]), "").await?;
    }
    let limits = (first.operator, first.longest, beeps);
    let mut recorded = record(call, &draft, first, limits).await?;
    let length = recorded.length;
    if recorded.operator
        && let Some(place) = way(Some('0'))
    {
        remove(call, first, &draft).await;
        return Ok(End::Exit(place));
    }
    if length.is_zero() || length < first.shortest {
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
    let all = all.to_vec();
    let pending = recorded.pending.take();
    let is_complete = pending.is_none();
    // On the control runtime, so that it is done whatever becomes of the call.
    let storing = shared.control.spawn({
        let shared = Arc::clone(&shared);
        async move {
            Recorded::complete(pending).await;
            shared.deliver(&all, &message, &draft, false).await
        }
    });
    // A message that the disk has not taken in yet, or takes long to, is stored behind the caller's back.
    let stored = !is_complete
        || match tokio::time::timeout(DISK_WAIT, storing).await {
            Ok(stored) => matches!(stored, Ok(1..)),
            Err(_) => true,
        };
    if !stored {
        return after(&recorded, End::Failed);
    }
    call.set("VMSTATUS", "SUCCESS");
    if recorded.stop.is_none() {
        tell(call, &names(&["vm-msgsaved"]), "#").await?;
    }
    after(&recorded, End::Stored)
}

fn after(recorded: &Recorded, end: End) -> Result<End, Stop> {
    match recorded.stop {
        Some(interrupt) => Err(Stop::Interrupted(interrupt)),
        None => Ok(end),
    }
}

async fn remove(call: &Call, mailbox: &Mailbox, draft: &Path) {
    voicemail::remove_draft(call.task.shared(), with_extension(draft, &mailbox.format)).await;
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
