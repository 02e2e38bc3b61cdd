//! The jitter buffer: packets come when the network likes, audio leaves in frames of 20 ms, each when it is due.
//!
//! What lives here: the order of packets, how long they wait, what to do when one is missing, and the correction of two
//! clocks that never agree. What never does: codecs (a [`Decode`] turns payloads into samples and conceals what is
//! lost), sockets, clocks that are asked.
//!
//! The sender's timestamps are one continuous time line here, whatever the sender does to them: a new SSRC or a jump is
//! mapped to where the clock says it belongs. On this line moves the cursor, 20 ms a turn. How far it stays behind the
//! fastest packets is the delay; [`delay`] says how far it should be, and it is brought there by leaving periods of the
//! voice out or repeating them, in silence by whole pieces. That is all there is to drift too: a sender whose clock is
//! slow or fast looks like a network that becomes slower or faster, very slowly.

mod delay;
mod report;
mod store;
mod stretch;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use crate::uring::prefetch;
use delay::Delay;
pub use report::Report;
use store::{Held, Packet, Put, Store};
use stretch::Pcm;

/// Milliseconds in a turn.
const TURN_MS: u32 = 20;
const TURN: Duration = Duration::from_millis(TURN_MS as u64);
/// The longest packet that is decoded, milliseconds of audio: the longest of Opus, and more than fits in a datagram of
/// G.711.
const PACKET_MS: usize = 200;
/// Without packets for so long, what comes next begins anew.
const STARVED_MS: i64 = 120;
/// Concealment that nobody has to make any more: it has faded out long before.
const FADED_MS: i64 = 500;
/// So far beyond what is needed the delay is cut at once, not by periods.
const CUT_MS: i64 = 200;
/// So far beyond what is needed (and a turn) the delay shrinks, below what is needed it grows.
const SLACK_MS: i64 = 5;
/// A turn that is so much overdue was missed.
const OVERDUE: Duration = Duration::from_millis(5);
/// So many packets in a row that are too late for any wait: the sender's timestamps are elsewhere now.
const STRANGERS: u32 = 3;
/// So many turns after a telephone-event audio is not missed.
const OTHERS_TURNS: u32 = 5;
/// The same for packets whose sequence numbers lie back.
const STRANGERS_BACK: u32 = 10;

/// Turns payloads into samples.
pub trait Decode {
    /// Decodes a payload of the given kind (as told to [`JitterBuffer::insert`]) into the beginning of `out`.
    fn decode(&mut self, kind: u8, payload: &[u8], out: &mut [i16]) -> Decoded;
    /// Fills `out` with what may stand for lost audio. `next` is the packet right after the loss, if it has come.
    /// `past` is what is heard before it.
    fn conceal(&mut self, next: Option<(u8, &[u8])>, past: &[i16], out: &mut [i16]);
    /// Takes the description of the background noise (RFC 3389).
    fn describe_noise(&mut self, payload: &[u8]);
    /// Fills `out` with background noise: the sender is silent on purpose. `past` is what is heard before it.
    fn noise(&mut self, past: &[i16], out: &mut [i16]);
    /// What follows is of another stream.
    fn reset(&mut self);
}

/// What came of a payload.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Decoded {
    /// Samples written; 0: it could not be read.
    pub samples: usize,
    /// The sender says that it pauses (DTX): nothing may follow for a while, and that is no loss.
    pub pause: bool,
}

/// A packet as it came.
#[derive(Copy, Clone, Debug)]
pub struct Incoming<'a> {
    pub sequence: u16,
    pub timestamp: u32,
    pub marker: bool,
    /// The first of another stream (SSRC changed, or the sequence began anew).
    pub restart: bool,
    /// A number of the owner's for the payload's codec; `None`: comfort noise (RFC 3389).
    pub kind: Option<u8>,
    /// Duration in clock units.
    pub units: u32,
    pub payload: &'a [u8],
}

