//! Scripts that lead calls (AGI) and do not behave, or are many, or are servers; and calls that end before their script.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::exchange::{Exchange, wait_until};
use crate::scripts::{answers, beside, number, script, wait_for_quiet, with_prelude};

#[test]
fn a_hangup_in_the_middle_reaches_the_script_which_may_go_on() {
    let exchange = Exchange::start(
        &[
            ("_10X", "Answer", ""),
            ("_10X", "Set", "MINE=kept"),
            ("_10X", "Set", "AGISIGHUP=${IF($[${EXTEN} = 102]?no:yes)}"),
            (
                "_10X",
                "Set",
                "AGIEXITONHANGUP=${IF($[${EXTEN} = 103]?yes:no)}",
            ),
            ("_10X", "AGI", "hup-${EXTEN}.sh"),
            ("_10X", "Set", "GLOBAL(AFTER)=yes"),
            ("h", "Set", "GLOBAL(H${HUPPED})=${AGISTATUS}"),
        ],
        &[],
    );
    let stays = |trap: &str| {
        with_prelude(&format!(
            "{trap}\nsay \"SET VARIABLE HUPPED ${{0##*-}}\"\nsay 'WAIT FOR DIGIT -1'\n\
             say 'GET VARIABLE MINE'\nsay 'STREAM FILE beep \"\"'\nsay 'CHANNEL STATUS'\nsay 'EXEC Set GLOBAL(LATE)=1'\n\
             say 'EXEC Playback beep'\necho end >> \"$out\"\n"
        ))
    };
    let dead = [
        "200 result=1",
        "200 result=-1",
        "200 result=1 (kept)",
        "511 Command Not Permitted on a dead channel or intercept routine",
        "511 Command Not Permitted on a dead channel or intercept routine",
        "200 result=0",
        "200 result=-1",
        "end",
    ];
    // Ignores the signal, ends by it, is not sent it, and is told nothing more.
    let ignores = script(&exchange, "hup-100.sh", &stays("trap '' HUP"));
    let dies = script(
        &exchange,
        "hup-101.sh",
        &stays("trap 'echo hup >> \"$out\"; exit 3' HUP"),
    );
    let quiet = script(
        &exchange,
        "hup-102.sh",
        &stays("trap 'echo hup >> \"$out\"; exit 3' HUP"),
    );
    let closed = script(&exchange, "hup-103.sh", &stays("trap '' HUP"));
    for exten in ["100", "101", "102", "103"] {
        // What the last script says after its call is not counted for this one.
        wait_for_quiet(&exchange);
        // The second command has begun: a digit is waited for.
        let waiting = number(&exchange, "commands") + 2;
        exchange.call_until(exten, "", || number(&exchange, "commands") >= waiting);
        assert_eq!(
            exchange.global(&format!("H{exten}.sh")),
            "HANGUP",
            "{exten}"
        );
    }
    assert_eq!(answers(&ignores), dead);
    assert_eq!(answers(&quiet), dead);
    let got = answers(&dies);
    assert!(got.last().is_some_and(|line| line == "hup"), "{got:?}");
    assert!(got.len() <= 3, "{got:?}");
    wait_for_quiet(&exchange);
    let got = answers(&closed);
    assert!(!got.contains(&dead[2].to_owned()), "{got:?}");
    assert_eq!(exchange.global("AFTER"), "");
    assert_eq!(number(&exchange, "scripts_hung_up"), 4);
}

