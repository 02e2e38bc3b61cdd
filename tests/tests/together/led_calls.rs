//! Calls that programs elsewhere lead: by actions of the Manager (AsyncAGI), and by servers that SRV records name (`hagi://`).

use std::io::{BufRead, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use strowger_tests::manager::{Block, ManagerClient};
use strowger_tests::{Bank, Exchange, Names, SOON, Settings};

/// Alice calls 700, which a program leads; what became of it is told by `UserEvent`, before and after the hang-up.
fn exchange(dns: Option<SocketAddr>) -> Exchange {
    let mut exchange = Exchange::prepare(Settings {
        refresh_ms: 100,
        ..Settings::default()
    });
    if let Some(dns) = dns {
        let settings = format!("[sip]\ndns = [\"{dns}\"]\n");
        let configuration = exchange.configuration().replace("[sip]\n", &settings);
        exchange.write_configuration(&configuration);
    }
    exchange.subscriber("alice", "secret", "house");
    let told = ("UserEvent", "After,Status: ${AGISTATUS},Colour: ${COLOUR}");
    exchange.extension("house", "700", &[("AGI", "agi:async,unused"), told]);
    exchange.extension(
        "house",
        "701",
        &[("AGI", "hagi://crm.test/leads?all=1,first"), told],
    );
    exchange.extension("house", "702", &[("AGI", "hagi://nobody.test/x"), told]);
    exchange.extension("house", "703", &[("Answer", ""), ("Wait", "60")]);
    exchange.extension(
        "house",
        "h",
        &[("UserEvent", "Over,Status: ${AGISTATUS},Colour: ${COLOUR}")],
    );
    for (section, name, value) in [
        ("general", "enabled", "yes"),
        ("admin", "secret", "s3cret"),
        ("admin", "read", "agi,user"),
        ("admin", "write", "agi"),
        ("guest", "secret", "g"),
        ("guest", "read", "call"),
        ("guest", "write", "call,originate"),
    ] {
        exchange.database.insert(
            "static_manager",
            &[
                ("cat_metric", "0"),
                ("var_metric", "0"),
                ("filename", "manager.conf"),
                ("category", section),
                ("var_name", name),
                ("var_val", value),
                ("commented", "0"),
            ],
        );
    }
    exchange.start();
    exchange
}

fn login(exchange: &Exchange, user: &str, secret: &str) -> ManagerClient {
    ManagerClient::login((exchange.ip(), 5038).into(), user, secret)
}

/// The bytes behind `%XX`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let hex = [rest.next().unwrap_or(b'?'), rest.next().unwrap_or(b'?')];
            let hex = std::str::from_utf8(&hex).expect("two digits");
            bytes.push(u8::from_str_radix(hex, 16).expect("a byte"));
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).expect("text")
}

fn until(manager: &mut ManagerClient, event: &str) -> Block {
    let blocks = manager.blocks_until(event, |block| block.event() == event);
    blocks.into_iter().next_back().unwrap_or_default()
}

/// Has the call do something: what events tell of it.
fn obeyed(manager: &mut ManagerClient, channel: &str, command: &str, id: &str) -> Vec<Block> {
    told(manager, channel, command, id, "AsyncAGIExec")
}

/// Has the call do something: events up to that one. The call runs beside the Manager, so that the answer to the action may
/// come before them, between them or behind them.
fn told(
    manager: &mut ManagerClient,
    channel: &str,
    command: &str,
    id: &str,
    last: &str,
) -> Vec<Block> {
    let asked = format!("{command} as {id}");
    let mut headers = vec![
        ("Action", "AGI"),
        ("ActionID", &asked),
        ("Channel", channel),
        ("Command", command),
    ];
    if !id.is_empty() {
        headers.push(("CommandID", id));
    }
    manager.send(&headers);
    let (mut events, mut taken) = (Vec::<Block>::new(), false);
    while !taken || events.last().is_none_or(|event| event.event() != last) {
        let block = manager.block().expect("what became of it");
        if !block.event().is_empty() {
            events.push(block);
        } else if block.get("ActionID") == asked {
            assert_eq!(block.get("Message"), "Added AGI command to queue");
            taken = true;
        }
    }
    events
}

