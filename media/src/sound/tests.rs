//! What files give, and what is refused.

use super::*;

fn wav(tag: u16, channels: u16, rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
    let mut file = b"RIFF\0\0\0\0WAVE".to_vec();
    // An odd chunk of an unknown kind comes first: it has to be skipped with its padding.
    file.extend_from_slice(b"LIST\x03\0\0\0abc\0");
    file.extend_from_slice(b"fmt \x10\0\0\0");
    file.extend_from_slice(&tag.to_le_bytes());
    file.extend_from_slice(&channels.to_le_bytes());
    file.extend_from_slice(&rate.to_le_bytes());
    let block = channels * bits / 8;
    file.extend_from_slice(&(rate * u32::from(block)).to_le_bytes());
    file.extend_from_slice(&block.to_le_bytes());
    file.extend_from_slice(&bits.to_le_bytes());
    file.extend_from_slice(b"data");
    file.extend_from_slice(&(data.len() as u32).to_le_bytes());
    file.extend_from_slice(data);
    file
}

fn bytes(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|s| s.to_le_bytes()).collect()
}

#[test]
fn a_plain_wav_gives_its_samples() {
    let samples = [0i16, 1, -1, i16::MAX, i16::MIN];
    let sound = from_wav(&wav(1, 1, 8000, 16, &bytes(&samples))).unwrap();
    assert_eq!(&*sound.samples, &samples);
    assert_eq!(sound.duration_ms(), 0);
}

#[test]
fn stereo_is_averaged() {
    let sound = from_wav(&wav(1, 2, 8000, 16, &bytes(&[100, 200, -5, 5]))).unwrap();
    assert_eq!(&*sound.samples, &[150, 0]);
}

#[test]
fn a_truncated_data_chunk_gives_what_is_there() {
    let mut file = wav(1, 1, 8000, 16, &bytes(&[7; 100]));
    file.truncate(file.len() - 51);
    assert_eq!(from_wav(&file).unwrap().samples.len(), 74);
}

fn from_wav(file: &[u8]) -> Result<Sound, SoundError> {
    Sound::decode(SoundFormat::Wav, file.to_vec(), SAMPLE_RATE)
}

fn tone(hz: f64, rate: u32) -> Vec<i16> {
    (0..rate)
        .map(|n| {
            ((f64::from(n) * hz * std::f64::consts::TAU / f64::from(rate)).sin() * 10000.0) as i16
        })
        .collect()
}

/// Power of the middle, where no filter begins or ends.
fn power(samples: &[i16]) -> f64 {
    let middle = &samples[samples.len() / 10..samples.len() * 9 / 10];
    middle.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / middle.len() as f64
}

#[test]
fn every_rate_is_brought_to_the_one_wanted_as_long_as_it_was_and_in_its_place() {
    for from in [
        4000, 8000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000, 44_101,
    ] {
        for to in [SAMPLE_RATE, WIDE_RATE] {
            let file = wav(1, 1, from, 16, &bytes(&tone(1000.0, from)));
            let sound = Sound::decode(SoundFormat::Wav, file, to).unwrap();
            let length = sound.samples.len();
            assert!(
                length.abs_diff(to as usize) <= 2,
                "{from} to {to}: {length} samples"
            );
            assert_eq!(
                (sound.rate, sound.duration_ms().abs_diff(1000) <= 1),
                (to, true)
            );
            let ratio = power(&sound.samples) / 5e7;
            assert!((0.97..1.03).contains(&ratio), "{from} to {to}: {ratio}");
            // It begins where it began: the first half wave is positive, the second negative.
            let at = |ms: f64| sound.samples[(f64::from(to) / 1000.0 * ms) as usize];
            assert!(
                at(50.25) > 8000 && at(50.75) < -8000,
                "{from} to {to}: {} {}",
                at(50.25),
                at(50.75)
            );
        }
    }
}

#[test]
fn what_would_alias_is_gone() {
    let file = bytes(&tone(6000.0, 16_000));
    let sound = Sound::decode(SoundFormat::Linear(16_000), file.clone(), SAMPLE_RATE).unwrap();
    assert!(power(&sound.samples) < 5e7 / 1000.0);
    let wide = Sound::decode(SoundFormat::Linear(16_000), file.clone(), WIDE_RATE).unwrap();
    assert_eq!(bytes(&wide.samples), file);
    assert!(power(&wide.at_rate(SAMPLE_RATE).samples) < 5e7 / 1000.0);
    assert_eq!(sound.at_rate(WIDE_RATE).samples.len(), 16_000);
}

#[test]
fn g711_files_are_decoded() {
    let raw = Sound::decode(SoundFormat::Ulaw, vec![0xFF, 0x80], SAMPLE_RATE).unwrap();
    assert_eq!(&*raw.samples, &[0, 32124]);
    let raw = Sound::decode(SoundFormat::Alaw, vec![0xD5], SAMPLE_RATE).unwrap();
    assert_eq!(&*raw.samples, &[8]);
    let in_wav = from_wav(&wav(6, 1, 8000, 8, &[0xD5])).unwrap();
    assert_eq!(&*in_wav.samples, &[8]);
}

#[test]
fn linear_of_every_width_is_read() {
    let read = |bits, data: &[u8]| {
        from_wav(&wav(1, 1, 8000, bits, data))
            .unwrap()
            .samples
            .to_vec()
    };
    assert_eq!(read(8, &[0, 128, 255]), [-32768, 0, 127 << 8]);
    assert_eq!(read(24, &[9, 0x34, 0x12, 9, 0, 0x80]), [0x1234, i16::MIN]);
    assert_eq!(read(32, &[9, 9, 0x34, 0x12]), [0x1234]);
}

