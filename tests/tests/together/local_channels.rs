//! What is heard through Local channels: both ways, from applications behind them, in recordings.

use std::time::Duration;
use strowger_tests::audio::{last_ms, level_of, share_with_tone};
use strowger_tests::{Bank, Call, Exchange, Manner, Phone, SOON, Source};

const ALICE: f64 = 440.0;
const BOB: f64 = 620.0;
const CAROL: f64 = 910.0;

struct Line {
    exchange: Exchange,
    _bank: Bank,
    alice: Phone,
    bob: Phone,
    carol: Phone,
}

/// An exchange with two telephones, each with its own tone and law.
fn line(extensions: &[(&str, &[(&str, &str)])]) -> Line {
    let mut exchange = Exchange::new();
    exchange.subscriber_with("alice", "secret", "house", &[("allow", "alaw")]);
    exchange.subscriber_with("bob", "secret", "house", &[("allow", "ulaw")]);
    exchange.subscriber("carol", "secret", "house");
    for (exten, steps) in extensions {
        exchange.extension("house", exten, steps);
    }
    exchange.start();
    let bank = Bank::new();
    let phone = |name: &str, tone: f64| {
        let phone = bank.phone(name, "secret", exchange.sip());
        phone.register();
        phone.set_source(Source::Tone(tone));
        phone.set_manner(Manner::Answer(Duration::ZERO));
        phone
    };
    let (alice, bob) = (phone("alice", ALICE), phone("bob", BOB));
    let carol = phone("carol", CAROL);
    Line {
        exchange,
        _bank: bank,
        alice,
        bob,
        carol,
    }
}

impl Line {
    fn call(&self, number: &str) -> Call {
        let call = self.alice.call(number);
        call.expect_answered(SOON);
        call
    }

    /// Each of the two hears the other for so long, and nothing is lost on the way.
    #[track_caller]
    fn expect_talk(&self, alice: &Call, bob: &Call) {
        alice.expect_tone(BOB, 600, SOON);
        bob.expect_tone(ALICE, 600, SOON);
        for heard in [alice.heard(), bob.heard()] {
            assert_eq!((heard.ssrcs.len(), heard.lost, heard.duplicates), (1, 0, 0));
        }
    }
}

#[test]
fn two_telephones_talk_through_a_pair_that_stays() {
    let line = line(&[
        ("100", &[("Dial", "Local/200@house/n,20")]),
        ("200", &[("Dial", "PJSIP/bob,20")]),
    ]);
    let alice = line.call("100");
    let bob = line.bob.expect_call(SOON);
    line.expect_talk(&alice, &bob);
    alice.hold();
    alice.resume();
    alice.expect_tone(BOB, 400, SOON);
    bob.dtmf("7");
    alice.expect_digits("7", SOON);
    bob.hang_up();
    alice.expect_ended(SOON);
}

#[test]
fn two_telephones_talk_when_the_pair_has_left() {
    let line = line(&[
        ("100", &[("Dial", "Local/200@house,20")]),
        ("200", &[("Dial", "Local/300@house,20")]),
        ("300", &[("Dial", "PJSIP/bob,20")]),
    ]);
    let alice = line.call("100");
    let bob = line.bob.expect_call(SOON);
    line.expect_talk(&alice, &bob);
    alice.hang_up();
    bob.expect_ended(SOON);
}

#[test]
fn what_a_second_half_plays_records_and_echoes_is_heard() {
    let line = line(&[
        ("100", &[("Dial", "Local/200@house,20")]),
        (
            "200",
            &[
                ("Answer", ""),
                ("MixMonitor", "half.wav"),
                ("Playtones", "1400"),
                ("Wait", "2"),
                ("StopPlaytones", ""),
                ("Echo", ""),
            ],
        ),
    ]);
    let alice = line.call("100");
    alice.expect_to_hear("1400 Hz", SOON, |samples| {
        samples
            .windows(3200)
            .step_by(400)
            .any(|part| share_with_tone(part, 1400.0) > 0.9)
    });
    // Her own tone comes back.
    alice.expect_tone(ALICE, 400, SOON);
    alice.hang_up();
    line.exchange.expect_recording("half.wav", SOON, |samples| {
        let has = |hertz| {
            samples
                .windows(4000)
                .step_by(800)
                .any(|part| share_with_tone(part, hertz) > 0.9)
        };
        let both = samples
            .windows(4000)
            .step_by(800)
            .any(|part| share_with_tone(part, 1400.0) > 0.2 && share_with_tone(part, ALICE) > 0.2);
        both && has(ALICE)
    });
}

