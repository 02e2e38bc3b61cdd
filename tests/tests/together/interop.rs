//! Programs that others wrote: linphone, sipsak, the scanners of sipvicious, and Kamailio between telephones and exchange.

use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use strowger_tests::audio::{last_ms, share_with_tone};
use strowger_tests::{
    Bank, Baresip, Exchange, Kamailio, Linphone, SOON, Settings, Source, wait_until,
};

fn exchange(more: &str) -> Exchange {
    Exchange::prepare(Settings {
        more: more.to_owned(),
        ..Settings::default()
    })
}

/// Waits until what linphone hears ends with a second of that tone.
#[track_caller]
fn expect_tone(phone: &Linphone, hz: f64) {
    let heard = wait_until(SOON, || {
        let heard = phone.heard();
        (heard.len() > 8000 && share_with_tone(last_ms(&heard, 1000), hz) > 0.7).then_some(())
    });
    assert!(
        heard.is_some(),
        "{hz} Hz is not heard among {} samples:\n{}",
        phone.heard().len(),
        phone.said()
    );
}

#[test]
fn linphone_calls_holds_resumes_dials_digits_and_writes_texts() {
    let mut exchange = exchange("");
    exchange.subscriber_with("anna", "secret-a", "house", &[("message_context", "texts")]);
    exchange.subscriber_with("boris", "secret-b", "house", &[("direct_media", "no")]);
    exchange.extension("house", "boris", &[("Dial", "PJSIP/boris,30,t")]);
    exchange.extension("texts", "boris", &[("MessageSend", "pjsip:boris")]);
    exchange.start();
    let mut anna = Linphone::start("anna", "secret-a", exchange.sip(), 440.0, false);
    let boris = Linphone::start("boris", "secret-b", exchange.sip(), 620.0, true);
    anna.expect_registered(SOON);
    boris.expect_registered(SOON);

    anna.dial("boris");
    anna.expect("connected.", 1, SOON);
    expect_tone(&anna, 620.0);
    expect_tone(&boris, 440.0);
    anna.command("pause");
    anna.expect("is now paused", 1, SOON);
    let quiet = wait_until(SOON, || {
        let heard = boris.heard();
        let alone = share_with_tone(last_ms(&heard, 500), 440.0) < 0.1;
        alone.then_some(())
    });
    assert!(quiet.is_some(), "who is held hears Anna no more");
    let established = anna.said().matches("Media streams established").count();
    anna.command("resume");
    anna.expect("Media streams established", established + 1, SOON);
    expect_tone(&anna, 620.0);
    expect_tone(&boris, 440.0);
    anna.command("5");
    boris.expect("Receiving tone 5", 1, SOON);
    let domain = exchange.ip();
    anna.command(&format!("chat sip:boris@{domain} \"dinner is ready\""));
    boris.expect("\"dinner is ready\"", 1, SOON);
    anna.command("terminate");
    boris.expect("ended", 1, SOON);
    let ended = wait_until(SOON, || {
        (exchange.metric("strowger_channels") == 0).then_some(())
    });
    assert!(ended.is_some(), "no channel stays");
    let answered = "WHERE disposition = 'ANSWERED' AND dst = 'boris'";
    exchange.expect_cdr(&["src"], answered, 1, SOON);
}

#[test]
fn linphone_transfers_a_call_and_is_transferred() {
    let mut exchange = exchange("");
    for user in ["anna", "boris"] {
        exchange.subscriber(user, "secret", "house");
    }
    exchange.extension("house", "boris", &[("Dial", "PJSIP/boris,30")]);
    exchange.extension("house", "echo", &[("Answer", ""), ("Echo", "")]);
    exchange.start();
    let mut anna = Linphone::start("anna", "secret", exchange.sip(), 440.0, false);
    let mut boris = Linphone::start("boris", "secret", exchange.sip(), 620.0, true);
    anna.expect_registered(SOON);
    boris.expect_registered(SOON);
    anna.dial("boris");
    anna.expect("connected.", 1, SOON);
    expect_tone(&anna, 620.0);
    let domain = exchange.ip();
    boris.command(&format!("transfer sip:echo@{domain}"));
    // Boris is gone, and Anna hears herself.
    boris.expect("ended", 1, SOON);
    expect_tone(&anna, 440.0);
    anna.command("terminate");
}

