//! UDP sockets of a signalling thread on their ring.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use strowger_media::uring::udp::{self, UdpSocketRing};

/// What a busy machine may take for anything a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);

fn socket(address: &str) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(address).expect("bind");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}

/// Harvests, sleeping on the descriptor in between, until `done` says so.
fn harvest_until(
    ring: &mut UdpSocketRing,
    seen: &mut Vec<(usize, SocketAddr, Vec<u8>)>,
    mut done: impl FnMut(&[(usize, SocketAddr, Vec<u8>)]) -> bool,
) {
    let until = Instant::now() + PATIENCE;
    while !done(seen) {
        assert!(Instant::now() < until, "after {} datagrams", seen.len());
        if ring.wait(PATIENCE).expect("poll") {
            while ring
                .harvest(|index, source, bytes| seen.push((index, source, bytes.to_vec())))
                .expect("harvest")
            {}
        }
    }
}

#[test]
fn a_thousand_datagrams_come_in_and_go_out_in_order() {
    let (ours, our_address) = socket("127.0.0.1:0");
    let (peer, peer_address) = socket("127.0.0.1:0");
    let mut ring = UdpSocketRing::new(vec![ours]).expect("a ring");
    let mut seen = Vec::new();
    for round in 0..10_u32 {
        for i in 0..100 {
            let number = round * 100 + i;
            peer.send_to(&number.to_be_bytes(), our_address)
                .expect("send");
        }
        let expected = (round as usize + 1) * 100;
        harvest_until(&mut ring, &mut seen, |seen| seen.len() >= expected);
    }
    for (i, (index, source, bytes)) in seen.iter().enumerate() {
        assert_eq!((*index, *source), (0, peer_address));
        assert_eq!(bytes[..], (i as u32).to_be_bytes());
    }
    let mut buffer = [0; 64];
    for round in 0..10_u32 {
        for i in 0..100 {
            ring.send(0, peer_address, (round * 100 + i).to_be_bytes())
                .expect("send");
        }
        ring.flush().expect("flush");
        for i in 0..100 {
            let (len, source) = peer.recv_from(&mut buffer).expect("a datagram");
            assert_eq!(source, our_address);
            assert_eq!(buffer[..len], (round * 100 + i).to_be_bytes());
        }
    }
    let counters = ring.counters();
    assert_eq!((counters.received, counters.sent), (1000, 1000));
    assert_eq!((counters.unusable, counters.send_failures), (0, 0));
}

#[test]
fn several_sockets_are_told_apart_ipv6_among_them() {
    let (first, first_address) = socket("127.0.0.1:0");
    let (second, second_address) = socket("[::1]:0");
    let (peer4, peer4_address) = socket("127.0.0.1:0");
    let (peer6, peer6_address) = socket("[::1]:0");
    let mut ring = UdpSocketRing::new(vec![first, second]).expect("a ring");
    peer4.send_to(b"four", first_address).expect("send");
    peer6.send_to(b"six", second_address).expect("send");
    let mut seen = Vec::new();
    harvest_until(&mut ring, &mut seen, |seen| seen.len() == 2);
    seen.sort();
    assert_eq!(
        seen,
        [
            (0, peer4_address, b"four".to_vec()),
            (1, peer6_address, b"six".to_vec())
        ]
    );
    ring.send(1, peer6_address, "answer").expect("send");
    ring.flush().expect("flush");
    let mut buffer = [0; 16];
    let (len, source) = peer6.recv_from(&mut buffer).expect("a datagram");
    assert_eq!((&buffer[..len], source), (&b"answer"[..], second_address));
}

#[test]
fn the_largest_and_the_emptiest_datagrams_pass_whole() {
    let (ours, our_address) = socket("127.0.0.1:0");
    let (peer, peer_address) = socket("127.0.0.1:0");
    let mut ring = UdpSocketRing::new(vec![ours]).expect("a ring");
    let large: Vec<u8> = (0..65507_u32).map(|i| (i % 251) as u8).collect();
    peer.send_to(&large, our_address).expect("send");
    peer.send_to(b"", our_address).expect("send");
    let mut seen = Vec::new();
    harvest_until(&mut ring, &mut seen, |seen| seen.len() == 2);
    assert!(seen[0].2 == large && seen[1].2.is_empty());
    ring.send(0, peer_address, &large).expect("send");
    ring.flush().expect("flush");
    let mut buffer = vec![0; 70000];
    let (len, _) = peer.recv_from(&mut buffer).expect("a datagram");
    assert!(buffer[..len] == large);
}

