//! What a script can reach: the pure parts of the standard library, read-only, and nothing of the machine below.

use mlua::{Lua, LuaOptions, StdLib, Value};

/// Coroutines kept for the next step instead of being made anew.
const COROUTINES_KEPT: usize = 1024;

/// Base functions a script could use to look at, or change, what is not its own.
const REMOVED: &[&str] = &[
    "collectgarbage",
    "dofile",
    "gcinfo",
    "getfenv",
    "load",
    "loadfile",
    "loadstring",
    "newproxy",
    "print",
    "require",
    "setfenv",
];

/// Opens a machine whose globals and libraries cannot be changed, within `memory_bytes_max`.
pub(crate) fn open(memory_bytes_max: usize) -> mlua::Result<Lua> {
    let libraries = StdLib::COROUTINE
        | StdLib::TABLE
        | StdLib::STRING
        | StdLib::UTF8
        | StdLib::BIT
        | StdLib::MATH
        | StdLib::BUFFER;
    let lua = Lua::new_with(
        libraries,
        LuaOptions::new().thread_pool_size(COROUTINES_KEPT),
    )?;
    {
        let globals = lua.globals();
        for name in REMOVED {
            globals.set(*name, Value::Nil)?;
        }
    }
    lua.sandbox(true)?;
    // The sandbox gives scripts a table of their own for new globals; calls share it, so it is closed as well.
    lua.globals().set_readonly(true);
    lua.set_memory_limit(memory_bytes_max)?;
    Ok(lua)
}