#[test]
fn garbage_floods_and_endless_lines_harm_nobody() {
    let exchange = Exchange::start(
        &[
            ("_10X", "Answer", ""),
            ("_10X", "AGI", "garbage-${EXTEN}.sh"),
            ("_10X", "Set", "GLOBAL(S${EXTEN})=${AGISTATUS}"),
        ],
        &[],
    );
    // Random bytes without reading an answer; one line of a megabyte; noise on standard error; children that stay and hold
    // the pipe, silent or not.
    script(
        &exchange,
        "garbage-100.sh",
        "#!/bin/sh\nhead -c 200000 /dev/urandom\nexit 0\n",
    );
    let long = script(
        &exchange,
        "garbage-101.sh",
        &with_prelude(
            "head -c 1000000 /dev/zero | tr '\\0' x; echo\nread -r l; echo \"$l\" >> \"$out\"\nsay 'NOOP'\n",
        ),
    );
    script(
        &exchange,
        "garbage-102.sh",
        "#!/bin/sh\nhead -c 300000 /dev/urandom >&2\nexit 0\n",
    );
    script(
        &exchange,
        "garbage-103.sh",
        "#!/bin/sh\nsleep 600 &\necho $! > \"$0.pid\"\nexit 0\n",
    );
    for (exten, noise) in [("104", "cat /dev/zero"), ("105", "yes")] {
        script(
            &exchange,
            &format!("garbage-{exten}.sh"),
            &format!("#!/bin/sh\n{noise} &\necho $! > \"$0.pid\"\nexit 0\n"),
        );
    }
    for exten in ["100", "101", "102", "103", "104", "105"] {
        let began = Instant::now();
        exchange.call(exten, "");
        assert_eq!(exchange.global(&format!("S{exten}")), "SUCCESS", "{exten}");
        assert!(began.elapsed() < Duration::from_secs(25), "{exten}");
    }
    assert_eq!(
        answers(&long),
        ["510 Invalid or unknown command", "200 result=0"]
    );
    assert!(number(&exchange, "lines_too_long") >= 1);
    wait_for_quiet(&exchange);
    let left_behind = |exten: &str| {
        let path = exchange.data.path().join("agi-bin");
        beside(&path.join(format!("garbage-{exten}.sh")), ".pid")
    };
    // Nobody listens to the noise any longer, and it ended.
    for exten in ["104", "105"] {
        wait_until("it is gone", || !runs(&left_behind(exten)));
    }
    // Who is silent may stay.
    assert!(runs(&left_behind("103")));
    end(&left_behind("103"));
}

/// Is there a process of this number that is not dead?
fn runs(pid: &str) -> bool {
    let pid = pid.trim();
    assert!(!pid.is_empty(), "the number of the process was written");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().unwrap_or_default();
    !state.is_empty() && !state.starts_with('Z')
}

fn end(pid: &str) {
    let ended = std::process::Command::new("kill").arg(pid.trim()).status();
    assert!(ended.expect("kill runs").success(), "{pid}");
}

#[test]
fn a_script_that_reads_no_answers_holds_no_call_that_is_over() {
    let exchange = Exchange::start_configured(
        &[
            ("100", "Answer", ""),
            ("100", "AGI", "deaf.sh"),
            ("900", "Set", "GLOBAL(COUNT)=$[0${COUNT} + 1]"),
            ("900", "Return", "${LONG}"),
            ("h", "Set", "GLOBAL(H)=${AGISTATUS}"),
        ],
        &[],
        &[],
        |config| config.agi.after_hangup_s = 1,
    );
    // Long answers: the pipe is soon full, and what waits next is that a subroutine begins.
    script(
        &exchange,
        "deaf.sh",
        "#!/bin/sh\nlong=$(head -c 2000 /dev/zero | tr '\\0' x)\necho \"SET VARIABLE LONG $long\"\n\
         while :; do echo 'GOSUB test 900 1'; done\n",
    );
    let seen = Mutex::new((String::new(), Instant::now()));
    exchange.call_until("100", "", || {
        let mut seen = seen.lock().expect("nobody else has it");
        let count = exchange.global("COUNT");
        if count != seen.0 {
            *seen = (count, Instant::now());
        }
        !seen.0.is_empty() && seen.1.elapsed() > Duration::from_millis(500)
    });
    assert_eq!(exchange.global("H"), "HANGUP");
    wait_for_quiet(&exchange);
}

#[test]
fn a_command_of_a_script_that_hangs_is_given_up_after_the_call() {
    let exchange = Exchange::start_configured(
        &[
            ("100", "Hangup", ""),
            ("h", "AGI", "hangs.sh"),
            ("h", "Set", "GLOBAL(H)=${AGISTATUS}"),
        ],
        &[],
        &[],
        |config| config.agi.after_hangup_s = 5,
    );
    let path = script(
        &exchange,
        "hangs.sh",
        &with_prelude("say \"EXEC System \\\"echo \\$\\$ > $0.pid; exec sleep 600\\\"\"\n"),
    );
    let began = Instant::now();
    exchange.call("100", "");
    assert!(began.elapsed() < Duration::from_secs(25));
    assert_eq!(exchange.global("H"), "FAILURE");
    wait_for_quiet(&exchange);
    // A command of the system goes on without its call.
    wait_until("it told its number", || {
        beside(&path, ".pid").ends_with('\n')
    });
    end(&beside(&path, ".pid"));
}

