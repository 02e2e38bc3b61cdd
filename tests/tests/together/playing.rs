//! What callers hear: sounds of every kind, under their control, tones of their country, music on hold, spoken numbers.

use std::path::Path;
use std::time::{Duration, Instant};

use strowger_tests::audio::{self, Law, has_tone, last_ms, share_with_tone, sine, write_wav};
use strowger_tests::{Bank, Call, Exchange, Manner, Phone, SOON};

struct Line {
    exchange: Exchange,
    _bank: Bank,
    alice: Phone,
    bob: Phone,
}

fn line(
    extensions: &[(&str, &[(&str, &str)])],
    bob: &[(&str, &str)],
    prepare: impl FnOnce(&Exchange),
) -> Line {
    let mut exchange = Exchange::new();
    exchange.subscriber_with("alice", "secret", "house", &[("tone_zone", "uk")]);
    exchange.subscriber_with("bob", "secret", "house", bob);
    for (exten, steps) in extensions {
        exchange.extension("house", exten, steps);
    }
    std::fs::create_dir_all(exchange.data().join("sounds")).expect("the sounds' folder");
    prepare(&exchange);
    exchange.start();
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let bob = bank.phone("bob", "secret", exchange.sip());
    alice.register();
    bob.register();
    Line {
        exchange,
        _bank: bank,
        alice,
        bob,
    }
}

/// Waits until the last 200 ms heard are this tone.
#[track_caller]
fn expect_tone(call: &Call, hertz: f64) {
    call.expect_tone(hertz, 200, SOON);
}

