//! What holds for a layer whatever happens to it, in any order.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::tests::{VIA, answer, flow, layer, our_invite, request, respond};
use super::*;
use crate::flow::Transport;

/// One thing that happens to a layer.
#[derive(Clone, Debug)]
enum Step {
    Receive {
        method: usize,
        branch: u8,
        tag: bool,
    },
    Send {
        branch: u8,
        invite: bool,
    },
    Answer {
        branch: u8,
        invite: bool,
        status: u16,
    },
    Respond {
        which: usize,
        status: u16,
    },
    Cancel {
        which: usize,
    },
    Fail,
    Wait {
        ms: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let status = prop_oneof![
        Just(100u16),
        Just(180),
        Just(200),
        Just(302),
        Just(486),
        Just(603)
    ];
    prop_oneof![
        4 => (0..5usize, 0..6u8, any::<bool>()).prop_map(|(method, branch, tag)| Step::Receive { method, branch, tag }),
        2 => (0..6u8, any::<bool>()).prop_map(|(branch, invite)| Step::Send { branch, invite }),
        4 => (0..6u8, any::<bool>(), status.clone()).prop_map(|(branch, invite, status)| Step::Answer { branch, invite, status }),
        3 => (0..8usize, status).prop_map(|(which, status)| Step::Respond { which, status }),
        2 => (0..8usize).prop_map(|which| Step::Cancel { which }),
        1 => Just(Step::Fail),
        4 => (0..20_000u64).prop_map(|ms| Step::Wait { ms }),
    ]
}

fn ours(branch: u8, invite: bool) -> Message {
    let message = our_invite(&format!("z9hG4bKours{branch}"));
    if invite {
        return message;
    }
    let text = String::from_utf8(message.raw().to_vec()).expect("text");
    Message::parse(Bytes::from(text.replace("INVITE", "OPTIONS"))).expect("a message")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_transaction_ends_and_nothing_is_left(
        steps in proptest::collection::vec(step(), 1..60),
        tcp in any::<bool>(),
    ) {
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        let flow = flow(transport);
        let (mut layer, mut now) = layer();
        let mut clients = Vec::new();
        let mut servers: Vec<(ServerId, Message)> = Vec::new();
        let mut open = std::collections::HashSet::new();
        let mut settle = |layer: &mut Layer, servers: &mut Vec<(ServerId, Message)>| {
            while layer.poll_transmit().is_some() {}
            while let Some(event) = layer.poll_event() {
                match event {
                    Event::Request { id, message, .. } => {
                        assert!(open.insert(id));
                        servers.push((id, message));
                    }
                    Event::ServerTerminated { id } => assert!(open.remove(&id)),
                    _ => {}
                }
            }
            open.len()
        };
        for step in steps {
            match step {
                Step::Receive { method, branch, tag } => {
                    let method = ["INVITE", "ACK", "CANCEL", "BYE", "OPTIONS"][method];
                    let tag = if tag { ";tag=ours" } else { "" };
                    layer.receive(now, request(method, &format!("{VIA}{branch}"), 1, tag), flow);
                }
                Step::Send { branch, invite } => {
                    clients.extend(layer.request(now, ours(branch, invite), flow));
                }
                Step::Answer { branch, invite, status } => {
                    layer.receive(now, answer(&ours(branch, invite), status), flow);
                }
                Step::Respond { which, status } => {
                    if let Some((id, request)) = servers.get(which).cloned() {
                        respond(&mut layer, now, id, &request, status);
                    }
                }
                Step::Cancel { which } => {
                    if let Some(id) = clients.get(which) {
                        layer.cancel(now, *id, None);
                    }
                }
                Step::Fail => layer.transport_failed(now, &flow),
                Step::Wait { ms } => {
                    now += Duration::from_millis(ms);
                    layer.handle_timeout(now);
                }
            }
            settle(&mut layer, &mut servers);
        }
        let mut rounds = 0;
        while let Some(next) = layer.next_timeout() {
            now = now.max(next);
            layer.handle_timeout(now);
            settle(&mut layer, &mut servers);
            rounds += 1;
            prop_assert!(rounds < 10_000, "timers never end");
        }
        prop_assert!(layer.is_empty());
        prop_assert_eq!(settle(&mut layer, &mut servers), 0, "a transaction ended without a word");
    }
}
