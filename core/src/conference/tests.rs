//! What follows in the table when members come and go.

use super::*;

fn entry(number: u64, shard: usize) -> Entry {
    Entry {
        shard,
        channel: ChannelId(number),
        channel_name: format!("PJSIP/{number}"),
        uniqueid: format!("1.{number}"),
        caller_name: String::new(),
        caller_number: number.to_string(),
        leg: LegId(number),
        rate: 8000,
        room: RoomId(100 * shard as u64 + number),
        conference_rate: Rate::Auto,
        max_members: 0,
        admin: false,
        marked: false,
        wait_marked: false,
        end_marked: false,
        muted: false,
    }
}

/// A table and what it wanted done.
#[derive(Default)]
struct Rig {
    table: Table,
    effects: Vec<Effect>,
}

impl Rig {
    fn join(&mut self, entry: Entry) -> MemberId {
        self.try_join(entry).expect("may come in")
    }

    fn try_join(&mut self, entry: Entry) -> Result<MemberId, Refused> {
        self.effects.clear();
        self.table.join("7", entry, &mut self.effects)
    }

    fn leave(&mut self, id: MemberId) {
        self.effects.clear();
        self.table.leave("7", id, &mut self.effects);
    }

    fn view(&self, id: MemberId) -> View {
        self.table.view("7", id).expect("a member")
    }

    /// What was said to rooms, as `shard/room word`.
    fn rooms(&self) -> Vec<String> {
        let word = |effect: &Effect| match effect {
            Effect::Room {
                shard,
                room,
                command,
            } => {
                let word = match command {
                    RoomCommand::Open { rate } => format!("open {rate}"),
                    RoomCommand::Rate { rate } => format!("rate {rate}"),
                    RoomCommand::Link(_) => "link".to_owned(),
                    RoomCommand::Close => "close".to_owned(),
                    other => format!("{other:?}"),
                };
                Some(format!("{shard}/{} {word}", room.0))
            }
            Effect::Record { shard, room, .. } => Some(format!("{shard}/{} record", room.0)),
            Effect::StopRecord { shard, room } => Some(format!("{shard}/{} stop", room.0)),
            Effect::Wake { .. } | Effect::Tell { .. } => None,
        };
        self.effects.iter().filter_map(word).collect()
    }

    fn woken(&self) -> Vec<u64> {
        let channel = |effect: &Effect| match effect {
            Effect::Wake { channel, .. } => Some(channel.0),
            _ => None,
        };
        self.effects.iter().filter_map(channel).collect()
    }
}

#[test]
fn each_shard_with_members_has_one_part_linked_with_all_others() {
    let mut rig = Rig::default();
    let one = rig.join(entry(1, 0));
    assert_eq!(rig.rooms(), ["0/1 open 8000"]);
    let two = rig.join(entry(2, 0));
    assert_eq!(rig.rooms(), [""; 0]);
    assert_eq!(rig.view(two).room, RoomId(1), "the part that is there");
    let three = rig.join(entry(3, 1));
    assert_eq!(rig.rooms(), ["1/103 open 8000", "1/103 link", "0/1 link"]);
    rig.join(entry(4, 2));
    assert_eq!(
        rig.rooms(),
        [
            "2/204 open 8000",
            "2/204 link",
            "0/1 link",
            "2/204 link",
            "1/103 link"
        ]
    );
    rig.leave(one);
    assert_eq!(rig.rooms(), [""; 0]);
    rig.leave(two);
    assert_eq!(rig.rooms(), ["0/1 close"]);
    // A second departure is none.
    rig.leave(two);
    assert_eq!(rig.rooms(), [""; 0]);
    rig.leave(three);
    assert_eq!(rig.rooms(), ["1/103 close"]);
    assert_eq!(rig.table.info("7").map(|info| info.parties), Some(1));
}

