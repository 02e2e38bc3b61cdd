//! Scripts that lead calls (AGI): what they are told, and what each command answers.

use std::os::unix::fs::PermissionsExt;

use crate::exchange::Exchange;
use crate::scripts::{answers, beside, number, script, wait_for_quiet, with_prelude};

#[test]
fn a_script_is_told_of_the_call_and_its_arguments_byte_for_byte() {
    let exchange = Exchange::start(
        &[
            ("100", "Set", "CALLERID(name)=Иван"),
            (
                "100",
                "AGI",
                "sub/dir/told.sh,--source=\"${CALLERID(number)}\",--destination=\"Номер, два\",plain (a,b)",
            ),
            ("100", "Set", "GLOBAL(STATUS)=${AGISTATUS}"),
        ],
        &[],
    );
    let text = r#"i=0; for a in "$0" "$@"; do printf '%s\n' "$a" >> "$0.argv"; done
printf '%s\n' "$AST_AGI_DIR" "$AST_MONITOR_DIR" >> "$0.argv"
ls -l /proc/self/fd | grep -cE 'socket:|anon_inode:|sqlite|astdb' >> "$0.argv"; exit 0
"#;
    let path = script(&exchange, "sub/dir/told.sh", &with_prelude(text));
    exchange.call("100", "");
    assert_eq!(exchange.global("STATUS"), "SUCCESS");
    let told = beside(&path, ".env");
    let names: Vec<&str> = told
        .lines()
        .map(|line| line.split(": ").next().unwrap_or_default())
        .collect();
    assert_eq!(
        names.join(" "),
        "agi_request agi_channel agi_language agi_type agi_uniqueid agi_version agi_callerid agi_calleridname \
         agi_callingpres agi_callingani2 agi_callington agi_callingtns agi_dnid agi_rdnis agi_context agi_extension \
         agi_priority agi_enhanced agi_accountcode agi_threadid agi_arg_1 agi_arg_2 agi_arg_3"
    );
    for line in [
        "agi_request: sub/dir/told.sh",
        "agi_type: PJSIP",
        "agi_callerid: tester",
        "agi_calleridname: Иван",
        "agi_dnid: 100",
        "agi_rdnis: unknown",
        "agi_context: test",
        "agi_extension: 100",
        "agi_priority: 2",
        "agi_enhanced: 0.0",
        "agi_arg_1: --source=tester",
        "agi_arg_2: --destination=Номер, два",
        "agi_arg_3: plain (a,b)",
    ] {
        assert!(told.lines().any(|known| known == line), "{line}\n{told}");
    }
    let argv = beside(&path, ".argv");
    let argv: Vec<&str> = argv.lines().skip(1).collect();
    let data = exchange.data.path().canonicalize().expect("it is there");
    assert_eq!(
        argv,
        [
            "--source=tester",
            "--destination=Номер, два",
            "plain (a,b)",
            &data.join("agi-bin").display().to_string(),
            &data.join("monitor").display().to_string(),
            // No socket, ring or file of the exchange is open in it.
            "0",
        ]
    );
    wait_for_quiet(&exchange);
}

