//! The one voice of a leg: whatever is generated for it (prompts, digits, rooms, translated audio) goes through here,
//! 20 ms at a time, and leaves as packets of the negotiated codec and length.

use super::leg::{Drop, Leg};
use super::recorder::{Frame, Side};
use super::tick::{Context, PACKET_MAX};
use crate::codec::{Codec, Encoder, EncoderOptions};
use crate::dsp::Resampler;
use crate::rtp::packet::HEADER_LEN;
use crate::rtp::send::SourceKey;
use crate::rtp::srtp::OVERHEAD_MAX;
use crate::sound::SAMPLE_RATE;

/// Frames are of 20 ms.
const FRAMES_PER_SECOND: u32 = 50;
/// Longest frame: 20 ms at 48 kHz.
const FRAME_MAX: usize = 960;
/// Bytes of G.711 up to which a packet is made in a small place: clearing more takes as long as encoding.
const SMALL_MAX: usize = 240;
/// Packets are made of up to so many milliseconds.
const PTIME_MAX_MS: usize = 60;

/// Encodes and collects what a leg says.
pub(super) struct Voice {
    codec: Codec,
    options: EncoderOptions,
    encoder: Encoder,
    /// From the rates that were asked for, where they differ.
    resamplers: Vec<(u32, Resampler)>,
    /// Who speaks.
    speaker: Option<SourceKey>,
    /// Audio that waits to fill a packet.
    pending: Box<[i16]>,
    pending_len: usize,
    /// For the recorders, where the codec's rate is not theirs: a resampler, and their clock.
    narrow: Option<Resampler>,
    frames: u32,
}

impl Voice {
    /// A voice in this codec, for audio of `rate`. `None`: the codec cannot be encoded.
    fn new(codec: Codec, rate: u32, options: &EncoderOptions) -> Option<Self> {
        let encoder = Encoder::new(codec, rate, options).ok()?;
        let rate = encoder.rate() as usize;
        let narrow = (encoder.rate() != SAMPLE_RATE)
            .then(|| Resampler::new(encoder.rate(), SAMPLE_RATE).ok())
            .flatten();
        Some(Self {
            codec,
            options: *options,
            encoder,
            resamplers: Vec::new(),
            speaker: None,
            pending: vec![0; rate * (PTIME_MAX_MS + 20) / 1000].into(),
            pending_len: 0,
            narrow,
            frames: 0,
        })
    }

    /// From now on audio of this rate may come.
    fn learn(&mut self, rate: u32) {
        let known = self.resamplers.iter().any(|&(from, _)| from == rate);
        if rate != self.encoder.rate()
            && !known
            && let Ok(resampler) = Resampler::new(rate, self.encoder.rate())
        {
            self.resamplers.push((rate, resampler));
        }
    }

    /// Writes 20 ms at the encoder's rate into `frame`; how many samples that is, `None` for a rate nobody announced.
    fn convert(
        &mut self,
        rate: u32,
        samples: &[i16],
        frame: &mut [i16; FRAME_MAX],
    ) -> Option<usize> {
        let len = (self.encoder.rate() / FRAMES_PER_SECOND) as usize;
        let frame = frame.get_mut(..len)?;
        if rate == self.encoder.rate() {
            let count = samples.len().min(len);
            frame[..count].copy_from_slice(&samples[..count]);
            return Some(len);
        }
        let (_, resampler) = self.resamplers.iter_mut().find(|(from, _)| *from == rate)?;
        resampler.run(samples, frame);
        Some(len)
    }
}

impl Leg {
    /// Makes sure that audio of this rate can be sent. Allocates: for commands, never for packets.
    pub(super) fn prepare_voice(&mut self, rate: u32) {
        let Some(config) = &self.config else {
            return;
        };
        let codec = config.send.codec;
        // Of all codecs only Opus is encoded at a rate of choice: the highest that was asked for.
        let usable = self.voice.as_ref().is_some_and(|voice| {
            voice.codec == codec
                && voice.options == config.encoder
                && (codec != Codec::Opus || voice.encoder.rate() >= rate)
        });
        if !usable {
            let old = self.voice.take();
            self.voice = Voice::new(codec, rate, &config.encoder).map(Box::new);
            if let (Some(voice), Some(old)) = (&mut self.voice, &old) {
                voice.learn(old.encoder.rate());
                for (from, _) in &old.resamplers {
                    voice.learn(*from);
                }
            }
        }
        if let Some(voice) = &mut self.voice {
            voice.learn(rate);
            voice.learn(SAMPLE_RATE);
            for recorder in &mut self.recorders {
                recorder.learn(Side::Transmit, voice.encoder.rate());
            }
        }
    }

    /// Sends 20 ms of samples of our own, of a rate that [`Leg::prepare_voice`] was told, and lets recorders hear them.
    pub(super) fn say(
        &mut self,
        context: &mut Context<'_, '_>,
        key: SourceKey,
        rate: u32,
        samples: &[i16],
    ) {
        if self.may_send(context.counters, key).is_none() {
            if let Some(voice) = &mut self.voice {
                voice.pending_len = 0;
            }
            return;
        }
        let Some(mut voice) = self.voice.take() else {
            self.sender.leave(key);
            self.drop_packet(context.counters, Drop::Transcode);
            return;
        };
        let whole = (rate / FRAMES_PER_SECOND) as usize == samples.len();
        let plain = !self.mute_transmit && self.gain_transmit.is_none();
        if rate == voice.encoder.rate() && whole && plain {
            self.say_frame(context, &mut voice, key, samples);
            self.voice = Some(voice);
            return;
        }
        let mut frame = [0; FRAME_MAX];
        match voice.convert(rate, samples, &mut frame) {
            Some(len) => {
                let frame = &mut frame[..len];
                if self.mute_transmit {
                    frame.fill(0);
                } else {
                    self.gain_transmit.apply(frame);
                }
                self.say_frame(context, &mut voice, key, frame);
            }
            None => {
                self.sender.leave(key);
                self.drop_packet(context.counters, Drop::Transcode);
            }
        }
        self.voice = Some(voice);
    }

