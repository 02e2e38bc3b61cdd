//! What two parties and the exchange do with each other: hold, digits, early media, prompts, who hangs up first.

use std::time::{Duration, Instant};
use strowger_tests::audio::{has_tone, last_ms, rms, share_with_tone};
use strowger_tests::{Bank, Call, Ending, Exchange, Manner, Phone, SOON, Source};

struct Line {
    exchange: Exchange,
    _bank: Bank,
    alice: Phone,
    bob: Phone,
}

/// An exchange with Alice (440 Hz) and Bob (620 Hz) registered, and these extensions.
fn line(extensions: &[(&str, &[(&str, &str)])]) -> Line {
    let mut exchange = Exchange::new();
    exchange.subscriber_with("alice", "secret", "house", &[("callerid", "Alice <201>")]);
    exchange.subscriber_with("bob", "secret", "house", &[("callerid", "Bob <202>")]);
    for (exten, steps) in extensions {
        exchange.extension("house", exten, steps);
    }
    exchange.start();
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let bob = bank.phone("bob", "secret", exchange.sip());
    alice.register();
    bob.register();
    alice.set_source(Source::Tone(440.0));
    bob.set_source(Source::Tone(620.0));
    Line {
        exchange,
        _bank: bank,
        alice,
        bob,
    }
}

/// Alice and Bob in a call.
fn talking(line: &Line, number: &str) -> (Call, Call) {
    line.bob.set_manner(Manner::Answer(Duration::ZERO));
    let call = line.alice.call(number);
    call.expect_answered(SOON);
    let other = line.bob.expect_call(SOON);
    call.expect_packets(10, SOON);
    other.expect_packets(10, SOON);
    (call, other)
}

#[test]
fn the_called_party_sees_who_calls() {
    let line = line(&[("202", &[("Dial", "PJSIP/bob,60")])]);
    let (call, other) = talking(&line, "202");
    let invite = other.requests()[0].clone();
    let from = invite.header("From").unwrap_or_default();
    assert!(
        from.contains("Alice") && from.contains("sip:201@"),
        "{from}"
    );
    call.hang_up();
    other.expect_ended(SOON);
}

#[test]
fn whoever_hangs_up_first_ends_the_other_side_too() {
    let line = line(&[("202", &[("Dial", "PJSIP/bob,60")])]);
    let (call, other) = talking(&line, "202");
    call.hang_up();
    assert_eq!(other.expect_ended(SOON), Ending::TheyHungUp);
    let (call, other) = talking(&line, "202");
    other.hang_up();
    assert_eq!(call.expect_ended(SOON), Ending::TheyHungUp);
    let rows = line
        .exchange
        .expect_cdr(&["disposition", "dst"], "WHERE dst = '202'", 2, SOON);
    assert!(
        rows.iter().all(|r| r[0].as_deref() == Some("ANSWERED")),
        "{rows:?}"
    );
}

#[test]
fn one_stream_reaches_the_listener_from_start_to_end() {
    let line = line(&[(
        "202",
        &[
            ("Answer", ""),
            ("Playback", "beep"),
            ("Dial", "PJSIP/bob,60,m"),
        ],
    )]);
    line.bob.set_manner(Manner::Answer(Duration::from_secs(1)));
    let call = line.alice.call("202");
    call.expect_answered(SOON);
    let other = line.bob.expect_call(SOON);
    other.expect_answered(SOON);
    call.expect_tone(620.0, 1000, SOON);
    call.hang_up();
    call.expect_ended(SOON);
    // Prompt, music and the other party come as one stream: one SSRC, no gap in its numbers.
    let heard = call.heard();
    assert_eq!(
        (heard.ssrcs.len(), heard.lost, heard.duplicates),
        (1, 0, 0),
        "{:?}",
        heard.ssrcs
    );
    assert!(
        (0..heard.samples.len() - 800)
            .step_by(400)
            .any(|at| has_tone(&heard.samples[at..at + 800], 1000.0))
    );
}

