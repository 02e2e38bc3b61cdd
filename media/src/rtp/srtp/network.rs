//! Protected streams over a bad network and against an attacker, for every suite. Seeded.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::{
    CONTROL_OVERHEAD_MAX, Inbound, MasterKey, OVERHEAD_MAX, Outbound, Refused, Session, SrtpKeys,
    Suite,
};

const PLAIN: usize = 12 + 160;

struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

fn key(suite: Suite, fill: u8) -> MasterKey {
    let bytes: Vec<u8> = (0..suite.key_len() + suite.salt_len())
        .map(|i| fill.wrapping_mul(31).wrapping_add(i as u8))
        .collect();
    MasterKey::new(suite, &bytes).expect("the suite's length")
}

/// Packet number `n` of a stream: sequence and content follow from it.
fn packet(ssrc: u32, n: u64) -> Vec<u8> {
    let mut packet = vec![0x80, 8];
    packet.extend((n as u16).to_be_bytes());
    packet.extend((n as u32 * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.resize(PLAIN, n as u8);
    packet
}

fn protect(outbound: &mut Outbound, plain: &[u8]) -> Vec<u8> {
    let mut buffer = plain.to_vec();
    buffer.resize(plain.len() + OVERHEAD_MAX, 0xEE);
    let length = outbound
        .protect(&mut buffer, plain.len())
        .expect("room and a fresh number");
    buffer.truncate(length);
    buffer
}

fn report(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0x81, 202, 0, 2, 0, 0, 0, 1, 1, 1, b'x', 0]);
    packet
}

fn protect_control(outbound: &mut Outbound, plain: &[u8]) -> Vec<u8> {
    let mut buffer = plain.to_vec();
    buffer.resize(plain.len() + CONTROL_OVERHEAD_MAX, 0xEE);
    let length = outbound
        .protect_control(&mut buffer, plain.len())
        .expect("room");
    buffer.truncate(length);
    buffer
}

#[test]
fn every_packet_that_arrives_in_the_window_is_heard_once_across_wraps() {
    for (seed, suite) in (1..).zip(Suite::ALL) {
        let mut random = Random(seed * 0x9E37_79B9);
        let mut outbound = Outbound::new(key(suite, 1));
        let mut inbound = Inbound::new(key(suite, 1));
        let mut on_the_way: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut heard = HashSet::new();
        let (mut sent, mut repeated) = (0u64, 0u64);
        let mut n = 65_000u64;
        while n < 65_000 + 70_000 {
            n += 1;
            sent += 1;
            let protected = protect(&mut outbound, &packet(0xCAFE, n));
            match random.next(20) {
                0 => sent -= 1,
                1 => on_the_way.extend([(n, protected.clone()), (n, protected)]),
                _ => on_the_way.push((n, protected)),
            }
            // A long gap now and then: a sixth of the numbers is lost at once.
            if random.next(20_000) == 0 {
                let gap = 11_000;
                for skipped in 1..=gap {
                    if skipped % 1000 == 0 {
                        protect(&mut outbound, &packet(0xCAFE, n + skipped));
                    }
                }
                n += gap;
            }
            while on_the_way.len() > 20 {
                let at = random.next(on_the_way.len() as u64) as usize;
                let (number, mut bytes) = on_the_way.swap_remove(at);
                match inbound.unprotect(&mut bytes) {
                    Ok(length) => {
                        assert!(heard.insert(number), "{suite:?}: {number} twice");
                        assert_eq!(bytes[..length], packet(0xCAFE, number));
                    }
                    Err(Refused::Replay) => repeated += 1,
                    Err(why) => panic!("{suite:?}: {number}: {why}"),
                }
            }
        }
        // What is taken out at random may be older than the window: a few of ten thousand.
        assert!(
            heard.len() as u64 + 20 + sent / 500 > sent,
            "{suite:?}: {} of {sent}",
            heard.len()
        );
        assert!(repeated > 1000, "{suite:?}: {repeated}");
    }
}

