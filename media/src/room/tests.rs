//! Behaviours of rooms, on plain frames.

use super::*;

const OPTIONS: MemberOptions = MemberOptions {
    muted: false,
    talk_db: 0,
    listen_db: 0,
    talk_events: true,
    drop_silence: false,
    talk_threshold: 160,
    silence_ms: 100,
    mark: 0,
    whispers_to: 0,
    hears_only: 0,
};

fn room(rate: u32, members: usize) -> Room<usize> {
    let mut room = Room::new(rate);
    for key in 0..members {
        room.join(key, OPTIONS);
    }
    room
}

/// A turn in which each member says a constant; what each hears, as a constant.
fn turn(room: &mut Room<usize>, said: &[Option<i16>]) -> Vec<i16> {
    let mut counts = LinkCounts::default();
    let frame = room.frame();
    room.begin();
    for (index, said) in said.iter().enumerate() {
        room.say(index, said.map(|value| vec![value; frame]).as_deref());
    }
    room.exchange(&mut counts);
    heard(room)
}

fn heard(room: &Room<usize>) -> Vec<i16> {
    (0..room.len())
        .map(|index| {
            let mut out = vec![0; room.frame()];
            if room.listen(index, &mut out) == Heard::Common {
                out.copy_from_slice(room.common());
            }
            assert!(out.iter().all(|&sample| sample == out[0]), "one constant");
            out[0]
        })
        .collect()
}

#[test]
fn everybody_hears_all_others_and_not_himself() {
    let mut room = room(8000, 4);
    assert_eq!(
        turn(&mut room, &[Some(100), Some(1000), None, Some(-50)]),
        [950, 50, 1050, 1100]
    );
    assert_eq!(turn(&mut room, &[None, None, None, None]), [0; 4]);
    assert!(!room.is_loud());
    assert_eq!(
        turn(&mut room, &[Some(500), None, None, None]),
        [0, 500, 500, 500]
    );
}

#[test]
fn the_sum_is_clamped_once_and_only_for_the_ear() {
    let mut room = room(8000, 4);
    // 30000 + 30000 - 20000 is too much for those who say nothing, but not for those who hear a part of it.
    assert_eq!(
        turn(
            &mut room,
            &[Some(30_000), Some(30_000), Some(-20_000), None]
        ),
        [10_000, 10_000, i16::MAX, i16::MAX]
    );
}

#[test]
fn silent_members_share_one_frame_and_a_talker_has_his_own() {
    let mut room = room(8000, 3);
    turn(&mut room, &[Some(1000), Some(3), None]);
    let mut out = [0; 160];
    assert_eq!(room.listen(0, &mut out), Heard::Own);
    // The smallest noise is nothing: he shares.
    assert_eq!(room.listen(1, &mut out), Heard::Common);
    assert_eq!(room.listen(2, &mut out), Heard::Common);
}

#[test]
fn mute_and_gain_work_in_their_direction() {
    let mut room = room(8000, 3);
    room.set(
        0,
        MemberOptions {
            muted: true,
            ..OPTIONS
        },
    );
    room.set(
        1,
        MemberOptions {
            talk_db: 6,
            ..OPTIONS
        },
    );
    room.set(
        2,
        MemberOptions {
            listen_db: -20,
            ..OPTIONS
        },
    );
    assert!(!room.wants(0) && room.wants(1));
    let heard = turn(&mut room, &[Some(9999), Some(1000), None]);
    // 6 dB are a factor of 1.995, -20 dB of 0.1.
    assert!((heard[0] - 1995).abs() <= 1, "{heard:?}");
    assert_eq!(heard[1], 0);
    assert!((heard[2] - 199).abs() <= 1, "{heard:?}");
}

#[test]
fn gains_beyond_the_limit_are_brought_into_it() {
    assert_eq!(Gain::from_db(100), Gain::from_db(GAIN_DB_MAX));
    let mut loudest = [i16::MAX, i16::MIN];
    Gain::from_db(100).apply(&mut loudest);
    assert_eq!(loudest, [i16::MAX, i16::MIN]);
}

#[test]
fn who_leaves_takes_nothing_with_him() {
    let mut room = room(8000, 3);
    assert!(room.leave(0));
    assert!(!room.leave(0));
    // The last took the first place.
    assert_eq!(
        (room.key(0), room.key(1), room.key(2)),
        (Some(2), Some(1), None)
    );
    assert_eq!(turn(&mut room, &[Some(10), Some(200)]), [200, 10]);
}