/// The built-in prompts of these names as a caller hears them by this law.
fn prompts(language: &str, names: &[&str], law: Law) -> Vec<i16> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../sounds")
        .join(language);
    names
        .iter()
        .flat_map(|name| {
            let file = std::fs::read(folder.join(format!("{name}.wav"))).expect("a prompt");
            let data = file
                .windows(4)
                .position(|w| w == b"data")
                .expect("its data")
                + 8;
            // A chunk of an odd length is followed by a byte that is no sample.
            let length: [u8; 4] = file[data - 4..data].try_into().expect("its length");
            let length = u32::from_le_bytes(length) as usize;
            file[data..data + length]
                .iter()
                .map(|&byte| match law {
                    Law::A => Law::A.decode(byte),
                    Law::Mu => law.decode(law.encode(Law::A.decode(byte))),
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Everything that was said until the exchange ended the call.
fn heard_to_the_end(phone: &Phone, number: &str) -> Vec<i16> {
    let call = phone.call(number);
    call.expect_answered(SOON);
    call.expect_ended(SOON);
    call.heard().said
}

/// The law of the call to this number, and what was heard.
fn heard_by_law(phone: &Phone, number: &str) -> (Law, Vec<i16>) {
    let call = phone.call(number);
    call.expect_answered(SOON);
    call.expect_ended(SOON);
    let heard = call.heard();
    let law = heard
        .payload_types
        .keys()
        .copied()
        .find_map(Law::of_payload_type);
    (law.expect("G.711"), heard.said)
}

#[track_caller]
fn assert_heard(heard: &[i16], wanted: &[i16], what: &str) {
    assert!(
        heard.windows(wanted.len()).any(|window| window == wanted),
        "{what}: {} samples heard, {} wanted",
        heard.len(),
        wanted.len()
    );
}

#[test]
fn sounds_of_every_kind_are_heard() {
    let names = "from-mp3&from-ogg&from-opus&from-sln16&from-wide";
    let line = line(
        &[(
            "1",
            &[
                ("Answer", ""),
                ("Playback", names),
                ("Verbose", "0,all of it ${PLAYBACKSTATUS}"),
                ("Playback", "from-mp3&missing"),
                ("Verbose", "0,half of it ${PLAYBACKSTATUS}"),
            ],
        )],
        &[],
        |exchange| {
            let sounds = exchange.data().join("sounds");
            let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../media/tests/data");
            for kind in ["mp3", "ogg", "opus"] {
                std::fs::copy(
                    data.join(format!("tone.{kind}")),
                    sounds.join(format!("from-{kind}.{kind}")),
                )
                .expect("a sound");
            }
            // 500 Hz at 8000 samples a second are 1000 Hz at 16000.
            let wide = sine(500.0, 8000.0, 1000);
            let bytes: Vec<u8> = wide.iter().flat_map(|s| s.to_le_bytes()).collect();
            std::fs::write(sounds.join("from-sln16.sln16"), &bytes).expect("a sound");
            let mut wav =
                b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x02\0\x80\x3e\0\0\0\xfa\0\0\x04\0\x10\0data"
                    .to_vec();
            wav.extend((2 * bytes.len() as u32).to_le_bytes());
            wav.extend(bytes.chunks_exact(2).flat_map(|s| [s[0], s[1], s[0], s[1]]));
            std::fs::write(sounds.join("from-wide.wav"), wav).expect("a sound");
        },
    );
    let heard = heard_to_the_end(&line.alice, "1");
    line.exchange.expect_log("all of it SUCCESS", SOON);
    line.exchange.expect_log("half of it FAILED", SOON);
    // Five and one of half a second each, some with a little silence of their format.
    assert!(heard.len() > 5 * 4000, "{} samples", heard.len());
    assert!(share_with_tone(&heard, 1000.0) > 0.8);
}

#[test]
fn a_listener_moves_pauses_and_stops_what_plays() {
    let line = line(
        &[
            (
                "1",
                &[
                    ("Answer", ""),
                    ("ControlPlayback", "steps,6000,#,*,0,5,1"),
                    (
                        "Verbose",
                        "0,control ${CPLAYBACKSTATUS} key ${CPLAYBACKSTOPKEY} at ${CPLAYBACKOFFSET} ms",
                    ),
                ],
            ),
            (
                "2",
                &[
                    ("Answer", ""),
                    ("ControlPlayback", "steps,,,,,,,o(17500)"),
                    ("Verbose", "0,end ${CPLAYBACKSTATUS} at ${CPLAYBACKOFFSET}"),
                    ("ControlPlayback", "nowhere"),
                    ("Verbose", "0,nowhere ${CPLAYBACKSTATUS}"),
                ],
            ),
        ],
        &[],
        |exchange| {
            let sound: Vec<i16> = [500.0, 900.0, 1300.0]
                .into_iter()
                .flat_map(|hertz| sine(hertz, 8000.0, 6000))
                .collect();
            write_wav(&exchange.data().join("sounds/steps.wav"), &sound).expect("a sound");
        },
    );
    let call = line.alice.call("1");
    call.expect_answered(SOON);
    expect_tone(&call, 500.0);
    call.dtmf("#");
    expect_tone(&call, 900.0);
    call.dtmf("*");
    expect_tone(&call, 500.0);
    call.dtmf("#");
    expect_tone(&call, 900.0);
    call.dtmf("1");
    expect_tone(&call, 500.0);
    call.dtmf("5");
    // Paused: packets stop.
    let started = Instant::now();
    loop {
        let before = call.heard().packets;
        std::thread::sleep(Duration::from_millis(400));
        if call.heard().packets == before {
            break;
        }
        assert!(started.elapsed() < SOON, "it does not pause");
    }
    call.dtmf("5");
    expect_tone(&call, 900.0);
    call.dtmf("0");
    line.exchange
        .expect_log("control USERSTOPPED key 0 at", SOON);
    let log = line.exchange.log();
    let at = log
        .split("key 0 at ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok())
        .expect("where it stopped");
    assert!((6100..18_000).contains(&at), "stopped at {at} ms");
    call.expect_ended(SOON);
    let heard = heard_to_the_end(&line.alice, "2");
    assert!(
        (3000..8000).contains(&heard.len()),
        "{} samples",
        heard.len()
    );
    line.exchange.expect_log("end SUCCESS at -1", SOON);
    line.exchange.expect_log("nowhere ERROR", SOON);
}

#[test]
fn tones_are_those_of_the_country() {
    let line = line(
        &[
            ("1", &[("Answer", ""), ("Busy", "5")]),
            (
                "2",
                &[
                    ("Answer", ""),
                    ("Set", "CHANNEL(tonezone)=us"),
                    ("Congestion", "2"),
                ],
            ),
            (
                "3",
                &[
                    ("Answer", ""),
                    ("PlayTones", "!700/500,!1100/500,1500"),
                    ("Wait", "5"),
                    ("StopPlayTones", ""),
                    ("PlayTones", "unobtainable"),
                    ("Wait", "3"),
                ],
            ),
        ],
        &[],
        |_| {},
    );
    let heard = heard_to_the_end(&line.alice, "1");
    // 375 ms on, 375 ms off: the middle of each.
    for n in 0..3 {
        let on = &heard[n * 6000 + 500..n * 6000 + 2500];
        assert!(has_tone(on, 400.0), "burst {n}");
        let off = &heard[n * 6000 + 3300..n * 6000 + 5700];
        assert!(audio::rms(off) < 100.0, "pause {n}: {}", audio::rms(off));
    }
    let heard = heard_to_the_end(&line.alice, "2");
    let first = &heard[200..1800];
    assert!(has_tone(first, 480.0) && has_tone(first, 620.0) && !has_tone(first, 425.0));
    assert!(audio::rms(&heard[2200..3800]) < 100.0);
    let heard = heard_to_the_end(&line.alice, "3");
    for (hertz, range) in [
        (700.0, 400..3600),
        (1100.0, 4400..7600),
        (1500.0, 8400..15_000),
    ] {
        assert!(share_with_tone(&heard[range], hertz) > 0.9, "{hertz}");
    }
    assert!(share_with_tone(last_ms(&heard, 700), 400.0) > 0.8);
}

#[test]
fn classes_of_music_come_from_their_table_and_a_digit_changes_to_another() {
    let line = line(
        &[
            (
                "1",
                &[
                    ("Answer", ""),
                    ("MusicOnHold", "shop,60"),
                    ("Verbose", "0,never"),
                ],
            ),
            (
                "2",
                &[
                    ("Answer", ""),
                    ("SetMusicOnHold", "lift"),
                    ("StartMusicOnHold", ""),
                    ("Wait", "4"),
                    ("StopMusicOnHold", ""),
                    ("MusicOnHold", "nothing,1"),
                ],
            ),
            ("202", &[("Dial", "PJSIP/bob,10")]),
        ],
        &[("moh_suggest", "lift")],
        |exchange| {
            let data = exchange.data();
            for (folder, hertz) in [("music", 500.0), ("sounds/moh/other", 1500.0)] {
                std::fs::create_dir_all(data.join(folder)).expect("a folder");
                write_wav(&data.join(folder).join("a.wav"), &sine(hertz, 8000.0, 1000))
                    .expect("a sound");
            }
            write_wav(&data.join("sounds/jingle.wav"), &sine(900.0, 8000.0, 1000))
                .expect("a sound");
            exchange.database.insert(
                "musiconhold",
                &[
                    ("name", "shop"),
                    ("mode", "files"),
                    ("directory", "music"),
                    ("sort", "random"),
                ],
            );
            exchange.database.insert(
                "musiconhold",
                &[("name", "lift"), ("mode", "playlist"), ("digit", "7")],
            );
            exchange.database.insert(
                "musiconhold_entry",
                &[("name", "lift"), ("position", "1"), ("entry", "jingle")],
            );
        },
    );
    let call = line.alice.call("1");
    call.expect_answered(SOON);
    expect_tone(&call, 500.0);
    call.dtmf("7");
    expect_tone(&call, 900.0);
    // It goes on from the beginning at its end.
    call.expect_tone(900.0, 2000, SOON);
    call.hang_up();

    let heard = heard_to_the_end(&line.alice, "2");
    assert!(share_with_tone(&heard[800..7200], 900.0) > 0.9);
    let default = last_ms(&heard, 600);
    assert!(audio::rms(default) > 100.0 && share_with_tone(default, 900.0) < 0.5);

    // Who is put on hold by Bob hears what Bob's endpoint suggests.
    line.bob.set_manner(Manner::Answer(Duration::ZERO));
    let call = line.alice.call("202");
    call.expect_answered(SOON);
    let other = line.bob.expect_call(SOON);
    other.expect_answered(SOON);
    other.hold();
    expect_tone(&call, 900.0);
    other.resume();
    call.hang_up();
}

#[test]
fn a_program_plays_to_all_who_are_on_hold_and_to_nobody_else() {
    let line = line(
        &[
            ("1", &[("Answer", ""), ("MusicOnHold", "radio")]),
            ("2", &[("Answer", ""), ("MusicOnHold", "gone")]),
        ],
        &[],
        |exchange| {
            let tone: Vec<u8> = sine(700.0, 8000.0, 1000)
                .iter()
                .flat_map(|sample| sample.to_le_bytes())
                .collect();
            std::fs::create_dir_all(exchange.data().join("music")).expect("a folder");
            std::fs::write(exchange.data().join("music/tone.raw"), tone).expect("a file");
            let radio = "echo x >> begun; while cat tone.raw; do :; done";
            for (name, application) in [("radio", radio), ("gone", "exec /nonexistent/radio")] {
                exchange.database.insert(
                    "musiconhold",
                    &[
                        ("name", name),
                        ("mode", "custom"),
                        ("directory", "music"),
                        ("application", application),
                    ],
                );
            }
        },
    );
    let begun = || {
        std::fs::read_to_string(line.exchange.data().join("music/begun"))
            .map_or(0, |text| text.lines().count())
    };
    let running = || line.exchange.metric("strowger_music_programs_running");
    assert_eq!((begun(), running()), (0, 0), "nobody listens");
    let first = line.alice.call("1");
    first.expect_answered(SOON);
    expect_tone(&first, 700.0);
    let second = line.bob.call("1");
    second.expect_answered(SOON);
    expect_tone(&second, 700.0);
    first.hang_up();
    // Who still listens hears it without a break, and there was one program for both.
    second.expect_tone(700.0, 2000, SOON);
    assert_eq!((begun(), running()), (1, 1));
    second.hang_up();
    let ended = strowger_tests::wait_until(SOON, || (running() == 0).then_some(()));
    assert!(ended.is_some(), "it goes on for nobody");
    let again = line.alice.call("1");
    again.expect_answered(SOON);
    expect_tone(&again, 700.0);
    assert_eq!(begun(), 2);
    again.hang_up();

    // One that cannot be run is tried again, and the call goes on in silence.
    let silent = line.alice.call("2");
    silent.expect_answered(SOON);
    silent.expect_packets(50, SOON);
    line.exchange
        .expect_log("the program plays no more class=\"gone\"", SOON);
    let ended = || line.exchange.metric("strowger_music_programs_ended_total");
    let twice = strowger_tests::wait_until(SOON, || (ended() >= 2).then_some(()));
    assert!(twice.is_some(), "it is not tried again");
    silent.hang_up();
}

#[test]
fn counted_words_are_said_in_the_form_of_their_number() {
    let steps = [
        ("SayCountedAdj", "1,new,f"),
        ("SayCountedNoun", "1,call"),
        ("SayCountedAdj", "22,new,f"),
        ("SayCountedNoun", "22,call"),
        ("SayCountedNoun", "11,call"),
        ("SayCountedNoun", "many,call"),
    ];
    let russian = [&[("Set", "CHANNEL(language)=ru")][..], &steps[..]].concat();
    let line = line(
        &[
            ("1", &[&[("Answer", "")][..], &russian[..]].concat()),
            ("2", &steps),
        ],
        &[],
        |exchange| {
            for (name, hertz) in [
                ("ru/newf", 500.0),
                ("ru/call", 700.0),
                ("ru/newx", 900.0),
                ("ru/callx1", 1100.0),
                ("ru/callx2", 1300.0),
                ("en/new", 1500.0),
                ("en/call", 1700.0),
                ("en/calls", 1900.0),
            ] {
                let file = exchange.data().join(format!("sounds/{name}.wav"));
                let folder = file.parent().expect("it has one");
                std::fs::create_dir_all(folder).expect("a folder");
                write_wav(&file, &sine(hertz, 8000.0, 400)).expect("a sound");
            }
        },
    );
    /// Tones in their order, each counted once.
    fn tones(heard: &[i16]) -> Vec<u32> {
        let mut order = Vec::new();
        for part in heard.chunks(800) {
            let loudest = (5..=19).step_by(2).map(|hundreds| hundreds * 100);
            let found = loudest
                .into_iter()
                .find(|hertz| has_tone(part, f64::from(*hertz)));
            if let Some(hertz) = found.filter(|hertz| order.last() != Some(hertz)) {
                order.push(hertz);
            }
        }
        order
    }
    let heard = heard_to_the_end(&line.alice, "1");
    assert_eq!(tones(&heard), [500, 700, 900, 1100, 1300]);
    line.exchange
        .expect_log("SayCountedNoun: \"many\" is no whole number", SOON);
    // Without an answer they are heard in the early media.
    let call = line.alice.call("2");
    call.expect_ended(SOON);
    assert_eq!(tones(&call.heard().said), [1500, 1700, 1500, 1900]);
}

#[test]
fn numbers_are_said_in_the_language_of_the_caller() {
    let line = line(
        &[
            (
                "1",
                &[
                    ("Answer", ""),
                    ("SayNumber", "-121"),
                    ("SayUnixTime", "0,Europe/Moscow,ABdY"),
                    ("SayPhonetic", "x1"),
                    ("SayOrdinal", "3"),
                    ("SayMoney", "1.05"),
                    ("Playback", "number:7&beep,mix"),
                    // The telephone listens to the end: what is under way when BYE comes may be lost.
                    ("Wait", "1"),
                ],
            ),
            (
                "2",
                &[
                    ("Answer", ""),
                    ("Set", "CHANNEL(language)=ru_RU"),
                    ("SayNumber", "2001,f"),
                    ("SayUnixTime", "0,Europe/Moscow,dB"),
                    ("SayAlpha", "a-1"),
                    ("Wait", "1"),
                ],
            ),
            (
                "3",
                &[
                    ("Answer", ""),
                    ("Set", "SAY_DTMF_INTERRUPT=true"),
                    ("SayDigits", "01234567890123456789"),
                    ("Verbose", "0,not interrupted"),
                ],
            ),
            ("5", &[("Verbose", "0,interrupted by ${EXTEN}")]),
        ],
        &[],
        |_| {},
    );
    let (law, heard) = heard_by_law(&line.alice, "1");
    for (names, what) in [
        (
            &[
                "digits/minus",
                "digits/1",
                "digits/hundred",
                "digits/20",
                "digits/1",
            ][..],
            "-121",
        ),
        (
            &[
                "digits/day-4",
                "digits/mon-0",
                "digits/h-1",
                "digits/19",
                "digits/70",
            ],
            "Thursday, January 1st 1970",
        ),
        (&["phonetic/x_p", "digits/1"], "x-ray one"),
        (&["digits/h-3"], "third"),
        (
            &[
                "digits/1",
                "digits/dollar",
                "digits/and",
                "digits/5",
                "digits/cents",
            ],
            "1 dollar and 5 cents",
        ),
        (&["digits/7", "beep"], "seven and a beep"),
    ] {
        assert_heard(&heard, &prompts("en", names, law), what);
    }
    let (law, heard) = heard_by_law(&line.alice, "2");
    for (names, what) in [
        (
            &["digits/2f", "digits/thousands-i", "digits/1f"][..],
            "две тысячи одна",
        ),
        (&["digits/h-1n", "digits/mon-0"], "первое января"),
        (&["letters/a", "letters/dash", "digits/1"], "а тире один"),
    ] {
        assert_heard(&heard, &prompts("ru", names, law), what);
    }
    let call = line.alice.call("3");
    call.expect_answered(SOON);
    let started = Instant::now();
    while call.heard().samples.len() < 4000 {
        assert!(started.elapsed() < SOON, "nothing is said");
        std::thread::sleep(Duration::from_millis(20));
    }
    call.dtmf("5");
    line.exchange.expect_log("interrupted by 5", SOON);
    call.expect_ended(SOON);
}