#[test]
fn a_server_that_says_no_more_still_gets_its_answers() {
    let (listener, address) = server();
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            ("100", "AGI", &format!("agi://{address}")),
            ("100", "Set", "GLOBAL(STATUS)=${AGISTATUS}"),
        ],
        &[],
    );
    std::thread::scope(|scope| {
        let led = scope.spawn(|| {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut reader = BufReader::new(stream.try_clone().expect("twice"));
            block(&mut reader);
            stream
                .write_all(b"NOOP\nEXEC Wait 1\nGET VARIABLE EXTEN\n")
                .expect("sent");
            stream
                .shutdown(std::net::Shutdown::Write)
                .expect("half of it is closed");
            let mut told = String::new();
            reader.read_to_string(&mut told).expect("all of it");
            told
        });
        exchange.call("100", "");
        assert_eq!(
            led.join().expect("the server"),
            "200 result=0\n200 result=0\n200 result=1 (100)\n"
        );
    });
    assert_eq!(exchange.global("STATUS"), "SUCCESS");
    wait_for_quiet(&exchange);
}

#[test]
fn a_command_of_shell_ends_with_its_time_and_with_its_call() {
    let slow = |name: &str| {
        format!(
            "GLOBAL(S{name})=${{SHELL(cd ${{ASTAGIDIR}}; sleep 600 & echo $! > {name}.pid; wait)}}x"
        )
    };
    let (late, left) = (slow("late"), slow("left"));
    let pid = |exchange: &Exchange, name: &str| {
        let path = exchange.data.path().join("agi-bin").join(name);
        beside(&path, ".pid")
    };
    let exchange = Exchange::start_configured(
        &[("100", "Answer", ""), ("100", "Set", &late)],
        &[],
        &[],
        |config| config.agi.shell_s = 5,
    );
    std::fs::create_dir_all(exchange.data.path().join("agi-bin")).expect("the folder");
    exchange.call("100", "");
    assert_eq!(exchange.global("Slate"), "x");
    assert_eq!(number(&exchange, "shells_killed"), 1);
    wait_until("it is gone", || !runs(&pid(&exchange, "late")));
    // By its call, not by its time, which is the usual one here.
    let exchange = Exchange::start(
        &[
            ("101", "Answer", ""),
            ("101", "Set", "CHANNEL(language)=ru"),
            ("101", "Set", &left),
            ("h", "Set", "GLOBAL(H)=yes"),
        ],
        &[],
    );
    std::fs::create_dir_all(exchange.data.path().join("agi-bin")).expect("the folder");
    let began = Instant::now();
    exchange.call_until("101", "", || !pid(&exchange, "left").is_empty());
    assert_eq!(exchange.global("H"), "yes");
    wait_until("it is gone", || !runs(&pid(&exchange, "left")));
    assert!(began.elapsed() < Duration::from_secs(60));
    assert_eq!(number(&exchange, "shells_killed"), 1);
    wait_until("its place is free", || {
        number(&exchange, "shells_running") == 0
    });
}

#[test]
fn scripts_read_functions_that_wait() {
    let exchange = Exchange::start(
        &[
            ("100", "Set", "AGIEXECFULL=yes"),
            ("100", "AGI", "reads.sh"),
        ],
        &[],
    );
    let path = script(
        &exchange,
        "reads.sh",
        &with_prelude(
            "say 'GET VARIABLE \"SHELL(printf one)\"'\n\
             say 'GET FULL VARIABLE \"<${SHELL(printf two):1}$[${SHELL(echo 2)} + 1]${EXTEN}${${SET(N=EXTEN)}}>\"'\n\
             say 'EXEC Set \"GLOBAL(FULL)=${STAT(d,.)}\"'\n",
        ),
    );
    exchange.call("100", "");
    assert_eq!(
        answers(&path),
        [
            "200 result=1 (one)",
            "200 result=1 (<wo3100100>)",
            "200 result=0"
        ]
    );
    assert_eq!(exchange.global("FULL"), "1");
}

