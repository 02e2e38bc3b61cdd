//! Dialplans in Lua on live calls: what Asterisk's scripts do, the object `call`, versions of the files, and scripts that harm.

use std::time::{Duration, Instant};

use crate::exchange::{Exchange, Manner, Phone, Row, wait_until};

/// An exchange whose calls come into `test`, with one file of Lua.
fn start(lua: &str) -> Exchange {
    Exchange::start_with_files(&[], &[], &[("main.lua", lua)])
}

fn start_with(rows: &[Row<'_>], phones: &[&Phone], files: &[(&str, &str)]) -> Exchange {
    Exchange::start_with_files(rows, phones, files)
}

#[test]
fn a_plan_with_the_habits_of_asterisk_runs_as_it_does_there() {
    // Written as plans for Asterisk are: helpers that are globals, contexts that include each other, functions as
    // extensions, numbers as keys, hints beside them.
    let phone = Phone::start("200", Manner::Answer(Some(Duration::from_millis(300))));
    let plan = r##"
TRUNK = "PJSIP/"
greeted = 0

function note(name, value)
    channel["GLOBAL(" .. name .. ")"] = value
end

function outgoing(c, e)
    app.dial(TRUNK .. e:sub(2), 20, "g")
    note("DIALLED", channel.DIALSTATUS:get() .. "/" .. tostring(channel.DIALEDPEERNUMBER.value))
end

local function instruct()
    app.background("beep")
    app.waitexten(10)
end

function welcome(context, exten)
    app.answer()
    greeted = greeted + 1
    channel.TIMEOUT("digit"):set(1)
    channel.TIMEOUT("response"):set(10)
    channel.my_variable = "mine"
    local caller = channel.CALLERID("num"):get()
    note("WELCOME", context .. "/" .. exten .. "/" .. caller .. "/" .. greeted .. "/" .. channel.my_variable:get())
    instruct()
end

function leave()
    note("LEFT", channel.EXTEN:get())
    app.hangup()
    note("NEVER", "yes")
end

extensions = {
    demo = {
        s = welcome;
        ["2"] = function()
            note("CHOSEN", channel["EXTEN"]:get() .. channel["EXTEN:0"]:get())
            app["goto"]("default", "1000", 1)
            note("NEVER", "yes")
        end;
        [1000] = function(c, e)
            channel["GLOBAL(ARRIVED)"] = c .. "," .. e
            app.set("GLOBAL(SET)=" .. channel.CONTEXT.value)
            app.gosub("sub", "s", "1(one,two)")
            note("BACK", channel.GOSUB_RETVAL:get())
            app.verbose("autoservice " .. tostring(autoservice_status()))
            assert(autoservice_stop() and autoservice_start() and autoservice_status())
            assert(not check_hangup())
            assert(channel.NOTSET:get() == nil)
            return outgoing(c, "9200")
        end;
        ["#"] = leave;
        i = function() note("INVALID", channel.INVALID_EXTEN:get()); leave() end;
        t = leave;
        h = function() note("H", tostring(check_hangup()) .. greeted) end;
    };
    default = { include = {"demo"} };
    test = { include = {"default", "local"} };
    ["local"] = { ["_9XXX"] = outgoing; ["_NXX"] = function(c, e) note("LOCAL", e) end };
}

hints = {
    demo = { [1000] = "PJSIP/200" };
    default = { ["1234"] = "PJSIP/200" };
}
"##;
    let exchange = start_with(
        &[
            ("s@sub", "Set", "GLOBAL(SUB)=${ARG1}+${ARG2}"),
            ("s@sub", "Return", "value"),
        ],
        &[&phone],
        &[("extensions.lua", plan)],
    );
    let ended = exchange.call("s", "2");
    assert!(ended.status == 200 && ended.by_exchange, "{ended:?}");
    assert_eq!(exchange.global("WELCOME"), "test/s/tester/1/mine");
    assert_eq!(exchange.global("CHOSEN"), "22");
    assert_eq!(exchange.global("ARRIVED"), "default,1000");
    assert_eq!(exchange.global("SET"), "default");
    assert_eq!(
        (exchange.global("SUB"), exchange.global("BACK")),
        ("one+two".to_owned(), "value".to_owned())
    );
    assert_eq!(exchange.global("DIALLED"), "ANSWER/200");
    assert_eq!(exchange.global("H"), "true1");
    // Each call has globals of its own.
    exchange.call("s", "7");
    assert_eq!(exchange.global("WELCOME"), "test/s/tester/1/mine");
    assert_eq!(
        (exchange.global("INVALID"), exchange.global("LEFT")),
        ("7".to_owned(), "i".to_owned())
    );
    exchange.call("345", "");
    assert_eq!(exchange.global("LOCAL"), "345");
    exchange.call("9200", "");
    assert_eq!(exchange.call("112", "").status, 404);
    assert_eq!(exchange.global("NEVER"), "");
    let plan = exchange.plans.current();
    let mut hints: Vec<_> = plan.hints().collect();
    hints.sort_unstable();
    assert_eq!(
        hints,
        [
            ("default", "1234", "PJSIP/200"),
            ("demo", "1000", "PJSIP/200")
        ]
    );
}

#[test]
fn rows_come_before_lua_and_both_reach_each_other() {
    let exchange = start_with(
        &[
            ("100", "Set", "GLOBAL(FROM)=rows"),
            ("_2XX", "Goto", "lua,${EXTEN},1"),
            ("300", "Gosub", "lua,sub,1(a,b)"),
            ("300", "Set", "GLOBAL(RETURNED)=${GOSUB_RETVAL}"),
        ],
        &[],
        &[(
            "main.lua",
            r#"
local function from(text) return function(c, e) channel["GLOBAL(FROM)"] = text .. e end end
extensions = {
    test = { ["100"] = from("lua "), ["_1XX"] = from("pattern "), ["_10."] = from("longer ") },
    lua = {
        ["_2XX"] = from("lua "),
        sub = function() app["return"](channel.ARG1:get() .. channel.ARG2:get()) end,
    },
}
"#,
        )],
    );
    for (exten, from) in [
        ("100", "rows"),
        ("155", "pattern 155"),
        ("101", "longer 101"),
        ("1012", "longer 1012"),
        ("234", "lua 234"),
    ] {
        exchange.call(exten, "");
        assert_eq!(exchange.global("FROM"), from, "{exten}");
    }
    exchange.call("300", "");
    assert_eq!(exchange.global("RETURNED"), "ab");
}

#[test]
fn a_caller_is_led_through_a_menu_by_the_object_call() {
    let busy = Phone::start("201", Manner::Refuse(486));
    let phone = Phone::start("202", Manner::Answer(Some(Duration::from_millis(500))));
    let exchange = start_with(
        &[],
        &[&busy, &phone],
        &[
            (
                "main.lua",
                r#"
local menu = require("lib.menu")
extensions.test = {
    ["100"] = function(context, exten)
        assert(call.state ~= "up" and call.exten == exten and call.context == context)
        call:answer()
        assert(call.state == "up" and not call.over and call.caller.number == "tester")
        call.vars.PLAIN = 5
        assert(call.vars.PLAIN == "5" and call.vars.NOTHING == nil)
        call:set("CALLERID(name)", "Ada")
        assert(call:get("CALLERID(name)") == "Ada" and call.caller.name == "Ada")
        call.data.count = (call.data.count or 0) + 1
        local digits, status = menu.ask()
        call:set("GLOBAL(READ)", digits .. "/" .. status)
        call:play("beep")
        call:say("number", 42)
        local first = call:dial{"PJSIP/201", timeout = 10}
        local second = call:dial({"PJSIP/201", "PJSIP/202"}, {timeout = 20})
        call:set("GLOBAL(FIRST)", first.status .. tostring(first.answered) .. first.cause)
        call:set("GLOBAL(SECOND)", second.status .. tostring(second.answered) .. second.number
            .. tostring(second.answered_by:sub(1, 10)) .. tostring(second.talked > 0.2))
        call:jump("next")
    end,
    next = function()
        assert(call.data.count == 1)
        call:on("hangup", function(cause, text) channel["GLOBAL(GONE)"] = cause .. text end)
        call:set("GLOBAL(THERE)", "yes")
        call:wait(600)
        call:set("GLOBAL(NEVER)", "yes")
    end,
}
"#,
            ),
            (
                "lib/menu.lua",
                r#"
local menu = {}
function menu.ask()
    return call:read{ prompt = "beep", max = 3, timeout = 20, digit_timeout = 20 }
end
return menu
"#,
            ),
        ],
    );
    exchange.call_until("100", "123", || exchange.global("THERE") == "yes");
    assert_eq!(exchange.global("READ"), "123/ok");
    assert_eq!(exchange.global("FIRST"), "BUSYfalse17");
    assert_eq!(exchange.global("SECOND"), "ANSWERtrue202PJSIP/202-true");
    wait_until("the hang-up is noticed", || {
        exchange.global("GONE") == "16Normal Clearing"
    });
    assert_eq!(exchange.global("NEVER"), "");
}

#[test]
fn files_are_swapped_whole_and_a_broken_version_is_not_used() {
    let file = |text: &str| {
        format!(
            r#"extensions = {{ test = {{ ["100"] = function() channel["GLOBAL(V)"] = "{text}" end,
        wait = function() channel["GLOBAL(WAITS)"] = "yes" call:wait(1) while channel["GLOBAL(GO)"]:get() ~= "yes" do call:wait(0.05) end
        channel["GLOBAL(WAITED)"] = "{text}" call:jump("100") end }} }}"#
        )
    };
    let exchange = start(&file("one"));
    exchange.call("100", "");
    assert_eq!(exchange.global("V"), "one");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| exchange.call("wait", ""));
        wait_until("the call waits", || exchange.global("WAITS") == "yes");
        let changed = Instant::now();
        exchange.write("main.lua", &file("two"));
        wait_until("the new version", || {
            exchange.call_alone("100");
            exchange.global("V") == "two"
        });
        assert!(changed.elapsed() < Duration::from_secs(20));
        exchange.shared.globals.set("GO", "yes");
        waiting.join().expect("the call ends");
    });
    // The call that was there when the version changed kept its own, in this context.
    assert_eq!(exchange.global("WAITED"), "one");
    assert_eq!(exchange.global("V"), "one");
    let failures = exchange.plans.failures();
    exchange.write("main.lua", "extensions = {\n  test = \n}}");
    wait_until("the broken version is noticed", || {
        exchange.plans.failures() > failures
    });
    wait_until("its fault is told", || {
        let problems = exchange.plans.problems();
        problems
            .iter()
            .any(|problem| problem.to_string().contains("main.lua:3"))
    });
    exchange.call("100", "");
    assert_eq!(exchange.global("V"), "two");
    exchange.write("main.lua", &file("three"));
    wait_until("the mended version", || {
        exchange.call("100", "");
        exchange.global("V") == "three"
    });
    assert!(exchange.plans.problems().is_empty());
}

