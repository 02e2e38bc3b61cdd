//! `call:dial`: devices are rung, the one that answers is connected, and a table says what became of it.

use std::rc::Rc;

use mlua::{Lua, Table, Value};

use super::call::names;
use super::run;
use super::values::{self, ARGUMENTS_BYTES_MAX, Copies, Options};
use crate::task::Task;

const KNOWN: &[&str] = &[
    "to", "timeout", "music", "caller", "limit", "announce", "options",
];

/// Puts a text into parentheses of an option, where it must not end them.
fn option(letter: char, name: &str, text: &str) -> mlua::Result<String> {
    if text.contains(['(', ')', '\\', '"']) {
        return Err(mlua::Error::runtime(format!(
            "call:dial: {name} may not have ( ) \\ or quotation marks"
        )));
    }
    Ok(format!("{letter}({text})"))
}

pub(super) async fn dial(
    lua: Lua,
    task: Rc<Task>,
    devices: Value,
    options: Option<Table>,
) -> mlua::Result<Table> {
    // `call:dial{"PJSIP/100", timeout = 20}`, or the devices first and the options after them.
    let (table, listed) = match (&devices, &options) {
        (Value::Table(table), None) => (Some(table), true),
        (_, Some(table)) => (Some(table), false),
        _ => (None, false),
    };
    let options = Options::new(table, "call:dial", KNOWN)?;
    let to = options.value("to")?;
    let what = "call:dial: devices are needed, such as \"PJSIP/100\" or a list of them";
    let devices = match (&devices, to) {
        (Value::Table(table), Value::Nil) => list(table, what)?,
        (_, to) if listed || devices.is_nil() => names(&to, what)?,
        (devices, _) => names(devices, what)?,
    };
    if devices.is_empty() {
        return Err(mlua::Error::runtime(what));
    }
    let timeout = options
        .seconds("timeout")?
        .map_or_else(String::new, |time| values::number(time.as_secs_f64()));
    // The script goes on after a call that was answered, as its own code says.
    let mut letters = String::from("g");
    match options.value("music")? {
        Value::Nil | Value::Boolean(false) => {}
        Value::Boolean(true) => letters.push('m'),
        class => letters.push_str(&option(
            'm',
            "music",
            &values::argument(&class, 1, "call:dial: music")?,
        )?),
    }
    if let Some(limit) = options.seconds("limit")? {
        letters.push_str(&format!("L({})", limit.as_millis()));
    }
    if let Some(sound) = options.text("announce")? {
        letters.push_str(&option('A', "announce", &sound)?);
    }
    if let Some(caller) = options.text("caller")? {
        letters.push_str(&option('f', "caller", &caller)?);
    }
    if let Some(more) = options.text("options")? {
        letters.push_str(&more);
    }
    let arguments = vec![devices.join("&"), timeout, letters, String::new()];
    let data = arguments.join(",");
    run::application(&task, "Dial", data, Some(arguments)).await?;
    result(&lua, &task)
}

/// Devices of a list, each by itself.
fn list(table: &Table, what: &str) -> mlua::Result<Vec<String>> {
    let mut copies = Copies::new(ARGUMENTS_BYTES_MAX);
    table
        .sequence_values::<Value>()
        .map(|value| {
            let value = value?;
            copies.take(&value, "call:dial: devices")?;
            let device = values::text(&value)
                .filter(|device| !device.is_empty())
                .ok_or_else(|| mlua::Error::runtime(what))?;
            if device.contains('&') {
                return Err(mlua::Error::runtime(format!(
                    "call:dial: \"{device}\" has a &; write each device by itself in the list"
                )));
            }
            Ok(device)
        })
        .collect()
}

fn result(lua: &Lua, task: &Task) -> mlua::Result<Table> {
    let text = |name: &str| {
        task.channel
            .variable(name)
            .filter(|value| !value.is_empty())
    };
    let seconds = |name: &str| {
        text(name)
            .and_then(|ms| ms.parse::<f64>().ok())
            .map(|ms| ms / 1000.0)
    };
    let status = text("DIALSTATUS").unwrap_or_default();
    let table = lua.create_table()?;
    table.set("answered", status == "ANSWER")?;
    table.set("status", status)?;
    table.set("answered_by", text("DIALEDPEERNAME"))?;
    table.set("number", text("DIALEDPEERNUMBER"))?;
    table.set("talked", seconds("ANSWEREDTIME_MS").unwrap_or(0.0))?;
    table.set("rang", seconds("RINGTIME_MS"))?;
    table.set("lasted", seconds("DIALEDTIME_MS"))?;
    table.set("cause", task.channel.data().cause.0)?;
    Ok(table)
}
