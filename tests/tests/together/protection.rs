//! Who guesses passwords, scans for numbers or calls too much is kept out; who has business here is not.

use std::net::{Ipv4Addr, UdpSocket};
use strowger_tests::wire::{Answer, SipText, authorization};
use strowger_tests::{Bank, Ending, Exchange, Line, Manner, SOON, Settings, text_of, wait_until};

const BLOCKED: &str = "strowger_protection_addresses_blocked_total";
const DROPPED: &str = "strowger_protection_dropped_from_blocked_total";

/// Somebody with an address of his own, who sends requests as he likes.
struct Stranger {
    socket: UdpSocket,
    number: u32,
}

impl Stranger {
    fn at(last: u8, exchange: &Exchange) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, last), 0)).expect("a port");
        socket.connect(exchange.sip()).expect("a connected socket");
        socket.set_read_timeout(Some(SOON)).expect("a timeout");
        Self { socket, number: 0 }
    }

    fn send(&mut self, method: &str, user: &str, agent: &str, more: &[(&str, &str)]) {
        self.number += 1;
        let number = self.number;
        let local = self.socket.local_addr().expect("an address");
        let mut request = SipText::request(method, "sip:pbx");
        request.push(
            "Via",
            &format!("SIP/2.0/UDP {local};branch=z9hG4bK{number}.{local};rport"),
        );
        request.push("From", &format!("<sip:{user}@pbx>;tag={number}"));
        request.push("To", &format!("<sip:{user}@pbx>"));
        request.push("Call-ID", &format!("{number}@{local}"));
        request.push("CSeq", &format!("{number} {method}"));
        request.push("Contact", &format!("<sip:{user}@{local}>"));
        request.push("User-Agent", agent);
        request.push("Max-Forwards", "70");
        for (name, value) in more {
            request.push(name, value);
        }
        self.socket.send(&request.to_bytes()).expect("sent");
    }

    /// The final answer to the request sent last.
    fn hear(&self) -> SipText {
        let mut buffer = [0; 4096];
        loop {
            let length = self.socket.recv(&mut buffer).expect("an answer in time");
            let answer = SipText::parse(&buffer[..length]).expect("a message");
            let is_last = answer
                .cseq()
                .is_some_and(|(number, _)| number == self.number);
            if is_last && answer.status() >= Some(200) {
                return answer;
            }
        }
    }

    fn ask(&mut self, method: &str, user: &str, more: &[(&str, &str)]) -> SipText {
        self.send(method, user, "Telephone", more);
        self.hear()
    }

    /// Tries a password; the answer to it.
    fn guess(&mut self, user: &str, password: &str) -> SipText {
        let challenge = self.ask("REGISTER", user, &[]);
        let asked = challenge.header("WWW-Authenticate").expect("a challenge");
        let answer = Answer {
            user,
            password,
            method: "REGISTER",
            uri: "sip:pbx",
        };
        let credentials = authorization(asked, answer).expect("a digest");
        self.ask("REGISTER", user, &[("Authorization", &credentials)])
    }
}

fn exchange(more: &str) -> Exchange {
    let mut exchange = Exchange::prepare(Settings {
        more: format!("\n[protection]\nspare_loopback = false\n{more}"),
        ..Settings::default()
    });
    exchange.subscriber("alice", "secret", "calls");
    exchange.subscriber("bob", "secret", "calls");
    exchange.extension("calls", "bob", &[("Dial", "PJSIP/bob,30")]);
    exchange.start();
    exchange
}

fn wait_for(exchange: &Exchange, metric: &str, value: u64) {
    let there = wait_until(SOON, || (exchange.metric(metric) >= value).then_some(()));
    assert!(there.is_some(), "{metric} is {}", exchange.metric(metric));
}

fn blocked(exchange: &Exchange, arguments: &[&str]) -> String {
    let output = exchange.run(&[&["blocked"], arguments].concat());
    text_of(&output)
}

