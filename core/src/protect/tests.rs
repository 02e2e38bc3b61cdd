//! Blocks in virtual time.

use strowger_store::{Aor, Identify, Registration};

use super::blocks::BLOCKS_MAX;
use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

struct Bench {
    protection: Protection,
    snapshot: Snapshot,
    start: Instant,
}

impl Bench {
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        change(&mut settings);
        settings.validate().unwrap();
        Self {
            protection: Protection::new(
                &settings,
                CallLimits::default(),
                SecurityLog::default(),
                Arc::default(),
            ),
            snapshot: Snapshot::default(),
            start: Instant::now(),
        }
    }

    fn at(&self, s: u64) -> Instant {
        self.start + Duration::from_secs(s)
    }

    /// How many times it takes to be blocked, at that second; `None`: more than `most`.
    fn times(&self, address: &str, what: Offence, s: u64, most: u32) -> Option<u32> {
        (1..=most).find(|_| {
            self.protection
                .note_at(ip(address), what, true, &self.snapshot, self.at(s))
        })
    }

    fn is_blocked(&self, address: &str, s: u64) -> bool {
        self.protection.is_blocked_at(ip(address), self.at(s))
    }
}

#[test]
fn each_kind_of_offence_has_its_limit_and_its_window() {
    let b = Bench::new(|_| {});
    for (number, (what, limit)) in [
        (Offence::Password, 10),
        (Offence::Unknown, 10),
        (Offence::Denied, 10),
        (Offence::Scanner, 10),
        (Offence::Challenged, 200),
        (Offence::Junk, 200),
    ]
    .into_iter()
    .enumerate()
    {
        let address = format!("203.0.113.{number}");
        assert_eq!(
            b.times(&address, what, 0, limit + 1),
            Some(limit),
            "{what:?}"
        );
        assert!(b.is_blocked(&address, 1));
        assert!(!b.is_blocked("203.0.113.77", 1));
    }
    // Nine in a minute, for ever, are a user with a bad memory.
    for minute in 0..50 {
        assert_eq!(
            b.times("198.51.100.1", Offence::Password, minute * 60, 9),
            None
        );
    }
    assert_eq!(b.protection.list().len(), 6);
}

#[test]
fn a_block_ends_and_the_next_one_is_longer() {
    let b = Bench::new(|settings| {
        settings.failures = 2;
        settings.block_s = 100;
        settings.block_max_s = 300;
    });
    let address = "203.0.113.7";
    let mut now = 0;
    for (times, seconds) in [(1, 100), (2, 200), (3, 300), (4, 300)] {
        assert_eq!(b.times(address, Offence::Password, now, 5), Some(2));
        assert!(b.is_blocked(address, now + seconds - 1), "{times}");
        assert!(!b.is_blocked(address, now + seconds), "{times}");
        now += seconds;
    }
    // Long enough later the first is the first again.
    now += 301;
    b.times(address, Offence::Password, now, 5);
    assert!(!b.is_blocked(address, now + 100));
}

