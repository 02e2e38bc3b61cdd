//! Rooms: who hears whom.

use super::*;
use crate::codec::G711;
use crate::room::{MemberOptions, link};
use crate::types::{RoomCommand, RoomId};

const ROOM: RoomId = RoomId(9);

fn in_room(rig: &mut Rig, command: RoomCommand) {
    rig.command(Command::Room(ROOM, command));
}

fn join(rig: &mut Rig, leg: LegId, options: MemberOptions) {
    in_room(rig, RoomCommand::Join { leg, options });
}

fn law() -> G711 {
    Codec::Pcmu.g711().expect("is G.711")
}

fn byte(sample: i16) -> u8 {
    let mut byte = [0];
    law().encode(&[sample], &mut byte);
    byte[0]
}

fn sample(byte: u8) -> i16 {
    let mut sample = [0];
    law().decode(&[byte], &mut sample);
    sample[0]
}

/// Legs with telephones that each say a constant.
struct Talk {
    rig: Rig,
    slots: Vec<Slot>,
    phones: Vec<(Phone, Option<u8>)>,
}

impl Talk {
    fn new(members: usize) -> Self {
        let mut rig = Rig::sized(members);
        let slots = (1..=members as u64)
            .map(|id| rig.leg(LegId(id)))
            .collect::<Vec<_>>();
        let phones = (0..members).map(|n| (Phone::new(n as u32), None)).collect();
        Self { rig, slots, phones }
    }

    /// All in one room.
    fn together(members: usize) -> Self {
        let mut talk = Self::new(members);
        in_room(&mut talk.rig, RoomCommand::Open { rate: 8000 });
        for id in 1..=members as u64 {
            join(&mut talk.rig, LegId(id), MemberOptions::default());
        }
        talk
    }

    fn says(&mut self, member: usize, byte: Option<u8>) {
        self.phones[member].1 = byte;
    }

    /// So many times 20 ms of talk.
    fn turns(&mut self, turns: usize) {
        for _ in 0..turns {
            for (slot, (phone, byte)) in self.slots.iter().zip(&mut self.phones) {
                if let Some(byte) = *byte {
                    let packet = phone.say(byte);
                    assert!(
                        self.rig.receive(*slot, &packet).is_none(),
                        "nothing is relayed"
                    );
                }
            }
            self.rig.pass(20);
        }
    }

    /// What each was sent last; all 160 bytes of that packet have to be the same.
    fn heard(&mut self) -> Vec<Option<u8>> {
        let mut last = vec![None; self.slots.len()];
        for sent in std::mem::take(&mut self.rig.sent) {
            if !sent.transmit.rtcp {
                let slot = sent.transmit.slot.0 as usize;
                last[slot] = Some(sent);
            }
        }
        let constant = |sent: Sent| {
            let payload = sent.payload();
            let constant = payload.iter().all(|&byte| byte == payload[0]);
            assert!(constant && payload.len() == 160, "{payload:?}");
            payload[0]
        };
        last.into_iter().map(|sent| sent.map(constant)).collect()
    }
}

#[test]
fn each_member_hears_the_sum_of_the_others_every_20_ms() {
    let mut talk = Talk::together(3);
    let (one, two) = (byte(1000), byte(-3000));
    talk.says(0, Some(one));
    talk.says(1, Some(two));
    talk.turns(20);
    let sum = byte(sample(one) + sample(two));
    assert_eq!(talk.heard(), [Some(two), Some(one), Some(sum)]);
    talk.turns(50);
    let sent = talk.rig.take_sent(talk.slots[2]);
    assert_eq!(sent.len(), 50);
    for pair in sent.windows(2) {
        let (before, after) = (pair[0].header(), pair[1].header());
        assert_eq!(after.timestamp.wrapping_sub(before.timestamp), 160);
        assert_eq!(after.sequence.wrapping_sub(before.sequence), 1);
        assert_eq!(pair[1].at - pair[0].at, Duration::from_millis(20));
    }
}

