//! Recorders: audio of a leg, in both directions, placed on one sample clock and cut into blocks for the file thread.
//!
//! What comes late, by up to 400 ms, still finds its place; then it goes into a block, 200 ms at a time (20 ms where
//! somebody waits for silence). A block is handed over
//! when it holds a second. Buffers are few, because the file thread gives them back within milliseconds: while there is
//! none, what is ready waits in the tracks for another turn.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::track::Track;
use crate::dsp::{Resampler, SilenceDetector, Volume, add_clamped};
use crate::recording::{FileSetup, Order, RecorderSetup, TapMode};
use crate::sound::SAMPLE_RATE;
use crate::types::{LegId, RecorderId};

/// How long packets may come late, in turns of 20 ms.
pub(super) const MARGIN_STEPS: i64 = 20;
/// Turns that go by between two calls of [`Recorder::advance`].
pub(super) const TURN_STEPS: i64 = 10;
/// Values of a block: a second of 8000 Hz mono.
const BLOCK: usize = 8000;
/// Largest step: 20 ms at 48 kHz.
const STEP_MAX: usize = 960;
/// The usual step: 20 ms at 8000 Hz.
const USUAL_STEP: usize = 160;
/// Turns that what is ready may wait for a buffer before it is lost.
pub(super) const WAIT_STEPS: i64 = 11;

/// What a buffer of the usual recorder (8000 Hz, one channel) holds: a block and the margin that its last one takes too.
pub(super) const USUAL_BUFFER: usize = buffer_values(8000, 1);

const fn buffer_values(rate: u32, channels: u16) -> usize {
    BLOCK + (rate / 50) as usize * (MARGIN_STEPS + TURN_STEPS + 1) as usize * channels as usize
}

/// Where the position stands, and since when it moves.
#[derive(Copy, Clone, Debug)]
enum Clock {
    Stopped { position: i64 },
    Running { position: i64, since: Instant },
}

impl Clock {
    fn position(self, now: Instant, rate: u32) -> i64 {
        match self {
            Self::Stopped { position } => position,
            Self::Running { position, since } => {
                let elapsed = now.saturating_duration_since(since);
                let whole = elapsed.as_secs() * u64::from(rate);
                let part = u64::from(elapsed.subsec_nanos()) * u64::from(rate) / 1_000_000_000;
                position + (whole + part) as i64
            }
        }
    }
}

/// What happened to a recorder since it was last asked.
#[derive(Debug)]
pub(super) enum News {
    /// No buffer comes back from the file thread: samples are being lost.
    Losing,
    /// They come back; so many samples were lost meanwhile.
    Resumed(u64),
}

/// Which of the two directions of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Receive,
    Transmit,
}

/// 20 ms of audio of a stream.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a> {
    /// Its number in the stream.
    pub number: u32,
    /// The stream begins anew.
    pub restart: bool,
    /// Samples a second.
    pub rate: u32,
    pub samples: &'a [i16],
}

