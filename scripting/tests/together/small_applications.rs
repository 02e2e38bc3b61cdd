//! Applications that ask for numbers, refuse calls, send members of conferences away or send Morse code, on whole calls.

use crate::exchange::{Exchange, wait_until};

#[test]
fn a_number_of_the_dialplan_is_read_as_soon_as_it_is_complete() {
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            ("100", "ReadExten", "N,,numbers,,1"),
            (
                "100",
                "Set",
                "GLOBAL(R)=${N}:${READEXTENSTATUS}:${INVALID_EXTEN}",
            ),
            ("101", "ReadExten", "N,,numbers,s"),
            ("101", "Set", "GLOBAL(R)=[${N}]:${READEXTENSTATUS}"),
            ("12@numbers", "NoOp", ""),
            ("123@numbers", "NoOp", ""),
        ],
        &[],
    );
    for (exten, digits, wanted) in [
        ("100", "123", "123:OK:"),
        // What follows is for the next application.
        ("100", "1234", "123:OK:"),
        ("100", "12", "12:OK:"),
        ("100", "12#", "12:OK:"),
        ("100", "9", "i:INVALID:9"),
        ("100", "1", "i:INVALID:1"),
        ("100", "", "t:TIMEOUT:"),
        ("101", "", "[]:SKIP"),
    ] {
        exchange.call(exten, digits);
        assert_eq!(exchange.global("R"), wanted, "{exten} {digits}");
    }
}

#[test]
fn a_prompt_is_ended_by_the_digits_that_are_numbers() {
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            ("100", "BackGround", "quiet,m"),
            ("101", "Answer", ""),
            ("101", "BackgroundDetect", "quiet"),
            ("7", "Set", "GLOBAL(R)=${GLOBAL(R)}7"),
        ],
        &[],
    );
    exchange.sound("quiet", 5);
    for exten in ["100", "101"] {
        exchange.call(exten, "97");
    }
    assert_eq!(exchange.global("R"), "77");
}

#[test]
fn a_caller_without_a_number_is_asked_for_one() {
    let exchange = Exchange::start(
        &[
            ("_10X", "Answer", ""),
            ("_10X", "PrivacyManager", ""),
            ("_10X", "Set", "GLOBAL(KNOWN)=${PRIVACYMGRSTATUS}"),
            ("_10X", "Set", "CALLERID(num)="),
            (
                "_10X",
                "PrivacyManager",
                "2,4,,${IF($[${EXTEN} = 101]?numbers:)}",
            ),
            (
                "_10X",
                "Set",
                "GLOBAL(R)=${PRIVACYMGRSTATUS}:${CALLERID(num)}:${CALLERID(name)}",
            ),
            ("5551@numbers", "NoOp", ""),
        ],
        &[],
    );
    for name in ["unident", "prompt", "incorrect", "thankyou"] {
        exchange.short_sound(&format!("privacy-{name}"));
    }
    // What is dialled while it speaks is lost.
    exchange.call("100", "ww12#ww5551234#");
    assert_eq!(exchange.global("KNOWN"), "SUCCESS");
    assert_eq!(exchange.global("R"), "SUCCESS:5551234:Privacy Manager");
    exchange.call("101", "ww7777#ww5551#");
    assert_eq!(exchange.global("R"), "SUCCESS:5551:Privacy Manager");
    exchange.call("100", "ww12#ww34#");
    assert_eq!(exchange.global("R"), "FAILED::Tester");
}

#[test]
fn a_call_is_refused_with_the_status_that_was_asked_for() {
    let exchange = Exchange::start(
        &[
            ("100", "PJSIPHangup", "BUSY_HERE"),
            ("101", "PJSIPHangup", "606"),
            ("102", "PJSIPHangup", "200"),
            ("102", "Set", "GLOBAL(WENT)=on"),
            ("103", "Answer", ""),
            ("103", "PJSIPHangup", "480"),
            ("103", "Set", "GLOBAL(NEVER)=reached"),
            ("h", "Set", "GLOBAL(H${EXTEN})=ran"),
        ],
        &[],
    );
    assert_eq!(exchange.call("100", "").status, 486);
    assert_eq!(exchange.call("101", "").status, 606);
    exchange.call("102", "");
    assert_eq!(exchange.global("WENT"), "on");
    let ended = exchange.call("103", "");
    assert_eq!((ended.status, ended.by_exchange), (200, true));
    assert_eq!(exchange.global("NEVER"), "");
}

