//! Whole calls between two exchanges over a link that loses, duplicates and reorders: reliable provisional responses,
//! offers and answers, changes from both sides at once, session timers. Nothing is left behind, and no side thinks a call
//! up for long that the other thinks down.

mod exchanges;

use exchanges::{Random, Weather, World, is_explained};

fn check(seed: u64, world: &World) {
    for (side, layer) in world.layers.iter().enumerate() {
        assert_eq!(
            layer.next_timeout(),
            None,
            "seed {seed}: a transaction of side {side} is stuck"
        );
    }
    for call in &world.calls {
        if let Err(what) = is_explained(call, world.timers.linger()) {
            panic!("seed {seed}: {what}");
        }
        for party in &call.parties {
            assert!(party.next_timeout().is_none(), "seed {seed}: {party:?}");
            assert!(
                party.change.is_none(),
                "seed {seed}: a change is under way for ever"
            );
        }
    }
}

/// How many seeds: more on demand.
fn seeds(usual: u64) -> u64 {
    let asked = std::env::var("STROWGER_SEEDS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn every_call_ends_on_both_sides_and_nothing_is_left() {
    let (mut pracks, mut changes, mut crossed, mut up) = (0, 0, 0, 0);
    for seed in 0..seeds(1500) {
        let mut random = Random::new(seed);
        let weather = Weather {
            loss_percent: random.below(40),
            duplicate_percent: random.below(30),
            delay_ms_max: 1 + random.below(900),
        };
        let mut world = World::new(seed, weather, 8);
        world.run();
        check(seed, &world);
        pracks += world.pracks;
        changes += world.changes;
        crossed += world.crossed;
        let parties = world.calls.iter().flat_map(|call| &call.parties);
        up += parties.filter(|party| party.up_at.is_some()).count();
    }
    // The seeds really visit what they are for.
    assert!(
        pracks > 1000 && changes > 1000 && crossed > 50 && up > 1000,
        "{pracks} {changes} {crossed} {up}"
    );
}

#[test]
fn when_the_link_dies_every_call_with_a_timer_ends_by_itself() {
    let (mut expired, mut given_up) = (0, 0);
    for seed in 0..seeds(600) {
        let weather = Weather {
            loss_percent: 5,
            duplicate_percent: 5,
            delay_ms_max: 50,
        };
        let mut world = World::new(seed, weather, 8);
        world.cut_after(5_000 + Random::new(seed).below(30_000));
        world.run();
        check(seed, &world);
        expired += world.expired;
        given_up += world.given_up;
    }
    assert!(expired > 50 && given_up > 10, "{expired} {given_up}");
}
