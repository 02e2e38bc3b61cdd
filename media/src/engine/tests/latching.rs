//! Whose packets are taken, and where ours go.

use super::*;

fn addr(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 168, 0, last], port))
}

fn connects(rig: &mut Rig) -> Vec<Option<SocketAddr>> {
    std::mem::take(&mut rig.effects)
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Connect { remote, .. } => Some(remote),
            _ => None,
        })
        .collect()
}

#[test]
fn a_symmetric_leg_takes_its_first_source_and_no_other() {
    let (mut rig, a, b) = Rig::bridged();
    let mut phone = Phone::new(7);
    let nat = addr(9, 61_000);
    assert!(rig.receive_from(a, Some(nat), &phone.say(1)).is_some());
    assert!(matches!(
        rig.take_events()[..],
        [Event::FirstRtp { leg: A, source }] if source == nat
    ));
    assert_eq!(connects(&mut rig), [Some(nat)]);
    let stranger = addr(66, 61_000);
    assert!(rig.receive_from(a, Some(stranger), &phone.say(1)).is_none());
    let negotiated = remote(A);
    assert!(
        rig.receive_from(a, Some(negotiated), &phone.say(1))
            .is_none()
    );
    assert!(
        rig.receive_from(a, None, &phone.say(1)).is_some(),
        "checked by the kernel"
    );
    assert_eq!(rig.stats(A).drops.wrong_source, 2);
    let back = rig.receive(b, &Phone::new(8).say(1)).expect("relayed");
    assert_eq!(back.transmit.dest, nat, "what we send goes to the source");
}

#[test]
fn garbage_is_not_latched_onto() {
    let (mut rig, a, _) = Rig::bridged();
    let mut phone = Phone::new(7);
    phone.payload_type = 99;
    assert!(
        rig.receive_from(a, Some(addr(66, 1)), &phone.say(1))
            .is_none()
    );
    assert!(rig.receive_from(a, Some(addr(66, 1)), &[1, 2, 3]).is_none());
    phone.payload_type = 0;
    assert!(
        rig.receive_from(a, Some(addr(9, 2)), &phone.say(1))
            .is_some()
    );
    assert_eq!(connects(&mut rig), [Some(addr(9, 2))]);
}

#[test]
fn a_leg_that_is_not_symmetric_takes_the_negotiated_address_only() {
    let (mut rig, a, b) = Rig::bridged();
    rig.configure(A, |n| n.symmetric = false);
    let mut phone = Phone::new(7);
    assert!(
        rig.receive_from(a, Some(addr(9, 4000)), &phone.say(1))
            .is_none()
    );
    let other_port = SocketAddr::new(remote(A).ip(), 5555);
    assert!(
        rig.receive_from(a, Some(other_port), &phone.say(1))
            .is_some()
    );
    assert!(
        rig.receive_from(a, Some(remote(A)), &phone.say(1))
            .is_some()
    );
    assert!(connects(&mut rig).is_empty(), "two sources: no connection");
    let back = rig.receive(b, &Phone::new(8).say(1)).expect("relayed");
    assert_eq!(back.transmit.dest, remote(A), "ours go where it was agreed");
}

#[test]
fn a_leg_without_a_remote_address_sends_once_it_has_heard_somebody() {
    let (mut rig, a, b) = Rig::bridged();
    rig.configure(A, |n| n.remote_rtp = None);
    assert!(rig.receive(b, &Phone::new(8).say(1)).is_none());
    assert_eq!(rig.stats(A).drops.not_sending, 1);
    rig.receive_from(a, Some(addr(9, 9)), &Phone::new(7).say(1));
    let back = rig.receive(b, &Phone::new(8).say(1));
    assert!(back.is_none(), "the same packet again is a duplicate");
    let mut bob = Phone::new(8);
    bob.sequence = bob.sequence.wrapping_add(1);
    let back = rig.receive(b, &bob.say(1)).expect("relayed");
    assert_eq!(back.transmit.dest, addr(9, 9));
}

#[test]
fn a_remote_that_moves_is_latched_onto_anew_and_stragglers_are_not() {
    let (mut rig, a, _) = Rig::bridged();
    let mut phone = Phone::new(7);
    let old = addr(9, 1);
    rig.receive_from(a, Some(old), &phone.say(1));
    connects(&mut rig);
    rig.take_events();
    rig.configure(A, |_| ());
    assert!(
        connects(&mut rig).is_empty(),
        "the same address stays latched"
    );
    rig.configure(A, |n| n.remote_rtp = Some(addr(20, 7000)));
    assert_eq!(connects(&mut rig), [None]);
    assert!(
        rig.receive_from(a, None, &phone.say(1)).is_none(),
        "from the connection that was given up"
    );
    assert!(rig.receive_from(a, Some(old), &phone.say(1)).is_none());
    let new = addr(21, 7000);
    assert!(rig.receive_from(a, Some(new), &phone.say(1)).is_some());
    assert_eq!(connects(&mut rig), [Some(new)]);
    assert!(matches!(rig.take_events()[..], [Event::FirstRtp { source, .. }] if source == new));
}

#[test]
fn an_old_source_that_keeps_sending_is_taken_again_after_a_while() {
    let (mut rig, a, _) = Rig::bridged();
    let mut phone = Phone::new(7);
    let nat = addr(9, 1);
    rig.receive_from(a, Some(nat), &phone.say(1));
    rig.configure(A, |n| n.remote_rtp = Some(addr(20, 7000)));
    assert!(rig.receive_from(a, Some(nat), &phone.say(1)).is_none());
    rig.pass(600);
    assert!(rig.receive_from(a, Some(nat), &phone.say(1)).is_some());
}
