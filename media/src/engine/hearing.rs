//! What a leg hears, as a steady stream: 20 ms of samples at each of its turns, whatever the network did.
//!
//! Only legs have it whose audio is wanted decoded and in step with a clock (a translation to another codec, a room,
//! digits or a recording of a codec with state). A plain relay never does.

use std::time::Instant;

use super::leg::{Leg, Target};
use super::recorder::{Frame, Recorder, Side};
use super::tick::Context;
use super::{Engine, Out, Slot, leg_mut};
use crate::codec::{Codec, Decoder};
use crate::counters::Counters;
use crate::dsp::{ComfortNoise, Gain, Resampler};
use crate::jitter::{Decode, Decoded, Incoming, JitterBuffer, Report, Setup};
use crate::rtp::packet::Header;
use crate::rtp::send::SourceKey;
use crate::sound::SAMPLE_RATE;
use crate::uring::prefetch;

use super::carriage::Carrier;

/// Frames are of 20 ms.
const FRAMES_PER_SECOND: u32 = 50;
/// Longest frame: 20 ms at 48 kHz.
const FRAME_MAX: usize = 960;
static SILENCE: [i16; FRAME_MAX] = [0; FRAME_MAX];
/// How long the fastest packets wait, and how long any packet may be waited for.
pub(super) const WAIT_MIN_MS: u32 = 20;
pub(super) const WAIT_MAX_MS: u32 = 300;
/// A change of the delay by so much is one of the stream, not of a clock.
const MOVED_MS: u32 = 10;
/// Room for payloads that wait, in 128 cells of 128 bytes, and at most 64 packets: of packets of 20 ms, 1280 ms of G.711 and
/// G.722, 860 ms of L16 at 8 kHz, 500 ms at 16 kHz.
const BYTES: usize = 16_384;

/// One of the codecs that may be received.
struct Tongue {
    codec: Codec,
    decoder: Decoder,
    /// To the rate of the frames, where it differs.
    resampler: Option<Resampler>,
}

/// Decodes for the jitter buffer.
struct Tongues {
    all: Vec<Tongue>,
    /// The one that was heard last.
    current: usize,
    /// The remote described its noise.
    noisy: bool,
    /// Boxed: hardly anybody sends any.
    noise: Box<ComfortNoise>,
}

impl Tongues {
    fn current(&mut self) -> Option<&mut Tongue> {
        self.all.get_mut(self.current)
    }
}

impl Decode for Tongues {
    fn decode(&mut self, kind: u8, payload: &[u8], out: &mut [i16]) -> Decoded {
        let index = usize::from(kind);
        let Some(tongue) = self.all.get_mut(index) else {
            return Decoded::default();
        };
        self.current = index;
        // RFC 7587 §3.1.3: Opus pauses after a packet of its header alone.
        let pause = tongue.codec == Codec::Opus && payload.len() <= 2;
        if !pause {
            self.noisy = false;
        }
        Decoded {
            samples: tongue.decoder.decode(payload, out).unwrap_or(0),
            pause,
        }
    }

    fn conceal(&mut self, next: Option<(u8, &[u8])>, past: &[i16], out: &mut [i16]) {
        let index = self.current;
        let Some(tongue) = self.current() else {
            out.fill(0);
            return;
        };
        let next = next.filter(|&(kind, _)| usize::from(kind) == index);
        tongue
            .decoder
            .conceal(next.map(|(_, payload)| payload), past, out);
    }

    fn describe_noise(&mut self, payload: &[u8]) {
        self.noisy = self.noise.set(payload);
    }

    fn noise(&mut self, past: &[i16], out: &mut [i16]) {
        if self.noisy {
            self.noise.fill(out);
        } else {
            self.conceal(None, past, out);
        }
    }

    fn reset(&mut self) {
        self.noisy = false;
        for tongue in &mut self.all {
            tongue.decoder.reset();
        }
    }
}

/// The ears of a leg. Turns need nearly all of it, packets only where `spoken` and the beginning of the buffer are; the
/// buffer comes last, because little of its end is used.
#[repr(C)]
pub(super) struct Hearing {
    /// Names what is made of this in the stream of another leg.
    pub(super) key: SourceKey,
    rate: u32,
    /// The frame has not been mixed into a room yet.
    fresh: bool,
    /// The delay is another than at the frame before: audio was left out or repeated in between.
    moved: bool,
    /// Nobody may hear what is received.
    mute: bool,
    /// How loud it is.
    gain: Gain,
    /// The frame is not the buffer's own: its codec has another rate, or it is made louder or softer.
    is_apart: bool,
    frames: u64,
    delay_ms: u32,
    apart: Option<Box<[i16; FRAME_MAX]>>,
    /// The frame at 8000 Hz, for those who know no other rate.
    narrow: Option<Box<(Resampler, [i16; 160])>>,
    tongues: Tongues,
    /// The codec of the last packet, and which of the tongues that is.
    spoken: Option<(Codec, u8)>,
    buffer: JitterBuffer,
    counted: Report,
}

