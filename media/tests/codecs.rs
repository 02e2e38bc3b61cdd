//! Codecs against independent implementations (bit by bit) and against their purpose (what goes in comes out), and
//! decoders against anything a network can bring.
//!
//! `fixtures/codecs/signal.s16` is 3200 samples of 16 bit: gliding tones, noise, full-scale squares, silence. What other
//! programs made of it, with sox 14.4.2 (libgsm 1.0.22) and ffmpeg 5.1:
//!
//! ```text
//! sox -t raw -r 8000 -e signed -b 16 -c 1 signal.s16 signal.gsm
//! sox -t raw -r 8000 -e signed -b 16 -c 1 signal.s16 -e gsm s.wav      # its data chunk is signal.wav49
//! ffmpeg -f s16le -ar 16000 -ac 1 -i signal.s16 -f g722 signal.g722    # spandsp 0.0.6 makes the same bytes
//! sox signal.gsm -t s16 - | sha1sum                                    # and random.gsm: any bits behind 1101
//! ffmpeg -f g722 -i signal.g722 -f s16le - | sha1sum                   # and signal.s16 taken for G.722
//! ```

use sha1::{Digest, Sha1};
use strowger_media::codec::{CodecError, Concealed, Decoder, Encoder, EncoderOptions, g722, gsm};
use strowger_media::{Codec, L16Rate};

const SIGNAL: &[u8] = include_bytes!("fixtures/codecs/signal.s16");
const SIGNAL_GSM: &[u8] = include_bytes!("fixtures/codecs/signal.gsm");
const SIGNAL_WAV49: &[u8] = include_bytes!("fixtures/codecs/signal.wav49");
const RANDOM_GSM: &[u8] = include_bytes!("fixtures/codecs/random.gsm");
const SIGNAL_G722: &[u8] = include_bytes!("fixtures/codecs/signal.g722");

fn signal() -> Vec<i16> {
    let (pairs, _) = SIGNAL.as_chunks();
    pairs.iter().map(|&pair| i16::from_le_bytes(pair)).collect()
}

