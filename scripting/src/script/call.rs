//! The object `call`: what a script does with its call. Verbs wait until they are done; a hang-up ends the script at the verb it
//! waits in.

use std::rc::Rc;
use std::time::Duration;

use mlua::{
    Function, Lua, LuaString, MetaMethod, MultiValue, Table, UserData, UserDataFields,
    UserDataMethods, Value,
};
use strowger_core::channel::{Location, Played, State};

use super::run::{self, Leave};
use super::values::{self, ARGUMENTS_BYTES_MAX, Copies, Options};
use super::world::HANGUP_FUNCTIONS_MAX;
use super::{asterisk, current, dial, originate};
use crate::app::play::{audible, load_all};
use crate::app::read::{Reading, read_digits};
use crate::app::{ANSWER_MEDIA_WAIT, Call, Next};
use crate::task::Task;

/// How long `call:read` waits for the first digit, and for each other, unless it is told.
const FIRST_DIGIT_WAIT: Duration = Duration::from_secs(10);
const NEXT_DIGIT_WAIT: Duration = Duration::from_secs(5);

/// `call`.
struct CallObject;

/// `call.vars`.
struct Vars;

impl UserData for Vars {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::Index, |_, _, name: LuaString| {
            Ok(asterisk::read_at_once(
                &*current::task()?,
                &name.to_string_lossy(),
            ))
        });
        methods.add_meta_method(
            MetaMethod::NewIndex,
            |_, _, (name, value): (LuaString, Value)| {
                asterisk::assign(&*current::task()?, &name.to_string_lossy(), &value)
            },
        );
    }
}

/// An application as a verb: with the arguments it gets, which may hold commas.
async fn execute(task: &Rc<Task>, application: &str, arguments: Vec<String>) -> mlua::Result<()> {
    let data = arguments.join(",");
    run::application(task, application, data, Some(arguments))
        .await
        .map(drop)
}

fn frame(task: &Rc<Task>) -> Call {
    Call {
        task: Rc::clone(task),
        data: String::new(),
        args: Vec::new(),
    }
}

fn needed(value: &Value, what: &str) -> mlua::Result<String> {
    values::text(value)
        .filter(|text| !text.is_empty())
        .ok_or_else(|| {
            mlua::Error::runtime(format!(
                "{what}, not {}",
                if matches!(value, Value::String(_)) {
                    "an empty string".to_owned()
                } else {
                    format!("a {}", value.type_name())
                }
            ))
        })
}

/// One name or a list of names.
pub(super) fn names(value: &Value, what: &str) -> mlua::Result<Vec<String>> {
    match value {
        Value::Table(list) => {
            let mut copies = Copies::new(ARGUMENTS_BYTES_MAX);
            list.sequence_values::<Value>()
                .map(|value| {
                    let value = value?;
                    copies.take(&value, what)?;
                    needed(&value, what)
                })
                .collect()
        }
        other => Ok(needed(other, what)?
            .split('&')
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect()),
    }
}

fn duration(value: &Value, verb: &str) -> mlua::Result<Duration> {
    values::seconds(value).ok_or_else(|| {
        mlua::Error::runtime(format!(
            "{verb}: a number of seconds, not below 0, is needed, not {}",
            values::shown(value)
        ))
    })
}

fn state(task: &Task) -> &'static str {
    if task.channel.is_over() {
        return "over";
    }
    match task.channel.state() {
        State::Up => "up",
        State::Ringing => "ringing",
        _ => "down",
    }
}

/// Digits that end a prompt: all with true, none with false, else those of the text.
fn stops(value: &Value, verb: &str) -> mlua::Result<String> {
    const ALL: &str = "0123456789*#ABCD";
    match value {
        Value::Nil | Value::Boolean(false) => Ok(String::new()),
        Value::Boolean(true) => Ok(ALL.to_owned()),
        other => values::text(other).ok_or_else(|| {
            mlua::Error::runtime(format!(
                "{verb}: stop is true, false or a string of digits, not a {}",
                other.type_name()
            ))
        }),
    }
}