#[test]
fn programs_do_not_see_the_settings_of_the_exchange() {
    const NAME: &str = "agi_limits::programs_do_not_see_the_settings_of_the_exchange";
    // The environment of this process belongs to all tests: another one is made that has a secret in it.
    if std::env::var_os("STROWGER_DATABASE_URL").is_none() {
        let status = std::process::Command::new(std::env::current_exe().expect("this test"))
            .args([NAME, "--exact"])
            .env("STROWGER_DATABASE_URL", "s3cret")
            .status();
        assert!(status.expect("it runs").success());
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let sendmail = folder.path().join("sendmail");
    let exchange = Exchange::start_configured(
        &[
            ("100", "AGI", "sees.sh"),
            ("100", "System", "env > ${ASTAGIDIR}/system"),
            ("100", "Set", "GLOBAL(SHELL)=${SHELL(env)}"),
            ("100", "AGI", "email/attachment.php,--emails=a@example.com"),
            ("100", "Set", "GLOBAL(MAIL)=${AGISTATUS}"),
        ],
        &[],
        &[],
        |config| {
            config.mail.from = "pbx@example.com".to_owned();
            config.mail.sendmail = sendmail.display().to_string();
        },
    );
    let text = "#!/bin/sh\nenv > \"$0.sees\"\n";
    let path = script(&exchange, "sees.sh", text);
    std::fs::copy(&path, &sendmail).expect("the program");
    exchange.call("100", "");
    assert_eq!(exchange.global("MAIL"), "SUCCESS");
    let system = std::fs::read_to_string(path.with_file_name("system")).expect("it ran");
    for seen in [
        beside(&path, ".sees"),
        beside(&sendmail, ".sees"),
        system,
        exchange.global("SHELL"),
    ] {
        assert!(seen.contains("PATH="), "{seen}");
        assert!(!seen.contains("s3cret"), "{seen}");
    }
}

#[test]
fn a_script_that_does_not_end_after_its_call_is_ended() {
    let exchange = Exchange::start_configured(
        &[
            ("100", "Answer", ""),
            ("100", "AGI", "stuck.sh"),
            ("h", "Set", "GLOBAL(FIRST)=${AGISTATUS}"),
            ("h", "AGI", "stuck.sh"),
            ("h", "Set", "GLOBAL(SECOND)=${AGISTATUS}"),
        ],
        &[],
        &[],
        |config| config.agi.after_hangup_s = 1,
    );
    // Neither HUP nor TERM ends it, nor what it started.
    let path = script(
        &exchange,
        "stuck.sh",
        &with_prelude(
            "trap '' HUP TERM\necho there > \"$0.there\"\n(trap '' HUP TERM; echo 1 > \"$0.child\"; sleep 600) &\nsleep 600\nsleep 600\n",
        ),
    );
    exchange.call_until("100", "", || !beside(&path, ".there").is_empty());
    assert_eq!(exchange.global("FIRST"), "HANGUP");
    assert_eq!(exchange.global("SECOND"), "FAILURE");
    wait_for_quiet(&exchange);
    assert_eq!(number(&exchange, "scripts_killed"), 2);
    // None of them is left, dead or alive.
    let name = path.display().to_string();
    wait_until("no process of the script is left", || {
        let listed = std::process::Command::new("ps")
            .args(["-eo", "stat,args"])
            .output()
            .expect("ps runs");
        !String::from_utf8_lossy(&listed.stdout).contains(&name)
    });
}

#[test]
fn two_hundred_at_once_take_turns_at_twenty_places() {
    let exchange = Exchange::start_configured(
        &[
            ("100", "Answer", ""),
            ("100", "AGI", "count.sh"),
            ("100", "Set", "GLOBAL(DONE)=$[0${DONE} + 1]"),
            (
                "100",
                "ExecIf",
                "$[\"${AGISTATUS}\" = \"SUCCESS\"]?Set(GLOBAL(GOOD)=$[0${GOOD} + 1])",
            ),
        ],
        &[],
        &[],
        |config| {
            config.agi.processes_max = 20;
            config.agi.queue_wait_s = 120;
        },
    );
    script(
        &exchange,
        "count.sh",
        &with_prelude("say 'GET VARIABLE EXTEN'\nsleep 0.2\n"),
    );
    let most = Mutex::new(0);
    std::thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| exchange.call_once("100", ""));
        }
        let began = Instant::now();
        while exchange.global("DONE") != "200" {
            assert!(
                began.elapsed() < Duration::from_secs(120),
                "{} of 200",
                exchange.global("DONE")
            );
            let now = number(&exchange, "processes_running");
            let mut most = most.lock().expect("nobody else has it");
            *most = now.max(*most);
            drop(most);
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    assert_eq!(exchange.global("GOOD"), "200");
    assert_eq!(*most.lock().expect("nobody else has it"), 20);
    wait_for_quiet(&exchange);
    assert_eq!(number(&exchange, "scripts_waiting"), 0);
}

