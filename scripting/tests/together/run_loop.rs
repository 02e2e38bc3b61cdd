//! Whole calls through the dialplan: where they go, what they leave in variables, how they end.

use std::time::Duration;

use crate::exchange::{Exchange, Manner, Phone, wait_until};

/// The whole seconds a variable holds.
fn seconds(text: &str) -> u64 {
    text.parse()
        .unwrap_or_else(|_| panic!("\"{text}\" is no number of seconds"))
}

/// The bytes of sound in a WAV file that is complete: its header tells its length.
fn sound_in(path: impl AsRef<std::path::Path>) -> u64 {
    let path = path.as_ref();
    let file = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let told = u32::from_le_bytes(file[40..44].try_into().expect("four bytes"));
    assert_eq!(
        file.len() as u64,
        44 + u64::from(told),
        "{}",
        path.display()
    );
    u64::from(told)
}

#[test]
fn priorities_run_in_order_and_the_end_of_the_extension_ends_the_call() {
    let exchange = Exchange::start(
        &[
            ("_1XX", "NoOp", "pattern ${EXTEN}"),
            ("_1XX", "Answer", ""),
            (
                "_1XX",
                "Set",
                "GLOBAL(SEEN)=${EXTEN}/${CONTEXT}/${PRIORITY}/${CALLERID(num)}/${EXTEN:1}/$[1 + 2]",
            ),
            ("h", "Set", "GLOBAL(H)=${EXTEN}:${SEEN}:${HANGUPCAUSE}"),
        ],
        &[],
    );
    let ended = exchange.call("150", "");
    assert!(ended.status == 200 && ended.by_exchange, "{ended:?}");
    assert_eq!(exchange.global("SEEN"), "150/test/3/tester/50/3");
    assert_eq!(exchange.global("H"), "h:150/test/3/tester/50/3:16");
}

#[test]
fn extension_h_runs_when_the_caller_hangs_up_and_only_without_media() {
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            ("100", "Set", "MINE=kept"),
            ("100", "Set", "GLOBAL(THERE)=yes"),
            ("100", "Wait", "600"),
            ("100", "Set", "GLOBAL(AFTER)=yes"),
            ("h", "Set", "GLOBAL(H)=${MINE}"),
            ("h", "Goto", "more,1"),
            ("more", "Set", "GLOBAL(MORE)=yes"),
            ("more", "Playback", "demo"),
            ("more", "Set", "GLOBAL(AFTER)=yes"),
        ],
        &[],
    );
    exchange.call_until("100", "", || exchange.global("THERE") == "yes");
    assert_eq!(
        (
            exchange.global("H").as_str(),
            exchange.global("MORE").as_str()
        ),
        ("kept", "yes")
    );
    assert_eq!(exchange.global("AFTER"), "");
}

#[test]
fn a_wrong_number_goes_to_i_and_a_missing_digit_to_t() {
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            ("100", "Set", "TIMEOUT(digit)=40"),
            ("100", "WaitExten", "40"),
            ("101", "Answer", ""),
            ("101", "Set", "TIMEOUT(response)=0.5"),
            ("101", "WaitExten", ""),
            ("12", "Set", "GLOBAL(GOT)=${EXTEN}"),
            ("12", "Goto", "nowhere,1"),
            ("i", "Set", "GLOBAL(INVALID)=${INVALID_EXTEN}"),
            ("i", "Hangup", ""),
            ("t", "Set", "GLOBAL(T)=yes"),
        ],
        &[],
    );
    exchange.call("100", "12");
    assert_eq!(
        (
            exchange.global("GOT").as_str(),
            exchange.global("INVALID").as_str()
        ),
        ("12", "nowhere")
    );
    exchange.call("100", "9");
    assert_eq!(exchange.global("INVALID"), "9");
    assert_eq!(exchange.global("T"), "");
    exchange.call("101", "");
    assert_eq!(exchange.global("T"), "yes");
}

