//! The Manager interface and those who want more of it than they may: rights, passwords, sessions and time limits.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use md5::{Digest as _, Md5};
use strowger_tests::manager::ManagerClient;
use strowger_tests::{Exchange, SOON, wait_until};

use crate::manager::{address, admin, exchange, exchange_with, fetch};

#[test]
fn who_may_not_administer_the_system_reaches_no_further_than_a_call() {
    let exchange = exchange(&[
        ("guest", "secret", "g"),
        ("guest", "write", "call,reporting,originate"),
    ]);
    let mut admin = admin(&exchange);
    let mut guest = ManagerClient::login(address(&exchange), "guest", "g");
    let get = |client: &mut ManagerClient, variable: &str| {
        let answer = client.ask(&[("Action", "Getvar"), ("Variable", variable)]);
        (
            answer.get("Value").to_owned(),
            answer.get("Message").to_owned(),
        )
    };
    let set = |client: &mut ManagerClient, variable: &str, value: &str| {
        let answer = client.ask(&[
            ("Action", "Setvar"),
            ("Variable", variable),
            ("Value", value),
        ]);
        answer.get("Message").to_owned()
    };
    let denied = || (String::new(), "Permission denied".to_owned());
    let is = |value: &str| (value.to_owned(), String::new());

    // Functions that need no channel work without one.
    assert_eq!(set(&mut admin, "DB(house/door)", "shut"), "Variable Set");
    assert_eq!(get(&mut admin, "DB(house/door)"), is("shut"));
    assert_eq!(get(&mut guest, "DEVICE_STATE(Custom:lamp)"), is("UNKNOWN"));
    assert_eq!(
        set(&mut guest, "DEVICE_STATE(Custom:lamp)", "INUSE"),
        "Variable Set"
    );
    assert_eq!(get(&mut guest, "DEVICE_STATE(Custom:lamp)"), is("INUSE"));

    for variable in [
        "DB_DELETE(house/door)",
        "DB(house/door)",
        "EVAL(${DB_DELETE(house/door)})",
        "AST_CONFIG(manager.conf,admin,secret)",
        "ENV(HOME)",
        "SHELL(id)",
    ] {
        assert_eq!(get(&mut guest, variable), denied(), "{variable}");
    }
    for variable in [
        "DB(house/door)",
        "DIALGROUP(all,add)",
        "GLOBAL_DELETE(x)",
        // Of these, applications take commands and files.
        "MONITOR_EXEC",
        "__touch_mixmonitor",
        "MIXMONITOR_COMMAND",
    ] {
        assert_eq!(
            set(&mut guest, variable, "open"),
            "Permission denied",
            "{variable}"
        );
    }
    assert_eq!(get(&mut admin, "DB(house/door)"), is("shut"));
    let listed = guest.ask(&[("Action", "Status"), ("Variables", "DB(house/door)")]);
    assert_eq!(listed.get("Message"), "Permission denied");
    let many = vec!["x"; 65].join(",");
    let listed = guest.ask(&[("Action", "Status"), ("Variables", &many)]);
    assert_eq!(listed.get("Message"), "Too many Variables: 64 are the most");

    for (application, data) in [
        ("System ", "id"),
        ("ExecIfTime", "*,*,*,*?System(id)"),
        ("Originate", "Local/300@house,app,System,id"),
        ("Set", "REALTIME_STORE(ps_auths,id)=x"),
        ("Set", "DB(house/door)=open"),
    ] {
        let answer = guest.ask(&[
            ("Action", "Originate"),
            ("Channel", "Local/300@house"),
            ("Application", application),
            ("Data", data),
        ]);
        assert_eq!(
            answer.get("Message"),
            "Originate Access Forbidden: app or data blacklisted",
            "{application}"
        );
    }
}