#[test]
fn who_finds_no_place_in_time_goes_on_without_a_script() {
    let exchange = Exchange::start_configured(
        &[
            ("100", "Answer", ""),
            ("100", "AGI", "holds.sh"),
            ("101", "AGI", "holds.sh"),
            ("101", "Set", "GLOBAL(REFUSED)=${AGISTATUS}"),
        ],
        &[],
        &[],
        |config| {
            config.agi.processes_max = 1;
            config.agi.queue_wait_s = 0;
        },
    );
    let path = script(
        &exchange,
        "holds.sh",
        &with_prelude("echo there > \"$0.there\"\nsay 'WAIT FOR DIGIT -1'\n"),
    );
    std::thread::scope(|scope| {
        scope.spawn(|| {
            exchange.call_until("100", "", || !exchange.global("REFUSED").is_empty());
        });
        wait_until("the place is taken", || !beside(&path, ".there").is_empty());
        exchange.call_once("101", "");
    });
    assert_eq!(exchange.global("REFUSED"), "FAILURE");
    assert_eq!(number(&exchange, "scripts_refused"), 1);
}

/// Reads up to the empty line.
fn block(reader: &mut impl BufRead) -> String {
    let mut block = String::new();
    while !block.ends_with("\n\n") {
        assert_ne!(
            reader.read_line(&mut block).expect("the block"),
            0,
            "{block}"
        );
    }
    block
}

fn ask(stream: &mut TcpStream, reader: &mut impl BufRead, command: &str) -> String {
    writeln!(stream, "{command}").expect("sent");
    let mut line = String::new();
    reader.read_line(&mut line).expect("an answer");
    line.trim_end().to_owned()
}

fn server() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

#[test]
fn a_server_leads_the_call_and_is_told_of_the_hangup() {
    let (listener, address) = server();
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            (
                "100",
                "AGI",
                &format!("agi://{address}/path/x?a=b,one,\"two, three\""),
            ),
            ("100", "Set", "GLOBAL(STATUS)=${AGISTATUS}"),
            ("101", "Answer", ""),
            ("101", "AGI", &format!("agi://{address}")),
            ("h", "Set", "GLOBAL(H)=${AGISTATUS}"),
        ],
        &[],
    );
    let there = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let led = scope.spawn(|| {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut reader = BufReader::new(stream.try_clone().expect("twice"));
            let told = block(&mut reader);
            let got = ask(&mut stream, &mut reader, "GET VARIABLE EXTEN");
            (told, got)
        });
        exchange.call("100", "");
        let (told, got) = led.join().expect("the server");
        assert!(
            told.starts_with(&format!(
                "agi_network: yes\nagi_network_script: path/x?a=b\nagi_request: agi://{address}/path/x?a=b\nagi_channel: "
            )),
            "{told}"
        );
        assert!(
            told.contains("agi_arg_1: one\nagi_arg_2: two, three\n\n"),
            "{told}"
        );
        assert_eq!(got, "200 result=1 (100)");
        assert_eq!(exchange.global("STATUS"), "SUCCESS");

        let led = scope.spawn(|| {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut reader = BufReader::new(stream.try_clone().expect("twice"));
            block(&mut reader);
            // Who is answered is listened to.
            assert_eq!(ask(&mut stream, &mut reader, "NOOP"), "200 result=0");
            there.store(true, Ordering::Relaxed);
            let mut line = String::new();
            reader.read_line(&mut line).expect("the hang-up");
            (line, ask(&mut stream, &mut reader, "ANSWER"))
        });
        exchange.call_until("101", "", || there.load(Ordering::Relaxed));
        let (line, got) = led.join().expect("the server");
        assert_eq!(line, "HANGUP\n");
        assert_eq!(
            got,
            "511 Command Not Permitted on a dead channel or intercept routine"
        );
        assert_eq!(exchange.global("H"), "HANGUP");
    });
    wait_for_quiet(&exchange);
}

