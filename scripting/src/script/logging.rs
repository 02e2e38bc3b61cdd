//! `log` and `print`: lines in the log of the exchange, with the channel they belong to.

use mlua::{Lua, MultiValue, Table, Value};

use super::{api, current, json};
use crate::log_line;

/// Longest line.
const LINE_BYTES_MAX: usize = 4096;

/// Arguments as one line: tables as JSON.
fn line(arguments: &MultiValue) -> String {
    let mut text = String::new();
    for value in arguments {
        if !text.is_empty() {
            text.push(' ');
        }
        match value {
            Value::Table(table) => match json::encode(&Value::Table(table.clone())) {
                Ok(json) => text.push_str(&json),
                Err(_) => text.push_str("(table)"),
            },
            // No more of it is copied than is shown.
            Value::String(long) => {
                let bytes = long.as_bytes();
                let shown = bytes.get(..=LINE_BYTES_MAX).unwrap_or(&bytes);
                text.push_str(&String::from_utf8_lossy(shown));
            }
            other => text.push_str(&other.to_string().unwrap_or_else(|_| "(?)".to_owned())),
        }
        if text.len() > LINE_BYTES_MAX {
            text.truncate(text.floor_char_boundary(LINE_BYTES_MAX));
            text.push_str(" ...");
            break;
        }
    }
    text
}

/// Puts `log` and `print` into `api`.
pub(super) fn add(lua: &Lua, api: &Table) -> mlua::Result<()> {
    macro_rules! level {
        ($level:ident) => {
            lua.create_function(|_, arguments: MultiValue| {
                let text = line(&arguments);
                let text = log_line::escape(&text);
                match current::task() {
                    Ok(task) if task.may_log() => {
                        let place = task.channel.location();
                        tracing::$level!(channel = %task.channel.name(), context = place.context, exten = place.exten, "{text}");
                    }
                    Ok(_) => {}
                    // While the files are looked at.
                    Err(_) => tracing::debug!("dialplan files: {text}"),
                }
                Ok(())
            })?
        };
    }
    let log = lua.create_table()?;
    log.set("debug", level!(debug))?;
    log.set("info", level!(info))?;
    log.set("warn", level!(warn))?;
    log.set("error", level!(error))?;
    api.set("print", level!(info))?;
    api::library(api, "log", log)
}