async fn play(
    task: Rc<Task>,
    files: Value,
    options: Option<Table>,
) -> mlua::Result<Option<String>> {
    let options = Options::new(
        options.as_ref(),
        "call:play",
        &["stop", "answer", "language"],
    )?;
    let stop = stops(&options.value("stop")?, "call:play")?;
    let answer = options.flag("answer")?.unwrap_or(true);
    let language = options.text("language")?;
    let names = names(&files, "call:play: a sound or a list of sounds is needed")?;
    let call = frame(&task);
    run::done(&task, audible(&call, answer).await)?;
    if let Some(test) = &task.rehearsal {
        return Ok(test.prompt(&names, &stop).map(String::from));
    }
    let (sounds, complete) =
        load_all(&call, names.iter().map(String::as_str), language.as_deref()).await;
    if !complete {
        return Err(mlua::Error::runtime(format!(
            "call:play: not every sound of {} can be played; the log says why",
            names.join(", ")
        )));
    }
    if sounds.is_empty() {
        return Ok(None);
    }
    let keep = stop.is_empty();
    let played = task
        .channel
        .play(sounds, keep, &|digit| stop.contains(digit))
        .await;
    Ok(match run::done(&task, played.map_err(Into::into))? {
        Played::Digit(digit) => Some(digit.to_string()),
        Played::Complete => None,
    })
}

async fn say(
    task: Rc<Task>,
    kind: LuaString,
    value: Value,
    options: Option<Table>,
) -> mlua::Result<()> {
    let kind = kind.to_string_lossy();
    let options = Options::new(
        options.as_ref(),
        "call:say",
        &["gender", "timezone", "format"],
    )?;
    let text = values::argument(&value, 2, "call:say")?;
    let (application, arguments) = match kind.as_str() {
        "digits" => ("SayDigits", vec![text]),
        "number" => (
            "SayNumber",
            vec![text, options.text("gender")?.unwrap_or_default()],
        ),
        "ordinal" => (
            "SayOrdinal",
            vec![text, options.text("gender")?.unwrap_or_default()],
        ),
        "letters" => ("SayAlpha", vec![text]),
        "phonetic" => ("SayPhonetic", vec![text]),
        "money" => ("SayMoney", vec![text]),
        "time" => (
            "SayUnixTime",
            vec![
                text,
                options.text("timezone")?.unwrap_or_default(),
                options.text("format")?.unwrap_or_default(),
            ],
        ),
        other => {
            return Err(mlua::Error::runtime(format!(
                "call:say: \"{other}\" is not known; known are digits, number, ordinal, letters, phonetic, money, time"
            )));
        }
    };
    execute(&task, application, arguments).await
}

async fn read(task: Rc<Task>, options: Option<Table>) -> mlua::Result<(String, &'static str)> {
    let options = Options::new(
        options.as_ref(),
        "call:read",
        &[
            "prompt",
            "max",
            "timeout",
            "digit_timeout",
            "attempts",
            "terminators",
            "answer",
        ],
    )?;
    let prompt = match options.value("prompt")? {
        Value::Nil => String::new(),
        value => names(&value, "call:read: prompt is a sound or a list of sounds")?.join("&"),
    };
    let first = options.seconds("timeout")?.unwrap_or(FIRST_DIGIT_WAIT);
    let reading = Reading {
        files: prompt,
        tones: false,
        answer: options.flag("answer")?.unwrap_or(true),
        max: options.count("max", 1, 255)?.unwrap_or(255) as usize,
        terminators: options
            .text("terminators")?
            .unwrap_or_else(|| "#".to_owned()),
        keep_terminator: false,
        attempts: options.count("attempts", 1, 100)?.unwrap_or(1) as u32,
        first,
        next: options
            .seconds("digit_timeout")?
            .unwrap_or(NEXT_DIGIT_WAIT.min(first)),
    };
    let mut entered = String::new();
    let status = read_digits(&frame(&task), &reading, &mut entered).await;
    let status = run::done(&task, status)?;
    Ok((entered, if status == "OK" { "ok" } else { "timeout" }))
}

