//! `call:originate`: a call that the exchange makes by itself, and `call:bridge`.

use std::rc::Rc;

use mlua::{Lua, Table, Value};
use strowger_core::call::originate::{OriginateOutcome, OriginateRequest, Target, originate};
use strowger_core::channel::{Location, Party};

use super::call::names;
use super::run::{self, Leave};
use super::values::{self, ARGUMENTS_BYTES_MAX, Copies, Options};
use crate::task::Task;

const VERB: &str = "call:originate";
const KNOWN: &[&str] = &[
    "to",
    "context",
    "exten",
    "priority",
    "application",
    "data",
    "timeout",
    "caller",
    "codecs",
    "vars",
    "async",
];

/// What the table asks for.
fn request(task: &Task, table: &Table) -> mlua::Result<(OriginateRequest, bool)> {
    let options = Options::new(Some(table), VERB, KNOWN)?;
    let wrong = |what: String| mlua::Error::runtime(format!("{VERB}: {what}"));
    let listed: Value = table.get(1)?;
    let to = options.text("to")?.or_else(|| values::text(&listed));
    let to = to.ok_or_else(|| wrong("a device is needed, such as \"PJSIP/100\"".to_owned()))?;
    let context = options.text("context")?;
    let exten = options.text("exten")?;
    let target = match options.text("application")? {
        Some(name) if context.is_none() && exten.is_none() => Target::Application {
            name,
            data: options.text("data")?.unwrap_or_default(),
        },
        Some(_) => {
            return Err(wrong(
                "either application or context and exten, not both".to_owned(),
            ));
        }
        None => {
            let here = task.channel.location().context;
            let exten = exten.ok_or_else(|| {
                wrong("exten or application is needed: what answers has to go somewhere".to_owned())
            })?;
            let priority = options.count("priority", 1, i64::from(i32::MAX))?;
            let priority = priority.and_then(|priority| i32::try_from(priority).ok());
            Target::Extension(Location::new(
                context.as_deref().unwrap_or(&here),
                &exten,
                priority.unwrap_or(1),
            ))
        }
    };
    let mut request = OriginateRequest::new(&to, target);
    if let Some(timeout) = options.seconds("timeout")? {
        request.timeout = timeout;
    }
    request.caller = Some(match options.text("caller")? {
        Some(caller) => Party::parse(&caller),
        None => task.channel.data().caller.clone(),
    });
    if !options.value("codecs")?.is_nil() {
        request.codecs = names(
            &options.value("codecs")?,
            "call:originate: codecs are names such as \"alaw\"",
        )?;
    }
    {
        let data = task.channel.data();
        request.linkedid = Some(data.linkedid.clone());
        request.max_forwards = data.max_forwards();
        request.language = Some(data.language.clone());
        request.variables = data.variables.inherited().marked();
        request.variables.reverse();
    }
    match options.value("vars")? {
        Value::Nil => {}
        Value::Table(vars) => {
            let mut copies = Copies::new(ARGUMENTS_BYTES_MAX);
            vars.for_each(|name: Value, value: Value| {
                copies.take(&value, VERB)?;
                let pair = values::text(&name).zip(values::text(&value));
                let pair = pair.ok_or_else(|| {
                    wrong(format!(
                        "vars: names and values are texts or numbers, not {} = {}",
                        values::shown(&name),
                        values::shown(&value)
                    ))
                })?;
                request.variables.push(pair);
                Ok(())
            })?;
        }
        other => {
            return Err(wrong(format!(
                "vars is a table, not a {}",
                other.type_name()
            )));
        }
    }
    Ok((request, options.flag("async")?.unwrap_or(false)))
}

/// Connects the call with another channel, which leaves what it does; the word of `BRIDGERESULT`.
pub(super) async fn bridge(
    task: Rc<Task>,
    channel: String,
    options: Option<String>,
) -> mlua::Result<String> {
    let arguments = vec![channel, options.unwrap_or_default()];
    run::application(&task, "Bridge", arguments.join(","), Some(arguments)).await?;
    Ok(task.channel.variable("BRIDGERESULT").unwrap_or_default())
}

/// Makes a call. With `async` it is not waited for.
pub(super) async fn call(lua: Lua, task: Rc<Task>, options: Table) -> mlua::Result<Value> {
    let (request, later) = request(&task, &options)?;
    let shard = Rc::clone(task.channel.shard());
    let (tell, told) = tokio::sync::oneshot::channel();
    task.channel.spawn(async move {
        let _ = tell.send(originate(&shard, request).await);
    });
    if later {
        return Ok(Value::Nil);
    }
    tokio::pin!(told);
    let outcome = loop {
        tokio::select! {
            outcome = &mut told => break outcome.ok(),
            changed = task.channel.wait_change(None) => {
                changed.map_err(|interrupt| Leave::error(Err(interrupt.into())))?;
            }
        }
    };
    result(&lua, outcome.as_ref()).map(Value::Table)
}

fn result(lua: &Lua, outcome: Option<&OriginateOutcome>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let status = outcome.map_or("FAILED", |outcome| outcome.reason.status());
    table.set("answered", status == "SUCCESS")?;
    table.set("status", status)?;
    if let Some(outcome) = outcome {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        table.set("channel", text(&outcome.channel))?;
        table.set("id", text(&outcome.uniqueid))?;
        table.set("cause", outcome.cause.0)?;
        table.set("error", outcome.error.clone())?;
    }
    Ok(table)
}