#[test]
fn a_script_that_fails_goes_to_e_and_says_file_and_line() {
    let exchange = start(
        r#"
local function deep() error("no such luck") end
extensions.test = {
    ["100"] = function() call:answer() deep() end,
    ["101"] = function() app.frobnicate() end,
    ["102"] = function() call:read{ promt = "beep" } end,
    ["103"] = function() error(-1) end,
    ["104"] = function() pcall(function() call:hangup() end) channel["GLOBAL(CAUGHT)"] = tostring(call.over) end,
    e = function() channel["GLOBAL(E)"] = channel.EXCEPTION("reason"):get() .. channel.EXCEPTION("exten"):get() end,
}
"#,
    );
    let failed = || {
        let numbers = exchange.plans.counters().snapshot();
        numbers
            .iter()
            .find(|(name, _)| *name == "steps_failed")
            .map_or(0, |(_, count)| *count)
    };
    for (exten, count) in [("100", 1), ("101", 2), ("102", 3)] {
        exchange.call(exten, "");
        assert_eq!(exchange.global("E"), format!("ERROR{exten}"));
        assert_eq!(failed(), count);
    }
    exchange.call("103", "");
    exchange.call("104", "");
    assert_eq!(exchange.global("CAUGHT"), "true");
    assert_eq!(failed(), 3);
}