async fn record(lua: Lua, task: Rc<Task>, options: Table) -> mlua::Result<Table> {
    let options = Options::new(
        Some(&options),
        "call:record",
        &["file", "max", "silence", "beep", "append", "terminator"],
    )?;
    let file = needed(
        &options.value("file")?,
        "call:record: file is a name with its format, such as \"/tmp/message.wav\"",
    )?;
    let mut letters = String::new();
    if options.flag("beep")? == Some(false) {
        letters.push('q');
    }
    if options.flag("append")? == Some(true) {
        letters.push('a');
    }
    match options.text("terminator")?.as_deref() {
        None | Some("#") => {}
        Some("*") => letters.push('t'),
        Some("any") => letters.push('y'),
        Some("none") => letters.push('x'),
        Some(other) => {
            return Err(mlua::Error::runtime(format!(
                "call:record: terminator \"{other}\" is not known; known are #, *, any, none"
            )));
        }
    }
    let seconds = |time: Option<Duration>| {
        time.map_or_else(String::new, |time| values::number(time.as_secs_f64()))
    };
    let arguments = vec![
        file,
        seconds(options.seconds("silence")?),
        seconds(options.seconds("max")?),
        letters,
    ];
    execute(&task, "Record", arguments).await?;
    let status = task.channel.variable("RECORD_STATUS").unwrap_or_default();
    let result = lua.create_table()?;
    result.set("status", status.to_ascii_lowercase())?;
    result.set("file", task.channel.variable("RECORDED_FILE"))?;
    Ok(result)
}

async fn queue(task: Rc<Task>, name: Value, options: Option<Table>) -> mlua::Result<String> {
    let name = needed(&name, "call:queue: the name of a queue is needed")?;
    let options = Options::new(
        options.as_ref(),
        "call:queue",
        &[
            "timeout", "options", "announce", "agi", "gosub", "rule", "position",
        ],
    )?;
    let text = |option: &str| Ok::<_, mlua::Error>(options.text(option)?.unwrap_or_default());
    let timeout = options
        .seconds("timeout")?
        .map_or_else(String::new, |time| values::number(time.as_secs_f64()));
    let position = options
        .count("position", 1, 10_000)?
        .map_or_else(String::new, |position| position.to_string());
    // The script goes on after a member hung up, as its own code says.
    let arguments = vec![
        name,
        format!("c{}", text("options")?),
        String::new(),
        text("announce")?,
        timeout,
        text("agi")?,
        text("gosub")?,
        text("rule")?,
        position,
    ];
    execute(&task, "Queue", arguments).await?;
    let status = task.channel.variable("QUEUESTATUS").unwrap_or_default();
    Ok(status.to_ascii_lowercase())
}

/// Where `call:jump` and `call:gosub` go: `(exten)`, `(context, exten)`, `(context, exten, priority)`.
fn destination(task: &Task, place: &[Value], verb: &str) -> mlua::Result<Location> {
    let text = |value: &Value| {
        needed(
            value,
            &format!("{verb}: a context, extension or priority is needed"),
        )
    };
    let here = task.channel.location().context;
    let (context, exten, priority) = match place {
        [exten] => (here, text(exten)?, 1),
        [context, exten] => (text(context)?, text(exten)?, 1),
        [context, exten, Value::Integer(priority)]
            if (1..=i64::from(i32::MAX)).contains(priority) =>
        {
            (text(context)?, text(exten)?, *priority as i32)
        }
        _ => {
            return Err(mlua::Error::runtime(format!(
                "{verb}: write {verb}(exten) or {verb}(context, exten[, priority])"
            )));
        }
    };
    if !task.exists(&context, &exten, priority) && task.plan().context(&context).is_none() {
        return Err(mlua::Error::runtime(format!(
            "{verb}: there is no context {context}"
        )));
    }
    Ok(Location::new(&context, &exten, priority))
}