#[test]
fn who_is_known_has_more_patience_and_who_is_spared_is_never_blocked() {
    let mut b = Bench::new(|settings| settings.allow = vec!["192.0.2.0/24".into()]);
    b.protection.proved_at(ip("203.0.113.7"), b.start);
    assert_eq!(b.times("203.0.113.7", Offence::Password, 1, 200), Some(100));
    b.protection.proved_at(ip("203.0.113.8"), b.start);
    // An hour after the last password that was right.
    assert_eq!(
        b.times("203.0.113.8", Offence::Password, 3601, 200),
        Some(10)
    );
    b.snapshot.identifies = Arc::new(vec![Identify {
        matches: vec![
            "198.51.100.0/24".into(),
            "!10.0.0.0/8".into(),
            "203.0.113.20:5060".into(),
            "[2001:db8::20]:5060".into(),
        ],
        ..Identify::default()
    }]);
    b.snapshot.versions[Table::Identifies as usize] += 1;
    let trunk = Aor {
        contact: vec!["sip:203.0.113.21:5070".into()],
        ..Aor::default()
    };
    Arc::make_mut(&mut b.snapshot.aors).insert("trunk".into(), Arc::new(trunk));
    b.snapshot.registrations = Arc::new(vec![Registration {
        server_uri: "sip:203.0.113.22;transport=tcp".into(),
        outbound_proxy: Some("<sip:203.0.113.23;lr>".into()),
        ..Registration::default()
    }]);
    b.protection.registered_at(ip("203.0.113.24"));
    for spared in [
        "127.0.0.1",
        "::1",
        "192.0.2.9",
        "198.51.100.9",
        "203.0.113.20",
        "2001:db8::20",
        "203.0.113.21",
        "203.0.113.22",
        "203.0.113.23",
        "203.0.113.24",
        "::ffff:192.0.2.9",
    ] {
        assert_eq!(
            b.times(spared, Offence::Password, 0, 5000),
            None,
            "{spared}"
        );
    }
    let b = Bench::new(|settings| settings.spare_loopback = false);
    assert_eq!(b.times("127.0.0.1", Offence::Password, 0, 50), Some(10));
    let b = Bench::new(|settings| settings.enabled = false);
    assert_eq!(b.times("203.0.113.7", Offence::Password, 0, 5000), None);
}

#[test]
fn telephones_that_answer_their_challenges_are_no_scan() {
    let b = Bench::new(|_| {});
    let office = "203.0.113.7";
    for _ in 0..10_000 {
        assert_eq!(b.times(office, Offence::Challenged, 0, 1), None);
        b.protection.proved_at(ip(office), b.start);
    }
}

#[test]
fn a_customer_of_ipv6_is_one_source() {
    let b = Bench::new(|settings| settings.failures = 3);
    for (address, blocked) in [
        ("2001:db8:1:2::1", None),
        ("2001:db8:1:2:ffff::9", None),
        ("2001:db8:1:3::1", None),
        ("2001:db8:1:2::2", Some(1)),
    ] {
        assert_eq!(
            b.times(address, Offence::Unknown, 0, 1),
            blocked,
            "{address}"
        );
    }
    assert!(b.is_blocked("2001:db8:1:2:5::5", 1));
    assert!(!b.is_blocked("2001:db8:1:3::1", 1));
}

#[test]
fn blocks_are_listed_and_lifted_one_or_all() {
    let b = Bench::new(|settings| settings.failures = 1);
    for address in ["203.0.113.2", "203.0.113.1", "2001:db8::5"] {
        b.times(address, Offence::Scanner, 0, 1);
    }
    assert!(b.protection.is_blocked(ip("203.0.113.1")));
    b.protection.dropped(ip("203.0.113.1"));
    let list = b.protection.list();
    let shown: Vec<_> = list
        .iter()
        .map(|blocked| (blocked.address.to_string(), blocked.dropped))
        .collect();
    let wanted = [("203.0.113.1", 1), ("203.0.113.2", 0), ("2001:db8::", 0)];
    assert_eq!(
        shown,
        wanted.map(|(address, dropped)| (address.to_owned(), dropped))
    );
    assert!((590..=600).contains(&list[0].left_s));
    assert_eq!((list[0].why, list[0].times), (Offence::Scanner, 1));
    assert!(b.protection.unblock(ip("203.0.113.1")));
    assert!(!b.protection.unblock(ip("203.0.113.1")));
    assert!(!b.protection.is_blocked(ip("203.0.113.1")));
    assert_eq!(b.protection.unblock_all(), 2);
    assert!(b.protection.list().is_empty());
    assert!(!b.protection.is_blocked(ip("203.0.113.2")));
}