/// How a jitter buffer is made.
#[derive(Copy, Clone, Debug)]
pub struct Setup {
    /// Hz of the RTP timestamps.
    pub clock_rate: u32,
    /// Hz of the audio that comes out.
    pub rate: u32,
    /// Least wait of the fastest packets, 0..=200 ms.
    pub min_ms: u32,
    /// Longest wait of the fastest packets, up to 500 ms.
    pub max_ms: u32,
    /// Room for payloads, bytes.
    pub bytes: usize,
}

/// The newest packet of the stream.
#[derive(Copy, Clone, Debug)]
struct Newest {
    raw_timestamp: u32,
    raw_sequence: u16,
    timestamp: i64,
    sequence: i64,
    units: i64,
}

/// What the cursor is doing.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Play {
    /// It waits for a beginning, since so many units.
    Idle { units: i64 },
    /// It moves.
    On,
    /// Nothing has come; it stands still, and so many units were made up.
    Starved { units: i64 },
}

/// Packets that wait to be put in order: usually one comes between two turns.
const ARRIVALS: usize = 4;

/// A packet that came since the last turn. Its payload lies in its place already; what else there is to do about it needs
/// memory that the turn needs too, so the turn does it.
#[derive(Copy, Clone, Debug)]
struct Arrival {
    /// When it came, in clock units.
    at: i64,
    timestamp: u32,
    units: u32,
    held: Held,
    sequence: u16,
    kind: Option<u8>,
    marker: bool,
    restart: bool,
    timely: bool,
}

/// A jitter buffer with its decoded audio. What an arriving packet touches comes first.
#[derive(Debug)]
#[repr(C)]
pub struct JitterBuffer {
    store: Store,
    epoch: Instant,
    turn: Option<Instant>,
    setup: Setup,
    arrived: usize,
    /// The first packet since the last turn; usually there is no other.
    arrival: Option<Arrival>,
    pcm: Pcm,
    newest: Option<Newest>,
    play: Play,
    /// The cursor: everything before is decoded, made up or given up.
    next: i64,
    /// Sequence number of the packet decoded last.
    last_sequence: i64,
    /// Its duration.
    last_units: i64,
    /// The sender said that it pauses.
    pause: bool,
    heard_anything: bool,
    strangers: u32,
    /// Turns for which the last packet without audio explains that there is none.
    others: u32,
    /// How long before they would be heard packets are decoded: of late, and in the interval before.
    ahead: (i64, i64),
    ahead_seen: u32,
    /// Turns since the delay was last corrected.
    since_corrected: u32,
    delay_ms: u32,
    delay_ms_max: u32,
    /// Something was written to the report since it was last asked about.
    news: bool,
    delay: Delay,
    /// Packets that came before the turn that should have taken the one before.
    more_arrivals: [Option<Arrival>; ARRIVALS - 1],
    report: Report,
}

impl JitterBuffer {
    /// `epoch`: any time not after the first packet. All memory is taken here.
    pub fn new(epoch: Instant, setup: Setup) -> Self {
        let setup = Setup {
            clock_rate: setup.clock_rate.max(1000),
            rate: setup.rate.max(1000),
            ..setup
        };
        let per_ms = setup.rate as usize / 1000 + 1;
        Self {
            store: Store::new(setup.bytes),
            epoch,
            turn: None,
            setup,
            arrived: 0,
            arrival: None,
            pcm: Pcm::new(setup.rate, (PACKET_MS + 60) * per_ms),
            delay: Delay::new(setup.clock_rate, setup.min_ms, setup.max_ms),
            newest: None,
            play: Play::Idle { units: 0 },
            next: i64::MIN,
            last_sequence: 0,
            last_units: 0,
            pause: false,
            heard_anything: false,
            strangers: 0,
            others: 0,
            ahead: (0, 0),
            ahead_seen: 0,
            since_corrected: 0,
            delay_ms: 0,
            delay_ms_max: 0,
            news: false,
            more_arrivals: [None; ARRIVALS - 1],
            report: Report::default(),
        }
    }

