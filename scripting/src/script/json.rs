//! `json`: texts to tables and back.

use mlua::{Lua, LuaString, Table, Value};
use serde_json::{Map, Number, Value as Json};

use super::values::Copies;
use super::{api, values};

/// Tables within each other.
const DEPTH_MAX: usize = 64;
/// Longest text, either way.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Values in one text.
const VALUES_MAX: usize = 200_000;

/// A value as text.
pub(super) fn encode(value: &Value) -> mlua::Result<String> {
    let mut left = VALUES_MAX;
    let mut copies = Copies::new(BYTES_MAX + BYTES_MAX / 2);
    let json = to_json(value, 0, &mut left, &mut copies)?;
    let text = json.to_string();
    if text.len() > BYTES_MAX {
        return Err(mlua::Error::runtime(format!(
            "json.encode: the text has {} bytes; {BYTES_MAX} are allowed",
            text.len()
        )));
    }
    Ok(text)
}

/// A text as a value; JSON's null is `json.null`.
pub(super) fn decode(lua: &Lua, text: &[u8]) -> mlua::Result<Value> {
    if text.len() > BYTES_MAX {
        return Err(mlua::Error::runtime(format!(
            "json.decode: the text has {} bytes; {BYTES_MAX} are allowed",
            text.len()
        )));
    }
    let json: Json = serde_json::from_slice(text)
        .map_err(|error| mlua::Error::runtime(format!("json.decode: {error}")))?;
    from_json(lua, &json)
}

fn to_json(
    value: &Value,
    depth: usize,
    left: &mut usize,
    copies: &mut Copies,
) -> mlua::Result<Json> {
    let refuse = |why: String| Err(mlua::Error::runtime(format!("json.encode: {why}")));
    if depth > DEPTH_MAX {
        return refuse(format!(
            "tables are more than {DEPTH_MAX} deep within each other (is one in itself?)"
        ));
    }
    *left = match left.checked_sub(1) {
        Some(left) => left,
        None => return refuse(format!("there are more than {VALUES_MAX} values")),
    };
    Ok(match value {
        Value::Nil => Json::Null,
        value if *value == Value::NULL => Json::Null,
        Value::Boolean(flag) => Json::Bool(*flag),
        Value::Integer(number) => Json::Number((*number).into()),
        Value::Number(number) => match Number::from_f64(*number) {
            Some(number) => Json::Number(number),
            None => return refuse(format!("{number} is no number in JSON")),
        },
        Value::String(text) => {
            copies.take(value, "json.encode")?;
            Json::String(text.to_string_lossy())
        }
        Value::Table(table) => {
            let length = table.raw_len();
            if length > 0 {
                let mut list = Vec::with_capacity(length.min(*left));
                for index in 1..=length {
                    list.push(to_json(&table.raw_get(index)?, depth + 1, left, copies)?);
                }
                let mut others = None;
                table.for_each(|key: Value, _: Value| {
                    if !matches!(key, Value::Integer(_)) {
                        others = Some(values::shown(&key));
                    }
                    Ok(())
                })?;
                if let Some(key) = others {
                    return refuse(format!(
                        "a table is a list and has the key {key} too; JSON has only one of both"
                    ));
                }
                Json::Array(list)
            } else {
                let mut object = Map::new();
                let mut wrong = None;
                table.for_each(|key: Value, value: Value| {
                    copies.take(&key, "json.encode")?;
                    match values::text(&key) {
                        Some(key) => {
                            object.insert(key, to_json(&value, depth + 1, left, copies)?);
                        }
                        None => wrong = Some(key.type_name()),
                    }
                    Ok(())
                })?;
                if let Some(kind) = wrong {
                    return refuse(format!("a {kind} is no key in JSON"));
                }
                if object.is_empty() && is_array(table) {
                    Json::Array(Vec::new())
                } else {
                    Json::Object(object)
                }
            }
        }
        other => return refuse(format!("a {} has no form in JSON", other.type_name())),
    })
}