#[test]
fn a_room_that_grows_and_shrinks_mixes_each_frame_once() {
    let members = 66;
    let mut talk = Talk::new(members);
    in_room(&mut talk.rig, RoomCommand::Open { rate: 8000 });
    let mut step = 0u8;
    // Member 0 says something else in each packet: one of the hundred loudest.
    let mut turns = |talk: &mut Talk, turns: usize| {
        for _ in 0..turns {
            step = (step + 1) % 100;
            talk.says(0, Some(step));
            talk.turns(1);
        }
    };
    for id in 1..=64 {
        join(&mut talk.rig, LegId(id), MemberOptions::default());
    }
    turns(&mut talk, 20);
    for id in 65..=66 {
        join(&mut talk.rig, LegId(id), MemberOptions::default());
        turns(&mut talk, 10);
    }
    for id in 41..=66 {
        let leave = Command::Route(LegId(id), Route::Silence);
        talk.rig.command(leave);
        turns(&mut talk, 2);
    }
    turns(&mut talk, 10);
    let silence = byte(0);
    let heard: Vec<u8> = talk
        .rig
        .take_sent(talk.slots[1])
        .iter()
        .filter(|sent| !sent.transmit.rtcp)
        .map(|sent| {
            let payload = sent.payload();
            assert!(payload.iter().all(|&byte| byte == payload[0]));
            payload[0]
        })
        .filter(|&byte| byte != silence)
        .collect();
    assert!(heard.len() > 90, "{}", heard.len());
    for pair in heard.windows(2) {
        assert_eq!(pair[1], (pair[0] + 1) % 100, "{heard:?}");
    }
}

#[test]
fn mute_and_gain_are_obeyed_from_one_frame_to_the_next() {
    let mut talk = Talk::together(2);
    let word = byte(4000);
    talk.says(0, Some(word));
    talk.turns(10);
    assert_eq!(talk.heard()[1], Some(word));
    let options = MemberOptions {
        muted: true,
        ..MemberOptions::default()
    };
    join(&mut talk.rig, A, options);
    talk.turns(3);
    assert_eq!(talk.heard()[1], Some(byte(0)));
    let options = MemberOptions {
        talk_db: -6,
        ..MemberOptions::default()
    };
    join(&mut talk.rig, A, options);
    talk.turns(3);
    let quieter = sample(talk.heard()[1].expect("is sent something"));
    assert!((1850..2150).contains(&quieter), "{quieter}");
}

#[test]
fn who_is_routed_elsewhere_or_closed_has_left() {
    let mut talk = Talk::together(4);
    assert_eq!(talk.rig.counters.room_members.get(), 4);
    let word = byte(500);
    talk.says(0, Some(word));
    talk.rig.command(Command::Route(B, Route::Silence));
    talk.rig.command(Command::Close(C));
    talk.turns(10);
    assert_eq!(talk.heard(), [Some(byte(0)), None, None, Some(word)]);
    assert_eq!(talk.rig.counters.room_members.get(), 2);
    // The room ends: nobody is sent anything, and another may have its id.
    in_room(&mut talk.rig, RoomCommand::Close);
    talk.turns(5);
    assert_eq!(talk.heard(), [None; 4]);
    assert_eq!(talk.rig.counters.rooms.get(), 0);
    in_room(&mut talk.rig, RoomCommand::Open { rate: 8000 });
    assert_eq!(talk.rig.counters.rooms_refused.get(), 0);
    in_room(&mut talk.rig, RoomCommand::Open { rate: 8000 });
    assert_eq!(talk.rig.counters.rooms_refused.get(), 1);
}