#[test]
fn how_a_script_ends_is_told_in_agistatus() {
    let exchange = Exchange::start(
        &[
            ("100", "AGI", "good.sh"),
            ("100", "Set", "GLOBAL(GOOD)=${AGISTATUS}"),
            ("100", "AGI", "bad.sh"),
            ("100", "Set", "GLOBAL(BAD)=${AGISTATUS}"),
            ("100", "AGI", "dies.sh"),
            ("100", "Set", "GLOBAL(DIES)=${AGISTATUS}"),
            ("100", "AGI", "nowhere.sh"),
            ("100", "Set", "GLOBAL(NOWHERE)=${AGISTATUS}"),
            ("100", "AGI", "folder"),
            ("100", "Set", "GLOBAL(FOLDER)=${AGISTATUS}"),
            ("100", "AGI", "closed.sh"),
            ("100", "Set", "GLOBAL(CLOSED)=${AGISTATUS}"),
            ("100", "AGI", "../secret.sh"),
            ("100", "Set", "GLOBAL(ESCAPE)=${AGISTATUS}"),
            ("100", "AGI", "agi:later"),
            ("100", "Set", "GLOBAL(LATER)=${AGISTATUS}"),
            ("100", "AGI", ""),
            ("100", "Set", "GLOBAL(NOTHING)=${AGISTATUS}"),
            ("100", "TryExec", "agi(good.sh)"),
            ("100", "Set", "GLOBAL(AGAIN)=${AGISTATUS}"),
        ],
        &[],
    );
    // Some say nothing at all and read nothing either.
    script(&exchange, "good.sh", "#!/bin/sh\nexit 0\n");
    script(&exchange, "bad.sh", "#!/bin/sh\nexit 7\n");
    script(&exchange, "dies.sh", "#!/bin/sh\nkill -9 $$\n");
    std::fs::create_dir(exchange.data.path().join("agi-bin/folder")).expect("a folder");
    let closed = script(&exchange, "closed.sh", "#!/bin/sh\n");
    std::fs::set_permissions(closed, std::fs::Permissions::from_mode(0o644)).expect("its mode");
    let secret = script(&exchange, "x", "#!/bin/sh\necho ran > \"$0.ran\"\n");
    std::fs::rename(secret, exchange.data.path().join("secret.sh")).expect("one above");
    exchange.call("100", "");
    let got = |name: &str| exchange.global(name);
    assert_eq!(got("GOOD"), "SUCCESS");
    assert_eq!(got("BAD"), "FAILURE");
    assert_eq!(got("DIES"), "FAILURE");
    assert_eq!(got("NOWHERE"), "NOTFOUND");
    assert_eq!(got("FOLDER"), "NOTFOUND");
    assert_eq!(got("CLOSED"), "FAILURE");
    assert_eq!(got("ESCAPE"), "FAILURE");
    assert!(!exchange.data.path().join("secret.sh.ran").exists());
    assert_eq!(got("LATER"), "FAILURE");
    assert_eq!(got("NOTHING"), "FAILURE");
    assert_eq!(got("AGAIN"), "SUCCESS");
    wait_for_quiet(&exchange);
    assert_eq!(number(&exchange, "scripts_not_found"), 2);
    assert_eq!(number(&exchange, "scripts_succeeded"), 2);
}

