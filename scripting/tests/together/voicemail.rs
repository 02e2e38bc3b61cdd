//! Voice mail on whole calls: a caller leaves a message, its owner hears it, and the files are where Asterisk has them.

use std::sync::Arc;

use crate::exchange::{Exchange, Row, wait_until};
use strowger_core::voicemail::Counts;
use strowger_store::{OptionsRow, Table};

fn start(rows: &[Row<'_>]) -> Exchange {
    let exchange = Exchange::start(rows, &[]);
    let row = |options: &[(&str, &str)]| OptionsRow {
        options: options
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect(),
    };
    exchange.change_tables(|snapshot| {
        snapshot.voicemail = Arc::new(vec![
            row(&[
                ("mailbox", "100"),
                ("context", "default"),
                ("password", "12"),
                ("fullname", "Anna Berg"),
                ("envelope", "no"),
                ("maxmsg", "2"),
            ]),
            row(&[("mailbox", "200"), ("password", "34")]),
        ]);
        snapshot.versions[Table::Voicemail as usize] += 1;
    });
    for name in [
        "vm-login",
        "vm-password",
        "vm-incorrect",
        "vm-youhave",
        "vm-intro",
        "vm-msginstruct",
        "vm-opts",
        "vm-onefor",
        "vm-options",
        "vm-goodbye",
    ] {
        exchange.short_sound(name);
    }
    exchange
}

fn counts(exchange: &Exchange, mailbox: &str) -> Counts {
    exchange
        .runtime()
        .block_on(exchange.shared.mailbox_counts(mailbox))
        .expect("counted")
}

#[test]
fn a_message_is_left_heard_and_deleted() {
    let exchange = start(&[
        ("100", "VoiceMail", "100&200,s"),
        ("100", "Set", "GLOBAL(STATUS)=${VMSTATUS}"),
        (
            "101",
            "Set",
            "GLOBAL(COUNT)=${VMCOUNT(100)}/${VMCOUNT(100,Old)}/${VMCOUNT(300)}",
        ),
        ("102", "VoiceMailMain", "100,s"),
        ("103", "VoiceMail", "300,s"),
        ("103", "Set", "GLOBAL(NONE)=${VMSTATUS}"),
    ]);
    let mut changes = exchange.shared.voicemail.subscribe();
    exchange.call("100", "wwwwwwww#");
    assert_eq!(exchange.global("STATUS"), "SUCCESS");
    let home = exchange.shared.voicemail_folder();
    for mailbox in ["100", "200"] {
        let inbox = home.join("default").join(mailbox).join("INBOX");
        assert!(inbox.join("msg0000.wav").exists(), "{}", inbox.display());
        let text = std::fs::read_to_string(inbox.join("msg0000.txt")).expect("its text");
        for line in ["[message]", "callerid=\"Tester\" <tester>", "exten=100"] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(
            !home
                .join("default")
                .join(mailbox)
                .join("tmp")
                .read_dir()
                .is_ok_and(|mut left| left.next().is_some())
        );
    }
    let mut told = Vec::new();
    while let Ok(change) = changes.try_recv() {
        told.push((change.mailbox.to_string(), change.counts.new));
    }
    assert!(told.contains(&("100@default".to_owned(), 1)), "{told:?}");
    assert!(told.contains(&("200@default".to_owned(), 1)), "{told:?}");
    exchange.call("101", "");
    assert_eq!(exchange.global("COUNT"), "1/0/0");
    // He listens to it, deletes it, and leaves.
    exchange.call("102", "wwww1wwww7wwww#");
    assert_eq!(counts(&exchange, "100"), Counts { new: 0, old: 0 });
    assert_eq!(counts(&exchange, "200"), Counts { new: 1, old: 0 });
    exchange.call("103", "");
    assert_eq!(exchange.global("NONE"), "FAILED");
}

#[test]
fn who_hangs_up_has_left_a_message_and_a_heard_one_is_old() {
    let exchange = start(&[
        ("100", "VoiceMail", "100,s"),
        ("102", "VoiceMailMain", "@default"),
        ("102", "Set", "GLOBAL(LEFT)=yes"),
        ("103", "VMAuthenticate", "100"),
        ("103", "Set", "GLOBAL(WHO)=${AUTH_MAILBOX}@${AUTH_CONTEXT}"),
    ]);
    let tmp = exchange.shared.voicemail_folder().join("default/100/tmp");
    let recording = || {
        let files = tmp.read_dir().into_iter().flatten().flatten();
        files
            .filter_map(|file| file.metadata().ok())
            .any(|file| file.len() > 44)
    };
    exchange.call_until("100", "", recording);
    wait_until("the message is stored", || {
        counts(&exchange, "100").new == 1
    });
    exchange.call("103", "12#");
    assert_eq!(exchange.global("WHO"), "100@default");
    exchange.call("102", "100#12#wwww1wwwwww#");
    assert_eq!(counts(&exchange, "100"), Counts { new: 0, old: 1 });
    let old = exchange
        .shared
        .voicemail_folder()
        .join("default/100/Old/msg0000.wav");
    assert!(old.exists());
}

#[test]
fn a_wrong_password_opens_nothing_and_a_full_mailbox_takes_nothing() {
    let exchange = start(&[
        ("100", "VoiceMail", "100,s"),
        ("100", "Set", "GLOBAL(STATUS)=${VMSTATUS}"),
        ("102", "VoiceMailMain", "100"),
        ("102", "Set", "GLOBAL(IN)=yes"),
    ]);
    exchange.call("102", "99#wwwwwwww99#wwwwwwww99#");
    assert_eq!(exchange.global("IN"), "");
    for wanted in ["SUCCESS", "SUCCESS", "FAILED"] {
        exchange.call("100", "wwwwwwww#");
        assert_eq!(exchange.global("STATUS"), wanted);
    }
    assert_eq!(counts(&exchange, "100").new, 2);
}

#[test]
fn a_message_that_cannot_be_stored_is_no_success_and_stays_on_disk() {
    let exchange = start(&[
        ("100", "VoiceMail", "100,s"),
        ("h", "Set", "GLOBAL(STATUS)=${VMSTATUS}"),
    ]);
    let home = exchange.shared.voicemail_folder().join("default/100");
    let drafts = || {
        let files = home.join("tmp").read_dir().into_iter().flatten().flatten();
        files
            .filter_map(|file| file.metadata().ok())
            .filter(|file| file.len() > 44)
            .count()
    };
    exchange.call_until("100", "", || {
        if drafts() == 0 {
            return false;
        }
        // Others fill the mailbox while he speaks.
        std::fs::create_dir_all(home.join("INBOX")).expect("the folder");
        for name in ["msg0000.txt", "msg0001.txt"] {
            std::fs::write(home.join("INBOX").join(name), "[message]\n").expect("a message");
        }
        true
    });
    wait_until("it is told", || !exchange.global("STATUS").is_empty());
    assert_eq!(exchange.global("STATUS"), "FAILED");
    assert_eq!(counts(&exchange, "100").new, 2);
    assert_eq!(drafts(), 1);
}

#[test]
fn a_message_is_kept_when_the_time_of_the_call_is_over() {
    let exchange = start(&[
        ("100", "Set", "TIMEOUT(absolute)=8"),
        ("100", "VoiceMail", "100,s"),
        // Nothing was said: nothing is left.
        ("101", "Answer", ""),
        ("101", "Set", "TIMEOUT(absolute)=1"),
        ("101", "Set", "GLOBAL(READY)=yes"),
        ("101", "VoiceMail", "200,u"),
    ]);
    exchange.call("100", "");
    assert_eq!(counts(&exchange, "100").new, 1);
    // Longer than the call may last, so that it ends before the tone.
    exchange.sound("vm-theperson", 5);
    exchange.call("101", "");
    assert_eq!(exchange.global("READY"), "yes");
    assert_eq!(counts(&exchange, "200").new, 0);
}

#[test]
fn a_star_in_place_of_a_mailbox_leads_elsewhere() {
    let exchange = start(&[
        ("100", "VoiceMailMain", "@default"),
        ("a", "Set", "GLOBAL(AWAY)=yes"),
    ]);
    exchange.call("100", "*#");
    assert_eq!(exchange.global("AWAY"), "yes");
}

#[test]
fn a_temporary_greeting_is_erased_by_its_owner() {
    let exchange = start(&[("102", "VoiceMailMain", "100,s")]);
    for name in ["vm-tempgreeting2", "vm-tempremoved"] {
        exchange.short_sound(name);
    }
    let home = exchange.shared.voicemail_folder().join("default/100");
    std::fs::create_dir_all(&home).expect("the folder");
    let greeting = home.join("temp.wav");
    std::fs::write(&greeting, b"RIFF").expect("the greeting");
    // Greetings, the temporary one, erase it; and out of both menus.
    exchange.call("102", "ww0www4www2www*www#");
    assert!(!greeting.exists());
}

#[test]
fn a_recording_is_copied_into_a_mailbox() {
    let exchange = start(&[
        ("100", "Answer", ""),
        ("100", "MixMonitor", "talk.wav,m(100&300)"),
        ("100", "Wait", "1.2"),
    ]);
    let started = std::time::Instant::now();
    exchange.call("100", "");
    let longest = started.elapsed().as_secs();
    wait_until("the mailbox has it", || counts(&exchange, "100").new == 1);
    let inbox = exchange.shared.voicemail_folder().join("default/100/INBOX");
    let copy = std::fs::read(inbox.join("msg0000.wav")).expect("the copy");
    let file = exchange.shared.paths().monitor.join("talk.wav");
    assert_eq!(copy, std::fs::read(file).expect("the recording itself"));
    let text = std::fs::read_to_string(inbox.join("msg0000.txt")).expect("its text");
    let duration = text
        .lines()
        .find_map(|line| line.strip_prefix("duration=")?.parse().ok());
    assert!(
        duration.is_some_and(|seconds: u64| (1..=longest).contains(&seconds)),
        "{text}"
    );
}

#[test]
fn the_greeting_is_early_media_with_option_e() {
    let exchange = start(&[
        ("100", "VoiceMail", "100,es"),
        ("100", "Set", "GLOBAL(STATUS)=${VMSTATUS}"),
        ("101", "VoiceMail", "100,eut(none)d(away)"),
        ("1@away", "Set", "GLOBAL(AWAY)=yes"),
    ]);
    let ended = exchange.call("100", "wwwwwwww#");
    assert_eq!(
        (ended.status, ended.provisional.as_slice()),
        (200, &[183][..])
    );
    assert_eq!(exchange.global("STATUS"), "SUCCESS");
}

#[test]
fn the_directory_knows_aliases_and_leaves_out_who_hides() {
    let exchange = start(&[
        ("100", "Directory", "default,test,as"),
        (
            "100",
            "Set",
            "GLOBAL(FOUND)=${DIRECTORY_RESULT}/${DIRECTORY_EXTEN}",
        ),
        ("101", "Directory", "default,test,s"),
        (
            "101",
            "Set",
            "GLOBAL(NONE)=${DIRECTORY_RESULT}/${DIRECTORY_EXTEN}",
        ),
    ]);
    for name in [
        "dir-intro",
        "dir-instr",
        "dir-nomatch",
        "dir-nomore",
        "vm-extension",
    ] {
        exchange.short_sound(name);
    }
    exchange.change_tables(|snapshot| {
        let row = |options: &[(&str, &str)]| OptionsRow {
            options: options
                .iter()
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
                .collect(),
        };
        snapshot.voicemail = Arc::new(vec![
            row(&[
                ("mailbox", "100"),
                ("fullname", "Anna Berg"),
                ("alias", "Chief"),
            ]),
            row(&[
                ("mailbox", "200"),
                ("fullname", "Carl Chief"),
                ("hidefromdir", "yes"),
            ]),
        ]);
        snapshot.versions[Table::Voicemail as usize] += 1;
    });
    exchange.call("100", "w244#wwwww1");
    assert_eq!(exchange.global("FOUND"), "SELECTED/100");
    // Without option a nobody is found by an alias, and who hides is not found at all.
    exchange.call("101", "w244#wwww244#wwww244#");
    assert_eq!(exchange.global("NONE"), "FAILED/");
}

#[test]
fn a_message_is_stored_later_where_the_disk_hangs_behind_its_recording() {
    let exchange = start(&[
        ("100", "VoiceMail", "100,s"),
        ("h", "Set", "GLOBAL(STATUS)=${VMSTATUS}"),
    ]);
    let mailbox = exchange.shared.mailbox("100").expect("the mailbox");
    let folder = exchange.shared.voicemail_folder().join("default/100");
    let spoken = || {
        let files = folder.join("tmp").read_dir().into_iter().flatten();
        // A second and more of it is on disk: not too short to be a message.
        files
            .flatten()
            .filter_map(|file| file.metadata().ok())
            .any(|file| file.len() > 16_000)
    };
    let (release, hangs) = std::sync::mpsc::channel::<()>();
    let hangs = std::cell::Cell::new(Some(hangs));
    // He speaks for a while, and hangs up when somebody else has the files of the mailbox.
    exchange.call_until("100", "", || {
        if !spoken() {
            return false;
        }
        if let Some(hangs) = hangs.take() {
            let (tells, holds) = std::sync::mpsc::channel();
            let (shared, mailbox) = (Arc::clone(&exchange.shared), mailbox.clone());
            exchange.runtime().spawn(async move {
                let work = shared.with_mailbox(&mailbox, move |_| {
                    let _ = tells.send(());
                    let _ = hangs.recv();
                    Ok(())
                });
                let _ = work.await;
            });
            holds.recv().expect("he has the mailbox");
        }
        true
    });
    assert_eq!(exchange.global("STATUS"), "SUCCESS");
    assert!(!folder.join("INBOX/msg0000.txt").exists());
    drop(release);
    wait_until("the message is stored", || {
        counts(&exchange, "100").new == 1
    });
}

#[test]
fn a_disk_that_hangs_holds_no_call_for_long() {
    let exchange = start(&[
        ("100", "Set", "GLOBAL(COUNT)=-${VMCOUNT(100)}"),
        ("101", "VoiceMail", "100,s"),
        ("101", "Set", "GLOBAL(STATUS)=${VMSTATUS}"),
    ]);
    let mailbox = exchange.shared.mailbox("100").expect("the mailbox");
    let (release, hangs) = std::sync::mpsc::channel::<()>();
    let (tells, holds) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let (shared, runtime) = (&exchange.shared, exchange.runtime());
        let job = scope.spawn(move || {
            // Somebody works with the files of the mailbox, and the disk does not answer him.
            let work = shared.with_mailbox(&mailbox, move |_| {
                let _ = tells.send(());
                let _ = hangs.recv();
                Ok(())
            });
            runtime.block_on(work).map_err(|error| error.kind())
        });
        holds.recv().expect("he has the mailbox");
        let count = scope.spawn(|| exchange.call_once("100", ""));
        exchange.call_once("101", "");
        count.join().expect("the call ended");
        assert_eq!(exchange.global("COUNT"), "-");
        assert_eq!(exchange.global("STATUS"), "FAILED");
        assert_eq!(
            job.join().expect("the job ended"),
            Err(std::io::ErrorKind::TimedOut)
        );
        drop(release);
    });
    // The disk answers again, and so does voice mail.
    exchange.call("101", "wwwwwwww#");
    assert_eq!(exchange.global("STATUS"), "SUCCESS");
}
