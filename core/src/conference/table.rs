//! The table of conferences: their members, what each may, and what follows when one comes or goes. No I/O.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustc_hash::FxHashMap;
use strowger_media::{FileFormat, LegId, PlayId, Repeat, RoomCommand, RoomId, Sound};

use super::{Effect, new_link};
use crate::channel::ChannelId;

/// The highest rate that [`Rate::Auto`] goes to, in Hz: wideband speech. Opus offers 48,000, which would cost three times as much.
const AUTO_RATE_MAX: u32 = 16_000;

/// Names a member within its conference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

/// At which rate a conference mixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// The highest that a member has had, in Hz.
    Auto,
    /// This, in Hz.
    Fixed(u32),
}

/// Who comes in, and how.
#[derive(Clone, Debug)]
pub struct Entry {
    pub shard: usize,
    pub channel: ChannelId,
    pub channel_name: String,
    pub uniqueid: String,
    pub caller_name: String,
    pub caller_number: String,
    pub leg: LegId,
    /// The rate of its audio in Hz.
    pub rate: u32,
    /// The room that becomes this shard's part, should it have none.
    pub room: RoomId,
    /// How the conference mixes, if this is its first member.
    pub conference_rate: Rate,
    /// Most members for this one to come in; 0: no limit.
    pub max_members: usize,
    pub admin: bool,
    /// Others may wait for it.
    pub marked: bool,
    /// Waits, alone with music, until somebody marked is there.
    pub wait_marked: bool,
    /// Has to go when the last marked member goes.
    pub end_marked: bool,
    pub muted: bool,
}

/// Why somebody may not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the conference has as many members as it may have")]
    Full,
    #[error("the conference is locked")]
    Locked,
    #[error("the call is over")]
    Over,
}

/// Why a member has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out {
    Kicked,
    /// The last marked member has gone.
    EndMarked,
}

/// Which members something is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who<'a> {
    /// The member of this channel.
    Channel(&'a str),
    All,
    /// Those who are no admins.
    Participants,
    /// The one who came last.
    Last,
}

/// What a member has to know about himself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// He has to go.
    pub out: Option<Out>,
    /// He is in the room; otherwise he waits for a marked member.
    pub active: bool,
    /// Nobody else is in the room.
    pub alone: bool,
    pub muted: bool,
    /// Members, those who wait included.
    pub parties: usize,
    pub locked: bool,
    pub room: RoomId,
}

/// A conference, for lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConferenceInfo {
    pub name: String,
    pub parties: usize,
    pub admins: usize,
    pub marked: usize,
    pub locked: bool,
    /// All who are no admins are muted.
    pub muted: bool,
    /// The file that is being written.
    pub recording: Option<PathBuf>,
    /// Hz.
    pub rate: u32,
    /// Its bridge, as events name it.
    pub bridge: Arc<str>,
}

/// A member, for lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberInfo {
    pub id: MemberId,
    pub channel: String,
    pub uniqueid: String,
    pub caller_name: String,
    pub caller_number: String,
    pub admin: bool,
    pub marked: bool,
    pub wait_marked: bool,
    pub end_marked: bool,
    pub waiting: bool,
    pub muted: bool,
    pub talking: bool,
    pub joined: SystemTime,
}

struct Member {
    id: MemberId,
    entry: Entry,
    muted: bool,
    talking: bool,
    out: Option<Out>,
    joined: SystemTime,
}

/// What a shard has of a conference.
struct Part {
    shard: usize,
    room: RoomId,
    members: usize,
    /// Stays while something is recorded here, with members or not.
    records: bool,
}

struct Conference {
    bridge: Arc<str>,
    rate_rule: Rate,
    rate: u32,
    parts: Vec<Part>,
    members: Vec<Member>,
    next: u64,
    locked: bool,
    muted: bool,
    recording: Option<PathBuf>,
}

impl Conference {
    fn has_marked(&self) -> bool {
        self.members
            .iter()
            .any(|member| member.entry.marked && member.out.is_none())
    }

    fn is_active(&self, member: &Member) -> bool {
        !member.entry.wait_marked || member.entry.marked || self.has_marked()
    }

    /// How many are in the room.
    fn active(&self) -> usize {
        let members = self.members.iter();
        members.filter(|member| self.is_active(member)).count()
    }

    fn is_muted(&self, member: &Member) -> bool {
        member.muted || (self.muted && !member.entry.admin)
    }

    /// Something happened to it that programs are told of.
    fn told(&self, event: &'static str, name: &str, shard: usize) -> Effect {
        let event = super::event(event, name, &self.bridge, self.members.len());
        Effect::Tell {
            shard,
            event: Box::new(event),
        }
    }

