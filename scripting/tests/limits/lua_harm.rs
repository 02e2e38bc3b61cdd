//! Scripts that harm, by mistake or on purpose: their call may fail, no other call, and not the exchange.

use crate::exchange::{Exchange, wait_until};

/// Each of these ends its own call, within the second a script has or with an error of its own.
const HOSTILE: &[(&str, &str)] = &[
    ("an endless loop", "while true do end"),
    (
        "an endless loop that catches errors",
        "while true do pcall(function() while true do end end) end",
    ),
    (
        "a loop that catches what verbs raise",
        "while true do pcall(function() app.nonsense() end) end",
    ),
    (
        "an error handler that never ends",
        "xpcall(function() while true do end end, function() while true do end end) while true do end",
    ),
    (
        "a loop of verbs that do not wait",
        "while true do app.noop() channel.X = 'y' end",
    ),
    (
        "a pattern that tries everything",
        "local s = ('a'):rep(40) return s:find(('a?'):rep(40) .. ('a'):rep(40) .. 'b')",
    ),
    (
        "patterns one after another",
        "while true do (('a'):rep(5000)):find('.-.-.-b') end",
    ),
    (
        "a huge string",
        "local s = 'x' while true do s = s .. s end",
    ),
    ("a huger string", "return ('x'):rep(2000000000)"),
    (
        "a table without end",
        "local t = {} while true do t[#t + 1] = {1, 2, 3} end",
    ),
    (
        "globals without end",
        "local i = 0 while true do i += 1 _G['g' .. i] = ('x'):rep(1000) .. i end",
    ),
    (
        "buffers without end",
        "local t = {} while true do t[#t + 1] = buffer.create(10000000) end",
    ),
    (
        "recursion without end",
        "local function f() return 1 + f() end return f()",
    ),
    (
        "recursion through a library function",
        "local function f() return (('x'):gsub('x', f)) end return f()",
    ),
    (
        "recursion through a metatable",
        "local t = setmetatable({}, {__index = function(t, k) return t[k .. 'x'] end}) return t.a",
    ),
    (
        "a million coroutines",
        "local t = {} for i = 1, 1000000 do t[i] = coroutine.create(function() coroutine.yield() end) coroutine.resume(t[i]) end error('all made')",
    ),
    (
        "coroutines that make coroutines",
        "local function f() local c = coroutine.wrap(f) c() end f()",
    ),
    (
        "a sort that never agrees",
        "while true do local t = {} for i = 1, 1000 do t[i] = i end pcall(table.sort, t, function() return true end) end",
    ),
    (
        "a text as JSON that is deep",
        "local t = {} for i = 1, 100000 do t = {t} end json.encode(t)",
    ),
    (
        "a text as JSON that is long",
        "local s, t = ('x'):rep(2^20), {} for i = 1, 100000 do t[i] = s end json.encode(t)",
    ),
    (
        "a long value that all calls are to see",
        "local s, t = ('x'):rep(2^20), {} for i = 1, 100000 do t[i] = s end shared.set('long', t)",
    ),
    (
        "long arguments",
        "local s, t = ('x'):rep(2^20), {} for i = 1, 5000 do t[i] = s end app.noop(table.unpack(t))",
    ),
    (
        "a long list of devices",
        "local s, t = ('x'):rep(2^20), {} for i = 1, 100000 do t[i] = s end call:dial(t)",
    ),
    (
        "a long form",
        "local s, t = ('x'):rep(2^20), {} for i = 1, 100000 do t['k' .. i] = s end http.post('http://127.0.0.1:1/', {form = t})",
    ),
    (
        "long headers",
        "http.get('http://127.0.0.1:1/', {headers = {x = ('x'):rep(2^24)}})",
    ),
    (
        "a long line in the log",
        "local s, t = ('x'):rep(2^20), {} for i = 1, 100000 do t[i] = s end log.info(t) print(('x'):rep(2^24)) error('told')",
    ),
    ("changing a library", "string.format = nil"),
    ("changing a shared library", "http.get = nil"),
    (
        "changing what is below the globals",
        "getmetatable(_G).__index = {}",
    ),
    (
        "changing the metatable of strings",
        "getmetatable('').__index = {}",
    ),
    ("setting an application", "app.dial = print"),
    ("setting the object call", "call.exten = '1'"),
    (
        "the metatable of the object call",
        "getmetatable(call).__index = nil",
    ),
    (
        "spawning without end",
        "while true do spawn(function() call:wait(100) end) end",
    ),
    (
        "spawned loops",
        "for i = 1, 5 do spawn(function() while true do end end) end call:wait(0.1) error('after')",
    ),
    ("requiring what is elsewhere", "require('../../etc/passwd')"),
    ("requiring itself", "require('main') error('it is loaded')"),
    ("an error that is a table", "error({})"),
    ("an error without a text", "error()"),
];

