use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::{Counters, Limits, Vm, VmError};

fn vm() -> Vm {
    counted().0
}

fn counted() -> (Vm, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    let limits = Limits {
        slice: Duration::from_millis(5),
        total: Duration::from_millis(400),
        memory_bytes: 16 * 1024 * 1024,
        ..Limits::default()
    };
    let vm = Vm::new(limits, Arc::clone(&counters)).expect("a machine opens");
    (vm, counters)
}

fn step(vm: &Vm, body: &str) -> mlua::Function {
    vm.lua()
        .load(format!("return function(x) {body} end"))
        .eval()
        .expect("the body compiles")
}

/// Runs a hostile step beside a polite one, in turns. Gives back how the hostile one ended and how many turns the
/// polite one had meanwhile.
fn beside(vm: &Vm, hostile: &str) -> (Result<(), VmError>, u32) {
    let hostile = step(vm, hostile);
    let polite = step(
        vm,
        "local sum = 0 for i = 1, 100 do sum += i end assert(sum == 5050)",
    );
    let mut context = Context::from_waker(Waker::noop());
    let mut running = pin!(vm.call(&hostile, 1));
    let mut turns = 0;
    let started = Instant::now();
    loop {
        let polled = running.as_mut().poll(&mut context);
        match beside_once(vm, &polite) {
            Ok(()) => turns += 1,
            Err(error) => panic!("the polite script was harmed: {error}"),
        }
        if let Poll::Ready(result) = polled {
            return (result, turns);
        }
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "the hostile script never ended"
        );
    }
}

fn overruns(body: &str) {
    let mut most = 0;
    // Where this thread itself had to wait for its processor, that time is taken for the script's: then once more.
    for _ in 0..10 {
        let (vm, counters) = counted();
        let (result, turns) = beside(&vm, body);
        assert!(
            matches!(result, Err(VmError::Overrun(..))),
            "{body}: {result:?}"
        );
        assert_eq!(counters.scripts_overrun.load(Ordering::Relaxed), 1);
        most = most.max(turns);
        if turns > 2 {
            assert!(counters.scripts_preempted.load(Ordering::Relaxed) > 0);
            return;
        }
    }
    panic!("others had only {most} turns beside: {body}");
}

#[test]
fn an_endless_loop_yields_to_others_and_is_ended() {
    overruns("while true do end");
    overruns("local function f() return 1 end while true do f() end");
    overruns(
        "repeat local t = table.create(100, 1) table.sort(t, function(a, b) return a < b end) until false",
    );
}

#[test]
fn an_endless_loop_that_catches_errors_is_ended_all_the_same() {
    overruns("while true do pcall(function() while true do end end) end");
    overruns("local function f() while true do pcall(f) end end f()");
    overruns("pcall(function() while true do end end) while true do end");
    overruns("xpcall(function() while true do end end, function() while true do end end) return 1");
}

