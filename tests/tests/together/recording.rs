//! Recordings of real calls: which side is in which file, MP3 files made of them, and what a crash leaves to be done.

use std::path::Path;
use std::time::Duration;
use strowger_tests::audio::{last_ms, read_wav, share_with_tone};
use strowger_tests::{Bank, Call, Exchange, Manner, Phone, Source, wait_until};

const SOON: Duration = strowger_tests::SOON;
const SCRIPTS: &str = "/nowhere/asterisk/scripts";

struct Line {
    exchange: Exchange,
    _bank: Bank,
    alice: Phone,
    bob: Phone,
}

/// An exchange with Alice (440 Hz) and Bob (620 Hz), and these extensions.
fn line(extensions: &[(&str, &[(&str, &str)])]) -> Line {
    let mut exchange = Exchange::new();
    for name in ["alice", "bob"] {
        exchange.subscriber(name, "secret", "house");
    }
    for (exten, steps) in extensions {
        exchange.extension("house", exten, steps);
    }
    exchange.start();
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let bob = bank.phone("bob", "secret", exchange.sip());
    alice.register();
    bob.register();
    alice.set_source(Source::Tone(440.0));
    bob.set_source(Source::Tone(620.0));
    bob.set_manner(Manner::Answer(Duration::ZERO));
    Line {
        exchange,
        _bank: bank,
        alice,
        bob,
    }
}

fn talk(line: &Line, number: &str, time: Duration) -> (Call, Call) {
    let call = line.alice.call(number);
    call.expect_answered(SOON);
    let other = line.bob.expect_call(SOON);
    std::thread::sleep(time);
    (call, other)
}

fn expect_file(path: &Path) {
    wait_until(SOON, || path.exists().then_some(()))
        .unwrap_or_else(|| panic!("{} does not appear", path.display()));
}

/// The channels of an MP3 file, by a decoder of others.
fn read_mp3(path: &Path) -> Vec<Vec<i16>> {
    use symphonia::core::codecs::audio::AudioDecoderOptions;
    use symphonia::core::formats::{FormatOptions, TrackType, probe::Hint};
    use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
    let file = std::fs::File::open(path).expect("an MP3 file");
    let source = MediaSourceStream::new(Box::new(file), MediaSourceStreamOptions::default());
    let mut reader = symphonia::default::get_probe()
        .probe(
            &Hint::new(),
            source,
            FormatOptions::default(),
            Default::default(),
        )
        .expect("MP3");
    let track = reader.default_track(TrackType::Audio).expect("a track");
    let parameters = track.codec_params.as_ref().and_then(|p| p.audio()).cloned();
    let parameters = parameters.expect("audio");
    assert_eq!(parameters.sample_rate, Some(8000));
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(&parameters, &AudioDecoderOptions::default())
        .expect("a decoder");
    let mut channels: Vec<Vec<i16>> = Vec::new();
    while let Ok(Some(packet)) = reader.next_packet() {
        let audio = decoder.decode(&packet).expect("a frame");
        let count = audio.spec().channels().count();
        channels.resize(count, Vec::new());
        let mut all: Vec<i16> = Vec::new();
        audio.copy_to_vec_interleaved(&mut all);
        for frame in all.chunks_exact(count) {
            for (channel, sample) in channels.iter_mut().zip(frame) {
                channel.push(*sample);
            }
        }
    }
    channels
}

fn seconds(samples: &[i16]) -> f64 {
    samples.len() as f64 / 8000.0
}

#[test]
fn each_side_is_in_its_own_file_and_all_are_equally_long() {
    let line = line(&[(
        "1",
        &[
            ("MixMonitor", "all.wav,r(in.wav)t(out.wav)"),
            ("MixMonitor", "all.ogg"),
            ("MixMonitor", "pair.wav,D"),
            ("Dial", "PJSIP/bob,60"),
        ],
    )]);
    let (call, other) = talk(&line, "1", Duration::from_secs(3));
    call.hang_up();
    other.expect_ended(SOON);
    let file = |name: &str| line.exchange.recordings().join(name);
    let ended = |name: &str| {
        // The length in the header is put right at the end.
        std::fs::read(file(name)).is_ok_and(|b| b.len() > 44 && b[40..44] != [0xFF; 4])
    };
    for name in ["all.wav", "in.wav", "out.wav", "pair.wav"] {
        wait_until(SOON, || ended(name).then_some(())).expect(name);
    }
    let [all, heard, said] =
        ["all.wav", "in.wav", "out.wav"].map(|name| read_wav(&file(name)).expect(name));
    assert_eq!((all.len(), all.len()), (heard.len(), said.len()));
    let last = |samples: &[i16], tone| share_with_tone(last_ms(samples, 2500), tone);
    for (samples, alice, bob) in [
        (&all, true, true),
        (&heard, true, false),
        (&said, false, true),
    ] {
        for (tone, there) in [(440.0, alice), (620.0, bob)] {
            let share = last(samples, tone);
            assert!(
                if there { share > 0.6 } else { share < 0.1 },
                "{tone} Hz: {share}"
            );
        }
    }
    let pair = std::fs::read(file("pair.wav")).expect("two channels");
    assert_eq!(pair[22], 2);
    let sides: Vec<[i16; 2]> = pair[44..]
        .chunks_exact(4)
        .map(|b| {
            [
                i16::from_le_bytes([b[0], b[1]]),
                i16::from_le_bytes([b[2], b[3]]),
            ]
        })
        .collect();
    let left: Vec<i16> = sides.iter().map(|side| side[0]).collect();
    let right: Vec<i16> = sides.iter().map(|side| side[1]).collect();
    assert!(last(&left, 440.0) > 0.6 && last(&left, 620.0) < 0.1);
    assert!(last(&right, 620.0) > 0.6 && last(&right, 440.0) < 0.1);
    // Opus is encoded by another thread, which has its own pace.
    wait_until(SOON, || {
        std::fs::read(file("all.ogg"))
            .is_ok_and(|ogg| ogg.starts_with(b"OggS") && ogg.len() > 3000)
            .then_some(())
    })
    .expect("Opus");
}