/// Commands that need no sound, with their answers, on an answered call.
#[test]
fn every_command_without_sound_answers_as_the_protocol_says() {
    let commands: &[(&str, &str)] = &[
        ("ANSWER", "200 result=0"),
        ("answer", "200 result=0"),
        ("CHANNEL STATUS", "200 result=6"),
        ("CHANNEL STATUS PJSIP/nobody-00000000", "200 result=-1"),
        ("NOOP", "200 result=0"),
        ("NOOP \"some text\"", "200 result=0"),
        ("GET VARIABLE SET_BEFORE", "200 result=1 (a b)"),
        ("GET VARIABLE NEVER_SET", "200 result=0"),
        ("GET VARIABLE EXTEN", "200 result=1 (100)"),
        ("GET VARIABLE CALLERID(num)", "200 result=1 (tester)"),
        ("GET VARIABLE NOFUNCTION(x)", "200 result=0"),
        ("SET VARIABLE NEW \"c \\\"d\\\"\"", "200 result=1"),
        ("GET VARIABLE NEW", "200 result=1 (c \"d\")"),
        ("SET VARIABLE EMPTY \"\"", "200 result=1"),
        ("GET VARIABLE EMPTY", "200 result=1 ()"),
        ("SET VARIABLE CALLERID(name) Peter", "200 result=1"),
        (
            "GET FULL VARIABLE \"${CALLERID(name)}-$[1 + 2]\"",
            "200 result=1 (Peter-3)",
        ),
        (
            "GET FULL VARIABLE ${NEW} PJSIP/nobody-00000000",
            "200 result=0",
        ),
        ("SET CALLERID \"Ann <123>\"", "200 result=1"),
        ("GET VARIABLE CALLERID(all)", "200 result=1 (\"Ann\" <123>)"),
        ("DATABASE PUT fam key \"a value\"", "200 result=1"),
        ("DATABASE GET fam key", "200 result=1 (a value)"),
        ("DATABASE DEL fam key", "200 result=1"),
        ("DATABASE DEL fam key", "200 result=0"),
        ("DATABASE GET fam key", "200 result=0"),
        ("DATABASE PUT fam a/b 1", "200 result=1"),
        ("DATABASE DELTREE fam", "200 result=0"),
        ("DATABASE DELTREE fam", "200 result=1"),
        ("VERBOSE \"hello world\" 3", "200 result=1"),
        ("EXEC NoOp", "200 result=0"),
        ("EXEC Set GLOBAL(BY_EXEC)=${SET_BEFORE}", "200 result=0"),
        ("EXEC Frobnicate x", "200 result=-2"),
        ("EXEC Goto nolabel", "200 result=-1"),
        ("SET VARIABLE AGIEXECFULL yes", "200 result=1"),
        ("EXEC Set GLOBAL(BY_FULL)=${SET_BEFORE}", "200 result=0"),
        ("WAIT FOR DIGIT 50", "200 result=0"),
        ("SET MUSIC on", "200 result=0"),
        ("SET MUSIC off", "200 result=0"),
        ("SET AUTOHANGUP 600", "200 result=0"),
        ("SET AUTOHANGUP 0", "200 result=0"),
        ("SEND TEXT hello", "200 result=0"),
        ("SEND IMAGE logo", "200 result=-1"),
        ("RECEIVE CHAR 20", "200 result=0 (timeout)"),
        ("RECEIVE TEXT 20", "200 result=-1"),
        ("TDD MODE on", "200 result=0"),
        ("SPEECH CREATE engine", "200 result=0"),
        ("ASYNCAGI BREAK", "200 result=0"),
        ("GET VARIABLE FORGED", "200 result=1 (x 200 result=1 (y))"),
        ("Frobnicate", "510 Invalid or unknown command"),
        ("", "510 Invalid or unknown command"),
    ];
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            ("100", "Set", "SET_BEFORE=a b"),
            ("100", "Set", "FORGED=${URIDECODE(x%0A200 result=1 (y))}"),
            ("100", "AGI", "commands.sh"),
            ("100", "Set", "GLOBAL(STATUS)=${AGISTATUS}"),
            ("sub", "Set", "GLOBAL(SUB)=${ARG1}/${ARG2}"),
            ("sub", "Return", "back"),
            ("sub2", "Return", ""),
            ("sub3", "NoOp", "without Return"),
        ],
        &[],
    );
    let mut text = String::new();
    for (command, _) in commands {
        text.push_str(&format!("say '{command}'\n"));
    }
    // These answer in several lines.
    text.push_str(
        "say 'GOSUB test sub 1 one,two'; read -r l; echo \"$l\" >> \"$out\"\n\
         say 'GOSUB test sub2 1'; read -r l; echo \"$l\" >> \"$out\"\n\
         say 'GOSUB test sub3 1'; read -r l; echo \"$l\" >> \"$out\"\n\
         say 'GOSUB test nowhere 1'\n\
         say 'GET DATA'; for i in 1 2 3; do IFS= read -r l; printf '%s\\n' \"$l\" >> \"$out\"; done\n\
         say 'SET PRIORITY nolabel'; for i in 1 2 3; do IFS= read -r l; printf '%s\\n' \"$l\" >> \"$out\"; done\n",
    );
    let path = script(&exchange, "commands.sh", &with_prelude(&text));
    exchange.call("100", "");
    let got = answers(&path);
    for ((command, wanted), got) in commands.iter().zip(&got) {
        assert_eq!(got, wanted, "{command}");
    }
    let rest: Vec<&str> = got
        .iter()
        .skip(commands.len())
        .map(String::as_str)
        .collect();
    assert_eq!(
        rest,
        [
            "100 result=0 Trying...",
            "200 result=0 Gosub complete (back)",
            "100 result=0 Trying...",
            "200 result=0 Gosub complete",
            "100 result=0 Trying...",
            "200 result=-1 Gosub failed",
            "200 result=-1 Gosub label not found",
            "520-Invalid command syntax.  Proper usage follows:",
            "Usage: GET DATA <file> [<timeout ms>] [<max digits>]",
            "\tPlays a sound and collects digits up to #.",
            "520 End of proper usage.",
            "520-Invalid command syntax.  Proper usage follows:",
            "Usage: SET PRIORITY <priority>",
            "\tWhere the dialplan goes on: a number or a label.",
            "520 End of proper usage.",
        ]
    );
    assert_eq!(exchange.global("BY_EXEC"), "${SET_BEFORE}");
    assert_eq!(exchange.global("BY_FULL"), "a b");
    assert_eq!(exchange.global("SUB"), "one/two");
    assert_eq!(exchange.global("STATUS"), "SUCCESS");
}