#[test]
fn the_absolute_timeout_goes_to_capital_t_or_e() {
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            ("100", "Set", "TIMEOUT(absolute)=2"),
            ("100", "Wait", "600"),
            (
                "e",
                "Set",
                "GLOBAL(E)=${EXCEPTION(reason)} ${EXCEPTION(exten)} ${EXCEPTION(priority)}",
            ),
        ],
        &[],
    );
    let ended = exchange.call("100", "");
    assert!(ended.by_exchange, "{ended:?}");
    assert_eq!(exchange.global("E"), "ABSOLUTETIMEOUT 100 3");
}

#[test]
fn subroutines_have_arguments_and_locals_and_give_a_value_back() {
    let exchange = Exchange::start(
        &[
            ("100", "Set", "X=outer"),
            ("100", "Gosub", "sub,s,1(a,b c)"),
            (
                "100",
                "Set",
                "GLOBAL(BACK)=${GOSUB_RETVAL}/${X}/${ARG1}/${ARGC}",
            ),
            ("s@sub", "Set", "LOCAL(X)=inner"),
            ("s@sub", "Gosub", "deeper,1(z)"),
            ("s@sub", "Set", "GLOBAL(IN)=${ARG1}-${ARG2}-${ARGC}-${X}"),
            ("s@sub", "Return", "done ${X}"),
            (
                "deeper@sub",
                "Set",
                "GLOBAL(DEEPER)=${ARG1}-${ARG2}-${ARGC}-${X}",
            ),
            ("deeper@sub", "Return", ""),
        ],
        &[],
    );
    exchange.call("100", "");
    assert_eq!(exchange.global("DEEPER"), "z--1-inner");
    assert_eq!(exchange.global("IN"), "a-b c-2-inner");
    assert_eq!(exchange.global("BACK"), "done inner/outer//");
}

#[test]
fn loops_and_conditions_do_what_they_say() {
    let exchange = Exchange::start(
        &[
            ("100", "Set", "I=0"),
            ("100", "While", "$[${I} < 5]"),
            ("100", "Set", "I=${INC(I)}"),
            ("100", "ExecIf", "$[${I} = 2]?Set(GLOBAL(TWO)=yes)"),
            ("100", "GotoIf", "$[${I} = 4]?out"),
            ("100", "EndWhile", ""),
            ("100", "Set", "GLOBAL(I)=${I}"),
        ],
        &[],
    );
    // A label that does not exist is an error, which ends the call: nothing after it runs.
    let ended = exchange.call("100", "");
    assert_eq!(ended.status, 603, "{ended:?}");
    assert_eq!(
        (
            exchange.global("TWO").as_str(),
            exchange.global("I").as_str()
        ),
        ("yes", "")
    );
}

#[test]
fn a_failing_step_goes_to_e_and_an_endless_loop_harms_nobody() {
    let exchange = Exchange::start(
        &[
            ("100", "Return", ""),
            ("200", "Answer", ""),
            ("200", "Set", "GLOBAL(LOOPING)=yes"),
            ("200", "Goto", "1"),
            ("300", "Answer", ""),
            ("300", "Set", "GLOBAL(SERVED)=yes"),
            (
                "e",
                "Set",
                "GLOBAL(E)=${EXCEPTION(reason)} ${EXCEPTION(exten)}",
            ),
        ],
        &[],
    );
    exchange.call("100", "");
    assert_eq!(exchange.global("E"), "ERROR 100");
    std::thread::scope(|scope| {
        // It loops until the other call was served, and would for ever otherwise.
        let looping =
            scope.spawn(|| exchange.call_until("200", "", || exchange.global("SERVED") == "yes"));
        wait_until("the call loops", || exchange.global("LOOPING") == "yes");
        let ended = exchange.call("300", "");
        assert_eq!(ended.status, 200, "{ended:?}");
        looping.join().expect("the looping call ends");
    });
    assert_eq!(exchange.global("SERVED"), "yes");
}