#[test]
fn a_program_leads_a_call_by_the_manager_until_it_breaks_off() {
    let exchange = exchange(None);
    let bank = Bank::new();
    let mut admin = login(&exchange, "admin", "s3cret");
    let call = bank.phone("alice", "secret", exchange.sip()).call("700");
    let start = until(&mut admin, "AsyncAGIStart");
    assert_eq!(start.get("Privilege"), "agi,all");
    let channel = start.get("Channel").to_owned();
    assert!(channel.starts_with("PJSIP/alice-"), "{channel}");
    let env = decoded(start.get("Env"));
    assert!(
        env.starts_with("agi_request: async\nagi_channel: PJSIP/alice-"),
        "{env}"
    );
    assert!(env.ends_with("\n\n") && env.contains("agi_extension: 700\n"));
    assert!(!env.contains("agi_arg_1"), "{env}");

    // It leads the call: nothing was answered before it says so.
    let blocks = obeyed(&mut admin, &channel, "ANSWER", "first");
    let names: Vec<_> = blocks.iter().map(Block::event).collect();
    assert_eq!(names, ["AGIExecStart", "AGIExecEnd", "AsyncAGIExec"]);
    assert_eq!(blocks[0].get("Command"), "ANSWER");
    assert_eq!(blocks[0].get("CommandId"), blocks[1].get("CommandId"));
    assert_eq!(
        (blocks[1].get("ResultCode"), blocks[1].get("Result")),
        ("200", "Success")
    );
    assert_eq!(blocks[2].get("Result"), "200%20result%3D0%0A");
    assert_eq!(blocks[2].get("CommandId"), "first");
    assert_eq!(blocks[2].get("Channel"), channel);
    call.expect_answered(SOON);

    for (command, wanted, code) in [
        ("SET VARIABLE COLOUR \"dark red\"", "200 result=1\n", "200"),
        ("GET VARIABLE COLOUR", "200 result=1 (dark red)\n", "200"),
        ("PAINT IT", "510 Invalid or unknown command\n", "510"),
        ("EXEC NoSuchThing", "200 result=-2\n", "200"),
        (
            "GET DATA",
            "520-Invalid command syntax.  Proper usage follows:",
            "520",
        ),
    ] {
        let blocks = obeyed(&mut admin, &channel, command, "");
        let answer = blocks.last().expect("the answer");
        assert!(
            decoded(answer.get("Result")).starts_with(wanted),
            "{command}: {answer:?}"
        );
        assert_eq!(answer.get("CommandId"), "", "none was given");
        let end = &blocks[blocks.len() - 2];
        assert_eq!(end.get("ResultCode"), code, "{command}: {end:?}");
    }

    // Several at once are done one after the other.
    for number in 1..=20 {
        let (command, id) = (format!("NOOP {number}"), number.to_string());
        admin.send(&[
            ("Action", "AGI"),
            ("Channel", &channel),
            ("Command", &command),
            ("CommandID", &id),
        ]);
    }
    for number in 1..=20 {
        let answer = until(&mut admin, "AsyncAGIExec");
        assert_eq!(answer.get("CommandId"), number.to_string());
    }

    admin.send(&[
        ("Action", "AGI"),
        ("Channel", &channel),
        ("Command", "ASYNCAGI BREAK"),
    ]);
    assert_eq!(until(&mut admin, "AsyncAGIEnd").get("Channel"), channel);
    let after = until(&mut admin, "UserEvent");
    assert_eq!(
        (after.get("UserEvent"), after.get("Status")),
        ("After", "SUCCESS")
    );
    assert_eq!(after.get("Colour"), "dark red");
    call.expect_ended(SOON);
}

