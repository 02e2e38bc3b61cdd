//! Ten thousand telephones come back at once, as after a power cut: all of them are served, within bounded memory.

use std::net::UdpSocket;
use std::time::{Duration, Instant};
use strowger_tests::wire::{Answer, SipText, authorization};
use strowger_tests::{Exchange, alone, wait_until};

const PHONES: usize = 10_000;
/// On an idle machine it takes a few seconds; digests, their challenges and lost datagrams included.
const LIMIT: Duration = Duration::from_secs(120);
/// Telephones repeat after T1.
const REPEAT: Duration = Duration::from_millis(500);

/// Resident memory of a process, in MiB.
fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.expect("a number") / 1024
}

struct Storm {
    socket: UdpSocket,
    uri: String,
    /// The challenge of each telephone, once it has one; and whether it is registered.
    phones: Vec<(Option<String>, bool)>,
    round: u32,
}

impl Storm {
    fn register(&self, number: usize) {
        let (challenge, _) = &self.phones[number];
        let user = format!("u{number}");
        let local = self.socket.local_addr().expect("an address");
        let stage = 1 + 2 * self.round + u32::from(challenge.is_some());
        let mut request = SipText::request("REGISTER", &self.uri);
        request.push(
            "Via",
            &format!("SIP/2.0/UDP {local};branch=z9hG4bK{number}.{stage};rport"),
        );
        request.push("From", &format!("<sip:{user}@pbx>;tag=t{number}"));
        request.push("To", &format!("<sip:{user}@pbx>"));
        request.push("Call-ID", &format!("storm-{number}"));
        request.push("CSeq", &format!("{stage} REGISTER"));
        request.push("Contact", &format!("<sip:{user}@{local}>"));
        request.push("Max-Forwards", "70");
        if let Some(challenge) = challenge {
            let answer = Answer {
                user: &user,
                password: "secret",
                method: "REGISTER",
                uri: &self.uri,
            };
            let credentials = authorization(challenge, answer).expect("a digest");
            request.push("Authorization", &credentials);
        }
        // What the socket cannot take is lost, as on a network; it is sent again.
        let _ = self.socket.send(&request.to_bytes());
    }

    /// Takes answers until there is none for a moment.
    fn hear(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let answer = SipText::parse(&buffer[..length]).expect("a message");
            let call = answer.header("Call-ID").expect("a Call-ID");
            let number: usize = call.trim_start_matches("storm-").parse().expect("ours");
            match answer.status() {
                Some(200) => self.phones[number].1 = true,
                Some(401) if !self.phones[number].1 => {
                    let challenge = answer.header("WWW-Authenticate").expect("a challenge");
                    self.phones[number].0 = Some(challenge.to_owned());
                    self.register(number);
                }
                Some(401) => {}
                other => panic!("{other:?} for telephone {number}"),
            }
        }
    }

    fn missing(&self) -> Vec<usize> {
        let open = self
            .phones
            .iter()
            .enumerate()
            .filter(|(_, (_, done))| !done);
        open.map(|(number, _)| number).collect()
    }
}

#[test]
fn ten_thousand_telephones_at_once_are_all_served() {
    let _alone = alone();
    let mut exchange = Exchange::new();
    let numbers = format!(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {})",
        PHONES - 1
    );
    for (columns, values) in [
        ("ps_aors (id, max_contacts)", "'u' || i, 1"),
        (
            "ps_auths (id, auth_type, username, password)",
            "'u' || i, 'userpass', 'u' || i, 'secret'",
        ),
        (
            "ps_endpoints (id, aors, auth, context)",
            "'u' || i, 'u' || i, 'u' || i, 'none'",
        ),
    ] {
        let sql = format!("INSERT INTO {columns} {numbers} SELECT {values} FROM n");
        exchange.database.execute(&sql);
    }
    exchange.start();
    let before = resident_mib(exchange.pid().expect("it runs"));
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.connect(exchange.sip()).expect("a connected socket");
    socket
        .set_read_timeout(Some(Duration::from_millis(20)))
        .expect("a timeout");
    let mut storm = Storm {
        socket,
        uri: format!("sip:{}", exchange.sip()),
        phones: vec![(None, false); PHONES],
        round: 0,
    };
    let started = Instant::now();
    loop {
        let missing = storm.missing();
        if missing.is_empty() {
            break;
        }
        assert!(
            started.elapsed() < LIMIT,
            "{} are not registered",
            missing.len()
        );
        let round = Instant::now();
        for (count, number) in missing.into_iter().enumerate() {
            // One whose nonce is older than it may be is asked anew.
            if storm.round % 20 == 19 {
                storm.phones[number].0 = None;
            }
            storm.register(number);
            if count % 50 == 49 {
                storm.hear();
            }
        }
        while round.elapsed() < REPEAT && !storm.missing().is_empty() {
            storm.hear();
        }
        storm.round += 1;
    }
    let took = started.elapsed();
    let metric = "strowger_registrations_total";
    assert!(exchange.metric(metric) >= PHONES as u64);
    let stored = wait_until(LIMIT, || {
        let rows = exchange.database.select("ps_contacts", &["id"], "");
        (rows.len() == PHONES).then_some(())
    });
    assert!(stored.is_some(), "every contact is stored");
    let after = resident_mib(exchange.pid().expect("it runs"));
    eprintln!("{PHONES} telephones in {took:.1?}; {before} MiB before, {after} MiB after");
    assert!(
        after < before + 200,
        "{before} MiB before, {after} MiB after"
    );
}
