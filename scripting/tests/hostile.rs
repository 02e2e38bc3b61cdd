//! Rows that harm by mistake, and callers who harm on purpose: the call may fail, the exchange and its log may not. A
//! program of its own, because there is one log for each.

#[expect(dead_code, reason = "other programs use the rest of it")]
#[path = "together/exchange/mod.rs"]
mod exchange;

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use exchange::{Exchange, wait_until};

/// What all tests of this file logged.
fn log() -> Arc<Mutex<Vec<u8>>> {
    static LOG: OnceLock<Arc<Mutex<Vec<u8>>>> = OnceLock::new();
    Arc::clone(LOG.get_or_init(|| {
        let log: Arc<Mutex<Vec<u8>>> = Arc::default();
        let writer = Arc::clone(&log);
        tracing_subscriber::fmt()
            .with_env_filter("info")
            .with_ansi(false)
            .with_writer(move || Lines(Arc::clone(&writer)))
            .try_init()
            .expect("nobody else listens");
        log
    }))
}

struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no writer failed").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The logged lines that have `part`.
fn logged(part: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(&log().lock().expect("no writer failed")).into_owned();
    text.lines()
        .filter(|line| line.contains(part))
        .map(str::to_owned)
        .collect()
}

fn start(rows: &[exchange::Row<'_>]) -> Exchange {
    log();
    Exchange::start(rows, &[])
}

fn nested(application: &str, levels: usize, inner: &str) -> String {
    let mut data = inner.to_owned();
    for _ in 0..levels {
        data = format!("{application}({data})");
    }
    data
}

const E: (&str, &str, &str) = (
    "e",
    "Set",
    "GLOBAL(E)=${EXCEPTION(reason)} ${EXCEPTION(exten)}",
);

#[test]
fn applications_within_applications_end_at_a_limit() {
    let few = nested("Exec", 20, "Set(GLOBAL(FEW)=yes)");
    let many = nested("Exec", 1500, "Set(GLOBAL(MANY)=yes)");
    let tried = nested("TryExec", 900, "Set(GLOBAL(MANY)=yes)");
    let chosen = nested("ExecIf", 500, "1?Set(GLOBAL(MANY)=yes)").replace("ExecIf(", "1?ExecIf(");
    let exchange = start(&[
        ("100", "Exec", &few),
        ("100", "TryExec", &tried),
        ("100", "Set", "GLOBAL(TRIED)=${TRYSTATUS}"),
        ("100", "Exec", &many),
        ("100", "Set", "GLOBAL(AFTER)=yes"),
        ("200", "ExecIf", &chosen),
        ("300", "Dial", "PJSIP/nobody,1,B(again^s^1)"),
        ("300", "Set", "GLOBAL(DIALLED)=${DIALSTATUS}"),
        ("s@again", "Dial", "PJSIP/nobody,1,B(again^s^1)"),
        ("s@again", "Return", ""),
        E,
    ]);
    exchange.call("100", "");
    assert_eq!(exchange.global("FEW"), "yes");
    assert_eq!(exchange.global("TRIED"), "SUCCESS");
    assert_eq!(exchange.global("E"), "ERROR 100");
    assert_eq!(exchange.global("MANY"), "");
    assert_eq!(exchange.global("AFTER"), "");
    assert!(!logged("more than 32 applications run within each other").is_empty());
    exchange.call("200", "");
    assert_eq!(exchange.global("E"), "ERROR 200");
    assert_eq!(exchange.global("MANY"), "");
    exchange.call("300", "");
    assert_eq!(exchange.global("DIALLED"), "CHANUNAVAIL");
}

#[test]
fn functions_within_functions_do_not_use_up_the_stack() {
    let brackets = |count: usize| ("(".repeat(count), ")".repeat(count));
    let (open, close) = brackets(190);
    // Each round of it opens 190 brackets of an expression within those of the round before.
    let bomb = format!("GLOBAL(BOMB)=${{D}}[{open}EVAL(GLOBAL(BOMB)){close}]");
    let arrays = format!("{}=x", nested("ARRAY", 1000, "X"));
    let exchange = start(&[
        ("100", "Set", "D=$"),
        ("100", "Set", &bomb),
        ("100", "NoOp", "${EVAL(${GLOBAL(BOMB)})}"),
        ("100", "Set", &arrays),
        ("100", "Set", "GLOBAL(SURVIVED)=${LEN(${GLOBAL(BOMB)})}"),
    ]);
    exchange.call("100", "");
    assert_eq!(exchange.global("SURVIVED"), "401");
    assert!(!logged("functions are nested too deep").is_empty());
}

#[test]
fn data_that_grows_too_long_fails_its_step() {
    let half = "x".repeat(5000);
    let set = format!("HALF={half}");
    let exchange = start(&[
        ("100", "Set", &set),
        ("100", "Set", "GLOBAL(ONE)=${LEN(${HALF})}"),
        ("100", "Set", "WHOLE=${HALF}${HALF}"),
        ("100", "Set", "GLOBAL(AFTER)=yes"),
        E,
    ]);
    exchange.call("100", "");
    assert_eq!(exchange.global("ONE"), "5000");
    assert_eq!(exchange.global("E"), "ERROR 100");
    assert_eq!(exchange.global("AFTER"), "");
    assert!(!logged("10006 bytes after substitution; 8192 are the limit").is_empty());
}

#[test]
fn names_of_files_do_not_lead_out_of_their_folder() {
    let exchange = start(&[
        ("100", "Set", "CALLERID(name)=../../out"),
        ("100", "Answer", ""),
        ("100", "MixMonitor", "${CALLERID(name)}.wav"),
        ("100", "MixMonitor", "in.wav,r(../out.wav)"),
        ("100", "MixMonitor", "in.wav,t(a/../../out.wav)"),
        ("100", "Record", "${CALLERID(name)}.wav,0,1"),
        ("100", "Set", "GLOBAL(RECORDED)=${RECORD_STATUS}"),
        ("100", "Playback", "${CALLERID(name)}"),
        ("100", "Set", "GLOBAL(PLAYED)=${PLAYBACKSTATUS}"),
        ("100", "Set", "CHANNEL(language)=../.."),
        ("100", "Playback", "beep"),
        ("100", "Set", "GLOBAL(BEEPED)=${PLAYBACKSTATUS}"),
        ("200", "Answer", ""),
        ("200", "Set", "CALLERID(name)=${GLOBAL(ROOT)}/chosen"),
        ("200", "MixMonitor", "${CALLERID(name)}.wav"),
        ("200", "ExecIf", "1?MixMonitor(${CALLERID(name)}.wav)"),
        ("200", "MixMonitor", "r.wav,r(${CALLERID(name)}.wav)"),
        ("200", "Record", "${CALLERID(name)}.wav,0,1"),
        ("200", "Set", "GLOBAL(RECORDED)=${RECORD_STATUS}"),
        ("200", "MixMonitor", "${GLOBAL(ROOT)}/allowed.wav"),
        ("200", "Wait", "0.3"),
        ("200", "StopMixMonitor", ""),
        ("200", "Set", "GLOBAL(DONE)=yes"),
    ]);
    let root = exchange.data.path().display().to_string();
    exchange.shared.globals.set("ROOT", &root);
    let ended = exchange.call("100", "");
    assert_eq!(ended.status, 200);
    assert_eq!(exchange.global("RECORDED"), "ERROR");
    assert_eq!(exchange.global("PLAYED"), "FAILED");
    assert_eq!(exchange.global("BEEPED"), "SUCCESS");
    let files = |folder: std::path::PathBuf| {
        std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name.ends_with(".wav"))
            .collect::<Vec<_>>()
    };
    let data = exchange.data.path().to_owned();
    assert_eq!(files(data.clone()), [""; 0]);
    assert_eq!(files(data.join("monitor")), [""; 0]);
    exchange.call("200", "");
    assert_eq!(exchange.global("DONE"), "yes");
    assert_eq!(exchange.global("RECORDED"), "ERROR");
    assert_eq!(files(data), ["allowed.wav"]);
}

