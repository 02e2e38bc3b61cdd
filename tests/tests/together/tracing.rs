//! What was said over SIP in a call, as ladder, as capture file, and as Homer hears it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use strowger_tests::{Bank, Exchange, Manner, SOON, Settings, text_of, wait_until};

#[track_caller]
fn trace(exchange: &Exchange, arguments: &[&str]) -> String {
    let output = exchange.run(&[&["trace"], arguments].concat());
    assert!(output.status.success(), "{}", text_of(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The chunks of a HEP packet, by type.
fn chunks(packet: &[u8]) -> BTreeMap<u16, Vec<u8>> {
    let number = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    assert_eq!(&packet[..4], b"HEP3");
    assert_eq!(usize::from(number(4)), packet.len());
    let (mut at, mut chunks) = (6, BTreeMap::new());
    while at < packet.len() {
        let length = usize::from(number(at + 4));
        chunks.insert(number(at + 2), packet[at + 6..at + length].to_vec());
        at += length;
    }
    chunks
}

/// The packets of a capture file: source, destination, payload.
fn packets(file: &[u8]) -> Vec<(SocketAddr, SocketAddr, String)> {
    assert_eq!(&file[..4], &0xa1b2_c3d4_u32.to_le_bytes());
    let (mut at, mut packets) = (24, Vec::new());
    while at < file.len() {
        let length: [u8; 4] = file[at + 8..at + 12].try_into().expect("four bytes");
        let packet = &file[at + 16..at + 16 + u32::from_le_bytes(length) as usize];
        let address = |ip: usize, port: usize| {
            let ip: [u8; 4] = packet[ip..ip + 4].try_into().expect("four bytes");
            let port = u16::from_be_bytes([packet[port], packet[port + 1]]);
            SocketAddr::from((Ipv4Addr::from(ip), port))
        };
        let payload = String::from_utf8_lossy(&packet[28..]).into_owned();
        packets.push((address(12, 20), address(16, 22), payload));
        at += 16 + packet.len();
    }
    packets
}

#[test]
fn a_failed_call_is_seen_as_ladder_as_capture_file_and_by_homer() {
    let homer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let at = homer.local_addr().expect("an address");
    let mut exchange = Exchange::prepare(Settings {
        more: format!(
            "\n[trace]\ncalls = 100\nhep = \"{at}\"\nhep_id = 77\nhep_password = \"open\"\n"
        ),
        ..Settings::default()
    });
    for name in ["100", "101"] {
        exchange.subscriber(name, "secret", "calls");
    }
    exchange.extension(
        "calls",
        "101",
        &[("Dial", "PJSIP/101,20"), ("Hangup", "${HANGUPCAUSE}")],
    );
    exchange.start();
    let bank = Bank::new();
    let (caller, callee) = (
        bank.phone("100", "secret", exchange.sip()),
        bank.phone("101", "secret", exchange.sip()),
    );
    caller.register();
    callee.register();
    callee.set_manner(Manner::Manual);
    let call = caller.call("101");
    callee.expect_call(SOON).reject(486);
    call.expect_status(486, SOON);

    let listed = wait_until(SOON, || {
        let text = trace(&exchange, &["list"]);
        (text.matches("failed: 486").count() == 2).then_some(text)
    });
    let listed = listed.unwrap_or_else(|| trace(&exchange, &["list"]));
    assert!(listed.contains(&call.call_id()), "{listed}");
    // Both legs in one picture, each message with its way.
    let ladder = trace(&exchange, &["call", &call.call_id()]);
    for part in [
        "[1] 100 -> 101, failed: 486",
        "PJSIP/100-",
        "[2] ",
        "PJSIP/101-",
        &caller.address().to_string(),
        &callee.address().to_string(),
        "INVITE sip:101",
        "(SDP)",
        "401 ",
        "100 Trying",
        "ACK ",
    ] {
        assert!(ladder.contains(part), "{part}:\n{ladder}");
    }
    assert!(!ladder.contains("REGISTER"), "{ladder}");
    let whole = trace(&exchange, &["call", &call.call_id(), "--messages"]);
    assert!(whole.contains("Authorization: Digest"), "{whole}");

    let file = exchange.data().join("calls.pcap");
    let path = file.to_string_lossy().into_owned();
    trace(&exchange, &["pcap", "100", "--file", &path]);
    let rights = std::fs::metadata(&file)
        .expect("a capture file")
        .permissions();
    assert_eq!(rights.mode() & 0o777, 0o600);
    let captured = packets(&std::fs::read(&file).expect("a capture file"));
    let (us, them) = (exchange.sip(), caller.address());
    let has = |from: SocketAddr, to: SocketAddr, start: &str| {
        let mut packets = captured.iter();
        packets.any(|(source, destination, text)| {
            *source == from && *destination == to && text.starts_with(start)
        })
    };
    assert!(has(them, us, "INVITE sip:101"), "{captured:?}");
    assert!(has(us, them, "SIP/2.0 486"), "{captured:?}");
    let nobody = exchange.run(&["trace", "pcap", "999"]);
    assert!(
        text_of(&nobody).contains("no message of such a call"),
        "{}",
        text_of(&nobody)
    );

    // Homer has heard it all, registrations too.
    homer
        .set_read_timeout(Some(Duration::from_secs(1)))
        .expect("a time limit");
    let mut heard: Vec<BTreeMap<u16, Vec<u8>>> = Vec::new();
    let mut buffer = vec![0; 65_536];
    let found = wait_until(SOON, || {
        if let Ok(length) = homer.recv(&mut buffer) {
            heard.push(chunks(&buffer[..length]));
        }
        let said = |start: &str| {
            heard
                .iter()
                .any(|chunks| chunks[&15].starts_with(start.as_bytes()))
        };
        (said("REGISTER ") && said("INVITE ") && said("SIP/2.0 486 ")).then_some(())
    });
    assert!(found.is_some(), "{} packets", heard.len());
    let invite = heard.iter().find(|chunks| {
        chunks[&15].starts_with(b"INVITE ") && chunks[&7] == them.port().to_be_bytes()
    });
    let invite = invite.expect("the INVITE of the caller");
    assert_eq!(
        (&invite[&1][..], &invite[&2][..], &invite[&11][..]),
        (&[2][..], &[17][..], &[1][..])
    );
    assert_eq!(invite[&8], us.port().to_be_bytes());
    assert_eq!(invite[&12], 77_u32.to_be_bytes());
    assert_eq!(invite[&14], b"open");
    assert!(exchange.metric("strowger_trace_hep_sent_total") >= heard.len() as u64);
    assert_eq!(exchange.metric("strowger_trace_messages_lost_total"), 0);
    // Without the key nothing is told.
    assert_eq!(exchange.get("/trace").expect("an answer").0, 401);
}

#[test]
fn without_tracing_the_command_says_how_to_have_it() {
    let mut exchange = Exchange::new();
    exchange.start();
    let output = exchange.run(&["trace"]);
    assert!(!output.status.success());
    assert!(
        text_of(&output).contains("set `calls` in [trace]"),
        "{}",
        text_of(&output)
    );
}