#[test]
fn talk_is_told_and_noise_left_out_if_wanted() {
    let mut room = room(8000, 2);
    room.set(
        0,
        MemberOptions {
            drop_silence: true,
            ..OPTIONS
        },
    );
    assert_eq!(turn(&mut room, &[Some(50), None]), [0, 0]);
    let mut counts = LinkCounts::default();
    let mut told = Vec::new();
    for level in [1000, 1000, 1000, 50, 50, 50, 50, 50, 50] {
        room.begin();
        told.push(room.say(0, Some(&[level; 160])));
        room.say(1, None);
        room.exchange(&mut counts);
    }
    let mut expected = vec![None; 9];
    expected[2] = Some(true);
    expected[7] = Some(false);
    assert_eq!(told, expected);
    assert!(!room.is_loud(), "noise after the pause is left out");
}

#[test]
fn an_announcement_is_heard_by_all() {
    let mut room = room(16_000, 2);
    room.begin();
    room.say(0, Some(&[100; 320]));
    room.say(1, None);
    room.announce(&[1000; 320]);
    room.exchange(&mut LinkCounts::default());
    assert_eq!(heard(&room), [1000, 1100]);
}

#[test]
fn rates_are_those_known_and_may_change() {
    let mut room = room(44_100, 2);
    assert_eq!((room.rate(), room.frame()), (48_000, 960));
    room.set_rate(1);
    assert_eq!((room.rate(), room.frame()), (8000, 160));
    assert_eq!(turn(&mut room, &[Some(7000), None]), [0, 7000]);
    room.set_rate(16_000);
    assert_eq!(turn(&mut room, &[None, Some(7000)]), [7000, 0]);
}

#[test]
fn a_thousand_members_in_two_parts_hear_everyone_but_themselves() {
    let mut parts = [room(8000, 500), room(8000, 500)];
    let (a, b) = link();
    parts[0].link(a);
    parts[1].link(b);
    let mut random = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    // Who speaks says the same until the partial sums have gone through the links.
    for _ in 0..20 {
        let said: Vec<Option<i16>> = (0..1000)
            .map(|_| (next() % 10 == 0).then(|| (next() % 40) as i16 * 5 - 100))
            .collect();
        let total: i32 = said
            .iter()
            .flatten()
            .filter(|value| value.unsigned_abs() > NOTHING as u16)
            .map(|&value| i32::from(value))
            .sum();
        let mut heard = [Vec::new(), Vec::new()];
        for _ in 0..5 {
            for (number, part) in parts.iter_mut().enumerate() {
                heard[number] = turn(part, &said[number * 500..][..500]);
            }
        }
        for (member, said) in said.iter().enumerate() {
            let own = said
                .filter(|value| value.unsigned_abs() > NOTHING as u16)
                .map_or(0, i32::from);
            let heard = heard[member / 500][member % 500];
            assert_eq!(heard, clamp(total - own), "member {member}");
        }
    }
}

/// Level of a frequency in a signal, as the amplitude of a sine.
fn amplitude(samples: &[i16], hz: f64, rate: f64) -> f64 {
    let (mut re, mut im) = (0.0, 0.0);
    for (n, &sample) in samples.iter().enumerate() {
        let phase = std::f64::consts::TAU * hz * n as f64 / rate;
        re += f64::from(sample) * phase.cos();
        im += f64::from(sample) * phase.sin();
    }
    2.0 * re.hypot(im) / samples.len() as f64
}

#[test]
fn a_tone_crosses_a_link_unbroken_while_both_sides_are_irregular() {
    for seed in 1..=20u64 {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let mut parts = [room(8000, 1), room(8000, 1)];
        let (a, b) = link();
        parts[0].link(a);
        parts[1].link(b);
        // Each side has its turns every 20 ms at a phase of its own, up to 12 ms late; 0.1 ms steps. 10.4 s.
        let mut turns: Vec<(u64, usize)> = (0..520u64)
            .flat_map(|n| [(n, 0), (n, 1)])
            .map(|(n, side)| (n, side, next()))
            .map(|(n, side, r)| (n * 200 + side as u64 * (seed * 10) + r % 120, side))
            .collect();
        turns.sort();
        let mut said = 0u32;
        let mut heard = [Vec::new(), Vec::new()];
        let mut counts = LinkCounts::default();
        for (_, side) in turns {
            let part = &mut parts[side];
            part.begin();
            if side == 0 {
                let tone: Vec<i16> = (said..said + 160)
                    .map(|n| {
                        let phase = std::f64::consts::TAU * 440.0 * f64::from(n) / 8000.0;
                        (8000.0 * phase.sin()) as i16
                    })
                    .collect();
                said += 160;
                part.say(0, Some(&tone));
            }
            part.exchange(&mut counts);
            let mut out = [0; 160];
            if part.listen(0, &mut out) == Heard::Common {
                out.copy_from_slice(part.common());
            }
            heard[side].extend(out);
        }
        // His own voice never comes back.
        assert!(heard[0].iter().all(|&sample| sample == 0), "seed {seed}");
        // After the start (and a possible second slack) everything arrives, in order, unchanged.
        let tone = &heard[1][2400..];
        let level = amplitude(&tone[..80_000], 440.0, 8000.0);
        assert!((level - 8000.0).abs() < 80.0, "seed {seed}: {level}");
        let steps = tone
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).unsigned_abs());
        // A sine of this pitch and level moves at most 2764 from one sample to the next.
        assert!(steps.max().unwrap_or(0) < 2800, "seed {seed}: a break");
        assert_eq!(counts.overruns, 0, "seed {seed}");
        assert!(
            counts.late <= 2 && counts.skipped == 0,
            "seed {seed}: {counts:?}"
        );
    }
}

