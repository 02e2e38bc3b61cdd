//! Tests of dialplans (`strowger dialplan test`): what a call would do without anybody in it, and what a failure tells.

use strowger_core::Config;
use strowger_scripting::rehearsal::{Failure, Tests};
use strowger_store::Snapshot;

/// Runs the tests of a text; by name, what failed.
fn run_with(text: &str, config: &Config) -> Vec<(String, Option<Failure>, String)> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let _guard = runtime.enter();
    let tests = Tests::parse(text).expect("the tests can be read");
    let held = tests.tests.iter().map(|test| {
        let folder = tempfile::tempdir().expect("a folder");
        let stage = tests
            .stage(config, &Snapshot::default(), folder.path())
            .expect("a stage");
        let (failure, story) = test.run(&stage).expect("the call comes to an end");
        (test.name.clone(), failure, story)
    });
    held.collect()
}

fn run(text: &str) -> Vec<(String, Option<Failure>, String)> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = Config::default();
    config.data.0 = folder.path().to_owned();
    run_with(text, &config)
}

#[track_caller]
fn all_pass(text: &str) {
    for (name, failure, story) in run(text) {
        if let Some(failure) = failure {
            panic!("{name}: {:?}\n{}", failure.findings, story);
        }
    }
}

#[test]
fn the_example_of_the_documentation_passes() {
    let text = include_str!("../../../lua/examples/office.test.toml");
    let names = run(text);
    assert!(names.len() >= 5, "{}", names.len());
    all_pass(text);
}

/// A dialplan with everything a menu has.
const MENU: &str = r#"
[dialplan]
realtime = [
  ["menu", "s", 1, "Answer", ""],
  ["menu", "s", 2, "BackGround", "welcome"],
  ["menu", "s", 3, "WaitExten", "5"],
  ["menu", "1", 1, "Goto", "sales,s,1"],
  ["menu", "_2XX", 1, "Dial", "PJSIP/${EXTEN},20"],
  ["menu", "t", 1, "Playback", "vm-goodbye"],
  ["menu", "t", 2, "Hangup", ""],
  ["menu", "i", 1, "Set", "WRONG=${INVALID_EXTEN}"],
  ["menu", "i", 2, "Goto", "s,2"],
  ["sales", "s", 1, "Read", "PIN,enter-pin,4"],
  ["sales", "s", 2, "ExecIf", "$[\"${PIN}\" = \"1234\"]?Set(GOOD=yes)"],
  ["sales", "s", 3, "Queue", "sales,,,,60"],
  ["sales", "s", 4, "VoiceMail", "1@default"],
  ["sales", "h", 1, "Set", "GLOBAL(LAST)=${QUEUESTATUS}"],
]
[defaults]
context = "menu"
exten = "s"
"#;

fn menu(tests: &str) -> String {
    MENU.replace("exten = \"s\"\n", "") + tests
}

#[test]
fn digits_lead_through_menus_and_nothing_dialled_to_t() {
    all_pass(&menu(
        r#"
[[test]]
name = "a digit at the prompt"
exten = "s"
digits = ["1", "1234#"]
results.Queue = ["TIMEOUT"]
want.route = ["menu,s,1", "menu,s,2", "menu,1", "sales,s", "sales,h"]
want.played = ["welcome", "enter-pin"]
want.variables = { GOOD = "yes", "GLOBAL(LAST)" = "TIMEOUT", VMSTATUS = "SUCCESS" }

[[test]]
name = "digits behind the prompt"
exten = "s"
digits = ["", "205"]
results.Dial = ["BUSY"]
want.through = ["menu,s,3", "menu,205,1 Dial(PJSIP/205,20)"]
want.dialled = ["PJSIP/205"]
want.cause = "USER_BUSY"

[[test]]
name = "a number that does not exist, then none"
exten = "s"
digits = ["7"]
want.route = ["menu,s", "menu,i", "menu,s,2", "menu,s,3", "menu,t"]
want.played = ["welcome", "welcome", "vm-goodbye"]
want.variables.WRONG = "7"
want.answered = true

[[test]]
name = "the caller leaves the queue"
exten = "1"
digits = ["0000"]
results.Queue = ["HANGUP"]
want.through = ["sales,s,3", "sales,h,1"]
want.never = ["sales,s,4"]
want.variables.GOOD = ""
"#,
    ));
}

