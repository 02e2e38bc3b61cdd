//! The names a script finds. They are the same for all calls of a shard and cannot be changed; a call's own globals lie before
//! them.

use std::sync::Arc;

use mlua::{Lua, LuaString, Table};

use super::services::Services;
use super::{asterisk, call, clock, current, http, json, logging, spawn, sql, store};

/// What the globals of every call fall back to.
pub(crate) struct Base {
    /// The metatable of a call's globals.
    pub(super) meta: Table,
}

/// Makes the names in a machine.
pub(crate) fn open(lua: &Lua, services: &Arc<Services>) -> mlua::Result<Base> {
    let api = lua.create_table()?;
    asterisk::add(lua, &api)?;
    call::add(lua, &api)?;
    spawn::add(lua, &api)?;
    logging::add(lua, &api)?;
    clock::add(lua, &api)?;
    json::add(lua, &api)?;
    store::add(lua, &api, services)?;
    http::add(lua, &api, services)?;
    sql::add(lua, &api, services)?;
    api.set(
        "require",
        lua.create_function(|_, name: LuaString| {
            current::world()?.require(&name.to_string_lossy())
        })?,
    )?;
    let below = lua.create_table()?;
    below.set("__index", lua.globals())?;
    below.set_readonly(true);
    api.set_metatable(Some(below))?;
    api.set_readonly(true);
    let meta = lua.create_table()?;
    meta.set("__index", api)?;
    meta.set_readonly(true);
    Ok(Base { meta })
}

/// A library: a table of functions that cannot be changed.
pub(super) fn library(api: &Table, name: &str, library: Table) -> mlua::Result<()> {
    library.set_readonly(true);
    api.set(name, library)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use mlua::Value;

    use super::*;

    #[test]
    fn every_name_is_described_for_people_and_editors() {
        let lua = Lua::new();
        let base = open(&lua, &Arc::default()).expect("the names");
        let api: Table = base.meta.get("__index").expect("the names");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let read = |name| std::fs::read_to_string(root.join(name)).expect("it is there");
        let (types, people) = (read("lua/types/strowger.d.luau"), read("docs/lua.md"));
        let mut names = Vec::new();
        api.for_each(|name: String, value: Value| {
            if let Value::Table(library) = &value {
                library.for_each(|inner: String, _: Value| {
                    names.push((format!("{name}.{inner}"), inner));
                    Ok(())
                })?;
            }
            names.push((name.clone(), name));
            Ok(())
        })
        .expect("a table of names");
        assert!(names.len() > 30, "{names:?}");
        for (name, short) in names {
            // What Luau has too is known to editors.
            if !["print", "require"].contains(&name.as_str()) {
                assert!(types.contains(&short), "{name} is not in the types");
            }
            assert!(people.contains(&name), "{name} is not in docs/lua.md");
        }
    }
}
