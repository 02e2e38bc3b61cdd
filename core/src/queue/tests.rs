//! Whose turn it is and who is rung, in virtual time.

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::*;
use crate::device::DeviceState::{self, *};

struct Office {
    table: Table,
    now: Instant,
    devices: FxHashMap<String, DeviceState>,
}

impl Office {
    fn new(options: &[(&str, &str)], members: &[(&str, u32)]) -> Self {
        Self::seeded(7, options, members)
    }

    fn seeded(seed: u64, options: &[(&str, &str)], members: &[(&str, u32)]) -> Self {
        let mut table = Table::seeded(seed);
        let (settings, problems) = Settings::read("q", options.iter().copied());
        assert!(problems.is_empty(), "{problems:?}");
        let members = members.iter().map(|(name, penalty)| {
            let mut member = Member::new(name);
            member.penalty = *penalty;
            member
        });
        table.configure("q", settings, members.collect());
        Self {
            table,
            now: Instant::now(),
            devices: FxHashMap::default(),
        }
    }

    fn ask<R>(&mut self, ask: impl FnOnce(&mut Table, Instant, States<'_>) -> R) -> R {
        let devices = &self.devices;
        let states = |device: &str| devices.get(device).copied().unwrap_or(NotInUse);
        ask(&mut self.table, self.now, &states)
    }

    fn join(&mut self, priority: i64) -> EntryId {
        let arrival = Arrival {
            priority,
            channel: format!("caller-{priority}"),
            ..Arrival::default()
        };
        self.ask(|table, now, states| table.join("q", arrival, now, states))
            .unwrap()
    }

    fn turn(&mut self, id: EntryId) -> bool {
        self.ask(|table, now, states| table.is_turn("q", id, now, states))
    }

    fn choose(&mut self, id: EntryId, tried: &[String]) -> Vec<Candidate> {
        self.ask(|table, now, states| table.choose("q", id, tried, now, states))
    }

    /// Rings until somebody is rung who takes it; the names.
    fn serve(&mut self, talk: Duration) -> Vec<String> {
        let id = self.join(0);
        let candidates = self.choose(id, &[]);
        self.table.rang("q", id, &candidates);
        let names: Vec<String> = candidates.into_iter().map(|c| c.interface).collect();
        if let Some(first) = names.first() {
            self.table.connected("q", id, first, &[], self.now);
            self.now += talk;
            self.table.completed("q", first, talk, self.now);
        } else {
            self.table.leave("q", id);
        }
        names
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

const THREE: &[(&str, u32)] = &[("a", 0), ("b", 0), ("c", 0)];

fn served(office: &mut Office, calls: usize) -> Vec<String> {
    let talk = Duration::from_secs(10);
    (0..calls).flat_map(|_| office.serve(talk)).collect()
}

#[test]
fn each_strategy_has_its_order() {
    for (strategy, wanted) in [
        ("rrmemory", "a b c a b c"),
        ("rrordered", "a b c a b c"),
        ("leastrecent", "a b c a b c"),
        ("fewestcalls", "a b c a b c"),
        // It is another caller each time, so it begins with the first.
        ("linear", "a a a a a a"),
    ] {
        let mut office = Office::new(&[("strategy", strategy)], THREE);
        assert_eq!(served(&mut office, 6).join(" "), wanted, "{strategy}");
    }
    let mut office = Office::new(&[("strategy", "ringall")], THREE);
    assert_eq!(served(&mut office, 1), ["a", "b", "c"]);
}

#[test]
fn a_linear_search_goes_on_for_the_same_caller() {
    let mut office = Office::new(&[("strategy", "linear")], THREE);
    let id = office.join(0);
    let mut rung = Vec::new();
    for _ in 0..4 {
        let candidates = office.choose(id, &[]);
        rung.extend(candidates.iter().map(|c| c.interface.clone()));
        office.table.rang("q", id, &candidates);
    }
    assert_eq!(rung, ["a", "b", "c", "a"]);
}

#[test]
fn who_had_fewer_calls_or_a_longer_rest_is_rung_first() {
    let mut office = Office::new(&[("strategy", "fewestcalls")], THREE);
    office.devices.insert("a".into(), InUse);
    office.ask(|table, _, _| table.change_member(None, "a", |m| m.ring_in_use = Some(false)));
    assert_eq!(served(&mut office, 4), ["b", "c", "b", "c"]);
    office.devices.clear();
    assert_eq!(served(&mut office, 3), ["a", "a", "a"]);
    let mut office = Office::new(&[("strategy", "leastrecent")], THREE);
    served(&mut office, 3);
    office.pass(100);
    office.ask(|table, _, _| table.change_member(None, "a", |m| m.paused = true));
    assert_eq!(served(&mut office, 3), ["b", "c", "b"]);
    office.ask(|table, _, _| table.change_member(None, "a", |m| m.paused = false));
    assert_eq!(served(&mut office, 1), ["a"]);
}

#[test]
fn chance_is_fair_and_weighted_chance_is_not() {
    for (strategy, low, high) in [("random", 400, 600), ("wrandom", 650, 900)] {
        let mut office = Office::new(&[("strategy", strategy)], &[("a", 0), ("b", 2)]);
        if strategy == "random" {
            office.ask(|table, _, _| table.change_member(None, "b", |m| m.penalty = 0));
        }
        let all = served(&mut office, 1000);
        let first = all.iter().filter(|name| *name == "a").count();
        assert!((low..=high).contains(&first), "{strategy}: {first}");
    }
}

#[test]
fn higher_penalties_are_rung_when_lower_ones_are_not_free() {
    let mut office = Office::new(&[("ringinuse", "no")], &[("a", 0), ("b", 0), ("c", 5)]);
    assert_eq!(served(&mut office, 1), ["a", "b"]);
    office.devices.insert("a".into(), InUse);
    assert_eq!(served(&mut office, 1), ["b"]);
    office.devices.insert("b".into(), Unavailable);
    assert_eq!(served(&mut office, 1), ["c"]);
    // Rung already, and without an answer.
    let id = office.join(0);
    assert!(office.choose(id, &["c".to_owned()]).is_empty());
}

#[test]
fn a_caller_may_want_some_penalties_only() {
    let mut office = Office::new(&[("strategy", "linear")], &[("a", 0), ("b", 3), ("c", 7)]);
    let rules = rules::Rule::from_line("60,,5").into_iter().collect();
    office.table.rules.insert("later".to_owned(), rules);
    let arrival = Arrival {
        penalties: Penalties {
            min: Some(2),
            max: Some(8),
            raise: None,
        },
        rule: "later".to_owned(),
        ..Arrival::default()
    };
    let id = office
        .ask(|table, now, states| table.join("q", arrival, now, states))
        .unwrap();
    let first = office.choose(id, &[]);
    assert_eq!(first[0].interface, "b");
    office.table.rang("q", id, &first);
    office.pass(60);
    let second = office.choose(id, &[]);
    assert_eq!(second[0].interface, "c");
    office.table.rang("q", id, &second);
    assert!(office.choose(id, &["c".to_owned()]).is_empty());
}

#[test]
fn callers_are_served_by_priority_then_in_their_order() {
    let mut office = Office::new(
        &[("strategy", "rrmemory"), ("ringinuse", "no")],
        &[("a", 0), ("b", 0)],
    );
    let (first, second, third) = (office.join(0), office.join(0), office.join(5));
    let position = |office: &Office, id| office.table.position("q", id);
    assert_eq!(position(&office, third), Some(1));
    assert_eq!(position(&office, first), Some(2));
    assert_eq!(position(&office, second), Some(3));
    // Two members are free, so two callers are served at once.
    assert!(office.turn(third) && office.turn(first) && !office.turn(second));
    let rung = office.choose(third, &[]);
    assert_eq!(rung.len(), 1);
    // The one that is rung is not free, and who rings it does not count.
    assert!(office.turn(first) && !office.turn(second));
    let other = office.choose(first, &[]);
    assert_ne!(rung, other);
    assert!(!office.turn(second));
    office.table.rang("q", third, &rung);
    office
        .table
        .connected("q", third, &rung[0].interface, &[], office.now);
    assert_eq!(position(&office, second), Some(2));
    assert!(!office.turn(second));
    office
        .table
        .completed("q", &rung[0].interface, Duration::ZERO, office.now);
    assert!(office.turn(second));
    assert!(office.table.set_priority("q", "caller-0", 9));
    assert!(office.table.withdraw("q", "caller-0", "why"));
    assert!(!office.table.withdraw("q", "nobody", "why"));
}

#[test]
fn without_autofill_one_is_served_after_the_other() {
    let mut office = Office::new(&[("strategy", "rrmemory"), ("autofill", "no")], THREE);
    let (first, second) = (office.join(0), office.join(0));
    assert!(office.turn(first) && !office.turn(second));
    let rung = office.choose(first, &[]);
    office.table.rang("q", first, &rung);
    office
        .table
        .connected("q", first, &rung[0].interface, &[], office.now);
    assert!(office.turn(second));
}

#[test]
fn members_rest_after_a_call() {
    let mut office = Office::new(&[("wrapuptime", "30")], &[("a", 0), ("b", 0)]);
    office.ask(|table, _, _| {
        table.change_member(None, "b", |m| m.wrapup = Some(Duration::from_secs(90)))
    });
    assert_eq!(served(&mut office, 1), ["a", "b"]);
    assert_eq!(served(&mut office, 1), ["b"]);
    assert!(served(&mut office, 1).is_empty());
    office.pass(25);
    assert_eq!(served(&mut office, 1), ["a"]);
    office.pass(50);
    assert_eq!(served(&mut office, 1), ["a"]);
}

#[test]
fn emptiness_is_what_the_queue_says() {
    for (option, state, paused, joins) in [
        ("yes", Unavailable, true, true),
        ("no", Unavailable, false, true),
        ("no", NotInUse, true, false),
        ("strict", Unavailable, false, false),
        ("loose", NotInUse, true, true),
        ("inuse", InUse, false, false),
        ("inuse", NotInUse, false, true),
    ] {
        let mut office = Office::new(&[("joinempty", option)], &[("a", 0)]);
        office.devices.insert("a".into(), state);
        office.ask(|table, _, _| table.change_member(None, "a", |m| m.paused = paused));
        let joined =
            office.ask(|table, now, states| table.join("q", Arrival::default(), now, states));
        assert_eq!(joined.is_ok(), joins, "{option} {state} {paused}");
    }
    let mut office = Office::new(
        &[("leavewhenempty", "strict"), ("maxlen", "1")],
        &[("a", 0)],
    );
    let id = office.join(0);
    let full = office.ask(|table, now, states| table.join("q", Arrival::default(), now, states));
    assert_eq!(full, Err(Refused::Full));
    let leaves = |office: &mut Office| {
        office.ask(|table, now, states| table.should_leave("q", id, now, states))
    };
    assert!(!leaves(&mut office));
    office.devices.insert("a".into(), Unavailable);
    assert!(leaves(&mut office));
}

#[test]
fn a_queue_of_more_weight_takes_its_members_first() {
    let mut office = Office::new(&[], &[("a", 0)]);
    let (settings, _) = Settings::read("vip", [("weight", "10")]);
    office
        .table
        .configure("vip", settings, vec![Member::new("a")]);
    let id = office.join(0);
    let vip = office
        .ask(|table, now, states| table.join("vip", Arrival::default(), now, states))
        .unwrap();
    assert!(office.choose(id, &[]).is_empty());
    let rung = office.ask(|table, now, states| table.choose("vip", vip, &[], now, states));
    assert_eq!(rung.len(), 1);
    office.table.rang("vip", vip, &rung);
    office.table.leave("vip", vip);
    assert_eq!(office.choose(id, &[]).len(), 1);
}

#[test]
fn a_queue_of_more_weight_leaves_members_that_it_does_not_need() {
    let mut office = Office::new(&[("strategy", "rrmemory")], &[("a", 0), ("b", 0)]);
    let (settings, _) = Settings::read("vip", [("weight", "10"), ("strategy", "rrmemory")]);
    let members = || vec![Member::new("a"), Member::new("b")];
    office.table.configure("vip", settings, members());
    let id = office.join(0);
    let vip = |office: &mut Office| {
        office.ask(|table, now, states| table.join("vip", Arrival::default(), now, states))
    };
    vip(&mut office).unwrap();
    // One waits there, and two are free.
    let rung = office.choose(id, &[]);
    assert_eq!(rung.len(), 1);
    office.table.rang("q", id, &rung);
    vip(&mut office).unwrap();
    assert!(office.choose(id, &[]).is_empty());
}

#[test]
fn who_wants_none_of_the_free_members_has_his_turn_and_rings_nobody() {
    let mut office = Office::new(&[], &[("a", 5)]);
    let arrival = Arrival {
        penalties: Penalties {
            max: Some(0),
            ..Penalties::default()
        },
        ..Arrival::default()
    };
    let id = office
        .ask(|table, now, states| table.join("q", arrival, now, states))
        .unwrap();
    assert!(office.turn(id));
    assert!(office.choose(id, &[]).is_empty());
}

#[test]
fn who_answers_is_never_seen_as_free_before_he_talks() {
    let mut office = Office::new(&[("ringinuse", "no")], &[("a", 0), ("b", 0)]);
    let (first, second) = (office.join(0), office.join(0));
    let rung = office.choose(first, &[]);
    assert_eq!(rung.len(), 2);
    assert!(!office.turn(second));
    let now = office.now;
    assert!(
        office
            .table
            .connected("q", first, "a", &rung, now)
            .is_some()
    );
    // The other one is free again.
    let other = office.choose(second, &[]);
    assert_eq!(other.len(), 1);
    assert_eq!(other[0].interface, "b");
}

#[test]
fn all_ways_to_write_a_device_are_one_device() {
    let mut office = Office::new(&[("ringinuse", "no")], &[("PJSIP/100", 0)]);
    let (settings, _) = Settings::read("r", [("ringinuse", "no")]);
    let same = vec![Member::new("sip/100"), Member::new("pjsip/x@100")];
    office.table.configure("r", settings, same);
    let id = office.join(0);
    let other = office
        .ask(|table, now, states| table.join("r", Arrival::default(), now, states))
        .unwrap();
    let rung = office.choose(id, &[]);
    let elsewhere = office.ask(|table, now, states| table.choose("r", other, &[], now, states));
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    office.table.rang("q", id, &rung);
    let elsewhere = office.ask(|table, now, states| table.choose("r", other, &[], now, states));
    assert_eq!(elsewhere.len(), 2);
}

fn member_row(options: &[(&str, &str)]) -> Member {
    Member::from_row(&strowger_store::OptionsRow {
        options: options
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect(),
    })
}

#[test]
fn a_pause_outlives_tables_that_are_read_anew_until_they_say_otherwise() {
    let row = |paused: &str, penalty: &str| {
        member_row(&[
            ("interface", " PJSIP/1 "),
            ("paused", paused),
            ("penalty", penalty),
            ("wrapuptime", "0"),
        ])
    };
    let line = || Member::from_line("PJSIP/2,3").unwrap();
    let mut office = Office::new(&[], &[]);
    let read = |office: &mut Office, members| {
        office.table.configure("q", Settings::default(), members);
        let members = office.table.info("q").unwrap().members;
        let state = |member: &Member| (member.paused, member.reason.clone(), member.penalty);
        members.iter().map(state).collect::<Vec<_>>()
    };
    let before = read(&mut office, vec![row("0", "1"), line()]);
    assert_eq!(before[0], (false, String::new(), 1));
    for interface in ["PJSIP/1", "PJSIP/2"] {
        let changed = office.table.change_member(None, interface, |member| {
            member.paused = true;
            member.reason = "lunch".to_owned();
            member.penalty = 7;
        });
        assert_eq!(changed.len(), 1, "{interface}");
        assert_eq!(changed[0].1.wrapup, None, "{interface}");
    }
    let same = read(&mut office, vec![row("0", "1"), line()]);
    let lunch = (true, "lunch".to_owned(), 7);
    assert_eq!(same, [lunch.clone(), lunch.clone()]);
    // Somebody changes the penalty in the table, and only that.
    let other = read(&mut office, vec![row("0", "2"), line()]);
    assert_eq!(other, [(true, "lunch".to_owned(), 2), lunch.clone()]);
    // The pause arrives in the table, and is taken back there.
    read(&mut office, vec![row("1", "2"), line()]);
    let back = read(&mut office, vec![row("0", "2"), line()]);
    assert_eq!(back, [(false, String::new(), 2), lunch]);
}

#[test]
fn statistics_and_averages_follow_the_calls() {
    let mut office = Office::new(&[("servicelevel", "5")], &[("a", 0)]);
    for waited in [0, 20] {
        let id = office.join(0);
        office.pass(waited);
        office.table.connected("q", id, "a", &[], office.now);
        office.pass(40);
        office
            .table
            .completed("q", "a", Duration::from_secs(40), office.now);
    }
    office.table.abandoned("q", Duration::ZERO);
    let statistics = office.table.info("q").unwrap().statistics;
    assert_eq!((statistics.completed, statistics.abandoned), (2, 1));
    assert_eq!(statistics.completed_in_level, 1);
    assert_eq!((statistics.hold_time, statistics.talk_time), (5, 17));
    assert!((statistics.level_percent() - 50.0).abs() < 0.01);
    assert!(office.table.reset_statistics("q"));
    assert_eq!(
        office.table.info("q").unwrap().statistics,
        Statistics::default()
    );
}

#[test]
fn a_configuration_that_is_read_anew_keeps_who_is_there() {
    let mut office = Office::new(&[], &[("a", 0), ("b", 0)]);
    served(&mut office, 1);
    let mut own = Member::new("d");
    own.dynamic = true;
    assert_eq!(office.table.add_member("q", own.clone()), Some(true));
    assert_eq!(office.table.add_member("q", own.clone()), Some(false));
    assert_eq!(office.table.add_member("none", own), None);
    let id = office.join(0);
    office.table.configure(
        "q",
        Settings::default(),
        vec![Member::new("a"), Member::new("c")],
    );
    let names: Vec<String> = office
        .table
        .info("q")
        .unwrap()
        .members
        .into_iter()
        .map(|m| m.interface)
        .collect();
    assert_eq!(names, ["a", "c", "d"]);
    assert_eq!(office.table.info("q").unwrap().members[0].calls, 1);
    assert_eq!(office.table.position("q", id), Some(1));
    assert_eq!(
        office.table.remove_member("q", "a").unwrap_err(),
        Some(true)
    );
    assert!(office.table.remove_member("q", "d").is_ok());
    office.table.retain(|_| false);
    assert_eq!(office.table.position("q", id), None);
}

/// A day in an office with faults: nobody is rung twice at once, and nobody waits while somebody is free.
#[test]
fn a_simulated_day_keeps_the_rules() {
    for seed in 1..=40_u64 {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let strategies = [
            "ringall",
            "rrmemory",
            "leastrecent",
            "fewestcalls",
            "random",
            "linear",
            "wrandom",
        ];
        let strategy = strategies[next(7) as usize];
        let mut office = Office::seeded(
            seed,
            &[("strategy", strategy), ("ringinuse", "no")],
            &[("a", 0), ("b", 0), ("c", 1), ("d", 2)],
        );
        let mut waiting: Vec<EntryId> = Vec::new();
        let mut ringing: Vec<(EntryId, Vec<Candidate>)> = Vec::new();
        let mut talking: Vec<(String, Instant)> = Vec::new();
        for step in 0..2000 {
            office.now += Duration::from_millis(next(3000));
            match next(8) {
                0..=2 => waiting.push(office.join(next(2) as i64)),
                3 | 4 if !ringing.is_empty() => {
                    let (id, candidates) = ringing.remove(next(ringing.len() as u64) as usize);
                    if next(3) > 0 {
                        let who = candidates[0].interface.clone();
                        assert!(
                            talking.iter().all(|(name, _)| *name != who),
                            "seed {seed} step {step}: {who} talks twice"
                        );
                        let now = office.now;
                        office.table.connected("q", id, &who, &candidates, now);
                        talking.push((who, now));
                        waiting.retain(|other| *other != id);
                    } else {
                        office.table.rang("q", id, &candidates);
                    }
                }
                5 | 6 if !talking.is_empty() => {
                    let (who, since) = talking.remove(next(talking.len() as u64) as usize);
                    let talked = office.now - since;
                    office.table.completed("q", &who, talked, office.now);
                }
                7 if !waiting.is_empty() => {
                    let id = waiting.remove(next(waiting.len() as u64) as usize);
                    if let Some(at) = ringing.iter().position(|(other, _)| *other == id) {
                        let (_, candidates) = ringing.remove(at);
                        office.table.rang("q", id, &candidates);
                    }
                    office.table.leave("q", id);
                    office.table.abandoned("q", Duration::ZERO);
                }
                _ => {}
            }
            let idle: Vec<EntryId> = waiting
                .iter()
                .copied()
                .filter(|id| ringing.iter().all(|(other, _)| other != id))
                .collect();
            for id in idle {
                if office.turn(id) {
                    let candidates = office.choose(id, &[]);
                    for candidate in &candidates {
                        let rung = ringing.iter().flat_map(|(_, list)| list);
                        assert!(
                            rung.clone().all(|other| other != candidate),
                            "seed {seed} step {step}: {candidate:?} is rung twice"
                        );
                        assert!(
                            talking.iter().all(|(name, _)| *name != candidate.interface),
                            "seed {seed} step {step}: {candidate:?} is rung while talking"
                        );
                    }
                    if !candidates.is_empty() {
                        ringing.push((id, candidates));
                    }
                }
            }
            let busy = ringing.iter().map(|(_, list)| list.len()).sum::<usize>() + talking.len();
            let idle = waiting.len() - ringing.len();
            assert!(
                busy == 4 || idle == 0,
                "seed {seed} step {step} {strategy}: {idle} wait while {} are free",
                4 - busy
            );
        }
        let statistics = office.table.info("q").unwrap().statistics;
        assert!(statistics.completed > 100, "seed {seed}: {statistics:?}");
    }
}