#[test]
fn what_waits_in_a_coroutine_of_the_script_is_waited_for() {
    let vm = vm();
    let wait = vm
        .lua()
        .create_async_function(|_, text: String| async move {
            let mut left = 3;
            std::future::poll_fn(|_| {
                left -= 1;
                if left == 0 {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            Ok(text)
        })
        .expect("a function");
    let step: mlua::Function = vm
        .lua()
        .load(
            r#"local wait = ...
            return function()
              local made = coroutine.wrap(function(a)
                local heard = wait(a)
                local given = coroutine.yield(heard .. "!")
                return wait(given) .. "?"
              end)
              local first, second = made("one"), made("two")
              local co = coroutine.create(function()
                coroutine.wrap(function() wait("deep") end)()
                error("end", 0)
              end)
              local ok, why = coroutine.resume(co)
              local _, none = coroutine.resume(coroutine.create(function() coroutine.yield() end))
              return first .. second .. tostring(ok) .. why .. tostring(none) .. coroutine.status(co)
            end"#,
        )
        .call(wait)
        .expect("the body compiles");
    let mut context = Context::from_waker(Waker::noop());
    let mut running = pin!(vm.call_for::<String, _>(&step, ()));
    let mut waited = 0;
    let told = loop {
        match running.as_mut().poll(&mut context) {
            Poll::Ready(told) => break told,
            Poll::Pending => waited += 1,
        }
    };
    assert_eq!(told.expect("it ends well"), "one!two?falseendnildead");
    assert_eq!(waited, 6, "each of the three waits twice");
}

#[test]
fn a_script_gives_its_turn_back_from_within_its_coroutines_without_seeing_it() {
    let limits = Limits {
        slice: Duration::from_millis(1),
        total: Duration::from_secs(60),
        ..Limits::default()
    };
    let vm = Vm::new(limits, Arc::default()).expect("a machine");
    let step: mlua::Function = vm
        .lua()
        .load(
            r#"return function()
              local function busy() local n = 0 for i = 1, 3e6 do n = n + i % 7 end return n end
              local inner = coroutine.wrap(function(a)
                busy()
                local given = coroutine.yield(a .. "!")
                busy()
                return given .. "?"
              end)
              local outer = coroutine.create(function() return inner("one") .. inner("two") end)
              local ok, told = coroutine.resume(outer)
              return tostring(ok) .. told .. coroutine.status(outer)
            end"#,
        )
        .call(())
        .expect("the body compiles");
    let mut context = Context::from_waker(Waker::noop());
    let mut running = pin!(vm.call_for::<String, _>(&step, ()));
    let mut turns = 0;
    let told = loop {
        match running.as_mut().poll(&mut context) {
            Poll::Ready(told) => break told,
            Poll::Pending => turns += 1,
        }
    };
    assert_eq!(told.expect("it ends well"), "trueone!two?dead");
    assert!(turns >= 2, "{turns}");
}

#[test]
fn an_endless_loop_inside_a_coroutine_of_its_own_is_ended() {
    overruns(
        "while true do local c = coroutine.create(function() while true do end end) coroutine.resume(c) end",
    );
}

#[test]
fn a_pathological_pattern_is_ended() {
    let vm = vm();
    let (result, _) = beside(
        &vm,
        "local s = string.rep('a', 40) return string.find(s, string.rep('a?', 40) .. string.rep('a', 40) .. 'b')",
    );
    assert!(matches!(result, Err(VmError::Overrun(..))), "{result:?}");
}

#[test]
fn a_huge_string_hits_the_memory_limit_and_others_go_on() {
    for body in [
        "return string.rep('x', 1000000000)",
        "local s = 'x' while true do s = s .. s end",
        "local t = {} while true do t[#t + 1] = {} end",
        "local t = {} while true do t[#t + 1] = buffer.create(1000000) end",
        "return table.concat(table.create(100000000, 'x'))",
    ] {
        let vm = vm();
        let (result, _) = beside(&vm, body);
        assert!(
            matches!(
                result,
                Err(VmError::Memory(_)
                    | VmError::Greedy(_)
                    | VmError::Script(_)
                    | VmError::Overrun(..))
            ),
            "{body}: {result:?}"
        );
        let (again, _) = beside(&vm, "return ('x'):rep(1000000)");
        assert!(again.is_ok(), "after {body}: {again:?}");
    }
}

#[test]
fn deep_recursion_is_an_error_of_that_script_only() {
    for body in [
        "local function f(n) return 1 + f(n + 1) end return f(1)",
        "local function f() return (string.gsub('x', 'x', f)) end return f()",
        "local t = setmetatable({}, {}) getmetatable(t).__index = function(_, k) return t[k .. 'x'] end return t.a",
    ] {
        let vm = vm();
        let (result, _) = beside(&vm, body);
        assert!(result.is_err(), "{body}");
        let (again, _) = beside(&vm, "return 1");
        assert!(again.is_ok(), "after {body}: {again:?}");
    }
}

#[test]
fn nothing_outside_the_sandbox_can_be_reached() {
    let vm = vm();
    for name in [
        "os",
        "io",
        "debug",
        "package",
        "require",
        "loadstring",
        "load",
        "collectgarbage",
        "getfenv",
        "setfenv",
        "newproxy",
        "print",
        "gcinfo",
        "dofile",
        "loadfile",
    ] {
        let missing = step(&vm, &format!("assert({name} == nil, 'there is {name}')"));
        let result = beside_once(&vm, &missing);
        assert!(result.is_ok(), "{result:?}");
    }
    for body in [
        "string.rep = nil",
        "string.new = 1",
        "table.insert = nil",
        "math.random = function() return 4 end",
        "leaked = 1",
        "_G.leaked = 1",
        "getmetatable('').__index = {}",
        "rawset(_G, 'leaked', 1)",
        "rawset(string, 'rep', nil)",
    ] {
        let change = step(&vm, body);
        assert!(beside_once(&vm, &change).is_err(), "allowed: {body}");
    }
    let untouched = step(
        &vm,
        "assert(leaked == nil and ('x'):rep(3) == 'xxx' and table.insert)",
    );
    assert!(beside_once(&vm, &untouched).is_ok());
}

fn beside_once(vm: &Vm, function: &mlua::Function) -> Result<(), VmError> {
    let mut call = pin!(vm.call(function, 1));
    // It yields only if this thread had to wait for its processor in the middle of it.
    for _ in 0..10 {
        if let Poll::Ready(result) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return result;
        }
    }
    panic!("a short script was made to wait");
}

#[test]
fn an_error_is_told_in_one_line() {
    let vm = vm();
    let failing = step(&vm, "error('no such\\nthing')");
    let Err(VmError::Script(message)) = beside_once(&vm, &failing) else {
        panic!("no error");
    };
    assert!(
        message.contains("no such") && !message.contains('\n'),
        "{message}"
    );
}

#[test]
fn waiting_gives_a_script_a_fresh_budget() {
    let vm = vm();
    let wait = vm
        .lua()
        .create_async_function(|_, ()| async {
            let mut waited = false;
            std::future::poll_fn(|cx| {
                if waited {
                    return Poll::Ready(());
                }
                waited = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            Ok(())
        })
        .expect("an async function is made");
    // Each turn computes for a good part of the total; four of them pass only if waiting starts the count anew.
    let busy = vm
        .lua()
        .create_function(|_, ()| {
            std::thread::sleep(Duration::from_millis(120));
            Ok(())
        })
        .expect("a function is made");
    let function: mlua::Function = vm
        .lua()
        .load("local wait, busy = ... return function() for i = 1, 4 do busy() for j = 1, 20 do end wait() end end")
        .call((wait, busy))
        .expect("the body compiles");
    let mut call = pin!(vm.call(&function, ()));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..20 {
        if let Poll::Ready(result) = call.as_mut().poll(&mut context) {
            assert!(result.is_ok(), "{result:?}");
            return;
        }
    }
    panic!("the script never ended");
}

#[test]
fn a_script_that_gathers_memory_is_ended_before_others_have_none() {
    let vm = vm();
    let kept = vm.lua().create_table().expect("a table");
    let gather: mlua::Function = vm
        .lua()
        .load("local kept = ... return function() while true do pcall(function() kept[#kept + 1] = buffer.create(1000) end) end end")
        .call(&kept)
        .expect("the body compiles");
    let mut call = pin!(vm.call(&gather, ()));
    let mut context = Context::from_waker(Waker::noop());
    let ended = loop {
        if let Poll::Ready(result) = call.as_mut().poll(&mut context) {
            break result;
        }
    };
    assert!(matches!(ended, Err(VmError::Greedy(_))), "{ended:?}");
    // What it kept is still there, and others have what they need.
    let polite = step(&vm, "local t = {} for i = 1, 10000 do t[i] = {i} end");
    assert!(beside_once(&vm, &polite).is_ok());
    // Garbage is not what a script holds.
    let (wasteful, _) = beside(&vm, "for i = 1, 20000 do local b = buffer.create(1000) end");
    assert!(wasteful.is_ok(), "{wasteful:?}");
}