#[test]
fn a_recording_that_cannot_be_written_fails_before_the_beep() {
    let exchange = start(&[
        ("100", "Record", "/proc/none/message.wav,0,600"),
        ("100", "Set", "GLOBAL(STATUS)=${RECORD_STATUS}"),
        ("100", "Hangup", ""),
    ]);
    let ended = exchange.call("100", "");
    assert_eq!(exchange.global("STATUS"), "ERROR");
    assert_ne!(ended.status, 200, "nobody was asked to speak: {ended:?}");
    assert_eq!(logged("/proc/none/message.wav").len(), 1);
}

#[test]
fn a_text_of_the_caller_is_one_line_of_the_log() {
    let exchange = start(&[
        (
            "100",
            "Set",
            "CALLERID(name)=x${URIDECODE(%0d%0a%1b)}FORGED line",
        ),
        ("100", "Verbose", "1,verbose ${CALLERID(name)}"),
        ("100", "Log", "WARNING,log ${CALLERID(name)}"),
        ("100", "NoOp", "noop ${CALLERID(name)}"),
        ("100", "MixMonitor", "${CALLERID(name)}.h264"),
        ("100", "Playback", "${CALLERID(name)},noanswer"),
        ("100", "Set", "${CALLERID(name)}"),
        ("100", "Wait", "${CALLERID(name)}"),
        ("100", "Goto", "${CALLERID(name)}"),
    ]);
    exchange.call("100", "");
    let lines = logged("FORGED");
    assert!(lines.len() >= 7, "{lines:#?}");
    for line in lines {
        assert!(
            line.starts_with("20"),
            "a line begins with its time: {line}"
        );
        assert!(!line.contains(['\r', '\u{1b}']), "{line}");
    }
}

