//! CANCEL against the answer, in every order that the link allows (RFC 3261 §9, RFC 5407 §3.1.2).

mod pair;

use pair::{FINE, Pair, Plan, Record, Side, Verdict, Weather, check_invariants};

fn plan(cancel_ms: u64, verdict: Verdict, ring_ms: Option<u64>) -> Plan {
    Plan {
        start_ms: 0,
        ring_ms,
        verdict,
        cancel_ms: Some(cancel_ms),
        hang_up: (Side::Caller, 60_000),
    }
}

fn run(seed: u64, weather: Weather, plan: Plan) -> (Record, Pair) {
    let mut pair = Pair::new(seed, weather, &[plan]);
    let records = pair.run();
    check_invariants(&format!("seed {seed} {plan:?}"), &pair, &records);
    (records[0].clone(), pair)
}

#[test]
fn a_cancel_while_it_rings_ends_in_487_on_both_sides() {
    let (record, pair) = run(1, FINE, plan(500, Verdict::Never, Some(0)));
    assert_eq!(record.caller_finals, [487]);
    assert_eq!(record.callee_finals, [487]);
    assert_eq!(record.cancels_seen, 1);
    let caller = pair.layers[0].counters();
    assert_eq!((caller.cancels_sent, caller.retransmissions_sent), (1, 0));
    let callee = pair.layers[1].counters();
    assert_eq!((callee.cancels_received, callee.acks_absorbed), (1, 1));
}

#[test]
fn a_cancel_before_any_response_waits_for_the_first_one() {
    // The callee is silent: its layer answers 100 after 200 ms, and only then the CANCEL may go (§9.1).
    let (record, pair) = run(1, FINE, plan(1, Verdict::Never, None));
    assert_eq!(record.caller_finals, [487]);
    assert_eq!(record.cancels_seen, 1);
    assert_eq!(pair.layers[1].counters().trying_sent, 1);
}

#[test]
fn a_cancel_into_the_void_never_leaves() {
    let weather = Weather {
        loss_percent: 100,
        ..FINE
    };
    let (record, pair) = run(1, weather, plan(100, Verdict::Never, None));
    assert_eq!(record.caller_finals, [1]);
    assert_eq!(pair.layers[0].counters().cancels_sent, 0);
}

#[test]
fn a_200_that_crosses_the_cancel_wins_and_is_hung_up() {
    // 10 ms each way: the CANCEL leaves at 1005, the 200 at 1000 + 10.
    let (record, pair) = run(
        1,
        FINE,
        plan(1005, Verdict::Accept { after_ms: 1000 }, Some(0)),
    );
    assert_eq!(record.caller_finals, [200]);
    assert_eq!(record.callee_finals, [200]);
    // Too late to matter, so nobody is told of it; answered all the same.
    assert_eq!(record.cancels_seen, 0);
    assert_eq!(pair.layers[1].counters().cancels_received, 1);
    assert_eq!(record.acks_seen, 1);
    assert_eq!(record.byes_seen, 1);
    assert_eq!(record.bye_finals, [200]);
    assert_eq!(pair.living_dialogs(), 0);
}

#[test]
fn a_refusal_that_crosses_the_cancel_stands() {
    let verdict = Verdict::Refuse {
        after_ms: 1000,
        status: 486,
    };
    let (record, _) = run(1, FINE, plan(1005, verdict, Some(0)));
    assert_eq!(record.caller_finals, [486]);
    assert_eq!(record.cancels_seen, 0);
}

#[test]
fn every_moment_of_a_cancel_around_the_answer_resolves_to_one_outcome() {
    let (mut won, mut lost) = (0, 0);
    for cancel_ms in 980..1040 {
        for jitter in [0, 5, 30] {
            let weather = Weather {
                delay_ms: (10, 10 + jitter),
                ..FINE
            };
            let verdict = Verdict::Accept { after_ms: 1000 };
            let (record, pair) = run(cancel_ms, weather, plan(cancel_ms, verdict, Some(0)));
            match record.caller_finals[0] {
                200 => {
                    won += 1;
                    assert_eq!(record.cancels_seen, 0, "{cancel_ms} {record:?}");
                    assert_eq!(pair.living_dialogs(), 0, "{cancel_ms} {record:?}");
                }
                487 => {
                    lost += 1;
                    assert_eq!(record.cancels_seen, 1, "{cancel_ms} {record:?}");
                    assert_eq!(record.acks_seen, 0, "{cancel_ms} {record:?}");
                }
                other => panic!("{cancel_ms}: {other} {record:?}"),
            }
        }
    }
    assert!(won > 10 && lost > 10, "{won} {lost}");
}

#[test]
fn cancel_races_over_a_lossy_link_never_leave_the_sides_apart() {
    let mut seen = [0; 3];
    for seed in 0..1500 {
        let weather = Weather {
            loss_percent: 40,
            duplicate_percent: 20,
            delay_ms: (5, 300),
            ..FINE
        };
        let verdict = Verdict::Accept {
            after_ms: 900 + seed % 400,
        };
        let (record, _) = run(seed, weather, plan(1000, verdict, Some(100)));
        match record.caller_finals[0] {
            200 => seen[0] += 1,
            487 => seen[1] += 1,
            _ => seen[2] += 1,
        }
    }
    assert!(seen[0] > 200 && seen[1] > 200, "{seen:?}");
}
