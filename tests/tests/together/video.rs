//! Video beside the audio of a call: passed on between two telephones that may have it, refused in its place elsewhere.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;
use strowger_tests::peer::{Peer, PeerCall, audio_at, describe, expect_echo, socket};
use strowger_tests::wire::{AudioLine, SipText};
use strowger_tests::{Exchange, SOON, wait_until};

/// What the caller says of its H.264 and VP8, over a profile with feedback.
const OFFERED: &str = "a=rtpmap:99 H264/90000\r\na=fmtp:99 profile-level-id=42e01f;packetization-mode=1\r\n\
    a=rtpmap:100 VP8/90000\r\na=rtcp-fb:* ccm fir\r\na=rtcp-fb:99 nack pli\r\na=rtcp-fb:100 nack\r\n";
/// And the called side.
const ANSWERED: &str = "a=rtpmap:99 H264/90000\r\na=fmtp:99 profile-level-id=42e01f\r\n\
    a=rtcp-fb:99 nack pli\r\n";

/// Calls of endpoint `one` to 202 ring at endpoint `server`; `columns` are set for both, then what is more.
fn exchange(columns: &str, more: &[&str]) -> (Exchange, Peer, Peer) {
    let mut exchange = Exchange::new();
    let mut one = Peer::new(exchange.sip());
    let mut two = Peer::new(exchange.sip());
    exchange.trunk("one", one.address(), "house");
    exchange.server(&format!("sip:{}", two.address()), "house");
    let set = |sql: &str| exchange.database.execute(sql);
    set(&format!("UPDATE ps_endpoints SET {columns}"));
    for sql in more {
        set(&format!("UPDATE ps_endpoints SET {sql}"));
    }
    exchange.extension("house", "202", &[("Dial", "PJSIP/server,60")]);
    exchange.extension("house", "echo", &[("Answer", ""), ("Echo", "")]);
    exchange.start();
    one.set_exchange(exchange.sip());
    two.set_exchange(exchange.sip());
    (exchange, one, two)
}

/// RTP and, on the next port, RTCP of a telephone's video.
struct Camera {
    rtp: UdpSocket,
    rtcp: UdpSocket,
}

impl Camera {
    fn new() -> Self {
        let pair = (0..100).find_map(|_| {
            let rtp = socket();
            let port = rtp.local_addr().ok()?.port().checked_add(1)?;
            let rtcp = UdpSocket::bind(("127.0.0.1", port)).ok()?;
            let wait = Some(Duration::from_millis(50));
            rtcp.set_read_timeout(wait).ok()?;
            Some(Self { rtp, rtcp })
        });
        pair.expect("two ports side by side")
    }

    fn port(&self) -> u16 {
        self.rtp.local_addr().expect("an address").port()
    }

    fn line(&self, formats: &str, more: &str) -> String {
        format!("m=video {} RTP/AVPF {formats}\r\n{more}", self.port())
    }
}

/// The streams of video in a message, each with its lines.
fn videos(message: &SipText) -> Vec<Vec<String>> {
    let parts = message
        .body
        .split("m=")
        .filter(|part| part.starts_with("video "));
    let lines = |part: &str| format!("m={part}").lines().map(str::to_owned).collect();
    parts.map(lines).collect()
}

/// Where the exchange takes the packets of a stream that a message of it describes.
fn at(message: &SipText, index: usize) -> SocketAddr {
    let ip = AudioLine::parse(&message.body).expect("audio").address.ip();
    SocketAddr::new(ip, port_of(&videos(message)[index]))
}

fn port_of(stream: &[String]) -> u16 {
    let port = stream[0].split(' ').nth(1);
    port.and_then(|port| port.parse().ok()).expect("a port")
}

fn control_at(at: SocketAddr) -> SocketAddr {
    SocketAddr::new(at.ip(), at.port() + 1)
}

/// A packet of H.264 with that number: 12 to 1,500 bytes, none like another.
fn picture(number: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 99 | if number.is_multiple_of(5) { 0x80 } else { 0 }];
    packet.extend_from_slice(&number.to_be_bytes());
    packet.extend_from_slice(&(u32::from(number / 5) * 3000).to_be_bytes());
    packet.extend_from_slice(&0xcafe_0000_u32.to_be_bytes());
    let length = 12 + usize::from(number) * 37 % 1489;
    packet.extend((packet.len()..length).map(|at| (at as u8) ^ (number as u8)));
    packet
}