/// An asynchronous verb: `name => |task, arguments| work`.
macro_rules! verbs {
    ($methods:ident; $($name:literal => |$task:ident, $arguments:tt: $kind:ty| $work:expr;)*) => {$(
        $methods.add_async_function($name, |_, (_, $arguments): (Value, $kind)| {
            let task = current::task();
            async move {
                let $task = task?;
                $work
            }
        });
    )*};
}

impl UserData for CallObject {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("id", |_, _| {
            Ok(current::task()?.channel.uniqueid().to_string())
        });
        fields.add_field_method_get("channel", |_, _| {
            Ok(current::task()?.channel.name().to_string())
        });
        fields.add_field_method_get("context", |_, _| {
            Ok(current::task()?.channel.location().context)
        });
        fields.add_field_method_get("exten", |_, _| {
            Ok(current::task()?.channel.location().exten)
        });
        fields.add_field_method_get("state", |_, _| Ok(state(&*current::task()?)));
        fields.add_field_method_get("over", |_, _| Ok(current::task()?.channel.is_over()));
        fields.add_field_method_get("language", |_, _| {
            Ok(current::task()?.channel.data().language.clone())
        });
        fields.add_field_method_get("caller", |lua, _| {
            let task = current::task()?;
            let data = task.channel.data();
            let caller = lua.create_table()?;
            caller.set("number", data.caller.number.as_str())?;
            caller.set("name", data.caller.name.as_str())?;
            Ok(caller)
        });
        fields.add_field_method_get("vars", |_, _| Ok(Vars));
        fields.add_field_method_get("data", |_, _| Ok(current::world()?.data.clone()));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        verbs! { methods;
            "answer" => |task, _: MultiValue| {
                if task.rehearsal.is_some() {
                    return execute(&task, "Answer", Vec::new()).await;
                }
                run::done(&task, task.channel.answer(ANSWER_MEDIA_WAIT).await.map_err(Into::into))
            };
            "ring" => |task, _: MultiValue| execute(&task, "Ringing", Vec::new()).await;
            "progress" => |task, _: MultiValue| execute(&task, "Progress", Vec::new()).await;
            "hangup" => |task, cause: Value| {
                let ended = execute(&task, "Hangup", vec![values::argument(&cause, 1, "call:hangup")?]).await;
                let cause = task.channel.data().cause;
                task.channel.hangup(cause);
                ended
            };
            "busy" => |task, seconds: Value| {
                execute(&task, "Busy", vec![values::argument(&seconds, 1, "call:busy")?]).await
            };
            "congestion" => |task, seconds: Value| {
                execute(&task, "Congestion", vec![values::argument(&seconds, 1, "call:congestion")?]).await
            };
            "wait" => |task, seconds: Value| {
                let time = duration(&seconds, "call:wait")?;
                if task.rehearsal.is_some() {
                    return execute(&task, "Wait", vec![values::number(time.as_secs_f64())]).await;
                }
                run::done(&task, task.channel.wait(time).await.map_err(Into::into))
            };
            "play" => |task, arguments: (Value, Option<Table>)| {
                play(task, arguments.0, arguments.1).await
            };
            "say" => |task, arguments: (LuaString, Value, Option<Table>)| {
                say(task, arguments.0, arguments.1, arguments.2).await
            };
            "read" => |task, options: Option<Table>| read(task, options).await;
            "digit" => |task, seconds: Value| {
                let time = match &seconds {
                    Value::Nil => FIRST_DIGIT_WAIT,
                    value => duration(value, "call:digit")?,
                };
                if let Some(test) = &task.rehearsal {
                    return Ok(test.prompt(&[], "0123456789*#ABCD").map(String::from));
                }
                let digit = task.channel.wait_digit(time).await;
                Ok(run::done(&task, digit.map_err(Into::into))?.map(String::from))
            };
            "send_digits" => |task, digits: Value| {
                let digits = needed(&digits, "call:send_digits: digits are needed")?;
                execute(&task, "SendDTMF", vec![digits]).await
            };
            "monitor" => |task, arguments: (Value, Value)| {
                let file = needed(&arguments.0, "call:monitor: a file with its format is needed, such as \"call.wav\"")?;
                let options = values::argument(&arguments.1, 2, "call:monitor")?;
                execute(&task, "MixMonitor", vec![file, options]).await
            };
            "stop_monitor" => |task, _: MultiValue| execute(&task, "StopMixMonitor", Vec::new()).await;
            "music" => |task, class: Value| {
                let class = values::argument(&class, 1, "call:music")?;
                execute(&task, "StartMusicOnHold", vec![class]).await
            };
            "stop_music" => |task, _: MultiValue| execute(&task, "StopMusicOnHold", Vec::new()).await;
            "conference" => |task, arguments: (Value, Value, Value, Value)| {
                let name = needed(&arguments.0, "call:conference: the name of a conference is needed")?;
                let profile = |value: &Value, place| values::argument(value, place, "call:conference");
                execute(&task, "ConfBridge", vec![
                    name,
                    profile(&arguments.1, 2)?,
                    profile(&arguments.2, 3)?,
                    profile(&arguments.3, 4)?,
                ]).await
            };
            "queue" => |task, arguments: (Value, Option<Table>)| queue(task, arguments.0, arguments.1).await;
            "jump" => |task, place: MultiValue| {
                let place: Vec<Value> = place.into_iter().collect();
                let target = destination(&task, &place, "call:jump")?;
                Err::<(), _>(Leave::error(Ok(Next::Jump(target))))
            };
            "gosub" => |task, arguments: MultiValue| {
                let arguments: Vec<Value> = arguments.into_iter().collect();
                let place = arguments.get(..2).unwrap_or(&arguments);
                let location = destination(&task, place, "call:gosub")?;
                let rest = arguments.get(2..).unwrap_or_default().iter().zip(3..)
                    .map(|(value, place)| values::argument(value, place, "call:gosub"))
                    .collect::<mlua::Result<Vec<_>>>()?;
                run::subroutine(&task, location, &rest).await
            };
            "exec" => |task, arguments: (LuaString, MultiValue)| {
                let name = arguments.0.to_string_lossy();
                let data = values::joined(&arguments.1, &name)?;
                run::application(&task, &name, data, None).await
            };
            "get" => |task, name: LuaString| asterisk::read(&task, &name.to_string_lossy()).await;
        }
        methods.add_async_function("record", |lua, (_, options): (Value, Table)| {
            let task = current::task();
            async move { record(lua, task?, options).await }
        });
        methods.add_async_function(
            "dial",
            |lua, (_, devices, options): (Value, Value, Option<Table>)| {
                let task = current::task();
                async move { dial::dial(lua, task?, devices, options).await }
            },
        );
        methods.add_async_function("originate", |lua, (_, options): (Value, Table)| {
            let task = current::task();
            async move { originate::call(lua, task?, options).await }
        });
        methods.add_async_function(
            "bridge",
            |_, (_, channel, options): (Value, String, Option<String>)| {
                let task = current::task();
                async move { originate::bridge(task?, channel, options).await }
            },
        );
        methods.add_function("set", |_, (_, name, value): (Value, LuaString, Value)| {
            asterisk::assign(&*current::task()?, &name.to_string_lossy(), &value)
        });
        methods.add_function(
            "on",
            |_, (_, event, function): (Value, LuaString, Function)| {
                let event = event.to_string_lossy();
                if event != "hangup" {
                    return Err(mlua::Error::runtime(format!(
                        "call:on: there is no event \"{event}\"; there is: hangup"
                    )));
                }
                let world = current::world()?;
                let mut functions = world.hangups.borrow_mut();
                if functions.len() >= HANGUP_FUNCTIONS_MAX {
                    return Err(mlua::Error::runtime(format!(
                        "call:on: {HANGUP_FUNCTIONS_MAX} functions wait for the hang-up already"
                    )));
                }
                functions.push(function);
                Ok(())
            },
        );
    }
}

/// Puts `call` into `api`.
pub(super) fn add(lua: &Lua, api: &Table) -> mlua::Result<()> {
    api.set("call", lua.create_userdata(CallObject)?)
}
