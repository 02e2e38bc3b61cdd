//! Voice mail: leaving messages, hearing them, and the directory of those who have a mailbox.

mod directory;
mod leave;
mod menu;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use strowger_core::channel::{Interrupt, Played, RecorderResult};
use strowger_core::voicemail::{self, Mailbox};
use tokio::sync::oneshot;

use super::play::{audible, load_all};
use super::read;
use super::{App, AppResult, Call, Next, Stop, app};
use crate::say::{self, Gender, Grammar};

pub(super) const APPS: &[App] = &[
    app!(
        "VoiceMail",
        "VoiceMail(mailbox[@context][&...][,bd(context)esSt(beep)u])",
        "lets the caller leave a message",
        leave::voice_mail
    ),
    app!(
        "VoiceMailMain",
        "VoiceMailMain([mailbox][@context][,a(folder)g(gain)prs])",
        "lets somebody hear his messages",
        menu::voice_mail_main
    ),
    app!(
        "VMAuthenticate",
        "VMAuthenticate([mailbox][@context][,s])",
        "asks for a mailbox and its password",
        menu::authenticate
    ),
    app!(
        "VMSayName",
        "VMSayName(mailbox[@context])",
        "says the name of somebody with a mailbox",
        say_name
    ),
    app!(
        "Directory",
        "Directory([mailbox_context[,dial_context[,aefblnp(ms)s]]])",
        "finds somebody by the letters of his name",
        directory::directory
    ),
];

/// How long a finished recording may take to be complete on disk.
const COMPLETE_WAIT: Duration = Duration::from_secs(600);
/// Digits of a mailbox number or password at most.
const DIGITS_MAX: usize = 40;

/// Plays prompts to the end or to a digit of `stop`, which is taken. Other digits are dropped.
async fn tell(call: &Call, prompts: &[String], stop: &str) -> Result<Option<char>, Stop> {
    let names = prompts.iter().map(String::as_str);
    let sounds = load_all(call, names, None).await.0;
    if sounds.is_empty() {
        return Ok(None);
    }
    let played = call
        .channel()
        .play(sounds, false, &|digit| stop.contains(digit))
        .await?;
    Ok(match played {
        Played::Digit(digit) => Some(digit),
        Played::Complete => None,
    })
}

fn names(prompts: &[&str]) -> Vec<String> {
    prompts.iter().map(|name| (*name).to_owned()).collect()
}

/// A number as it is said on this channel.
fn spoken(call: &Call, number: usize) -> Vec<String> {
    let grammar = Grammar::of(&call.channel().data().language);
    say::number(
        grammar,
        i64::try_from(number).unwrap_or(i64::MAX),
        Gender::Neuter,
    )
}

/// Reads the number of a mailbox or a password after a prompt.
async fn ask(call: &Call, prompt: &str) -> Result<String, Stop> {
    read::ask(call, prompt, DIGITS_MAX).await
}

/// Is there a recorded greeting of this name?
async fn has_greeting(call: &Call, mailbox: &Mailbox, name: &'static str) -> bool {
    let shared = Arc::clone(call.task.shared());
    let found = shared
        .with_mailbox(mailbox, move |spool| Ok(spool.has_greeting(name)))
        .await;
    found.unwrap_or(false)
}

fn greeting_path(call: &Call, mailbox: &Mailbox, name: &str) -> String {
    let spool = voicemail::Spool::new(&call.shared().voicemail_folder(), mailbox);
    spool.greeting(name).display().to_string()
}

/// The name of somebody: as recorded, else his number.
async fn name_prompts(call: &Call, mailbox: &Mailbox) -> Vec<String> {
    if has_greeting(call, mailbox, "greet").await {
        return vec![greeting_path(call, mailbox, "greet")];
    }
    let mut prompts = names(&["vm-extension"]);
    prompts.extend(say::spelled_digits(&mailbox.number));
    prompts
}

async fn say_name(call: Call) -> AppResult {
    let Some(mailbox) = call.shared().mailbox(call.arg(0)) else {
        call.warn(&format!(
            "VMSayName: there is no mailbox \"{}\"",
            call.arg(0)
        ));
        return Ok(Next::Continue);
    };
    audible(&call, true).await?;
    let prompts = name_prompts(&call, &mailbox).await;
    tell(&call, &prompts, "").await?;
    Ok(Next::Continue)
}

/// How a recording ended.
struct Recorded {
    /// Zero: nothing was recorded, and there may be no file.
    length: Duration,
    /// The caller hung up after it, his time is over, or he is to be elsewhere.
    stop: Option<Interrupt>,
    /// `0` was dialled.
    operator: bool,
    /// Comes when the file is complete, if it is not yet: the disk is slow.
    pending: Option<oneshot::Receiver<RecorderResult>>,
}

impl Recorded {
    /// Waits, on the control runtime, until the file is complete.
    async fn complete(pending: Option<oneshot::Receiver<RecorderResult>>) {
        if let Some(pending) = pending
            && tokio::time::timeout(COMPLETE_WAIT, pending).await.is_err()
        {
            tracing::error!("a message of voice mail is taken as it is: the disk does not answer");
        }
    }
}

/// Records to a draft, with a beep before. What a caller who hangs up has said is kept.
async fn record(
    call: &Call,
    draft: &Path,
    mailbox: &Mailbox,
    (operator, longest, beeps): (bool, Duration, bool),
) -> Result<Recorded, Stop> {
    let seconds = |time: Duration| {
        if time.is_zero() {
            String::new()
        } else {
            time.as_secs().to_string()
        }
    };
    let arguments = vec![
        format!("{}.{}", draft.display(), mailbox.format),
        seconds(mailbox.silence),
        seconds(longest),
        format!(
            "k{}{}",
            if operator { "o" } else { "" },
            if beeps { "" } else { "q" }
        ),
    ];
    let data = arguments.join(",");
    call.task.recording.take();
    // An application within an application: a future of a size of its own.
    let ended = Box::pin(super::execute(&call.task, "Record", data, Some(arguments))).await;
    let status = call.channel().variable("RECORD_STATUS").unwrap_or_default();
    let stop = match ended {
        Ok(_) => None,
        Err(Stop::Interrupted(interrupt)) => Some(interrupt),
        Err(stop) => return Err(stop),
    };
    // What was said before the disk or something else failed is a message all the same.
    let recording = call.task.recording.take();
    if recording.is_none() && stop.is_none() {
        return Err(Stop::Failed(format!(
            "{} cannot be recorded",
            draft.display()
        )));
    }
    let (length, pending) = recording.map_or((Duration::ZERO, None), |recording| {
        (recording.length, recording.pending)
    });
    Ok(Recorded {
        length,
        stop,
        operator: status == "OPERATOR",
        pending,
    })
}
