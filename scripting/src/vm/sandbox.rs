//! What a script can reach: the pure parts of the standard library, read-only, and nothing of the machine below.

use std::rc::Rc;

use mlua::{Function, Lua, LuaOptions, StdLib, Thread, Value};

use super::budget::Preempted;

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
/// a coroutine gives back because it computed for long: then it yielded nothing, and `preempted` says so.
const PASS_ON: &str = r#"
local waiting, preempted, keeps_on = ...
local goes_on = {}
local resume, yield, create, status = coroutine.resume, coroutine.yield, coroutine.create, coroutine.status
local pack, unpack, can_yield = table.pack, table.unpack, coroutine.isyieldable
local function passed_on(co, count, ok, first)
  if ok and status(co) == "suspended" then
    if count == 2 and (first == waiting or first == goes_on) then return first end
    if count == 1 and preempted(co) then return goes_on end
  end
  return nil
end
local function pass(co, ...)
  local count, ok, first = select('#', ...), ...
  local what = passed_on(co, count, ok, first)
  if not what then return ... end
  local results
  while what do
    -- Within table.sort and the like a turn cannot be given back: it goes on at once.
    if what == waiting or can_yield() then yield(what) end
    results = pack(resume(co))
    what = passed_on(co, results.n, results[1], results[2])
  end
  return unpack(results, 1, results.n)
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

fn let_coroutines_wait(lua: &Lua, preempted: &Rc<Preempted>) -> mlua::Result<()> {
    let never: Function =
        lua.create_async_function(|_, ()| std::future::pending::<mlua::Result<()>>())?;
    let waiting: Value = lua.create_thread(never)?.resume(())?;
    let (asked, own) = (Rc::clone(preempted), Rc::clone(preempted));
    let asks = lua.create_function(move |_, co: Thread| Ok(asked.take(&co)))?;
    let keeps_on = lua.create_function(move |lua, ()| {
        own.take(&lua.current_thread());
        Ok(())
    })?;
    lua.load(PASS_ON)
        .set_name("=coroutines")
        .call((waiting, asks, keeps_on))
}

/// Opens a machine whose globals and libraries cannot be changed, within `memory_bytes_max`.
pub(crate) fn open(memory_bytes_max: usize, preempted: &Rc<Preempted>) -> mlua::Result<Lua> {
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
    let_coroutines_wait(&lua, preempted)?;
    lua.sandbox(true)?;
    // The sandbox gives scripts a table of their own for new globals; calls share it, so it is closed as well.
    lua.globals().set_readonly(true);
    lua.set_memory_limit(memory_bytes_max)?;
    Ok(lua)
}
