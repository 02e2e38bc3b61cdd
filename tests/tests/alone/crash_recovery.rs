//! `kill -9` in the middle of a hundred calls, and a new start: who was registered is, no CDR of an ended call is missing or
//! doubled, and every recording plays.

use std::collections::BTreeSet;
use std::time::Duration;
use strowger_tests::audio::{read_wav, share_with_tone};
use strowger_tests::{Bank, Engine, Exchange, Manner, SOON, Settings, Source, alone, wait_until};

const CALLS: usize = 100;

fn a_crash_loses_nothing_on(engine: Engine) {
    let mut exchange = Exchange::prepare(Settings {
        engine,
        ..Settings::default()
    });
    exchange.subscriber("caller", "secret", "calls");
    exchange.subscriber("callee", "secret", "calls");
    exchange.extension(
        "calls",
        "1",
        &[
            ("MixMonitor", "${UNIQUEID}.wav"),
            ("Dial", "PJSIP/callee,90"),
        ],
    );
    exchange.start();
    let bank = Bank::new();
    let caller = bank.phone("caller", "secret", exchange.sip());
    let callee = bank.phone("callee", "secret", exchange.sip());
    for phone in [&caller, &callee] {
        phone.register();
        phone.keep_samples(false);
    }
    caller.set_source(Source::Tone(440.0));
    callee
        .set_source(Source::Tone(620.0))
        .set_manner(Manner::Answer(Duration::ZERO));

    // Thirty calls that end in time, and a hundred that are running when the blow comes.
    let ended: Vec<_> = (0..30).map(|_| caller.call("1")).collect();
    ended.iter().for_each(|call| call.expect_answered(SOON));
    let running: Vec<_> = (0..CALLS).map(|_| caller.call("1")).collect();
    running.iter().for_each(|call| call.expect_answered(SOON));
    let folder = exchange.recordings();
    let recorded = |seconds: u64| {
        let files = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        files
            .filter_map(|entry| entry.metadata().ok())
            .filter(|file| file.len() >= 44 + seconds * 16_000)
            .count()
    };
    let long = wait_until(SOON, || (recorded(10) == 30 + CALLS).then_some(()));
    assert!(long.is_some(), "{} of ten seconds", recorded(10));
    let registered = wait_until(SOON, || {
        let rows = exchange.database.select("ps_contacts", &["endpoint"], "");
        (rows.len() == 2).then_some(())
    });
    assert!(registered.is_some(), "both registrations are written");
    ended.iter().for_each(strowger_tests::Call::hang_up);
    // Hung up and on the way to the database, not necessarily there.
    let spooled = wait_until(SOON, || {
        (exchange.metric("strowger_cdr_spooled_total") >= 30).then_some(())
    });
    assert!(spooled.is_some(), "thirty records on disk");
    exchange.kill();
    exchange.start();

    let rows = exchange
        .database
        .select("ps_contacts", &["endpoint"], "ORDER BY endpoint");
    assert_eq!(rows.len(), 2, "contacts survive: {rows:?}");
    // The callee is reachable without registering again.
    let call = caller.call("1");
    call.expect_answered(SOON);
    call.hang_up();

    // The thirty, and the call just made; a call that was cut off has no record, since it has not ended.
    let tail = "WHERE dst = '1' AND disposition = 'ANSWERED'";
    exchange.expect_cdr(&["uniqueid"], tail, 31, SOON);
    std::thread::sleep(Duration::from_secs(2));
    let rows = exchange
        .database
        .select("cdr", &["uniqueid", "sequence", "billsec"], tail);
    assert_eq!(rows.len(), 31, "and no more come later: {rows:?}");
    let different: BTreeSet<_> = rows.iter().map(|row| row[0].clone()).collect();
    assert_eq!(different.len(), 31, "no record twice: {rows:?}");

    let files = || -> Vec<_> {
        let folder = std::fs::read_dir(exchange.recordings()).expect("the recordings' folder");
        folder
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|p| p.extension().is_some_and(|e| e == "wav"))
            .collect()
    };
    let all =
        wait_until(SOON, || (files().len() == 30 + CALLS + 1).then(files)).unwrap_or_else(files);
    assert_eq!(all.len(), 30 + CALLS + 1, "a recording for every call");
    let mut long = 0;
    for path in &all {
        let samples = read_wav(path).expect("a recording that plays");
        // Cut off after more than ten seconds, at most the last one or two of them are lost.
        if samples.len() >= 8000 * 2 {
            long += 1;
            for tone in [440.0, 620.0] {
                assert!(
                    share_with_tone(&samples, tone) > 0.5,
                    "{tone} Hz in {}",
                    path.display()
                );
            }
        }
    }
    assert!(
        long >= 30 + CALLS,
        "{long} recordings of two seconds and more"
    );
}

#[test]
fn a_crash_loses_nothing_on_sqlite() {
    let _alone = alone();
    a_crash_loses_nothing_on(Engine::Sqlite);
}

#[test]
fn a_crash_loses_nothing_on_postgresql() {
    let _alone = alone();
    a_crash_loses_nothing_on(Engine::Postgres);
}