#[test]
fn a_call_that_ends_is_told_and_takes_no_more_commands() {
    let exchange = exchange(None);
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let mut admin = login(&exchange, "admin", "s3cret");
    let mut guest = login(&exchange, "guest", "g");

    let waiting = alice.call("703");
    waiting.expect_answered(SOON);
    let call = alice.call("700");
    let channel = until(&mut admin, "AsyncAGIStart").get("Channel").to_owned();
    obeyed(&mut admin, &channel, "ANSWER", "");
    call.expect_answered(SOON);
    assert_eq!(exchange.metric("strowger_agi_async_running"), 1);
    let ask = |manager: &mut ManagerClient, headers: &[(&str, &str)]| {
        let all = [&[("Action", "AGI")][..], headers].concat();
        let answer = manager.ask(&all);
        assert_eq!(answer.get("Response"), "Error", "{headers:?}");
        answer.get("Message").to_owned()
    };
    let required = "Both, Channel and Command are *required*";
    assert_eq!(ask(&mut admin, &[("Channel", &channel)]), required);
    assert_eq!(ask(&mut admin, &[("Command", "NOOP")]), required);
    assert_eq!(
        ask(
            &mut guest,
            &[("Channel", &channel), ("Command", "EXEC System reboot")]
        ),
        "Permission denied"
    );
    assert_eq!(
        ask(
            &mut admin,
            &[("Channel", "PJSIP/nobody-1"), ("Command", "NOOP")]
        ),
        "Channel PJSIP/nobody-1 does not exist."
    );

    // A command that takes longer than the call, and two behind it.
    let long = "WAIT FOR DIGIT 60000";
    told(&mut admin, &channel, long, "", "AGIExecStart");
    for command in ["GET VARIABLE EXTEN", "ANSWER"] {
        let answer = admin.ask(&[
            ("Action", "AGI"),
            ("Channel", &channel),
            ("Command", command),
        ]);
        assert_eq!(answer.get("Message"), "Added AGI command to queue");
    }
    call.hang_up();
    let results: Vec<_> = (0..3)
        .map(|_| decoded(until(&mut admin, "AsyncAGIExec").get("Result")))
        .collect();
    assert_eq!(
        results,
        [
            "200 result=-1\n",
            "200 result=1 (700)\n",
            "511 Command Not Permitted on a dead channel or intercept routine\n"
        ]
    );
    until(&mut admin, "AsyncAGIEnd");
    let over = until(&mut admin, "UserEvent");
    assert_eq!(
        (over.get("UserEvent"), over.get("Status")),
        ("Over", "HANGUP")
    );
    let gone = strowger_tests::wait_until(SOON, || {
        let text = ask(&mut admin, &[("Channel", &channel), ("Command", "NOOP")]);
        (text == format!("Channel {channel} does not exist.")).then_some(())
    });
    assert!(gone.is_some(), "it is there still");
    assert_eq!(exchange.metric("strowger_agi_async_running"), 0);
    assert_eq!(exchange.metric("strowger_agi_scripts_hung_up_total"), 1);
    waiting.hang_up();
}

#[test]
fn a_script_is_found_by_its_service_and_the_next_server_takes_over() {
    const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
    // Nobody but us listens there, so that no other test gets the port that is closed.
    let elsewhere = Ipv4Addr::new(127, 0, 0, 78);
    let closed = TcpListener::bind((elsewhere, 0)).expect("a listener");
    let server = TcpListener::bind((HERE, 0)).expect("a listener");
    let port = |listener: &TcpListener| listener.local_addr().expect("an address").port();
    let names = Names::start();
    names.srv("_agi._tcp.crm.test", 10, 1, port(&closed), "a.crm.test");
    names.srv("_agi._tcp.crm.test", 20, 1, port(&server), "b.crm.test");
    names.a("a.crm.test", elsewhere);
    names.a("b.crm.test", HERE);
    drop(closed);
    let exchange = exchange(Some(names.address()));
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let mut admin = login(&exchange, "admin", "s3cret");
    let call = alice.call("701");

    let (mut stream, _) = server.accept().expect("a connection");
    let mut lines = BufReader::new(stream.try_clone().expect("the same")).lines();
    let block: Vec<String> = lines
        .by_ref()
        .map(|line| line.expect("a line"))
        .take_while(|line| !line.is_empty())
        .collect();
    assert_eq!(block[0], "agi_network: yes");
    assert_eq!(block[1], "agi_network_script: leads?all=1");
    assert_eq!(block[2], "agi_request: hagi://crm.test/leads?all=1");
    assert_eq!(block.last().map(String::as_str), Some("agi_arg_1: first"));
    stream
        .write_all(b"SET VARIABLE COLOUR blue\n")
        .expect("a command");
    assert_eq!(
        lines.next().expect("an answer").expect("a line"),
        "200 result=1"
    );
    drop((lines, stream));
    let after = until(&mut admin, "UserEvent");
    assert_eq!(
        (after.get("Status"), after.get("Colour")),
        ("SUCCESS", "blue")
    );
    call.expect_ended(SOON);

    let call = alice.call("702");
    let failed = |block: &Block| block.get("UserEvent") == "After";
    let blocks = admin.blocks_until("what became of it", failed);
    assert_eq!(
        blocks.last().map(|block| block.get("Status")),
        Some("FAILURE")
    );
    call.expect_ended(SOON);
    exchange.expect_log("_agi._tcp.nobody.test has no SRV records", SOON);
}