#[test]
fn dial_tells_what_became_of_the_device() {
    let busy = Phone::start("busy", Manner::Refuse(486));
    let away = Phone::start("away", Manner::Ring);
    let answers = Phone::start("answers", Manner::Answer(Some(Duration::from_secs(3))));
    let exchange = Exchange::start(
        &[
            ("100", "Dial", "PJSIP/busy,40"),
            (
                "100",
                "Set",
                "GLOBAL(BUSY)=${DIALSTATUS}/${HANGUPCAUSE}/${DIALEDPEERNUMBER}/${DIALEDPEERNAME}",
            ),
            ("100", "Dial", "PJSIP/away,3"),
            (
                "100",
                "Set",
                "GLOBAL(AWAY)=${DIALSTATUS}/${HANGUPCAUSE}/${RINGTIME}/${ANSWEREDTIME}",
            ),
            ("100", "Dial", "PJSIP/nobody,5"),
            ("100", "Set", "GLOBAL(NOBODY)=${DIALSTATUS}"),
            ("100", "Dial", "SIP/answers&PJSIP/busy,40,g"),
            (
                "100",
                "Set",
                "GLOBAL(ANSWERED)=${DIALSTATUS}/${DIALEDPEERNUMBER}/${ANSWEREDTIME}/${CUT(DIALEDPEERNAME,-,1)}",
            ),
            ("100", "Dial", ""),
            ("h", "Set", "GLOBAL(H)=${DIALSTATUS}"),
            ("200", "Dial", "PJSIP/busy,40"),
        ],
        &[&busy, &away, &answers],
    );
    let started = std::time::Instant::now();
    let ended = exchange.call("100", "");
    let longest = started.elapsed().as_secs();
    assert!(ended.status == 200 && ended.by_exchange, "{ended:?}");
    assert_eq!(exchange.global("BUSY"), "BUSY/17/busy/");
    let away = exchange.global("AWAY");
    let [status, cause, rang, answered] = away.split('/').collect::<Vec<_>>()[..] else {
        panic!("{away}");
    };
    assert_eq!((status, cause, answered), ("NOANSWER", "19", ""));
    assert!(seconds(rang) <= 3, "{away}");
    assert_eq!(exchange.global("NOBODY"), "CHANUNAVAIL");
    // The phone stayed for three seconds; how late it and the exchange saw each other's messages is the machine's matter.
    let answered = exchange.global("ANSWERED");
    let stayed = answered
        .strip_prefix("ANSWER/answers/")
        .and_then(|rest| rest.strip_suffix("/PJSIP/answers"))
        .unwrap_or_else(|| panic!("{answered}"));
    assert!((1..=longest).contains(&seconds(stayed)), "{answered}");
    assert_eq!(exchange.global("H"), "INVALIDARGS");
    // Without anything after it, the busy device's answer is the caller's.
    assert_eq!(exchange.call("200", "").status, 486);
}

#[test]
fn subroutines_of_dial_run_on_the_other_channel() {
    let answers = Phone::start("answers", Manner::Answer(None));
    let exchange = Exchange::start(
        &[
            ("100", "Set", "__FAMILY=inherited"),
            ("100", "Dial", "PJSIP/answers,40,gb(pre^s^1(x))U(check^y)"),
            ("100", "Set", "GLOBAL(STATUS)=${DIALSTATUS}"),
            (
                "s@pre",
                "Set",
                "GLOBAL(PRE)=${ARG1}/${FAMILY}/${CUT(CHANNEL,-,1)}",
            ),
            ("s@pre", "Set", "CHANNEL(hangup_handler_push)=pre,over,1(z)"),
            ("s@pre", "Return", ""),
            (
                "over@pre",
                "Set",
                "GLOBAL(OVER)=${ARG1}/${CUT(CHANNEL,-,1)}/${FAMILY}",
            ),
            ("over@pre", "Return", ""),
            (
                "s@check",
                "Set",
                "GLOBAL(CHECK)=${ARG1}/${CUT(CHANNEL,-,1)}",
            ),
            ("s@check", "Set", "GOSUB_RESULT=CONTINUE"),
            ("s@check", "Return", ""),
        ],
        &[&answers],
    );
    exchange.call("100", "");
    assert_eq!(exchange.global("PRE"), "x/inherited/PJSIP/answers");
    assert_eq!(exchange.global("CHECK"), "y/PJSIP/answers");
    assert_eq!(exchange.global("STATUS"), "NOANSWER");
    // What was pushed there runs at the end of that channel.
    assert_eq!(exchange.global("OVER"), "z/PJSIP/answers/inherited");
}