#[test]
fn more_datagrams_than_buffers_wait_in_the_socket() {
    let (ours, our_address) = socket("127.0.0.1:0");
    socket2::SockRef::from(&ours)
        .set_recv_buffer_size(8 << 20)
        .expect("a large receive buffer");
    let room = socket2::SockRef::from(&ours)
        .recv_buffer_size()
        .expect("its size");
    // A small datagram takes about 768 bytes of a socket's room; stay well below, but above the number of buffers if the
    // system allows so much.
    let count = (room / 1024).min(3000);
    let (peer, _) = socket("127.0.0.1:0");
    let mut ring = UdpSocketRing::new(vec![ours]).expect("a ring");
    for i in 0..count as u32 {
        peer.send_to(&i.to_be_bytes(), our_address).expect("send");
    }
    let mut seen = Vec::new();
    harvest_until(&mut ring, &mut seen, |seen| seen.len() == count);
    assert!(
        seen.iter()
            .enumerate()
            .all(|(i, (_, _, bytes))| bytes[..] == (i as u32).to_be_bytes())
    );
}

#[test]
fn a_send_that_fails_is_reported_with_its_destination() {
    let (ours, _) = socket("127.0.0.1:0");
    let mut ring = UdpSocketRing::new(vec![ours]).expect("a ring");
    // A socket bound to the loopback address cannot reach the world.
    let nowhere: SocketAddr = "192.0.2.1:5060".parse().expect("a literal address");
    ring.send(0, nowhere, "lost").expect("queued");
    ring.flush().expect("flush");
    ring.harvest(|_, _, _| {}).expect("harvest");
    let failure = ring.pop_failure().expect("a failure");
    assert_eq!((failure.socket, failure.destination), (0, nowhere));
    assert!(failure.error.raw_os_error().is_some());
    assert_eq!(ring.counters().send_failures, 1);
    assert!(ring.send(1, nowhere, "no such socket").is_err());
}

#[test]
fn an_idle_ring_is_not_readable_and_its_port_is_free_after_it() {
    let (ours, our_address) = socket("127.0.0.1:0");
    let (peer, _) = socket("127.0.0.1:0");
    let mut ring = UdpSocketRing::new(vec![ours]).expect("a ring");
    assert!(!ring.wait(Duration::from_millis(20)).expect("poll"));
    peer.send_to(b"x", our_address).expect("send");
    let mut seen = Vec::new();
    harvest_until(&mut ring, &mut seen, |seen| seen.len() == 1);
    assert!(!ring.wait(Duration::from_millis(20)).expect("poll"));
    drop(ring);
    UdpSocket::bind(our_address).expect("the port is free again");
}

#[test]
fn a_bind_waits_for_a_port_that_is_about_to_be_free() {
    let (held, address) = socket("127.0.0.1:0");
    let refused = udp::bind(address, 1 << 20, Duration::ZERO).expect_err("the port is taken");
    assert_eq!(refused.kind(), std::io::ErrorKind::AddrInUse);
    let waiting = std::thread::spawn(move || udp::bind(address, 1 << 20, PATIENCE));
    std::thread::sleep(Duration::from_millis(60));
    drop(held);
    let bound = waiting.join().expect("no panic").expect("the port is free");
    assert_eq!(bound.local_addr().expect("an address"), address);
}

#[test]
fn an_edge_triggered_event_loop_misses_nothing() {
    use strowger_media::uring::readiness::Readiness;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (ours, our_address) = socket("127.0.0.1:0");
    let (peer, peer_address) = socket("127.0.0.1:0");
    let sender = std::thread::spawn(move || {
        let mut buffer = [0; 8];
        for i in 0..2000_u32 {
            peer.send_to(&i.to_be_bytes(), our_address).expect("send");
            // Now a burst, now an answer waited for: the loop is found both asleep and at work.
            if i % 64 == 63 {
                let (len, _) = peer.recv_from(&mut buffer).expect("an answer");
                assert_eq!(buffer[..len], i.to_be_bytes());
            }
        }
    });
    let mut next = 0_u32;
    runtime.block_on(async {
        let mut ring = UdpSocketRing::new(vec![ours]).expect("a ring");
        let ready = Readiness::new(ring.event_source().expect("a descriptor")).expect("polled");
        while next < 2000 {
            let readable = tokio::time::timeout(PATIENCE, ready.readable());
            let mut guard = readable.await.expect("a wake-up in time").expect("poll");
            let mut answers = Vec::new();
            let more = ring
                .harvest(|_, source, bytes| {
                    assert_eq!((source, bytes), (peer_address, &next.to_be_bytes()[..]));
                    if next % 64 == 63 {
                        answers.push(next);
                    }
                    next += 1;
                })
                .expect("harvest");
            if !more {
                guard.clear_ready();
            }
            for answer in answers {
                ring.send(0, peer_address, answer.to_be_bytes())
                    .expect("send");
            }
            ring.flush().expect("flush");
        }
    });
    sender.join().expect("the sender saw all answers");
}