#[test]
fn a_stalled_part_delays_nobody_and_its_return_is_short() {
    let mut parts = [room(8000, 1), room(8000, 1)];
    let (a, b) = link();
    parts[0].link(a);
    parts[1].link(b);
    let mut counts = LinkCounts::default();
    let mut run = |part: &mut Room<usize>, said: i16| {
        part.begin();
        part.say(0, Some(&[said; 160]));
        part.exchange(&mut counts);
        heard(part)[0]
    };
    for _ in 0..10 {
        run(&mut parts[0], 1000);
        run(&mut parts[1], 2000);
    }
    // The second stops for a second: the first hears silence, and does not wait.
    let heard: Vec<i16> = (0..50).map(|_| run(&mut parts[0], 1000)).collect();
    assert!(heard[5..].iter().all(|&sample| sample == 0));
    // It comes back and hears what is new after what was still in the ring.
    let mut delay = 0;
    for turn in 0..200 {
        run(&mut parts[0], if turn < 100 { 3000 } else { 500 });
        if run(&mut parts[1], 2000) != 500 && turn >= 100 {
            delay += 1;
        }
    }
    assert!(delay <= 3, "{delay} frames late");
    assert!(
        counts.overruns + counts.skipped >= 40 && counts.late >= 1,
        "{counts:?}"
    );
}

#[test]
fn a_part_that_closes_is_forgotten_after_its_last_word() {
    let mut near = room(8000, 1);
    let mut far = room(8000, 1);
    let (a, b) = link();
    near.link(a);
    far.link(b);
    for _ in 0..3 {
        turn(&mut far, &[Some(700)]);
    }
    drop(far);
    let heard: Vec<i16> = (0..5).flat_map(|_| turn(&mut near, &[None])).collect();
    assert_eq!(heard, [700, 700, 700, 0, 0]);
    assert_eq!(near.links(), 0);
}

#[test]
fn sums_of_another_rate_are_left_out() {
    let mut parts = [room(8000, 1), room(16_000, 1)];
    let (a, b) = link();
    parts[0].link(a);
    parts[1].link(b);
    for _ in 0..10 {
        assert_eq!(turn(&mut parts[0], &[Some(100)]), [0]);
        assert_eq!(turn(&mut parts[1], &[Some(100)]), [0]);
    }
    parts[0].set_rate(16_000);
    let mut heard = 0;
    for _ in 0..10 {
        turn(&mut parts[0], &[Some(100)]);
        heard = turn(&mut parts[1], &[Some(100)])[0];
    }
    assert_eq!(heard, 100);
}

#[test]
fn a_whisper_is_heard_by_the_one_it_is_for() {
    let mut room = room(8000, 4);
    let marked = |mark| MemberOptions { mark, ..OPTIONS };
    room.set(0, marked(1));
    room.set(1, marked(2));
    room.set(
        2,
        MemberOptions {
            whispers_to: 1,
            ..OPTIONS
        },
    );
    assert_eq!(
        turn(&mut room, &[Some(100), Some(1000), Some(20), None]),
        [1020, 100, 1100, 1100],
        "the first hears the whisper, who whispers hears both"
    );
    // Nobody else says anything.
    assert_eq!(
        turn(&mut room, &[None, None, Some(20), None]),
        [20, 0, 0, 0]
    );
    room.set(2, OPTIONS);
    assert_eq!(
        turn(&mut room, &[Some(100), None, Some(20), None]),
        [20, 120, 100, 120]
    );
}

#[test]
fn one_can_be_listened_to_alone() {
    let mut room = room(8000, 3);
    room.set(0, MemberOptions { mark: 1, ..OPTIONS });
    let listens_to = |hears_only| MemberOptions {
        muted: true,
        hears_only,
        listen_db: 6,
        ..OPTIONS
    };
    room.set(2, listens_to(1));
    let heard = turn(&mut room, &[Some(1000), Some(300), Some(7)]);
    assert_eq!(heard[..2], [300, 1000]);
    assert!((heard[2] - 1995).abs() <= 1, "{heard:?}");
    room.set(2, listens_to(NOBODY));
    assert_eq!(
        turn(&mut room, &[Some(1000), Some(300), None]),
        [300, 1000, 0]
    );
}
