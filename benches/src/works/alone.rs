//! What codecs and ciphers cost by themselves, in a loop with nothing around it: the measure for the engine around them.
//!
//! A codec is measured twice: one packet after the other, and in the rhythm of calls, where a core sleeps between the
//! milliseconds and finds its caches cold. The second is what an engine can be compared with.

use super::keys;
use crate::cpu;
use crate::traffic::{PACKET_MAX, RELAYED_LEN, header};
use anyhow::{Context, Result};
use std::f64::consts::TAU;
use std::hint::black_box;
use std::time::{Duration, Instant};
use strowger_media::Codec;
use strowger_media::codec::{Decoder, Encoder, EncoderOptions};
use strowger_media::rtp::srtp::{Inbound, Outbound, Suite};
use strowger_media::uring::schedule;

/// Packets in a timing.
const PACKETS: usize = 2000;
/// Length of a timing in the rhythm of calls.
const RHYTHM_MS: usize = 3000;

/// Something like speech at `rate` Hz: a gliding pitch with formants, in syllables, with pauses.
fn speech(rate: u32, frames: usize) -> Vec<i16> {
    let mut phase = 0.0f64;
    (0..frames * rate as usize / 50)
        .map(|i| {
            let t = i as f64 / f64::from(rate);
            let pitch = 120.0 + 25.0 * (TAU * 0.7 * t).sin();
            phase += pitch / f64::from(rate);
            let loudness = (TAU * 1.9 * t).sin().max(0.0) * if t % 2.3 < 1.7 { 1.0 } else { 0.0 };
            let voice: f64 = (1..=20)
                .map(|n| {
                    let f = pitch * f64::from(n);
                    let formant = |at: f64, width: f64| (-((f - at) / width).powi(2)).exp();
                    let strength = formant(500.0 + 200.0 * (TAU * 0.9 * t).sin(), 180.0)
                        + 0.5 * formant(1500.0 + 400.0 * (TAU * 1.3 * t).cos(), 250.0)
                        + 0.2 * formant(2500.0, 300.0);
                    strength * (TAU * phase * f64::from(n)).sin()
                })
                .sum();
            (voice * loudness * 5000.0).clamp(-32000.0, 32000.0) as i16
        })
        .collect()
}

/// `frames` packets of 20 ms of speech.
pub(super) fn encoded(codec: Codec, rate: u32, frames: usize) -> Result<Vec<Vec<u8>>> {
    let samples = speech(rate, frames);
    let mut encoder = Encoder::new(codec, rate, &EncoderOptions::default())?;
    let mut payload = [0; PACKET_MAX];
    samples
        .chunks_exact(rate as usize / 50)
        .map(|frame| {
            let length = encoder.encode(frame, &mut payload)?;
            Ok(payload.get(..length).unwrap_or_default().to_vec())
        })
        .collect()
}

/// Microseconds of CPU to decode and to encode a packet of 20 ms of `codec` at `rate` Hz.
pub fn codec_us(codec: Codec, rate: u32) -> Result<(f64, f64)> {
    let packets = encoded(codec, rate, 250)?;
    let samples = speech(rate, 250);
    let mut decoder = Decoder::new(codec, rate)?;
    let mut out = [0i16; 960];
    let started = Instant::now();
    for packet in packets.iter().cycle().take(PACKETS) {
        black_box(decoder.decode(packet, &mut out)?);
    }
    let decode = started.elapsed();
    let mut encoder = Encoder::new(codec, rate, &EncoderOptions::default())?;
    let mut payload = [0; PACKET_MAX];
    let frames: Vec<_> = samples.chunks_exact(rate as usize / 50).collect();
    let started = Instant::now();
    for frame in frames.iter().cycle().take(PACKETS) {
        black_box(encoder.encode(frame, &mut payload)?);
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / PACKETS as f64;
    Ok((each(decode), each(started.elapsed())))
}

/// Microseconds of CPU to decode one packet of 20 ms of `codec` and to encode another, both together, on `core` in the
/// rhythm of so many calls: each has its own decoder and encoder, a twentieth of them work in each millisecond, and in
/// between the core sleeps. What waking up takes is not counted.
pub fn codec_in_rhythm_us(codec: Codec, rate: u32, calls: usize, core: usize) -> Result<f64> {
    let packets = encoded(codec, rate, 250)?;
    let samples = speech(rate, 250);
    let frames: Vec<_> = samples.chunks_exact(rate as usize / 50).collect();
    let mut coders = (0..calls)
        .map(|_| {
            let encoder = Encoder::new(codec, rate, &EncoderOptions::default())?;
            Ok((Decoder::new(codec, rate)?, encoder))
        })
        .collect::<Result<Vec<_>>>()?;
    let (mut out, mut payload) = ([0i16; 960], [0; PACKET_MAX]);
    std::thread::scope(|scope| {
        let measured = scope.spawn(|| {
            // Wishes, as for the media thread: without them the numbers are rougher.
            let _ = schedule::pin_to_core(core);
            let _ = schedule::make_realtime();
            let _ = schedule::tighten_timers();
            let (mut time, mut done) = (Duration::ZERO, 0u32);
            let start = Instant::now();
            for ms in 0..RHYTHM_MS {
                let due = start + Duration::from_millis(ms as u64);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let number = ms / 20;
                let began = cpu::of_thread()?;
                for (call, (decoder, encoder)) in coders.iter_mut().enumerate() {
                    if call % 20 == ms % 20 {
                        let place = (number + call * 7) % packets.len();
                        black_box(decoder.decode(&packets[place], &mut out)?);
                        black_box(encoder.encode(frames[place], &mut payload)?);
                        done += 1;
                    }
                }
                time += cpu::of_thread()?.saturating_sub(began);
            }
            Ok(time.as_secs_f64() * 1e6 / f64::from(done.max(1)))
        });
        measured
            .join()
            .map_err(|_| anyhow::anyhow!("the measurement panicked"))?
    })
}

/// Microseconds of CPU to make one packet of 20 ms of G.711 plain and to protect it again.
pub fn crypto_us(suite: Suite) -> Result<f64> {
    let keys = keys(suite, 0)?;
    let mut telephone = Outbound::new(keys.receive.clone());
    let mut packets = Vec::with_capacity(PACKETS);
    for number in 0..PACKETS {
        let mut packet = [0u8; PACKET_MAX];
        header(&mut packet, 0, number as u16, number as u32 * 160, 7);
        let length = telephone
            .protect(&mut packet, RELAYED_LEN)
            .context("protect")?;
        packets.push((packet, length));
    }
    let (mut receive, mut send) = (Inbound::new(keys.receive), Outbound::new(keys.send));
    let started = Instant::now();
    for (packet, length) in &mut packets {
        let plain = receive.unprotect(packet.get_mut(..*length).context("length")?)?;
        black_box(send.protect(packet, plain)?);
    }
    Ok(started.elapsed().as_secs_f64() * 1e6 / PACKETS as f64)
}
