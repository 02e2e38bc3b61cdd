//! What a script can reach: the pure parts of the standard library, read-only, and nothing of the machine below.

use std::cell::Cell;
use std::rc::Rc;

use mlua::{Function, Lua, LuaOptions, StdLib, Value};

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

/// `coroutine.resume` and `wrap` for verbs that wait: what the machine yields while one waits goes on to whoever runs the
/// call, through all coroutines of the script, instead of coming back to the script as if it were a value. So does the turn that
/// a script gives back because it computed for long: then nothing was yielded, and `gives_way` says so.
const PASS_ON: &str = r#"
local waiting, gives_way, keeps_on = ...
local resume, yield, create, status = coroutine.resume, coroutine.yield, coroutine.create, coroutine.status
local function pass(co, ...)
  if select('#', ...) == 1 and (...) and gives_way() and status(co) == "suspended" then
    yield()
    return pass(co, resume(co))
  end
  if select('#', ...) == 2 then
    local ok, first = ...
    if ok and first == waiting and status(co) == "suspended" then
      yield(waiting)
      return pass(co, resume(co))
    end
  end
  return ...
end
local function value(ok, ...)
  if not ok then error((...), 0) end
  return ...
end
coroutine.yield = function(...)
  keeps_on()
  return yield(...)
end
coroutine.resume = function(co, ...) return pass(co, resume(co, ...)) end
coroutine.wrap = function(work)
  local co = create(work)
  return function(...) return value(pass(co, resume(co, ...))) end
end
"#;

fn let_coroutines_wait(lua: &Lua, gives_way: &Rc<Cell<bool>>) -> mlua::Result<()> {
    let never: Function =
        lua.create_async_function(|_, ()| std::future::pending::<mlua::Result<()>>())?;
    let waiting: Value = lua.create_thread(never)?.resume(())?;
    let (asked, taken) = (Rc::clone(gives_way), Rc::clone(gives_way));
    let asks = lua.create_function(move |_, ()| Ok(asked.get()))?;
    let keeps_on = lua.create_function(move |_, ()| {
        taken.set(false);
        Ok(())
    })?;
    lua.load(PASS_ON)
        .set_name("=coroutines")
        .call((waiting, asks, keeps_on))
}

/// Opens a machine whose globals and libraries cannot be changed, within `memory_bytes_max`.
pub(crate) fn open(memory_bytes_max: usize, gives_way: &Rc<Cell<bool>>) -> mlua::Result<Lua> {
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
    let_coroutines_wait(&lua, gives_way)?;
    lua.sandbox(true)?;
    // The sandbox gives scripts a table of their own for new globals; calls share it, so it is closed as well.
    lua.globals().set_readonly(true);
    lua.set_memory_limit(memory_bytes_max)?;
    Ok(lua)
}