impl Hearing {
    /// Asks for what a packet needs.
    #[inline]
    pub(super) fn expect_arrival(&self) {
        let from = std::mem::offset_of!(Self, spoken);
        let bytes = std::mem::offset_of!(Self, buffer) - from + JitterBuffer::ARRIVAL_BYTES;
        prefetch::part(self, from, bytes);
    }

    /// Asks for what a turn needs first.
    #[inline]
    pub(super) fn expect(&self) {
        prefetch::value(self, std::mem::offset_of!(Self, buffer));
        self.buffer.expect();
    }

    /// Ears for these codecs; frames are of the rate of the first, Opus of `rate` (the next that it has). `None`: none of
    /// them can be decoded.
    pub(super) fn new(
        now: Instant,
        codecs: &[Codec],
        rate: u32,
        key: SourceKey,
        wait_max_ms: u32,
    ) -> Option<Self> {
        let mut all: Vec<Tongue> = Vec::new();
        for &codec in codecs {
            if all.iter().any(|tongue| tongue.codec == codec) {
                continue;
            }
            if let Ok(decoder) = Decoder::new(codec, rate) {
                all.push(Tongue {
                    codec,
                    decoder,
                    resampler: None,
                });
            }
        }
        let rate = all.first()?.decoder.rate();
        let highest = all.iter().map(|tongue| tongue.decoder.rate()).max()?;
        let clock_rate = all.first()?.codec.clock_rate();
        for tongue in &mut all {
            let own = tongue.decoder.rate();
            if own != rate {
                tongue.resampler = Some(Resampler::new(own, rate).ok()?);
            }
        }
        let mut buffer = JitterBuffer::new(
            now,
            Setup {
                clock_rate,
                rate: highest,
                min_ms: WAIT_MIN_MS,
                max_ms: wait_max_ms,
                bytes: BYTES,
            },
        );
        buffer.set_rates(clock_rate, rate);
        let counted = buffer.report();
        let resampled = all.iter().any(|tongue| tongue.resampler.is_some());
        Some(Self {
            key,
            buffer,
            tongues: Tongues {
                all,
                current: 0,
                noisy: false,
                noise: Box::new(ComfortNoise::new(key.0 as u32)),
            },
            rate,
            mute: false,
            gain: Gain::NONE,
            is_apart: false,
            delay_ms: 0,
            apart: resampled.then(|| Box::new([0; FRAME_MAX])),
            narrow: None,
            frames: 0,
            fresh: false,
            counted,
            spoken: None,
            moved: true,
        })
    }

    /// Hz of the frames.
    pub(super) fn rate(&self) -> u32 {
        self.rate
    }

    /// Asks for where the next packet will be put.
    #[inline]
    pub(super) fn expect_packet(&self) {
        self.buffer.expect_packet();
    }

    /// Asks for what a turn works with.
    #[inline]
    pub(super) fn expect_turn(&self) {
        self.buffer.expect_turn();
        prefetch::slice(&self.tongues.all);
    }

    /// The 20 ms of this turn.
    pub(super) fn frame(&self) -> &[i16] {
        let len = (self.rate / FRAMES_PER_SECOND) as usize;
        let frame = match &self.apart {
            _ if self.mute => &SILENCE,
            Some(apart) if self.is_apart => &apart[..],
            _ => self.buffer.frame(),
        };
        frame.get(..len).unwrap_or(&[])
    }

    /// Does the frame wait for a room to mix it?
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// The 20 ms of this turn, once.
    pub(super) fn fresh_frame(&mut self) -> Option<&[i16]> {
        std::mem::take(&mut self.fresh).then(|| self.frame())
    }

    /// What a recorder should be given of this turn, and when it was received: it has waited here.
    fn frame_for(&self, recorder: &Recorder, at: Instant) -> (Instant, Frame<'_>) {
        let (rate, samples) = match &self.narrow {
            // All that work at 8000 Hz share one conversion.
            Some(narrow) if recorder.rate() == SAMPLE_RATE => (SAMPLE_RATE, &narrow.1[..]),
            _ => (self.rate, self.frame()),
        };
        let waited = self.buffer.delay() + recorder.filter_delay(self.rate);
        let frame = Frame {
            number: self.frames as u32,
            restart: self.moved,
            rate,
            samples,
        };
        (at.checked_sub(waited).unwrap_or(at), frame)
    }