#[test]
fn spawned_functions_run_beside_each_other_and_end_with_the_call() {
    let exchange = start(
        r#"
extensions.test = {
    ["100"] = function()
        call:answer()
        local began = time.monotonic()
        local jobs = {}
        for i = 1, 5 do
            jobs[i] = spawn(function(n) call:wait(2) return n * n, "x" end, i)
        end
        local sum = 0
        for _, job in jobs do
            local square, x = job:wait()
            sum += square
            assert(x == "x" and job.done)
        end
        call:set("GLOBAL(SUM)", sum)
        assert(time.monotonic() - began < 9.6)
        local failing = spawn(function() error("inside") end)
        local ok, why = pcall(function() failing:wait() end)
        assert(not ok and tostring(why):find("inside"))
        local slow = spawn(function() call:wait(600) end)
        local nothing, reason = slow:wait(0.05)
        assert(nothing == nil and reason == "timeout")
        slow:cancel()
        nothing, reason = slow:wait()
        assert(nothing == nil and reason == "cancelled")
        for i = 1, 16 do spawn(function() call:wait(600) end) end
        ok, why = pcall(spawn, function() end)
        assert(not ok and tostring(why):find("16 functions"))
        call:set("GLOBAL(DONE)", "yes")
    end,
}
"#,
    );
    exchange.call("100", "");
    assert_eq!(exchange.global("SUM"), "55");
    assert_eq!(exchange.global("DONE"), "yes");
}

