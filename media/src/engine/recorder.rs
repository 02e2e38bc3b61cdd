//! Recorders: packets of a leg, in both directions, placed on one sample clock and cut into blocks for the file thread.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Instant;

use crate::alignment::Alignment;
use crate::dsp::{SilenceDetector, Volume, add_clamped};
use crate::recording::{FileSetup, Order, RecorderSetup, TapMode};
use crate::sound::SAMPLE_RATE;
use crate::types::{LegId, RecorderId};

/// Samples of each direction that wait for late packets; what lies beyond [`MARGIN`] is room for the future.
const RING: usize = 8192;
/// How long packets may come late: 200 ms.
const MARGIN: i64 = 1600;
/// Samples in a block: a second.
const BLOCK: usize = 8000;
/// The last block takes the margin too.
const BLOCK_CAPACITY: usize = 12_000;
/// Buffers of a recorder: one is filled while one is written.
const BUFFERS: usize = 2;
/// Gaps up to this come from clock corrections and are bridged by the last sample.
const BRIDGED_GAP: i64 = 8;
/// Samples of a step: silence is judged on 20 ms.
const STEP: usize = 160;

/// 125 us.
const NANOS_PER_SAMPLE: u32 = 1_000_000_000 / SAMPLE_RATE;

/// One direction of a recording.
struct Track {
    ring: Box<[i16]>,
    alignment: Alignment,
    /// After the newest sample.
    end: i64,
}

impl Track {
    fn new() -> Self {
        Self {
            ring: vec![0; RING].into_boxed_slice(),
            alignment: Alignment::default(),
            end: 0,
        }
    }

    /// Places samples at a position; what lies outside the window that begins at `flushed` is left out.
    fn put(&mut self, flushed: i64, position: i64, samples: &[i16]) {
        let gap = position - self.end;
        if (1..=BRIDGED_GAP).contains(&gap) && self.end > flushed {
            let last = self.ring[index(self.end - 1)];
            for at in self.end..position {
                self.ring[index(at)] = last;
            }
        }
        let from = position.max(flushed);
        let to = (position + samples.len() as i64).min(flushed + RING as i64);
        if from >= to {
            return;
        }
        let samples = &samples[(from - position) as usize..(to - position) as usize];
        // At most one wrap: the window is as long as the ring.
        let start = index(from);
        let first = samples.len().min(RING - start);
        self.ring[start..start + first].copy_from_slice(&samples[..first]);
        self.ring[..samples.len() - first].copy_from_slice(&samples[first..]);
        self.end = self.end.max(to);
    }

    /// Takes the samples from `position` on and leaves silence.
    fn take(&mut self, position: i64, out: &mut [i16]) {
        let start = index(position);
        let (before, after) = out.split_at_mut(out.len().min(RING - start));
        for (part, out) in [(start, before), (0, after)] {
            let ring = &mut self.ring[part..part + out.len()];
            out.copy_from_slice(ring);
            ring.fill(0);
        }
    }
}

fn index(position: i64) -> usize {
    // A power of two: the remainder of negative positions is right too.
    (position & (RING as i64 - 1)) as usize
}

/// Where the position stands, and since when it moves.
#[derive(Copy, Clone, Debug)]
enum Clock {
    Stopped { position: i64 },
    Running { position: i64, since: Instant },
}

impl Clock {
    fn position(self, now: Instant) -> i64 {
        match self {
            Self::Stopped { position } => position,
            Self::Running { position, since } => {
                let elapsed = now.saturating_duration_since(since);
                let whole = elapsed.as_secs() * u64::from(SAMPLE_RATE);
                position + (whole + u64::from(elapsed.subsec_nanos() / NANOS_PER_SAMPLE)) as i64
            }
        }
    }
}