#[test]
fn every_changed_bit_is_noticed_and_a_refused_packet_is_left_as_it_was() {
    for suite in Suite::ALL {
        let named = key(suite, 3)
            .with_identifier(&[0, 0, 0, 1])
            .expect("four bytes");
        let mut outbound = Outbound::new(key(suite, 3));
        let mut plain = packet(77, 500);
        // With a contributing source and an extension, which are authenticated but not encrypted.
        plain[0] = 0x91;
        plain[16..20].copy_from_slice(&[0xBE, 0xDE, 0, 1]);
        let protected = protect(&mut outbound, &plain);
        assert_eq!(protected.len(), PLAIN + suite.tag_len());
        assert_eq!(protected[..24], plain[..24]);
        assert_ne!(protected[24..PLAIN], plain[24..]);
        let control = protect_control(&mut outbound, &report(77));
        assert_eq!(
            control.len(),
            report(77).len() + suite.control_tag_len() + 4
        );
        for bit in 0..protected.len() * 8 {
            let mut inbound = Inbound::new(key(suite, 3));
            let mut bytes = protected.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let before = bytes.clone();
            assert!(
                inbound.unprotect(&mut bytes).is_err(),
                "{suite:?}: bit {bit}"
            );
            assert_eq!(bytes, before);
            assert_eq!(inbound.unprotect(&mut protected.clone()), Ok(PLAIN));
        }
        for bit in 0..control.len() * 8 {
            let mut inbound = Inbound::new(key(suite, 3));
            let mut bytes = control.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let before = bytes.clone();
            assert!(
                inbound.unprotect_control(&mut bytes).is_err(),
                "{suite:?}: RTCP bit {bit}"
            );
            assert_eq!(bytes, before);
            assert_eq!(
                inbound.unprotect_control(&mut control.clone()),
                Ok(report(77).len())
            );
        }
        for length in 0..protected.len() {
            let mut inbound = Inbound::new(key(suite, 3));
            assert!(
                inbound
                    .unprotect(&mut protected[..length].to_vec())
                    .is_err()
            );
            let mut inbound = Inbound::new(named.clone());
            assert!(
                inbound
                    .unprotect(&mut protected[..length].to_vec())
                    .is_err()
            );
        }
        for length in 0..control.len() {
            let mut inbound = Inbound::new(key(suite, 3));
            assert!(
                inbound
                    .unprotect_control(&mut control[..length].to_vec())
                    .is_err()
            );
        }
    }
}

#[test]
fn a_master_key_identifier_is_expected_where_the_suite_puts_it() {
    for suite in Suite::ALL {
        let mki = [0, 0, 0, 1];
        let mut outbound = Outbound::new(key(suite, 4));
        let protected = protect(&mut outbound, &packet(5, 10));
        let control = protect_control(&mut outbound, &report(5));
        let aead = suite.salt_len() == 12;
        // RFC 3711 §3.1: before the tag; RFC 7714 §8.2: the tag is part of the ciphertext, so behind it.
        let at = if aead { protected.len() } else { PLAIN };
        let mut with_mki = protected.clone();
        with_mki.splice(at..at, mki);
        let at = if aead {
            control.len()
        } else {
            control.len() - 10
        };
        let mut control_with_mki = control.clone();
        control_with_mki.splice(at..at, mki);
        let named = key(suite, 4).with_identifier(&mki).expect("four bytes");
        let other = key(suite, 4)
            .with_identifier(&[0, 0, 0, 2])
            .expect("four bytes");
        assert_eq!(
            Inbound::new(named.clone()).unprotect(&mut with_mki.clone()),
            Ok(PLAIN)
        );
        assert_eq!(
            Inbound::new(named.clone()).unprotect_control(&mut control_with_mki.clone()),
            Ok(report(5).len())
        );
        assert_eq!(
            Inbound::new(other).unprotect(&mut with_mki),
            Err(Refused::Auth)
        );
        assert!(
            Inbound::new(named)
                .unprotect_control(&mut control.clone())
                .is_err()
        );
    }
}

#[test]
fn replayed_reports_are_refused() {
    for suite in Suite::ALL {
        let mut outbound = Outbound::new(key(suite, 1));
        let mut inbound = Inbound::new(key(suite, 1));
        let all: Vec<Vec<u8>> = (0..300)
            .map(|_| protect_control(&mut outbound, &report(9)))
            .collect();
        for bytes in &all {
            assert_eq!(inbound.unprotect_control(&mut bytes.clone()), Ok(16 + 4));
        }
        for bytes in &all {
            assert_eq!(
                inbound.unprotect_control(&mut bytes.clone()),
                Err(Refused::Replay)
            );
        }
    }
}

#[test]
fn one_number_never_protects_two_packets() {
    let mut outbound = Outbound::new(key(Suite::AeadAes128Gcm, 1));
    for n in [10, 12, 11] {
        protect(&mut outbound, &packet(1, n));
    }
    for n in [10, 11, 12] {
        let mut again = packet(1, n);
        again.resize(PLAIN + OVERHEAD_MAX, 0);
        assert_eq!(outbound.protect(&mut again, PLAIN), Err(Refused::NotSent));
    }
    let mut short = packet(1, 13);
    assert_eq!(
        outbound.protect(&mut short, PLAIN),
        Err(Refused::NotSent),
        "no room"
    );
}

fn keys(suite: Suite, send: u8, receive: u8) -> SrtpKeys {
    SrtpKeys {
        send: key(suite, send),
        receive: key(suite, receive),
    }
}