/// Sends `first` until it comes, and then every other once: each comes as it was sent.
#[track_caller]
fn expect_pictures(from: &UdpSocket, to_exchange: SocketAddr, to: &UdpSocket, count: u16) {
    expect_passed(from, to_exchange, to, &picture(1000));
    for number in 1..=count {
        let sent = picture(number);
        from.send_to(&sent, to_exchange).expect("sent");
        let mut buffer = [0; 2048];
        let came = wait_until(SOON, || {
            let length = to.recv(&mut buffer).ok()?;
            // Another of those that were sent to begin with.
            (buffer[..length] != picture(1000)).then_some(length)
        });
        let came = came.unwrap_or_else(|| panic!("packet {number} does not come"));
        assert_eq!(buffer[..came], sent, "packet {number}");
    }
}

#[track_caller]
fn expect_passed(from: &UdpSocket, at: SocketAddr, to: &UdpSocket, packet: &[u8]) {
    let came = wait_until(SOON, || {
        from.send_to(packet, at).ok()?;
        let mut buffer = [0; 2048];
        let length = to.recv(&mut buffer).ok()?;
        (buffer[..length] == *packet).then_some(())
    });
    assert!(came.is_some(), "the packet arrives as it was sent");
}

#[track_caller]
fn expect_nothing(to: &UdpSocket, why: &str) {
    let mut buffer = [0; 2048];
    let late = std::iter::from_fn(|| to.recv(&mut buffer).ok()).count();
    assert_eq!(late, 0, "{why}");
}

#[track_caller]
fn expect_audio(audio: (&UdpSocket, &UdpSocket), here: SocketAddr) {
    let mut packet = vec![0x80_u8, 8, 0, 0, 0, 0, 0, 160, 0, 0, 0, 7];
    packet.resize(172, 0xd5);
    let heard = wait_until(SOON, || {
        packet[3] = packet[3].wrapping_add(1);
        audio.0.send_to(&packet, here).ok()?;
        audio.1.recv(&mut [0; 2048]).ok()
    });
    assert_eq!(heard, Some(172), "audio flows");
}

/// Both telephones, talking: their calls, and what the exchange told each of them.
struct Talk<'p> {
    caller: PeerCall<'p>,
    callee: PeerCall<'p>,
    offer: SipText,
    answer: SipText,
    audio: (UdpSocket, UdpSocket),
}

fn talk<'p>(one: &'p Peer, two: &'p Peer, offered: &str, answered: &str) -> Talk<'p> {
    let audio = (socket(), socket());
    let mut caller = one.call("202", |invite| {
        describe(invite, audio_at(&audio.0, offered));
    });
    let callee = two.called();
    callee.respond(180, "two", |_| ());
    callee.respond(200, "two", |response| {
        describe(response, audio_at(&audio.1, answered));
    });
    let answer = caller.expect_response(200);
    caller.acknowledge(&answer, |_| ());
    callee.expect_request("ACK");
    Talk {
        offer: callee.invite.clone(),
        caller,
        callee,
        answer,
        audio,
    }
}

impl Talk<'_> {
    #[track_caller]
    fn expect_audio(&self) {
        let here = AudioLine::parse(&self.answer.body).expect("audio").address;
        let there = AudioLine::parse(&self.offer.body).expect("audio").address;
        expect_audio((&self.audio.0, &self.audio.1), here);
        expect_audio((&self.audio.1, &self.audio.0), there);
    }
}