#[test]
fn a_prompt_to_one_member_takes_the_place_of_the_room_for_him_alone() {
    let mut talk = Talk::together(3);
    let word = byte(700);
    talk.says(0, Some(word));
    talk.turns(10);
    talk.heard();
    talk.rig.play(B, 1, &[1600], Repeat::Once);
    talk.turns(5);
    let prompt = byte(4000);
    assert_eq!(talk.heard(), [Some(byte(0)), Some(prompt), Some(word)]);
    talk.turns(10);
    assert_eq!(talk.heard()[1], Some(word));
}

#[test]
fn an_announcement_is_heard_by_all_over_the_talk_and_its_end_told() {
    let mut talk = Talk::together(2);
    let word = byte(700);
    talk.says(0, Some(word));
    talk.turns(10);
    let play = PlayId(77);
    let sounds = vec![Arc::new(Sound::from_samples(vec![2000; 1600]))];
    in_room(
        &mut talk.rig,
        RoomCommand::Play {
            play,
            sounds,
            repeat: Repeat::Once,
        },
    );
    talk.turns(5);
    let both = byte(2000 + sample(word));
    assert_eq!(talk.heard(), [Some(byte(2000)), Some(both)]);
    talk.turns(10);
    assert_eq!(talk.heard(), [Some(byte(0)), Some(word)]);
    let ended = |event: &Event| {
        matches!(event, Event::RoomPlayEnded { room, play, completed: true }
            if *room == ROOM && *play == PlayId(77))
    };
    assert_eq!(
        talk.rig.take_events().iter().filter(|e| ended(e)).count(),
        1
    );
}

#[test]
fn talk_is_told_when_it_begins_and_when_it_is_over() {
    let mut talk = Talk::together(2);
    let options = MemberOptions {
        talk_events: true,
        silence_ms: 200,
        ..MemberOptions::default()
    };
    join(&mut talk.rig, A, options);
    talk.says(0, Some(byte(3000)));
    talk.turns(20);
    talk.says(0, Some(byte(0)));
    talk.turns(20);
    let told: Vec<_> = talk.rig.take_events();
    let told: Vec<_> = told
        .iter()
        .filter_map(|event| match event {
            Event::RoomTalking { leg, talking, .. } => Some((*leg, *talking)),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(A, true), (A, false)]);
}

#[test]
fn a_recording_of_a_room_holds_everything_that_was_said() {
    let mut talk = Talk::together(3);
    let (one, two) = (byte(1000), byte(-3000));
    talk.says(0, Some(one));
    talk.says(1, Some(two));
    talk.turns(10);
    let setup = RecorderSetup::new(
        RecorderId(5),
        LegId(0),
        "room.wav".into(),
        FileFormat::Wav,
        TapMode::Mix,
    );

    in_room(
        &mut talk.rig,
        RoomCommand::StartRecorder(Box::new(setup.prepare())),
    );
    assert_eq!(talk.rig.counters.recorders.get(), 1);
    talk.turns(250);
    in_room(&mut talk.rig, RoomCommand::StopRecorder(RecorderId(5)));
    talk.turns(1);
    let file = &talk.rig.files[&RecorderId(5)];
    assert!(file.closed && file.lost == 0);
    assert!(
        (39_840..=40_160).contains(&file.samples.len()),
        "{}",
        file.samples.len()
    );
    let sum = sample(one) + sample(two);
    let other = file.samples.iter().filter(|&&s| s != sum).count();
    assert!(other <= 320, "{other} samples are not the sum");
    assert_eq!(talk.rig.counters.recorders.get(), 0);
}