#[test]
fn an_application_that_is_permitted_starts_none_that_is_not() {
    let exchange = exchange(&[("guest", "secret", "g"), ("guest", "write", "originate")]);
    exchange
        .database
        .insert("queues", &[("name", "desk"), ("strategy", "ringall")]);
    let mut guest = ManagerClient::login(address(&exchange), "guest", "g");
    // A member that answers at once, and a script that runs then.
    let script = exchange.data().join("agi");
    std::fs::create_dir_all(&script).expect("the folder of scripts");
    let mark = exchange.data().join("mark");
    let path = script.join("mark.sh");
    std::fs::write(&path, format!("#!/bin/sh\ntouch {}\n", mark.display())).expect("a script");
    let mut rights = std::fs::metadata(&path).expect("its rights").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut rights, 0o755);
    std::fs::set_permissions(&path, rights).expect("its rights");
    exchange.database.insert(
        "queue_members",
        &[
            ("uniqueid", "1"),
            ("queue_name", "desk"),
            ("interface", "Local/300@house/n"),
        ],
    );
    std::thread::sleep(Duration::from_millis(500));
    let data = format!("desk,,,,10,{}", path.display());
    let answer = guest.ask(&[
        ("Action", "Originate"),
        ("Channel", "Local/300@house"),
        ("Application", "Queue"),
        ("Data", &data),
    ]);
    assert_eq!(answer.get("Message"), "Originate successfully queued");
    exchange.expect_log("reaches further than its call", SOON);
    assert!(!mark.exists(), "the script ran");
}

#[test]
fn failed_logins_are_told_by_their_reason_and_shut_their_address_out() {
    let exchange = exchange_with(
        &[
            ("general", "webenabled", "yes"),
            ("far", "secret", "f"),
            ("far", "deny", "0.0.0.0/0"),
            ("far", "permit", "192.0.2.0/24"),
        ],
        "\n[protection]\nspare_loopback = false\nfailures = 5\nknown_s = 0\n",
    );
    let mut admin = admin(&exchange);
    let mut fail = |user: &str, secret: &str| {
        let mut client = ManagerClient::connect(address(&exchange));
        let answer = client.ask(&[("Action", "Login"), ("Username", user), ("Secret", secret)]);
        assert_eq!(answer.get("Message"), "Authentication failed");
        let blocks =
            admin.blocks_until("the security event", |block| block.get("Service") == "AMI");
        let told = blocks.last().expect("the event").clone();
        assert_eq!(told.get("AccountID"), user);
        assert!(told.get("RemoteAddress").starts_with("IPV4/TCP/127."));
        told.event().to_owned()
    };
    assert_eq!(fail("admin", "wrong"), "InvalidPassword");
    assert_eq!(fail("nobody", "x"), "InvalidAccountID");
    // The right secret or a wrong one: from the wrong place nobody learns which.
    assert_eq!(fail("far", "f"), "FailedACL");
    let far = Digest::asked(&exchange);
    for secret in ["f", "wrong"] {
        let (status, _, _) = far.get(&exchange, "far", secret, "/arawman?action=ping", 1);
        assert_eq!(status, 403, "{secret}");
    }
    let mut closed = TcpStream::connect(address(&exchange)).expect("the port");
    closed.set_read_timeout(Some(SOON)).expect("a time limit");
    let mut text = String::new();
    let _ = closed.read_to_string(&mut text);
    assert_eq!(text, "", "an address that is kept out is not greeted");
    let (status, _, _) = fetch(&exchange, "/rawman?action=ping", "");
    assert_eq!(status, 403);
}

/// A nonce, and requests that prove themselves with it.
struct Digest(String);

impl Digest {
    fn of(head: &str) -> Self {
        let nonce = head.split("nonce=\"").nth(1);
        let nonce = nonce.and_then(|rest| rest.split('"').next());
        Self(nonce.expect("a nonce").to_owned())
    }

    fn asked(exchange: &Exchange) -> Self {
        let (status, head, _) = fetch(exchange, "/arawman?action=ping", "");
        assert_eq!(status, 401);
        Self::of(&head)
    }