#[test]
fn a_server_that_hangs_holds_neither_the_call_nor_its_end() {
    let (listener, address) = server();
    let nobody = {
        let (closed, address) = server();
        drop(closed);
        address
    };
    let exchange = Exchange::start_configured(
        &[
            ("100", "Answer", ""),
            ("100", "AGI", &format!("agi://{nobody}/x")),
            ("100", "Set", "GLOBAL(NOBODY)=${AGISTATUS}"),
            ("100", "AGI", "agi://host:port/x"),
            ("100", "Set", "GLOBAL(WRONG)=${AGISTATUS}"),
            ("100", "Set", "TIMEOUT(absolute)=1"),
            ("100", "AGI", &format!("agi://{address}/hangs")),
            ("T", "Set", "GLOBAL(T)=${AGISTATUS}"),
            ("101", "Answer", ""),
            ("101", "AGI", &format!("agi://{address}/hangs")),
            ("h", "Set", "GLOBAL(H)=${AGISTATUS}"),
        ],
        &[],
        &[],
        |config| config.agi.after_hangup_s = 1,
    );
    // It takes connections and neither reads nor writes.
    exchange.call("100", "");
    assert_eq!(exchange.global("NOBODY"), "FAILURE");
    assert_eq!(exchange.global("WRONG"), "FAILURE");
    assert_eq!(exchange.global("T"), "HANGUP");
    wait_for_quiet(&exchange);
    exchange.call_until("101", "", || number(&exchange, "connections_running") > 0);
    assert_eq!(exchange.global("H"), "HANGUP");
    wait_for_quiet(&exchange);
    // The exchange has closed both.
    for _ in 0..2 {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut all = String::new();
        stream.read_to_string(&mut all).expect("its end");
        assert!(all.starts_with("agi_network: yes\n"), "{all}");
    }
}

#[test]
fn a_message_goes_to_a_mail_server() {
    let (listener, address) = server();
    let exchange = Exchange::start_configured(
        &[
            (
                "100",
                "AGI",
                "email/attachment.php,--source=1,--destination=2,--emails=a@example.com",
            ),
            ("100", "Set", "GLOBAL(MAIL)=${AGISTATUS}"),
        ],
        &[],
        &[],
        |config| {
            config.mail.from = "pbx@example.com".to_owned();
            config.mail.smtp = format!("smtp://{address}");
        },
    );
    std::thread::scope(|scope| {
        let served = scope.spawn(|| {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut reader = BufReader::new(stream.try_clone().expect("twice"));
            let mut told = String::new();
            let mut data = false;
            writeln!(stream, "220 test\r").expect("sent");
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).expect("a line") == 0 {
                    return told;
                }
                told.push_str(&line);
                let reply = match line.split_whitespace().next().unwrap_or_default() {
                    "." if data => {
                        data = false;
                        "250 taken"
                    }
                    _ if data => continue,
                    "DATA" => {
                        data = true;
                        "354 go on"
                    }
                    "QUIT" => {
                        writeln!(stream, "221 bye\r").expect("sent");
                        return told;
                    }
                    _ => "250 test",
                };
                writeln!(stream, "{reply}\r").expect("sent");
            }
        });
        exchange.call("100", "");
        assert_eq!(exchange.global("MAIL"), "SUCCESS");
        let told = served.join().expect("the server");
        assert!(told.contains("RCPT TO:<a@example.com>"), "{told}");
        assert!(told.contains("Subject: Voice message from 1"), "{told}");
    });
}