#[test]
fn libraries_keep_values_and_speak_json() {
    let exchange = start(
        r#"
extensions.test = {
    ["100"] = function()
        db.put("numbers", "100", 7)
        assert(db.get("numbers", "100") == "7" and db.get("numbers", "101") == nil)
        assert(#db.keys("numbers") == 1 and db.delete("numbers", "100"))
        assert(shared.incr("calls") >= 1)
        shared.set("list", {1, 2, {deep = true}}, {ttl = 60})
        assert(shared.get("list")[3].deep == true)
        shared.set("list", nil)
        assert(shared.get("list") == nil)
        assert(json.decode(json.encode({a = {1, 2}})).a[2] == 2 and json.decode("null") == json.null)
        local ok, why = pcall(shared.set, "big", ("x"):rep(70000))
        assert(not ok and tostring(why):find("65536"))
        log.info("one", 2, {three = 3})
        print("printed")
        call:set("GLOBAL(DONE)", shared.get("calls"))
    end,
}
"#,
    );
    exchange.call("100", "");
    assert_eq!(exchange.global("DONE"), "1");
    exchange.call("100", "");
    assert_eq!(exchange.global("DONE"), "2");
}

/// Answers each request with a status, and tells in a header what came.
fn web() -> std::net::SocketAddr {
    use std::io::{BufRead, BufReader, Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
                let (mut first, mut length, mut kind) = (String::new(), 0, String::new());
                let _ = reader.read_line(&mut first);
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) < 3 {
                        break;
                    }
                    let lower = line.to_ascii_lowercase();
                    if let Some(value) = lower.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap_or(0);
                    }
                    if let Some(value) = lower.strip_prefix("content-type:") {
                        kind = value.trim().to_owned();
                    }
                }
                let mut body = vec![0; length];
                let _ = reader.read_exact(&mut body);
                if first.contains("/silent") {
                    std::thread::sleep(Duration::from_secs(30));
                    return;
                }
                let answer = if first.contains("/big") {
                    "x".repeat(5000)
                } else {
                    format!(
                        "{} [{kind}] {}",
                        first.trim(),
                        String::from_utf8_lossy(&body)
                    )
                };
                let status = if first.contains("/missing") {
                    "404 Not Found"
                } else {
                    "200 OK"
                };
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nX-Kind: test\r\nConnection: close\r\n\r\n{answer}",
                    answer.len()
                );
            });
        }
    });
    address
}