#[test]
fn a_group_of_devices_lives_in_the_database() {
    let exchange = Exchange::start(
        &[
            (
                "100",
                "Set",
                "DIALGROUP(group_100,add)=PJSIP/user-101-domain",
            ),
            (
                "100",
                "Set",
                "DIALGROUP(group_100,add)=PJSIP/user-102-domain",
            ),
            (
                "100",
                "Set",
                "DIALGROUP(group_100,add)=PJSIP/user-101-domain",
            ),
            ("100", "Set", "GLOBAL(GROUP)=${DIALGROUP(group_100)}"),
            ("100", "Set", "DB(test/key)=value"),
            (
                "100",
                "Set",
                "GLOBAL(DB)=${DB(test/key)}/${DB_EXISTS(test/none)}/${DB_KEYS(test)}",
            ),
        ],
        &[],
    );
    exchange.call("100", "");
    let mut members: Vec<String> = exchange
        .global("GROUP")
        .split('&')
        .map(str::to_owned)
        .collect();
    members.sort();
    assert_eq!(members, ["PJSIP/user-101-domain", "PJSIP/user-102-domain"]);
    assert_eq!(exchange.global("DB"), "value/0/key");
}

#[test]
fn recordings_are_complete_when_the_dialplan_goes_on() {
    let exchange = Exchange::start_with(
        &[
            ("100", "Answer", ""),
            ("100", "MixMonitor", "${UNIQUEID}.wav,,${COMMAND}"),
            ("100", "Set", "GLOBAL(FILE)=${MIXMONITOR_FILENAME}"),
            ("100", "Wait", "1"),
            ("100", "StopMixMonitor", ""),
            ("100", "Record", "${DIR}/say%d.wav,,1,qk"),
            (
                "100",
                "Set",
                "GLOBAL(RECORD)=${RECORD_STATUS}:${RECORDED_FILE}",
            ),
            ("100", "Record", "${DIR}/later.wav,,600,qk"),
            ("h", "Set", "GLOBAL(KEPT)=${RECORD_STATUS}"),
        ],
        &[],
        &[(
            "globals",
            "COMMAND",
            "echo \"^{UNIQUEID}\" > ^{MIXMONITOR_FILENAME}.done",
        )],
    );
    let folder = exchange.data.path().canonicalize().expect("the folder");
    exchange
        .shared
        .globals
        .set("DIR", &folder.display().to_string());
    exchange.call_until("100", "", || {
        // Longer than its header.
        std::fs::metadata(folder.join("later.wav")).is_ok_and(|file| file.len() > 44)
    });
    let file = exchange.global("FILE");
    assert!(
        file.starts_with(&format!("{}/monitor/", folder.display())) && file.ends_with(".wav"),
        "{file}"
    );
    // It lasts a second; a late start or end may take some of it away or add some.
    let length = sound_in(&file);
    assert!((4_000..160_000).contains(&length), "{length}");
    let done = format!("{file}.done");
    wait_until("the command after the recording ran", || {
        std::fs::read_to_string(&done).is_ok_and(|text| text.contains('.'))
    });
    assert_eq!(
        exchange.global("RECORD"),
        format!("TIMEOUT:{}/say0", folder.display())
    );
    let length = sound_in(folder.join("say0.wav"));
    assert!((4_000..160_000).contains(&length), "{length}");
    assert_eq!(exchange.global("KEPT"), "HANGUP");
    assert!(folder.join("later.wav").exists());
}