#[test]
fn the_last_to_leave_closes_the_conference() {
    let mut rig = Rig::default();
    let one = rig.join(entry(1, 0));
    rig.table.lock("7", true);
    rig.leave(one);
    assert_eq!(rig.rooms(), ["0/1 close"]);
    assert_eq!(rig.table.list(), []);
    assert!(rig.try_join(entry(2, 0)).is_ok(), "the lock went with it");
}

#[test]
fn a_full_or_locked_conference_lets_in_admins_only() {
    let mut rig = Rig::default();
    let limited = |number, admin| Entry {
        max_members: 2,
        admin,
        ..entry(number, 0)
    };
    rig.join(limited(1, false));
    rig.join(limited(2, false));
    assert_eq!(rig.try_join(limited(3, false)), Err(Refused::Full));
    rig.join(limited(4, true));
    assert!(rig.table.lock("7", true));
    assert_eq!(rig.try_join(entry(5, 0)), Err(Refused::Locked));
    rig.join(limited(6, true));
    assert_eq!(
        rig.table.info("7").map(|info| (info.parties, info.admins)),
        Some((4, 2))
    );
}

#[test]
fn who_is_alone_is_told_when_company_comes_and_goes() {
    let mut rig = Rig::default();
    let one = rig.join(entry(1, 0));
    assert!(rig.view(one).alone);
    let two = rig.join(entry(2, 1));
    assert_eq!(rig.woken(), [1, 2]);
    assert!(!rig.view(one).alone && !rig.view(two).alone);
    rig.join(entry(3, 1));
    assert_eq!(rig.woken(), [0; 0], "nothing changes for the others");
    rig.leave(MemberId(3));
    assert_eq!(rig.woken(), [0; 0]);
    rig.leave(two);
    assert_eq!(rig.woken(), [1]);
    assert!(rig.view(one).alone);
}

#[test]
fn who_is_alone_among_those_who_wait_is_told_when_company_comes_and_goes() {
    let mut rig = Rig::default();
    let waiting = |number| Entry {
        wait_marked: true,
        ..entry(number, 0)
    };
    rig.join(waiting(1));
    rig.join(waiting(2));
    let free = rig.join(entry(3, 0));
    assert!(rig.woken().contains(&3) && rig.view(free).alone);
    let other = rig.join(entry(4, 1));
    assert!(rig.woken().contains(&3), "{:?}", rig.woken());
    assert!(!rig.view(free).alone && !rig.view(other).alone);
    rig.leave(other);
    assert!(rig.woken().contains(&3), "{:?}", rig.woken());
    assert!(rig.view(free).alone);
    rig.join(waiting(5));
    assert_eq!(rig.woken(), [0; 0], "who waits is no company");
}

#[test]
fn those_who_wait_come_in_with_the_marked_and_go_or_wait_when_he_goes() {
    let mut rig = Rig::default();
    let waits = rig.join(Entry {
        wait_marked: true,
        ..entry(1, 0)
    });
    let ends = rig.join(Entry {
        wait_marked: true,
        end_marked: true,
        ..entry(2, 1)
    });
    assert!(!rig.view(waits).active && rig.view(waits).alone);
    let free = rig.join(entry(3, 0));
    assert!(
        rig.view(free).active && rig.view(free).alone,
        "who waits is no company"
    );
    let marked = rig.join(Entry {
        marked: true,
        wait_marked: true,
        ..entry(4, 0)
    });
    assert_eq!(rig.woken(), [1, 2, 3, 4]);
    assert!(
        [waits, ends, free, marked]
            .iter()
            .all(|id| rig.view(*id).active)
    );
    rig.leave(marked);
    assert_eq!(rig.woken(), [1, 2, 3]);
    assert!(!rig.view(waits).active && rig.view(waits).out.is_none());
    assert_eq!(rig.view(ends).out, Some(Out::EndMarked));
    assert!(rig.view(free).active && rig.view(free).out.is_none());
}