#[test]
fn requests_are_sent_with_limits_while_other_calls_go_on() {
    let address = web();
    let exchange = start(&format!(
        r#"
local base = "http://{address}"
extensions.test = {{
    ["100"] = function()
        local answer = assert(http.get(base .. "/hello?x=1"))
        assert(answer.ok and answer.status == 200 and answer.headers["x-kind"] == "test")
        call:set("GLOBAL(GET)", answer.body)
        answer = assert(http.post(base .. "/post", {{ json = {{ caller = call.caller.number }} }}))
        call:set("GLOBAL(POST)", answer.body)
        answer = assert(http.request{{ method = "PUT", url = base .. "/missing", form = {{ a = "b c" }}, headers = {{ ["X-One"] = "1" }} }})
        assert(answer.status == 404 and not answer.ok)
        call:set("GLOBAL(PUT)", answer.body)
        local none, why = http.get(base .. "/big", {{ max_bytes = 1000 }})
        assert(none == nil and why:find("1000 bytes"), why)
        none, why = http.get(base .. "/silent", {{ timeout = 0.3 }})
        assert(none == nil and why:find("0.3 s"), why)
        none, why = http.get("http://127.0.0.1:1/")
        assert(none == nil and why, why)
        for _, wrong in {{ {{ url = "file:///etc/passwd" }}, {{ url = base, method = "BREW" }}, {{ url = base, timeout = 1000 }}, {{ url = base, body = 5 }} }} do
            assert(not pcall(http.request, wrong))
        end
        call:set("GLOBAL(DONE)", "yes")
    end,
    ["101"] = function() call:set("GLOBAL(WAITING)", "yes") http.get(base .. "/silent", {{ timeout = 20 }}) end,
    ["102"] = function() call:set("GLOBAL(BESIDE)", "yes") end,
}}
"#
    ));
    exchange.call("100", "");
    assert_eq!(exchange.global("GET"), "GET /hello?x=1 HTTP/1.1 [] ");
    assert_eq!(
        exchange.global("POST"),
        "POST /post HTTP/1.1 [application/json] {\"caller\":\"tester\"}"
    );
    assert_eq!(
        exchange.global("PUT"),
        "PUT /missing HTTP/1.1 [application/x-www-form-urlencoded] a=b+c"
    );
    assert_eq!(exchange.global("DONE"), "yes");
    std::thread::scope(|scope| {
        let waiting =
            scope.spawn(|| exchange.call_until("101", "", || exchange.global("BESIDE") == "yes"));
        wait_until("the request waits", || exchange.global("WAITING") == "yes");
        let beside = Instant::now();
        scope.spawn(|| exchange.call_alone("102"));
        wait_until("another call goes on", || {
            exchange.global("BESIDE") == "yes"
        });
        assert!(beside.elapsed() < Duration::from_secs(10));
        waiting.join().expect("the call ends");
    });
}