#[test]
fn video_is_passed_on_as_it_is_both_ways_beside_the_audio_with_its_feedback() {
    let (exchange, one, two) = exchange("allow = 'alaw,h264,vp9'", &[]);
    let (here, there) = (Camera::new(), Camera::new());
    let offered = here.line("99 100", OFFERED);
    let answered = there.line("99", ANSWERED);
    let mut talk = talk(&one, &two, &offered, &answered);
    let (told_two, told_one) = (videos(&talk.offer), videos(&talk.answer));
    assert_eq!((told_two.len(), told_one.len()), (1, 1));
    let (at_two, at_one) = (at(&talk.offer, 0), at(&talk.answer, 0));
    let line = |port: SocketAddr| format!("m=video {} RTP/AVPF 99", port.port());
    assert_eq!(
        told_two[0],
        [
            line(at_two).as_str(),
            "a=rtpmap:99 H264/90000",
            "a=fmtp:99 profile-level-id=42e01f;packetization-mode=1",
            "a=rtcp-fb:* ccm fir",
            "a=rtcp-fb:99 nack pli",
            "a=sendrecv",
        ],
        "what both may have, as the caller says it"
    );
    assert_eq!(
        told_one[0],
        [
            line(at_one).as_str(),
            "a=rtpmap:99 H264/90000",
            "a=fmtp:99 profile-level-id=42e01f",
            "a=rtcp-fb:99 nack pli",
            "a=sendrecv",
        ],
        "the answer of the called side"
    );

    expect_pictures(&here.rtp, at_one, &there.rtp, 300);
    expect_pictures(&there.rtp, at_two, &here.rtp, 300);
    talk.expect_audio();
    // Picture loss (RFC 4585 §6.3.1) one way, a full intra request (RFC 5104 §4.3.1) the other.
    let pli = [0x81, 206, 0, 2, 0, 0, 0, 1, 0xca, 0xfe, 0, 0];
    expect_passed(&there.rtcp, control_at(at_two), &here.rtcp, &pli);
    let mut fir = vec![0x84, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0];
    fir.extend_from_slice(&[0xca, 0xfe, 0, 0, 7, 0, 0, 0]);
    expect_passed(&here.rtcp, control_at(at_one), &there.rtcp, &fir);
    assert!(exchange.metric("strowger_video_packets_relayed_total") >= 602);
    let dropped = exchange.metric("strowger_video_packets_dropped_total");

    // What is none of the agreed codecs, no RTP or too long goes nowhere, and is counted.
    let mut other = picture(7);
    other[1] = 100;
    let mut long = picture(7);
    long.resize(1501, 0);
    for packet in [&other[..], b"hello, this is nobody", &long] {
        here.rtp.send_to(packet, at_one).expect("sent");
    }
    let counted = wait_until(SOON, || {
        (exchange.metric("strowger_video_packets_dropped_total") >= dropped + 3).then_some(())
    });
    assert!(counted.is_some(), "drops are counted");
    expect_nothing(&there.rtp, "none of these");

    // The ports are free again behind the call.
    assert_eq!(talk.caller.request("BYE", "", |_| ()).status(), Some(200));
    let bye = talk.callee.expect_request("BYE");
    talk.callee.answer(&bye, 200, |_| ());
    let free = wait_until(SOON, || {
        let ports = [at_one.port(), at_two.port(), at_one.port() + 1];
        let bound = ports.map(|port| UdpSocket::bind((exchange.ip(), port)));
        bound.iter().all(Result::is_ok).then_some(())
    });
    assert!(free.is_some(), "the ports of video are released");
}

#[test]
fn a_telephone_without_video_gets_no_offer_of_it_and_the_caller_port_0_and_audio() {
    for more in [
        "allow = 'alaw' WHERE id = 'server'",
        "allow = 'alaw,vp8' WHERE id = 'server'",
        "max_video_streams = 0 WHERE id = 'server'",
        "allow = 'alaw' WHERE id = 'one'",
        "max_video_streams = 0 WHERE id = 'one'",
        "media_encryption = 'sdes', media_encryption_optimistic = 'yes' WHERE id = 'server'",
    ] {
        let (_exchange, one, two) = exchange("allow = 'alaw,h264'", &[more]);
        let here = Camera::new();
        let offered = here.line("99", ANSWERED);
        let talk = talk(&one, &two, &offered, "");
        assert!(!talk.offer.body.contains("m=video"), "{more}");
        assert_eq!(videos(&talk.answer), [["m=video 0 RTP/AVPF 99"]], "{more}");
        talk.expect_audio();
    }
}

#[test]
fn a_called_side_that_refuses_video_is_believed_and_the_audio_goes_on() {
    let (_exchange, one, two) = exchange("allow = 'alaw,h264'", &[]);
    let here = Camera::new();
    let offered = here.line("99", ANSWERED);
    let refused = "m=video 0 RTP/AVPF 99\r\n";
    let talk = talk(&one, &two, &offered, refused);
    assert_eq!(videos(&talk.offer).len(), 1);
    assert_eq!(videos(&talk.answer), [["m=video 0 RTP/AVPF 99"]]);
    talk.expect_audio();
}

#[test]
fn who_is_answered_by_the_exchange_itself_gets_no_video() {
    let (_exchange, one, _two) = exchange("allow = 'alaw,h264'", &[]);
    let (audio, here) = (socket(), Camera::new());
    let offered = here.line("99", ANSWERED);
    let mut call = one.call("echo", |invite| {
        describe(invite, audio_at(&audio, &offered));
    });
    let answer = call.expect_response(200);
    call.acknowledge(&answer, |_| ());
    assert_eq!(videos(&answer), [["m=video 0 RTP/AVPF 99"]]);
    let echo = AudioLine::parse(&answer.body).expect("audio").address;
    expect_echo(&audio, echo, "audio beside refused video");
}

#[test]
fn of_several_streams_as_many_go_on_as_the_rows_allow_each_in_its_place() {
    for (most, taken) in [(1, [true, false]), (2, [true, true])] {
        let columns = format!("allow = 'alaw,h264', max_video_streams = {most}");
        let (_exchange, one, two) = exchange(&columns, &[]);
        let here = [Camera::new(), Camera::new()];
        let there = [Camera::new(), Camera::new()];
        let lines = |cameras: &[Camera], count: usize| -> String {
            let cameras = cameras.iter().take(count);
            cameras.map(|camera| camera.line("99", ANSWERED)).collect()
        };
        let offered = format!("m=text 0 RTP/AVP 98\r\n{}", lines(&here, 2));
        let talk = talk(&one, &two, &offered, &lines(&there, most));
        assert_eq!(videos(&talk.offer).len(), most);
        let told = videos(&talk.answer);
        let ports: Vec<bool> = told.iter().map(|stream| port_of(stream) != 0).collect();
        assert_eq!(ports, taken, "{most}: {}", talk.answer.body);
        for index in 0..most {
            let (here, there) = (&here[index].rtp, &there[index].rtp);
            expect_pictures(here, at(&talk.answer, index), there, 20);
            expect_pictures(there, at(&talk.offer, index), here, 20);
        }
        talk.expect_audio();
    }
}

