//! The peers themselves, without an exchange: what they report has to be true before anything is judged by it.

use std::time::Duration;
use strowger_tests::audio::{self, share_with_tone};
use strowger_tests::{
    Bank, Baresip, Challenge, Database, Ending, Engine, Manner, Phone, SOON, Sipp, Source, Stage,
    wait_until,
};

fn two_phones(bank: &Bank) -> (Phone, Phone) {
    let nowhere = "127.0.0.1:9".parse().expect("an address");
    let alice = bank.phone("alice", "a", nowhere);
    let bob = bank.phone("bob", "b", alice.address());
    alice.set_exchange(bob.address());
    alice.set_source(Source::Tone(440.0));
    bob.set_source(Source::Tone(620.0));
    (alice, bob)
}

#[test]
fn two_telephones_hear_each_other_and_lose_nothing() {
    let bank = Bank::new();
    let (alice, bob) = two_phones(&bank);
    let call = alice.call("bob");
    let incoming = bob.expect_call(SOON);
    incoming.ring();
    call.expect_status(180, SOON);
    incoming.answer();
    call.expect_answered(SOON);
    call.expect_packets(75, SOON);
    incoming.expect_packets(75, SOON);
    call.dtmf("19#");
    incoming.expect_digits("19#", SOON);
    call.hang_up();
    assert_eq!(incoming.expect_ended(SOON), Ending::TheyHungUp);
    assert_eq!(call.expect_ended(SOON), Ending::WeHungUp);
    assert!(incoming.is_acknowledged());
    let (at_alice, at_bob) = (call.heard(), incoming.heard());
    for heard in [&at_alice, &at_bob] {
        assert!(
            heard.packets >= 70 && heard.lost == 0 && heard.duplicates == 0,
            "{heard:?}"
        );
        assert_eq!(heard.ssrcs.len(), 1);
    }
    assert!(share_with_tone(&at_alice.samples, 620.0) > 0.9);
    assert!(share_with_tone(&at_bob.samples[..8000], 440.0) > 0.9);
    assert!(
        share_with_tone(&at_alice.samples, 440.0) < 0.1,
        "alice must not hear herself"
    );
}

#[test]
fn hold_and_resume_stop_and_restart_the_other_side() {
    let bank = Bank::new();
    let (alice, bob) = two_phones(&bank);
    bob.set_manner(Manner::Answer(Duration::ZERO));
    let call = alice.call("bob");
    call.expect_answered(SOON);
    call.hold();
    let quiet = call.listen(Duration::from_millis(500));
    assert!(quiet.len() <= 320, "{} samples while on hold", quiet.len());
    call.resume();
    call.expect_tone(620.0, 400, SOON);
}

#[test]
fn a_telephone_cancels_rejects_and_gives_its_reasons() {
    let bank = Bank::new();
    let (alice, bob) = two_phones(&bank);
    bob.set_manner(Manner::Ring);
    let call = alice.call("bob");
    call.expect_status(180, SOON);
    call.hang_up();
    assert_eq!(call.expect_ended(SOON), Ending::Status(487));
    assert_eq!(bob.expect_call(SOON).expect_ended(SOON), Ending::Cancelled);
    bob.set_manner(Manner::Reject(486));
    assert_eq!(alice.call("bob").expect_ended(SOON), Ending::Status(486));
}

#[test]
fn two_hundred_calls_run_in_one_bank_without_loss() {
    let bank = Bank::new();
    let (alice, bob) = two_phones(&bank);
    alice.keep_samples(false);
    bob.keep_samples(false)
        .set_manner(Manner::Answer(Duration::ZERO));
    for _ in 0..200 {
        alice.call("bob");
    }
    let tally = bank.wait_for(SOON, |t| t.up == 400);
    assert_eq!(tally.up, 400, "{tally:?}");
    bank.wait_for(SOON, |t| t.packets >= 400 * 100 && t.deaf == 0);
    bank.hang_up_all();
    let tally = bank.wait_for(SOON, |t| t.up == 0);
    assert_eq!(
        (tally.calls, tally.answered, tally.up, tally.failed),
        (400, 400, 0, 0),
        "{tally:?}"
    );
    assert_eq!((tally.lost, tally.deaf), (0, 0), "{tally:?}");
    assert!(tally.packets >= 400 * 90, "{tally:?}");
}

#[test]
fn sipp_answers_rejects_and_rings_as_its_scenarios_say() {
    let bank = Bank::new();
    let phone = |server: &Sipp| {
        let phone = bank.phone("alice", "a", server.address());
        phone.set_source(Source::Silence);
        phone
    };
    let nowhere = "127.0.0.1:9".parse().expect("an address");

    let server = Sipp::new("uas_answer.xml", nowhere).start();
    let call = phone(&server).call("x");
    call.expect_answered(SOON);
    call.hang_up();
    server.finish(SOON).expect_all(1);

    let server = Sipp::new("uas_busy.xml", nowhere).start();
    assert_eq!(
        phone(&server).call("x").expect_ended(SOON),
        Ending::Status(486)
    );
    server.finish(SOON).expect_all(1);

    let server = Sipp::new("uas_no_answer.xml", nowhere).start();
    let call = phone(&server).call("x");
    call.expect_status(180, SOON);
    call.hang_up();
    assert_eq!(call.expect_ended(SOON), Ending::Status(487));
    server.finish(SOON).expect_all(1);

    let server = Sipp::new("lost_bye.xml", nowhere).start();
    let call = phone(&server).call("x");
    call.expect_answered(SOON);
    call.hang_up();
    assert_eq!(call.stage(), Stage::Ended);
    // It is answered two seconds after the first; on a busy machine one more may be under way by then.
    let messages = server.finish(SOON).expect_all(1).messages.clone();
    let copies = messages.matches("BYE sip:").count();
    assert!(
        (3..=4).contains(&copies),
        "{copies} BYE: at once, after 0.5 s and after 1.5 s"
    );
}

