//! A subscription in virtual time: what is told when, and that nothing is told twice, too late or never.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn active(notifier: &mut Notifier, now: Instant) -> u32 {
    match notifier.poll(now) {
        Some(Due {
            state: SubscriptionState::Active {
                expires_s: Some(left),
            },
            ..
        }) => left,
        other => panic!("no active NOTIFY but {other:?}"),
    }
}

fn terminated(notifier: &mut Notifier, now: Instant) -> EndReason {
    match notifier.poll(now) {
        Some(Due {
            state:
                SubscriptionState::Terminated {
                    reason: Some(reason),
                    ..
                },
            full: true,
        }) => reason,
        other => panic!("no last NOTIFY but {other:?}"),
    }
}

#[test]
fn it_is_told_at_once_then_of_changes_then_of_its_end() {
    let start = Instant::now();
    let mut notifier = Notifier::new(start, 60, Duration::ZERO);
    assert_eq!(active(&mut notifier, start), 60);
    assert_eq!(notifier.poll(start), None);
    notifier.answered(start, 200, None);
    assert_eq!(notifier.next_timeout(), Some(start + 60 * SECOND));
    notifier.changed(start + SECOND);
    assert_eq!(active(&mut notifier, start + SECOND), 59);
    notifier.answered(start + SECOND, 202, None);
    assert_eq!(notifier.poll(start + 59 * SECOND), None);
    let end = start + 60 * SECOND;
    assert_eq!(terminated(&mut notifier, end), EndReason::Timeout);
    assert!(!notifier.is_over());
    notifier.answered(end, 200, None);
    assert!(notifier.is_over() && notifier.next_timeout().is_none());
}

#[test]
fn changes_while_a_notify_is_under_way_become_one() {
    let start = Instant::now();
    let mut notifier = Notifier::new(start, 60, Duration::ZERO);
    active(&mut notifier, start);
    for _ in 0..5 {
        notifier.changed(start);
        assert_eq!(notifier.poll(start), None);
    }
    notifier.answered(start, 200, None);
    let due = notifier.poll(start).unwrap();
    assert!(!due.full);
    notifier.answered(start, 200, None);
    assert_eq!(notifier.poll(start), None);
}

#[test]
fn changes_of_a_list_are_gathered() {
    let start = Instant::now();
    let mut notifier = Notifier::new(start, 60, SECOND);
    active(&mut notifier, start);
    notifier.answered(start, 200, None);
    notifier.changed(start + SECOND);
    notifier.changed(start + SECOND * 3 / 2);
    assert_eq!(notifier.poll(start + SECOND * 3 / 2), None);
    assert_eq!(notifier.next_timeout(), Some(start + 2 * SECOND));
    active(&mut notifier, start + 2 * SECOND);
    // A refresh does not wait.
    notifier.answered(start + 2 * SECOND, 200, None);
    assert!(notifier.refresh(start + 2 * SECOND, 30));
    let due = notifier.poll(start + 2 * SECOND).unwrap();
    assert!(due.full);
}

#[test]
fn who_gives_it_up_is_told_that_it_is_over() {
    let start = Instant::now();
    let mut notifier = Notifier::new(start, 60, Duration::ZERO);
    active(&mut notifier, start);
    assert!(notifier.refresh(start, 0));
    // The NOTIFY before is still under way.
    assert_eq!(notifier.poll(start), None);
    notifier.answered(start, 200, None);
    assert_eq!(terminated(&mut notifier, start), EndReason::Timeout);
    assert!(!notifier.refresh(start, 60));
    notifier.failed();
    assert!(notifier.is_over());
}

#[test]
fn a_single_look_is_told_once() {
    let start = Instant::now();
    let mut notifier = Notifier::new(start, 0, Duration::ZERO);
    assert_eq!(terminated(&mut notifier, start), EndReason::Timeout);
    notifier.answered(start, 200, None);
    assert!(notifier.is_over());
}

#[test]
fn a_refused_notify_ends_it_unless_it_asks_to_wait() {
    for (status, retry, over) in [
        (481, None, true),
        (481, Some(5), true),
        (489, None, true),
        (500, None, true),
        (503, Some(5), false),
        (200, None, false),
    ] {
        let start = Instant::now();
        let mut notifier = Notifier::new(start, 600, Duration::ZERO);
        active(&mut notifier, start);
        notifier.answered(start, status, retry);
        assert_eq!(notifier.is_over(), over, "{status} {retry:?}");
        if status == 503 {
            assert_eq!(notifier.poll(start + 4 * SECOND), None);
            assert!(notifier.poll(start + 5 * SECOND).unwrap().full);
        }
    }
}

