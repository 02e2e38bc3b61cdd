//! The configuration of an Asterisk (`tests/asterisk`) taken over: its report, and a call through its dialplan.

use std::path::{Path, PathBuf};

use strowger_tests::{Bank, Ending, Exchange, Manner, SOON, Source, text_of};

fn office() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("asterisk")
}

/// Runs the import, and gives what it says, without what is different in each test.
#[track_caller]
fn import(exchange: &Exchange, options: &[&str]) -> String {
    let folder = office().to_string_lossy().into_owned();
    let mut arguments = vec!["import", "asterisk", &folder];
    arguments.extend(options);
    let output = exchange.run(&arguments);
    assert!(output.status.success(), "{}", text_of(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.replace(&exchange.data().display().to_string(), "DATA")
}

/// The lines that a report speaks of: file, first line, last line.
fn spoken_of(told: &str) -> Vec<(&str, usize, usize)> {
    let places = told.lines().filter_map(|line| line.split_once(": "));
    places
        .map(|(place, _)| {
            let (file, lines) = place.split_once(':').unwrap_or((place, "0"));
            let (first, last) = lines.split_once('-').unwrap_or((lines, lines));
            let number = |text: &str| text.parse().unwrap_or(0);
            (file, number(first), number(last))
        })
        .collect()
}

#[test]
fn every_line_of_the_files_is_answered_for() {
    let exchange = Exchange::new();
    let told = import(&exchange, &["--dry-run"]);
    for part in [
        ": taken: endpoint 100 -> ps_endpoints (added)\n",
        ": taken: auth provider -> ps_auths (added)\n",
        ": taken: aor 101 -> ps_aors (added)\n",
        ": taken: identify provider -> ps_endpoint_id_ips (added)\n",
        ": taken: [transport-udp], 3 lines -> static_pjsip (added)\n",
        ": taken: [phone] is a template",
        ": no equivalent: rtp_engine: kept, without effect: there is one\n",
        ": no equivalent: frobnicate: not an option of type endpoint here\n",
        "pjsip.d/101.conf:7: decide: timers of [101] says `sometimes`, which it cannot",
        "pjsip.d/101.conf:8: decide: outbound_auth of [101] names auth `nobody`",
        ": no equivalent: [office-acl] of type acl: ",
        ": taken: [from-internal], 10 lines -> static_extensions (added)\n",
        ": decide: `ingnorepat` is not a line of a context",
        ": taken: queue sales -> queues (added)\n",
        ": taken: queue sales, member PJSIP/101 -> queue_members (added)\n",
        ": no equivalent: colour of [sales]: not an option of a queue here\n",
        ": taken: mailbox 100@office -> voicemail (added)\n",
        ": taken: [zonemessages], 1 line -> static_extensions (added)\n",
        ": taken: music class office, 2 entries -> musiconhold_entry (added)\n",
        ": taken: music class radio -> musiconhold (added)\n",
        "cdr.conf:3: no equivalent: unanswered",
        "cdr_adaptive_odbc.conf:1-3: decide: [first]",
        "rtp.conf:2: decide: rtpstart=10000: write `ports",
        "modules.conf: no equivalent: there are no modules\n",
        "lucky.conf: no equivalent: nothing here reads it\n",
        "extensions.lua: taken: the dialplan in Lua -> DATA/dialplan/extensions.lua (added)\n",
        "a dry run: the database is as it was\n",
    ] {
        assert!(told.contains(part), "{part}:\n{told}");
    }
    for secret in ["secret-100", "hidden", "4321"] {
        assert!(!told.contains(secret), "{secret}:\n{told}");
    }
    let spoken = spoken_of(&told);
    let mut missing = Vec::new();
    let folders = [office(), office().join("pjsip.d")];
    let files = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).expect("a folder"));
    for path in files
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.is_file())
    {
        let name = path
            .strip_prefix(office())
            .expect("a name within")
            .display()
            .to_string();
        let text = std::fs::read_to_string(&path).expect("a text");
        let mut comment = false;
        for (number, line) in text.lines().enumerate() {
            comment = (comment || line.starts_with(";--")) && !line.starts_with("--;");
            let says_nothing =
                comment || line.trim().is_empty() || line.starts_with([';', '#', '[', '-']);
            let answered = spoken.iter().any(|(file, first, last)| {
                *file == name && (*first == 0 || (*first..=*last).contains(&(number + 1)))
            });
            if !says_nothing && !answered {
                missing.push(format!("{name}:{}: {line}", number + 1));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "nothing is said of {missing:#?}:\n{told}"
    );
    assert!(
        exchange
            .database
            .select("ps_endpoints", &["id"], "")
            .is_empty()
    );
}

/// The import of a folder of these files: whether it says that all is well, and what it says.
fn import_of(exchange: &Exchange, files: &[(&str, &str)], options: &[&str]) -> (bool, String) {
    let folder = exchange.data().join("asterisk");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    for (name, text) in files {
        std::fs::write(folder.join(name), text).expect("a file");
    }
    let folder = folder.to_string_lossy().into_owned();
    let mut arguments = vec!["import", "asterisk", &folder];
    arguments.extend(options);
    let output = exchange.run(&arguments);
    (output.status.success(), text_of(&output))
}

#[test]
fn a_missing_include_takes_no_telephone_away_and_a_file_that_cannot_be_written_is_told_at_the_end()
{
    let exchange = Exchange::new();
    let all = "#include more.conf\n[100]\ntype=aor\nmax_contacts=1\n";
    let more = "[101]\ntype=aor\nmax_contacts=2\n";
    let (well, told) = import_of(&exchange, &[("pjsip.conf", all), ("more.conf", more)], &[]);
    assert!(well && told.contains("2 added"), "{told}");
    let (well, told) = import_of(&exchange, &[("pjsip.conf", all)], &[]);
    assert!(well, "{told}");
    assert!(
        told.contains("pjsip.conf:1: decide: more.conf is not there"),
        "{told}"
    );
    let ids = || exchange.database.select("ps_aors", &["id"], "ORDER BY id");
    assert_eq!(ids().len(), 2, "{told}");
    // The database refuses one row: its file is not written, the next one is, and the report is printed all the same.
    exchange
        .database
        .execute("CREATE UNIQUE INDEX one_each ON ps_aors (max_contacts)");
    let third = format!("{all}[102]\ntype=aor\nmax_contacts=2\n");
    let queues = "[sales]\nstrategy=linear\n";
    let files = [
        ("pjsip.conf", &*third),
        ("more.conf", more),
        ("queues.conf", queues),
    ];
    let (well, told) = import_of(&exchange, &files, &[]);
    assert!(!well, "{told}");
    assert!(told.contains("pjsip.conf: failed: importing "), "{told}");
    assert!(told.contains("queue sales -> queues (added)"), "{told}");
    assert!(told.contains("1 file could not be written"), "{told}");
    assert_eq!(ids().len(), 2, "{told}");
}

#[test]
fn rules_and_patterns_keep_their_order_when_they_move_to_tables() {
    let mut exchange = Exchange::new();
    let address = "127.0.0.0/8";
    let pjsip = format!(
        "[100]\ntype=endpoint\ncontext=office\nauth=100\naors=100\nallow=alaw\npermit={address}\ndeny={address}\n\
         [100]\ntype=auth\nusername=100\npassword=secret\n[100]\ntype=aor\nmax_contacts=1\n\
         [101]\ntype=endpoint\ncontext=office\nauth=101\naors=101\nallow=alaw\ndeny=10.0.0.0/8\npermit={address}\n\
         [101]\ntype=auth\nusername=101\npassword=secret\n[101]\ntype=aor\nmax_contacts=1\n"
    );
    // The first pattern is the one that an Asterisk asks first; rows would be asked the other way round.
    let dialplan = "[office]\nexten => _1X.,1,Hangup(17)\nexten => _XXXX,1,Hangup(38)\n";
    let files = [("pjsip.conf", &*pjsip), ("extensions.conf", dialplan)];
    let (well, told) = import_of(&exchange, &files, &["--into", "realtime"]);
    assert!(well, "{told}");
    assert!(told.contains("match goes to _1X. first"), "{told}");
    exchange.start();
    let bank = Bank::new();
    let permitted = bank.phone("101", "secret", exchange.sip());
    let call = permitted.call("1234");
    assert_eq!(call.expect_ended(SOON), Ending::Status(486));
    // To an address that is denied the name does not exist.
    let denied = bank.phone("100", "secret", exchange.sip());
    let call = denied.call("1234");
    assert_eq!(call.expect_ended(SOON), Ending::Status(401));
}

#[test]
fn imported_telephones_call_each_other_through_the_imported_dialplan() {
    let mut exchange = Exchange::new();
    import(&exchange, &[]);
    let again = import(&exchange, &[]);
    assert!(again.contains("nothing changes"), "{again}");
    exchange.start();
    let bank = Bank::new();
    let alice = bank.phone("100", "secret-100", exchange.sip());
    let bob = bank.phone("101", "secret-101", exchange.sip());
    alice.register();
    bob.register();
    bob.set_manner(Manner::Manual);
    alice.set_source(Source::Tone(440.0));
    let call = alice.call("101");
    let incoming = bob.expect_call(SOON);
    incoming.ring();
    call.expect_status(180, SOON);
    incoming.answer();
    call.expect_answered(SOON);
    incoming.expect_tone(440.0, 500, SOON);
    call.hang_up();
    incoming.expect_ended(SOON);
    // Busy leads to the label of that name.
    let call = alice.call("101");
    bob.expect_call(SOON).reject(486);
    call.expect_status(486, SOON);
    // And the dialplan in Lua is there as well.
    let call = alice.call("700");
    call.expect_answered(SOON);
    call.expect_ended(SOON);
    let cdr = exchange.expect_cdr(
        &["dst"],
        "WHERE disposition = 'ANSWERED' AND dst = '101'",
        1,
        SOON,
    );
    assert_eq!(cdr[0][0].as_deref(), Some("101"));
}