/// One call for each command that plays or listens; digits come 300 ms apart.
#[test]
fn commands_that_play_and_listen_tell_the_digit_and_the_place() {
    // Command, digits dialled, the answer: a beginning, or all of it if it ends with a dot.
    let cases: &[(&str, &str, &str)] = &[
        ("STREAM FILE short \"\"", "", "200 result=0 endpos=8000."),
        (
            "STREAM FILE short \"\" 4000",
            "",
            "200 result=0 endpos=8000.",
        ),
        ("STREAM FILE long 59", "95", "200 result=57 endpos="),
        ("STREAM FILE nothing 1", "", "200 result=-1 endpos=0."),
        ("CONTROL STREAM FILE long 5", "5", "200 result=53 endpos="),
        (
            "CONTROL STREAM FILE short 5",
            "",
            "200 result=0 endpos=1000.",
        ),
        ("GET OPTION long 12", "2", "200 result=50 endpos="),
        ("GET OPTION short 1 100", "", "200 result=0 endpos=8000."),
        ("GET OPTION short 7 60000", "57", "200 result="),
        ("GET DATA long 60000 3", "1234", "200 result=123."),
        ("GET DATA long 60000", "12#", "200 result=12."),
        ("GET DATA short 200", "", "200 result= (timeout)."),
        ("GET DATA short 2000", "4", "200 result=4 (timeout)."),
        ("WAIT FOR DIGIT -1", "*", "200 result=42."),
        ("WAIT FOR DIGIT 60000", "0", "200 result=48."),
        ("SAY DIGITS 12 \"\"", "", "200 result=0."),
        ("SAY DIGITS 1234567890123456 4", "4", "200 result=52."),
        ("SAY NUMBER 21 \"\" f", "", "200 result=0."),
        ("SAY ALPHA ab \"\"", "", "200 result=0."),
        ("SAY PHONETIC ab \"\"", "", "200 result=0."),
        ("SAY DATE 0 1", "1", "200 result=49."),
        ("SAY TIME 0 1", "1", "200 result=49."),
        ("SAY DATETIME 0 \"\" H UTC", "", "200 result=0."),
        ("SAY NUMBER many \"\"", "", "520-Invalid command syntax."),
        ("SAY DATE soon \"\"", "", "520-Invalid command syntax."),
        ("WAIT FOR DIGIT soon", "", "520-Invalid command syntax."),
        (
            "RECORD FILE rec wav # 60000 BEEP",
            "#",
            "200 result=35 (dtmf) endpos=",
        ),
        (
            "RECORD FILE rec2 wav # 500",
            "",
            "200 result=0 (timeout) endpos=",
        ),
        (
            "RECORD FILE rec3 nonsense # 500",
            "",
            "200 result=-1 (writefile).",
        ),
        (
            "RECORD FILE ../rec4 wav # 500",
            "",
            "200 result=-1 (writefile).",
        ),
        ("EXEC BackGround long", "3", "200 result=51."),
        ("EXEC Playback short", "", "200 result=0."),
    ];
    let exchange = Exchange::start(
        &[
            ("_1.", "Answer", ""),
            ("_1.", "AGI", "media-${EXTEN}.sh"),
            ("_1.", "Set", "GLOBAL(PLAYED)=${PLAYBACKSTATUS}"),
            ("3", "Hangup", ""),
        ],
        &[],
    );
    exchange.sound("short", 1);
    exchange.sound("long", 60);
    std::thread::scope(|scope| {
        for (index, (command, digits, wanted)) in cases.iter().enumerate() {
            let exchange = &exchange;
            scope.spawn(move || {
                let exten = format!("1{index}");
                let path = script(
                    exchange,
                    &format!("media-{exten}.sh"),
                    &with_prelude(&format!("say '{command}'\n")),
                );
                exchange.call_once(&exten, digits);
                let got = answers(&path);
                let got = got.first().map(String::as_str).unwrap_or_default();
                match wanted
                    .strip_suffix('.')
                    .filter(|_| !wanted.ends_with("syntax."))
                {
                    Some(all) => assert_eq!(got, all, "{command}"),
                    None => assert!(got.starts_with(wanted), "{command}: {got}"),
                }
            });
        }
    });
    let sounds = &exchange.shared.paths().sounds;
    assert!(sounds.join("rec.wav").exists() && sounds.join("rec2.wav").exists());
    assert!(!sounds.join("../rec4.wav").exists());
    wait_for_quiet(&exchange);
}