#[test]
fn a_subscriber_who_refuses_without_a_pause_is_told_more_and_more_rarely() {
    let mut now = Instant::now();
    let mut notifier = Notifier::new(now, 600, Duration::ZERO);
    active(&mut notifier, now);
    for wait in [1, 2, 4, 8] {
        notifier.answered(now, 500, Some(0));
        assert!(!notifier.is_over());
        assert_eq!(notifier.poll(now + (wait * SECOND) - SECOND / 2), None);
        now += wait * SECOND;
        assert!(notifier.poll(now).unwrap().full, "after {wait} s");
    }
    notifier.answered(now, 200, None);
    notifier.changed(now);
    active(&mut notifier, now);
    notifier.answered(now, 500, Some(0));
    assert!(
        notifier.poll(now + SECOND).is_some(),
        "from the start again"
    );
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Change,
    Refresh(u32),
    End,
    Answer(u16, Option<u32>),
    Fail,
    Poll,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u64..20_000).prop_map(Step::Wait),
        Just(Step::Change),
        (0u32..40).prop_map(Step::Refresh),
        Just(Step::End),
        (200u16..210).prop_map(|status| Step::Answer(status, None)),
        (400u16..500, proptest::option::of(0u32..9)).prop_map(|(s, r)| Step::Answer(s, r)),
        Just(Step::Fail),
        Just(Step::Poll),
        Just(Step::Poll),
    ]
}

proptest! {
    /// Whatever happens in whatever order: one NOTIFY at a time, one last one at most and nothing behind it, every change
    /// told in the end, and no subscription that outlives its time.
    #[test]
    fn a_subscription_keeps_its_promises(steps in proptest::collection::vec(step(), 0..120), gather in 0u64..3) {
        let start = Instant::now();
        let mut now = start;
        let mut notifier = Notifier::new(now, 30, Duration::from_secs(gather));
        // Something has changed that no NOTIFY on its way or taken tells of.
        let mut unsaid = true;
        let (mut under_way, mut lasts, mut over) = (false, false, false);
        for step in steps {
            match step {
                Step::Wait(ms) => now += Duration::from_millis(ms),
                Step::Change => {
                    unsaid |= !lasts;
                    notifier.changed(now);
                }
                Step::Refresh(seconds) => {
                    let taken = notifier.refresh(now, seconds);
                    prop_assert!(!(over && taken));
                }
                Step::End => notifier.end(now, EndReason::NoResource, None),
                Step::Answer(status, retry) => {
                    over |= under_way && (lasts || status == 481 || (status >= 300 && retry.is_none()));
                    unsaid |= under_way && status >= 300;
                    under_way = false;
                    notifier.answered(now, status, retry);
                }
                Step::Fail => {
                    notifier.failed();
                    under_way = false;
                    over = true;
                }
                Step::Poll => {
                    if let Some(due) = notifier.poll(now) {
                        prop_assert!(!under_way && !over && !lasts);
                        (under_way, unsaid) = (true, false);
                        lasts = matches!(due.state, SubscriptionState::Terminated { .. });
                        if let SubscriptionState::Active { expires_s } = due.state {
                            prop_assert!((1..=40).contains(&expires_s.unwrap()));
                        }
                    }
                }
            }
            prop_assert_eq!(over, notifier.is_over());
            prop_assert_eq!(notifier.is_waiting(), under_way);
        }
        // Left alone with a subscriber who answers, everything is told and it ends in time.
        let until = now + Duration::from_secs(41);
        for _ in 0..1000 {
            if let Some(due) = notifier.poll(now) {
                unsaid = false;
                lasts = matches!(due.state, SubscriptionState::Terminated { .. });
            }
            notifier.answered(now, 200, None);
            match notifier.next_timeout() {
                Some(at) => now = now.max(at),
                None => break,
            }
        }
        prop_assert!(notifier.is_over() && now <= until);
        prop_assert!(over || (lasts && !unsaid));
    }
}