#[test]
fn an_endless_loop_is_slowed_down_and_ends_with_its_call() {
    let exchange = start(&[
        ("100", "Answer", ""),
        ("100", "Verbose", "flood of lines"),
        ("100", "Goto", "2"),
        ("h", "Set", "GLOBAL(H)=${EXTEN}"),
        ("200", "Set", "TIMEOUT(absolute)=1"),
        ("200", "Goto", "2"),
        ("T", "Set", "GLOBAL(T)=yes"),
        ("300", "Wait", "0.01"),
        ("300", "Goto", "1"),
    ]);
    let started = Instant::now();
    exchange.call_until("100", "", || {
        !logged("steps without a pause").is_empty() && !logged("the rest was left out").is_empty()
    });
    let lasted = started.elapsed();
    assert_eq!(exchange.global("H"), "h");
    let steps = exchange.plans.counters().snapshot()[0];
    assert_eq!(steps.0, "steps");
    // 10,000 at full speed, then 16 for each millisecond at most.
    let most = 12_000 + 16 * lasted.as_millis() as u64;
    assert!(
        (10_000..=most).contains(&steps.1),
        "{steps:?} in {lasted:?}"
    );
    let told = logged("steps without a pause");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("exten=\"100\""), "{told:?}");
    let lines = logged("flood of lines").len();
    let most = 200 * (lasted.as_secs() as usize + 2);
    assert!((200..=most).contains(&lines), "{lines} in {lasted:?}");
    exchange.call("200", "");
    assert_eq!(exchange.global("T"), "yes");
    let before = exchange.plans.counters().snapshot()[0].1;
    exchange.call_until("300", "", || {
        exchange.plans.counters().snapshot()[0].1 > before + 50
    });
    let told = logged("steps without a pause");
    assert!(
        told.iter().all(|line| !line.contains("exten=\"300\"")),
        "{told:?}"
    );
}

#[test]
fn nobody_waits_for_a_command_longer_than_the_call_lasts() {
    let exchange = start(&[
        ("100", "Answer", ""),
        (
            "100",
            "System",
            "cd ${GLOBAL(ROOT)}; echo > begun; until [ -e go ]; do sleep 0.1; done; echo > after",
        ),
        ("100", "Set", "GLOBAL(WENT_ON)=yes"),
        ("h", "System", "sleep 0.2"),
        ("h", "Set", "GLOBAL(H)=${SYSTEMSTATUS}"),
        ("200", "Set", "TIMEOUT(absolute)=0.5"),
        (
            "200",
            "TrySystem",
            "until [ -e ${GLOBAL(ROOT)}/go ]; do sleep 0.1; done",
        ),
        ("T", "Set", "GLOBAL(T)=yes"),
    ]);
    let root = exchange.data.path().display().to_string();
    exchange.shared.globals.set("ROOT", &root);
    let file = |name: &str| exchange.data.path().join(name);
    // Neither command ends before both calls have.
    exchange.call_until("100", "", || file("begun").exists());
    assert_eq!(exchange.global("H"), "SUCCESS");
    assert_eq!(exchange.global("WENT_ON"), "");
    exchange.call("200", "");
    assert_eq!(exchange.global("T"), "yes");
    assert!(!file("after").exists());
    std::fs::write(file("go"), "").expect("the file");
    wait_until("the command ends by itself", || file("after").exists());
}

#[test]
fn a_minus_is_said_in_both_languages() {
    let exchange = start(&[
        ("100", "SayDigits", "-1"),
        ("100", "Set", "GLOBAL(SAID)=yes"),
    ]);
    for language in ["en", "ru"] {
        assert!(exchange.shared.sounds.exists("digits/minus", language));
    }
    exchange.call("100", "");
    assert_eq!(exchange.global("SAID"), "yes");
}