/// The pair is in the conference at its one end, and the telephone at the other.
#[test]
fn a_conference_calls_somebody_through_a_pair() {
    let line = line(&[
        (
            "100",
            &[
                ("Set", "CONFBRIDGE(user,quiet)=yes"),
                ("Originate", "Local/200@house/n,app,ConfBridge,77,,20,a"),
                ("ConfBridge", "77"),
            ],
        ),
        ("200", &[("Dial", "PJSIP/bob,20")]),
    ]);
    let alice = line.call("100");
    let bob = line.bob.expect_call(SOON);
    alice.expect_tone(BOB, 400, SOON);
    bob.expect_tone(ALICE, 400, SOON);
    bob.hang_up();
    alice.hang_up();
    alice.expect_ended(SOON);
}

#[test]
fn a_page_is_heard_by_all_and_hears_nobody() {
    let line = line(&[("100", &[("Page", "PJSIP/bob&PJSIP/carol,q")])]);
    let alice = line.call("100");
    for phone in [&line.bob, &line.carol] {
        phone.expect_call(SOON).expect_tone(ALICE, 400, SOON);
    }
    let heard = alice.listen(Duration::from_millis(600));
    for tone in [BOB, CAROL] {
        assert!(share_with_tone(&heard, tone) < 0.1, "{tone}");
    }
    alice.hang_up();
    alice.expect_ended(SOON);
}

#[track_caller]
fn expect_both(call: &Call, tones: [f64; 2]) {
    call.expect_to_hear("both tones", SOON, |samples| {
        let last = last_ms(samples, 400);
        last.len() == 3200 && tones.iter().all(|&tone| share_with_tone(last, tone) > 0.2)
    });
}

/// On whatever core the two calls are.
#[test]
fn a_call_is_listened_to_and_joined() {
    let line = line(&[
        ("100", &[("Dial", "PJSIP/bob,20")]),
        ("300", &[("ChanSpy", "PJSIP/alice,qB")]),
        ("301", &[("ChanSpy", "PJSIP/alice,q")]),
    ]);
    let alice = line.call("100");
    let bob = line.bob.expect_call(SOON);
    line.expect_talk(&alice, &bob);
    let silent = line.carol.call("301");
    silent.expect_answered(SOON);
    expect_both(&silent, [ALICE, BOB]);
    let heard = bob.listen(Duration::from_millis(600));
    assert!(share_with_tone(&heard, CAROL) < 0.1);
    silent.hang_up();
    silent.expect_ended(SOON);
    let barging = line.carol.call("300");
    barging.expect_answered(SOON);
    expect_both(&barging, [ALICE, BOB]);
    expect_both(&bob, [ALICE, CAROL]);
    barging.hang_up();
    barging.expect_ended(SOON);
    // The two are alone again.
    alice.expect_tone(BOB, 400, SOON);
    bob.expect_tone(ALICE, 400, SOON);
    alice.hang_up();
    bob.expect_ended(SOON);
}

/// Waits until a call hears this tone and not the other.
#[track_caller]
fn expect_without(call: &Call, tone: f64, other: f64) {
    call.expect_to_hear("one tone without the other", SOON, |samples| {
        let last = last_ms(samples, 400);
        let share = |tone| share_with_tone(last, tone);
        last.len() == 3200 && share(tone) > 0.9 && share(other) < 0.1
    });
}