fn sha1(samples: &[i16]) -> String {
    let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
    let digest = Sha1::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn g722_is_bit_exact() {
    let signal = signal();
    let mut encoder = g722::Encoder::default();
    let mut bytes = vec![0; 1600];
    for (samples, bytes) in signal.chunks(320).zip(bytes.chunks_mut(160)) {
        assert_eq!(encoder.encode(samples, bytes), 160);
    }
    assert_eq!(bytes, SIGNAL_G722);
    for (stream, expected) in [
        (SIGNAL_G722, "323fcc10841317177671c87e5111d6b70fe16298"),
        (SIGNAL, "ee69c14699f22b863b9c06f08f270fa95e5faa72"),
    ] {
        let mut samples = vec![0; 2 * stream.len()];
        let count = g722::Decoder::default().decode(stream, &mut samples);
        assert_eq!(count, samples.len());
        assert_eq!(sha1(&samples), expected);
    }
}

#[test]
fn gsm_is_bit_exact_in_both_layouts() {
    let signal = signal();
    let mut bytes = vec![0; 660];
    assert_eq!(
        gsm::Encoder::default().encode(&signal, &mut bytes),
        bytes.len()
    );
    assert_eq!(bytes, SIGNAL_GSM);
    for (stream, expected) in [
        (SIGNAL_GSM, "46987c789e824a0dd1c575ece96a5a6bb1e987d5"),
        (RANDOM_GSM, "62a2336b649e4e445c584ac17e4046a6c1123d39"),
    ] {
        let mut samples = vec![0; 3200];
        assert_eq!(gsm::Decoder::default().decode(stream, &mut samples), 3200);
        assert_eq!(sha1(&samples), expected);
    }

    let mut encoder = gsm::Encoder::default();
    let (blocks, _) = signal.as_chunks();
    let wav49: Vec<u8> = blocks
        .iter()
        .flat_map(|block| encoder.encode_wav49(block))
        .collect();
    assert_eq!(wav49, SIGNAL_WAV49);
    let mut decoder = gsm::Decoder::default();
    let (blocks, _) = SIGNAL_WAV49.as_chunks();
    let samples: Vec<i16> = blocks
        .iter()
        .flat_map(|block| decoder.decode_wav49(block))
        .collect();
    assert_eq!(sha1(&samples), "46987c789e824a0dd1c575ece96a5a6bb1e987d5");
}

/// A second of something like a vowel: harmonics of 120 Hz under a formant at 700 Hz, swelling.
fn vowel(rate: u32) -> Vec<i16> {
    (0..rate)
        .map(|i| {
            let t = f64::from(i) / f64::from(rate);
            let swell = 0.6 + 0.4 * (t * 18.0).sin();
            let wave: f64 = (1..=25)
                .map(|n| {
                    let hz = 120.0 * f64::from(n);
                    let weight = 1.0 / (1.0 + ((hz - 700.0) / 300.0).powi(2));
                    weight * (std::f64::consts::TAU * hz * t + f64::from(n)).sin()
                })
                .sum();
            (wave * swell * 3500.0) as i16
        })
        .collect()
}

/// Signal to noise in dB over the shift at which it is best, within 40 ms.
fn snr(clean: &[i16], heard: &[i16], rate: u32) -> f64 {
    let window = rate as usize / 4..rate as usize * 3 / 4;
    let power: f64 = clean[window.clone()]
        .iter()
        .map(|&s| f64::from(s).powi(2))
        .sum();
    (0..rate as usize / 25)
        .map(|shift| {
            let noise: f64 = window
                .clone()
                .map(|i| (f64::from(clean[i]) - f64::from(heard[i + shift])).powi(2))
                .sum();
            10.0 * (power / noise.max(1.0)).log10()
        })
        .fold(f64::MIN, f64::max)
}

fn round_trip(
    codec: Codec,
    rate: u32,
    ptime_ms: u8,
    options: &EncoderOptions,
) -> (Vec<i16>, Vec<i16>) {
    let mut encoder = Encoder::new(codec, rate, options).unwrap();
    let mut decoder = Decoder::new(codec, rate).unwrap();
    assert_eq!(encoder.rate(), decoder.rate());
    let clean = vowel(encoder.rate());
    let mut heard = Vec::new();
    let mut out = [0; 2880];
    let frame = encoder.rate() as usize * usize::from(ptime_ms) / 1000;
    for samples in clean.chunks_exact(frame) {
        let mut payload = [0; strowger_media::codec::PAYLOAD_MAX];
        let bytes = encoder.encode(samples, &mut payload).unwrap();
        let units = codec.samples_in(&payload[..bytes]);
        assert_eq!(
            units,
            codec.clock_rate() * u32::from(ptime_ms) / 1000,
            "{codec:?}"
        );
        let count = decoder.decode(&payload[..bytes], &mut out).unwrap();
        assert_eq!(count, frame, "{codec:?}");
        heard.extend_from_slice(&out[..count]);
    }
    (clean, heard)
}

#[test]
fn what_is_said_is_heard_in_every_codec_and_packet_time() {
    for codec in Codec::ALL.into_iter().filter(|codec| codec.is_spoken()) {
        let wanted = match codec {
            Codec::Pcmu | Codec::Pcma => 33.0,
            Codec::G722 => 20.0,
            Codec::Gsm => 7.0,
            Codec::L16(_) => 90.0,
            // A vocoder at 24 kbit/s: it keeps the sound rather than the wave.
            Codec::Opus | Codec::G729 => 9.0,
        };
        for &ptime_ms in codec.ptimes() {
            let rate = codec.sample_rate();
            let (clean, heard) = round_trip(codec, rate, ptime_ms, &EncoderOptions::default());
            let snr = snr(&clean, &heard, rate);
            assert!(snr > wanted, "{codec:?} {ptime_ms} ms: {snr} dB");
        }
    }
}

#[test]
fn opus_works_at_the_rate_that_is_needed_and_obeys_its_options() {
    let plain = EncoderOptions::default();
    for rate in [8000, 12_000, 16_000, 24_000, 48_000] {
        let (clean, heard) = round_trip(Codec::Opus, rate, 20, &plain);
        let snr = snr(&clean, &heard, rate);
        assert!(snr > 9.0, "{rate} Hz: {snr} dB");
    }
    assert_eq!(Decoder::new(Codec::Opus, 32_000).unwrap().rate(), 48_000);
    assert_eq!(
        Encoder::new(Codec::Opus, 11_025, &plain).unwrap().rate(),
        12_000
    );

    let sizes = |options: &EncoderOptions| -> Vec<usize> {
        let mut encoder = Encoder::new(Codec::Opus, 16_000, options).unwrap();
        let vowel = vowel(16_000);
        let mut payload = [0; 1400];
        vowel
            .chunks_exact(320)
            .map(|samples| encoder.encode(samples, &mut payload).unwrap())
            .collect()
    };
    let constant = sizes(&EncoderOptions {
        cbr: true,
        bitrate: 16_000,
        ..plain
    });
    assert!(constant.iter().all(|&bytes| bytes == 40), "{constant:?}");
    let total = |options| sizes(&options).iter().sum::<usize>();
    let thrifty = total(EncoderOptions {
        bitrate: 8000,
        ..plain
    });
    let lavish = total(EncoderOptions {
        bitrate: 64_000,
        ..plain
    });
    assert!(thrifty < 1300 && lavish > 4 * thrifty, "{thrifty} {lavish}");
}

#[test]
fn opus_says_nothing_in_a_pause() {
    let options = EncoderOptions {
        dtx: true,
        ..EncoderOptions::default()
    };
    let mut encoder = Encoder::new(Codec::Opus, 8000, &options).unwrap();
    let mut payload = [0; 1400];
    let mut sent = |samples: &[i16]| -> usize {
        let frames = samples.chunks_exact(160);
        frames
            .filter(|frame| encoder.encode(frame, &mut payload).unwrap() > 0)
            .count()
    };
    assert_eq!(sent(&vowel(8000)), 50);
    let silence = sent(&[0; 16_000]);
    assert!((1..30).contains(&silence), "{silence} of 100 packets");
}

#[test]
fn a_lost_opus_packet_is_told_by_the_next_one() {
    let options = EncoderOptions {
        fec: true,
        expected_loss_percent: 20,
        ..EncoderOptions::default()
    };
    let mut encoder = Encoder::new(Codec::Opus, 16_000, &options).unwrap();
    let clean = vowel(16_000);
    let packets: Vec<Vec<u8>> = clean
        .chunks_exact(320)
        .map(|samples| {
            let mut payload = [0; 1400];
            let bytes = encoder.encode(samples, &mut payload).unwrap();
            payload[..bytes].to_vec()
        })
        .collect();
    let heard = |with_fec: bool| {
        let mut decoder = Decoder::new(Codec::Opus, 16_000).unwrap();
        let mut all = Vec::new();
        let mut by_fec = 0;
        let mut out = [0; 320];
        for (number, packet) in packets.iter().enumerate() {
            if number % 5 == 3 {
                let next = packets.get(number + 1).filter(|_| with_fec);
                let how = decoder.conceal(next.map(|p| &p[..]), &all, &mut out);
                by_fec += usize::from(how == Concealed::Fec);
            } else {
                assert_eq!(decoder.decode(packet, &mut out), Ok(320));
            }
            all.extend_from_slice(&out);
        }
        (snr(&clean, &all, 16_000), by_fec)
    };
    // The encoder adds no copy of what it takes for a pause.
    let ((with, copies), (without, none)) = (heard(true), heard(false));
    assert!((6..=10).contains(&copies) && none == 0, "{copies} {none}");
    assert!(
        with > without + 1.0,
        "{with} dB with FEC, {without} without"
    );
}

#[test]
fn what_only_passes_through_is_refused_where_samples_are_wanted() {
    assert!(!Codec::G729.is_spoken());
    let refused = CodecError::NotSpoken(Codec::G729);
    assert_eq!(Decoder::new(Codec::G729, 8000).err(), Some(refused));
    let options = EncoderOptions::default();
    assert_eq!(
        Encoder::new(Codec::G729, 8000, &options).err(),
        Some(refused)
    );
}

#[test]
fn muted_payloads_fall_silent_in_any_decoder() {
    // What a muted leg is sent is tested where it is made; here, that its bytes are silence after a loud sound.
    let mut decoder = Decoder::new(Codec::G722, 16_000).unwrap();
    let mut out = [0; 320];
    for frame in SIGNAL_G722.chunks(160) {
        decoder.decode(frame, &mut out).unwrap();
    }
    for _ in 0..3 {
        decoder.decode(&[0xFF; 160], &mut out).unwrap();
    }
    assert!(out.iter().all(|s| s.abs() <= 40), "{:?}", out.iter().max());
}

#[test]
fn lost_packets_of_every_codec_leave_no_gap_and_fade() {
    for codec in Codec::ALL.into_iter().filter(|codec| codec.is_spoken()) {
        let rate = codec.sample_rate();
        let ptime_ms = codec.ptime(20);
        let mut encoder = Encoder::new(codec, rate, &EncoderOptions::default()).unwrap();
        let mut decoder = Decoder::new(codec, rate).unwrap();
        let frame = encoder.rate() as usize * usize::from(ptime_ms) / 1000;
        let mut out = vec![0; frame];
        let mut payload = [0; 1400];
        let rms = |samples: &[i16]| {
            let sum: f64 = samples.iter().map(|&s| f64::from(s).powi(2)).sum();
            (sum / samples.len() as f64).sqrt()
        };
        let mut loud = 0.0;
        let mut heard = Vec::new();
        for samples in vowel(encoder.rate()).chunks_exact(frame).take(20) {
            let bytes = encoder.encode(samples, &mut payload).unwrap();
            decoder.decode(&payload[..bytes], &mut out).unwrap();
            loud = rms(&out);
            heard.extend_from_slice(&out);
        }
        assert_eq!(
            decoder.conceal(None, &heard, &mut out),
            Concealed::Estimated
        );
        assert!(rms(&out) > 0.3 * loud, "{codec:?}: {} of {loud}", rms(&out));
        for _ in 0..40 {
            decoder.conceal(None, &heard, &mut out);
        }
        assert!(
            rms(&out) < 0.05 * loud,
            "{codec:?}: {} of {loud}",
            rms(&out)
        );
    }
}

/// Any bytes, a thousand packets for each codec: an answer, never a panic, never more than there is room for.
#[test]
fn decoders_survive_any_payload() {
    let mut state = 0x1234_5678_9ABC_DEF1u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for codec in Codec::ALL.into_iter().filter(|codec| codec.is_spoken()) {
        for rate in [8000, 48_000] {
            let mut decoder = Decoder::new(codec, rate).unwrap();
            let mut out = [0; 5760];
            let past = vec![100; random() as usize % 3000];
            for _ in 0..1000 {
                let mut payload = vec![0; random() as usize % 200];
                payload.fill_with(|| random() as u8);
                if codec == Codec::Gsm && random() % 4 > 0 {
                    for frame in payload.chunks_mut(33) {
                        frame[0] = frame[0] & 0x0F | 0xD0;
                    }
                }
                let room = if random() % 3 == 0 {
                    random() as usize % 600
                } else {
                    5760
                };
                match random() % 8 {
                    0 => {
                        decoder.conceal(Some(&payload), &past, &mut out[..room]);
                    }
                    1 => decoder.reset(),
                    _ => {
                        let units = codec.samples_in(&payload);
                        match decoder.decode(&payload, &mut out[..room]) {
                            Ok(count) => {
                                let expected = u64::from(units) * u64::from(decoder.rate())
                                    / u64::from(codec.clock_rate());
                                if codec != Codec::Gsm {
                                    assert_eq!(count as u64, expected, "{codec:?}");
                                }
                                assert!(count > 0 && count <= room);
                            }
                            Err(CodecError::Broken | CodecError::TooLong) => {}
                            Err(error) => panic!("{codec:?}: {error}"),
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn encoders_refuse_what_is_no_packet() {
    let options = EncoderOptions::default();
    let mut payload = [0; 1400];
    for (codec, samples) in [
        (Codec::Gsm, 80),
        (Codec::G722, 161),
        (Codec::Opus, 2881),
        (Codec::Pcma, 0),
    ] {
        let mut encoder = Encoder::new(codec, 48_000, &options).unwrap();
        let refused = encoder.encode(&vec![0; samples], &mut payload);
        assert_eq!(refused, Err(CodecError::FrameSize(samples)), "{codec:?}");
    }
    let mut encoder = Encoder::new(Codec::L16(L16Rate::Hz8000), 8000, &options).unwrap();
    assert_eq!(
        encoder.encode(&[1; 160], &mut payload[..319]),
        Err(CodecError::TooLong)
    );
    assert_eq!(encoder.encode(&[258; 2], &mut payload), Ok(4));
    assert_eq!(payload[..4], [1, 2, 1, 2]);
}