    fn get(
        &self,
        exchange: &Exchange,
        user: &str,
        secret: &str,
        path: &str,
        count: u32,
    ) -> (u16, String, String) {
        let hash = |text: String| {
            let bytes = Md5::digest(text);
            bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        let nonce = &self.0;
        let first = hash(format!("{user}:asterisk:{secret}"));
        let second = hash(format!("GET:{path}"));
        let response = hash(format!("{first}:{nonce}:{count:08x}:c:auth:{second}"));
        let header = format!(
            "Authorization: Digest username=\"{user}\", realm=\"asterisk\", nonce=\"{nonce}\", uri=\"{path}\", response=\"{response}\", qop=auth, nc={count:08x}, cnonce=\"c\"\r\n"
        );
        fetch(exchange, path, &header)
    }
}

#[test]
fn strangers_over_http_take_no_place_from_anybody() {
    let exchange = exchange(&[("general", "webenabled", "yes")]);
    for _ in 0..130 {
        fetch(&exchange, "/rawman?action=ping", "");
        fetch(&exchange, "/arawman?action=ping", "");
        fetch(&exchange, "/rawman?action=challenge&authtype=md5", "");
    }
    let (_, _, body) = fetch(
        &exchange,
        "/rawman?action=login&username=admin&secret=s3cret",
        "",
    );
    assert!(body.contains("Authentication accepted"), "{body}");
    let digest = Digest::asked(&exchange);
    let (status, _, body) = digest.get(&exchange, "admin", "s3cret", "/arawman?action=ping", 1);
    assert_eq!(status, 200);
    assert!(body.contains("Ping: Pong"), "{body}");
}

#[test]
fn a_digest_is_good_once_for_its_user_and_for_as_many_sessions_as_he_may_have() {
    let exchange = exchange(&[
        ("general", "webenabled", "yes"),
        ("single", "secret", "s"),
        ("single", "read", "all"),
        ("single", "write", "all"),
        ("single", "allowmultiplelogin", "no"),
    ]);
    let first = Digest::asked(&exchange);
    let ping = |digest: &Digest, count| {
        let (status, ..) = digest.get(&exchange, "single", "s", "/arawman?action=ping", count);
        status
    };
    assert_eq!(ping(&first, 1), 200);
    assert_eq!(ping(&first, 2), 200);
    assert_eq!(ping(&first, 2), 401, "a request that is repeated");
    assert_eq!(ping(&Digest::asked(&exchange), 1), 403, "a second session");
    let (status, ..) = first.get(&exchange, "single", "s", "/arawman?action=logoff", 3);
    assert_eq!(status, 200);
    assert_eq!(ping(&first, 4), 401, "the nonce of a session that is over");
    assert_eq!(ping(&Digest("00000001".repeat(4)), 1), 401);
    assert_eq!(ping(&Digest::asked(&exchange), 1), 200);
}

#[test]
fn a_stranger_is_sent_away_in_time_however_busy_he_is() {
    let exchange = exchange(&[("general", "authtimeout", "1")]);
    let stranger = TcpStream::connect(address(&exchange)).expect("the port");
    let mut writer = stranger.try_clone().expect("its other half");
    let begun = Instant::now();
    let busy = std::thread::spawn(move || {
        while begun.elapsed() < SOON && writer.write_all(b"Action: Ping\r\n\r\n").is_ok() {
            std::thread::sleep(Duration::from_micros(200));
        }
    });
    let mut reader = stranger;
    reader.set_read_timeout(Some(SOON)).expect("a time limit");
    let mut bytes = [0; 65536];
    while reader.read(&mut bytes).is_ok_and(|count| count > 0) {}
    let lasted = begun.elapsed();
    assert!(
        lasted > Duration::from_millis(900) && lasted < Duration::from_secs(4),
        "{lasted:?}"
    );
    drop(reader);
    let _ = busy.join();
}

#[test]
fn who_says_everything_at_once_and_nothing_more_has_every_answer() {
    let exchange = exchange(&[]);
    let mut client = ManagerClient::connect(address(&exchange));
    client.send_text(
        "Action: Login\r\nUsername: admin\r\nSecret: s3cret\r\nEvents: off\r\n\r\n\
         Action: Getvar\r\nActionID: g\r\nVariable: DB(a/b)\r\n\r\n\
         Action: Ping\r\nActionID: p\r\n\r\n",
    );
    client.finish();
    let all = client.expect_closed();
    let ids: Vec<_> = all.iter().map(|block| block.get("ActionID")).collect();
    assert_eq!(ids, ["", "g", "p"], "{all:#?}");
}

#[test]
fn bodies_are_read_however_they_are_framed_and_have_a_limit() {
    let exchange = exchange(&[("general", "webenabled", "yes")]);
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let login = "action=login&username=admin&secret=s3cret";
    let (one, two) = login.split_at(20);
    let chunked = format!(
        "{form}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n",
        one.len(),
        two.len()
    );
    let (status, _, body) = fetch(&exchange, "POST /rawman", &chunked);
    assert_eq!(status, 200);
    assert!(body.contains("Authentication accepted"), "{body}");
    let long = "x".repeat(70_000);
    let plain = format!("{form}Content-Length: {}\r\n\r\n{long}", long.len());
    let (status, _, _) = fetch(&exchange, "POST /rawman", &plain);
    assert_eq!(status, 413);
    let many = "a=1&".repeat(129);
    let (_, _, body) = fetch(&exchange, &format!("/rawman?action=ping&{many}"), "");
    assert_eq!(
        body,
        "Response: Error\r\nMessage: Too many lines in message or allocation failure\r\n\r\n"
    );
}

#[test]
fn only_a_newer_wait_ends_a_wait_and_other_requests_go_on_beside_it() {
    let exchange = exchange(&[("general", "webenabled", "yes")]);
    let (_, head, _) = fetch(
        &exchange,
        "/rawman?action=login&username=admin&secret=s3cret",
        "",
    );
    let cookie = head.split("mansession_id=\"").nth(1);
    let cookie = cookie.and_then(|rest| rest.split('"').next());
    let cookie = format!(
        "Cookie: mansession_id=\"{}\"\r\n",
        cookie.expect("a cookie")
    );
    fetch(&exchange, "/rawman?action=waitevent&timeout=0", &cookie);
    let (begun, ip) = (Instant::now(), exchange.ip());
    let waits = |id: &str| {
        let (cookie, id) = (cookie.clone(), id.to_owned());
        let target: SocketAddr = (ip, 8088).into();
        std::thread::spawn(move || {
            let mut stream = TcpStream::connect(target).expect("the HTTP port");
            stream.set_read_timeout(Some(SOON)).expect("a time limit");
            let request = format!(
                "GET /rawman?action=waitevent&timeout=30&actionid={id} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{cookie}\r\n"
            );
            stream.write_all(request.as_bytes()).expect("a request");
            let mut text = String::new();
            let _ = stream.read_to_string(&mut text);
            (text, begun.elapsed())
        })
    };
    let first = waits("one");
    std::thread::sleep(Duration::from_millis(300));
    let asked = Instant::now();
    let (_, _, body) = fetch(&exchange, "/rawman?action=ping", &cookie);
    assert!(body.contains("Ping: Pong"), "{body}");
    assert!(asked.elapsed() < Duration::from_secs(2));
    std::thread::sleep(Duration::from_millis(300));
    assert!(!first.is_finished(), "a ping ended the wait");
    let second = waits("two");
    let (text, _) = first.join().expect("the first wait");
    assert!(text.contains("ActionID: one"), "{text}");
    assert!(!second.is_finished());
    fetch(
        &exchange,
        "/rawman?action=userevent&userevent=Hello",
        &cookie,
    );
    let (text, _) = second.join().expect("the second wait");
    assert!(text.contains("UserEvent: Hello"), "{text}");
    let gone = wait_until(SOON, || {
        let (_, _, body) = fetch(&exchange, "/rawman?action=logoff", &cookie);
        body.contains("Goodbye").then_some(())
    });
    assert!(gone.is_some());
}