#[test]
fn scanners_are_known_by_their_name() {
    let b = Bench::new(|_| {});
    for (agent, scanner) in [
        ("friendly-scanner", true),
        ("X FRIENDLY-Scanner 1.8", true),
        ("sipcli/v1.8", true),
        ("", false),
        ("Grandstream HT-802", false),
        ("Linphone/5.2", false),
    ] {
        assert_eq!(b.protection.is_scanner(agent), scanner, "{agent}");
    }
    let long = "ä".repeat(500);
    assert!(!b.protection.is_scanner(&long));
}

fn numbered(number: u32) -> IpAddr {
    IpAddr::from((0x0b00_0000 + number).to_be_bytes())
}

#[test]
fn many_addresses_take_no_more_room_than_the_tables_have() {
    let b = Bench::new(|settings| settings.failures = 1);
    let value = |name| {
        let counters = b.protection.counters();
        counters.iter().find(|(known, _)| *known == name).unwrap().1
    };
    for number in 0..200_000 {
        let what = Offence::Junk;
        b.protection
            .note_at(numbered(number), what, true, &b.snapshot, b.start);
    }
    assert!(b.protection.sources.len() <= 65_536);
    assert!(value("sources_forgotten_early") > 100_000);
    for number in 0..20_000 {
        let (address, what) = (numbered(number), Offence::Unknown);
        let at = b.start + Duration::from_millis(number.into());
        assert!(b.protection.note_at(address, what, true, &b.snapshot, at));
        assert!(b.protection.is_blocked_at(address, at));
    }
    // Those that would have ended first made room.
    assert_eq!(b.protection.blocks.read().len(), BLOCKS_MAX);
    let gone = 20_000 - BLOCKS_MAX as u32;
    assert_eq!(value("blocks_forgotten_early"), u64::from(gone));
    let at = b.at(20);
    assert!(!b.protection.is_blocked_at(numbered(gone - 1), at));
    assert!(b.protection.is_blocked_at(numbered(gone), at));
    // What is over goes by and by, and costs no place.
    for number in 0..BLOCKS_MAX as u32 {
        let (address, what) = (numbered(1_000_000 + number), Offence::Unknown);
        b.protection
            .note_at(address, what, true, &b.snapshot, b.at(1_000_000));
    }
    assert_eq!(b.protection.blocks.read().len(), BLOCKS_MAX);
    assert_eq!(value("blocks_forgotten_early"), u64::from(gone));
}

#[test]
fn guessers_are_found_however_many_others_came_before_and_between() {
    let b = Bench::new(|_| {});
    b.protection.proved_at(ip("198.51.100.1"), b.start);
    for number in 0..300_000 {
        let what = Offence::Challenged;
        b.protection
            .note_at(numbered(number), what, true, &b.snapshot, b.start);
    }
    let botnet: Vec<IpAddr> = (0..500).map(|n| numbered(5_000_000 + n)).collect();
    let mut blocked = 0;
    for round in 0..10 {
        for (number, address) in botnet.iter().enumerate() {
            let stranger = numbered(6_000_000 + round * 500 + number as u32);
            let what = Offence::Challenged;
            b.protection
                .note_at(stranger, what, true, &b.snapshot, b.at(1));
            let what = Offence::Password;
            let now = b
                .protection
                .note_at(*address, what, true, &b.snapshot, b.at(1));
            blocked += u32::from(now);
        }
    }
    assert_eq!(blocked, 500);
    // Strangers do not push out who is known.
    assert_eq!(
        b.times("198.51.100.1", Offence::Password, 1, 200),
        Some(100)
    );
}

#[test]
fn what_anybody_can_forge_counts_as_junk() {
    let b = Bench::new(|settings| settings.junk = 30);
    let times = |address: &str, certain: bool| {
        (1..=100).find(|_| {
            b.protection
                .note_at(ip(address), Offence::Scanner, certain, &b.snapshot, b.start)
        })
    };
    assert_eq!(times("203.0.113.7", true), Some(10));
    assert_eq!(times("203.0.113.8", false), Some(30));
}

