//! Three telephones in one conference: who hears whom, what digits do, what is recorded.

use std::time::{Duration, Instant};
use strowger_tests::audio::{last_ms, read_wav, share_with_tone};
use strowger_tests::{Bank, Call, Exchange, Phone, SOON, Source};

const TONES: [f64; 3] = [440.0, 620.0, 910.0];

struct Hall {
    exchange: Exchange,
    _bank: Bank,
    phones: Vec<Phone>,
}

/// An exchange with three telephones, each with its own tone, and these extensions.
fn hall(extensions: &[(&str, &[(&str, &str)])]) -> Hall {
    let mut exchange = Exchange::new();
    let names = ["alice", "bob", "carol"];
    for name in names {
        exchange.subscriber(name, "secret", "house");
    }
    for (exten, steps) in extensions {
        exchange.extension("house", exten, steps);
    }
    exchange.start();
    let bank = Bank::new();
    let phones = names.iter().zip(TONES).map(|(name, tone)| {
        let phone = bank.phone(name, "secret", exchange.sip());
        phone.register();
        phone.set_source(Source::Tone(tone));
        phone
    });
    Hall {
        phones: phones.collect(),
        _bank: bank,
        exchange,
    }
}

impl Hall {
    fn call(&self, phone: usize, number: &str) -> Call {
        let call = self.phones[phone].call(number);
        call.expect_answered(SOON);
        call
    }
}

/// Waits until a call hears exactly these of the three tones.
#[track_caller]
fn expect_tones(call: &Call, wanted: [bool; 3], what: &str) {
    let until = Instant::now() + SOON;
    loop {
        let heard = call.listen(Duration::from_millis(600));
        let heard = last_ms(&heard, 500);
        let shares = TONES.map(|tone| share_with_tone(heard, tone));
        let right = |(share, wanted): (f64, bool)| if wanted { share > 0.9 } else { share < 0.1 };
        if heard.len() >= 3200 && shares.into_iter().zip(wanted).all(right) {
            return;
        }
        assert!(
            Instant::now() < until,
            "{what}: of the tones {TONES:?} the shares {shares:?} are heard, wanted {wanted:?}"
        );
    }
}

const QUIET: (&str, &str) = ("Set", "CONFBRIDGE(user,quiet)=yes");

#[test]
fn everybody_hears_the_others_mutes_himself_and_leaves_by_digits() {
    let hall = hall(&[(
        "700",
        &[
            QUIET,
            ("Set", "CONFBRIDGE(menu,1)=toggle_mute"),
            ("Set", "CONFBRIDGE(menu,*2)=leave_conference"),
            ("ConfBridge", "77"),
            ("Verbose", "0,conference said ${CONFBRIDGE_RESULT}"),
            ("Verbose", "0,left behind ${CONFBRIDGE_INFO(parties,77)}"),
            ("Playback", "beep"),
            ("Hangup", ""),
        ],
    )]);
    let calls: Vec<Call> = (0..3).map(|phone| hall.call(phone, "700")).collect();
    expect_tones(&calls[0], [false, true, true], "the first");
    expect_tones(&calls[1], [true, false, true], "the second");
    expect_tones(&calls[2], [true, true, false], "the third");
    // The second mutes himself; he still hears the others.
    calls[1].dtmf("1");
    expect_tones(&calls[0], [false, false, true], "while the second is muted");
    expect_tones(&calls[1], [true, false, true], "the muted one");
    calls[1].dtmf("1");
    expect_tones(&calls[0], [false, true, true], "after the mute");
    // The third leaves by his menu, the first by hanging up.
    calls[2].dtmf("*2");
    hall.exchange.expect_log("conference said DTMF", SOON);
    hall.exchange.expect_log("left behind 2", SOON);
    calls[2].expect_ended(SOON);
    expect_tones(&calls[0], [false, true, false], "after the third left");
    calls[0].hang_up();
    calls[0].expect_ended(SOON);
    expect_tones(&calls[1], [false; 3], "the last");
    calls[1].hang_up();
    calls[1].expect_ended(SOON);
    for call in &calls {
        let heard = call.heard();
        assert_eq!((heard.ssrcs.len(), heard.lost, heard.duplicates), (1, 0, 0));
    }
}

#[test]
fn a_conference_is_recorded_from_its_first_member_to_its_last() {
    let hall = hall(&[(
        "701",
        &[
            QUIET,
            ("Set", "CONFBRIDGE(bridge,record_conference)=yes"),
            ("Set", "CONFBRIDGE(bridge,record_file)=meeting.wav"),
            ("Set", "CONFBRIDGE(bridge,record_file_timestamp)=no"),
            ("ConfBridge", "78"),
        ],
    )]);
    let calls: Vec<Call> = (0..3).map(|phone| hall.call(phone, "701")).collect();
    expect_tones(&calls[0], [false, true, true], "the first");
    std::thread::sleep(Duration::from_secs(6));
    // The recording stays with the conference when the one with whom it began has gone.
    calls[0].hang_up();
    calls[0].expect_ended(SOON);
    expect_tones(&calls[1], [false, false, true], "the second");
    std::thread::sleep(Duration::from_secs(3));
    calls[1].hang_up();
    calls[2].hang_up();
    calls[2].expect_ended(SOON);
    hall.exchange.expect_log("conference recorded", SOON);
    let samples = read_wav(&hall.exchange.recordings().join("meeting.wav")).expect("a recording");
    assert!(samples.len() > 8000 * 3, "{} samples", samples.len());
    // Somewhere in it are two seconds in which all three speak.
    let all = samples
        .windows(16_000)
        .step_by(800)
        .any(|part| TONES.iter().all(|&tone| share_with_tone(part, tone) > 0.7));
    assert!(all, "the three are not heard together");
    // And near the end the first is silent while the others speak.
    let two = samples.windows(4000).step_by(800).any(|part| {
        share_with_tone(part, TONES[0]) < 0.1
            && TONES[1..]
                .iter()
                .all(|&tone| share_with_tone(part, tone) > 0.9)
    });
    assert!(two, "the first is heard after he has gone");
}

