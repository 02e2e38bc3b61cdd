//! Whole exchanges in virtual time: two or three of them, each with its shards, transactions, dialogs, calls and bridges, on a
//! link that loses, duplicates, delays and reorders what they say to each other. Only what lies outside of signalling is played:
//! the sockets of SIP, the media thread, and the clock. Everything follows from a seed.
//!
//! `SEEDS`, `FIRST_SEED` and `CALLS` have more, others or longer ones run: see docs/testing.md.

mod dialplan;
mod exchange;
mod network;
mod packets;
mod plan;
mod world;

pub(super) use packets::Packets;

use world::Outcome;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// How many calls a seed has unless somebody says: most are short, so that many settings and kinds of weather are seen.
fn calls_of(seed: u64) -> usize {
    match seed % 25 {
        0 => 1000,
        _ => 40,
    }
}

fn run_seeds(exchanges: usize, seeds: u64, lane: u8) -> Outcome {
    let first = number("FIRST_SEED").unwrap_or(0);
    let seeds = number("SEEDS").unwrap_or(seeds);
    let mut all = Outcome::default();
    let mut failed = Vec::new();
    for seed in first..first + seeds {
        let calls = number("CALLS").map_or_else(|| calls_of(seed), |calls| calls as usize);
        let outcome = world::run(seed, exchanges, calls, lane);
        if !outcome.faults.is_empty() {
            let name = if exchanges == 2 { "two" } else { "three" };
            eprintln!(
                "seed {seed}, {exchanges} exchanges, {calls} calls; again with\n  SEEDS=1 FIRST_SEED={seed} CALLS={calls} cargo test -p strowger-core {name}_exchanges_"
            );
            for fault in &outcome.faults {
                eprintln!("  {fault}");
            }
            failed.push(seed);
        }
        all.answered += outcome.answered;
        all.bridged += outcome.bridged;
        all.transferred += outcome.transferred;
        all.cut += outcome.cut;
        all.legs += outcome.legs;
        all.took += outcome.took;
        for (sum, count) in all.acts.iter_mut().zip(outcome.acts) {
            *sum += count;
        }
        all.carried.sent += outcome.carried.sent;
        all.carried.lost += outcome.carried.lost;
        all.carried.duplicated += outcome.carried.duplicated;
        all.carried.swallowed += outcome.carried.swallowed;
    }
    eprintln!("{exchanges} exchanges, {seeds} seeds: {all:?}");
    assert!(
        failed.is_empty(),
        "seeds {failed:?} of {exchanges} exchanges failed"
    );
    all
}

/// The seeds really visit what they are for.
fn is_worth_it(outcome: &Outcome) -> bool {
    let [holds, resumes, refreshes, transfers] = outcome.acts;
    let rare = [
        holds,
        resumes,
        refreshes,
        transfers,
        outcome.cut,
        outcome.transferred,
    ];
    outcome.answered > 500
        && outcome.bridged > 200
        && outcome.carried.lost > 1000
        && rare.iter().all(|count| *count > 10)
}

#[test]
fn two_exchanges_agree_on_every_call_and_leave_nothing_behind() {
    let outcome = run_seeds(2, 100, 0);
    assert!(
        number("SEEDS").is_some() || is_worth_it(&outcome),
        "{outcome:?}"
    );
}

#[test]
fn three_exchanges_agree_on_every_call_and_leave_nothing_behind() {
    let outcome = run_seeds(3, 100, 1);
    assert!(
        number("SEEDS").is_some() || is_worth_it(&outcome),
        "{outcome:?}"
    );
}

#[test]
fn a_seed_runs_the_same_way_again() {
    let marks = |seed| world::run(seed, 3, 12, 2).carried.mark;
    assert_eq!(marks(7), marks(7), "datagram for datagram");
    assert_ne!(marks(7), marks(8));
}