#[test]
fn files_of_other_programs_are_understood() {
    for (name, file, format) in [
        (
            "mp3",
            &include_bytes!("../../tests/data/tone.mp3")[..],
            SoundFormat::Mp3,
        ),
        (
            "ogg",
            &include_bytes!("../../tests/data/tone.ogg")[..],
            SoundFormat::Ogg,
        ),
        (
            "gsm",
            &include_bytes!("../../tests/data/tone.gsm")[..],
            SoundFormat::Gsm,
        ),
        (
            "wav49",
            &include_bytes!("../../tests/data/wav49.wav")[..],
            SoundFormat::Wav,
        ),
        (
            "opus",
            &include_bytes!("../../tests/data/tone.opus")[..],
            SoundFormat::Ogg,
        ),
    ] {
        for rate in [SAMPLE_RATE, WIDE_RATE] {
            let sound = Sound::decode(format, file.to_vec(), rate).unwrap();
            let ms = sound.duration_ms();
            // MP3 and Ogg have frames that are filled up, and a delay of their own.
            assert!((490..=600).contains(&ms), "{name}: {ms} ms");
            let middle = &sound.samples[sound.samples.len() / 4..sound.samples.len() * 3 / 4];
            let pitch = middle
                .windows(2)
                .filter(|pair| pair[0] < 0 && pair[1] >= 0)
                .count();
            let wanted = middle.len() * 1000 / rate as usize;
            assert!(
                pitch.abs_diff(wanted) <= 2,
                "{name}: {pitch} periods, not {wanted}"
            );
            let level = power(middle).sqrt() / 16384.0 * std::f64::consts::SQRT_2;
            assert!(
                (0.85..1.15).contains(&level),
                "{name}: {level} of its level"
            );
        }
    }
}

#[test]
fn g722_is_wide() {
    let mut encoder = g722::Encoder::default();
    let mut file = vec![0; 8000];
    let made = encoder.encode(&tone(1000.0, 16_000), &mut file);
    assert_eq!(made, 8000);
    let sound = Sound::decode(SoundFormat::G722, file.clone(), WIDE_RATE).unwrap();
    assert_eq!((sound.samples.len(), sound.duration_ms()), (16_000, 1000));
    assert!((0.9..1.1).contains(&(power(&sound.samples) / 5e7)));
    let narrow = Sound::decode(SoundFormat::G722, file, SAMPLE_RATE).unwrap();
    assert_eq!(narrow.samples.len(), 8000);
}

#[test]
fn an_mp3_that_was_cut_off_gives_what_is_there() {
    let file = &include_bytes!("../../tests/data/tone.mp3")[..];
    let half = Sound::decode(
        SoundFormat::Mp3,
        file[..file.len() / 2].to_vec(),
        SAMPLE_RATE,
    );
    assert!((150..350).contains(&half.unwrap().duration_ms()));
}

#[test]
fn an_hour_is_the_limit_and_told() {
    let hour = vec![0x55; SECONDS_MAX as usize * 8000];
    assert_eq!(
        Sound::decode(SoundFormat::Alaw, hour.clone(), SAMPLE_RATE)
            .unwrap()
            .duration_ms(),
        3_600_000
    );
    let more = [hour, vec![0x55; 1]].concat();
    assert_eq!(
        Sound::decode(SoundFormat::Alaw, more, SAMPLE_RATE),
        Err(SoundError::TooLong)
    );
}

#[test]
fn what_cannot_be_played_is_refused_with_the_reason() {
    assert_eq!(from_wav(b"ID3"), Err(SoundError::NotWav));
    assert_eq!(from_wav(b"RIFF\0\0\0\0WAVE"), Err(SoundError::NoData));
    assert_eq!(
        from_wav(b"RIFF\0\0\0\0WAVEdata\0\0\0\0"),
        Err(SoundError::NoFormat)
    );
    for (tag, channels, rate, bits) in [
        (1, 1, 300_000, 16),
        (3, 1, 8000, 32),
        (1, 9, 8000, 16),
        (1, 0, 8000, 16),
    ] {
        let odd = wav(tag, channels, rate, bits, &[0, 0]);
        assert_eq!(
            from_wav(&odd),
            Err(SoundError::Unsupported {
                tag,
                channels,
                rate,
                bits
            })
        );
    }
    for format in [SoundFormat::Mp3, SoundFormat::Ogg] {
        let error =
            Sound::decode(format, b"nothing of the kind".to_vec(), SAMPLE_RATE).unwrap_err();
        assert!(matches!(error, SoundError::Damaged { .. }), "{error}");
    }
}

#[test]
fn a_kind_is_known_by_its_extension_in_any_case() {
    assert_eq!(
        SoundFormat::from_extension("SLN16"),
        Some(SoundFormat::Linear(16_000))
    );
    assert_eq!(SoundFormat::from_extension("txt"), None);
    let narrow: Vec<_> = SoundFormat::extensions(false)
        .map(|(name, _)| name)
        .collect();
    let wide: Vec<_> = SoundFormat::extensions(true)
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        (narrow[0], wide[0], narrow.len()),
        ("wav", "sln16", wide.len())
    );
}

#[test]
fn no_prefix_of_a_file_panics() {
    let file = wav(1, 1, 8000, 16, &bytes(&[1, 2, 3]));
    for end in 0..file.len() {
        let _ = from_wav(&file[..end]);
    }
}