    /// Bytes at the beginning that an arriving packet touches.
    pub(crate) const ARRIVAL_BYTES: usize =
        std::mem::offset_of!(Self, arrival) + size_of::<Option<Arrival>>();

    /// Asks for what turns need first.
    #[inline]
    pub(crate) fn expect(&self) {
        prefetch::value(self, std::mem::offset_of!(Self, delay) + Delay::USUAL_BYTES);
    }

    /// Asks for the memory that the next packet will be put into.
    #[inline]
    pub(crate) fn expect_packet(&self) {
        self.store.expect_packet();
    }

    /// Asks for the memory that the next turn works with.
    #[inline]
    pub(crate) fn expect_turn(&self) {
        self.store.expect_turn();
        if let Some(arrival) = &self.arrival {
            self.store.expect_held(arrival.held);
        }
        self.pcm.expect();
    }

    /// Hz of the RTP timestamps.
    pub fn clock_rate(&self) -> u32 {
        self.setup.clock_rate
    }

    /// What it went through.
    pub fn report(&self) -> Report {
        Report {
            delay_ms: self.delay_ms,
            delay_ms_max: self.delay_ms_max,
            ..self.report
        }
    }

    /// How long the fastest packets wait now, milliseconds.
    pub fn delay_ms(&self) -> u32 {
        self.delay_ms
    }

