//! `db`: the exchange's own small database (AstDB). `shared`: values that all calls see until they end or the exchange does.

use std::sync::Arc;
use std::time::Instant;

use mlua::{Lua, LuaString, Table, Value};

use super::services::Services;
use super::{api, current, json, values};

fn part(value: &Value, what: &str) -> mlua::Result<String> {
    values::text(value)
        .filter(|text| !text.is_empty())
        .ok_or_else(|| mlua::Error::runtime(format!("{what} is a string that is not empty")))
}

/// Puts `db` and `shared` into `api`.
pub(super) fn add(lua: &Lua, api: &Table, services: &Arc<Services>) -> mlua::Result<()> {
    astdb(lua, api)?;
    shared(lua, api, services)
}

fn astdb(lua: &Lua, api: &Table) -> mlua::Result<()> {
    let db = lua.create_table()?;
    db.set(
        "get",
        lua.create_function(|_, (family, key): (Value, Value)| {
            let (family, key) = (part(&family, "the family")?, part(&key, "the key")?);
            Ok(current::task()?.shared().astdb.get(&family, &key))
        })?,
    )?;
    db.set(
        "put",
        lua.create_function(|_, (family, key, value): (Value, Value, Value)| {
            let (family, key) = (part(&family, "the family")?, part(&key, "the key")?);
            let value = values::text(&value).ok_or_else(|| {
                mlua::Error::runtime(format!(
                    "db.put: a {} cannot be stored; write a string or number, or json.encode it",
                    value.type_name()
                ))
            })?;
            current::task()?
                .shared()
                .astdb
                .put(&family, &key, &value)
                .map_err(|error| mlua::Error::runtime(format!("db.put: {error}")))
        })?,
    )?;
    db.set(
        "delete",
        lua.create_function(|_, (family, key): (Value, Value)| {
            let (family, key) = (part(&family, "the family")?, part(&key, "the key")?);
            Ok(current::task()?.shared().astdb.del(&family, &key))
        })?,
    )?;
    db.set(
        "keys",
        lua.create_function(|_, prefix: LuaString| {
            Ok(current::task()?
                .shared()
                .astdb
                .keys(&prefix.to_string_lossy()))
        })?,
    )?;
    api::library(api, "db", db)
}

fn shared(lua: &Lua, api: &Table, services: &Arc<Services>) -> mlua::Result<()> {
    let shared = lua.create_table()?;
    let kept = Arc::clone(services);
    shared.set(
        "get",
        lua.create_function(move |lua, key: LuaString| {
            current::task()?;
            let text = kept
                .values
                .lock()
                .get(&key.to_string_lossy(), Instant::now());
            match text {
                Some(text) => json::decode(lua, text.as_bytes()),
                None => Ok(Value::Nil),
            }
        })?,
    )?;
    let kept = Arc::clone(services);
    shared.set(
        "set",
        lua.create_function(
            move |_, (key, value, options): (LuaString, Value, Option<Table>)| {
                current::task()?;
                let key = key.to_string_lossy();
                let options = values::Options::new(options.as_ref(), "shared.set", &["ttl"])?;
                let ttl = options.seconds("ttl")?;
                if value.is_nil() {
                    kept.values.lock().remove(&key);
                    return Ok(());
                }
                let text = json::encode(&value)?;
                kept.values
                    .lock()
                    .set(&key, text, ttl, Instant::now())
                    .map_err(|why| mlua::Error::runtime(format!("shared.set(\"{key}\"): {why}")))
            },
        )?,
    )?;
    let kept = Arc::clone(services);
    shared.set(
        "incr",
        lua.create_function(
            move |_, (key, by, options): (LuaString, Option<f64>, Option<Table>)| {
                current::task()?;
                let key = key.to_string_lossy();
                let options = values::Options::new(options.as_ref(), "shared.incr", &["ttl"])?;
                let now = Instant::now();
                let mut table = kept.values.lock();
                let before = match table.get(&key, now) {
                    None => 0.0,
                    Some(text) => text.parse::<f64>().map_err(|_| {
                        mlua::Error::runtime(format!(
                            "shared.incr(\"{key}\"): its value is no number"
                        ))
                    })?,
                };
                // A counter keeps its end; a new one gets that of the options.
                let ttl = match table.until(&key) {
                    Some(until) => Some(until.saturating_duration_since(now)),
                    None => options.seconds("ttl")?,
                };
                let value = before + by.unwrap_or(1.0);
                if !value.is_finite() {
                    return Err(mlua::Error::runtime(format!(
                        "shared.incr(\"{key}\"): {value} is no number to keep"
                    )));
                }
                table
                    .set(&key, values::number(value), ttl, now)
                    .map_err(|why| {
                        mlua::Error::runtime(format!("shared.incr(\"{key}\"): {why}"))
                    })?;
                Ok(value)
            },
        )?,
    )?;
    let kept = Arc::clone(services);
    shared.set(
        "delete",
        lua.create_function(move |_, key: LuaString| {
            current::task()?;
            Ok(kept.values.lock().remove(&key.to_string_lossy()))
        })?,
    )?;
    api::library(api, "shared", shared)
}