#[test]
fn a_changed_row_counts_from_the_next_context_of_a_call_in_progress() {
    let old = [
        ("100", "Answer", ""),
        ("100", "Set", "GLOBAL(THERE)=yes"),
        ("100", "Wait", "0.05"),
        ("100", "GotoIf", "$[\"${CHANGED}\" = \"\"]?3"),
        ("100", "Set", "GLOBAL(FIRST)=old"),
        ("100", "Goto", "other,s,1"),
        ("s@other", "Set", "GLOBAL(SECOND)=old"),
    ];
    let mut new = old;
    new[4].2 = "GLOBAL(FIRST)=new";
    new[6].2 = "GLOBAL(SECOND)=new";
    let exchange = Exchange::start(&old, &[]);
    std::thread::scope(|scope| {
        let calling = scope.spawn(|| exchange.call("100", ""));
        wait_until("the call waits", || exchange.global("THERE") == "yes");
        exchange.change(&new);
        exchange.shared.globals.set("CHANGED", "yes");
        calling.join().expect("the call ends");
    });
    assert_eq!(
        (
            exchange.global("FIRST").as_str(),
            exchange.global("SECOND").as_str()
        ),
        ("old", "new")
    );
    exchange.call("100", "");
    assert_eq!(exchange.global("FIRST"), "new");
}

#[test]
fn digits_are_read_into_a_variable() {
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            ("100", "Read", "CODE,,4,,1,40"),
            ("100", "Set", "GLOBAL(CODE)=${CODE}/${READSTATUS}"),
            ("100", "Read", "MORE,,0,,1,40"),
            ("100", "Set", "GLOBAL(MORE)=${MORE}/${READSTATUS}"),
            ("100", "Read", "NONE,,1,,1,0.2"),
            ("100", "Set", "GLOBAL(NONE)=${NONE}/${READSTATUS}"),
        ],
        &[],
    );
    exchange.call("100", "123456#");
    assert_eq!(exchange.global("CODE"), "1234/OK");
    assert_eq!(exchange.global("MORE"), "56/OK");
    assert_eq!(exchange.global("NONE"), "/TIMEOUT");
}

#[test]
fn a_menu_is_interrupted_by_a_digit_and_collects_the_rest_of_the_number() {
    let exchange = Exchange::start(
        &[
            ("100", "Set", "TIMEOUT(digit)=40"),
            ("100", "BackGround", "menu-test"),
            ("100", "Set", "GLOBAL(ENDED)=yes"),
            ("205", "Set", "GLOBAL(CHOSEN)=${EXTEN}"),
            ("205", "Playback", "missing-test"),
            ("205", "Set", "GLOBAL(PLAYED)=${PLAYBACKSTATUS}"),
            ("205", "Playback", "short-test"),
            ("205", "Set", "GLOBAL(PLAYED)=${PLAYED} ${PLAYBACKSTATUS}"),
        ],
        &[],
    );
    exchange.sound("menu-test", 40);
    exchange.sound("short-test", 1);
    exchange.call("100", "205");
    assert_eq!(exchange.global("CHOSEN"), "205");
    assert_eq!(exchange.global("PLAYED"), "FAILED SUCCESS");
    assert_eq!(exchange.global("ENDED"), "");
}

#[test]
fn a_call_is_refused_with_the_cause_given() {
    let exchange = Exchange::start(
        &[
            ("100", "Hangup", "17"),
            ("200", "Congestion", ""),
            ("300", "Busy", "5"),
            ("400", "Hangup", ""),
            ("500", "Ringing", ""),
            ("500", "Wait", "0.2"),
            ("500", "Hangup", "NO_ANSWER"),
        ],
        &[],
    );
    for (exten, status) in [
        ("100", 486),
        ("200", 503),
        ("300", 486),
        ("400", 603),
        ("500", 480),
    ] {
        let ended = exchange.call(exten, "");
        assert_eq!(ended.status, status, "{exten}");
        assert_eq!(ended.provisional.contains(&180), exten == "500", "{exten}");
    }
}