    /// A speaker has nothing more to say: what waits to fill a packet goes out, with silence behind it.
    pub(super) fn hush(&mut self, context: &mut Context<'_, '_>, key: SourceKey) {
        if let Some(mut voice) = self.voice.take() {
            if voice.speaker == Some(key) && voice.pending_len > 0 {
                let packet = self.packet_len(&voice);
                if let Some(rest) = voice.pending.get_mut(voice.pending_len..packet) {
                    rest.fill(0);
                    voice.pending_len = packet;
                }
                self.send_packets(context, &mut voice, key);
            }
            voice.pending_len = 0;
            voice.speaker = None;
            self.voice = Some(voice);
        }
        self.sender.leave(key);
    }

    /// Samples of a packet.
    fn packet_len(&self, voice: &Voice) -> usize {
        let ptime_ms = self.config.as_ref().map_or(20, |config| config.ptime_ms);
        voice.encoder.rate() as usize * usize::from(ptime_ms) / 1000
    }

    fn say_frame(
        &mut self,
        context: &mut Context<'_, '_>,
        voice: &mut Voice,
        key: SourceKey,
        frame: &[i16],
    ) {
        let restart = voice.speaker != Some(key);
        if restart {
            // What the one before left over is too short for a packet and too old now.
            voice.pending_len = 0;
            voice.speaker = Some(key);
        }
        if !self.recorders.is_empty() {
            self.record_said(context, voice, restart, frame);
        }
        voice.frames = voice.frames.wrapping_add(1);
        if voice.pending_len == 0 && frame.len() == self.packet_len(voice) {
            self.send_packet(context, &mut voice.encoder, key, frame);
            return;
        }
        let end = voice.pending_len + frame.len();
        if let Some(room) = voice.pending.get_mut(voice.pending_len..end) {
            room.copy_from_slice(frame);
            voice.pending_len = end;
        }
        self.send_packets(context, voice, key);
    }

    /// Lets the recorders hear what the leg says, but those that take its packets of G.711.
    fn record_said(
        &mut self,
        context: &mut Context<'_, '_>,
        voice: &mut Voice,
        restart: bool,
        frame: &[i16],
    ) {
        let mut samples = [0; 160];
        let mut is_narrow = false;
        for recorder in &mut self.recorders {
            let mut said = Frame {
                number: voice.frames,
                restart,
                rate: voice.encoder.rate(),
                samples: frame,
            };
            if recorder.takes_packets() {
                // All that work at 8000 Hz share one conversion.
                let Some(narrow) = &mut voice.narrow else {
                    continue;
                };
                if !is_narrow {
                    narrow.run(frame, &mut samples);
                    is_narrow = true;
                }
                (said.rate, said.samples) = (SAMPLE_RATE, &samples);
            }
            recorder.frame(Side::Transmit, context.now, said, context.orders);
        }
    }

    /// Sends as many packets as there is audio for.
    fn send_packets(&mut self, context: &mut Context<'_, '_>, voice: &mut Voice, key: SourceKey) {
        let packet = self.packet_len(voice);
        let mut sent = 0;
        while voice.pending_len - sent >= packet {
            let Some(samples) = voice.pending.get(sent..sent + packet) else {
                break;
            };
            sent += packet;
            self.send_packet(context, &mut voice.encoder, key, samples);
        }
        voice.pending.copy_within(sent..voice.pending_len, 0);
        voice.pending_len -= sent;
    }

    fn send_packet(
        &mut self,
        context: &mut Context<'_, '_>,
        encoder: &mut Encoder,
        key: SourceKey,
        samples: &[i16],
    ) {
        let Some(dest) = self.may_send(context.counters, key) else {
            return;
        };
        let Some(format) = self.config.as_ref().map(|config| config.send) else {
            return;
        };
        let clock_rate = u64::from(format.codec.clock_rate());
        let units = (samples.len() as u64 * clock_rate / u64::from(encoder.rate())) as u32;
        let (mut small, mut large);
        let packet: &mut [u8] = if format.codec.is_g711() && samples.len() <= SMALL_MAX {
            small = [0; HEADER_LEN + SMALL_MAX + OVERHEAD_MAX];
            &mut small
        } else {
            large = [0; PACKET_MAX];
            &mut large
        };
        let (_, payload) = packet.split_at_mut(HEADER_LEN);
        let room = payload.len() - OVERHEAD_MAX;
        let Ok(length) = encoder.encode(samples, &mut payload[..room]) else {
            self.drop_packet(context.counters, Drop::Transcode);
            return;
        };
        if length == 0 {
            // A pause of the encoder (DTX): time goes on, nothing is sent.
            self.sender.pause(key, units);
            return;
        }
        let numbers = self.sender.own(context.now, key, units);
        if encoder.rate() == SAMPLE_RATE {
            for recorder in self.recorders.iter_mut().filter(|one| one.takes_packets()) {
                recorder.transmitted(
                    context.now,
                    numbers.timestamp,
                    numbers.marker,
                    samples,
                    context.orders,
                );
            }
        }
        self.send_in(context, dest, format.payload_type, numbers, packet, length);
    }
}
