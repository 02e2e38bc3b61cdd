//! What the commands of a script do, sounds apart.

use std::rc::Rc;
use std::time::{Duration, Instant};

use strowger_core::channel::{Cause, Channel, Interrupt, Location, Party};
use strowger_core::dialplan::SubroutineEnd;
use strowger_dialplan::{Vars, args};

use super::super::jump::resolve;
use super::super::music::music_of;
use super::super::play::{end_background, play_in_background};
use super::super::{ANSWER_MEDIA_WAIT, Call, Next, Stop, execute, find, seconds, unknown};
use super::{Moved, Session, media};
use crate::agi::Link;
use crate::agi::commands::Verb;
use crate::agi::protocol::Reply;
use crate::func;
use crate::func::text::is_yes;
use crate::log_line;
use crate::runner::subroutine_here;
use crate::task::Task;

/// The arguments of a command are wrong.
pub(super) struct Wrong;

pub(super) type Answer = Result<Reply, Wrong>;

/// Longer than any call: a limit that is none.
pub(super) const FOR_EVER: Duration = Duration::from_secs(365 * 86_400);

/// Milliseconds; negative is for ever.
pub(super) fn milliseconds(text: &str) -> Result<Duration, Wrong> {
    let ms: i64 = text.trim().parse().map_err(|_| Wrong)?;
    Ok(u64::try_from(ms).map_or(FOR_EVER, Duration::from_millis))
}

/// `0`, or -1 when the call ended meanwhile.
fn done(result: Result<(), Interrupt>) -> Reply {
    Reply::result(if result.is_ok() { 0 } else { -1 })
}

pub(super) async fn run(
    session: &mut Session,
    verb: Verb,
    words: &[String],
    link: &mut Link,
) -> Answer {
    let word = |index: usize| words.get(index).map(String::as_str).unwrap_or_default();
    let call = &session.call;
    let channel = call.channel();
    let astdb = &call.shared().astdb;
    Ok(match verb {
        Verb::Answer => done(channel.answer(ANSWER_MEDIA_WAIT).await),
        Verb::AsyncBreak => {
            session.broken_off = true;
            Reply::result(0)
        }
        Verb::NoOp | Verb::Speech | Verb::TddMode => Reply::result(0),
        Verb::ChannelStatus => {
            let state = call
                .with_channel(&name_or_own(channel, word(0)), |channel| {
                    channel.state() as u8
                })
                .await;
            state.map_or_else(|| Reply::result(-1), Reply::result)
        }
        Verb::HangUp => {
            let ended = call
                .with_channel(&name_or_own(channel, word(0)), |channel| {
                    let cause = match channel.data().cause {
                        Cause(0) => Cause::NORMAL_CLEARING,
                        cause => cause,
                    };
                    channel.hangup(cause);
                })
                .await;
            Reply::result(if ended.is_some() { 1 } else { -1 })
        }
        Verb::DatabaseGet => match astdb.get(word(0), word(1)) {
            Some(value) => Reply::value(&value),
            None => Reply::result(0),
        },
        Verb::DatabasePut => match astdb.put(word(0), word(1), word(2)) {
            Ok(()) => Reply::result(1),
            Err(error) => {
                call.warn(&format!("AGI DATABASE PUT: {error}"));
                Reply::result(0)
            }
        },
        Verb::DatabaseDel => Reply::result(u8::from(astdb.del(word(0), word(1)))),
        Verb::DatabaseDelTree => {
            let below = Some(word(1)).filter(|key| !key.is_empty());
            Reply::result(u8::from(astdb.deltree(word(0), below) == 0))
        }
        Verb::GetVariable => match variable(&call.task, word(0)).await {
            Some(value) => Reply::value(&value),
            None => Reply::result(0),
        },
        Verb::GetFullVariable => match other(call, word(1)) {
            Some(task) => Reply::value(&func::substitute(&task, word(0)).await),
            None => Reply::result(0),
        },
        Verb::SetVariable => {
            if let Err(error) = call.task.assign(word(0), word(1)) {
                call.warn(&format!("AGI SET VARIABLE {}: {error}", word(0)));
            }
            Reply::result(1)
        }
        Verb::SetCallerId => {
            let party = Party::parse(word(0));
            let mut data = channel.data_mut();
            data.caller.number = party.number;
            data.caller.name = party.name;
            Reply::result(1)
        }
        Verb::SetContext => {
            let place = channel.location();
            channel.set_location(Location::new(word(0), &place.exten, place.priority));
            session.place_chosen();
            Reply::result(0)
        }
        Verb::SetExtension => {
            let place = channel.location();
            channel.set_location(Location::new(&place.context, word(0), place.priority));
            session.place_chosen();
            Reply::result(0)
        }
        Verb::SetPriority => {
            let destination = args::parse_goto(word(0));
            if word(0).contains(',') {
                return Err(Wrong);
            }
            let place = resolve(&call.task, &destination).map_err(|_| Wrong)?;
            channel.set_location(place);
            session.moved = Moved::Priority;
            Reply::result(0)
        }
        Verb::SetAutoHangup => {
            let limit = seconds(word(0)).ok_or(Wrong)?;
            channel.data_mut().timeouts.absolute =
                (!limit.is_zero()).then(|| Instant::now() + limit);
            Reply::result(0)
        }
        Verb::SetMusic => {
            match word(0).to_ascii_lowercase().as_str() {
                "on" => {
                    if let Some(music) = music_of(call, word(1)).await {
                        play_in_background(call, music);
                    }
                }
                "off" => end_background(call),
                _ => return Err(Wrong),
            }
            Reply::result(0)
        }
        Verb::Verbose => {
            if call.task.may_log() {
                tracing::info!(channel = %channel.name(), "AGI: {}", log_line::escape(word(0)));
            }
            Reply::result(1)
        }
        Verb::Exec => exec(session, words).await,
        Verb::Gosub => gosub(session, words, link).await,
        // Nothing of the kind travels with our calls.
        Verb::SendImage => Reply::result(-1),
        Verb::SendText => Reply::result(if channel.send_text(word(0)) { 0 } else { -1 }),
        Verb::ReceiveChar => match nothing_comes(channel, word(0)).await? {
            Ok(()) => Reply::result(0).text("timeout"),
            Err(_) => Reply::result(-1).text("hangup"),
        },
        Verb::ReceiveText => {
            let _ = nothing_comes(channel, word(0)).await?;
            Reply::result(-1)
        }
        Verb::ControlStreamFile
        | Verb::GetData
        | Verb::GetOption
        | Verb::RecordFile
        | Verb::SayAlpha
        | Verb::SayDate
        | Verb::SayDateTime
        | Verb::SayDigits
        | Verb::SayNumber
        | Verb::SayPhonetic
        | Verb::SayTime
        | Verb::StreamFile
        | Verb::WaitForDigit => return media::run(call, verb, words).await,
    })
}