#[test]
fn a_connected_call_ends_at_its_limit_and_goes_on_where_options_say() {
    let answers = Phone::start("answers", Manner::Answer(None));
    let exchange = Exchange::start(
        &[
            ("100", "Dial", "PJSIP/answers,40,S(1)g"),
            ("100", "Set", "GLOBAL(LIMIT)=${DIALSTATUS}/${ANSWEREDTIME}"),
            ("200", "Dial", "PJSIP/answers,40,G(test^300^1)"),
            ("300", "Set", "GLOBAL(CALLER)=${CUT(CHANNEL,-,1)}"),
            ("300", "Set", "GLOBAL(SECOND)=${SECOND} ${CUT(CHANNEL,-,1)}"),
            ("300", "Wait", "0.3"),
        ],
        &[&answers],
    );
    exchange.call("100", "");
    let limit = exchange.global("LIMIT");
    let stayed = limit.strip_prefix("ANSWER/").map(seconds);
    assert!(stayed.is_some_and(|stayed| stayed >= 1), "{limit}");
    exchange.call("200", "");
    assert_eq!(exchange.global("CALLER"), "PJSIP/tester");
    // The callee enters one priority later.
    let mut second: Vec<String> = exchange
        .global("SECOND")
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    second.sort();
    assert_eq!(second, ["PJSIP/answers", "PJSIP/tester"]);
}

#[test]
fn a_recording_in_several_files_begins_before_the_answer_and_has_equal_tracks() {
    let answers = Phone::start("answers", Manner::Answer(Some(Duration::from_secs(2))));
    let exchange = Exchange::start(
        &[
            (
                "100",
                "MixMonitor",
                "${UNIQUEID}.wav,r(${UNIQUEID}_receive.wav)t(${UNIQUEID}_transmit.wav)i(ID)",
            ),
            ("100", "Set", "GLOBAL(FILE)=${MIXMONITOR_FILENAME}"),
            ("100", "Dial", "PJSIP/answers,40,g"),
            ("100", "StopMixMonitor", "${ID}"),
            ("100", "Set", "GLOBAL(STOPPED)=${DIALSTATUS}"),
            ("200", "MixMonitor", "call.gsm"),
            ("200", "Set", "GLOBAL(WENT_ON)=yes"),
            ("200", "MixMonitor", ""),
            ("200", "Set", "GLOBAL(AFTER_NOTHING)=yes"),
        ],
        &[&answers],
    );
    exchange.call("100", "");
    assert_eq!(exchange.global("STOPPED"), "ANSWER");
    let mixed = exchange.global("FILE");
    let stem = mixed.strip_suffix(".wav").expect("a wav file");
    let lengths = [
        sound_in(&mixed),
        sound_in(format!("{stem}_receive.wav")),
        sound_in(format!("{stem}_transmit.wav")),
    ];
    assert!(
        lengths
            .iter()
            .all(|length| (16_000..320_000).contains(length)),
        "{lengths:?}"
    );
    assert!(
        lengths
            .iter()
            .all(|length| length.abs_diff(lengths[0]) <= 640),
        "{lengths:?}"
    );
    exchange.call("200", "");
    assert_eq!(
        (
            exchange.global("WENT_ON").as_str(),
            exchange.global("AFTER_NOTHING").as_str()
        ),
        ("yes", "")
    );
}