    /// What the jitter buffer went through.
    pub(super) fn report(&self) -> Report {
        self.buffer.report()
    }

    /// From now on frames are wanted at 8000 Hz too.
    pub(super) fn narrow_too(&mut self) {
        if self.rate != SAMPLE_RATE
            && self.narrow.is_none()
            && let Ok(resampler) = Resampler::new(self.rate, SAMPLE_RATE)
        {
            self.narrow = Some(Box::new((resampler, [0; 160])));
        }
    }

    /// The frame at 8000 Hz; empty when nobody asked for it in time.
    pub(super) fn narrow(&self) -> &[i16] {
        match &self.narrow {
            Some(narrow) => &narrow.1,
            None if self.rate == SAMPLE_RATE => self.frame(),
            None => &[],
        }
    }

    /// Does it decode this codec, or nobody can?
    pub(super) fn was_made_for(&self, codec: Codec) -> bool {
        let known = self.tongues.all.iter().any(|tongue| tongue.codec == codec);
        known || !codec.is_spoken()
    }

    /// Takes an audio packet. `restart`: the first of another stream.
    pub(super) fn packet(
        &mut self,
        now: Instant,
        header: &Header,
        codec: Codec,
        restart: bool,
        payload: &[u8],
    ) {
        let kind = match self.spoken {
            Some((spoken, kind)) if spoken == codec => kind,
            _ => match self.speak(codec) {
                Some(kind) => kind,
                None => return,
            },
        };
        self.buffer.insert(
            now,
            &Incoming {
                sequence: header.sequence,
                timestamp: header.timestamp,
                marker: header.marker,
                restart,
                kind: Some(kind),
                units: codec.samples_in(payload),
                payload,
            },
        );
    }

    /// Packets of this codec come from now on; which of the tongues that is.
    #[cold]
    fn speak(&mut self, codec: Codec) -> Option<u8> {
        let kind = self.tongues.all.iter().position(|t| t.codec == codec)?;
        let rate = self.tongues.all.get(kind)?.decoder.rate();
        let kind = u8::try_from(kind).ok()?;
        if self.buffer.set_rates(codec.clock_rate(), rate) {
            // The frame has gone with everything else of the old rate.
            self.fresh = false;
        }
        self.spoken = Some((codec, kind));
        Some(kind)
    }

    /// Takes a packet of comfort noise (RFC 3389).
    pub(super) fn noise(&mut self, now: Instant, header: &Header, restart: bool, payload: &[u8]) {
        self.buffer.insert(
            now,
            &Incoming {
                sequence: header.sequence,
                timestamp: header.timestamp,
                marker: header.marker,
                restart,
                kind: None,
                units: 0,
                payload,
            },
        );
    }

    /// Takes note of a telephone-event.
    pub(super) fn event(&mut self, header: &Header) {
        self.buffer.other_packet(header.sequence);
    }

    /// Makes frames louder or softer from now on. Allocates.
    pub(super) fn set_gain(&mut self, gain: Gain) {
        self.gain = gain;
        if !gain.is_none() {
            self.apart.get_or_insert_with(|| Box::new([0; FRAME_MAX]));
        }
    }

    /// Makes the frame of the turn that is due at `at`; silence instead when `mute`.
    pub(super) fn turn(&mut self, at: Instant, mute: bool, counters: &Counters) {
        self.mute = mute;
        self.buffer.turn(at, &mut self.tongues);
        let len = (self.rate / FRAMES_PER_SECOND) as usize;
        let own = self.buffer.frame();
        let is_resampled = own.len() != len;
        self.is_apart = is_resampled || !self.gain.is_none();
        if self.is_apart
            && let Some(apart) = &mut self.apart
        {
            let frame = &mut apart[..len.min(FRAME_MAX)];
            // Nothing of what is muted may be left in the filter.
            let own = match mute {
                true => SILENCE.get(..own.len()).unwrap_or(&[]),
                false => own,
            };
            let tongue = self.tongues.current().filter(|_| is_resampled);
            match tongue.and_then(|tongue| tongue.resampler.as_mut()) {
                Some(resampler) => resampler.run(own, frame),
                None => {
                    let count = own.len().min(frame.len());
                    frame[..count].copy_from_slice(&own[..count]);
                    frame[count..].fill(0);
                }
            }
            self.gain.apply(frame);
        }
        if let Some(mut narrow) = self.narrow.take() {
            let (resampler, out) = &mut *narrow;
            resampler.run(self.frame(), out);
            self.narrow = Some(narrow);
        }
        self.frames += 1;
        self.fresh = true;
        self.count(counters);
    }

