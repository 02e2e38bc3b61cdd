//! The dialplans that the product documents for group call, forwarding to a mobile and message after the beep, row for row.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};
use strowger_tests::audio::{self, read_wav, share_with_tone};
use strowger_tests::{Bank, Ending, Exchange, Manner, Phone, SOON, Source};

fn registered(bank: &Bank, exchange: &Exchange, name: &str) -> Phone {
    let phone = bank.phone(name, "secret", exchange.sip());
    phone.register();
    phone
}

#[test]
fn a_group_call_rings_all_five_and_the_first_to_answer_gets_it() {
    let mut exchange = Exchange::new();
    for number in 100..=105 {
        exchange.subscriber(
            &format!("user-{number}-domain"),
            "secret",
            "internal-domain",
        );
    }
    let add = |n: u32| format!("DIALGROUP(group_100,add)=PJSIP/user-{n}-domain");
    let adds: Vec<String> = (101..=105).map(add).collect();
    let mut steps: Vec<(&str, &str)> = adds.iter().map(|a| ("Set", a.as_str())).collect();
    steps.push(("Dial", "${DIALGROUP(group_100)},60,tT"));
    exchange.extension("internal-domain", "200", &steps);
    exchange.extension(
        "internal-domain",
        "201",
        &[("Dial", "${DIALGROUP(group_100)},60,tT")],
    );
    exchange.start();

    let bank = Bank::new();
    let caller = registered(&bank, &exchange, "user-100-domain");
    let phones: Vec<Phone> = (101..=105)
        .map(|n| registered(&bank, &exchange, &format!("user-{n}-domain")))
        .collect();
    phones.iter().for_each(|p| {
        p.set_manner(Manner::Ring);
    });
    let ring_all = |number: &str| {
        let call = caller.call(number);
        // One after the other they would ring for a minute each.
        let began = Instant::now();
        let ringing: Vec<_> = phones.iter().map(|p| p.expect_call(SOON)).collect();
        assert!(began.elapsed() < SOON, "all are called at once");
        call.expect_status(180, SOON);
        (call, ringing)
    };
    let (call, ringing) = ring_all("200");
    ringing[2].answer();
    call.expect_answered(SOON);
    for (index, other) in ringing.iter().enumerate().filter(|(index, _)| *index != 2) {
        assert_eq!(
            other.expect_ended(SOON),
            Ending::Cancelled,
            "telephone {index}"
        );
    }
    call.hang_up();
    assert_eq!(ringing[2].expect_ended(SOON), Ending::TheyHungUp);

    // Adding the same five again changes nothing: still each telephone rings once.
    let (call, ringing) = ring_all("200");
    call.hang_up();
    ringing
        .iter()
        .for_each(|r| assert_eq!(r.expect_ended(SOON), Ending::Cancelled));
    assert!(
        phones
            .iter()
            .all(|p| p.next_call(Duration::from_millis(100)).is_none())
    );

    // The group outlives the process.
    assert!(
        exchange
            .terminate(SOON)
            .is_some_and(|status| status.success()),
        "TERM ends an idle exchange"
    );
    exchange.start();
    let (call, ringing) = ring_all("201");
    let called: BTreeSet<String> = ringing
        .iter()
        .map(|r| r.requests()[0].start.clone())
        .collect();
    assert_eq!(called.len(), 5, "{called:?}");
    call.hang_up();
}

#[test]
fn an_unanswered_call_goes_on_to_the_mobile_through_the_trunk() {
    let mut exchange = Exchange::new();
    exchange.subscriber("user-110-office", "secret", "internal-office");
    exchange.subscriber("user-111-office", "secret", "internal-office");
    let bank = Bank::new();
    let trunk = bank.phone_at([127, 9, 9, 9].into(), "trunk", "", exchange.sip());
    exchange.trunk(
        "peer-71234567890-office",
        trunk.address(),
        "incoming-office",
    );
    let steps = [
        ("NoOp", "Входящий вызов"),
        ("Dial", "SIP/user-110-office,6,tT"),
        ("Dial", "SIP/81234567890@peer-71234567890-office,60"),
        ("Hangup", ""),
    ];
    exchange.extension("incoming-office", "_X.", &steps);
    exchange.extension("internal-office", "110", &steps);
    exchange.start();
    let phone = registered(&bank, &exchange, "user-110-office");
    phone.set_manner(Manner::Ring);
    let caller = registered(&bank, &exchange, "user-111-office");

    let began = Instant::now();
    let call = caller.call("110");
    let first = phone.expect_call(SOON);
    assert_eq!(first.expect_ended(SOON), Ending::Cancelled);
    let waited = began.elapsed();
    assert!(
        waited >= Duration::from_millis(5800),
        "rang for {waited:?} instead of 6 s"
    );
    let mobile = trunk.expect_call(SOON);
    let invite = mobile.requests()[0].clone();
    assert_eq!(
        invite
            .uri()
            .map(|u| u.split('@').next().unwrap_or("").to_owned())
            .as_deref(),
        Some("sip:81234567890"),
        "{}",
        invite.start
    );
    mobile.answer();
    call.expect_answered(SOON);
    mobile.hang_up();
    assert_eq!(call.expect_ended(SOON), Ending::TheyHungUp);

    // Busy goes to the mobile at once; an answered first Dial never does.
    phone.set_manner(Manner::Reject(486));
    let began = Instant::now();
    let call = caller.call("110");
    let mobile = trunk.expect_call(SOON);
    assert!(began.elapsed() < Duration::from_secs(6));
    call.hang_up();
    assert_eq!(mobile.expect_ended(SOON), Ending::Cancelled);

    while phone.next_call(Duration::from_millis(50)).is_some() {}
    phone.set_manner(Manner::AnswerFor(
        Duration::ZERO,
        Duration::from_millis(500),
    ));
    let call = caller.call("110");
    assert_eq!(call.expect_ended(SOON), Ending::TheyHungUp);
    assert!(
        trunk.next_call(Duration::from_millis(500)).is_none(),
        "the mobile must not be called"
    );

    // And the same rows for a call that comes in from the trunk itself, known by its address.
    let incoming = trunk.call("74951234567");
    phone.expect_call(SOON);
    incoming.expect_answered(SOON);
}

