//! Rooms: many speak, each hears all others and not himself. Sans-IO: frames of 20 ms go in, frames come out.
//!
//! What lives here: the sum, talker detection, gains, and the exchange of partial sums with the parts of the same room on
//! other threads ([`link`]). What never does: packets, codecs, jitter (a leg decodes and encodes), the time (whoever owns
//! the room gives it its turns).
//!
//! A turn is: [`Room::begin`], for each member [`Room::say`], for each announcement [`Room::announce`],
//! [`Room::exchange`], then for each member [`Room::listen`]. The sum is made once in 32 bits; who spoke gets it less his
//! own part, all others hear the same samples ([`Heard::Common`]), which have to be encoded only once for all of them.

pub mod link;
mod talk;

use crate::uring::prefetch;
pub use link::{LinkEnd, LinkReceiver, LinkSender, link};
pub use talk::TalkDetector;

/// Frames a second.
const FRAMES_PER_SECOND: u32 = 50;
/// Samples of a frame at the highest rate, 48,000 Hz.
pub const FRAME_MAX: usize = 960;
/// Mean magnitude up to which a frame counts as nothing at all: the smallest step of A-law.
const NOTHING: u32 = 8;
/// Limit of gains, in dB.
pub const GAIN_DB_MAX: i8 = 30;

/// A gain as a factor in 1/2048.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
struct Gain(i32);

impl Gain {
    const NONE: Self = Self(2048);

    fn from_db(db: i8) -> Self {
        let db = db.clamp(-GAIN_DB_MAX, GAIN_DB_MAX);
        if db == 0 {
            return Self::NONE;
        }
        Self((2048.0 * 10f32.powf(f32::from(db) / 20.0)).round() as i32)
    }

    fn apply(self, samples: &mut [i16]) {
        if self == Self::NONE {
            return;
        }
        for sample in samples {
            // 32768 by at most 64,764: fits.
            *sample = clamp((i32::from(*sample) * self.0) >> 11);
        }
    }
}

/// A mark that nobody has: who hears only him hears nobody.
pub const NOBODY: u8 = u8::MAX;

/// How somebody takes part.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct MemberOptions {
    /// He is not heard.
    pub muted: bool,
    /// Gain of what he says, in dB, -30..=30 (more is brought into that range).
    pub talk_db: i8,
    /// Gain of what he hears, in dB, -30..=30.
    pub listen_db: i8,
    /// Tell when he begins and ends to talk.
    pub talk_events: bool,
    /// What he says while he does not talk (noise) is left out.
    pub drop_silence: bool,
    /// Mean magnitude of a frame from which it counts as talking, 0..=32767.
    pub talk_threshold: u16,
    /// So long without talking ends the talk, in milliseconds.
    pub silence_ms: u16,
    /// By this others say whom they mean; 0: nobody can.
    pub mark: u8,
    /// Only members with this mark hear him; 0: all do.
    pub whispers_to: u8,
    /// He hears only members with this mark; 0: all.
    pub hears_only: u8,
}

impl Default for MemberOptions {
    fn default() -> Self {
        Self {
            muted: false,
            talk_db: 0,
            listen_db: 0,
            talk_events: false,
            drop_silence: false,
            talk_threshold: 160,
            silence_ms: 2500,
            mark: 0,
            whispers_to: 0,
            hears_only: 0,
        }
    }
}

/// Somebody in a room.
#[derive(Debug)]
struct Member<K> {
    key: K,
    options: MemberOptions,
    talk_gain: Gain,
    listen_gain: Gain,
    talk: TalkDetector,
    /// His part is in his place of the voices, and in this turn's sum unless he whispers.
    spoke: bool,
}

impl<K> Member<K> {
    fn set(&mut self, options: MemberOptions) {
        self.talk_gain = Gain::from_db(options.talk_db);
        self.listen_gain = Gain::from_db(options.listen_db);
        self.options = options;
    }

    /// Is what he said in the sum?
    fn is_in_sum(&self) -> bool {
        self.spoke && self.options.whispers_to == 0
    }
}

/// What a member hears in this turn.
#[derive(Debug, Eq, PartialEq)]
pub enum Heard {
    /// What all hear who said nothing: [`Room::common`].
    Common,
    /// Something of his own; it was written into the buffer.
    Own,
}

/// A room, or the part of one that is on this thread. `K` names its members.
#[derive(Debug)]
pub struct Room<K> {
    frame: usize,
    members: Vec<Member<K>>,
    /// What each member said in this turn: as many frames as members.
    voices: Vec<i16>,
    sum: Box<[i32; FRAME_MAX]>,
    common: Box<[i16; FRAME_MAX]>,
    /// Something is in the sum.
    loud: bool,
    /// Somebody whispered in this turn.
    whispered: bool,
    links: Vec<LinkEnd>,
    received: Box<[i32; FRAME_MAX]>,
}

impl<K: Copy + Eq> Room<K> {
    /// An empty room of 8000, 16,000, 24,000, 32,000 or 48,000 Hz; other rates become the next of these.
    pub fn new(rate: u32) -> Self {
        Self {
            frame: frame_of(rate),
            members: Vec::new(),
            voices: Vec::new(),
            sum: Box::new([0; FRAME_MAX]),
            common: Box::new([0; FRAME_MAX]),
            loud: false,
            whispered: false,
            links: Vec::new(),
            received: Box::new([0; FRAME_MAX]),
        }
    }

