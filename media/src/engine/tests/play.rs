//! Prompts and music.

use super::*;
use crate::types::PlayAction;

fn ended(events: &[Event]) -> Vec<(u64, bool, u64)> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::PlayEnded {
                play,
                completed,
                samples,
                ..
            } => Some((play.0, *completed, *samples)),
            _ => None,
        })
        .collect()
}

#[test]
fn sounds_go_out_every_20_ms_and_the_end_is_told_with_their_length() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    rig.play(A, 5, &[400, 400, 100], Repeat::Once);
    rig.pass(1000);
    let sent = rig.take_sent(a);
    assert_eq!(sent.len(), 6, "900 samples are six packets");
    for (n, pair) in sent.windows(2).enumerate() {
        assert_eq!(pair[1].at - pair[0].at, Duration::from_millis(20));
        let (before, after) = (pair[0].header(), pair[1].header());
        assert_eq!(after.timestamp.wrapping_sub(before.timestamp), 160);
        assert_eq!(after.sequence.wrapping_sub(before.sequence), 1);
        assert_eq!((before.marker, after.marker), (n == 0, false));
    }
    assert!(sent[0].at <= Duration::from_millis(20), "it begins at once");
    let loud = crate::codec::g711::ulaw_encode(4000);
    assert_eq!(sent[0].payload(), [loud; 160]);
    assert_eq!(sent[5].payload()[..100], [loud; 100]);
    assert_eq!(
        sent[5].payload()[100..],
        [0xFF; 60],
        "filled up with silence"
    );
    assert_eq!(ended(&rig.take_events()), [(5, true, 900)]);
    assert_eq!(rig.counters.wheel_slots_skipped.get(), 0);
}

#[test]
fn music_goes_on_until_it_is_stopped() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    rig.play(A, 1, &[100], Repeat::Forever);
    rig.pass(2000);
    assert!((99..=101).contains(&rig.take_sent(a).len()));
    rig.command(Command::StopPlay {
        leg: A,
        play: PlayId(9),
    });
    assert!(
        ended(&rig.take_events()).is_empty(),
        "another Play is meant"
    );
    rig.command(Command::StopPlay {
        leg: A,
        play: PlayId(1),
    });
    let events = ended(&rig.take_events());
    assert_eq!(events.len(), 1);
    assert!(!events[0].1);
    assert!((15_840..=16_160).contains(&events[0].2));
    rig.pass(100);
    assert!(rig.take_sent(a).is_empty());
}

#[test]
fn a_newer_play_replaces_the_older() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    rig.play(A, 1, &[8000], Repeat::Once);
    rig.pass(100);
    rig.play(A, 2, &[160], Repeat::Once);
    rig.pass(100);
    let events = ended(&rig.take_events());
    assert_eq!((events[0].0, events[0].1), (1, false));
    assert_eq!(events[1], (2, true, 160));
    assert!(rig.take_sent(a).len() <= 6);
}

#[test]
fn nothing_to_play_ends_at_once() {
    let mut rig = Rig::new();
    rig.leg(A);
    rig.play(A, 1, &[], Repeat::Forever);
    assert_eq!(ended(&rig.take_events()), [(1, true, 0)]);
}

#[test]
fn packets_are_as_long_as_was_negotiated() {
    for (ptime_ms, size) in [(10, 80), (30, 240), (40, 320), (60, 480), (200, 480)] {
        let mut rig = Rig::new();
        let a = rig.leg(A);
        rig.configure(A, |n| n.ptime_ms = ptime_ms);
        rig.play(A, 1, &[4800], Repeat::Once);
        rig.pass(1000);
        let sent = rig.take_sent(a);
        assert_eq!(sent.len(), 4800 / size, "{ptime_ms}");
        for pair in sent.windows(2) {
            assert_eq!(pair[1].payload().len(), size);
            let units = pair[1]
                .header()
                .timestamp
                .wrapping_sub(pair[0].header().timestamp);
            assert_eq!(units, size as u32);
        }
    }
}

#[test]
fn time_passes_for_a_prompt_that_may_not_be_sent() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    rig.configure(A, |n| n.sending = false);
    rig.play(A, 1, &[1600], Repeat::Once);
    rig.pass(100);
    assert!(ended(&rig.take_events()).is_empty());
    rig.configure(A, |_| ());
    rig.pass(300);
    let sent = rig.take_sent(a);
    assert!((5..=6).contains(&sent.len()));
    assert!(sent[0].header().marker);
    assert_eq!(ended(&rig.take_events()), [(1, true, 1600)]);
}