    /// Is there anything new in the report beside how long packets wait now? Told once.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    fn note(&mut self) -> &mut Report {
        self.news = true;
        &mut self.report
    }

    /// Has any packet been decoded?
    pub fn has_heard(&self) -> bool {
        self.heard_anything
    }

    /// How long audio stays in here before it is heard, beyond the time that the fastest packet took.
    pub fn delay(&self) -> Duration {
        Duration::from_millis(u64::from(self.delay_ms))
    }

    /// The sender changed to a codec with another RTP clock or sample rate: what waits is forgotten. The rate may not be
    /// above that of the beginning. False: both are as before.
    pub fn set_rates(&mut self, clock_rate: u32, rate: u32) -> bool {
        if clock_rate == self.setup.clock_rate && rate == self.setup.rate {
            return false;
        }
        self.setup.clock_rate = clock_rate.max(1000);
        self.setup.rate = rate.max(1000);
        self.pcm.set_rate(self.setup.rate);
        self.delay = Delay::new(self.setup.clock_rate, self.setup.min_ms, self.setup.max_ms);
        self.store.clear();
        self.arrived = 0;
        self.newest = None;
        self.play = Play::Idle { units: 0 };
        self.next = i64::MIN;
        self.ahead = (0, 0);
        self.note().resyncs += 1;
        true
    }

    /// A packet of the stream that is no audio (a telephone-event): its place in the sequence is not missing, and audio
    /// may stop while such packets come.
    pub fn other_packet(&mut self, sequence: u16) {
        self.sort_in();
        if let Some(newest) = &mut self.newest
            && (sequence.wrapping_sub(newest.raw_sequence) as i16) > 0
        {
            newest.raw_sequence = sequence;
        }
        self.others = OTHERS_TURNS;
    }

    /// Takes a packet. [`JitterBuffer::report`] knows of it after the next turn.
    #[inline]
    pub fn insert(&mut self, now: Instant, packet: &Incoming<'_>) {
        if self.arrived == ARRIVALS {
            self.sort_in();
        }
        // When a turn is overdue we are late ourselves: then nobody knows when the packet came.
        let timely = self.turn.is_none_or(|turn| now <= turn + TURN + OVERDUE);
        let mut arrival = Arrival {
            at: self.units_at(now),
            timestamp: packet.timestamp,
            units: packet.units,
            held: Held::NOTHING,
            sequence: packet.sequence,
            kind: packet.kind,
            marker: packet.marker,
            restart: packet.restart,
            timely,
        };
        let Some(held) = self.store.hold(packet.payload) else {
            self.crowd_in(&arrival, packet.payload);
            return;
        };
        arrival.held = held;
        if let Some(place) = self.arrival_mut(self.arrived) {
            *place = Some(arrival);
            self.arrived += 1;
        }
    }

    fn arrival_mut(&mut self, index: usize) -> Option<&mut Option<Arrival>> {
        match index.checked_sub(1) {
            None => Some(&mut self.arrival),
            Some(more) => self.more_arrivals.get_mut(more),
        }
    }

    /// Takes a packet when there is no room for its payload.
    #[cold]
    fn crowd_in(&mut self, arrival: &Arrival, payload: &[u8]) {
        self.sort_in();
        if let Some(place) = self.admit(arrival) {
            let put = self.store.put(place, payload);
            self.note_put(put);
        }
    }

    /// Puts what came since the last turn in order.
    fn sort_in(&mut self) {
        for index in 0..std::mem::take(&mut self.arrived) {
            let Some(arrival) = self.arrival_mut(index).and_then(Option::take) else {
                continue;
            };
            match self.admit(&arrival) {
                Some(place) => {
                    let put = self.store.put_held(place, arrival.held);
                    self.note_put(put);
                }
                None => self.store.release(arrival.held),
            }
        }
    }

    /// Where a packet belongs, unless it is too late.
    fn admit(&mut self, arrival: &Arrival) -> Option<Packet> {
        let Some(place) = self.place(arrival) else {
            self.note().late += 1;
            return None;
        };
        if arrival.timely {
            self.delay
                .arrived(arrival.at - place.timestamp, i64::from(arrival.units));
        }
        if self.is_passed(&place) {
            self.note().late += 1;
            return None;
        }
        Some(place)
    }

    fn note_put(&mut self, put: Put) {
        match put {
            Put::Taken { pushed_out } => self.note().overflowed += pushed_out,
            Put::Duplicate => {}
            Put::TooLong => self.note().overflowed += 1,
        }
    }

    /// Is all of it before the cursor?
    fn is_passed(&self, packet: &Packet) -> bool {
        packet.end() < self.next || (packet.units > 0 && packet.end() == self.next)
    }

    /// Where a packet belongs on the time line; `None`: too late for any wait.
    fn place(&mut self, packet: &Arrival) -> Option<Packet> {
        let (arrival, timely) = (packet.at, packet.timely);
        let units = i64::from(packet.units);
        let Some(newest) = self.newest else {
            let place = Packet::new(arrival, 0, units, packet.kind);
            self.set_newest(packet, &place);
            return Some(place);
        };
        let step = packet.sequence.wrapping_sub(newest.raw_sequence) as i16;
        let advance = packet.timestamp.wrapping_sub(newest.raw_timestamp) as i32;
        let mut place = Packet::new(
            newest.timestamp + i64::from(advance),
            newest.sequence + i64::from(step),
            units,
            packet.kind,
        );
        let base = self.delay.base().unwrap_or(0);
        let transit = arrival - place.timestamp - base;
        let too_late = timely && transit > self.delay.max();
        let jump = if packet.restart {
            true
        } else if step <= 0 {
            if !too_late && advance <= 0 {
                return Some(place);
            }
            self.strangers += 1;
            if self.strangers < STRANGERS_BACK {
                return None;
            }
            true
        } else if advance <= 0 {
            true
        } else if too_late {
            self.strangers += 1;
            if !packet.marker && self.strangers < STRANGERS {
                return None;
            }
            true
        } else {
            // From the future: not even the fastest packet came so early.
            -transit > self.delay.max()
        };
        if jump {
            place.timestamp = (arrival - base).max(newest.timestamp + newest.units);
            place.sequence = newest.sequence + 1;
            place.restart = packet.restart;
            self.note().resyncs += 1;
        }
        self.strangers = 0;
        self.set_newest(packet, &place);
        Some(place)
    }

    fn set_newest(&mut self, packet: &Arrival, place: &Packet) {
        self.newest = Some(Newest {
            raw_timestamp: packet.timestamp,
            raw_sequence: packet.sequence,
            timestamp: place.timestamp,
            sequence: place.sequence,
            units: place.units,
        });
    }

    /// Makes the frame of the turn that is due at `at`. Call it every 20 ms, missed turns in order.
    pub fn turn<D: Decode>(&mut self, at: Instant, decoder: &mut D) {
        self.sort_in();
        self.pcm.settle();
        let frame = self.pcm.frame();
        let now = self.units_at(at);
        self.turn = Some(at);
        self.others = self.others.saturating_sub(1);
        self.cut(now);
        // Each step decodes, conceals or drops something; so many are never needed.
        for _ in 0..4 * store::PACKETS_MAX {
            if self.pcm.len() >= frame {
                break;
            }
            self.step(now, frame, decoder);
        }
        self.correct(now, frame, decoder);
        self.pcm.take();
    }

    /// What the last turn made: 20 ms.
    pub fn frame(&self) -> &[i16] {
        self.pcm.heard()
    }

    /// Units that the cursor is behind the clock, audio that is decoded but unheard not counted; `None`: it stands still.
    fn behind(&self, now: i64) -> Option<i64> {
        (self.play == Play::On).then(|| now + self.units_of(self.pcm.len()) - self.next)
    }

    /// Units that the cursor has to be behind the clock.
    fn needed(&self) -> i64 {
        self.delay.base().unwrap_or(0) + self.delay.wait() + self.ahead.0.max(self.ahead.1)
    }

    /// Nobody wants to hear what is far too old: after a stall of ours, or when a network delivers at once what it held.
    fn cut(&mut self, now: i64) {
        let Some(behind) = self.behind(now) else {
            return;
        };
        let excess = behind - self.needed();
        if excess > self.units(CUT_MS) {
            self.next += excess;
            self.note().resyncs += 1;
            while let Some(head) = self.store.front()
                && self.is_passed(head)
            {
                self.store.pop();
                self.note().overflowed += 1;
            }
        }
    }

    /// Concealment and noise are made in steps of 2.5 ms, as Opus wants it.
    fn whole(&self, samples: usize) -> usize {
        let step = (self.setup.rate as usize / 400).max(1);
        samples.next_multiple_of(step)
    }

    /// Makes some of the samples that the frame wants.
    fn step<D: Decode>(&mut self, now: i64, frame: usize, decoder: &mut D) {
        let room = self.whole(frame - self.pcm.len());
        let due = now + self.units_of(self.pcm.len());
        let head = self.store.front().copied();
        match (self.play, head) {
            (Play::Idle { units }, None) => self.fill_idle(units, room, decoder),
            (Play::Idle { units }, Some(head)) => {
                if due - head.timestamp < self.needed() {
                    self.fill_idle(units, room, decoder);
                } else {
                    self.begin(now, &head);
                }
            }
            (Play::On, None) if self.pause || self.others > 0 => {
                self.play = Play::Idle { units: 0 }
            }
            (Play::On, None) => {
                self.note().underruns += 1;
                self.play = Play::Starved { units: 0 };
            }
            (Play::Starved { units }, None) => self.starve(units, room, decoder),
            (Play::On | Play::Starved { .. }, Some(head)) if head.timestamp <= self.next => {
                self.take(decoder);
            }
            (Play::Starved { units }, Some(head)) => {
                // The time of the hole has been spent; perhaps not all of it.
                if due - head.timestamp < self.needed() {
                    self.starve(units, room, decoder);
                } else {
                    self.begin(now, &head);
                }
            }
            (Play::On, Some(head)) => self.bridge(now, &head, room, decoder),
        }
    }

    /// The cursor goes to a packet.
    fn begin(&mut self, now: i64, head: &Packet) {
        self.play = Play::On;
        self.next = self.next.max(head.timestamp);
        self.cut(now);
    }

    /// Silence or noise while nothing is expected.
    fn fill_idle<D: Decode>(&mut self, units: i64, room: usize, decoder: &mut D) {
        if self.pause {
            self.pcm.extend(room, |past, out| decoder.noise(past, out));
        } else if self.heard_anything && units < self.units(FADED_MS) {
            self.pcm
                .extend(room, |past, out| decoder.conceal(None, past, out));
        } else {
            self.pcm.extend(room, |_, out| out.fill(0));
        }
        self.play = Play::Idle {
            units: units.saturating_add(self.units_of(room)),
        };
    }

    fn starve<D: Decode>(&mut self, units: i64, room: usize, decoder: &mut D) {
        if units >= self.units(STARVED_MS) {
            self.play = Play::Idle { units };
            return;
        }
        let made = self
            .pcm
            .extend(room, |past, out| decoder.conceal(None, past, out));
        self.note().concealed += made as u64;
        self.play = Play::Starved {
            units: units + self.units_of(made),
        };
    }

    /// Decodes the first packet that waits; it begins at the cursor or before.
    fn take<D: Decode>(&mut self, decoder: &mut D) {
        let Some(head) = self.store.pop() else {
            return;
        };
        if head.restart {
            decoder.reset();
            self.pcm.part();
        }
        self.last_sequence = head.sequence;
        let Some(kind) = head.kind else {
            decoder.describe_noise(self.store.payload(&head));
            self.pause = true;
            self.play = Play::Idle { units: 0 };
            return;
        };
        self.note_ahead(self.units_of(self.pcm.len()));
        self.play = Play::On;
        let payload = self.store.payload(&head);
        let mut decoded = Decoded::default();
        let samples = self.pcm.append(|out| {
            decoded = decoder.decode(kind, payload, out);
            decoded.samples
        });
        if samples == 0 {
            // It cannot be read: as good as lost.
            let units = (head.end() - self.next).max(1);
            self.make_up(units, None, decoder);
            return;
        }
        self.heard_anything = true;
        self.pause = decoded.pause;
        self.last_units = self.units_of(samples);
        let passed = self.samples_of(self.next - head.timestamp).min(samples);
        self.pcm.cut(samples, passed);
        self.next = self.next.max(head.timestamp + self.last_units);
    }

    /// Conceals so many units that are lost.
    fn make_up<D: Decode>(&mut self, units: i64, copy: Option<&Packet>, decoder: &mut D) {
        let copy = copy.and_then(|p| Some((p.kind?, self.store.payload(p))));
        let samples = self.whole(self.samples_of(units).max(1));
        let made = self
            .pcm
            .extend(samples, |past, out| decoder.conceal(copy, past, out));
        self.note().concealed += made as u64;
        self.next += units.max(self.units_of(made));
    }

    /// Fills some of the hole before the first packet that waits.
    fn bridge<D: Decode>(&mut self, now: i64, head: &Packet, room: usize, decoder: &mut D) {
        let hole = head.timestamp - self.next;
        let turn = self.units(i64::from(TURN_MS));
        if !self.pause && head.sequence != self.last_sequence + 1 {
            // A whole packet at a time, so that its successor's copy of it (FEC) fits.
            let usual = if self.last_units > 0 {
                self.last_units.min(self.units(60))
            } else {
                turn
            };
            let units = hole.min(usual).max(1);
            self.make_up(units, (units == hole).then_some(head), decoder);
            return;
        }
        // Nothing is missing: the sender paused. The pause may as well be a little longer or shorter.
        let excess = self.behind(now).unwrap_or(0) - self.needed();
        let samples = self.whole(self.samples_of(hole).clamp(1, room));
        let units = self.units_of(samples).max(1);
        if self.pause {
            self.pcm
                .extend(samples, |past, out| decoder.noise(past, out));
        } else {
            self.pcm
                .extend(samples, |past, out| decoder.conceal(None, past, out));
        }
        self.next += if excess > turn {
            units + (excess - turn).min((hole - units).max(0))
        } else if excess < 0 {
            0
        } else {
            units
        };
    }

    /// Brings the delay nearer to what is needed.
    fn correct<D: Decode>(&mut self, now: i64, frame: usize, decoder: &mut D) {
        self.since_corrected = self.since_corrected.saturating_add(1);
        let Some(behind) = self.behind(now) else {
            return;
        };
        let base = self.delay.base().unwrap_or(0);
        let ms = (behind - base).max(0) * 1000 / i64::from(self.setup.clock_rate);
        self.delay_ms = u32::try_from(ms).unwrap_or(u32::MAX);
        if self.delay_ms > self.delay_ms_max {
            self.delay_ms_max = self.delay_ms;
            self.news = true;
        }
        let excess = behind - self.needed();
        if excess < -self.units(SLACK_MS) {
            let pace = if excess < -self.units(20) { 2 } else { 5 };
            if self.since_corrected >= pace {
                let silent = self.pcm.is_silent(frame);
                let added = self.pcm.lengthen(silent);
                self.corrected(added);
                self.note().stretched += added as u64;
            }
        } else if excess > self.units(SLACK_MS + i64::from(TURN_MS)) {
            let silent = self.pcm.is_silent(frame);
            let hurry = silent || excess > self.units(80);
            if self.since_corrected >= if hurry { 4 } else { 10 } {
                self.look_ahead(decoder);
                let removed = self.pcm.shorten(silent);
                self.corrected(removed);
                self.note().shortened += removed as u64;
            }
        }
    }

    fn corrected(&mut self, samples: usize) {
        if samples > 0 {
            self.since_corrected = 0;
            self.ahead = (0, 0);
            self.ahead_seen = 0;
        }
    }

    /// Decodes what follows without a hole, so that there is enough to leave a period out.
    fn look_ahead<D: Decode>(&mut self, decoder: &mut D) {
        while self.pcm.len() < self.pcm.shorten_needs()
            && self.store.front().is_some_and(|head| {
                head.timestamp <= self.next && head.kind.is_some() && !head.restart
            })
        {
            let ahead = (self.ahead, self.ahead_seen);
            self.take(decoder);
            // It was not needed yet.
            (self.ahead, self.ahead_seen) = ahead;
        }
    }

    /// A packet was decoded so long before its first sample is heard, because a frame is made in one piece.
    fn note_ahead(&mut self, units: i64) {
        self.ahead_seen += 1;
        if self.ahead_seen >= 16 {
            self.ahead_seen = 0;
            self.ahead = (0, self.ahead.0);
        }
        self.ahead.0 = self.ahead.0.max(units);
    }

    fn units(&self, ms: i64) -> i64 {
        ms * i64::from(self.setup.clock_rate) / 1000
    }

    fn units_at(&self, at: Instant) -> i64 {
        let since = at.saturating_duration_since(self.epoch);
        let rate = u64::from(self.setup.clock_rate);
        let fraction = u64::from(since.subsec_nanos()) * rate / 1_000_000_000;
        (since.as_secs() * rate + fraction) as i64
    }

    fn units_of(&self, samples: usize) -> i64 {
        samples as i64 * i64::from(self.setup.clock_rate) / i64::from(self.setup.rate)
    }

    fn samples_of(&self, units: i64) -> usize {
        let samples = units.max(0) * i64::from(self.setup.rate) / i64::from(self.setup.clock_rate);
        usize::try_from(samples).unwrap_or(0)
    }
}