#[test]
fn members_wait_for_the_marked_one_and_go_with_him() {
    let member: &[(&str, &str)] = &[
        QUIET,
        ("Set", "CONFBRIDGE(user,wait_marked)=yes"),
        ("Set", "CONFBRIDGE(user,end_marked)=yes"),
        ("ConfBridge", "79"),
        ("Verbose", "0,conference said ${CONFBRIDGE_RESULT}"),
        ("Hangup", ""),
    ];
    let hall = hall(&[
        ("702", member),
        (
            "703",
            &[
                QUIET,
                ("Set", "CONFBRIDGE(user,marked)=yes"),
                ("ConfBridge", "79"),
            ],
        ),
    ]);
    let (one, two) = (hall.call(0, "702"), hall.call(1, "702"));
    std::thread::sleep(Duration::from_millis(800));
    for call in [&one, &two] {
        let heard = call.heard().samples;
        assert!(
            TONES
                .iter()
                .all(|&tone| share_with_tone(&heard, tone) < 0.1)
        );
    }
    let marked = hall.call(2, "703");
    expect_tones(&one, [false, true, true], "the first");
    expect_tones(&two, [true, false, true], "the second");
    marked.hang_up();
    hall.exchange.expect_log("conference said ENDMARKED", SOON);
    one.expect_ended(SOON);
    two.expect_ended(SOON);
}

#[test]
fn an_admin_locks_the_door_and_sends_the_last_one_away() {
    let hall = hall(&[
        (
            "704",
            &[
                QUIET,
                ("Set", "CONFBRIDGE(user,admin)=yes"),
                ("Set", "CONFBRIDGE(menu,3)=admin_toggle_conference_lock"),
                ("Set", "CONFBRIDGE(menu,4)=admin_kick_last"),
                ("ConfBridge", "80"),
            ],
        ),
        (
            "705",
            &[
                QUIET,
                // The last one is who comes after the admin.
                ("While", "$[${CONFBRIDGE_INFO(parties,80)} = 0]"),
                ("Wait", "0.05"),
                ("EndWhile", ""),
                ("ConfBridge", "80"),
                ("Verbose", "0,guest was ${CONFBRIDGE_RESULT}"),
                ("Hangup", ""),
            ],
        ),
        ("h", &[("Verbose", "0,over with ${CONFBRIDGE_RESULT}")]),
    ]);
    let admin = hall.call(0, "704");
    let guest = hall.call(1, "705");
    expect_tones(&admin, [false, true, false], "the admin");
    admin.dtmf("3");
    let until = Instant::now() + SOON;
    // Locked when a third does not come in any more.
    loop {
        let late = hall.call(2, "705");
        std::thread::sleep(Duration::from_millis(500));
        late.hang_up();
        late.expect_ended(SOON);
        if hall.exchange.log().contains("over with FAILED") {
            break;
        }
        assert!(Instant::now() < until, "never locked");
    }
    admin.dtmf("4");
    hall.exchange.expect_log("guest was KICKED", SOON);
    guest.expect_ended(SOON);
    admin.hang_up();
    admin.expect_ended(SOON);
}

#[test]
fn the_pin_is_asked_for_three_times() {
    let hall = hall(&[
        (
            "706",
            &[
                QUIET,
                ("Set", "CONFBRIDGE(user,pin)=4711"),
                ("Set", "CONFBRIDGE(menu,*)=leave_conference"),
                ("ConfBridge", "81"),
                ("Verbose", "0,conference said ${CONFBRIDGE_RESULT}"),
                ("Hangup", ""),
            ],
        ),
        ("h", &[("Verbose", "0,over with ${CONFBRIDGE_RESULT}")]),
    ]);
    let call = hall.call(0, "706");
    std::thread::sleep(Duration::from_millis(500));
    call.dtmf("4711");
    let until = Instant::now() + SOON;
    while !hall.exchange.log().contains("conference said DTMF") {
        assert!(Instant::now() < until, "not let in with the right PIN");
        std::thread::sleep(Duration::from_millis(500));
        call.dtmf("*");
    }
    call.expect_ended(SOON);
    let call = hall.call(1, "706");
    let until = Instant::now() + Duration::from_secs(60);
    while call.ending().is_none() {
        assert!(Instant::now() < until, "still asked after a minute");
        call.dtmf("1234");
        std::thread::sleep(Duration::from_millis(1500));
    }
    hall.exchange.expect_log("over with FAILED", SOON);
}
