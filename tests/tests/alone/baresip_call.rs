//! Two real telephones register, call each other through `realtime_extensions`, and hear each other; what they heard, the
//! recording and the CDR row are looked at, on each database.

use std::time::Duration;
use strowger_tests::audio::{read_wav, share_with_tone, wav_channels};
use strowger_tests::{Baresip, Engine, Exchange, SOON, Settings, alone, wait_until};

fn two_telephones_talk_over(engine: Engine) {
    let mut exchange = Exchange::prepare(Settings {
        engine,
        ..Settings::default()
    });
    exchange.subscriber_with(
        "user-101-house",
        "secret-one",
        "internal-house",
        &[("callerid", "Anna <101>")],
    );
    exchange.subscriber_with(
        "user-102-house",
        "secret-two",
        "internal-house",
        &[("callerid", "Boris <102>")],
    );
    let steps = [
        ("MixMonitor", "${UNIQUEID}.wav"),
        ("Dial", "PJSIP/user-102-house,30,tT"),
        ("Hangup", ""),
    ];
    exchange.extension("internal-house", "102", &steps);
    exchange.start();

    let mut anna = Baresip::start("user-101-house", "secret-one", exchange.sip(), 440.0, false);
    let boris = Baresip::start("user-102-house", "secret-two", exchange.sip(), 620.0, true);
    anna.expect_registered(SOON);
    boris.expect_registered(SOON);
    let contacts = wait_until(SOON, || {
        let rows =
            exchange
                .database
                .select("ps_contacts", &["endpoint", "uri"], "ORDER BY endpoint");
        (rows.len() == 2).then_some(rows)
    });
    let contacts = contacts.expect("both contacts are in ps_contacts");
    assert_eq!(contacts[0][0].as_deref(), Some("user-101-house"));

    anna.dial("102");
    anna.expect_event("CALL_ESTABLISHED", SOON);
    boris.expect_event("CALL_ESTABLISHED", SOON);
    std::thread::sleep(Duration::from_secs(5));
    anna.hang_up();
    boris.expect_event("CALL_CLOSED", SOON);
    anna.expect_event("CALL_CLOSED", SOON);

    anna.assert_heard(3, 620.0, 440.0);
    boris.assert_heard(3, 440.0, 620.0);

    let columns = [
        "src",
        "dst",
        "dcontext",
        "clid",
        "channel",
        "dstchannel",
        "lastapp",
        "lastdata",
        "disposition",
        "duration",
        "billsec",
        "answer",
        "uniqueid",
        "linkedid",
        "start",
        "end",
    ];
    let row = exchange
        .expect_cdr(&columns, "WHERE dst = '102'", 1, SOON)
        .remove(0);
    let text = |index: usize| row[index].clone().unwrap_or_default();
    assert_eq!(
        (text(0).as_str(), text(1).as_str()),
        ("101", "102"),
        "{row:?}"
    );
    assert_eq!(text(2), "internal-house");
    assert_eq!(text(3), "\"Anna\" <101>");
    assert!(
        text(4).starts_with("PJSIP/user-101-house-")
            && text(5).starts_with("PJSIP/user-102-house-"),
        "{row:?}"
    );
    assert_eq!(
        (text(6).as_str(), text(7).as_str()),
        ("Dial", "PJSIP/user-102-house,30,tT")
    );
    assert_eq!(text(8), "ANSWERED");
    let seconds = |index: usize| text(index).parse::<u64>().expect("a number of seconds");
    assert!(
        (4..=90).contains(&seconds(9)) && (4..=90).contains(&seconds(10)),
        "{row:?}"
    );
    assert!(row[11].is_some(), "answer is set: {row:?}");
    assert_eq!(text(12), text(13), "the first channel's call is its own");
    assert!(
        text(14) <= text(11) && text(11) <= text(15),
        "start, answer, end in order: {row:?}"
    );

    let recording = exchange.recordings().join(format!("{}.wav", text(12)));
    let recorded = read_wav(&recording).expect("the recording");
    assert!(
        recorded.len() > 8000 * 3,
        "{} samples recorded",
        recorded.len()
    );
    for tone in [440.0, 620.0] {
        let share = share_with_tone(&recorded, tone);
        assert!(share > 0.7, "{tone} Hz is in {share:.2} of the recording");
    }
}

#[test]
fn two_telephones_talk_over_sqlite() {
    let _alone = alone();
    two_telephones_talk_over(Engine::Sqlite);
}

#[test]
fn two_telephones_talk_over_mariadb() {
    let _alone = alone();
    two_telephones_talk_over(Engine::MariaDb);
}

#[test]
fn two_telephones_talk_over_postgresql() {
    let _alone = alone();
    two_telephones_talk_over(Engine::Postgres);
}

#[test]
fn a_wideband_call_is_recorded_with_what_only_wideband_telephones_say() {
    let _alone = alone();
    let mut exchange = Exchange::new();
    for (name, password) in [("anna", "secret-one"), ("boris", "secret-two")] {
        let codecs = [("disallow", "all"), ("allow", "g722,alaw")];
        exchange.subscriber_with(name, password, "internal-house", &codecs);
    }
    let steps = [
        ("MixMonitor", "${UNIQUEID}.wav16"),
        ("Dial", "PJSIP/boris,30"),
    ];
    exchange.extension("internal-house", "102", &steps);
    exchange.start();
    let mut anna = Baresip::start_wide("anna", "secret-one", exchange.sip(), 5000.0, false);
    let boris = Baresip::start_wide("boris", "secret-two", exchange.sip(), 6200.0, true);
    anna.expect_registered(SOON);
    boris.expect_registered(SOON);
    anna.dial("102");
    anna.expect_event("CALL_ESTABLISHED", SOON);
    std::thread::sleep(Duration::from_secs(4));
    anna.hang_up();
    boris.expect_event("CALL_CLOSED", SOON);

    let recording = wait_until(SOON, || {
        let files = std::fs::read_dir(exchange.recordings()).ok()?;
        let mut paths = files.flatten().map(|file| file.path());
        let path = paths.find(|path| path.extension().is_some_and(|is| is == "wav16"))?;
        let (rate, channels) = wav_channels(&std::fs::read(path).ok()?).ok()?;
        assert_eq!(rate, 16_000);
        let samples = channels.into_iter().next()?;
        (samples.len() > 40_000).then_some(samples)
    });
    let recording = recording.expect("the recording is complete");
    // At half its rate it is heard at half the frequencies.
    for hz in [5000.0, 6200.0] {
        let share = share_with_tone(&recording[16_000..48_000.min(recording.len())], hz / 2.0);
        assert!(share > 0.9, "{hz} Hz in {share} of the recording");
    }
}