#[test]
fn scripts_that_harm_end_alone() {
    let mut text = String::from(
        "extensions.test = { ok = function() total = (total or 0) + 1 assert(total == 1 and leaked == nil) \
         assert(('x'):rep(3) == 'xxx' and string.format('%d', 7) == '7' and http.get and app.dial ~= print) \
         channel['GLOBAL(OK)'] = tostring(math.random()) end,\n e = function() channel['GLOBAL(E)'] = channel.EXCEPTION('exten'):get() end,\n",
    );
    for (index, (what, body)) in HOSTILE.iter().enumerate() {
        text.push_str(&format!(
            "['h{index}'] = function() leaked = 'yes' {body} end, -- {what}\n"
        ));
    }
    text.push_str("}\n");
    let exchange = Exchange::start_with_files(&[], &[], &[("main.lua", &text)]);
    assert!(
        exchange.plans.problems().is_empty(),
        "{:?}",
        exchange.plans.problems()
    );
    for (index, (what, _)) in HOSTILE.iter().enumerate() {
        let name = format!("h{index}");
        exchange.call(&name, "");
        assert_eq!(exchange.global("E"), name, "{what}");
        let before = exchange.global("OK");
        exchange.call("ok", "");
        assert_ne!(exchange.global("OK"), before, "after {what}");
    }
}

#[test]
fn what_a_call_held_goes_with_it() {
    let exchange = Exchange::start_with_files(
        &[],
        &[],
        &[(
            "main.lua",
            // Together more than the scripts of a shard may hold.
            "extensions.test = { ['100'] = function()\n  kept = buffer.create(4000000)\n  \
             jobs = {spawn(function() return jobs end)}\n  jobs[1]:wait()\n  \
             jobs[2] = spawn(function() call:wait(600) end)\n  \
             call:on('hangup', function() kept = {kept, spawn(function() call:wait(600) end)} end)\n  \
             spawn(function() call:wait(600) end)\n  channel['GLOBAL(DONE)'] = shared.incr('calls')\nend }",
        )],
    );
    for count in 1..=100 {
        exchange.call("100", "");
        assert_eq!(exchange.global("DONE"), count.to_string());
    }
}

#[test]
fn a_hang_up_is_told_to_a_script_that_wanted_too_much() {
    let exchange = Exchange::start_with_files(
        &[],
        &[],
        &[(
            "main.lua",
            "extensions.test = { ['100'] = function()\n  \
             call:on('hangup', function() channel['GLOBAL(TOLD)'] = 'yes' end)\n  \
             local t = {} while true do t[#t + 1] = buffer.create(1000000) end\nend }",
        )],
    );
    exchange.call("100", "");
    assert_eq!(exchange.global("TOLD"), "yes");
}