#[test]
fn a_recording_of_a_room_tells_what_it_loses() {
    let mut talk = Talk::together(2);
    talk.says(0, Some(byte(1000)));
    let setup = RecorderSetup::new(
        RecorderId(5),
        LegId(0),
        "room.wav".into(),
        FileFormat::Wav,
        TapMode::Mix,
    );
    let start = RoomCommand::StartRecorder(Box::new(setup.prepare()));
    in_room(&mut talk.rig, start);
    let told = |talk: &mut Talk| {
        let events = talk.rig.take_events().into_iter();
        let told = events.filter_map(|event| match event {
            Event::RecorderTrouble { recorder, .. } => Some((recorder, 0)),
            Event::RecorderResumed {
                recorder,
                lost_samples,
                ..
            } => Some((recorder, lost_samples)),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    talk.turns(50);
    assert_eq!(told(&mut talk), []);
    talk.rig.disk_works = false;
    talk.turns(250);
    assert_eq!(told(&mut talk), [(RecorderId(5), 0)]);
    assert_eq!(talk.rig.counters.recorder_troubles.get(), 1);
    talk.rig.disk_works = true;
    talk.turns(50);
    let resumed = told(&mut talk);
    in_room(&mut talk.rig, RoomCommand::StopRecorder(RecorderId(5)));
    let lost = talk.rig.files[&RecorderId(5)].lost;
    assert!(lost > 8000, "{lost}");
    assert_eq!(resumed, [(RecorderId(5), lost)]);
}

#[test]
fn a_digit_goes_to_all_others() {
    let mut talk = Talk::together(3);
    in_room(
        &mut talk.rig,
        RoomCommand::SendDtmf {
            digit: '5',
            duration_ms: 80,
            except: Some(A),
        },
    );
    talk.rig.pass(300);
    let events = |talk: &mut Talk, n: usize| {
        let sent = talk.rig.take_sent(talk.slots[n]);
        sent.iter()
            .filter(|s| s.header().payload_type == 96)
            .count()
    };
    assert_eq!(events(&mut talk, 0), 0);
    assert!(events(&mut talk, 1) > 3 && events(&mut talk, 2) > 3);
}

#[test]
fn an_empty_room_wants_no_turns() {
    let mut rig = Rig::new();
    in_room(&mut rig, RoomCommand::Open { rate: 8000 });
    assert_eq!(rig.engine.next_deadline(rig.now), None);
}

/// What all in rooms of so many members have to hear, from what each says.
fn expected(said: &[Option<u8>], room: usize) -> Vec<Option<u8>> {
    let value = |byte: &Option<u8>| byte.map_or(0, |byte| i32::from(sample(byte)));
    said.chunks(room)
        .flat_map(|room| {
            let sum: i32 = room.iter().map(value).sum();
            let heard = |own: &Option<u8>| {
                let clamped = (sum - value(own)).clamp(-32_768, 32_767) as i16;
                Some(byte(clamped))
            };
            room.iter().map(heard).collect::<Vec<_>>()
        })
        .collect()
}

/// One in seven says something of his own.
fn words(members: usize) -> Vec<Option<u8>> {
    (0..members)
        .map(|n| (n % 7 == 3).then(|| byte((n as i16 % 41 - 20) * 60)))
        .map(|word| word.filter(|&word| sample(word).unsigned_abs() > 8))
        .collect()
}

#[test]
fn two_hundred_rooms_of_five_do_not_hear_each_other() {
    let mut talk = Talk::new(1000);
    for room in 0..200u64 {
        let id = RoomId(room);
        talk.rig
            .command(Command::Room(id, RoomCommand::Open { rate: 8000 }));
        for member in 1..=5 {
            let command = RoomCommand::Join {
                leg: LegId(room * 5 + member),
                options: MemberOptions::default(),
            };
            talk.rig.command(Command::Room(id, command));
        }
    }
    let said = words(1000);
    for (member, word) in said.iter().enumerate() {
        talk.says(member, *word);
    }
    talk.turns(10);
    assert_eq!(talk.heard(), expected(&said, 5));
}

#[test]
fn a_thousand_in_one_room_over_two_engines_hear_everyone_but_themselves() {
    let mut parts = [Talk::together(500), Talk::together(500)];
    let (a, b) = link();
    in_room(&mut parts[0].rig, RoomCommand::Link(Box::new(a)));
    in_room(&mut parts[1].rig, RoomCommand::Link(Box::new(b)));
    let said = words(1000);
    for (member, word) in said.iter().enumerate() {
        parts[member / 500].says(member % 500, *word);
    }
    let mut heard = Vec::new();
    for _ in 0..15 {
        heard.clear();
        for part in &mut parts {
            part.turns(1);
            heard.extend(part.heard());
        }
    }
    assert_eq!(heard, expected(&said, 1000));
    // Sent over eight milliseconds each, not in one.
    let counters = &parts[0].rig.counters;
    assert_eq!(counters.room_members.get(), 500);
    assert_eq!(counters.room_link_overruns.get(), 0);
}

#[test]
fn members_with_different_codecs_and_rates_hear_each_other() {
    let wide = Codec::L16(crate::codec::L16Rate::Hz16000);
    for rate in [8000, 16_000] {
        let mut talk = Talk::new(2);
        talk.rig.configure(B, |negotiated| {
            let format = Format {
                payload_type: 97,
                codec: wide,
            };
            negotiated.formats = vec![format];
            negotiated.send = format;
        });
        in_room(&mut talk.rig, RoomCommand::Open { rate });
        for leg in [A, B] {
            join(&mut talk.rig, leg, MemberOptions::default());
        }
        let mut phones = [Phone::new(1), Phone::new(2)];
        phones[1].payload_type = 97;
        let word = byte(1000);
        for _ in 0..50 {
            let narrow = phones[0].say(word);
            talk.rig.receive(talk.slots[0], &narrow);
            let wide = phones[1].packet(&2000i16.to_be_bytes().repeat(320));
            phones[1].timestamp = phones[1].timestamp.wrapping_add(320);
            talk.rig.receive(talk.slots[1], &wide);
            talk.rig.pass(20);
        }
        let narrow = talk.rig.take_sent(talk.slots[0]).pop().expect("sent");
        for &byte in narrow.payload() {
            assert!(
                (sample(byte) - 2000).abs() <= 80,
                "{rate}: {}",
                sample(byte)
            );
        }
        let sent = talk.rig.take_sent(talk.slots[1]).pop().expect("sent");
        assert_eq!(
            (sent.header().payload_type, sent.payload().len()),
            (97, 640)
        );
        for two in sent.payload().chunks_exact(2) {
            let heard = i16::from_be_bytes([two[0], two[1]]);
            assert!((heard - 1000).abs() <= 40, "{rate}: {heard}");
        }
    }
}

#[test]
fn announcements_and_recordings_fit_a_wideband_room() {
    let mut talk = Talk::new(2);
    in_room(&mut talk.rig, RoomCommand::Open { rate: 8000 });
    for leg in [A, B] {
        join(&mut talk.rig, leg, MemberOptions::default());
    }
    in_room(&mut talk.rig, RoomCommand::Rate { rate: 16_000 });
    let sounds = vec![Arc::new(Sound::from_samples(vec![2000; 160]))];
    in_room(
        &mut talk.rig,
        RoomCommand::Play {
            play: PlayId(1),
            sounds,
            repeat: Repeat::Forever,
        },
    );
    let setup = RecorderSetup::new(
        RecorderId(6),
        LegId(0),
        "wide.wav".into(),
        FileFormat::Wav,
        TapMode::Mix,
    );
    in_room(
        &mut talk.rig,
        RoomCommand::StartRecorder(Box::new(setup.prepare())),
    );
    talk.turns(100);
    for slot in talk.slots.clone() {
        let sent = talk.rig.take_sent(slot).pop().expect("sent");
        for &byte in sent.payload() {
            assert!((sample(byte) - 2000).abs() <= 80, "{}", sample(byte));
        }
    }
    in_room(&mut talk.rig, RoomCommand::StopRecorder(RecorderId(6)));
    let samples = &talk.rig.files[&RecorderId(6)].samples;
    let right = samples.iter().filter(|&&s| (s - 2000).abs() < 80).count();
    assert!(right > 15_000, "{right} of {}", samples.len());
}