#[test]
fn a_script_chooses_where_the_dialplan_goes_on() {
    let exchange = Exchange::start(
        &[
            ("100", "AGI", "context.sh"),
            ("100", "Set", "GLOBAL(WRONG)=yes"),
            ("200@other", "NoOp", ""),
            (
                "200@other",
                "Set",
                "GLOBAL(NEXT)=${CONTEXT}/${EXTEN}/${PRIORITY}",
            ),
            ("101", "AGI", "priority.sh"),
            ("101", "Set", "GLOBAL(WRONG)=yes"),
            ("101", "Set", "GLOBAL(THIRD)=${PRIORITY}"),
            ("102", "AGI", "goto.sh"),
            ("102", "Set", "GLOBAL(WRONG)=yes"),
            ("300", "Set", "GLOBAL(GONE)=${EXTEN}"),
        ],
        &[],
    );
    script(
        &exchange,
        "context.sh",
        &with_prelude("say 'SET CONTEXT other'\nsay 'SET EXTENSION 200'\n"),
    );
    script(
        &exchange,
        "priority.sh",
        &with_prelude("say 'SET PRIORITY 3'\n"),
    );
    script(
        &exchange,
        "goto.sh",
        &with_prelude("say 'EXEC Goto 300,1'\n"),
    );
    for exten in ["100", "101", "102"] {
        exchange.call(exten, "");
    }
    assert_eq!(exchange.global("NEXT"), "other/200/2");
    assert_eq!(exchange.global("THIRD"), "3");
    assert_eq!(exchange.global("GONE"), "300");
    assert_eq!(exchange.global("WRONG"), "");
}

#[test]
fn in_extension_h_only_commands_without_the_call_are_allowed() {
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            ("100", "Set", "contact_uuid=u-1"),
            ("100", "Hangup", ""),
            (
                "h",
                "AGI",
                "dead.sh,--dialstatus=\"${DIALSTATUS}\",--contact_uuid=\"${contact_uuid}\"",
            ),
            ("h", "Set", "GLOBAL(STATUS)=${AGISTATUS}"),
            ("h", "DeadAGI", "dead.sh"),
            ("h", "Set", "GLOBAL(AGAIN)=${AGISTATUS}"),
        ],
        &[],
    );
    let commands = [
        ("GET VARIABLE contact_uuid", "200 result=1 (u-1)"),
        (
            "GET FULL VARIABLE \"${UNIQUEID:0:1}${HANGUPCAUSE}\"",
            "200 result=1 (116)",
        ),
        ("SET VARIABLE X 1", "200 result=1"),
        ("VERBOSE done 1", "200 result=1"),
        ("EXEC Set GLOBAL(FROM_H)=1", "200 result=0"),
        ("DATABASE PUT a b c", "200 result=1"),
        ("DATABASE GET a b", "200 result=1 (c)"),
        ("NOOP", "200 result=0"),
        (
            "ANSWER",
            "511 Command Not Permitted on a dead channel or intercept routine",
        ),
        (
            "STREAM FILE beep 1",
            "511 Command Not Permitted on a dead channel or intercept routine",
        ),
        (
            "HANGUP",
            "511 Command Not Permitted on a dead channel or intercept routine",
        ),
        (
            "WAIT FOR DIGIT 1",
            "511 Command Not Permitted on a dead channel or intercept routine",
        ),
    ];
    let mut text = String::new();
    for (command, _) in commands {
        text.push_str(&format!("say '{command}'\n"));
    }
    let path = script(&exchange, "dead.sh", &with_prelude(&text));
    exchange.call("100", "");
    for ((command, wanted), got) in commands.iter().zip(answers(&path)) {
        assert_eq!(got, *wanted, "{command}");
    }
    assert_eq!(exchange.global("FROM_H"), "1");
    assert_eq!(exchange.global("STATUS"), "SUCCESS");
    assert_eq!(exchange.global("AGAIN"), "SUCCESS");
}

#[test]
fn a_script_may_end_the_call_itself() {
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            ("100", "AGI", "ends.sh"),
            ("100", "Set", "GLOBAL(AFTER)=yes"),
            ("h", "Set", "GLOBAL(STATUS)=${AGISTATUS}/${HANGUPCAUSE}"),
        ],
        &[],
    );
    let path = script(
        &exchange,
        "ends.sh",
        &with_prelude("trap '' HUP\nsay HANGUP\nsay 'GET VARIABLE EXTEN'\n"),
    );
    let ended = exchange.call("100", "");
    assert!(ended.by_exchange, "{ended:?}");
    assert_eq!(answers(&path), ["200 result=1", "200 result=1 (100)"]);
    assert_eq!(exchange.global("STATUS"), "HANGUP/16");
    assert_eq!(exchange.global("AFTER"), "");
}

