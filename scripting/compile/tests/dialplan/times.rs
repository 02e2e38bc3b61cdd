//! Time conditions.

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use strowger_dialplan::TimeSpec;
use strowger_dialplan::timespec::TimeSpecError;

fn holds(spec: &str, moment: &str) -> bool {
    let moment: DateTime<Utc> = moment.parse().unwrap();
    TimeSpec::parse(spec).unwrap().holds(moment)
}

#[test]
fn ranges_include_both_ends_and_wrap() {
    // 2026-01-05 is a Monday.
    for (spec, moment, expected) in [
        ("*,*,*,*,UTC", "2026-01-05T12:00:00Z", true),
        ("09:00-18:00,*,*,*,UTC", "2026-01-05T09:00:00Z", true),
        ("09:00-18:00,*,*,*,UTC", "2026-01-05T18:00:59Z", true),
        ("09:00-18:00,*,*,*,UTC", "2026-01-05T18:01:00Z", false),
        ("09:00-18:00,*,*,*,UTC", "2026-01-05T08:59:59Z", false),
        ("22:00-06:00,*,*,*,UTC", "2026-01-05T23:30:00Z", true),
        ("22:00-06:00,*,*,*,UTC", "2026-01-05T05:30:00Z", true),
        ("22:00-06:00,*,*,*,UTC", "2026-01-05T12:00:00Z", false),
        ("12:30,*,*,*,UTC", "2026-01-05T12:30:59Z", true),
        ("12:30,*,*,*,UTC", "2026-01-05T12:31:00Z", false),
        ("*,mon-fri,*,*,UTC", "2026-01-05T12:00:00Z", true),
        ("*,mon-fri,*,*,UTC", "2026-01-04T12:00:00Z", false),
        ("*,fri-mon,*,*,UTC", "2026-01-04T12:00:00Z", true),
        ("*,fri-mon,*,*,UTC", "2026-01-06T12:00:00Z", false),
        ("*,sat&sun,*,*,UTC", "2026-01-04T12:00:00Z", true),
        ("*,SUN,*,*,UTC", "2026-01-04T12:00:00Z", true),
        ("*,*,1-7,*,UTC", "2026-01-05T12:00:00Z", true),
        ("*,*,28-3,*,UTC", "2026-01-31T12:00:00Z", true),
        ("*,*,28-3,*,UTC", "2026-01-05T12:00:00Z", false),
        ("*,*,31,dec,UTC", "2026-12-31T12:00:00Z", true),
        ("*,*,*,nov-feb,UTC", "2026-01-05T12:00:00Z", true),
        ("*,*,*,nov-feb,UTC", "2026-06-05T12:00:00Z", false),
        (
            "08:00-09:00&17:00-18:00,*,*,*,UTC",
            "2026-01-05T17:30:00Z",
            true,
        ),
        (
            "09:00-18:00,mon-fri,*,*,Europe/Moscow",
            "2026-01-05T06:30:00Z",
            true,
        ),
        (
            "09:00-18:00,mon-fri,*,*,Europe/Moscow",
            "2026-01-05T16:30:00Z",
            false,
        ),
        ("*,mon,*,*,Asia/Vladivostok", "2026-01-04T20:00:00Z", true),
        (",,,,UTC", "2026-01-05T12:00:00Z", true),
    ] {
        assert_eq!(holds(spec, moment), expected, "{spec} at {moment}");
    }
    assert!(TimeSpec::parse("*").unwrap().holds(Utc::now()));
}

#[test]
fn wrong_parts_are_named() {
    for (spec, error) in [
        ("9-18,*,*,*", TimeSpecError::Time("9-18".to_owned())),
        ("25:00,*,*,*", TimeSpecError::Time("25:00".to_owned())),
        ("*,monday,*,*", TimeSpecError::Weekday("monday".to_owned())),
        ("*,*,32,*", TimeSpecError::Day("32".to_owned())),
        ("*,*,0,*", TimeSpecError::Day("0".to_owned())),
        ("*,*,*,foo", TimeSpecError::Month("foo".to_owned())),
        (
            "*,*,*,*,Mars/Olympus",
            TimeSpecError::Zone("Mars/Olympus".to_owned()),
        ),
    ] {
        assert_eq!(TimeSpec::parse(spec), Err(error), "{spec}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,40}|[0-9:,&*a-z-]{0,40}") {
        if let Ok(spec) = TimeSpec::parse(&text) {
            let _ = spec.holds(Utc::now());
        }
    }

    #[test]
    fn a_time_range_and_its_complement_share_only_their_ends(from in 0_u32..1440, to in 0_u32..1440, at in 0_u32..1440) {
        // A range of one minute has no complement that can be written.
        prop_assume!(from != to);
        let clock = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
        let moment = format!("2026-01-05T{}:00Z", clock(at));
        let inside = holds(&format!("{}-{},*,*,*,UTC", clock(from), clock(to)), &moment);
        let outside = holds(&format!("{}-{},*,*,*,UTC", clock(to), clock(from)), &moment);
        prop_assert!(inside || outside);
        prop_assert_eq!(inside && outside, at == from || at == to);
    }
}