#[test]
fn mp3_files_are_made_and_take_the_place_of_the_recording() {
    let mono = format!("mono.wav,,{SCRIPTS}/wavtompeg/script.php --uniqueid=\"^{{UNIQUEID}}\"");
    let stereo = format!(
        "${{UNIQUEID}}.wav,r(${{UNIQUEID}}_receive.wav)t(${{UNIQUEID}}_transmit.wav),\
         {SCRIPTS}/wavtostereompeg/script.php --uniqueid=\"^{{UNIQUEID}}\""
    );
    let line = line(&[
        ("1", &[("MixMonitor", &mono), ("Dial", "PJSIP/bob,60")]),
        ("2", &[("MixMonitor", &stereo), ("Dial", "PJSIP/bob,60")]),
    ]);
    let mp3 = || {
        let folder = std::fs::read_dir(line.exchange.recordings()).expect("the folder");
        let mut files = folder.filter_map(|entry| Some(entry.ok()?.path()));
        files.find(|path| path.extension().is_some_and(|e| e == "mp3"))
    };
    for (number, channels) in [("1", 1), ("2", 2)] {
        let (call, other) = talk(&line, number, Duration::from_secs(3));
        assert_eq!(mp3(), None, "not before the end");
        call.hang_up();
        other.expect_ended(SOON);
        let path = wait_until(SOON, mp3).expect("an MP3 file");
        let sides = read_mp3(&path);
        assert_eq!(sides.len(), channels);
        for (side, tone) in sides.iter().zip([440.0, 620.0]) {
            assert!((2.5..20.0).contains(&seconds(side)), "{}", seconds(side));
            assert!(share_with_tone(last_ms(side, 2000), tone) > 0.6, "{tone}");
        }
        // The sources go after the file is complete, not before.
        wait_until(SOON, || {
            let left = std::fs::read_dir(line.exchange.recordings()).expect("the folder");
            (left.count() == 1).then_some(())
        })
        .expect("only the MP3 file is left");
        std::fs::remove_file(path).expect("removed");
    }
}

#[test]
fn what_a_crash_cut_off_is_converted_by_the_next_start() {
    let mut line = line(&[(
        "1",
        &[
            (
                "MixMonitor",
                "cut.wav,,/nowhere/wavtompeg/script.php --uniqueid=cut",
            ),
            ("Dial", "PJSIP/bob,60"),
        ],
    )]);
    let (_call, _other) = talk(&line, "1", Duration::from_secs(4));
    line.exchange.kill();
    assert!(line.exchange.recordings().join("cut.wav").exists());
    line.exchange.start();
    let path = line.exchange.recordings().join("cut.mp3");
    expect_file(&path);
    let sides = read_mp3(&path);
    assert!(seconds(&sides[0]) > 1.5, "{}", seconds(&sides[0]));
    assert!(
        sides[0]
            .windows(8000)
            .step_by(800)
            .any(|piece| share_with_tone(piece, 440.0) > 0.6)
    );
    wait_until(SOON, || {
        (!line.exchange.recordings().join("cut.wav").exists()).then_some(())
    })
    .expect("and its source goes");
}

#[test]
fn a_stopped_recording_is_complete_and_option_b_leaves_out_what_is_not_talk() {
    let line = line(&[(
        "1",
        &[
            ("Answer", ""),
            ("MixMonitor", "part.wav,i(ID)"),
            ("MixMonitor", "talk.wav,b"),
            ("Wait", "4"),
            ("StopMixMonitor", "${ID}"),
            ("Dial", "PJSIP/bob,60"),
        ],
    )]);
    let (call, other) = talk(&line, "1", Duration::from_secs(2));
    // Long before the call ends.
    let part = read_wav(&line.exchange.recordings().join("part.wav")).expect("complete");
    assert!((0.8..30.0).contains(&seconds(&part)), "{}", seconds(&part));
    assert!(
        part.windows(5600)
            .step_by(800)
            .any(|piece| share_with_tone(piece, 440.0) > 0.6)
    );
    call.hang_up();
    other.expect_ended(SOON);
    let path = line.exchange.recordings().join("talk.wav");
    wait_until(SOON, || {
        std::fs::read(&path)
            .is_ok_and(|b| b.len() > 44 && b[40..44] != [0xFF; 4])
            .then_some(())
    })
    .expect("complete");
    let talk = read_wav(&path).expect("a recording");
    for tone in [440.0, 620.0] {
        let share = share_with_tone(&talk, tone);
        assert!(
            share > 0.6,
            "{tone} Hz is in {share} of it: nothing but talk"
        );
    }
}