#[test]
fn results_of_applications_come_in_their_order_and_may_set_variables() {
    all_pass(
        r#"
[dialplan]
realtime = [
  ["c", "1", 1, "Dial", "PJSIP/a&PJSIP/b,5,g"],
  ["c", "1", 2, "Dial", "PJSIP/trunk/0123,5,g"],
  ["c", "1", 3, "AGI", "who.php,${CALLERID(num)}"],
  ["c", "1", 4, "GotoIf", "$[\"${NAME}\" = \"Ann\"]?6"],
  ["c", "1", 5, "Hangup", "21"],
  ["c", "1", 6, "Record", "/tmp/${UNIQUEID}.wav"],
  ["c", "1", 7, "System", "true"],
]
[[test]]
name = "in order"
context = "c"
exten = "1"
caller = '"Ann" <77>'
results.Dial = ["NOANSWER", { status = "ANSWER", talked = 12 }]
results.AGI = [{ set = { NAME = "Ann" } }]
results.Record = ["TIMEOUT"]
results.System = ["FAILURE"]
want.dialled = ["PJSIP/a", "PJSIP/b", "PJSIP/trunk/0123"]
want.route = ["c,1,1", "c,1,2", "c,1,3 AGI(who.php,77)", "c,1,4", "c,1,6", "c,1,7"]
want.variables = { ANSWEREDTIME = "12", DIALSTATUS = "ANSWER", AGISTATUS = "SUCCESS", RECORD_STATUS = "TIMEOUT", SYSTEMSTATUS = "FAILURE", "CALLERID(name)" = "Ann" }

[[test]]
name = "without them"
context = "c"
exten = "1"
want.through = ["c,1,5"]
want.cause = 21
"#,
    );
}

#[test]
fn the_time_of_a_test_is_that_of_its_jumps_functions_and_includes() {
    all_pass(
        r#"
[dialplan]
realtime = [
  ["day", "2", 1, "Set", "OPEN=yes"],
  ["night", "2", 1, "Set", "OPEN=no"],
  ["c", "1", 1, "GotoIfTime", "09:00-17:59,mon-fri,*,*,Europe/Moscow?open,1:closed,1"],
  ["c", "open", 1, "Set", "OPEN=${IFTIME(09:00-17:59,mon-fri,*,*,Europe/Moscow?yes:no)}"],
  ["c", "closed", 1, "Set", "OPEN=${STRFTIME(,Europe/Moscow,%H:%M)}"],
]
static = [
  ["c", "switch", "Realtime/c@extensions"],
  ["c", "include", "day,09:00-17:59,mon-fri,*,*,Europe/Moscow"],
  ["c", "include", "night"],
]
[defaults]
context = "c"
time = "2026-01-05T10:00:00+03:00"
[[test]]
name = "on a Monday morning"
exten = "1"
want = { through = ["c,open,1"], variables = { OPEN = "yes", EPOCH = "1767596400" } }
[[test]]
name = "by night"
exten = "1"
time = "2026-01-05T19:30:00+03:00"
want = { through = ["c,closed,1"], variables.OPEN = "19:30" }
[[test]]
name = "an include of the day"
exten = "2"
want.variables.OPEN = "yes"
[[test]]
name = "an include of the night"
exten = "2"
time = "2026-01-04T10:00:00+03:00"
want.variables.OPEN = "no"
"#,
    );
}

#[test]
fn each_test_begins_with_what_it_is_given_and_nothing_else() {
    all_pass(
        r#"
[dialplan]
realtime = [
  ["c", "1", 1, "Set", "GLOBAL(SEEN)=${GLOBAL(SEEN)}x"],
  ["c", "1", 2, "Set", "DB(seen/it)=${DB(seen/it)}y"],
  ["c", "1", 3, "Set", "STATE=${DEVICE_STATE(PJSIP/7)}"],
  ["c", "1", 4, "Set", "SHOWN=${SHELL(date)}${V}"],
]
[defaults]
context = "c"
functions = { "DEVICE_STATE(PJSIP/7)" = "INUSE", SHELL = "monday " }
[[test]]
name = "given"
exten = "1"
globals = { SEEN = "a" }
database = { "seen/it" = "b" }
variables = { V = "v" }
want.variables = { "GLOBAL(SEEN)" = "ax", "DB(seen/it)" = "by", STATE = "INUSE", SHOWN = "monday v" }
[[test]]
name = "nothing is left of the test before"
exten = "1"
want.variables = { "GLOBAL(SEEN)" = "x", "DB(seen/it)" = "y", SHOWN = "monday " }
"#,
    );
}