#[test]
fn keys_change_in_mid_call_without_losing_what_is_on_the_way() {
    let (old, new) = (Suite::AesCm128Sha1Tag80, Suite::AeadAes256Gcm);
    let start = Instant::now();
    let mut session = Session::default();
    assert!(!session.update(start, Some(keys(old, 1, 2))));
    let mut first = Outbound::new(key(old, 2));
    let mut second = Outbound::new(key(new, 4));
    assert_eq!(
        session.unprotect(start, &mut protect(&mut first, &packet(1, 1))),
        Ok(PLAIN)
    );
    // The same keys again: nothing begins anew, a replay is still one.
    session.update(start, Some(keys(old, 1, 2)));
    let late = protect(&mut first, &packet(1, 2));
    assert_eq!(session.unprotect(start, &mut late.clone()), Ok(PLAIN));
    assert_eq!(
        session.unprotect(start, &mut late.clone()),
        Err(Refused::Replay)
    );
    session.update(start, Some(keys(new, 3, 4)));
    let soon = start + Duration::from_millis(300);
    assert_eq!(
        session.unprotect(soon, &mut protect(&mut second, &packet(1, 5))),
        Ok(PLAIN)
    );
    assert_eq!(
        session.unprotect(soon, &mut protect(&mut first, &packet(1, 3))),
        Ok(PLAIN)
    );
    assert_eq!(
        session.unprotect(soon, &mut late.clone()),
        Err(Refused::Auth)
    );
    let later = start + Duration::from_secs(3);
    let old_packet = protect(&mut first, &packet(1, 4));
    assert_eq!(
        session.unprotect(later, &mut old_packet.clone()),
        Err(Refused::Auth)
    );
    // Plain from now on: what is plain goes through, what was still protected is opened.
    session.update(later, None);
    let last = protect(&mut second, &packet(1, 6));
    assert_eq!(session.unprotect(later, &mut last.clone()), Ok(PLAIN));
    assert_eq!(session.unprotect(later, &mut packet(1, 7)), Ok(PLAIN));
    assert_eq!(session.protect(&mut packet(1, 7), PLAIN), Ok(PLAIN));
}

#[test]
fn a_new_key_wants_a_new_stream_only_after_a_wrap() {
    let suite = Suite::AesCm128Sha1Tag80;
    let now = Instant::now();
    let mut session = Session::default();
    session.update(now, Some(keys(suite, 1, 2)));
    let send = |session: &mut Session, n: u64| {
        let mut buffer = packet(1, n);
        buffer.resize(PLAIN + OVERHEAD_MAX, 0);
        session.protect(&mut buffer, PLAIN).expect("sent");
    };
    send(&mut session, 65_535);
    assert!(!session.update(now, Some(keys(suite, 3, 2))));
    send(&mut session, 65_535);
    send(&mut session, 65_536);
    assert!(
        !session.update(now, Some(keys(suite, 3, 5))),
        "our key is the same"
    );
    assert!(session.update(now, Some(keys(suite, 7, 5))));
}

#[test]
fn no_index_of_rtcp_is_used_twice_with_a_key_that_returns() {
    for suite in Suite::ALL {
        let now = Instant::now();
        let mut session = Session::default();
        let mut used = HashSet::new();
        // Key 1, another, key 1 again, plain, and key 1 once more.
        for (n, key) in [Some(1), Some(3), Some(1), None, Some(1)]
            .into_iter()
            .enumerate()
        {
            session.update(now, key.map(|fill| keys(suite, fill, 2)));
            let Some(key) = key else { continue };
            for _ in 0..3 {
                let plain = report(1);
                let mut buffer = plain.clone();
                buffer.resize(plain.len() + CONTROL_OVERHEAD_MAX, 0);
                let length = session.protect_control(&mut buffer, plain.len());
                let tag = match suite.is_aead() {
                    true => 0,
                    false => 10,
                };
                // The index stands before the tag, or at the end where the tag is part of the ciphertext.
                let end = length.expect("sent") - tag;
                let index = <[u8; 4]>::try_from(&buffer[end - 4..end]).expect("four bytes");
                assert!(
                    used.insert((key, index)),
                    "{suite:?}: {index:?} again in round {n}"
                );
            }
        }
        assert_eq!(used.len(), 12);
    }
}

/// What a fuzzer may find: no bytes panic, none pass.
#[test]
fn mutated_packets_are_refused_without_a_panic() {
    let mut random = Random(7);
    for suite in Suite::ALL {
        let mut outbound = Outbound::new(key(suite, 9));
        let mut sources = Vec::new();
        for n in 0..4 {
            sources.push(protect(&mut outbound, &packet(1, n)));
            sources.push(protect_control(&mut outbound, &report(1)));
        }
        let mut inbound = Inbound::new(key(suite, 9));
        for _ in 0..5000 {
            let mut bytes = sources[random.next(8) as usize].clone();
            for _ in 0..=random.next(6) {
                match random.next(4) {
                    0 => bytes.truncate(random.next(bytes.len() as u64 + 1) as usize),
                    1 => bytes.extend((0..random.next(40)).map(|n| n as u8)),
                    _ if bytes.is_empty() => {}
                    _ => {
                        let at = random.next(bytes.len() as u64) as usize;
                        bytes[at] = random.next(256) as u8;
                    }
                }
            }
            if sources.contains(&bytes) {
                continue;
            }
            assert!(inbound.unprotect(&mut bytes.clone()).is_err());
            assert!(inbound.unprotect_control(&mut bytes).is_err());
        }
    }
}