    fn wake_all(&self, effects: &mut Vec<Effect>) {
        effects.extend(self.members.iter().map(|member| Effect::Wake {
            shard: member.entry.shard,
            channel: member.entry.channel,
        }));
    }

    fn find(&self, id: MemberId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    fn is_meant(&self, who: Who<'_>, member: &Member) -> bool {
        match who {
            Who::Channel(name) => member.entry.channel_name == name,
            Who::All => true,
            Who::Participants => !member.entry.admin,
            Who::Last => self.members.last().map(|last| last.id) == Some(member.id),
        }
    }

    /// The members that a change is about.
    fn meant(&self, who: Who<'_>) -> Vec<MemberId> {
        let meant = self
            .members
            .iter()
            .filter(|member| self.is_meant(who, member));
        meant.map(|member| member.id).collect()
    }

    /// This shard gets a part, joined with all others, if it has none. Gives the part's room.
    fn part(&mut self, shard: usize, room: RoomId, effects: &mut Vec<Effect>) -> RoomId {
        if let Some(part) = self.parts.iter_mut().find(|part| part.shard == shard) {
            part.members += 1;
            return part.room;
        }
        let send = |shard, room, command| Effect::Room {
            shard,
            room,
            command,
        };
        let rate = self.rate;
        effects.push(send(shard, room, RoomCommand::Open { rate }));
        for other in &self.parts {
            let (here, there) = new_link();
            effects.push(send(shard, room, RoomCommand::Link(here)));
            effects.push(send(other.shard, other.room, RoomCommand::Link(there)));
        }
        self.parts.push(Part {
            shard,
            room,
            members: 1,
            records: false,
        });
        room
    }

    /// A part that nobody needs is closed; its links end by themselves.
    fn close_parts(&mut self, effects: &mut Vec<Effect>) {
        self.parts.retain(|part| {
            let needed = part.members > 0 || part.records;
            if !needed {
                effects.push(Effect::Room {
                    shard: part.shard,
                    room: part.room,
                    command: RoomCommand::Close,
                });
            }
            needed
        });
    }
}

/// All conferences, by name.
#[derive(Default)]
pub struct Table {
    conferences: FxHashMap<String, Conference>,
}

impl Table {
    /// Somebody comes in. The first opens the conference.
    pub fn join(
        &mut self,
        name: &str,
        entry: Entry,
        effects: &mut Vec<Effect>,
    ) -> Result<MemberId, Refused> {
        if let Some(conference) = self.conferences.get(name) {
            if conference.locked && !entry.admin {
                return Err(Refused::Locked);
            }
            let full = entry.max_members > 0 && conference.members.len() >= entry.max_members;
            if full && !entry.admin {
                return Err(Refused::Full);
            }
        }
        let conference = self
            .conferences
            .entry(name.to_owned())
            .or_insert_with(|| Conference {
                bridge: crate::shared::new_uuid().into(),
                rate_rule: entry.conference_rate,
                rate: match entry.conference_rate {
                    Rate::Auto => entry.rate.min(AUTO_RATE_MAX),
                    Rate::Fixed(rate) => rate,
                },
                parts: Vec::new(),
                members: Vec::new(),
                next: 1,
                locked: false,
                muted: false,
                recording: None,
            });
        let entry = Entry {
            rate: entry.rate.min(AUTO_RATE_MAX),
            ..entry
        };
        conference.part(entry.shard, entry.room, effects);
        if conference.rate_rule == Rate::Auto && entry.rate > conference.rate {
            conference.rate = entry.rate;
            effects.extend(conference.parts.iter().map(|part| Effect::Room {
                shard: part.shard,
                room: part.room,
                command: RoomCommand::Rate { rate: entry.rate },
            }));
        }
        let id = MemberId(conference.next);
        conference.next += 1;
        let before = conference.active();
        conference.members.push(Member {
            id,
            muted: entry.muted,
            talking: false,
            out: None,
            joined: SystemTime::now(),
            entry,
        });
        // He who was alone is so no longer; those who waited may have got whom they waited for.
        let marked = conference.members.last().is_some_and(|m| m.entry.marked);
        if marked || is_told(before, conference.active()) {
            conference.wake_all(effects);
        }
        Ok(id)
    }