#[test]
fn others_go_on_beside_an_endless_loop_and_the_log_names_its_line() {
    let exchange = Exchange::start_with_files(
        &[],
        &[],
        &[(
            "main.lua",
            "local function spin()\n  while true do end\nend\nextensions.test = {\n  loop = function()\n    channel['GLOBAL(SPINS)'] = 'yes'\n    for i = 1, 20 do pcall(spin) end\n  end,\n  \
             tick = function()\n    for i = 1, 20 do call:wait(0.05) channel['GLOBAL(TICKS)'] = i end\n  end,\n  \
             e = function() channel['GLOBAL(E)'] = 'yes' end,\n}\n",
        )],
    );
    std::thread::scope(|scope| {
        let ticking = scope.spawn(|| exchange.call_alone("tick"));
        wait_until("the other call runs", || {
            !exchange.global("TICKS").is_empty()
        });
        scope.spawn(|| exchange.call_alone("loop"));
        wait_until("the loop is ended", || exchange.global("E") == "yes");
        ticking.join().expect("the other call ends by itself");
    });
    assert_eq!(exchange.global("TICKS"), "20");
    let count = |wanted: &str| {
        let numbers = exchange.plans.counters().snapshot();
        numbers
            .iter()
            .find(|(name, _)| *name == wanted)
            .map_or(0, |(_, count)| *count)
    };
    assert_eq!(count("scripts_overrun"), 1);
    assert!(count("scripts_preempted") > 3);
}

#[test]
fn what_a_script_must_not_reach_is_not_there() {
    let mut body = String::new();
    for name in [
        "os",
        "io",
        "debug",
        "package",
        "load",
        "loadstring",
        "loadfile",
        "dofile",
        "getfenv",
        "setfenv",
        "collectgarbage",
        "newproxy",
        "gcinfo",
    ] {
        body.push_str(&format!(
            "assert({name} == nil, '{name}') assert(_G.{name} == nil, '_G {name}')\n"
        ));
    }
    let exchange = Exchange::start_with_files(
        &[],
        &[],
        &[(
            "main.lua",
            &format!(
                "extensions.test = {{ ['100'] = function() {body} channel['GLOBAL(DONE)'] = 'yes' end }}"
            ),
        )],
    );
    exchange.call("100", "");
    assert_eq!(exchange.global("DONE"), "yes");
}

#[test]
fn faulty_files_are_told_with_file_line_and_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text, wanted) in [
        ("a.lua", "extensions = {\n", "a.lua:"),
        ("b.lua", "\nlocal x = nil\nx.y = 1", "b.lua:3"),
        ("c.lua", "while true do end", "c.lua:1"),
        ("d.lua", "app.answer()", "there is no call yet"),
        ("e.lua", "extensions = 5", "table of contexts"),
        ("f.lua", "require('nowhere')", "there is no such file"),
        ("g.lua", "extensions.x = { ['1'] = 'text' }", "is a string"),
        ("h.lua", "extensions.x = { include = 5 }", "include is a"),
        ("i.lua", "hints.x = { [1] = {} }", "the hint 1 is a table"),
        ("j.lua", "error({})", "j.lua"),
        ("k.lua", "call:wait(1)", "there is no call yet"),
        (
            "l.lua",
            "extensions.x = { [1.5] = print }",
            "cannot be an extension",
        ),
        (
            "m.lua",
            "local s = 'x' while true do s = s .. s end",
            "m.lua",
        ),
        (
            "p.lua",
            "local began = time.monotonic() while time.monotonic() - began < 0.5 do end",
            "20 are allowed",
        ),
        (
            "q.lua",
            "kept = buffer.create(8000000)",
            "4194304 are allowed",
        ),
    ] {
        let file = folder.path().join(name);
        std::fs::write(&file, text).expect("written");
        let scripts = strowger_scripting::Scripts::read(folder.path());
        let told: Vec<String> = scripts.problems.iter().map(ToString::to_string).collect();
        assert!(
            told.len() == 1 && told[0].contains(wanted) && told[0].contains(name),
            "{name}: {told:?}"
        );
        std::fs::remove_file(file).expect("removed");
    }
    // A number that two files define is told at the second.
    for name in ["n.lua", "o.lua"] {
        let text = "extensions.x = { ['1'] = function() end }";
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    let scripts = strowger_scripting::Scripts::read(folder.path());
    let told: Vec<String> = scripts.problems.iter().map(ToString::to_string).collect();
    assert!(
        told.len() == 1 && told[0].contains("o.lua:1") && told[0].contains("n.lua:1"),
        "{told:?}"
    );
}