#[test]
fn telephones_behind_kamailio_register_call_and_are_hung_up_through_it() {
    let mut exchange = exchange("");
    for user in ["anna", "boris"] {
        exchange.subscriber(user, "secret", "house");
        let set = format!("UPDATE ps_aors SET support_path = 'yes' WHERE id = '{user}'");
        exchange.database.execute(&set);
        exchange.extension("house", user, &[("Dial", &format!("PJSIP/{user},30"))]);
    }
    exchange.extension(
        "house",
        "9",
        &[("Answer", ""), ("Wait", "1"), ("Hangup", "")],
    );
    exchange.start();
    let kamailio = Kamailio::start(exchange.sip());
    let through = format!(";outbound=\"sip:{};lr\"", kamailio.address());
    let at = exchange.sip();
    let mut anna = Baresip::start_with("anna", "secret", at, 440.0, false, &through);
    let boris = Baresip::start_with("boris", "secret", at, 620.0, true, &through);
    anna.expect_registered(SOON);
    boris.expect_registered(SOON);

    anna.dial("boris");
    anna.expect_event("CALL_ESTABLISHED", SOON);
    boris.expect_event("CALL_ESTABLISHED", SOON);
    std::thread::sleep(Duration::from_secs(2));
    anna.hang_up();
    boris.expect_event("CALL_CLOSED", SOON);
    anna.assert_heard(1, 620.0, 440.0);
    boris.assert_heard(1, 440.0, 620.0);
    let (phones, own) = (IpAddr::from([127, 0, 0, 1]), exchange.ip());
    assert!(kamailio.relayed("REGISTER", phones) >= 2);
    for (method, from) in [
        ("INVITE", phones),
        ("ACK", phones),
        ("BYE", phones),
        ("INVITE", own),
        ("ACK", own),
        ("BYE", own),
    ] {
        assert!(
            kamailio.relayed(method, from) >= 1,
            "no {method} from {from} went by Kamailio:\n{}",
            kamailio.log()
        );
    }
    // The exchange hangs up by the same way.
    let before = kamailio.relayed("BYE", own);
    anna.dial("9");
    let hung_up = wait_until(SOON, || {
        (kamailio.relayed("BYE", own) > before).then_some(())
    });
    assert!(
        hung_up.is_some(),
        "the BYE of the exchange goes by Kamailio"
    );
    let over = wait_until(SOON, || {
        (exchange.metric("strowger_channels") == 0).then_some(())
    });
    assert!(over.is_some(), "no channel stays");
}

/// Runs a program to its end; what it says.
fn run(program: &str, arguments: &[&str], limit: Duration) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new("timeout")
        .arg(limit.as_secs().to_string())
        .arg(program)
        .args(arguments)
        .env("HOME", folder.path())
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program} (`make setup-test`): {error}"));
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.code(), said)
}

#[test]
fn sipsak_registers_and_breaks_nothing_with_random_letters() {
    let mut exchange = exchange("");
    exchange.subscriber("anna", "secret", "house");
    exchange.start();
    let server = exchange.ip();
    let anna = format!("sip:anna@{server}");
    let contact = "sip:anna@127.0.0.1:7000";
    let account = [
        "-u", "anna", "-i", "-U", "-C", contact, "-x", "120", "-s", &anna,
    ];
    let (code, said) = run("sipsak", &[&account[..], &["-a", "secret"]].concat(), SOON);
    assert_eq!(code, Some(0), "{said}");
    let stored = wait_until(SOON, || {
        let rows = exchange
            .database
            .select("ps_contacts", &["uri"], "WHERE endpoint = 'anna'");
        rows.into_iter().flatten().flatten().next()
    });
    assert!(
        stored
            .as_ref()
            .is_some_and(|uri| uri.starts_with("sip:anna@127.0.0.1")),
        "{stored:?}"
    );
    let (code, said) = run("sipsak", &[&account[..], &["-a", "guess"]].concat(), SOON);
    assert_ne!(code, Some(0), "a wrong password is refused: {said}");
    // Requests with more and more letters replaced by others.
    let trash = ["-R", "-t", "60", "-s", &anna];
    let _ = run("sipsak", &trash, Duration::from_secs(5));
    let bank = Bank::new();
    let phone = bank.phone("anna", "secret", exchange.sip());
    phone.set_source(Source::Silence);
    assert!(phone.register() > 0, "telephones are served as before");
}

/// An exchange with the number 105, whose password is 190, and which takes this machine for a stranger.
fn scanned(more: &str) -> Exchange {
    let mut exchange = exchange(&format!("\n[protection]\nspare_loopback = false\n{more}"));
    exchange.subscriber("105", "190", "house");
    exchange.extension("house", "105", &[("Dial", "PJSIP/105")]);
    exchange.start();
    exchange
}

#[test]
fn scanners_that_say_what_they_are_hear_nothing() {
    let exchange = scanned("");
    let server = exchange.ip().to_string();
    let (_, said) = run(
        "svwar",
        &["-e100-140", "-m", "INVITE", "--force", &server],
        SOON,
    );
    assert!(!said.contains("SIP/2.0 "), "it was answered:\n{said}");
    assert!(exchange.metric("strowger_requests_of_scanners_total") > 0);
}

#[test]
fn scanners_learn_no_names_and_are_kept_out() {
    let exchange = scanned("scanners = []\n");
    let server = exchange.ip().to_string();
    for method in ["INVITE", "REGISTER", "OPTIONS"] {
        let (_, said) = run(
            "svwar",
            &["-e100-140", "-m", method, "--force", &server],
            SOON,
        );
        assert!(
            !said.contains("| 105") && said.contains("found nothing"),
            "{method} tells the number that exists from the others:\n{said}"
        );
    }
    assert!(exchange.run(&["blocked", "clear"]).status.success());
    let (_, said) = run("svcrack", &["-u105", "-r100-200", &server], SOON);
    assert!(!said.contains("| 190"), "the password was found:\n{said}");
    let banned = exchange.metric("strowger_protection_addresses_blocked_total");
    assert!(banned >= 1, "{banned} are banned:\n{said}");
}
