//! Scripts that hear the caller (EAGI).

use crate::exchange::{Exchange, wait_until};
use crate::scripts::{beside, script, with_prelude};

/// A second of silence, then three of a tone, as the file `words`.
fn put_words(exchange: &Exchange) {
    let samples = (0..8000 * 4).map(|n| {
        let level = if n < 8000 { 0.0 } else { 8000.0 };
        (f64::from(n) * 0.35).sin() * level
    });
    let folder = exchange.data.path().join("sounds");
    std::fs::create_dir_all(&folder).expect("the sounds folder");
    let bytes: Vec<u8> = samples.flat_map(|s| (s as i16).to_le_bytes()).collect();
    std::fs::write(folder.join("words.sln"), bytes).expect("the sound");
}

#[test]
fn a_script_reads_what_the_caller_says_from_descriptor_3() {
    let exchange = Exchange::start(
        &[
            ("100", "Originate", "Local/speak@inner,exten,test,listen,1"),
            ("speak@inner", "Answer", ""),
            ("speak@inner", "Playback", "words"),
            ("speak@inner", "Wait", "5"),
            ("listen", "EAGI", "hear.sh"),
            ("listen", "Set", "GLOBAL(STATUS)=${AGISTATUS}"),
        ],
        &[],
    );
    put_words(&exchange);
    // Two seconds and a half of audio; then it goes without reading the rest.
    let text = r#"head -c 40000 <&3 > "$0.audio"; echo heard >&2; exit 0
"#;
    let path = script(&exchange, "hear.sh", &with_prelude(text));
    exchange.call_alone("100");
    wait_until("the script is over", || {
        !exchange.global("STATUS").is_empty()
    });
    assert_eq!(exchange.global("STATUS"), "SUCCESS");
    assert!(beside(&path, ".env").contains("agi_enhanced: 1.0\n"));
    let mut audio = path.into_os_string();
    audio.push(".audio");
    let bytes = std::fs::read(audio).expect("what it heard");
    assert_eq!(bytes.len(), 40_000);
    let (samples, _) = bytes.as_chunks::<2>();
    let loud = |range: std::ops::Range<usize>| {
        let part = &samples[range];
        let sum: u64 = part
            .iter()
            .map(|pair| u64::from(i16::from_le_bytes(*pair).unsigned_abs()))
            .sum();
        sum / part.len() as u64
    };
    assert!(loud(0..4000) < 100, "silence at first: {}", loud(0..4000));
    assert!(loud(16_000..20_000) > 3000, "then the tone");
}

#[test]
fn a_call_that_is_over_has_no_audio() {
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            ("h", "EAGI", "hear.sh"),
            ("h", "Set", "GLOBAL(STATUS)=${AGISTATUS}"),
        ],
        &[],
    );
    exchange.call("100", "");
    wait_until("h ran", || !exchange.global("STATUS").is_empty());
    assert_eq!(exchange.global("STATUS"), "FAILURE");
}