#[test]
fn the_message_after_the_beep_is_kept_when_the_caller_hangs_up() {
    let exchange = Exchange::start(
        &[
            ("100", "NoOp", "Входящий вызов"),
            ("100", "Goto", "message-office,s,1"),
            ("100", "Hangup", ""),
            (
                "s@message-office",
                "NoOp",
                "Сообщение после звукового сигнала",
            ),
            ("s@message-office", "Answer", ""),
            ("s@message-office", "Playback", "message-office"),
            (
                "s@message-office",
                "Record",
                "${FOLDER}/${UNIQUEID}.wav,,300,k",
            ),
            ("s@message-office", "Hangup", ""),
            (
                "h@message-office",
                "NoOp",
                "Отправка сообщения на электронную почту",
            ),
            (
                "h@message-office",
                "System",
                "printf '%s|%s' '${CALLERID(number)}' \"$(stat -c %s ${FOLDER}/${UNIQUEID}.wav)\" > ${FOLDER}/mail",
            ),
            (
                "h@message-office",
                "Set",
                "GLOBAL(SENT)=${SYSTEMSTATUS}/${RECORD_STATUS}",
            ),
            ("h@message-office", "Hangup", ""),
        ],
        &[],
    );
    let folder = exchange.data.path().canonicalize().expect("the folder");
    exchange
        .shared
        .globals
        .set("FOLDER", &folder.display().to_string());
    exchange.sound("message-office", 1);
    // The caller leaves when more than a second of the message is on disk.
    let spoken = || {
        std::fs::read_dir(&folder)
            .expect("the folder")
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().ends_with(".wav"))
            .filter_map(|entry| entry.metadata().ok())
            .any(|file| file.len() > 44 + 16_000)
    };
    exchange.call_until("100", "", spoken);
    assert_eq!(exchange.global("SENT"), "SUCCESS/HANGUP");
    let mail = std::fs::read_to_string(folder.join("mail")).expect("the command's output");
    let (caller, length) = mail.split_once('|').expect("two fields");
    assert_eq!(caller, "tester");
    let length: u32 = length.trim().parse().expect("a length");
    assert!(length > 44 + 16_000, "{length}");
}

#[test]
fn without_its_media_thread_the_exchange_ends_its_calls_and_refuses_new_ones() {
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            ("100", "Set", "GLOBAL(THERE)=yes"),
            ("100", "Wait", "600"),
            ("h", "Set", "GLOBAL(H)=${HANGUPCAUSE}"),
        ],
        &[],
    );
    std::thread::scope(|scope| {
        let calling = scope.spawn(|| exchange.call("100", ""));
        wait_until("the call is up", || exchange.global("THERE") == "yes");
        exchange.end_media();
        let ended = calling.join().expect("the call ends");
        assert!(ended.status == 200 && ended.by_exchange, "{ended:?}");
    });
    assert_eq!(exchange.global("H"), "38");
    assert_eq!(exchange.call("100", "").status, 503);
}

#[test]
fn handlers_of_the_hang_up_run_behind_h_the_last_first() {
    let exchange = Exchange::start(
        &[
            (
                "100",
                "Set",
                "CHANNEL(hangup_handler_push)=over,first,1(a,${EXTEN})",
            ),
            ("100", "Set", "CHANNEL(hangup_handler_push)=over,popped,1"),
            ("100", "Set", "CHANNEL(hangup_handler_pop)=over,second,1(b)"),
            ("100", "Set", "CHANNEL(hangup_handler_push)=100,own"),
            ("100", "Set", "CHANNEL(hangup_handler_push)=over,nowhere,1"),
            ("100", "Set", "CHANNEL(hangup_handler_eat)=x"),
            ("100", "Hangup", ""),
            ("h", "Set", "GLOBAL(RAN)=${GLOBAL(RAN)}h"),
            (
                "first@over",
                "Set",
                "GLOBAL(RAN)=${GLOBAL(RAN)},first ${ARG1} ${ARG2} ${ARGC}",
            ),
            ("first@over", "Return", ""),
            (
                "second@over",
                "Set",
                "GLOBAL(RAN)=${GLOBAL(RAN)},second ${ARG1}",
            ),
            ("second@over", "Gosub", "within,1"),
            ("second@over", "Return", ""),
            ("within@over", "Set", "GLOBAL(RAN)=${GLOBAL(RAN)} within"),
            ("within@over", "Return", ""),
            ("popped@over", "Set", "GLOBAL(RAN)=${GLOBAL(RAN)},popped"),
            ("200", "Set", "CHANNEL(hangup_handler_push)=over,first,1"),
            (
                "200",
                "Set",
                "CHANNEL(hangup_handler_wipe)=over,second,1(c)",
            ),
            ("200", "Hangup", ""),
        ],
        &[],
    );
    exchange.call("100", "");
    assert_eq!(
        exchange.global("RAN"),
        "h,second b within,first a 100 2",
        "a place that does not exist is left out"
    );
    exchange.shared.globals.set("RAN", "");
    exchange.call("200", "");
    assert_eq!(exchange.global("RAN"), "h,second c within");
}