/// A recording in progress; made by `RecorderSetup::prepare` with all memory that it will need.
pub struct Recorder {
    recorder: RecorderId,
    leg: LegId,
    mode: TapMode,
    only_bridged: bool,
    silence_samples: u64,
    volume_receive: Volume,
    volume_transmit: Volume,
    file: Option<Box<FileSetup>>,
    receive: Track,
    transmit: Track,
    clock: Clock,
    /// Everything before is in blocks.
    flushed: i64,
    /// Empty with no capacity: no buffer is at hand.
    block: Vec<i16>,
    block_position: u64,
    spare: Vec<Vec<i16>>,
    lost: u64,
    silence: SilenceDetector,
    silence_told: bool,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder")
            .field("recorder", &self.recorder)
            .field("leg", &self.leg)
            .field("mode", &self.mode)
            .field("flushed", &self.flushed)
            .finish_non_exhaustive()
    }
}

impl Recorder {
    pub(crate) fn new(setup: RecorderSetup) -> Self {
        let mut spare = Vec::with_capacity(BUFFERS);
        spare.resize_with(BUFFERS - 1, || Vec::with_capacity(BLOCK_CAPACITY));
        Self {
            recorder: setup.recorder,
            leg: setup.leg,
            mode: setup.mode,
            only_bridged: setup.only_bridged,
            silence_samples: u64::from(setup.silence_ms) * u64::from(SAMPLE_RATE) / 1000,
            volume_receive: Volume::new(setup.volume_receive),
            volume_transmit: Volume::new(setup.volume_transmit),
            file: Some(Box::new(FileSetup {
                recorder: setup.recorder,
                leg: setup.leg,
                path: setup.path,
                format: setup.format,
                append: setup.append,
            })),
            receive: Track::new(),
            transmit: Track::new(),
            clock: Clock::Stopped { position: 0 },
            flushed: 0,
            block: Vec::with_capacity(BLOCK_CAPACITY),
            block_position: 0,
            spare,
            lost: 0,
            silence: SilenceDetector::default(),
            silence_told: false,
        }
    }

    /// Its id.
    pub fn id(&self) -> RecorderId {
        self.recorder
    }

    /// The leg it is for.
    pub fn leg(&self) -> LegId {
        self.leg
    }

    /// The file it will write, before it is started.
    pub(super) fn path(&self) -> PathBuf {
        self.file
            .as_ref()
            .map(|f| f.path.clone())
            .unwrap_or_default()
    }

    /// Samples lost for want of buffers.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Opens the file; the clock runs from `since`.
    pub(super) fn start(&mut self, since: Instant, bridged: bool, orders: &mut VecDeque<Order>) {
        if let Some(file) = self.file.take() {
            orders.push_back(Order::Open(file));
        }
        if bridged || !self.only_bridged {
            self.clock = Clock::Running { position: 0, since };
        }
    }

    /// The leg was connected to another, or parted: matters to recorders that run only while bridged.
    pub(super) fn bridged(&mut self, now: Instant, bridged: bool, orders: &mut VecDeque<Order>) {
        if !self.only_bridged {
            return;
        }
        match (self.clock, bridged) {
            (Clock::Stopped { position }, true) => {
                self.receive.alignment.reset();
                self.transmit.alignment.reset();
                self.clock = Clock::Running {
                    position,
                    since: now,
                };
            }
            (Clock::Running { .. }, false) => {
                let position = self.clock.position(now);
                self.flush(position, orders);
                self.clock = Clock::Stopped { position };
            }
            _ => {}
        }
    }

    /// Takes decoded audio that the leg received.
    pub(super) fn received(
        &mut self,
        now: Instant,
        timestamp: u32,
        restart: bool,
        samples: &[i16],
        orders: &mut VecDeque<Order>,
    ) {
        self.put(now, timestamp, restart, samples, orders, |r| &mut r.receive);
    }

    /// Takes decoded audio that was sent to the leg.
    pub(super) fn transmitted(
        &mut self,
        now: Instant,
        timestamp: u32,
        restart: bool,
        samples: &[i16],
        orders: &mut VecDeque<Order>,
    ) {
        self.put(now, timestamp, restart, samples, orders, |r| {
            &mut r.transmit
        });
    }

    fn put(
        &mut self,
        now: Instant,
        timestamp: u32,
        restart: bool,
        samples: &[i16],
        orders: &mut VecDeque<Order>,
        track: impl Fn(&mut Self) -> &mut Track,
    ) {
        if matches!(self.clock, Clock::Stopped { .. }) {
            return;
        }
        let clock = self.clock.position(now);
        let position = track(self).alignment.position(clock, timestamp, restart);
        if position + samples.len() as i64 > self.flushed + RING as i64 {
            // A stall: the clock went on and nobody called.
            self.flush_steps(clock - MARGIN, orders);
        }
        let flushed = self.flushed;
        track(self).put(flushed, position, samples);
    }

