//! What the exchange makes of what a caller says: talk, silence, an answering machine.

use std::sync::Arc;

use strowger_tests::audio::{last_ms, level_of, rms, sine};
use strowger_tests::{Bank, Exchange, Phone, SOON, Source};

struct Line {
    exchange: Exchange,
    _bank: Bank,
    alice: Phone,
}

fn line(extensions: &[(&str, &[(&str, &str)])]) -> Line {
    let mut exchange = Exchange::new();
    exchange.subscriber("alice", "secret", "house");
    for (exten, steps) in extensions {
        exchange.extension("house", exten, steps);
    }
    exchange.start();
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    alice.register();
    Line {
        exchange,
        _bank: bank,
        alice,
    }
}

/// Speech: syllables that swell and fade, with pauses shorter than those between words.
fn speech(milliseconds: u64) -> Vec<i16> {
    sine(310.0, 7000.0, milliseconds)
        .iter()
        .enumerate()
        .map(|(n, &sample)| {
            let phase = (n % 1280) as f64 / 1280.0;
            let envelope = (std::f64::consts::PI * (phase * 1.25).min(1.0)).sin();
            (f64::from(sample) * envelope) as i16
        })
        .collect()
}

fn silence(milliseconds: usize) -> Vec<i16> {
    vec![0; milliseconds * 8]
}

fn says(parts: &[Vec<i16>]) -> Source {
    Source::Samples(Arc::from(parts.concat()))
}

const JUDGE: &[(&str, &str)] = &[
    ("Answer", ""),
    ("AMD", ""),
    ("Verbose", "0,it is ${AMDSTATUS} by ${AMDCAUSE}!"),
];

#[test]
fn a_person_and_a_machine_are_told_apart() {
    let line = line(&[("300", JUDGE)]);
    for (source, verdict) in [
        (
            says(&[silence(500), speech(450), silence(2000)]),
            "it is HUMAN by HUMAN-800-800!",
        ),
        (
            says(&[silence(300), speech(5000)]),
            "it is MACHINE by LONGGREETING-1500-1500!",
        ),
        (
            Source::Silence,
            "it is MACHINE by INITIALSILENCE-2500-2500!",
        ),
        (Source::Nothing, "it is NOTSURE by NOAUDIODATA-5000!"),
    ] {
        line.alice.set_source(source);
        let call = line.alice.call("300");
        call.expect_answered(SOON);
        line.exchange.expect_log(verdict, SOON);
        call.expect_ended(SOON);
    }
}

#[test]
fn arguments_of_amd_count_more_than_its_defaults() {
    let line = line(&[(
        "301",
        &[
            ("Answer", ""),
            ("AMD", "600,,,,,,,,,"),
            ("Verbose", "0,first ${AMDCAUSE}!"),
            ("AMD", "600,1500,300,5000,100,50,4,256,900"),
            ("Verbose", "0,second ${AMDCAUSE}!"),
        ],
    )]);
    line.alice
        .set_source(says(&[silence(1200), sine(440.0, 9000.0, 6000)]));
    let call = line.alice.call("301");
    call.expect_answered(SOON);
    line.exchange
        .expect_log("first INITIALSILENCE-600-600!", SOON);
    line.exchange.expect_log("second MAXWORDLENGTH-900!", SOON);
    call.expect_ended(SOON);
}

const DETECT: &[(&str, &str)] = &[
    ("Answer", ""),
    ("BackgroundDetect", "demo-congrats,500,150,2000"),
    ("Verbose", "0,nobody talked"),
];