#[test]
fn hold_plays_music_and_resume_brings_the_voice_back() {
    let line = line(&[("202", &[("Dial", "PJSIP/bob,60")])]);
    let (call, other) = talking(&line, "202");
    other.hold();
    // Music, and not the voice of the party that holds.
    let music = |samples: &[i16]| {
        let last = last_ms(samples, 1500);
        rms(last) > 200.0 && share_with_tone(last, 620.0) < 0.3
    };
    call.expect_to_hear("music on hold", SOON, music);
    other.resume();
    call.expect_tone(620.0, 600, SOON);
    other.expect_tone(440.0, 600, SOON);
    // The old way: an address of zeros is no longer offered by our telephones; inactive is.
    other.renegotiate("inactive");
    call.expect_to_hear("music on hold again", SOON, music);
    other.resume();
    call.expect_tone(620.0, 600, SOON);
    call.hang_up();
}

#[test]
fn digits_pass_between_the_parties_and_reach_applications() {
    let line = line(&[
        ("202", &[("Dial", "PJSIP/bob,60")]),
        (
            "300",
            &[
                ("Answer", ""),
                ("Read", "PIN,,4,,1,60"),
                ("Verbose", "0,digits read ${PIN} ${READSTATUS}"),
                ("Hangup", ""),
            ],
        ),
    ]);
    let (call, other) = talking(&line, "202");
    call.dtmf("0123456789*#");
    other.expect_digits("0123456789*#", SOON);
    other.dtmf("42");
    call.expect_digits("42", SOON);
    call.hang_up();

    let call = line.alice.call("300");
    call.expect_answered(SOON);
    call.dtmf("1234");
    line.exchange.expect_log("digits read 1234 OK", SOON);
    call.expect_ended(SOON);

    let call = line.alice.call("300");
    call.expect_answered(SOON);
    for digit in ['5', '6', '7', '8'] {
        call.info_dtmf(digit);
    }
    line.exchange.expect_log("digits read 5678 OK", SOON);
}

#[test]
fn early_media_of_the_called_party_is_heard_before_the_answer() {
    let line = line(&[("202", &[("Dial", "PJSIP/bob,60")])]);
    let call = line.alice.call("202");
    let other = line.bob.expect_call(SOON);
    other.progress();
    call.expect_status(183, SOON);
    call.expect_tone(620.0, 500, SOON);
    other.answer();
    call.expect_answered(SOON);
    call.hang_up();
}

#[test]
fn a_menu_is_interrupted_by_a_digit_and_goes_to_its_extension() {
    let line = line(&[
        (
            "400",
            &[
                ("Answer", ""),
                ("Background", "demo-congrats"),
                ("WaitExten", "3"),
            ],
        ),
        (
            "5",
            &[("Verbose", "0,menu choice ${EXTEN}"), ("Hangup", "")],
        ),
        (
            "i",
            &[
                ("Verbose", "0,menu invalid ${INVALID_EXTEN}"),
                ("Hangup", ""),
            ],
        ),
        ("t", &[("Verbose", "0,menu timeout"), ("Hangup", "")]),
        ("h", &[("Verbose", "0,menu over")]),
    ]);
    let choose = |digit: Option<&str>, log: &str| {
        let call = line.alice.call("400");
        call.expect_answered(SOON);
        call.expect_packets(25, SOON);
        if let Some(digit) = digit {
            call.dtmf(digit);
        }
        line.exchange.expect_log(log, SOON);
        call.expect_ended(SOON);
    };
    choose(Some("5"), "menu choice 5");
    choose(Some("8"), "menu invalid 8");
    choose(None, "menu timeout");
    line.exchange.expect_log("menu over", SOON);
}