#[test]
fn calls_of_one_address_and_of_one_endpoint_are_limited_and_count_until_they_end() {
    let limits = CallLimits {
        per_source: 3,
        per_source_second: 0,
        per_endpoint: 2,
        per_endpoint_second: 0,
    };
    let calls = Arc::new(Calls::new(limits));
    let now = Instant::now();
    let enter = |address: &str, endpoint: &str| calls.enter(ip(address), endpoint, now);
    let first = enter("203.0.113.7", "100").expect("the first");
    let second = enter("203.0.113.7", "100").expect("the second");
    assert!(enter("203.0.113.7", "100").is_none(), "two of one endpoint");
    let third = enter("203.0.113.7", "101").expect("another endpoint");
    assert!(
        enter("203.0.113.7", "102").is_none(),
        "three of one address"
    );
    assert!(
        enter("203.0.113.8", "100").is_none(),
        "two of one endpoint anywhere"
    );
    drop((first, third));
    let again = enter("203.0.113.8", "100").expect("a place is free");
    assert_eq!((calls.refused_source(), calls.refused_endpoint()), (1, 2));
    drop((second, again));

    let calls = Arc::new(Calls::new(CallLimits {
        per_endpoint_second: 5,
        ..CallLimits::default()
    }));
    let begun = |ms: u64| {
        let at = now + Duration::from_millis(ms);
        (0..20)
            .filter(|_| calls.enter(ip("203.0.113.7"), "100", at).is_some())
            .count()
    };
    assert_eq!(
        (begun(0), begun(100), begun(400), begun(5000)),
        (5, 0, 2, 5)
    );
}

#[test]
fn who_is_registered_stays_known_as_long_as_that() {
    let b = Bench::new(|_| {});
    let address = "203.0.113.9";
    b.protection.proved_at(ip(address), b.start);
    b.protection
        .bound_at(ip(address), Duration::from_secs(7200), b.start);
    // Another password in between makes it no shorter.
    b.protection.proved_at(ip(address), b.at(60));
    assert_eq!(b.times(address, Offence::Password, 7000, 200), Some(100));
    b.protection
        .bound_at(ip("203.0.113.10"), Duration::from_secs(7200), b.start);
    let later = b.times("203.0.113.10", Offence::Password, 7201, 200);
    assert_eq!(later, Some(10));
}

#[test]
fn host_names_of_registrars_and_static_contacts_are_spared() {
    let names = Arc::new(Names::default());
    let mut b = Bench::new(|_| {});
    b.protection.names = Arc::clone(&names);
    let trunk = Aor {
        contact: vec!["sip:trunk.example:5070".into()],
        ..Aor::default()
    };
    Arc::make_mut(&mut b.snapshot.aors).insert("trunk".into(), Arc::new(trunk));
    b.snapshot.registrations = Arc::new(vec![Registration {
        server_uri: "sip:Registrar.example".into(),
        ..Registration::default()
    }]);
    let (one, two) = ("203.0.113.31", "203.0.113.32");
    assert_eq!(b.times(one, Offence::Password, 0, 20), Some(10));
    names.found(vec![
        ("trunk.example".into(), vec![ip(one)]),
        ("registrar.example".into(), vec![ip(two)]),
    ]);
    for spared in [one, two] {
        assert_eq!(b.times(spared, Offence::Password, 4000, 500), None);
    }
}

#[test]
fn it_is_known_with_whom_calls_are_under_way() {
    let b = Bench::new(|_| {});
    let (first, second) = (
        b.protection.talks_with(ip("203.0.113.1")),
        b.protection.talks_with(ip("203.0.113.1")),
    );
    drop(first);
    assert!(b.protection.is_talking(ip("203.0.113.1")));
    assert!(!b.protection.is_talking(ip("203.0.113.2")));
    drop(second);
    assert!(!b.protection.is_talking(ip("203.0.113.1")));
}
