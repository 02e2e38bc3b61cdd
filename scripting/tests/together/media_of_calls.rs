//! Digits and the quality of media, as the dialplan meets them.

use std::time::Duration;

use crate::exchange::{Exchange, Manner, Phone};

/// One digit is one INFO to a peer that wants INFO: dialled by the caller, sent by the dialplan before the bridge, and
/// to the caller itself.
#[test]
fn digits_reach_a_peer_that_wants_info_once_each() {
    let phone = Phone::start("desk", Manner::Answer(None));
    let exchange = Exchange::start(
        &[
            ("100", "Dial", "PJSIP/desk,20,D(1w2)"),
            ("h", "Set", "GLOBAL(DONE)=yes"),
        ],
        &[&phone],
    );
    exchange.call_until("100", "5#", || phone.infos().len() >= 4);
    let digits: Vec<String> = phone
        .infos()
        .iter()
        .map(|body| {
            let signal = body.lines().find_map(|line| line.strip_prefix("Signal="));
            assert!(body.contains("Duration="), "{body}");
            signal.unwrap_or_default().to_owned()
        })
        .collect();
    assert_eq!(digits, ["1", "2", "5", "#"]);
    assert_eq!(exchange.global("DONE"), "yes");
}

#[test]
fn the_dialplan_reads_how_the_media_did() {
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            ("100", "Playback", "quiet"),
            ("100", "Set", "GLOBAL(SENT)=${CHANNEL(rtcp,txcount)}"),
            (
                "100",
                "Set",
                "GLOBAL(OCTETS)=${CHANNEL(rtcp,txoctetcount,audio)}",
            ),
            ("100", "Set", "GLOBAL(ALL)=${CHANNEL(rtcp,all)}"),
            (
                "100",
                "Set",
                "GLOBAL(OLD)=${CHANNEL(rtpqos,audio,local_ssrc)}",
            ),
            ("100", "Set", "GLOBAL(SRC)=${CHANNEL(rtp,src)}"),
            ("100", "Set", "GLOBAL(DEST)=${CHANNEL(rtp,dest)}"),
            ("100", "Set", "GLOBAL(NONE)=[${CHANNEL(rtcp,nonsense)}]"),
            ("h", "Set", "GLOBAL(QOS)=${RTPAUDIOQOS}"),
            ("h", "Set", "GLOBAL(MES)=${RTPAUDIOQOSMES}"),
            ("h", "Set", "GLOBAL(LAST)=${CHANNEL(rtcp,txcount)}"),
        ],
        &[],
    );
    exchange.sound("quiet", 1);
    exchange.call("100", "");
    // The phone's port listens to nobody: what is sent there is sent all the same.
    assert_eq!(exchange.global("SENT"), "50");
    assert_eq!(exchange.global("OCTETS"), "8000");
    let ssrc = exchange.global("OLD");
    assert!(ssrc.parse::<u32>().is_ok(), "{ssrc}");
    let all = exchange.global("ALL");
    assert!(
        all.starts_with(&format!("ssrc={ssrc};themssrc=0;lp=0;")),
        "{all}"
    );
    assert!(all.contains(";txcount=50;"), "{all}");
    assert!(exchange.global("SRC").starts_with("127.0.0.1:2"));
    assert_eq!(exchange.global("DEST"), "127.0.0.1:9");
    assert_eq!(exchange.global("NONE"), "[]");
    assert_eq!(exchange.global("LAST"), "50");
    assert!(exchange.global("QOS").starts_with(&format!("ssrc={ssrc};")));
    assert!(exchange.global("MES").starts_with("minrxmes=000.000000;"));
}

#[test]
fn how_a_bridged_leg_did_is_told_to_its_peer() {
    let phone = Phone::start("desk", Manner::Answer(Some(Duration::from_millis(300))));
    let exchange = Exchange::start(
        &[
            ("100", "Dial", "PJSIP/desk,20"),
            ("h", "Set", "GLOBAL(OWN)=${RTPAUDIOQOS}"),
            ("h", "Set", "GLOBAL(PEER)=${RTPAUDIOQOSBRIDGED}"),
        ],
        &[&phone],
    );
    exchange.call("100", "");
    let (own, peer) = (exchange.global("OWN"), exchange.global("PEER"));
    assert!(
        own.starts_with("ssrc=") && peer.starts_with("ssrc="),
        "{own} {peer}"
    );
    assert_ne!(own, peer);
}