    /// Plays to the others as a member goes: in a part of the conference that does not end with him.
    pub fn announce_to_others(
        &self,
        name: &str,
        id: MemberId,
        play: PlayId,
        sounds: &[Arc<Sound>],
        effects: &mut Vec<Effect>,
    ) {
        let Some(conference) = self.conferences.get(name) else {
            return;
        };
        let other = conference
            .members
            .iter()
            .find(|member| member.id != id && conference.is_active(member));
        let part = other.and_then(|other| {
            let at = |part: &&Part| part.shard == other.entry.shard;
            conference.parts.iter().find(at)
        });
        if let Some(part) = part {
            effects.push(Effect::Room {
                shard: part.shard,
                room: part.room,
                command: RoomCommand::Play {
                    play,
                    sounds: sounds.to_vec(),
                    repeat: Repeat::Once,
                },
            });
        }
    }

    /// A member goes. The last closes the conference. Does nothing the second time.
    pub fn leave(&mut self, name: &str, id: MemberId, effects: &mut Vec<Effect>) {
        let Some(conference) = self.conferences.get_mut(name) else {
            return;
        };
        let Some(at) = conference.members.iter().position(|m| m.id == id) else {
            return;
        };
        let before = conference.active();
        let member = conference.members.remove(at);
        if let Some(part) = conference
            .parts
            .iter_mut()
            .find(|part| part.shard == member.entry.shard)
        {
            part.members -= 1;
        }
        if conference.members.is_empty() {
            if conference.recording.is_some()
                && let Some(part) = conference.parts.first()
            {
                effects.push(conference.told("ConfbridgeStopRecord", name, part.shard));
            }
            for part in &mut conference.parts {
                part.records = false;
            }
            conference.close_parts(effects);
            self.conferences.remove(name);
            return;
        }
        conference.close_parts(effects);
        if member.entry.marked && !conference.has_marked() {
            for member in &mut conference.members {
                if member.entry.end_marked && member.out.is_none() {
                    member.out = Some(Out::EndMarked);
                }
            }
            conference.wake_all(effects);
        } else if is_told(before, conference.active()) {
            conference.wake_all(effects);
        }
    }

    /// What a member has to know. `None`: he is no member (any more).
    pub fn view(&self, name: &str, id: MemberId) -> Option<View> {
        let conference = self.conferences.get(name)?;
        let member = conference.find(id)?;
        let part = conference
            .parts
            .iter()
            .find(|part| part.shard == member.entry.shard)?;
        let others = conference
            .members
            .iter()
            .any(|other| other.id != id && conference.is_active(other));
        Some(View {
            out: member.out,
            active: conference.is_active(member),
            alone: !others,
            muted: conference.is_muted(member),
            parties: conference.members.len(),
            locked: conference.locked,
            room: part.room,
        })
    }

    /// Mutes members, or lets them be heard again. How many it was about.
    pub fn mute(
        &mut self,
        name: &str,
        who: Who<'_>,
        muted: bool,
        effects: &mut Vec<Effect>,
    ) -> usize {
        self.each(name, who, effects, |member| member.muted = muted)
    }

    /// A member mutes himself, or is heard again. Says which.
    pub fn toggle_mute(&mut self, name: &str, id: MemberId, effects: &mut Vec<Effect>) -> bool {
        let mut muted = false;
        if let Some(conference) = self.conferences.get_mut(name)
            && let Some(member) = conference.members.iter_mut().find(|m| m.id == id)
        {
            member.muted = !member.muted;
            muted = member.muted;
            effects.push(wake(member));
        }
        muted
    }

    /// Mutes all who are no admins, those who come later included, or lets them be heard again. Says which.
    pub fn toggle_participants(&mut self, name: &str, effects: &mut Vec<Effect>) -> bool {
        let Some(conference) = self.conferences.get_mut(name) else {
            return false;
        };
        conference.muted = !conference.muted;
        conference.wake_all(effects);
        conference.muted
    }

    /// Sends members away. How many.
    pub fn kick(&mut self, name: &str, who: Who<'_>, effects: &mut Vec<Effect>) -> usize {
        self.each(name, who, effects, |member| {
            member.out = member.out.or(Some(Out::Kicked));
        })
    }

    /// Locks a conference for all but admins, or opens it again. False: there is none of this name.
    pub fn lock(&mut self, name: &str, locked: bool) -> bool {
        let conference = self.conferences.get_mut(name);
        conference.is_some_and(|conference| {
            conference.locked = locked;
            true
        })
    }