/// An empty table that is to be a list carries `json.array`'s mark.
fn is_array(table: &Table) -> bool {
    table
        .metatable()
        .and_then(|meta| meta.raw_get::<bool>("__jsonarray").ok())
        .unwrap_or(false)
}

fn from_json(lua: &Lua, json: &Json) -> mlua::Result<Value> {
    Ok(match json {
        Json::Null => Value::NULL,
        Json::Bool(flag) => Value::Boolean(*flag),
        Json::Number(number) => Value::Number(number.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => Value::String(lua.create_string(text)?),
        Json::Array(list) => {
            let table = lua.create_table_with_capacity(list.len(), 0)?;
            for (index, value) in list.iter().enumerate() {
                table.raw_set(index + 1, from_json(lua, value)?)?;
            }
            Value::Table(table)
        }
        Json::Object(object) => {
            let table = lua.create_table_with_capacity(0, object.len())?;
            for (key, value) in object {
                table.raw_set(key.as_str(), from_json(lua, value)?)?;
            }
            Value::Table(table)
        }
    })
}

/// Puts `json` into `api`.
pub(super) fn add(lua: &Lua, api: &Table) -> mlua::Result<()> {
    let json = lua.create_table()?;
    json.set(
        "encode",
        lua.create_function(|_, value: Value| encode(&value))?,
    )?;
    json.set(
        "decode",
        lua.create_function(|lua, text: LuaString| decode(lua, &text.as_bytes()))?,
    )?;
    let mark = lua.create_table()?;
    mark.raw_set("__jsonarray", true)?;
    mark.set_readonly(true);
    json.set(
        "array",
        lua.create_function(move |lua, list: Option<Table>| {
            let list = match list {
                Some(list) => list,
                None => lua.create_table()?,
            };
            if let Some(meta) = list.metatable()
                && !meta.raw_get::<Value>("__metatable")?.is_nil()
            {
                return Err(mlua::Error::runtime(
                    "json.array: the metatable of this table is protected",
                ));
            }
            list.set_metatable(Some(mark.clone()))?;
            Ok(list)
        })?,
    )?;
    json.set("null", Value::NULL)?;
    api::library(api, "json", json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_to_the_same() {
        let lua = Lua::new();
        let api = lua.create_table().expect("a table");
        add(&lua, &api).expect("the library");
        lua.globals()
            .set("json", api.get::<Table>("json").expect("the library"))
            .expect("set");
        for text in [
            r#"{"a":[1,2.5,"x"],"b":{"c":true},"n":null}"#,
            r#"[]"#,
            r#""ü\n""#,
        ] {
            let again: String = lua
                .load("local text = ... local value = json.decode(text) if text == '[]' then value = json.array(value) end return json.encode(value)")
                .call(text)
                .expect("both ways");
            let wanted: Json = serde_json::from_str(text).expect("JSON");
            let again: Json = serde_json::from_str(&again).expect("JSON");
            // Numbers of Lua are of one kind.
            assert_eq!(again.to_string().replace(".0", ""), wanted.to_string());
        }
        for (source, why) in [
            ("local t = {} t.t = t return json.encode(t)", "deep"),
            ("return json.encode({1, 2, x = 3})", "list"),
            ("return json.encode(print)", "function"),
            ("return json.encode(0/0)", "number"),
            ("return json.decode('{')", "json.decode"),
            (
                "local s, t = ('x'):rep(2^20), {} for i = 1, 1e5 do t[i] = s end return json.encode(t)",
                "too long",
            ),
            (
                "return json.array(setmetatable({}, {__metatable = 'no'}))",
                "protected",
            ),
        ] {
            let error = lua
                .load(source)
                .eval::<Value>()
                .expect_err(source)
                .to_string();
            assert!(error.contains(why), "{source}: {error}");
        }
    }
}