    fn count(&mut self, counters: &Counters) {
        counters.frames_heard.add(1);
        let delay_ms = self.buffer.delay_ms();
        let before = std::mem::replace(&mut self.delay_ms, delay_ms);
        self.moved = self.frames == 1 || delay_ms.abs_diff(before) >= MOVED_MS;
        if !self.buffer.take_news() {
            return;
        }
        let now = self.buffer.report();
        let before = std::mem::replace(&mut self.counted, now);
        counters.jitter_late.add(now.late - before.late);
        counters
            .jitter_overflowed
            .add(now.overflowed - before.overflowed);
        counters
            .jitter_concealed_samples
            .add(now.concealed - before.concealed);
        counters.jitter_resyncs.add(now.resyncs - before.resyncs);
        counters
            .jitter_delay_ms_max
            .max(u64::from(now.delay_ms_max));
    }
}

impl Engine {
    /// Makes the frame of a leg's turn that was due at `at`, and gives it to everybody who wants it.
    pub(super) fn hear(&mut self, now: Instant, at: Instant, slot: Slot, out: Out<'_>) {
        let Some(leg) = leg_mut(&mut self.legs, slot) else {
            return;
        };
        let Some(mut hearing) = leg.hearing.take() else {
            return;
        };
        hearing.turn(at, leg.mute_receive, &self.counters);
        let mut context = Context {
            now,
            counters: &self.counters,
            orders: &mut self.orders,
            wires: &mut self.wires,
            out,
        };
        let heard = hearing.buffer.has_heard();
        let stateful = leg.heard_codec.is_some_and(|codec| !codec.is_g711());
        let is_given = |recorder: &Recorder| stateful || !recorder.takes_packets();
        if heard {
            leg.record_heard(&mut context, at, &hearing, is_given);
        }
        if stateful
            && heard
            && let Some(ear) = &mut leg.ear
        {
            ear.hear(now, hearing.narrow());
        }
        let (target, carrier) = (leg.target, leg.carrier);
        let to = match target {
            Target::Silence | Target::Room(_) => None,
            Target::Echo => Some(leg),
            Target::Relay(peer) => leg_mut(&mut self.legs, peer),
        };
        if let Some(to) = to {
            if carrier == Carrier::Translated {
                to.say_heard(&mut context, &hearing);
            } else if heard {
                to.record_relayed(&mut context, at, &hearing, is_given);
            }
        }
        if let Some(leg) = leg_mut(&mut self.legs, slot) {
            let frame = heard.then(|| hearing.narrow());
            leg.attend(frame, &mut self.events, &self.counters);
            leg.hearing = Some(hearing);
        }
    }
}

impl Leg {
    /// Sends on what another leg heard.
    fn say_heard(&mut self, context: &mut Context<'_, '_>, hearing: &Hearing) {
        if self.player.is_some() || self.keypad.is_busy() {
            self.sender.leave(hearing.key);
            self.drop_packet(context.counters, super::leg::Drop::Replaced);
            return;
        }
        context.counters.frames_translated.add(1);
        self.say(context, hearing.key, hearing.rate(), hearing.frame());
    }

    /// Lets the recorders of this leg hear what it received, as far as they are `given` it in frames.
    fn record_heard(
        &mut self,
        context: &mut Context<'_, '_>,
        at: Instant,
        hearing: &Hearing,
        given: impl Fn(&Recorder) -> bool,
    ) {
        for recorder in self.recorders.iter_mut().filter(|one| given(one)) {
            let (when, frame) = hearing.frame_for(recorder, at);
            recorder.frame(Side::Receive, when, frame, context.orders);
        }
    }

    /// Lets the recorders of this leg hear what is relayed to it as it is, as far as they are `given` it in frames.
    fn record_relayed(
        &mut self,
        context: &mut Context<'_, '_>,
        at: Instant,
        hearing: &Hearing,
        given: impl Fn(&Recorder) -> bool,
    ) {
        let sending = self.config.as_ref().is_some_and(|config| config.sending);
        if !sending || self.player.is_some() || self.keypad.is_busy() {
            return;
        }
        for recorder in self.recorders.iter_mut().filter(|one| given(one)) {
            let (when, mut frame) = hearing.frame_for(recorder, at);
            if self.mute_transmit {
                frame.samples = &SILENCE[..frame.samples.len()];
            }
            // What the leg says itself has a time line of its own: a place too far from the one before is a new beginning.
            frame.restart = true;
            recorder.frame(Side::Transmit, when, frame, context.orders);
        }
    }
}