    /// The rate in Hz at which it mixes.
    pub fn rate(&self) -> u32 {
        self.frame as u32 * FRAMES_PER_SECOND
    }

    /// Changes the rate. Partial sums of another rate that are still on their way are left out.
    pub fn set_rate(&mut self, rate: u32) {
        self.frame = frame_of(rate);
        self.voices.resize(self.members.len() * self.frame, 0);
        self.sum.fill(0);
        self.common.fill(0);
        self.loud = false;
        self.begin();
    }

    /// Samples of a frame: 20 ms.
    pub fn frame(&self) -> usize {
        self.frame
    }

    /// Members of this part.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Is nobody here?
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The member at an index below [`Self::len`].
    pub fn key(&self, index: usize) -> Option<K> {
        self.members.get(index).map(|member| member.key)
    }

    /// Asks for the list of the first members.
    #[inline]
    pub(crate) fn expect_members(&self, count: usize) {
        prefetch::slice(&self.members[..count.min(self.members.len())]);
    }

    /// Asks for what they are mixed in.
    #[inline]
    pub(crate) fn expect_mix(&self, count: usize) {
        prefetch::slice(&self.sum[..self.frame]);
        prefetch::slice(&self.common[..self.frame]);
        prefetch::slice(&self.voices[..self.voices.len().min(count * self.frame)]);
    }

    /// All members.
    pub fn keys(&self) -> impl Iterator<Item = K> {
        self.members.iter().map(|member| member.key)
    }

    /// Somebody comes in. Allocates; who is in already only gets other options.
    pub fn join(&mut self, key: K, options: MemberOptions) {
        if self.set(key, options) {
            return;
        }
        let mut member = Member {
            key,
            options,
            talk_gain: Gain::NONE,
            listen_gain: Gain::NONE,
            talk: TalkDetector::default(),
            spoke: false,
        };
        member.set(options);
        self.members.push(member);
        self.voices.resize(self.members.len() * self.frame, 0);
    }

    /// Somebody goes. False: he was not here.
    pub fn leave(&mut self, key: K) -> bool {
        let Some(index) = self.members.iter().position(|member| member.key == key) else {
            return false;
        };
        self.members.swap_remove(index);
        // The last takes the place, with what he said in this turn.
        let last = self.members.len() * self.frame;
        self.voices
            .copy_within(last..last + self.frame, index * self.frame);
        self.voices.truncate(last);
        true
    }

    /// Changes how somebody takes part. False: he is not here.
    pub fn set(&mut self, key: K, options: MemberOptions) -> bool {
        match self.members.iter_mut().find(|member| member.key == key) {
            Some(member) => {
                member.set(options);
                true
            }
            None => false,
        }
    }

    /// Joins this part with another.
    pub fn link(&mut self, end: LinkEnd) {
        self.links.push(end);
    }

    /// Parts that this one exchanges sums with.
    pub fn links(&self) -> usize {
        self.links.len()
    }

    /// Is what this member says of any interest? If not, it need not be decoded.
    pub fn wants(&self, index: usize) -> bool {
        self.members
            .get(index)
            .is_some_and(|member| !member.options.muted)
    }

    /// Begins a turn: nobody has said anything.
    pub fn begin(&mut self) {
        if std::mem::take(&mut self.loud) {
            self.sum[..self.frame].fill(0);
            self.common[..self.frame].fill(0);
        }
        self.whispered = false;
        for member in &mut self.members {
            member.spoke = false;
        }
    }

    /// A frame of the member at `index`, [`Self::frame`] samples long; shorter ones end in silence, of longer ones the
    /// rest is left out. `None`: nothing came. The answer says that he has just begun (true) or ended (false) to talk, if
    /// he wants that told.
    pub fn say(&mut self, index: usize, frame: Option<&[i16]>) -> Option<bool> {
        let member = self.members.get_mut(index)?;
        let frame = frame.filter(|_| !member.options.muted).unwrap_or(&[]);
        let frame = &frame[..frame.len().min(self.frame)];
        let level = level(frame);
        let change = member.talk.push(level, &member.options);
        let told = change.filter(|_| member.options.talk_events);
        if level <= NOTHING || (member.options.drop_silence && !member.talk.is_open()) {
            return told;
        }
        let voice = self
            .voices
            .get_mut(index * self.frame..(index + 1) * self.frame)?;
        let (spoken, rest) = voice.split_at_mut(frame.len());
        spoken.copy_from_slice(frame);
        rest.fill(0);
        member.talk_gain.apply(spoken);
        member.spoke = true;
        if member.options.whispers_to != 0 {
            self.whispered = true;
            return told;
        }
        self.loud = true;
        for (sum, &sample) in self.sum.iter_mut().zip(&*spoken) {
            *sum += i32::from(sample);
        }
        told
    }