#[test]
fn databases_are_asked_with_parameters() {
    let exchange = Exchange::start_with_config(
        &[],
        &[],
        &[(
            "main.lua",
            r#"
extensions.test = {
    ["100"] = function()
        assert(sql.execute("crm", "CREATE TABLE c (number TEXT, name TEXT, score INTEGER, rate REAL)") == 0)
        assert(sql.execute("crm", "INSERT INTO c VALUES (?, ?, ?, ?)", {"100", "O'Hara", 7, 0.5}) == 1)
        assert(sql.execute("crm", "INSERT INTO c VALUES (?, ?, ?, ?)", {"101", json.null, 8, 1.5}) == 1)
        local rows = assert(sql.query("crm", "SELECT * FROM c WHERE number = ?", {"100"}))
        assert(#rows == 1 and rows[1].score == 7 and rows[1].rate == 0.5)
        call:set("GLOBAL(NAME)", rows[1].name)
        rows = assert(sql.query("reading", "SELECT name FROM c ORDER BY number"))
        assert(#rows == 2 and rows[2].name == nil)
        local none, why = sql.execute("reading", "DELETE FROM c")
        assert(none == nil and why:find("read_only"), why)
        none, why = sql.query("crm", "SELECT * FROM c", {}, {max_rows = 1})
        assert(none == nil and why:find("more than 1 rows"), why)
        none, why = sql.query("crm", "SELECT nonsense FROM nowhere")
        assert(none == nil and why:find("nowhere"), why)
        local ok
        ok, why = pcall(sql.query, "nobody", "SELECT 1")
        assert(not ok and tostring(why):find("crm, reading"), tostring(why))
        call:set("GLOBAL(DONE)", "yes")
    end,
}
"#,
        )],
        |config, data| {
            std::fs::File::create(data.join("crm.db")).expect("a file");
            for (name, read_only) in [("crm", false), ("reading", true)] {
                config.sql.insert(
                    name.to_owned(),
                    strowger_core::config::SqlDatabase {
                        url: "sqlite://crm.db".to_owned(),
                        connections: 2,
                        read_only,
                    },
                );
            }
        },
    );
    exchange.call("100", "");
    assert_eq!(exchange.global("NAME"), "O'Hara");
    assert_eq!(exchange.global("DONE"), "yes");
}

#[test]
fn the_examples_do_what_they_say() {
    let example = |name: &str| {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../lua/examples");
        std::fs::read_to_string(folder.join(name)).expect("the example is there")
    };
    let phone = Phone::start("100", Manner::Answer(Some(Duration::from_millis(200))));
    let busy = Phone::start("101", Manner::Refuse(486));
    let names = ["crm.lua", "extensions.lua", "lib/hours.lua", "office.lua"];
    let texts: Vec<String> = names.iter().map(|name| example(name)).collect();
    let mut files: Vec<(&str, &str)> = names
        .into_iter()
        .zip(texts.iter().map(String::as_str))
        .collect();
    // Calls of the test begin in the context `test`.
    files.push((
        "zz.lua",
        r#"extensions.test = {
            office = function() db.put("office", "closed", "yes") call:jump("office", "0") end,
            open = function() db.delete("office", "closed") call:jump("office", "200") end,
            ring = function() call:jump("office", "100") end,
            busy = function() call:jump("office", "101") end,
            menu = function() call:jump("menu", "s") end,
            customer = function() call:jump("customers", "55") end,
            h = function() channel["GLOBAL(STATUS)"] = channel.DIALSTATUS:get() channel["GLOBAL(AT)"] = channel.CONTEXT:get() end,
        }
        for _, name in { "office", "menu", "telephones", "customers" } do extensions[name] = { h = extensions.test.h } end"#,
    ));
    let exchange = Exchange::start_with_config(&[], &[&phone, &busy], &files, |config, data| {
        std::fs::File::create(data.join("crm.db")).expect("a file");
        let database = strowger_core::config::SqlDatabase {
            url: "sqlite://crm.db".to_owned(),
            connections: 1,
            read_only: true,
        };
        config.sql.insert("crm".to_owned(), database);
    });
    assert!(
        exchange.plans.problems().is_empty(),
        "{:?}",
        exchange.plans.problems()
    );
    // Closed: a word, then the end.
    let ended = exchange.call("office", "");
    assert!(ended.status == 200 && ended.by_exchange, "{ended:?}");
    assert_eq!(exchange.global("AT"), "office");
    for (exten, status, context) in [
        ("ring", "ANSWER", "office"),
        ("open", "ANSWER", "office"),
        ("busy", "BUSY", "office"),
        ("customer", "ANSWER", "customers"),
    ] {
        exchange.shared.globals.set("STATUS", "");
        exchange.call(exten, "");
        assert_eq!(exchange.global("STATUS"), status, "{exten}");
        assert_eq!(exchange.global("AT"), context, "{exten}");
    }
    // The menu of Asterisk's manner: 1 is a telephone.
    exchange.shared.globals.set("STATUS", "");
    exchange.call("menu", "1");
    assert_eq!(exchange.global("STATUS"), "ANSWER");
    assert_eq!(exchange.global("AT"), "telephones");
}

#[test]
fn the_examples_load_without_a_fault() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../lua/examples");
    let scripts = strowger_scripting::Scripts::read(&folder);
    assert!(scripts.problems.is_empty(), "{:?}", scripts.problems);
    assert!(scripts.files().filter(|(_, root)| *root).count() >= 3);
}