#[test]
fn a_stall_is_caught_up_with_in_order_but_not_for_long() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    rig.play(A, 1, &[160_000], Repeat::Once);
    rig.pass(100);
    let before = rig.take_sent(a).last().unwrap().header();
    rig.now += Duration::from_millis(60);
    rig.tick();
    let caught_up = rig.take_sent(a);
    assert_eq!(caught_up.len(), 3);
    assert_eq!(
        caught_up[0].header().sequence.wrapping_sub(before.sequence),
        1
    );
    rig.now += Duration::from_secs(2);
    rig.tick();
    let after_stall = rig.take_sent(a);
    assert_eq!(after_stall.len(), 5);
    let gap = after_stall[0]
        .header()
        .timestamp
        .wrapping_sub(caught_up[2].header().timestamp);
    assert!(
        (15_000..17_000).contains(&gap),
        "timestamps follow the clock: {gap}"
    );
    assert!(rig.counters.wheel_slots_skipped.get() > 1800);
}

#[test]
fn legs_that_wait_cost_nothing_until_they_are_configured() {
    let mut rig = Rig::new();
    assert_eq!(rig.engine.next_deadline(rig.now), None);
    let start = LegStart {
        leg: A,
        ssrc: 0,
        sequence: 0,
        timestamp: 0,
        cname: String::new(),
    };
    rig.engine.open(rig.now, start);
    assert_eq!(rig.engine.next_deadline(rig.now), None);
    rig.play(A, 1, &[160], Repeat::Once);
    assert!(rig.engine.next_deadline(rig.now).is_some());
    rig.pass(40);
    assert_eq!(rig.engine.next_deadline(rig.now), None);
}

#[test]
fn what_plays_when_a_leg_is_closed_ends_before_it() {
    let mut rig = Rig::new();
    rig.leg(A);
    rig.play(A, 1, &[8000], Repeat::Once);
    rig.command(Command::Close(A));
    assert!(matches!(
        rig.take_events()[..],
        [
            Event::PlayEnded {
                completed: false,
                ..
            },
            Event::Closed { leg: A, .. }
        ]
    ));
    assert_eq!(rig.engine.next_deadline(rig.now), None);
}

#[test]
fn a_paused_play_sends_nothing_and_goes_on_where_it_was() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    rig.play(A, 1, &[1600], Repeat::Once);
    rig.pass(100);
    let before = rig.take_sent(a);
    let control = |action| Command::ControlPlay {
        leg: A,
        play: PlayId(1),
        action,
    };
    rig.command(control(PlayAction::Pause));
    rig.pass(500);
    assert!(rig.take_sent(a).is_empty());
    rig.command(control(PlayAction::Resume));
    rig.pass(500);
    let after = rig.take_sent(a);
    assert_eq!(before.len() + after.len(), 10, "nothing is lost");
    let (last, first) = (before.last().unwrap().header(), after[0].header());
    assert_eq!(first.sequence.wrapping_sub(last.sequence), 1);
    let moved = first.timestamp.wrapping_sub(last.timestamp);
    assert!(
        (4000..4400).contains(&moved),
        "the pause is in the timestamps: {moved}"
    );
    assert!(first.marker);
    assert_eq!(ended(&rig.take_events()), [(1, true, 1600)]);
}

#[test]
fn a_play_is_moved_within_its_sounds_and_tells_where_it_was_stopped() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    rig.play(A, 1, &[8000], Repeat::Once);
    rig.pass(100);
    let control = |play, action| Command::ControlPlay {
        leg: A,
        play: PlayId(play),
        action,
    };
    rig.command(control(1, PlayAction::Skip { ms: 500 }));
    // Not the one that plays: ignored.
    rig.command(control(2, PlayAction::Seek { ms: 0 }));
    rig.pass(100);
    rig.command(Command::StopPlay {
        leg: A,
        play: PlayId(1),
    });
    let sent = rig.take_sent(a).len();
    let events = rig.take_events();
    let Some(Event::PlayEnded {
        completed: false,
        samples,
        position_ms,
        ..
    }) = events.last()
    else {
        panic!("{events:?}");
    };
    assert_eq!(*samples, 160 * sent as u64);
    assert_eq!(*position_ms, 500 + 20 * sent as u32);
    rig.play(A, 3, &[8000], Repeat::Once);
    rig.command(control(3, PlayAction::Seek { ms: 5000 }));
    rig.pass(100);
    assert_eq!(ended(&rig.take_events()), [(3, true, 0)]);
}
