//! Legs whose media is protected (RFC 3711): relayed to plain ones and to others with another suite, prompts, reports,
//! changes of keys, packets that are not authentic.

use super::*;
use crate::rtp::rtcp::{self, Part};
use crate::rtp::srtp::{
    CONTROL_OVERHEAD_MAX, Inbound, MasterKey, OVERHEAD_MAX, Outbound, SrtpKeys, Suite,
};

fn key(suite: Suite, fill: u8) -> MasterKey {
    let bytes = vec![fill; suite.key_len() + suite.salt_len()];
    MasterKey::new(suite, &bytes).expect("the suite's length")
}

/// The far end of a secured leg.
struct Remote {
    suite: Suite,
    ours: u8,
    theirs: u8,
    outbound: Outbound,
    inbound: Inbound,
}

impl Remote {
    /// With keys made of these bytes: what we send to it, what it sends to us.
    fn new(suite: Suite, ours: u8, theirs: u8) -> Self {
        Self {
            suite,
            ours,
            theirs,
            outbound: Outbound::new(key(suite, theirs)),
            inbound: Inbound::new(key(suite, ours)),
        }
    }

    fn keys(&self) -> SrtpKeys {
        SrtpKeys {
            send: key(self.suite, self.ours),
            receive: key(self.suite, self.theirs),
        }
    }

    fn secure(&self, rig: &mut Rig, leg: LegId) {
        let keys = self.keys();
        rig.configure(leg, |negotiated| negotiated.srtp = Some(keys));
    }

    fn protect(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + OVERHEAD_MAX, 0);
        let length = self.outbound.protect(&mut buffer, packet.len());
        buffer.truncate(length.expect("a fresh number"));
        buffer
    }

    fn open(&mut self, sent: &Sent) -> Sent {
        let mut sent = sent.clone();
        let unprotect = match sent.transmit.rtcp {
            true => Inbound::unprotect_control,
            false => Inbound::unprotect,
        };
        let length = unprotect(&mut self.inbound, &mut sent.bytes).expect("authentic");
        sent.bytes.truncate(length);
        sent
    }
}

#[test]
fn a_secured_leg_and_a_plain_one_hear_each_other() {
    for suite in Suite::ALL {
        let (mut rig, a, b) = Rig::bridged();
        let mut remote = Remote::new(suite, 1, 2);
        remote.secure(&mut rig, A);
        let (mut alice, mut bob) = (Phone::new(7), Phone::new(8));
        for n in 0..200u8 {
            let protected = remote.protect(&alice.say(n));
            let heard = rig.receive(a, &protected).expect("relayed");
            assert_eq!((heard.bytes.len(), heard.payload()), (172, &[n; 160][..]));
            let heard = rig.receive(b, &bob.say(n ^ 1)).expect("relayed");
            assert_eq!(heard.bytes.len(), 172 + suite.tag_len());
            assert_ne!(heard.bytes[12..172], [n ^ 1; 160]);
            assert_eq!(remote.open(&heard).payload(), [n ^ 1; 160]);
            rig.pass(20);
        }
        assert_eq!(rig.stats(A).drops, crate::Drops::default());
    }
}

#[test]
fn two_secured_legs_of_different_suites_hear_each_other() {
    for (first, second) in Suite::ALL.into_iter().zip(Suite::ALL.into_iter().rev()) {
        let (mut rig, a, b) = Rig::bridged();
        let mut alice = Remote::new(first, 1, 2);
        let mut bob = Remote::new(second, 3, 4);
        alice.secure(&mut rig, A);
        bob.secure(&mut rig, B);
        let mut phone = Phone::new(7);
        for n in 0..100u8 {
            let packet = phone.say(n);
            let heard = rig.receive(a, &alice.protect(&packet)).expect("relayed");
            assert_eq!(bob.open(&heard).payload(), [n; 160]);
            let heard = rig.receive(b, &bob.protect(&packet)).expect("relayed");
            assert_eq!(alice.open(&heard).payload(), [n; 160]);
            rig.pass(20);
        }
    }
}

#[test]
fn an_extension_and_padding_inside_the_protection_are_taken_off() {
    let (mut rig, a, _) = Rig::bridged();
    let mut remote = Remote::new(Suite::AesCm128Sha1Tag80, 1, 2);
    remote.secure(&mut rig, A);
    let mut packet = Phone::new(7).say(9);
    packet[0] |= 0x30;
    packet.splice(12..12, [0xBE, 0xDE, 0, 1, 1, 2, 3, 4]);
    packet.extend([0, 0, 0, 4]);
    let heard = rig.receive(a, &remote.protect(&packet)).expect("relayed");
    assert_eq!(heard.payload(), [9; 160]);
}

#[test]
fn what_is_plain_forged_or_repeated_goes_no_further_and_moves_nobody() {
    let (mut rig, a, _) = Rig::bridged();
    let mut remote = Remote::new(Suite::AesCm128Sha1Tag80, 1, 2);
    remote.secure(&mut rig, A);
    let mut phone = Phone::new(7);
    let stranger = SocketAddr::from(([10, 9, 9, 9], 9));
    assert!(rig.receive_from(a, Some(stranger), &phone.say(1)).is_none());
    assert!(
        rig.receive_from(a, Some(stranger), &[0x80, 0, 0, 1])
            .is_none()
    );
    assert!(rig.take_events().is_empty(), "nobody was latched onto");
    let good = remote.protect(&phone.say(2));
    assert!(rig.receive(a, &good).is_some());
    assert!(rig.receive(a, &good).is_none());
    let mut forged = remote.protect(&phone.say(3));
    forged[100] ^= 1;
    assert!(rig.receive(a, &forged).is_none());
    let drops = rig.stats(A).drops;
    assert_eq!(
        (drops.srtp_auth, drops.srtp_replay, drops.srtp_unprotected),
        (2, 1, 1)
    );
    assert_eq!(rig.counters.drop_srtp_auth.get(), 2);
    assert_eq!(rig.counters.drop_srtp_replay.get(), 1);
    assert_eq!(rig.stats(A).packets_received, 1);
}

