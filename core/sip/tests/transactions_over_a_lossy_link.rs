//! Calls over a link that loses, duplicates and reorders: every transaction ends, once, and nothing is left behind.

mod pair;

use std::time::Duration;

use pair::{FINE, Pair, Plan, Random, Side, Verdict, Weather, check_invariants};
use strowger_sip::flow::Transport;

fn random_plan(random: &mut Random) -> Plan {
    let after_ms = random.below(8000);
    Plan {
        start_ms: random.below(3000),
        ring_ms: random.percent(70).then(|| random.below(1500)),
        verdict: match random.below(10) {
            0..=4 => Verdict::Accept { after_ms },
            5..=7 => Verdict::Refuse {
                after_ms,
                status: [302, 404, 486, 500, 603][random.below(5) as usize],
            },
            _ => Verdict::Never,
        },
        cancel_ms: random.percent(40).then(|| random.below(9000)),
        hang_up: (
            if random.percent(50) {
                Side::Caller
            } else {
                Side::Callee
            },
            random.below(5000),
        ),
    }
}

fn run(seed: u64, weather: Weather) -> (Pair, Vec<pair::Record>, Vec<Plan>) {
    let mut random = Random::new(seed ^ 0xabcd);
    let mut plans: Vec<Plan> = (0..3).map(|_| random_plan(&mut random)).collect();
    for plan in &mut plans {
        // Somebody has to end it.
        if plan.verdict == Verdict::Never && plan.cancel_ms.is_none() {
            plan.cancel_ms = Some(5000);
        }
    }
    let mut pair = Pair::new(seed, weather, &plans);
    let records = pair.run();
    check_invariants(&format!("seed {seed}, {weather:?}"), &pair, &records);
    (pair, records, plans)
}

#[test]
fn every_invite_has_one_outcome_on_each_side_and_nothing_is_left() {
    let mut answered = 0;
    let mut failed = 0;
    let mut timed_out = 0;
    let mut retransmitted = 0;
    for seed in 0..5000 {
        let mut random = Random::new(seed);
        let weather = Weather {
            loss_percent: random.below(60),
            duplicate_percent: random.below(30),
            delay_ms: (1, 1 + random.below(900)),
            transport: Transport::Udp,
        };
        let (pair, records, _) = run(seed, weather);
        for record in &records {
            match record.caller_finals[0] {
                1 => timed_out += 1,
                200 => answered += 1,
                _ => failed += 1,
            }
        }
        retransmitted += pair.layers[0].counters().retransmissions_sent;
    }
    // The seeds really visit all ends.
    assert!(
        answered > 500 && failed > 500 && timed_out > 20,
        "{answered} {failed} {timed_out}"
    );
    assert!(retransmitted > 1000);
}

#[test]
fn on_a_good_link_every_call_goes_as_planned_and_little_is_sent_twice() {
    for seed in 0..300 {
        for transport in [Transport::Udp, Transport::Tcp] {
            let weather = Weather { transport, ..FINE };
            let (pair, records, plans) = run(seed, weather);
            for (record, plan) in records.iter().zip(&plans) {
                let context = format!("seed {seed} {transport} {plan:?} {record:?}");
                let told = record.caller_finals[0];
                // 20 ms are on the way: what is nearer to each other than that is a race.
                let decided = match plan.verdict {
                    Verdict::Accept { after_ms } => Some((after_ms, 200)),
                    Verdict::Refuse { after_ms, status } => Some((after_ms, status)),
                    Verdict::Never => None,
                };
                match (plan.cancel_ms, decided) {
                    (None, Some((_, status))) => assert_eq!(told, status, "{context}"),
                    (Some(cancel), Some((after, status))) if cancel > after + 30 => {
                        assert_eq!(told, status, "{context}");
                    }
                    (Some(_), None) => assert_eq!(told, 487, "{context}"),
                    // A CANCEL before the first provisional response waits for it.
                    (Some(cancel), Some((after, _))) if cancel.max(230) + 30 < after => {
                        assert_eq!(told, 487, "{context}");
                    }
                    _ => {}
                }
                assert_eq!(record.no_ack + record.given_up, 0, "{context}");
                assert_eq!(record.repeated_2xx, 0, "{context}");
                if told == 200 {
                    assert_eq!(record.acks_seen, 1, "{context}");
                    assert!(record.byes_seen >= 1, "{context}");
                }
                assert!(record.bye_finals.iter().all(|f| *f == 200 || *f == 481));
            }
            assert_eq!(pair.living_dialogs(), 0, "seed {seed}");
            for layer in &pair.layers {
                assert_eq!(layer.counters().retransmissions_sent, 0, "seed {seed}");
                assert_eq!(layer.counters().responses_unmatched, 0, "seed {seed}");
            }
        }
    }
}

#[test]
fn a_dead_link_ends_every_call_by_timer_b() {
    let plan = Plan {
        start_ms: 0,
        ring_ms: None,
        verdict: Verdict::Never,
        cancel_ms: None,
        hang_up: (Side::Caller, 0),
    };
    let weather = Weather {
        loss_percent: 100,
        ..FINE
    };
    let mut pair = Pair::new(1, weather, &[plan; 20]);
    let records = pair.run();
    check_invariants("dead link", &pair, &records);
    assert!(
        records
            .iter()
            .all(|r| r.caller_finals == [1] && r.invites_seen == 0)
    );
    assert_eq!(pair.elapsed(), Duration::from_secs(32));
    // Seven INVITEs each (500 ms, doubling, until 32 s).
    assert_eq!(pair.sent, 20 * 7);
}

#[test]
fn a_telephone_nobody_answers_and_nobody_cancels_is_ended_by_the_provisional_limit() {
    let plan = Plan {
        start_ms: 0,
        ring_ms: Some(10),
        verdict: Verdict::Never,
        cancel_ms: None,
        hang_up: (Side::Caller, 0),
    };
    let mut pair = Pair::new(1, FINE, &[plan]);
    let records = pair.run();
    check_invariants("forgotten", &pair, &records);
    // Callee and caller both reach their limit; the callee's 408 is on the way first.
    assert_eq!(records[0].caller_finals, [408]);
    assert_eq!(records[0].callee_finals, [408]);
}