#[test]
fn a_message_is_recorded_after_the_beep_and_kept_when_the_caller_hangs_up() {
    let mut exchange = Exchange::new();
    exchange.subscriber_with(
        "user-100-office",
        "secret",
        "incoming-office",
        &[("callerid", "User <100>")],
    );
    let sounds = exchange.data().join("sounds");
    std::fs::create_dir_all(&sounds).expect("the sounds' folder");
    audio::write_wav(
        &sounds.join("message-office.wav"),
        &audio::sine(700.0, 8000.0, 1000),
    )
    .expect("a sound");
    let steps = [
        ("NoOp", "Входящий вызов"),
        ("Goto", "message-office,s,1"),
        ("Hangup", ""),
    ];
    exchange.extension("incoming-office", "500", &steps);
    let steps = [
        ("NoOp", "Сообщение после звукового сигнала"),
        ("Answer", ""),
        ("Playback", "message-office"),
        ("Record", "/tmp/${UNIQUEID}.wav,,300,k"),
        ("Hangup", ""),
    ];
    exchange.extension("message-office", "s", &steps);
    let script = exchange.data().join("agi-bin/email/attachment.php");
    std::fs::create_dir_all(script.parent().expect("a folder")).expect("the scripts' folder");
    std::fs::write(&script, "#!/bin/sh\nprintf '%s\\n' \"$@\" > \"$0.argv\"\n").expect("a script");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    let steps = [
        ("NoOp", "Отправка сообщения на электронную почту"),
        (
            "Set",
            "DB(test/after)=${CALLERID(number)}:/tmp/${UNIQUEID}.wav:${RECORD_STATUS}",
        ),
        (
            "AGI",
            "email/attachment.php,--source=\"${CALLERID(number)}\",--destination=\"Номер\",--emails=\"mail@example.com\",--attachment=\"/tmp/${UNIQUEID}.wav\"",
        ),
        (
            "Verbose",
            "0,after the message ${DB(test/after)} ${AGISTATUS}",
        ),
        ("Hangup", ""),
    ];
    exchange.extension("message-office", "h", &steps);
    exchange.start();

    let bank = Bank::new();
    let caller = registered(&bank, &exchange, "user-100-office");
    caller.set_source(Source::Tone(440.0));
    let call = caller.call("500");
    call.expect_answered(SOON);
    // A second of greeting, a quarter of a second of beep, then two seconds of message.
    let beep_in = |heard: &[i16]| {
        (0..heard.len().saturating_sub(800))
            .step_by(400)
            .find(|&at| audio::has_tone(&heard[at..at + 800], 1000.0))
    };
    call.expect_to_hear("the beep", SOON, |heard| beep_in(heard).is_some());
    let spoken = call.sent() + 120;
    let done = strowger_tests::wait_until(SOON, || (call.sent() >= spoken).then_some(()));
    assert!(done.is_some(), "the caller speaks");
    call.hang_up();
    call.expect_ended(SOON);
    let heard = call.heard().samples;
    assert!(
        audio::has_tone(&heard[1600..6400], 700.0),
        "the greeting is heard"
    );
    let beep = beep_in(&heard).expect("the beep is heard");
    assert!(beep >= 7200, "beep at sample {beep}, after the greeting");

    let row = exchange
        .expect_cdr(
            &["uniqueid"],
            "WHERE dcontext = 'message-office' OR dst = '500'",
            1,
            SOON,
        )
        .remove(0);
    let name = format!("/tmp/{}.wav", row[0].clone().unwrap_or_default());
    let path = std::path::Path::new(&name);
    exchange.expect_log(
        &format!("after the message 100:{name}:HANGUP SUCCESS"),
        SOON,
    );
    let argv = std::fs::read_to_string(script.with_extension("php.argv")).expect("the script ran");
    assert_eq!(
        argv,
        format!(
            "--source=100\n--destination=Номер\n--emails=mail@example.com\n--attachment={name}\n"
        )
    );
    let (_, metrics) = exchange.get("/metrics").expect("the metrics");
    assert!(
        metrics.contains("strowger_agi_scripts_succeeded_total 1\n"),
        "{metrics}"
    );
    let recorded = read_wav(path).expect("the message is kept");
    std::fs::remove_file(path).expect("the message can be removed");
    let seconds = recorded.len() as f64 / 8000.0;
    assert!((1.2..30.0).contains(&seconds), "{seconds} s recorded");
    // At the end he is silent already while his hangup is on its way.
    assert!(
        recorded
            .windows(8000)
            .step_by(800)
            .any(|part| share_with_tone(part, 440.0) > 0.7),
        "the caller's tone is recorded"
    );
    assert!(
        !audio::has_tone(&recorded[..800], 1000.0),
        "the beep is not"
    );
}
