//! Applications that listen, on calls whose far end is another part of the dialplan.

use crate::exchange::{Exchange, wait_until};

/// A sound: stretches of a tone or of silence, in milliseconds, as the file `name`.
fn put_sound(exchange: &Exchange, name: &str, stretches: &[(bool, usize)]) {
    let samples = stretches.iter().flat_map(|&(loud, ms)| {
        (0..ms * 8).map(move |n| {
            let level = if loud { 8000.0 } else { 0.0 };
            ((n as f64 * 0.35).sin() * level) as i16
        })
    });
    let folder = exchange.data.path().join("sounds");
    std::fs::create_dir_all(&folder).expect("the sounds folder");
    let bytes: Vec<u8> = samples.flat_map(i16::to_le_bytes).collect();
    std::fs::write(folder.join(format!("{name}.sln")), bytes).expect("the sound");
}

#[test]
fn talk_detect_tells_when_the_far_end_begins_and_ends_to_talk() {
    let exchange = Exchange::start(
        &[
            ("100", "Originate", "Local/speak@inner,exten,test,listen,1"),
            ("speak@inner", "Answer", ""),
            ("speak@inner", "Wait", "0.3"),
            ("speak@inner", "Playback", "words"),
            ("speak@inner", "Wait", "5"),
            ("listen", "Set", "TALK_DETECT(set)=400,500"),
            ("listen", "Wait", "3"),
            ("listen", "Set", "TALK_DETECT(remove)="),
            ("listen", "Set", "GLOBAL(DONE)=yes"),
        ],
        &[],
    );
    put_sound(
        &exchange,
        "words",
        &[(true, 700), (false, 200), (true, 300)],
    );
    let mut events = exchange.shared.events.subscribe();
    exchange.call_alone("100");
    wait_until("the listener is done", || exchange.global("DONE") == "yes");
    // Events are passed on in turns.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let mut talk = Vec::new();
    while let Ok(event) = events.try_recv() {
        if event.name.starts_with("ChannelTalking") {
            let channel = event.field("Channel").unwrap_or_default();
            assert!(channel.starts_with("Local/speak@inner-"), "{channel}");
            let duration = event.field("Duration").map(|ms| ms.parse::<u32>());
            talk.push((event.name, duration));
        }
    }
    let [
        ("ChannelTalkingStart", None),
        ("ChannelTalkingStop", Some(Ok(ms))),
    ] = talk[..]
    else {
        panic!("{talk:?}");
    };
    assert!((1100..=1300).contains(&ms), "{ms}");
}

#[test]
fn what_cannot_be_listened_for_is_said_in_the_log_and_the_call_goes_on() {
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            ("100", "Set", "TALK_DETECT(set)=soon"),
            ("100", "Set", "TALK_DETECT(forget)="),
            ("100", "Set", "TALK_DETECT(remove)="),
            ("100", "BackgroundDetect", ""),
            ("100", "BackgroundDetect", "no-such-sound,soon"),
            ("100", "WaitForSilence", "x,1,0.2"),
            ("100", "Set", "GLOBAL(STATUS)=${WAITSTATUS}"),
        ],
        &[],
    );
    exchange.call("100", "");
    // The caller sends nothing at all: that is silence, but not for a second yet.
    assert_eq!(exchange.global("STATUS"), "TIMEOUT");
}

#[test]
fn amd_takes_its_defaults_from_the_table() {
    let exchange = Exchange::start(
        &[
            ("100", "Originate", "Local/speak@inner,exten,test,listen,1"),
            ("speak@inner", "Answer", ""),
            ("speak@inner", "Playback", "words"),
            ("speak@inner", "Wait", "5"),
            ("listen", "AMD", ""),
            ("listen", "Set", "GLOBAL(CAUSE)=${AMDSTATUS}:${AMDCAUSE}"),
        ],
        &[],
    );
    put_sound(&exchange, "words", &[(false, 200), (true, 3000)]);
    exchange.statics(&[("amd.conf", "general", "greeting", "700")]);
    exchange.call_alone("100");
    wait_until("there is a verdict", || {
        !exchange.global("CAUSE").is_empty()
    });
    assert_eq!(exchange.global("CAUSE"), "MACHINE:LONGGREETING-700-700");
}