/// A recording in progress; made by `RecorderSetup::prepare` with all memory that it will need.
pub struct Recorder {
    recorder: RecorderId,
    leg: LegId,
    mode: TapMode,
    rate: u32,
    only_bridged: bool,
    unpadded: bool,
    /// Samples at the start that are left out.
    skip: i64,
    silence_samples: u64,
    volume_receive: Volume,
    volume_transmit: Volume,
    mute_receive: bool,
    mute_transmit: bool,
    file: Option<Box<FileSetup>>,
    receive: Option<Track>,
    transmit: Option<Track>,
    /// To its own rate, from those that were announced.
    resamplers: Vec<(Side, u32, Resampler)>,
    clock: Clock,
    /// Everything before is in blocks.
    flushed: i64,
    /// How much of that was left out of the file.
    omitted: i64,
    /// Empty with no capacity: no buffer is at hand.
    block: Vec<i16>,
    block_position: u64,
    spare: Option<Vec<i16>>,
    lost: u64,
    /// What was lost when the trouble began that has been told.
    losing: Option<u64>,
    /// The end is being written: its buffer takes it in one piece.
    ending: bool,
    news: Option<News>,
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
        let rate = setup.rate;
        let channels = setup.mode.channels();
        let values = buffer_values(rate, channels);
        let samples = |ms: u32| u64::from(ms) * u64::from(rate) / 1000;
        let track = |wanted: bool| wanted.then(|| Track::new(rate));
        // Silence is judged on what is received.
        let receive = setup.mode != TapMode::Transmit || setup.silence_ms > 0;
        Self {
            recorder: setup.recorder,
            leg: setup.leg,
            mode: setup.mode,
            rate,
            only_bridged: setup.only_bridged,
            unpadded: setup.unpadded,
            skip: samples(setup.skip_ms) as i64,
            silence_samples: samples(setup.silence_ms),
            volume_receive: Volume::new(setup.volume_receive),
            volume_transmit: Volume::new(setup.volume_transmit),
            mute_receive: false,
            mute_transmit: false,
            file: Some(Box::new(FileSetup {
                recorder: setup.recorder,
                leg: setup.leg,
                path: setup.path,
                format: setup.format,
                rate,
                channels,
                append: setup.append,
                drop_last_max: u32::try_from(samples(setup.drop_last_ms_max)).unwrap_or(u32::MAX),
            })),
            receive: track(receive),
            transmit: track(setup.mode != TapMode::Receive),
            resamplers: Vec::new(),
            clock: Clock::Stopped { position: 0 },
            flushed: 0,
            omitted: 0,
            block: Vec::with_capacity(values),
            block_position: 0,
            spare: Some(Vec::with_capacity(values)),
            lost: 0,
            losing: None,
            ending: false,
            news: None,
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

    /// Samples a second that it works with.
    pub fn rate(&self) -> u32 {
        self.rate
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

    /// What happened since the last call.
    pub(super) fn take_news(&mut self) -> Option<News> {
        self.news.take()
    }

    /// Why samples are being lost, as it is told.
    pub(super) const LOSING: Cow<'static, str> =
        Cow::Borrowed("the file thread does not keep up: audio is being lost");

    /// Opens the file; the clock runs from `since`.
    pub(super) fn start(&mut self, since: Instant, bridged: bool, orders: &mut VecDeque<Order>) {
        if let Some(file) = self.file.take() {
            orders.push_back(Order::Open(file));
        }
        if bridged || !self.only_bridged {
            self.clock = Clock::Running { position: 0, since };
        }
    }

    /// Leaves out what is received or transmitted from now on; silence stands in its place. What came before stays.
    pub(super) fn mute(&mut self, receive: bool, transmit: bool) {
        self.mute_receive = receive;
        self.mute_transmit = transmit;
    }

    /// The leg was connected to another, or parted: matters to recorders that run only while bridged.
    pub(super) fn bridged(&mut self, now: Instant, bridged: bool, orders: &mut VecDeque<Order>) {
        if !self.only_bridged {
            return;
        }
        match (self.clock, bridged) {
            (Clock::Stopped { position }, true) => {
                let tracks = [&mut self.receive, &mut self.transmit];
                tracks.into_iter().flatten().for_each(Track::reset);
                self.clock = Clock::Running {
                    position,
                    since: now,
                };
            }
            (Clock::Running { .. }, false) => {
                let position = self.clock.position(now, self.rate);
                self.flush(position, orders);
                self.clock = Clock::Stopped { position };
            }
            _ => {}
        }
    }

    /// Asks for where the next packets of both directions will be put.
    #[inline]
    pub(super) fn expect_packet(&self) {
        for track in [&self.receive, &self.transmit].into_iter().flatten() {
            track.expect_packet();
        }
    }

    /// Does it take packets of G.711 as they come? The others are given frames.
    #[inline]
    pub(super) fn takes_packets(&self) -> bool {
        self.rate == SAMPLE_RATE
    }

    /// From now on frames of this rate may come on this side. Allocates.
    pub(super) fn learn(&mut self, side: Side, rate: u32) {
        let known = |(of, from, _): &(Side, u32, Resampler)| (*of, *from) == (side, rate);
        if rate != self.rate
            && !self.resamplers.iter().any(known)
            && let Ok(resampler) = Resampler::new(rate, self.rate)
        {
            self.resamplers.push((side, rate, resampler));
        }
    }

    /// By how much a frame of this rate comes later than its sound for being brought to the recorder's.
    pub(super) fn filter_delay(&self, rate: u32) -> Duration {
        if rate == self.rate {
            Duration::ZERO
        } else {
            Resampler::DELAY
        }
    }

    /// Takes a frame of a rate that [`Self::learn`] was told.
    pub(super) fn frame(
        &mut self,
        side: Side,
        now: Instant,
        frame: Frame<'_>,
        orders: &mut VecDeque<Order>,
    ) {
        let timestamp = frame.number.wrapping_mul(self.rate / 50);
        let mut converted = [0; STEP_MAX];
        let samples = if frame.rate == self.rate {
            frame.samples
        } else {
            let known =
                |(of, from, _): &&mut (Side, u32, Resampler)| (*of, *from) == (side, frame.rate);
            let Some((_, _, resampler)) = self.resamplers.iter_mut().find(known) else {
                return;
            };
            let converted = &mut converted[..STEP_MAX.min((self.rate / 50) as usize)];
            resampler.run(frame.samples, converted);
            converted
        };
        match side {
            Side::Receive => self.received(now, timestamp, frame.restart, samples, orders),
            Side::Transmit => self.transmitted(now, timestamp, frame.restart, samples, orders),
        }
    }

    /// Takes audio that the leg received, at the recorder's rate, placed by its timestamp.
    pub(super) fn received(
        &mut self,
        now: Instant,
        timestamp: u32,
        restart: bool,
        samples: &[i16],
        orders: &mut VecDeque<Order>,
    ) {
        let Some(clock) = self.make_room(now, samples.len(), orders) else {
            return;
        };
        if let Some(track) = &mut self.receive
            && !self.mute_receive
        {
            track.packet(self.flushed, clock, timestamp, restart, samples);
        }
    }

    /// Takes audio that was sent to the leg, at the recorder's rate, placed by its timestamp.
    pub(super) fn transmitted(
        &mut self,
        now: Instant,
        timestamp: u32,
        restart: bool,
        samples: &[i16],
        orders: &mut VecDeque<Order>,
    ) {
        let Some(clock) = self.make_room(now, samples.len(), orders) else {
            return;
        };
        if let Some(track) = &mut self.transmit
            && !self.mute_transmit
        {
            track.packet(self.flushed, clock, timestamp, restart, samples);
        }
    }

    /// Where the clock is, if it runs. After a stall, when the clock went on and nobody called, there may be no room for
    /// what comes now: then what waits goes into blocks first.
    fn make_room(
        &mut self,
        now: Instant,
        samples: usize,
        orders: &mut VecDeque<Order>,
    ) -> Option<i64> {
        if matches!(self.clock, Clock::Stopped { .. }) {
            return None;
        }
        let clock = self.clock.position(now, self.rate);
        let room = Track::room(self.rate) - Track::ahead(self.rate) - samples as i64;
        if clock > self.flushed + room {
            self.flush_steps(clock - self.margin(), true, orders);
        }
        Some(clock)
    }

    fn margin(&self) -> i64 {
        MARGIN_STEPS * self.frame_len()
    }

    /// Samples of 20 ms.
    fn frame_len(&self) -> i64 {
        i64::from(self.rate / 50)
    }

    /// Does it have to advance every 20 ms? The others do every 200 ms: many samples at once cost least.
    pub(super) fn is_impatient(&self) -> bool {
        self.silence_samples > 0
    }

    /// Brings what can no longer change into blocks. True when the received side has just been silent for as long as was
    /// asked for.
    pub(super) fn advance(&mut self, now: Instant, orders: &mut VecDeque<Order>) -> bool {
        if matches!(self.clock, Clock::Stopped { .. }) {
            return false;
        }
        let until = self.clock.position(now, self.rate) - self.margin();
        self.flush_steps(until, false, orders)
    }

    /// Ends the recording at `end` and closes the file, less the last `drop_last_ms`.
    pub(super) fn stop(&mut self, end: Instant, drop_last_ms: u32, orders: &mut VecDeque<Order>) {
        let position = self.clock.position(end, self.rate).max(self.flushed);
        self.ending = true;
        self.flush(position, orders);
        self.clock = Clock::Stopped { position };
        self.send_block(orders);
        let samples = (self.flushed - self.omitted) as u64;
        let dropped = u64::from(drop_last_ms) * u64::from(self.rate) / 1000;
        orders.push_back(Order::Close {
            recorder: self.recorder,
            leg: self.leg,
            samples,
            drop_last_samples: u32::try_from(dropped.min(samples)).unwrap_or(u32::MAX),
            lost_samples: self.lost,
        });
    }

    /// A buffer is there. One that is not wanted comes back.
    pub(super) fn buffer(&mut self, mut samples: Vec<i16>) -> Option<Vec<i16>> {
        samples.clear();
        let fits = samples.capacity() >= buffer_values(self.rate, self.mode.channels());
        if self.wants_buffer() && fits {
            self.spare = Some(samples);
            return None;
        }
        Some(samples)
    }

    /// Has it nothing to write into next?
    pub(super) fn wants_buffer(&self) -> bool {
        self.spare.is_none() && self.block.capacity() == 0
    }

    /// Gives the buffer that it can do without while it writes into another, if others can use it.
    pub(super) fn give_spare(&mut self) -> Option<Vec<i16>> {
        self.spare
            .take_if(|spare| spare.capacity() == USUAL_BUFFER && self.block.capacity() > 0)
    }

    /// A block was refused: its samples are lost.
    pub(super) fn refused(&mut self, samples: Vec<i16>) -> Option<Vec<i16>> {
        self.lose((samples.len() / usize::from(self.mode.channels())) as u64);
        self.buffer(samples)
    }

    fn lose(&mut self, samples: u64) {
        if self.losing.is_none() {
            self.losing = Some(self.lost);
            self.news = Some(News::Losing);
        }
        self.lost += samples;
    }

    /// `force`: what finds no buffer is lost, even if it could wait.
    fn flush_steps(&mut self, until: i64, force: bool, orders: &mut VecDeque<Order>) -> bool {
        let frame = self.frame_len();
        let mut silent = false;
        while self.flushed + frame <= until {
            if !force && !self.has_buffer() && until - self.flushed < WAIT_STEPS * frame {
                break;
            }
            silent |= self.step(frame as usize, orders);
        }
        silent
    }

    fn flush(&mut self, until: i64, orders: &mut VecDeque<Order>) {
        self.flush_steps(until, true, orders);
        if until > self.flushed {
            self.step((until - self.flushed) as usize, orders);
        }
    }

    fn has_buffer(&self) -> bool {
        self.block.capacity() > 0 || self.spare.is_some()
    }

    /// Moves so many samples (at most 20 ms) into the block.
    fn step(&mut self, count: usize, orders: &mut VecDeque<Order>) -> bool {
        // Clearing the longest step would take as long as all the rest of the usual one.
        if count <= USUAL_STEP {
            let [mut heard, mut said] = [[0; USUAL_STEP]; 2];
            self.step_in(&mut heard[..count], &mut said[..count], orders)
        } else {
            let [mut heard, mut said] = [[0; STEP_MAX]; 2];
            let count = count.min(STEP_MAX);
            self.step_in(&mut heard[..count], &mut said[..count], orders)
        }
    }

    fn step_in(
        &mut self,
        heard: &mut [i16],
        said: &mut [i16],
        orders: &mut VecDeque<Order>,
    ) -> bool {
        let count = heard.len();
        let mut present = false;
        if let Some(track) = &mut self.receive {
            let any = track.take(self.flushed, heard);
            present |= any && self.mode != TapMode::Transmit;
        }
        if let Some(track) = &mut self.transmit {
            present |= track.take(self.flushed, said);
        }
        let silent = self.silence_samples > 0 && self.judge_silence(heard);
        let at = self.flushed;
        self.flushed += count as i64;
        if at < self.skip || (self.unpadded && !present) {
            self.omitted += count as i64;
            return silent;
        }
        let channels = usize::from(self.mode.channels());
        if self.block.len() + count * channels > self.block.capacity() {
            self.send_block(orders);
            if let Some(buffer) = self.spare.take() {
                self.block = buffer;
            }
        }
        if self.block.len() + count * channels > self.block.capacity() {
            self.lose(count as u64);
            return silent;
        }
        if let Some(lost) = self.losing.take() {
            self.news = Some(News::Resumed(self.lost - lost));
        }
        if self.block.is_empty() {
            self.block_position = (at - self.omitted) as u64;
        }
        self.volume_receive.apply(heard);
        self.volume_transmit.apply(said);
        match self.mode {
            TapMode::Mix => {
                add_clamped(heard, said);
                self.block.extend_from_slice(heard);
            }
            TapMode::Receive => self.block.extend_from_slice(heard),
            TapMode::Transmit => self.block.extend_from_slice(said),
            TapMode::Stereo => {
                for (&left, &right) in heard.iter().zip(said.iter()) {
                    self.block.extend_from_slice(&[left, right]);
                }
            }
        }
        if self.block.len() >= BLOCK && !self.ending {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::FileFormat;

    #[test]
    fn a_recorder_takes_no_more_memory_than_is_said_of_it() {
        for (mode, windows) in [
            (TapMode::Mix, 2),
            (TapMode::Receive, 1),
            (TapMode::Transmit, 1),
        ] {
            let setup = RecorderSetup::new(
                RecorderId(1),
                LegId(1),
                "call.wav".into(),
                FileFormat::Wav,
                mode,
            );
            let recorder = setup.prepare();
            let tracks = [&recorder.receive, &recorder.transmit];
            assert_eq!(tracks.into_iter().flatten().count(), windows);
            assert_eq!(2 * Track::room(8000), 15_680, "bytes of a window");
            assert_eq!(2 * recorder.block.capacity(), 25_920, "bytes of a block");
            assert!(size_of::<Recorder>() < 1024);
        }
    }
}