    /// Brings what can no longer change into blocks. True when the received side has just been silent for as long as was
    /// asked for.
    pub(super) fn advance(&mut self, now: Instant, orders: &mut VecDeque<Order>) -> bool {
        if matches!(self.clock, Clock::Stopped { .. }) {
            return false;
        }
        self.flush_steps(self.clock.position(now) - MARGIN, orders)
    }

    /// Ends the recording at `end` and closes the file, less the last `drop_last_ms`.
    pub(super) fn stop(&mut self, end: Instant, drop_last_ms: u32, orders: &mut VecDeque<Order>) {
        let position = self.clock.position(end).max(self.flushed);
        self.flush(position, orders);
        self.clock = Clock::Stopped { position };
        self.send_block(orders);
        let samples = self.flushed as u64;
        let dropped = u64::from(drop_last_ms) * u64::from(SAMPLE_RATE) / 1000;
        orders.push_back(Order::Close {
            recorder: self.recorder,
            leg: self.leg,
            samples,
            drop_last_samples: u32::try_from(dropped.min(samples)).unwrap_or(u32::MAX),
            lost_samples: self.lost,
        });
    }

    /// A buffer came back.
    pub(super) fn buffer(&mut self, mut samples: Vec<i16>) {
        samples.clear();
        if samples.capacity() >= BLOCK_CAPACITY && self.spare.len() < BUFFERS {
            self.spare.push(samples);
        }
    }

    /// A block was refused: its samples are lost.
    pub(super) fn refused(&mut self, samples: Vec<i16>) {
        self.lost += samples.len() as u64;
        self.buffer(samples);
    }

    fn flush_steps(&mut self, until: i64, orders: &mut VecDeque<Order>) -> bool {
        let mut silent = false;
        while self.flushed + STEP as i64 <= until {
            silent |= self.step(STEP, orders);
        }
        silent
    }

    fn flush(&mut self, until: i64, orders: &mut VecDeque<Order>) {
        self.flush_steps(until, orders);
        if until > self.flushed {
            self.step((until - self.flushed) as usize, orders);
        }
    }

    /// Moves so many samples (at most [`STEP`]) into the block.
    fn step(&mut self, count: usize, orders: &mut VecDeque<Order>) -> bool {
        let mut heard = [0i16; STEP];
        let mut said = [0i16; STEP];
        let (heard, said) = (&mut heard[..count], &mut said[..count]);
        self.receive.take(self.flushed, heard);
        self.transmit.take(self.flushed, said);
        let silent = self.silence_samples > 0 && self.judge_silence(heard);
        self.volume_receive.apply(heard);
        self.volume_transmit.apply(said);
        let samples = match self.mode {
            TapMode::Mix => {
                add_clamped(heard, said);
                heard
            }
            TapMode::Receive => heard,
            TapMode::Transmit => said,
        };
        if self.block.capacity() == 0
            && let Some(buffer) = self.spare.pop()
        {
            self.block = buffer;
        }
        if self.block.is_empty() {
            self.block_position = self.flushed as u64;
        }
        if self.block.len() + count <= self.block.capacity() {
            self.block.extend_from_slice(samples);
        } else {
            self.lost += count as u64;
        }
        self.flushed += count as i64;
        if self.block.len() >= BLOCK {
            self.send_block(orders);
        }
        silent
    }

    fn judge_silence(&mut self, heard: &[i16]) -> bool {
        let silent = self.silence.push(heard);
        if silent == 0 {
            self.silence_told = false;
        } else if silent >= self.silence_samples && !self.silence_told {
            self.silence_told = true;
            return true;
        }
        false
    }

    fn send_block(&mut self, orders: &mut VecDeque<Order>) {
        if !self.block.is_empty() {
            orders.push_back(Order::Samples {
                recorder: self.recorder,
                position: self.block_position,
                samples: std::mem::take(&mut self.block),
            });
        }
    }
}
