//! Strangers: broken messages, floods and guesses must not cost the others a call.

use std::net::UdpSocket;
use std::time::Duration;
use strowger_tests::{Exchange, Sipp, alone};

const LIMIT: Duration = Duration::from_secs(150);
const DATAGRAMS: usize = 20_000;

/// A message that is nearly right, to be broken in many ways.
const INVITE: &str = "INVITE sip:echo@127.0.0.1 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bK-flood;rport\r\n\
    From: \"Stranger\" <sip:stranger@127.0.0.1>;tag=1\r\n\
    To: <sip:echo@127.0.0.1>\r\n\
    Call-ID: flood@127.0.0.1\r\n\
    CSeq: 1 INVITE\r\n\
    Contact: <sip:stranger@127.0.0.1:5070>\r\n\
    Max-Forwards: 70\r\n\
    Authorization: Digest username=\"sipp\", realm=\"asterisk\", nonce=\"0\", uri=\"sip:echo\", response=\"0\"\r\n\
    Content-Type: application/sdp\r\n";

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 0\r\na=rtpmap:8 PCMA/8000\r\na=sendrecv\r\n";

fn with_offer(headers: &str) -> String {
    format!("{headers}Content-Length: {}\r\n\r\n{OFFER}", OFFER.len())
}

struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below
    }
}

fn broken(random: &mut Random, number: usize) -> Vec<u8> {
    let text = with_offer(&INVITE.replace("flood", &format!("f{number}")));
    let mut bytes = text.into_bytes();
    for _ in 0..1 + random.next(8) {
        let at = random.next(bytes.len());
        match random.next(4) {
            0 => bytes[at] = random.next(256) as u8,
            1 => bytes.truncate(at.max(1)),
            2 => {
                let end = (at + random.next(40)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => {
                bytes.remove(at);
            }
        }
        if bytes.is_empty() {
            bytes.push(b'x');
        }
    }
    bytes
}

#[test]
fn a_flood_of_broken_messages_harms_no_call() {
    let _alone = alone();
    let mut exchange = Exchange::new();
    exchange.subscriber("sipp", "secret", "sipp");
    exchange.extension("sipp", "echo", &[("Answer", ""), ("Echo", "")]);
    exchange.start();
    let calls = Sipp::new("uac_dial.xml", exchange.sip())
        .account("sipp", "secret")
        .service("echo")
        .calls(40, 40, 10)
        .with(&["-d", "1000"])
        .start();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for number in 0..DATAGRAMS {
        let _ = socket.send_to(&broken(&mut random, number), exchange.sip());
        if number % 64 == 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    calls.finish(LIMIT).expect_all(40);
    assert_eq!(exchange.metric("strowger_calls_failed_panic_total"), 0);
    // A busy machine loses some of the flood before the exchange can read it.
    assert!(exchange.metric("strowger_sip_received_total") > DATAGRAMS as u64 / 10);
    assert!(exchange.metric("strowger_sip_malformed_total") > 200);
}

#[test]
fn known_and_unknown_callers_meet_the_same_challenge() {
    let _alone = alone();
    let mut exchange = Exchange::new();
    exchange.subscriber("sipp", "secret", "sipp");
    exchange.start();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket
        .set_read_timeout(Some(strowger_tests::SOON))
        .expect("a timeout");
    let mut shapes = Vec::new();
    for user in ["sipp", "nobody"] {
        let request = INVITE
            .replace("stranger@", &format!("{user}@"))
            .replace("flood", user)
            .lines()
            .filter(|line| !line.starts_with("Authorization"))
            .map(|line| format!("{line}\r\n"))
            .collect::<String>();
        socket
            .send_to(with_offer(&request).as_bytes(), exchange.sip())
            .expect("sent");
        let mut buffer = [0u8; 4096];
        let length = loop {
            let (length, _) = socket.recv_from(&mut buffer).expect("an answer");
            if !buffer.starts_with(b"SIP/2.0 100") {
                break length;
            }
        };
        let response = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(response.starts_with("SIP/2.0 401 "), "{response}");
        let names: Vec<String> = response
            .lines()
            .filter_map(|line| Some(line.split_once(':')?.0.to_owned()))
            .collect();
        let challenge = response
            .lines()
            .find(|line| line.starts_with("WWW-Authenticate"))
            .and_then(|line| line.split_once("nonce="))
            .map(|(before, _)| before.to_owned());
        shapes.push((names, challenge));
    }
    assert_eq!(shapes[0], shapes[1]);
}