#[test]
fn a_prompt_ends_when_the_caller_has_said_something() {
    let line = line(&[
        ("310", DETECT),
        ("talk", &[("Verbose", "0,talk of ${TALK_DETECTED} ms")]),
        ("7", &[("Verbose", "0,seven was dialled")]),
    ]);
    // A click is no talk; what is said afterwards is.
    line.alice.set_source(says(&[
        silence(300),
        sine(440.0, 8000.0, 80),
        silence(900),
        sine(440.0, 8000.0, 600),
        silence(3000),
    ]));
    let call = line.alice.call("310");
    call.expect_answered(SOON);
    line.exchange.expect_log("talk of 6", SOON);
    call.expect_ended(SOON);
    assert!(!line.exchange.log().contains("nobody talked"));

    // A digit that no number begins with changes nothing.
    line.alice.set_source(Source::Silence);
    let call = line.alice.call("310");
    call.expect_answered(SOON);
    call.expect_packets(10, SOON);
    call.dtmf("97");
    line.exchange.expect_log("seven was dialled", SOON);
    call.expect_ended(SOON);
}

#[test]
fn who_waits_for_silence_or_noise_is_told_which_it_was() {
    let line = line(&[
        (
            "320",
            &[
                ("Answer", ""),
                ("WaitForNoise", "200,1,5"),
                ("Verbose", "0,first ${WAITSTATUS}!"),
                ("WaitForSilence", "300,2,10"),
                ("Verbose", "0,then ${WAITSTATUS}!"),
                ("WaitForNoise", "200,1,1"),
                ("Verbose", "0,last ${WAITSTATUS}!"),
            ],
        ),
        (
            "321",
            &[
                ("Answer", ""),
                ("Verbose", "0,waiting begins"),
                ("WaitForSilence", "60000"),
                ("Verbose", "0,not reached"),
            ],
        ),
        ("h", &[("Verbose", "0,at the end ${WAITSTATUS}!")]),
    ]);
    line.alice.set_source(says(&[
        silence(400),
        sine(440.0, 8000.0, 1000),
        silence(200),
        sine(440.0, 8000.0, 400),
        silence(9000),
    ]));
    let call = line.alice.call("320");
    call.expect_answered(SOON);
    line.exchange.expect_log("first NOISE!", SOON);
    line.exchange.expect_log("then SILENCE!", SOON);
    line.exchange.expect_log("last TIMEOUT!", SOON);
    call.expect_ended(SOON);

    line.alice.set_source(Source::Tone(440.0));
    let call = line.alice.call("321");
    call.expect_answered(SOON);
    line.exchange.expect_log("waiting begins", SOON);
    call.hang_up();
    line.exchange.expect_log("at the end HANGUP!", SOON);
}

/// Waits until the tone of 440 Hz is heard at this level, within a tenth.
#[track_caller]
fn expect_level(call: &strowger_tests::Call, wanted: f64) {
    call.expect_to_hear(&format!("the tone at {wanted}"), SOON, |samples| {
        let last = last_ms(samples, 200);
        last.len() == 1600 && (level_of(last, 440.0) - wanted).abs() < wanted / 10.0
    });
}

#[test]
fn volume_and_mute_change_what_is_heard() {
    let line = line(&[
        (
            "330",
            &[("Answer", ""), ("Set", "VOLUME(TX,p)=-4"), ("Echo", "")],
        ),
        (
            "331",
            &[("Answer", ""), ("Set", "VOLUME(RX)=-2"), ("Echo", "")],
        ),
        (
            "332",
            &[
                ("Answer", ""),
                ("Set", "JITTERBUFFER(adaptive)=default"),
                ("Set", "MUTEAUDIO(in)=on"),
                ("Wait", "0.1"),
                ("Echo", ""),
            ],
        ),
    ]);
    line.alice.set_source(Source::Tone(440.0));
    let call = line.alice.call("330");
    call.expect_answered(SOON);
    expect_level(&call, 2000.0);
    // -3 and 1: a third, and once.
    call.dtmf("*");
    expect_level(&call, 2667.0);
    call.hang_up();
    call.expect_ended(SOON);
    let call = line.alice.call("331");
    call.expect_answered(SOON);
    expect_level(&call, 4000.0);
    call.hang_up();
    call.expect_ended(SOON);
    let call = line.alice.call("332");
    call.expect_answered(SOON);
    call.expect_packets(40, SOON);
    let heard = call.heard();
    assert!(
        rms(last_ms(&heard.samples, 400)) < 20.0,
        "silence is sent back"
    );
    call.hang_up();
    call.expect_ended(SOON);
}