/// Each test fails, with this line and these words.
#[test]
fn failures_tell_line_wanted_and_got() {
    let text = r#"[dialplan]
realtime = [
  ["c", "1", 1, "Dial", "PJSIP/a,5"],
  ["c", "1", 2, "Frobnicate", ""],
  ["c", "2", 1, "Set", "X=${SHELL(date)}"],
  ["c", "3", 1, "Goto", "3,1"],
]
[defaults]
context = "c"
[[test]]
name = "another device and status"
exten = "1"
[test.want]
dialled = ["PJSIP/b"]
variables.DIALSTATUS = "BUSY"
[[test]]
name = "an application that does not exist"
exten = "1"
results.Dial = ["NOANSWER"]
want.dialled = ["PJSIP/a"]
[[test]]
name = "a command that would be run"
exten = "2"
want.route = ["c,2"]
[[test]]
name = "a loop"
exten = "3"
want.answered = false
[[test]]
name = "a status that is none"
exten = "1"
results.Dial = ["ENGAGED"]
want.answered = false
[[test]]
name = "a number that is none"
exten = "9"
want.through = ["c,9,1"]
"#;
    let wanted: &[(&str, &[(usize, &str)])] = &[
        (
            "another device and status",
            &[
                (14, "dialled: wanted [\"PJSIP/b\"], got [\"PJSIP/a\"]"),
                (15, "DIALSTATUS: wanted \"BUSY\", got \"ANSWER\""),
            ],
        ),
        (
            "an application that does not exist",
            &[(20, "there is no application Frobnicate")],
        ),
        (
            "a command that would be run",
            &[(24, "SHELL(date) is not read in a test")],
        ),
        ("a loop", &[(28, "endless loop")]),
        (
            "a status that is none",
            &[(33, "\"ENGAGED\" is no DIALSTATUS")],
        ),
        ("a number that is none", &[(37, "does not come to c,9,1")]),
    ];
    let failures = run(text);
    assert_eq!(failures.len(), wanted.len());
    for ((name, failure, story), (wanted_name, findings)) in failures.iter().zip(wanted) {
        assert_eq!(name, wanted_name);
        let failure = failure.as_ref().expect("it fails");
        for (line, words) in *findings {
            assert!(
                failure
                    .findings
                    .iter()
                    .any(|(at, text)| at == line && text.contains(words)),
                "{name}: {line} {words} in {:?}\n{}",
                failure.findings,
                story
            );
        }
    }
}

#[test]
fn functions_of_lua_files_are_rehearsed_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = Config::default();
    config.data.0 = folder.path().to_owned();
    std::fs::create_dir_all(folder.path().join("dialplan")).expect("a folder");
    std::fs::write(
        folder.path().join("dialplan/office.lua"),
        r##"extensions.office = {
            ["_1XX"] = function(context, exten)
                call:answer()
                local digit = call:play("welcome", { stop = "12" })
                local pin, status = call:read{ prompt = "pin", max = 4 }
                call:wait(3600)
                local result = call:dial{ "PJSIP/" .. exten, timeout = 20 }
                call:set("TOLD", `{digit} {pin} {status} {result.status} {result.talked}`)
                local answer, why = http.get("http://127.0.0.1:1/")
                call:set("WHY", why)
                call:set("DAY", time.date("%A", nil, "UTC"))
            end,
        }"##,
    )
    .expect("written");
    let text = r#"
[dialplan]
[[test]]
name = "a function"
context = "office"
exten = "105"
digits = ["1", "4711"]
time = "2026-01-05T10:00:00Z"
results.Dial = [{ status = "ANSWER", talked = 30 }]
[test.want]
played = ["welcome", "pin"]
dialled = ["PJSIP/105"]
variables = { TOLD = "1 4711 ok ANSWER 30", WHY = "a test of the dialplan sends no requests", DAY = "Monday" }
"#;
    for (name, failure, story) in run_with(text, &config) {
        if let Some(failure) = failure {
            panic!("{name}: {:?}\n{}", failure.findings, story);
        }
    }
}

/// Runs the tests of a file of this folder.
fn all_of(file: &str, text: &str) {
    let mut wrong = String::new();
    for (name, failure, story) in run(text) {
        if let Some(failure) = failure {
            wrong.push_str(&format!("{name}\n"));
            for (line, finding) in &failure.findings {
                wrong.push_str(&format!("  {file}:{line}: {finding}\n"));
            }
            wrong.push_str(&story);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_rules_of_the_language_hold() {
    all_of("reference.toml", include_str!("reference.toml"));
}

#[test]
fn the_dialplans_of_the_product_go_their_ways() {
    all_of("product.toml", include_str!("product.toml"));
}