/// The rows of `message-office` as the product documents them, from the greeting on.
fn message_after_the_beep(attachment: &str) -> String {
    format!(
        "email/attachment.php,--source=\"${{CALLERID(number)}}\",--destination=\"Номер\",--emails=\"mail@example.com\",--attachment=\"{attachment}\""
    )
}

#[test]
fn the_scripts_of_the_product_run_if_they_are_there_and_are_built_in_if_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = folder.path().join("taken");
    let sendmail = folder.path().join("sendmail");
    std::fs::write(
        &sendmail,
        format!(
            "#!/bin/sh\nprintf '%s\\n' \"$@\" > {0}.args\ncat > {0}\n",
            taken.display()
        ),
    )
    .expect("the program");
    std::fs::set_permissions(&sendmail, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    let attachment = folder.path().join("1730267955.2409.wav");
    std::fs::write(&attachment, b"RIFF\xff\0 sound").expect("a recording");
    let row = message_after_the_beep(&attachment.display().to_string());
    let exchange = Exchange::start_configured(
        &[
            ("100", "Answer", ""),
            ("100", "Set", "CHANNEL(language)=ru"),
            ("100", "Set", "contact_uuid=u-1"),
            ("100", "Set", "DIALSTATUS=NOANSWER"),
            ("100", "Hangup", ""),
            ("h", "AGI", &row),
            ("h", "Set", "GLOBAL(MAIL)=${AGISTATUS}"),
            (
                "h",
                "AGI",
                "autodial/dialstatus.php,--dialstatus=\"${DIALSTATUS}\",--contact_uuid=\"${contact_uuid}\"",
            ),
            (
                "h",
                "Set",
                "GLOBAL(DIALLER)=${AGISTATUS}:${DB(autodial/u-1)}",
            ),
        ],
        &[],
        &[],
        |config| {
            config.mail.from = "pbx@example.com".to_owned();
            config.mail.sendmail = sendmail.display().to_string();
        },
    );
    exchange.call("100", "");
    assert_eq!(exchange.global("MAIL"), "SUCCESS");
    assert_eq!(exchange.global("DIALLER"), "SUCCESS:NOANSWER");
    let message = std::fs::read_to_string(&taken).expect("a message");
    for wanted in [
        "From: pbx@example.com",
        "To: mail@example.com",
        "filename=\"1730267955.2409.wav\"",
        "UklGRv8AIHNvdW5k",
    ] {
        assert!(message.contains(wanted), "{wanted}\n{message}");
    }
    let arguments =
        std::fs::read_to_string(format!("{}.args", taken.display())).expect("arguments");
    assert!(arguments.contains("mail@example.com"), "{arguments}");
    std::fs::remove_file(&taken).expect("it is read");

    // Installed scripts come first, with the arguments that the product gives them.
    let mail = script(
        &exchange,
        "email/attachment.php",
        &with_prelude("printf '%s\\n' \"$@\" > \"$0.argv\"\n"),
    );
    let dialler = script(
        &exchange,
        "autodial/dialstatus.php",
        &with_prelude("printf '%s\\n' \"$@\" > \"$0.argv\"\nsay 'DATABASE DEL autodial u-1'\n"),
    );
    exchange.call("100", "");
    assert_eq!(
        beside(&mail, ".argv"),
        format!(
            "--source=tester\n--destination=Номер\n--emails=mail@example.com\n--attachment={}\n",
            attachment.display()
        )
    );
    assert_eq!(
        beside(&dialler, ".argv"),
        "--dialstatus=NOANSWER\n--contact_uuid=u-1\n"
    );
    assert_eq!(exchange.global("DIALLER"), "SUCCESS:");
    assert!(!taken.exists());
}

#[test]
fn without_a_way_for_mail_the_script_is_missing() {
    let exchange = Exchange::start(
        &[
            ("100", "AGI", &message_after_the_beep("/tmp/none.wav")),
            ("100", "Set", "GLOBAL(MAIL)=${AGISTATUS}"),
        ],
        &[],
    );
    exchange.call("100", "");
    assert_eq!(exchange.global("MAIL"), "NOTFOUND");
}