#[test]
fn guessing_passwords_ends_after_ten_guesses_until_somebody_lets_the_address_in() {
    let exchange = exchange("");
    let mut stranger = Stranger::at(66, &exchange);
    for number in 0..10 {
        assert_eq!(exchange.metric(BLOCKED), 0, "after {number} guesses");
        let answer = stranger.guess("alice", &format!("guess{number}"));
        assert_eq!(answer.status(), Some(401));
    }
    wait_for(&exchange, BLOCKED, 1);
    // Even the right password is not heard any more.
    let dropped = exchange.metric(DROPPED);
    stranger.send("REGISTER", "alice", "Telephone", &[]);
    wait_for(&exchange, DROPPED, dropped + 1);
    let bank = Bank::new();
    bank.phone("alice", "secret", exchange.sip()).register();

    let list = blocked(&exchange, &["list"]);
    assert!(
        list.contains("127.0.0.66") && list.contains("wrong passwords"),
        "{list}"
    );
    let log = std::fs::read_to_string(exchange.data().join("security.log")).expect("the log");
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| {
            line.contains("SecurityEvent=\"InvalidPassword\"")
                && line.contains("AccountID=\"alice\"")
                && line.contains("RemoteAddress=\"IPV4/UDP/127.0.0.66/")
        })
        .collect();
    assert_eq!(lines.len(), 10, "{log}");

    assert!(blocked(&exchange, &["remove", "127.0.0.67"]).contains("not blocked"));
    assert!(blocked(&exchange, &["remove", "127.0.0.66"]).contains("let in again"));
    assert_eq!(stranger.guess("alice", "secret").status(), Some(200));
    assert!(blocked(&exchange, &[]).contains("no address is blocked"));
    // Without the key nobody changes anything.
    let (status, _) = exchange.get("/blocked").expect("an answer");
    assert_eq!(status, 401);
}

#[test]
fn an_address_that_never_answers_a_challenge_is_told_of_where_nobody_knows_its_names() {
    let exchange = exchange("");
    let (mut stranger, mut telephone) = (Stranger::at(88, &exchange), Stranger::at(89, &exchange));
    for _ in 0..6 {
        assert_eq!(stranger.ask("REGISTER", "nobody", &[]).status(), Some(401));
        assert_eq!(telephone.ask("REGISTER", "alice", &[]).status(), Some(401));
    }
    // From the fifth within five seconds on.
    let told = |address: &str| {
        let log = std::fs::read_to_string(exchange.data().join("security.log")).expect("the log");
        let wanted = format!("RemoteAddress=\"IPV4/UDP/{address}/");
        let lines = log.lines().filter(|line| line.contains(&wanted));
        let events = lines.filter(|line| line.contains("SecurityEvent=\"InvalidAccountID\""));
        events.count()
    };
    let both = wait_until(SOON, || (told("127.0.0.88") == 2).then_some(()));
    assert!(both.is_some(), "{}", told("127.0.0.88"));
    assert_eq!(told("127.0.0.89"), 0, "its name is known");
}

#[test]
fn a_scan_for_numbers_learns_nothing_and_ends_soon() {
    let exchange = exchange("unanswered = 60\njunk = 40\n");
    let shape = |answer: &SipText| {
        let mut lines: Vec<String> = answer
            .headers
            .iter()
            .filter(|(name, _)| {
                !matches!(name.as_str(), "Via" | "From" | "To" | "Call-ID" | "CSeq")
            })
            .map(|(name, value)| {
                let nonce = value
                    .split("nonce=\"")
                    .nth(1)
                    .and_then(|rest| rest.split('"').next());
                let value = nonce.map_or(value.clone(), |nonce| {
                    value.replace(nonce, &"n".repeat(nonce.len()))
                });
                format!("{name}: {value}")
            })
            .collect();
        lines.insert(0, answer.start.clone());
        lines
    };
    let mut curious = Stranger::at(70, &exchange);
    for method in ["REGISTER", "INVITE", "OPTIONS", "MESSAGE"] {
        let known = shape(&curious.ask(method, "alice", &[]));
        let unknown = shape(&curious.ask(method, "nobody", &[]));
        assert_eq!(known, unknown, "{method}");
        assert!(known[0].contains("401"), "{known:?}");
    }
    let known = shape(&curious.guess("alice", "wrong"));
    assert_eq!(known, shape(&curious.guess("nobody", "wrong")));

    let mut scan = Stranger::at(71, &exchange);
    for number in 0..60 {
        scan.ask("REGISTER", &format!("{}", 100 + number), &[]);
    }
    wait_for(&exchange, BLOCKED, 1);
    let list = blocked(&exchange, &["list"]);
    assert!(
        list.contains("127.0.0.71") && list.contains("unanswered"),
        "{list}"
    );
    assert!(!list.contains("127.0.0.70"), "{list}");

    // One that says what it is is not even answered.
    let mut scanner = Stranger::at(72, &exchange);
    for number in 0..40 {
        scanner.send("OPTIONS", &format!("{number}"), "friendly-scanner", &[]);
    }
    wait_for(&exchange, BLOCKED, 2);
    let nothing = scanner.socket.set_nonblocking(true);
    assert!(nothing.is_ok() && scanner.socket.recv(&mut [0; 100]).is_err());
    assert!(blocked(&exchange, &["clear"]).starts_with('2'));
    assert!(blocked(&exchange, &["list"]).contains("no address is blocked"));
}