    /// A digit that a member pressed goes to all others.
    pub fn send_digit(
        &self,
        name: &str,
        id: MemberId,
        digit: char,
        duration_ms: u16,
        effects: &mut Vec<Effect>,
    ) {
        let Some(conference) = self.conferences.get(name) else {
            return;
        };
        let Some(member) = conference.find(id) else {
            return;
        };
        effects.extend(conference.parts.iter().map(|part| Effect::Room {
            shard: part.shard,
            room: part.room,
            command: RoomCommand::SendDtmf {
                digit,
                duration_ms,
                // Of another shard's legs one may have the same id.
                except: (part.shard == member.entry.shard).then_some(member.entry.leg),
            },
        }));
    }

    /// Notes that a member begins or ends to talk.
    pub fn talking(&mut self, name: &str, id: MemberId, talking: bool) {
        if let Some(conference) = self.conferences.get_mut(name)
            && let Some(member) = conference.members.iter_mut().find(|m| m.id == id)
        {
            member.talking = talking;
        }
    }

    /// Records a conference. False: there is none of this name, or it is being recorded.
    pub fn record(
        &mut self,
        name: &str,
        path: PathBuf,
        format: FileFormat,
        append: bool,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(conference) = self.conferences.get_mut(name) else {
            return false;
        };
        let Some(part) = conference.parts.first_mut() else {
            return false;
        };
        if conference.recording.is_some() {
            return false;
        }
        part.records = true;
        conference.recording = Some(path.clone());
        effects.push(Effect::Record {
            shard: part.shard,
            room: part.room,
            path,
            format,
            append,
        });
        let shard = part.shard;
        effects.push(conference.told("ConfbridgeRecord", name, shard));
        true
    }

    /// Ends the recording of a conference. False: there was none.
    pub fn stop_record(&mut self, name: &str, effects: &mut Vec<Effect>) -> bool {
        let Some(conference) = self.conferences.get_mut(name) else {
            return false;
        };
        if conference.recording.take().is_none() {
            return false;
        }
        if let Some(part) = conference.parts.first() {
            effects.push(conference.told("ConfbridgeStopRecord", name, part.shard));
        }
        for part in conference.parts.iter_mut().filter(|part| part.records) {
            part.records = false;
            effects.push(Effect::StopRecord {
                shard: part.shard,
                room: part.room,
            });
        }
        conference.close_parts(effects);
        true
    }

    /// A conference.
    pub fn info(&self, name: &str) -> Option<ConferenceInfo> {
        let conference = self.conferences.get(name)?;
        let count = |which: fn(&Entry) -> bool| {
            let members = conference.members.iter();
            members.filter(|member| which(&member.entry)).count()
        };
        Some(ConferenceInfo {
            name: name.to_owned(),
            parties: conference.members.len(),
            admins: count(|entry| entry.admin),
            marked: count(|entry| entry.marked),
            locked: conference.locked,
            muted: conference.muted,
            recording: conference.recording.clone(),
            rate: conference.rate,
            bridge: Arc::clone(&conference.bridge),
        })
    }

    /// All conferences, by name.
    pub fn list(&self) -> Vec<ConferenceInfo> {
        let mut names: Vec<&String> = self.conferences.keys().collect();
        names.sort();
        names
            .into_iter()
            .filter_map(|name| self.info(name))
            .collect()
    }

    /// The members of a conference, in the order in which they came.
    pub fn members(&self, name: &str) -> Vec<MemberInfo> {
        let Some(conference) = self.conferences.get(name) else {
            return Vec::new();
        };
        let info = |member: &Member| MemberInfo {
            id: member.id,
            channel: member.entry.channel_name.clone(),
            uniqueid: member.entry.uniqueid.clone(),
            caller_name: member.entry.caller_name.clone(),
            caller_number: member.entry.caller_number.clone(),
            admin: member.entry.admin,
            marked: member.entry.marked,
            wait_marked: member.entry.wait_marked,
            end_marked: member.entry.end_marked,
            waiting: !conference.is_active(member),
            muted: conference.is_muted(member),
            talking: member.talking,
            joined: member.joined,
        };
        conference.members.iter().map(info).collect()
    }

    fn each(
        &mut self,
        name: &str,
        who: Who<'_>,
        effects: &mut Vec<Effect>,
        change: impl Fn(&mut Member),
    ) -> usize {
        let Some(conference) = self.conferences.get_mut(name) else {
            return 0;
        };
        let meant = conference.meant(who);
        for member in &mut conference.members {
            if meant.contains(&member.id) {
                change(member);
                effects.push(wake(member));
            }
        }
        meant.len()
    }
}

/// Does somebody become alone in the room, or get company, when so many are in it as after?
fn is_told(before: usize, after: usize) -> bool {
    before != after && before.min(after) <= 1
}

fn wake(member: &Member) -> Effect {
    Effect::Wake {
        shard: member.entry.shard,
        channel: member.entry.channel,
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