    /// Something that all hear, here and in the other parts.
    pub fn announce(&mut self, frame: &[i16]) {
        let frame = &frame[..frame.len().min(self.frame)];
        if level(frame) == 0 {
            return;
        }
        self.loud = true;
        for (sum, &sample) in self.sum.iter_mut().zip(frame) {
            *sum += i32::from(sample);
        }
    }

    /// Gives the sum to the other parts and adds theirs. Links whose other end is gone are given up.
    pub fn exchange(&mut self, counts: &mut LinkCounts) {
        if !self.links.is_empty() {
            let own = &self.sum[..self.frame];
            let own = self.loud.then_some(own);
            for link in &mut self.links {
                if !link.sender.push(own) {
                    counts.overruns += 1;
                }
            }
            let received = &mut self.received[..self.frame];
            let (sum, loud) = (&mut self.sum, &mut self.loud);
            self.links.retain_mut(|link| {
                if link.receiver.pull(received, counts) {
                    *loud = true;
                    for (sum, &part) in sum.iter_mut().zip(&*received) {
                        *sum = sum.saturating_add(part);
                    }
                }
                !link.is_over()
            });
        }
        if self.loud {
            for (common, &sum) in self.common[..self.frame].iter_mut().zip(self.sum.iter()) {
                *common = clamp(sum);
            }
        }
    }

    /// What everybody hears who said nothing, and what a recorder of the room hears. After [`Self::exchange`].
    pub fn common(&self) -> &[i16] {
        &self.common[..self.frame]
    }

    /// Is anything to be heard in this turn? If not, [`Self::common`] is silence.
    pub fn is_loud(&self) -> bool {
        self.loud
    }

    /// What the member at `index` hears. `out` is written only when that is not what all hear; it has to be
    /// [`Self::frame`] samples long.
    pub fn listen(&self, index: usize, out: &mut [i16]) -> Heard {
        let Some(member) = self.members.get(index) else {
            return Heard::Common;
        };
        let options = &member.options;
        if options.hears_only != 0 || (self.whispered && (options.mark != 0 || member.spoke)) {
            self.listen_apart(index, member, out);
            return Heard::Own;
        }
        if !member.spoke && (member.listen_gain == Gain::NONE || !self.loud) {
            return Heard::Common;
        }
        let voice = self
            .voices
            .get(index * self.frame..(index + 1) * self.frame)
            .filter(|_| member.spoke);
        match voice {
            Some(voice) => {
                for ((out, &sum), &own) in out.iter_mut().zip(self.sum.iter()).zip(voice) {
                    *out = clamp(sum.saturating_sub(i32::from(own)));
                }
            }
            None => {
                for (out, &common) in out.iter_mut().zip(self.common.iter()) {
                    *out = common;
                }
            }
        }
        member.listen_gain.apply(out);
        Heard::Own
    }
}

impl<K> Room<K> {
    /// What a member hears who does not hear the same as all others: somebody whispers, or he listens to one alone.
    #[cold]
    fn listen_apart(&self, index: usize, member: &Member<K>, out: &mut [i16]) {
        let mut sum = [0; FRAME_MAX];
        let sum = &mut sum[..self.frame];
        let MemberOptions {
            mark, hears_only, ..
        } = member.options;
        if hears_only == 0 {
            sum.copy_from_slice(&self.sum[..self.frame]);
        }
        for (other, voice) in self.members.iter().zip(self.voices.chunks(self.frame)) {
            if std::ptr::eq(other, member) || !other.spoke {
                continue;
            }
            let to = other.options.whispers_to;
            let alone = hears_only != 0 && hears_only == other.options.mark && to == 0;
            let whispered = to != 0 && to == mark;
            if alone || whispered {
                for (sum, &sample) in sum.iter_mut().zip(voice) {
                    *sum += i32::from(sample);
                }
            }
        }
        if hears_only == 0
            && member.is_in_sum()
            && let Some(own) = self.voices.chunks(self.frame).nth(index)
        {
            for (sum, &sample) in sum.iter_mut().zip(own) {
                *sum = sum.saturating_sub(i32::from(sample));
            }
        }
        for (out, &sum) in out.iter_mut().zip(&*sum) {
            *out = clamp(sum);
        }
        member.listen_gain.apply(out);
    }
}

/// What happened to partial sums.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct LinkCounts {
    /// Sums that found no room: the other part is stalled.
    pub overruns: u64,
    /// Turns in which nothing had come from the other part: silence stood in.
    pub late: u64,
    /// Sums left out, because the other part was ahead for a long time, or mixed at another rate.
    pub skipped: u64,
}

fn frame_of(rate: u32) -> usize {
    [8000, 16_000, 24_000, 32_000, 48_000]
        .into_iter()
        .find(|&known| rate <= known)
        .map_or(FRAME_MAX, |rate| (rate / FRAMES_PER_SECOND) as usize)
}

fn clamp(sample: i32) -> i16 {
    sample.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

/// Mean magnitude.
fn level(frame: &[i16]) -> u32 {
    let sum: u32 = frame.iter().map(|s| u32::from(s.unsigned_abs())).sum();
    sum.checked_div(frame.len() as u32).unwrap_or(0)
}

#[cfg(test)]
mod tests;