/// On whatever core the two calls are.
#[test]
fn a_spy_whispers_to_the_party_it_named_and_changes_its_manner_by_digits() {
    let line = line(&[
        ("100", &[("Dial", "PJSIP/bob,20")]),
        ("302", &[("ChanSpy", "PJSIP/alice,qdw")]),
        ("303", &[("ChanSpy", "PJSIP/bob,qW")]),
        ("304", &[("ChanSpy", "PJSIP/bob,qov(-4)")]),
    ]);
    let alice = line.call("100");
    let bob = line.bob.expect_call(SOON);
    line.expect_talk(&alice, &bob);
    let spy = line.carol.call("302");
    spy.expect_answered(SOON);
    expect_both(&spy, [ALICE, BOB]);
    expect_both(&alice, [BOB, CAROL]);
    expect_without(&bob, ALICE, CAROL);
    spy.dtmf("6");
    expect_both(&bob, [ALICE, CAROL]);
    spy.dtmf("4");
    expect_without(&alice, BOB, CAROL);
    expect_without(&bob, ALICE, CAROL);
    spy.dtmf("5");
    expect_both(&alice, [BOB, CAROL]);
    expect_without(&bob, ALICE, CAROL);
    spy.hang_up();
    spy.expect_ended(SOON);
    // The other party can be meant too, by one who hears nothing himself.
    let spy = line.carol.call("303");
    spy.expect_answered(SOON);
    expect_both(&bob, [ALICE, CAROL]);
    expect_without(&alice, BOB, CAROL);
    let heard = spy.listen(Duration::from_millis(600));
    for tone in [ALICE, BOB] {
        assert!(share_with_tone(&heard, tone) < 0.1, "{tone}");
    }
    spy.hang_up();
    spy.expect_ended(SOON);
    // One party alone, and softly.
    let spy = line.carol.call("304");
    spy.expect_answered(SOON);
    expect_without(&spy, BOB, ALICE);
    spy.expect_to_hear("it softly", SOON, |samples| {
        let level = level_of(last_ms(samples, 400), BOB);
        (1500.0..2500.0).contains(&level)
    });
    spy.hang_up();
    alice.hang_up();
    bob.expect_ended(SOON);
}

/// Rounds until one has to have been between two cores: with two, all but one of a million tests see it.
const ROUNDS_MAX: usize = 20;

/// Calls of different telephones are on different cores as often as not.
#[test]
fn calls_are_bridged_parked_and_picked_up_between_cores() {
    let line = line(&[
        ("100", &[("BridgeWait", "")]),
        ("101", &[("Bridge", "PJSIP/alice")]),
        ("102", &[("Park", ",s")]),
        ("103", &[("ParkedCall", "default")]),
        ("104", &[("Dial", "PJSIP/carol,20")]),
        ("105", &[("PickupChan", "PJSIP/carol")]),
    ]);
    line.carol.set_manner(Manner::Ring);
    let mut pairs = 0;
    let mut rounds = 0;
    // Which core a call comes to is chance.
    while pairs == 0 && rounds < ROUNDS_MAX {
        rounds += 1;
        for (first, second) in [("100", "101"), ("102", "103"), ("104", "105")] {
            let alice = line.alice.call(first);
            if first == "104" {
                line.carol.expect_call(SOON).expect_status(180, SOON);
            } else {
                // Who waits hears music.
                alice.expect_to_hear("music", SOON, |samples| {
                    samples.iter().any(|sample| sample.unsigned_abs() > 200)
                });
            }
            let bob = line.bob.call(second);
            bob.expect_answered(SOON);
            alice.expect_tone(BOB, 400, SOON);
            bob.expect_tone(ALICE, 400, SOON);
            bob.hang_up();
            bob.expect_ended(SOON);
            if first == "100" {
                alice.hang_up();
            }
            alice.expect_ended(SOON);
        }
        let answered = "WHERE dst = '104'";
        let records = line
            .exchange
            .expect_cdr(&["dstchannel"], answered, rounds, SOON);
        let between = |record: &&Vec<Option<String>>| {
            let channel = record.first().and_then(Option::as_deref);
            channel.is_some_and(|channel| channel.starts_with("Local/between@cores"))
        };
        pairs = records.iter().filter(between).count();
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    assert!(
        cores == 1 || pairs > 0,
        "no call of {rounds} was picked up on another core"
    );
}