#[test]
fn hold_stops_the_video_resume_brings_it_back_and_what_was_dropped_stays_so() {
    let (_exchange, one, two) = exchange("allow = 'alaw,h264'", &[]);
    let (here, there) = (Camera::new(), Camera::new());
    let mut talk = talk(
        &one,
        &two,
        &here.line("99", ANSWERED),
        &there.line("99", ANSWERED),
    );
    let (at_two, at_one) = (at(&talk.offer, 0), at(&talk.answer, 0));
    expect_pictures(&there.rtp, at_two, &here.rtp, 5);
    let audio = talk.audio.0.try_clone().expect("a socket");
    let moved = Camera::new();
    for (camera, direction, back) in [
        (&here, "sendonly", "recvonly"),
        (&moved, "sendrecv", "sendrecv"),
    ] {
        let again = talk.caller.request("INVITE", "", |r| {
            let video = camera.line("99", &format!("{ANSWERED}a={direction}\r\n"));
            describe(r, audio_at(&audio, &format!("a={direction}\r\n{video}")));
        });
        assert_eq!(again.status(), Some(200), "{again:?}");
        talk.caller.acknowledge(&again, |_| ());
        let told = &videos(&again)[0];
        assert_eq!(at(&again, 0), at_one, "the place stays");
        assert_eq!(told.last(), Some(&format!("a={back}")));
        if direction == "sendonly" {
            for number in 1..20 {
                there.rtp.send_to(&picture(number), at_two).expect("sent");
            }
            expect_nothing(&here.rtp, "who holds is shown nothing");
        } else {
            expect_pictures(&there.rtp, at_two, &moved.rtp, 20);
        }
        expect_pictures(&camera.rtp, at_one, &there.rtp, 20);
    }
    for port in [0, moved.port()] {
        let again = talk.caller.request("INVITE", "", |r| {
            let video = format!("m=video {port} RTP/AVPF 99\r\n{ANSWERED}");
            describe(r, audio_at(&audio, &video));
        });
        talk.caller.acknowledge(&again, |_| ());
        assert_eq!(videos(&again), [["m=video 0 RTP/AVPF 99"]]);
    }
    talk.expect_audio();
}

#[test]
fn a_telephone_behind_a_nat_is_shown_video_where_its_packets_come_from() {
    let (_exchange, one, two) = exchange("allow = 'alaw,h264', rtp_symmetric = 'yes'", &[]);
    let (said, real, there) = (Camera::new(), Camera::new(), Camera::new());
    let talk = talk(
        &one,
        &two,
        &said.line("99", ANSWERED),
        &there.line("99", ANSWERED),
    );
    let (at_two, at_one) = (at(&talk.offer, 0), at(&talk.answer, 0));
    expect_pictures(&real.rtp, at_one, &there.rtp, 5);
    expect_pictures(&there.rtp, at_two, &real.rtp, 5);
    let stranger = socket();
    stranger.send_to(&picture(9), at_one).expect("sent");
    expect_nothing(&there.rtp, "from elsewhere than the first");
}

#[test]
fn control_packets_may_share_the_port_on_either_side_alone() {
    let (_exchange, one, two) = exchange(
        "allow = 'alaw,h264'",
        &["rtcp_mux = 'yes' WHERE id = 'one'"],
    );
    let (here, there) = (Camera::new(), Camera::new());
    let talk = talk(
        &one,
        &two,
        &here.line("99", &format!("{ANSWERED}a=rtcp-mux\r\n")),
        &there.line("99", ANSWERED),
    );
    let (told_two, told_one) = (videos(&talk.offer), videos(&talk.answer));
    let mux = |stream: &[String]| stream.iter().any(|line| line == "a=rtcp-mux");
    assert_eq!((mux(&told_two[0]), mux(&told_one[0])), (false, true));
    let (at_two, at_one) = (at(&talk.offer, 0), at(&talk.answer, 0));
    let pli = [0x81, 206, 0, 2, 0, 0, 0, 1, 0xca, 0xfe, 0, 0];
    expect_passed(&here.rtp, at_one, &there.rtcp, &pli);
    expect_passed(&there.rtcp, control_at(at_two), &here.rtp, &pli);
}