impl Session {
    fn place_chosen(&mut self) {
        if self.moved == Moved::No {
            self.moved = Moved::Place;
        }
    }
}

fn name_or_own<'n>(channel: &Channel, name: &'n str) -> std::borrow::Cow<'n, str> {
    if name.is_empty() {
        channel.name().to_string().into()
    } else {
        name.into()
    }
}

/// What reads variables of this channel, or of one of the same shard.
fn other(call: &Call, name: &str) -> Option<Rc<Task>> {
    if name.is_empty() || *name == *call.channel().name() {
        return Some(Rc::clone(&call.task));
    }
    let channel = call.channel().shard().channel_by_name(name)?;
    Some(Task::new(&call.task.host, channel))
}

/// A variable, or a function with its arguments.
async fn variable(task: &Rc<Task>, name: &str) -> Option<String> {
    let function = name
        .strip_suffix(')')
        .and_then(|inside| inside.split_once('('));
    match function {
        Some((function, arguments)) => match func::read(task, function, arguments).await {
            Ok(value) => Some(value),
            Err(error) => {
                task.warn(&format!("AGI GET VARIABLE {name}: {error}"));
                None
            }
        },
        None => task.get(name),
    }
}

async fn exec(session: &mut Session, words: &[String]) -> Reply {
    let call = &session.call;
    let name = words.first().map(String::as_str).unwrap_or_default();
    if find(name).is_none() {
        call.warn(&format!("AGI EXEC: {}", unknown(name)));
        return Reply::result(-2);
    }
    // Blanks between arguments are part of them: only commas separate those of an application.
    let data = words.get(1..).unwrap_or_default().join(" ");
    let full = call
        .channel()
        .variable("AGIEXECFULL")
        .is_some_and(|value| is_yes(&value));
    let data = if full {
        func::substitute(&call.task, &data).await
    } else {
        data
    };
    let before = {
        let data = call.channel().data();
        (data.application.clone(), data.application_data.clone())
    };
    let result = execute(&call.task, name, data, None).await;
    call.channel().set_application(&before.0, &before.1);
    match result {
        Ok(Next::Continue) => Reply::result(0),
        Ok(Next::Jump(place)) => {
            call.channel().set_location(place);
            session.moved = Moved::Priority;
            Reply::result(0)
        }
        Ok(Next::Digit(digit)) => Reply::result(u32::from(digit)),
        Ok(Next::Incomplete | Next::Returned(_) | Next::Priority(_)) => Reply::result(0),
        Ok(Next::End) | Err(Stop::Interrupted(_) | Stop::Told) => Reply::result(-1),
        Err(Stop::Failed(why)) => {
            call.warn(&format!("AGI EXEC {name}: {why}"));
            Reply::result(-1)
        }
    }
}

async fn gosub(session: &mut Session, words: &[String], link: &mut Link) -> Reply {
    let task = Rc::clone(&session.call.task);
    let word = |index: usize| words.get(index).map(String::as_str).unwrap_or_default();
    let text = format!("{},{},{}", word(0), word(1), word(2));
    let missing = || Reply::result(-1).plain("Gosub label not found");
    let Ok(place) = resolve(&task, &args::parse_goto(&text)) else {
        return missing();
    };
    if !task.exists(&place.context, &place.exten, place.priority) {
        return missing();
    }
    session.left = session.say(Reply::trying().into_bytes(), link).await;
    if session.left.is_some() {
        return Reply::result(-1);
    }
    match subroutine_here(&task, place, &args::split(word(3))).await {
        SubroutineEnd::Returned(value) => {
            task.channel.set_variable("GOSUB_RETVAL", &value);
            let reply = Reply::result(0).plain("Gosub complete");
            if value.is_empty() {
                reply
            } else {
                reply.text(&value)
            }
        }
        SubroutineEnd::Missing => missing(),
        SubroutineEnd::Ended => Reply::result(-1).plain("Gosub failed"),
    }
}

/// No text ever comes from a caller; 0 waits until the call ends.
async fn nothing_comes(channel: &Channel, timeout: &str) -> Result<Result<(), Interrupt>, Wrong> {
    let timeout = match milliseconds(timeout)? {
        Duration::ZERO => FOR_EVER,
        timeout => timeout,
    };
    let until = Instant::now() + timeout;
    loop {
        match channel.wait_change(Some(until)).await {
            Err(interrupt) => return Ok(Err(interrupt)),
            Ok(_) if Instant::now() >= until => return Ok(Ok(())),
            Ok(_) => {}
        }
    }
}
