//! What in-band DTMF detection costs: nanoseconds for a frame of 20 ms, by what is heard. `cargo run --release -p
//! strowger-benches --bin dtmf_detector`.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use strowger_media::dsp::{DtmfDetector, dtmf_tone};
use strowger_media::{SAMPLE_RATE, Sound, SoundFormat};

const FRAME: usize = 160;
const ROUNDS: usize = 7;

/// The best of some rounds over the audio, in ns for each frame, and the digits told in one round.
fn measure(samples: &[i16]) -> (f64, usize) {
    let mut best = f64::MAX;
    let mut told = 0;
    for _ in 0..ROUNDS {
        let mut detector = DtmfDetector::default();
        told = 0;
        let started = Instant::now();
        for frame in samples.chunks_exact(FRAME) {
            detector.feed(black_box(frame), |_| told += 1);
        }
        let frames = samples.len() / FRAME;
        best = best.min(started.elapsed().as_nanos() as f64 / frames as f64);
    }
    (best, told)
}

fn main() -> anyhow::Result<()> {
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let noise: Vec<i16> = (0..80_000).map(|_| (random() >> 52) as i16).collect();
    let mut digits = Vec::new();
    for digit in "0123456789*#".chars().cycle().take(120) {
        let mut samples = [0; 1280];
        if let Some(mut tone) = dtmf_tone(digit) {
            tone.fill(&mut samples[..640]);
        }
        digits.extend(samples);
    }
    let mut speech = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sounds/en");
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "wav") {
            speech.extend_from_slice(
                &Sound::decode(SoundFormat::Wav, std::fs::read(path)?, SAMPLE_RATE)?.samples,
            );
        }
    }
    for (name, samples) in [
        ("silence", vec![0; 80_000]),
        ("noise", noise),
        ("speech", speech),
        ("digits", digits),
    ] {
        let (ns, told) = measure(&samples);
        println!("{name:8} {ns:7.0} ns for 20 ms, {} digits told", told / 2);
    }
    Ok(())
}
