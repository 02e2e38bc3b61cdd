use std::sync::Arc;

use strowger_sip::Uri;
use strowger_store::{Aor, Contact as Row};

use super::super::contacts::{Change, ContactWriter, contact_id};
use super::super::test_support::snapshot;
use super::*;

struct Nowhere;

impl ContactWriter for Nowhere {
    fn upsert(&self, _: Row) {}
    fn delete(&self, _: &str, _: &str) {}
}

struct Bench {
    snapshot: Snapshot,
    contacts: Contacts,
    qualifier: Qualifier,
    start: Instant,
}

impl Bench {
    fn new(change: impl Fn(&mut Aor)) -> Self {
        let mut snapshot = snapshot(&["100"]);
        let aor = Arc::make_mut(Arc::make_mut(&mut snapshot.aors).get_mut("100").unwrap());
        aor.qualify_frequency = 10;
        change(aor);
        let contacts = Contacts::new("", Box::new(Nowhere));
        let bench = Self {
            snapshot,
            contacts,
            qualifier: Qualifier::new(0, 1),
            start: Instant::now(),
        };
        bench.add("sip:a@h");
        bench
    }

    fn add(&self, uri: &str) {
        let row = Row {
            id: contact_id("100", uri),
            uri: uri.into(),
            qualify_frequency: 10,
            expiration_time: i64::MAX,
            ..Row::default()
        };
        let contact = Contact::new("100", Uri::parse(uri).unwrap(), row);
        self.contacts
            .update("100", |_| (vec![Change::Set(Box::new(contact))], ()));
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    /// Asks every 100 ms from `from` to `to`; when the first probe came out, if one did.
    fn run(&mut self, from: u64, to: u64) -> Option<(u64, Probe)> {
        (from..to).step_by(100).find_map(|ms| {
            let now = self.at(ms);
            self.qualifier
                .due(&self.snapshot, &self.contacts, now)
                .pop()
                .map(|probe| (ms, probe))
        })
    }

    fn status(&self) -> Status {
        self.contacts.of("100")[0].status().0
    }
}

#[test]
fn a_contact_is_asked_soon_and_then_at_its_frequency() {
    let mut b = Bench::new(|_| ());
    assert_eq!(b.status(), Status::Unknown);
    let (first, probe) = b.run(0, 2200).expect("asked within two seconds");
    let now = b.at(first + 40);
    b.qualifier.answered(&b.contacts, &probe.key, 404, now);
    assert_eq!(
        b.contacts.of("100")[0].status(),
        (Status::Reachable, Some(40_000))
    );
    let changes = b.qualifier.take_changes();
    assert_eq!(
        (changes.len(), changes[0].from, changes[0].to),
        (1, Status::Unknown, Status::Reachable)
    );
    let (second, probe) = b.run(first + 100, first + 20_000).unwrap();
    assert_eq!(second, first + 10_000);
    let now = b.at(second + 10);
    b.qualifier.answered(&b.contacts, &probe.key, 200, now);
    assert!(b.qualifier.take_changes().is_empty());
}

#[test]
fn silence_makes_it_unreachable_and_a_late_answer_changes_nothing() {
    let mut b = Bench::new(|aor| aor.qualify_timeout = 3.0);
    let (first, probe) = b.run(0, 2200).unwrap();
    assert!(b.run(first + 100, first + 3000).is_none());
    assert_eq!(b.status(), Status::Unknown);
    assert!(b.run(first + 3000, first + 3100).is_none());
    assert_eq!(b.status(), Status::Unreachable);
    let now = b.at(first + 3200);
    b.qualifier.answered(&b.contacts, &probe.key, 200, now);
    b.qualifier.answered(&b.contacts, "nobody", 200, now);
    assert_eq!(b.status(), Status::Unreachable);
    let (second, probe) = b.run(first + 3200, first + 20_000).unwrap();
    assert_eq!(second, first + 10_000);
    let now = b.at(second + 1);
    b.qualifier.failed(&b.contacts, &probe.key, now);
    assert_eq!(b.qualifier.take_changes().len(), 1);
}

#[test]
fn only_2xx_counts_where_the_row_says_so() {
    let mut b = Bench::new(|aor| aor.qualify_2xx_only = true);
    let (first, probe) = b.run(0, 2200).unwrap();
    let now = b.at(first + 5);
    b.qualifier.answered(&b.contacts, &probe.key, 486, now);
    assert_eq!(b.status(), Status::Unreachable);
}

#[test]
fn contacts_that_go_and_rows_that_change_are_followed() {
    let mut b = Bench::new(|_| ());
    b.run(0, 600);
    b.add("sip:b@h");
    b.run(600, 1300);
    assert_eq!(b.qualifier.len(), 2);
    b.contacts.update("100", |current| {
        (vec![Change::Remove(current[0].row.id.clone())], ())
    });
    b.run(1300, 2000);
    assert_eq!(b.qualifier.len(), 1);
    let aor = Arc::make_mut(Arc::make_mut(&mut b.snapshot.aors).get_mut("100").unwrap());
    aor.qualify_frequency = 0;
    b.snapshot.versions[Table::Aors as usize] += 1;
    b.run(2000, 2700);
    assert!(b.qualifier.is_empty());
    assert_eq!(b.qualifier.next_timeout(), None);
    assert_eq!(b.status(), Status::NonQualified);
}

#[test]
fn every_address_of_record_has_one_shard() {
    let shards: Vec<_> = (0..4).map(|i| Qualifier::new(i, 4)).collect();
    let mut load = [0; 4];
    for i in 0..1000 {
        let aor = i.to_string();
        let owners: Vec<usize> = (0..4).filter(|n| shards[*n].owns(&aor)).collect();
        assert_eq!(owners.len(), 1);
        load[owners[0]] += 1;
    }
    assert!(load.iter().all(|n| *n > 150), "{load:?}");
}

#[test]
fn first_probes_are_spread_over_the_time_of_the_globals() {
    let spread = |seconds: u32| {
        let mut bench = Bench::new(|aor| aor.qualify_frequency = 60);
        let globals = strowger_store::Globals {
            max_initial_qualify_time: seconds,
            ..strowger_store::Globals::default()
        };
        bench.snapshot.globals = Arc::new(globals);
        for number in 0..40 {
            bench.add(&format!("sip:{number}@h"));
        }
        let mut asked = Vec::new();
        for ms in (0..60_000).step_by(100) {
            let now = bench.at(ms);
            let probes = bench.qualifier.due(&bench.snapshot, &bench.contacts, now);
            for probe in &probes {
                bench
                    .qualifier
                    .answered(&bench.contacts, &probe.key, 200, now);
            }
            asked.extend(probes.iter().map(|_| ms));
            if asked.len() >= 41 {
                break;
            }
        }
        asked.last().copied().unwrap_or_default()
    };
    assert!(spread(0) <= 2100, "two seconds where nothing is said");
    let long = spread(20);
    assert!((10_000..=20_100).contains(&long), "{long}");
}

#[test]
fn a_contact_is_asked_out_of_turn_where_somebody_wants_to_know() {
    let mut b = Bench::new(|_| ());
    let (first, probe) = b.run(0, 2200).unwrap();
    assert_eq!(
        b.qualifier.hasten("100", b.at(first + 10)),
        0,
        "it is being asked"
    );
    let now = b.at(first + 20);
    b.qualifier.answered(&b.contacts, &probe.key, 200, now);
    let now = b.at(first + 1000);
    assert_eq!(b.qualifier.hasten("101", now), 0);
    assert_eq!(b.qualifier.hasten("100", now), 1);
    let (again, probe) = b.run(first + 1000, first + 2000).unwrap();
    assert_eq!(again, first + 1000);
    let now = b.at(again + 20);
    b.qualifier.answered(&b.contacts, &probe.key, 200, now);
    // From then on it is asked as often as before.
    let (next, _) = b.run(again + 100, again + 20_000).unwrap();
    assert_eq!(next, again + 10_000);
}

#[test]
fn an_answer_counts_for_the_contact_that_was_registered_again_meanwhile() {
    let mut b = Bench::new(|_| ());
    let (first, probe) = b.run(0, 2200).unwrap();
    b.add("sip:a@h");
    assert!(!Arc::ptr_eq(&b.contacts.of("100")[0], &probe.contact));
    let now = b.at(first + 40);
    b.qualifier.answered(&b.contacts, &probe.key, 200, now);
    assert_eq!(b.status(), Status::Reachable);
    let mut change = b.qualifier.take_changes().remove(0);
    // Once more, before anybody has been told: it is told of the newest, which has the status too.
    let refreshed = b.contacts.of("100")[0].clone();
    b.add("sip:a@h");
    b.contacts.of("100")[0].set_status(Status::Unknown, 0);
    let mut told = None;
    assert!(change.settle(&b.contacts, |change| told =
        Some(Arc::clone(&change.contact))));
    let told = told.unwrap();
    assert!(Arc::ptr_eq(&told, &b.contacts.of("100")[0]) && !Arc::ptr_eq(&told, &refreshed));
    assert_eq!(
        b.contacts.of("100")[0].status(),
        (Status::Reachable, Some(40_000))
    );
}

#[test]
fn of_a_contact_that_is_gone_nobody_hears_that_it_answers() {
    let mut b = Bench::new(|_| ());
    let (first, probe) = b.run(0, 2200).unwrap();
    let remove = |b: &Bench| {
        b.contacts.update("100", |current| {
            (vec![Change::Remove(current[0].row.id.clone())], ())
        });
    };
    // It answers, and is gone before that is told.
    let now = b.at(first + 40);
    b.qualifier.answered(&b.contacts, &probe.key, 200, now);
    let mut change = b.qualifier.take_changes().remove(0);
    remove(&b);
    assert!(!change.settle(&b.contacts, |_| panic!("it was told")));
    // It is gone before it answers.
    b.add("sip:a@h");
    let (next, probe) = b.run(first + 600, first + 20_000).unwrap();
    remove(&b);
    let now = b.at(next + 40);
    b.qualifier.answered(&b.contacts, &probe.key, 200, now);
    assert!(b.qualifier.take_changes().is_empty());
}