#[test]
fn mutes_add_up_and_do_not_touch_admins() {
    let mut rig = Rig::default();
    let admin = rig.join(Entry {
        admin: true,
        ..entry(1, 0)
    });
    let two = rig.join(entry(2, 0));
    let three = rig.join(Entry {
        muted: true,
        ..entry(3, 0)
    });
    let muted = |rig: &Rig| [admin, two, three].map(|id| rig.view(id).muted);
    assert_eq!(muted(&rig), [false, false, true]);
    let effects = &mut Vec::new();
    assert!(rig.table.toggle_participants("7", effects));
    assert_eq!(muted(&rig), [false, true, true]);
    assert!(!rig.table.toggle_participants("7", effects));
    assert!(!rig.table.toggle_mute("7", three, effects));
    assert_eq!(muted(&rig), [false, false, false]);
    assert_eq!(rig.table.mute("7", Who::All, true, effects), 3);
    assert_eq!(muted(&rig), [true, true, true]);
    assert_eq!(
        rig.table.mute("7", Who::Channel("PJSIP/2"), false, effects),
        1
    );
    assert_eq!(
        rig.table.mute("7", Who::Channel("PJSIP/9"), false, effects),
        0
    );
    assert_eq!(rig.table.mute("none", Who::All, false, effects), 0);
    assert_eq!(muted(&rig), [true, false, true]);
}

#[test]
fn the_last_the_participants_or_one_can_be_sent_away() {
    let mut rig = Rig::default();
    let admin = rig.join(Entry {
        admin: true,
        ..entry(1, 0)
    });
    let two = rig.join(entry(2, 1));
    let three = rig.join(entry(3, 1));
    rig.effects.clear();
    assert_eq!(rig.table.kick("7", Who::Last, &mut rig.effects), 1);
    assert_eq!(rig.woken(), [3]);
    assert_eq!(rig.view(three).out, Some(Out::Kicked));
    rig.leave(three);
    assert_eq!(rig.table.kick("7", Who::Participants, &mut rig.effects), 1);
    assert_eq!(rig.view(two).out, Some(Out::Kicked));
    assert_eq!(rig.view(admin).out, None);
}

#[test]
fn a_better_member_raises_an_automatic_rate_everywhere() {
    let mut rig = Rig::default();
    rig.join(entry(1, 0));
    rig.join(Entry {
        rate: 16_000,
        ..entry(2, 1)
    });
    assert_eq!(
        rig.rooms(),
        [
            "1/102 open 8000",
            "1/102 link",
            "0/1 link",
            "0/1 rate 16000",
            "1/102 rate 16000"
        ]
    );
    rig.join(entry(3, 0));
    assert_eq!(rig.rooms(), [""; 0]);
    let mut fixed = Rig::default();
    let narrow = Entry {
        conference_rate: Rate::Fixed(8000),
        rate: 16_000,
        ..entry(1, 0)
    };
    fixed.join(narrow);
    assert_eq!(fixed.rooms(), ["0/1 open 8000"]);
}

#[test]
fn a_recording_outlives_the_members_of_its_shard() {
    let mut rig = Rig::default();
    let one = rig.join(entry(1, 0));
    let two = rig.join(entry(2, 1));
    rig.effects.clear();
    let path = PathBuf::from("/r/c.wav");
    let record = |rig: &mut Rig| {
        let format = FileFormat::Wav;
        rig.table
            .record("7", path.clone(), format, false, &mut rig.effects)
    };
    assert!(record(&mut rig) && !record(&mut rig));
    assert_eq!(rig.rooms(), ["0/1 record"]);
    assert_eq!(
        rig.table.info("7").and_then(|info| info.recording),
        Some(path.clone())
    );
    rig.leave(one);
    assert_eq!(rig.rooms(), [""; 0], "the part goes on for the recording");
    rig.effects.clear();
    assert!(rig.table.stop_record("7", &mut rig.effects));
    assert!(!rig.table.stop_record("7", &mut rig.effects));
    assert_eq!(rig.rooms(), ["0/1 stop", "0/1 close"]);
    assert!(record(&mut rig));
    rig.leave(two);
    assert_eq!(
        rig.rooms(),
        ["1/102 close"],
        "with the last the recording ends"
    );
}