#[test]
fn junk_blocks_its_sender_and_keep_alives_do_not() {
    let exchange = exchange("junk = 50\n");
    let quiet = Stranger::at(80, &exchange);
    let loud = Stranger::at(81, &exchange);
    for _ in 0..100 {
        for keep_alive in [&b"\r\n\r\n"[..], b"\0\0\0\0", b"\0\x01\0\0\x21\x12\xa4\x42"] {
            quiet.socket.send(keep_alive).expect("sent");
        }
    }
    for _ in 0..50 {
        loud.socket.send(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
    }
    wait_for(&exchange, BLOCKED, 1);
    let list = blocked(&exchange, &["list"]);
    assert!(
        list.contains("127.0.0.81") && !list.contains("127.0.0.80"),
        "{list}"
    );
}

#[test]
fn a_call_of_a_blocked_address_goes_on_over_a_new_connection() {
    let mut exchange = Exchange::prepare(Settings {
        more: "\n[protection]\nspare_loopback = false\njunk = 20\n".to_owned(),
        ..Settings::default()
    });
    exchange.subscriber("alice", "secret", "calls");
    exchange.extension("calls", "wait", &[("Answer", ""), ("Wait", "60")]);
    exchange.start();
    let mut line = Line::tcp(exchange.sip());
    let media = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let at = media.local_addr().expect("an address");
    let uri = format!("sip:wait@{}", exchange.sip());
    let invite = line.invite(&uri, "alice", at);
    let answer = line.ask(invite.clone(), "alice", "secret");
    assert_eq!(answer.status(), Some(200), "{answer:?}");
    line.acknowledge(&invite, &answer);

    let from = line.local().ip();
    let loud = UdpSocket::bind((from, 0)).expect("a port");
    // Who proved a password may err ten times as often.
    for _ in 0..200 {
        let sent = loud.send_to(b"GET / HTTP/1.1\r\n\r\n", exchange.sip());
        sent.expect("sent");
    }
    wait_for(&exchange, BLOCKED, 1);
    drop(line);
    let mut again = Line::tcp(exchange.sip());
    let dropped = exchange.metric(DROPPED);
    let options = again.request("OPTIONS", "sip:pbx", "alice");
    again.send(&options);
    wait_for(&exchange, DROPPED, dropped + 1);
    let mut bye = again.request("BYE", &uri, "alice");
    for name in ["From", "Call-ID"] {
        bye.set(name, invite.header(name).unwrap_or_default());
    }
    bye.set("To", answer.header("To").unwrap_or_default());
    bye.set("CSeq", "3 BYE");
    again.send(&bye);
    assert_eq!(again.expect_final("BYE").status(), Some(200));
}

#[test]
fn an_endpoint_has_no_more_calls_than_it_may() {
    let exchange = exchange("\n[limits]\ncalls_per_endpoint = 1\n");
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let bob = bank.phone("bob", "secret", exchange.sip());
    bob.set_manner(Manner::Ring);
    alice.register();
    bob.register();
    let first = alice.call("bob");
    first.expect_status(180, SOON);
    let second = alice.call("bob");
    assert_eq!(second.expect_ended(SOON), Ending::Status(503));
    let refusal = second.responses().pop().expect("a response");
    assert_eq!(refusal.header("Retry-After"), Some("5"));
    first.hang_up();
    first.expect_ended(SOON);
    // The place is free again as soon as the first call is over.
    let again = wait_until(SOON, || {
        let call = alice.call("bob");
        let rings = wait_until(SOON, || {
            let statuses = call.statuses();
            let known = statuses.iter().find(|(_, status)| *status >= 180);
            known.map(|(_, status)| *status == 180)
        });
        (rings == Some(true)).then_some(())
    });
    assert!(again.is_some(), "a call after the first");
    assert!(exchange.metric("strowger_protection_calls_refused_endpoint_total") >= 1);
}