#[test]
fn statuses_of_dial_are_told_to_the_dialplan() {
    let said = ("Verbose", "0,dial said ${DIALSTATUS} ${HANGUPCAUSE}");
    let line = line(&[
        ("202", &[("Dial", "PJSIP/bob,60"), said, ("Hangup", "")]),
        ("204", &[("Dial", "PJSIP/bob,2"), said, ("Hangup", "")]),
        (
            "203",
            &[
                ("Dial", "PJSIP/nobody,2"),
                ("Verbose", "0,nobody is ${DIALSTATUS}"),
            ],
        ),
    ]);
    let cases = [
        ("202", Manner::Reject(486), "dial said BUSY 17"),
        ("202", Manner::Reject(603), "dial said CHANUNAVAIL 21"),
        ("202", Manner::Reject(503), "dial said CONGESTION 34"),
        ("204", Manner::Ring, "dial said NOANSWER"),
    ];
    for (number, manner, text) in cases {
        line.bob.set_manner(manner);
        let call = line.alice.call(number);
        line.exchange.expect_log(text, SOON);
        call.expect_ended(SOON);
    }
    line.alice.call("203");
    line.exchange.expect_log("nobody is CHANUNAVAIL", SOON);
}

#[test]
fn a_recording_holds_both_sides_in_step() {
    let line = line(&[(
        "202",
        &[("MixMonitor", "both.wav"), ("Dial", "PJSIP/bob,60")],
    )]);
    let (call, other) = talking(&line, "202");
    call.expect_packets(300, SOON);
    other.expect_packets(300, SOON);
    call.hang_up();
    other.expect_ended(SOON);
    // A telephone that had to wait for its processor leaves a gap: nine tenths is what is asked of an idle machine.
    line.exchange.expect_recording("both.wav", SOON, |samples| {
        samples.windows(1800 * 8).step_by(800).any(|part| {
            [440.0, 620.0]
                .iter()
                .all(|&tone| share_with_tone(part, tone) > 0.7)
        })
    });
}

#[test]
fn rtp_that_stops_ends_the_call_after_the_timeout() {
    let mut exchange = Exchange::new();
    exchange.subscriber_with("alice", "secret", "house", &[("rtp_timeout", "2")]);
    exchange.extension("house", "1", &[("Answer", ""), ("Echo", "")]);
    exchange.start();
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let call = alice.call("1");
    call.expect_answered(SOON);
    call.expect_packets(10, SOON);
    call.set_source(Source::Nothing);
    assert_eq!(call.expect_ended(SOON), Ending::TheyHungUp);
}

#[test]
fn the_dial_tone_goes_on_behind_the_digit_for_an_outside_line() {
    let mut exchange = Exchange::new();
    exchange.subscriber("alice", "secret", "house");
    exchange.extension(
        "house",
        "300",
        &[
            ("Set", "CHANNEL(tonezone)=us"),
            ("DISA", "no-password,outside"),
        ],
    );
    for (name, value) in [
        ("ignorepat", "9"),
        ("exten", "955,1,Verbose(0,the outside line has ${EXTEN})"),
    ] {
        exchange.database.insert(
            "static_extensions",
            &[
                ("filename", "extensions.conf"),
                ("category", "outside"),
                ("var_name", name),
                ("var_val", value),
            ],
        );
    }
    exchange.start();
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let call = alice.call("300");
    call.expect_answered(SOON);
    // It is of two tones.
    let dial_tone = |samples: &[i16]| has_tone(last_ms(samples, 600), 350.0);
    call.expect_to_hear("the dial tone", SOON, dial_tone);
    call.dtmf("9");
    // What comes a second later was sent behind the digit.
    let before = std::cell::Cell::new(usize::MAX);
    let later = |samples: &[i16]| {
        before.set(before.get().min(samples.len()));
        samples.len() > before.get() + 8000
    };
    call.expect_to_hear("the dial tone still", SOON, |samples: &[i16]| {
        later(samples) && dial_tone(samples)
    });
    call.dtmf("5");
    // Silence need not be sent.
    let heard = std::cell::Cell::new((0, Instant::now()));
    call.expect_to_hear("silence", SOON, |samples: &[i16]| {
        if samples.len() != heard.get().0 {
            heard.set((samples.len(), Instant::now()));
        }
        heard.get().1.elapsed() > Duration::from_millis(500) || rms(last_ms(samples, 300)) < 50.0
    });
    call.dtmf("5");
    exchange.expect_log("the outside line has 955", SOON);
}