#[test]
fn members_of_a_conference_are_sent_away() {
    let exchange = Exchange::start(
        &[
            ("100", "Originate", "Local/member@inner,exten,test,room,1"),
            ("member@inner", "Answer", ""),
            ("member@inner", "Wait", "30"),
            ("room", "ConfBridge", "7"),
            ("room", "Set", "GLOBAL(LEFT)=${CONFBRIDGE_RESULT}"),
            ("200", "ConfKick", "7,PJSIP/nobody-1"),
            ("200", "Set", "GLOBAL(NOBODY)=${CONFKICKSTATUS}"),
            ("200", "ConfKick", "7"),
            ("200", "Set", "GLOBAL(ALL)=${CONFKICKSTATUS}"),
        ],
        &[],
    );
    exchange.call_alone("100");
    let parties = || {
        let conferences = &exchange.shared.conferences;
        conferences.read(|table| table.info("7").map_or(0, |info| info.parties))
    };
    wait_until("somebody is in the conference", || parties() == 1);
    exchange.call_alone("200");
    wait_until("the member left", || !exchange.global("LEFT").is_empty());
    assert_eq!(exchange.global("NOBODY"), "FAILURE");
    assert_eq!(exchange.global("ALL"), "SUCCESS");
    assert_eq!(exchange.global("LEFT"), "KICKED");
    assert_eq!(parties(), 0);
}

#[test]
fn morse_code_is_heard_at_the_other_end() {
    let exchange = Exchange::start(
        &[
            ("100", "Originate", "Local/send@inner,exten,test,hear,1"),
            ("send@inner", "Answer", ""),
            ("send@inner", "Set", "MORSEDITLEN=40"),
            ("send@inner", "Set", "MORSETONE=loud"),
            ("send@inner", "Wait", "0.3"),
            ("send@inner", "Morsecode", "SOS SOS"),
            ("send@inner", "Set", "GLOBAL(SENT)=yes"),
            ("send@inner", "Wait", "2"),
            // A dash is 120 ms long, a dot 40.
            ("hear", "WaitForNoise", "100,3,8"),
            ("hear", "Set", "HEARD=${WAITSTATUS}"),
            ("hear", "WaitForSilence", "1000,1,9"),
            ("hear", "Set", "GLOBAL(HEARD)=${HEARD}:${WAITSTATUS}"),
        ],
        &[],
    );
    exchange.call_alone("100");
    wait_until("something was heard", || {
        !exchange.global("HEARD").is_empty()
    });
    assert_eq!(exchange.global("HEARD"), "NOISE:SILENCE");
    assert_eq!(exchange.global("SENT"), "yes");
}

#[test]
fn a_dictation_is_recorded_behind_what_was_there_and_played_and_replaced() {
    let exchange = Exchange::start(
        &[
            ("100", "Dictate", ",memo"),
            ("100", "Set", "GLOBAL(R)=done"),
            ("101", "Dictate", "letters"),
            ("101", "Set", "GLOBAL(R)=${GLOBAL(R)} asked"),
        ],
        &[],
    );
    for name in [
        "enter_filename",
        "forhelp",
        "record_mode",
        "playback_mode",
        "record",
        "playback",
        "pause",
        "paused",
        "truncating_audio",
    ] {
        exchange.short_sound(&format!("dictate/{name}"));
    }
    let data = exchange.shared.paths().data.clone();
    let length = |path: &str| std::fs::metadata(data.join(path)).map_or(0, |file| file.len());
    let memo = "dictate/memo.raw";
    // Recorded for two seconds; then there is no other file.
    exchange.call("100", "1*wwwwww##");
    assert_eq!(exchange.global("R"), "done");
    let first = length(memo);
    assert!(first > 24_000, "{first} bytes");
    // Behind it, for another second; played, and not lengthened by that.
    exchange.call("100", "1*www1*ww##");
    let second = length(memo);
    assert!(second > first + 12_000, "{second} bytes behind {first}");
    exchange.call("100", "2*w7w8w##");
    assert_eq!(length(memo), second);
    // In place of it.
    exchange.call("100", "18*w##");
    let third = length(memo);
    assert!((1..second).contains(&third), "{third} bytes");
    // A name in digits.
    exchange.call("101", "42#1*w##");
    assert_eq!(exchange.global("R"), "done asked");
    assert!(length("letters/42.raw") > 0);
}