#[test]
fn a_tap_hears_what_passes() {
    let bank = Bank::new();
    let bob = bank.phone("bob", "b", "127.0.0.1:9".parse().expect("an address"));
    let tap = strowger_tests::Tap::new(bob.address());
    let alice = bank.phone("alice", "a", tap.address());
    bob.set_source(Source::Tone(620.0));
    let speech = audio::sine(440.0, 8000.0, 2000);
    alice.set_source(Source::Samples(speech.into()));
    let call = alice.call("bob");
    bob.expect_call(SOON).answer();
    call.expect_answered(SOON);
    let passed = wait_until(SOON, || {
        let tapped = tap.tapped();
        (tapped.sent.len() >= 45 && tapped.returned.len() >= 45).then_some(())
    });
    assert!(passed.is_some(), "the tap hears both sides");
    call.expect_tone(620.0, 800, SOON);
}

#[test]
fn baresip_and_a_scripted_telephone_hear_each_other() {
    let bank = Bank::new();
    let bob = bank.phone("bob", "b", "127.0.0.1:9".parse().expect("an address"));
    bob.set_source(Source::Tone(620.0))
        .set_manner(Manner::Answer(Duration::ZERO));
    let mut anna = Baresip::start("anna", "a", bob.address(), 440.0, false);
    anna.expect_registered(SOON);
    anna.dial("bob");
    anna.expect_event("CALL_ESTABLISHED", SOON);
    let call = bob.expect_call(SOON);
    call.expect_packets(150, SOON);
    anna.hang_up();
    assert_eq!(call.expect_ended(SOON), Ending::TheyHungUp);
    anna.expect_event("CALL_CLOSED", SOON);
    assert!(share_with_tone(&call.heard().samples, 440.0) > 0.7);
    let heard = anna.heard();
    assert!(heard.len() > 12_000 && share_with_tone(&heard, 620.0) > 0.7);
}

#[test]
fn a_database_of_each_engine_keeps_what_it_is_given() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for engine in [Engine::Sqlite, Engine::MariaDb, Engine::Postgres] {
        let database = Database::create(engine, folder.path());
        database.execute(
            "CREATE TABLE things (id INTEGER PRIMARY KEY, name VARCHAR(80), \"end\" INTEGER)"
                .replace('"', if engine == Engine::MariaDb { "`" } else { "\"" })
                .as_str(),
        );
        let odd = "It's \"odd\" \\ and ${привет}";
        database.insert("things", &[("id", "1"), ("name", odd), ("end", "5")]);
        database.insert("things", &[("id", "2"), ("end", "6")]);
        let rows = database.select("things", &["name", "end"], "ORDER BY id");
        assert_eq!(
            rows[0],
            [Some(odd.to_owned()), Some("5".to_owned())],
            "{engine:?}"
        );
        assert_eq!(rows[1], [None, Some("6".to_owned())], "{engine:?}");
    }
}

#[test]
fn the_calling_scenarios_of_sipp_do_what_they_say() {
    let bank = Bank::new();
    let server = bank.phone("server", "s", "127.0.0.1:9".parse().expect("an address"));
    server.set_challenge(Challenge::Once);
    let run = |scenario: &str, manner: Manner| {
        server.set_manner(manner);
        Sipp::new(scenario, server.address())
            .account("sipp", "secret")
            .service("server")
            .with(&["-d", "300"])
            .run(SOON)
            .expect_all(1);
    };
    let at_once = Manner::Answer(Duration::ZERO);
    run("uac_dial.xml", at_once);
    run("uac_refused.xml", Manner::Reject(486));
    run("uac_cancel.xml", Manner::Ring);
    run("lost_200.xml", at_once);
    run("lost_ack.xml", at_once);
    run("register_digest.xml", at_once);
    server.set_challenge(Challenge::Always);
    run("auth_failure.xml", at_once);
}

#[test]
fn the_file_that_sipp_plays_is_heard() {
    let bank = Bank::new();
    let server = bank.phone("server", "s", "127.0.0.1:9".parse().expect("an address"));
    server
        .set_challenge(Challenge::Once)
        .set_manner(Manner::Answer(Duration::ZERO));
    let caller = Sipp::new("uac_echo_rtp.xml", server.address())
        .account("sipp", "secret")
        .service("server")
        .with(&["-d", "5000"]);
    let tone: Vec<u8> = audio::sine(440.0, 8000.0, 2000)
        .iter()
        .map(|&s| audio::Law::A.encode(s))
        .collect();
    std::fs::write(caller.folder().join("audio.alaw"), tone).expect("the file to play");
    caller.run(SOON).expect_all(1);
    let heard = server.expect_call(SOON).heard();
    assert_eq!(heard.lost, 0);
    assert!(
        heard.samples.len() >= 15_000 && share_with_tone(&heard.samples[..15_000], 440.0) > 0.7,
        "{} samples",
        heard.samples.len()
    );
}
