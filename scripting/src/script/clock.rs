//! `time`: the clock, calendars of time zones, and office hours.

use std::sync::LazyLock;
use std::time::Instant;

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, Datelike as _, Local, TimeZone, Timelike as _, Utc};
use chrono_tz::Tz;
use mlua::{Lua, LuaString, Table, Value};
use strowger_dialplan::TimeSpec;

use super::{api, current, values};

/// Seconds since 1970, now unless a script gives some.
fn moment(value: &Value) -> mlua::Result<DateTime<Utc>> {
    let seconds = match value {
        Value::Nil => return Ok(current::task().map_or_else(|_| Utc::now(), |task| task.now())),
        Value::Integer(value) => *value as f64,
        Value::Number(value) => *value,
        other => {
            return Err(mlua::Error::runtime(format!(
                "a time is a number of seconds since 1970, not a {}",
                other.type_name()
            )));
        }
    };
    DateTime::from_timestamp_millis((seconds * 1000.0) as i64)
        .ok_or_else(|| mlua::Error::runtime(format!("{seconds} is no time")))
}

fn zone(name: &str) -> mlua::Result<Tz> {
    name.parse().map_err(|_| {
        mlua::Error::runtime(format!("\"{name}\" is no time zone, as Europe/Berlin is"))
    })
}

fn format_in<Z: TimeZone>(at: &DateTime<Z>, items: &[Item<'_>]) -> String
where
    Z::Offset: std::fmt::Display,
{
    at.format_with_items(items.iter()).to_string()
}

fn parts<Z: TimeZone>(lua: &Lua, at: &DateTime<Z>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.set("year", at.year())?;
    table.set("month", at.month())?;
    table.set("day", at.day())?;
    table.set("hour", at.hour())?;
    table.set("min", at.minute())?;
    table.set("sec", at.second())?;
    // As Lua counts: Sunday is 1.
    table.set("wday", at.weekday().num_days_from_sunday() + 1)?;
    table.set("yday", at.ordinal())?;
    Ok(table)
}

/// Puts `time` into `api`.
pub(super) fn add(lua: &Lua, api: &Table) -> mlua::Result<()> {
    static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);
    let time = lua.create_table()?;
    time.set(
        "now",
        lua.create_function(|_, ()| Ok(moment(&Value::Nil)?.timestamp_micros() as f64 / 1e6))?,
    )?;
    time.set(
        "monotonic",
        lua.create_function(|_, ()| Ok(STARTED.elapsed().as_secs_f64()))?,
    )?;
    time.set(
        "date",
        lua.create_function(
            |_, (format, at, tz): (Option<LuaString>, Value, Option<LuaString>)| {
                let format = format.map_or_else(
                    || "%Y-%m-%d %H:%M:%S".to_owned(),
                    |format| format.to_string_lossy(),
                );
                let at = moment(&at)?;
                let items = StrftimeItems::new(&format).parse().map_err(|_| {
                    mlua::Error::runtime(format!(
                        "time.date: \"{format}\" is no format, as %Y-%m-%d %H:%M is"
                    ))
                })?;
                Ok(match tz {
                    Some(name) => {
                        format_in(&at.with_timezone(&zone(&name.to_string_lossy())?), &items)
                    }
                    None => format_in(&at.with_timezone(&Local), &items),
                })
            },
        )?,
    )?;
    time.set(
        "parts",
        lua.create_function(|lua, (at, tz): (Value, Option<LuaString>)| {
            let at = moment(&at)?;
            match tz {
                Some(name) => parts(lua, &at.with_timezone(&zone(&name.to_string_lossy())?)),
                None => parts(lua, &at.with_timezone(&Local)),
            }
        })?,
    )?;
    time.set(
        "within",
        lua.create_function(|_, (spec, at): (Value, Value)| {
            let text = values::text(&spec).ok_or_else(|| {
                mlua::Error::runtime(
                    "time.within needs times as GotoIfTime has them, for example \"9:00-17:59,mon-fri,*,*\"",
                )
            })?;
            let spec = TimeSpec::parse(&text)
                .map_err(|error| mlua::Error::runtime(format!("time.within(\"{text}\"): {error}")))?;
            Ok(spec.holds(moment(&at)?))
        })?,
    )?;
    api::library(api, "time", time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_their_zone() {
        let lua = Lua::new();
        let api = lua.create_table().expect("a table");
        add(&lua, &api).expect("the library");
        lua.globals()
            .set("time", api.get::<Table>("time").expect("the library"))
            .expect("set");
        for (source, wanted) in [
            ("time.date('%Y-%m-%d %H:%M', 0, 'UTC')", "1970-01-01 00:00"),
            (
                "time.date('%H:%M', 1700000000, 'Asia/Yekaterinburg')",
                "03:13",
            ),
            ("time.parts(1700000000, 'UTC').wday", "3"),
            (
                "tostring(time.within('9:00-17:59,mon-fri,*,*,UTC', 1700049600))",
                "true",
            ),
            (
                "tostring(time.within('9:00-17:59,mon-fri,*,*,UTC', 1700000000))",
                "false",
            ),
        ] {
            let told: String = lua.load(format!("return {source}")).eval().expect(source);
            assert_eq!(told, wanted, "{source}");
        }
        for source in [
            "time.date('%Q')",
            "time.date('%H', 0, 'Nowhere')",
            "time.within('soon')",
            "time.date('%H', {})",
        ] {
            assert!(
                lua.load(format!("return {source}"))
                    .eval::<Value>()
                    .is_err(),
                "{source}"
            );
        }
    }
}