#[test]
fn prompts_and_reports_are_protected_and_those_of_the_remote_are_read() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    let mut remote = Remote::new(Suite::AeadAes128Gcm, 1, 2);
    remote.secure(&mut rig, A);
    rig.play(A, 5, &[8000], Repeat::Forever);
    rig.pass(5500);
    let prompts = rig.take_sent(a);
    let loud = crate::codec::g711::ulaw_encode(4000);
    assert!(prompts.len() > 270);
    for sent in &prompts {
        assert_eq!(remote.open(sent).payload(), [loud; 160]);
    }
    let report = rig.sent.iter().find(|sent| sent.transmit.rtcp);
    let report = remote.open(report.expect("a report after five seconds"));
    let mut ssrc = 0;
    rtcp::parse(&report.bytes, |part| {
        if let Part::Sender { ssrc: from, .. } = part {
            ssrc = from;
        }
    })
    .expect("a valid report");
    assert_eq!(ssrc, 0x1000_0001);
    // A receiver report without blocks.
    let plain = [0x80, 201, 0, 1, 0, 0, 0, 7];
    let mut protected = plain.to_vec();
    protected.resize(plain.len() + CONTROL_OVERHEAD_MAX, 0);
    let length = remote.outbound.protect_control(&mut protected, plain.len());
    protected.truncate(length.expect("room"));
    let from = Some(SocketAddr::new(super::remote(A).ip(), 4001));
    rig.engine.rtcp(rig.now, a, from, &protected);
    assert_eq!(rig.stats(A).rtcp_received, 1);
    rig.engine.rtcp(rig.now, a, from, &protected);
    rig.engine.rtcp(rig.now, a, from, &plain);
    let stats = rig.stats(A);
    assert_eq!(stats.rtcp_received, 1);
    assert_eq!(
        (stats.drops.srtp_replay, stats.drops.srtp_unprotected),
        (1, 1)
    );
}

#[test]
fn keys_change_in_mid_call() {
    let (mut rig, a, b) = Rig::bridged();
    let mut old = Remote::new(Suite::AesCm128Sha1Tag80, 1, 2);
    old.secure(&mut rig, A);
    let (mut alice, mut bob) = (Phone::new(7), Phone::new(8));
    assert!(rig.receive(a, &old.protect(&alice.say(1))).is_some());
    let on_the_way = old.protect(&alice.say(2));
    let mut new = Remote::new(Suite::AesCm256Sha1Tag80, 3, 4);
    new.secure(&mut rig, A);
    rig.pass(100);
    assert!(rig.receive(a, &on_the_way).is_some());
    let heard = rig
        .receive(a, &new.protect(&alice.say(3)))
        .expect("the new key");
    assert_eq!(heard.payload(), [3; 160]);
    let heard = rig.receive(b, &bob.say(4)).expect("relayed");
    assert_eq!(new.open(&heard).payload(), [4; 160]);
    rig.pass(3000);
    assert!(rig.receive(a, &old.protect(&alice.say(5))).is_none());
    // The same keys once more: the streams go on.
    new.secure(&mut rig, A);
    let heard = rig.receive(b, &bob.say(6)).expect("relayed");
    assert_eq!(new.open(&heard).payload(), [6; 160]);
    rig.configure(A, |_| ());
    rig.pass(3000);
    let heard = rig.receive(b, &bob.say(7)).expect("relayed");
    assert_eq!(heard.payload(), [7; 160], "plain again");
    assert!(rig.receive(a, &alice.say(8)).is_some());
}

#[test]
fn after_a_wrap_a_new_key_begins_a_new_stream() {
    let (mut rig, _, b) = Rig::bridged();
    let mut first = Remote::new(Suite::AesCm128Sha1Tag80, 1, 2);
    first.secure(&mut rig, A);
    let mut bob = Phone::new(8);
    let mut ssrc = 0;
    for _ in 0..66_000u32 {
        let heard = rig.receive(b, &bob.say(1)).expect("relayed");
        ssrc = first.open(&heard).header().ssrc;
    }
    let mut second = Remote::new(Suite::AesCm128Sha1Tag80, 3, 4);
    second.secure(&mut rig, A);
    let heard = rig.receive(b, &bob.say(2)).expect("relayed");
    let heard = second.open(&heard);
    assert_ne!(heard.header().ssrc, ssrc);
    assert_eq!(heard.payload(), [2; 160]);
}

#[test]
fn without_room_for_the_tag_a_packet_is_dropped_and_counted() {
    let (mut rig, _, b) = Rig::bridged();
    Remote::new(Suite::AesCm128Sha1Tag32, 1, 2).secure(&mut rig, A);
    let mut packet = Phone::new(8).say(1);
    let source = Some(remote(B));
    assert!(rig.engine.rtp(rig.now, b, source, &mut packet).is_none());
    assert_eq!(rig.stats(A).drops.srtp_not_sent, 1);
}
