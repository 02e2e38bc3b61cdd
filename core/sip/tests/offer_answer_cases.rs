//! Offer and answer: RFC 3264 and what telephones make of it.

use strowger_sip::offer_answer::{
    Agreed, Capabilities, CodecCapability, LocalMedia, OfferAnswerError, Preference, Session,
};
use strowger_sip::sdp::{Direction, SessionDescription};

fn sdp(media: &str) -> SessionDescription {
    parse(&format!(
        "v=0\no=- 1 1 IN IP4 198.51.100.7\ns=-\nc=IN IP4 198.51.100.7\nt=0 0\n{media}"
    ))
}

fn parse(text: &str) -> SessionDescription {
    SessionDescription::parse(text.replace('\n', "\r\n").as_bytes()).expect("a description")
}

fn local() -> LocalMedia {
    LocalMedia::new("192.0.2.1:12000".parse().expect("address"))
}

fn session() -> Session {
    Session::new("-", 77)
}

fn lines(description: &SessionDescription) -> Vec<String> {
    let text = description.to_string();
    text.lines().map(str::to_owned).collect()
}

fn has(description: &SessionDescription, line: &str) -> bool {
    lines(description).iter().any(|have| have == line)
}

fn codecs(agreed: &Agreed) -> Vec<(&str, u8, u8)> {
    agreed
        .codecs
        .iter()
        .map(|codec| (codec.name.as_str(), codec.our_pt, codec.remote_pt))
        .collect()
}

fn answer_to(offer: &str) -> Result<(SessionDescription, Agreed), OfferAnswerError> {
    session().answer(&sdp(offer), &Capabilities::default(), &local())
}

fn accepted(offer: &str) -> (SessionDescription, Agreed) {
    answer_to(offer).expect("acceptable")
}

/// What our default offer makes of this answer.
fn applied(answer: &str) -> Result<Agreed, OfferAnswerError> {
    let mut session = session();
    session
        .make_offer(&Capabilities::default(), &local())
        .expect("an offer");
    session.apply_answer(&sdp(answer))
}

#[test]
fn an_offer_lists_our_codecs_in_order() {
    let offer = session()
        .make_offer(&Capabilities::default(), &local())
        .expect("an offer");
    assert_eq!(
        lines(&offer),
        [
            "v=0",
            "o=- 77 77 IN IP4 192.0.2.1",
            "s=-",
            "c=IN IP4 192.0.2.1",
            "t=0 0",
            "m=audio 12000 RTP/AVP 0 8 101",
            "a=rtpmap:0 PCMU/8000",
            "a=rtpmap:8 PCMA/8000",
            "a=rtpmap:101 telephone-event/8000",
            "a=fmtp:101 0-16",
            "a=ptime:20",
            "a=sendrecv",
        ]
    );
}

#[test]
fn rtcp_is_named_only_where_it_is_not_the_next_port() {
    let mut elsewhere = local();
    elsewhere.rtcp_port = 13001;
    let offer = session()
        .make_offer(&Capabilities::default(), &elsewhere)
        .expect("an offer");
    assert!(has(&offer, "a=rtcp:13001"));
    let (_, agreed) = accepted("m=audio 4000 RTP/AVP 0\na=rtcp:4500 IN IP4 198.51.100.8\n");
    assert_eq!(agreed.remote_rtcp, "198.51.100.8:4500".parse().ok());
    let (_, agreed) = accepted("m=audio 4000 RTP/AVP 0\na=rtcp:4500\n");
    assert_eq!(agreed.remote_rtcp, "198.51.100.7:4500".parse().ok());
    let (_, agreed) = accepted("m=audio 4000 RTP/AVP 0\n");
    assert_eq!(agreed.remote_rtp, "198.51.100.7:4000".parse().ok());
    assert_eq!(agreed.remote_rtcp, "198.51.100.7:4001".parse().ok());
    // The last port has no next one, and the media must not panic over it.
    let (_, agreed) = accepted("m=audio 65535 RTP/AVP 0\n");
    assert_eq!(agreed.remote_rtcp, None);
}

#[test]
fn the_order_is_ours_or_the_offers() {
    let offer = "m=audio 4000 RTP/AVP 9 8 18 0 101\na=rtpmap:101 telephone-event/8000\n";
    let mut capabilities = Capabilities::default();
    let (answer, agreed) = accepted(offer);
    assert_eq!(codecs(&agreed), [("PCMU", 0, 0), ("PCMA", 8, 8)]);
    assert!(has(&answer, "m=audio 12000 RTP/AVP 0 8 101"));
    capabilities.preference = Preference::Remote;
    let (answer, agreed) = session()
        .answer(&sdp(offer), &capabilities, &local())
        .expect("acceptable");
    assert_eq!(codecs(&agreed), [("PCMA", 8, 8), ("PCMU", 0, 0)]);
    assert!(has(&answer, "m=audio 12000 RTP/AVP 8 0 101"));
    capabilities.single_codec = true;
    let (answer, agreed) = session()
        .answer(&sdp(offer), &capabilities, &local())
        .expect("acceptable");
    assert_eq!(codecs(&agreed), [("PCMA", 8, 8)]);
    assert!(has(&answer, "m=audio 12000 RTP/AVP 8 101"));
}

#[test]
fn no_common_codec_is_a_488_that_says_what_was_offered() {
    let error = answer_to("m=audio 4000 RTP/AVP 18 96\na=rtpmap:96 opus/48000/2\n").unwrap_err();
    assert_eq!(error.status(), 488);
    assert_eq!(error.warning().map(|(code, _)| code), Some(305));
    assert!(
        error.to_string().contains("G729/8000, opus/48000"),
        "{error}"
    );
}

#[test]
fn a_known_codec_under_a_dynamic_number_keeps_the_number() {
    let (answer, agreed) =
        accepted("m=audio 4000 RTP/AVP 96 97\na=rtpmap:96 pcmu/8000\na=rtpmap:97 PCMA/8000/1\n");
    assert_eq!(codecs(&agreed), [("PCMU", 96, 96), ("PCMA", 97, 97)]);
    assert!(has(&answer, "a=rtpmap:96 PCMU/8000"));
    // A static number that is said to be something else is that something else.
    let error = answer_to("m=audio 4000 RTP/AVP 0\na=rtpmap:0 L16/44100\n").unwrap_err();
    assert_eq!(error.status(), 488);
    // The same codec under two numbers: once.
    for preference in [Preference::Local, Preference::Remote] {
        let capabilities = Capabilities {
            preference,
            ..Capabilities::default()
        };
        let offer = sdp("m=audio 4000 RTP/AVP 0 96\na=rtpmap:96 PCMU/8000\n");
        let (_, agreed) = session()
            .answer(&offer, &capabilities, &local())
            .expect("acceptable");
        assert_eq!(codecs(&agreed), [("PCMU", 0, 0)]);
    }
}

#[test]
fn an_offer_with_every_payload_type_there_is_is_answered() {
    let mut offer = "m=audio 4000 RTP/AVP".to_owned();
    for pt in (0..128).rev() {
        offer.push_str(&format!(" {pt}"));
    }
    offer.push_str("\na=rtpmap:110 telephone-event/8000\n");
    let (_, agreed) = accepted(&offer);
    assert_eq!(codecs(&agreed), [("PCMU", 0, 0), ("PCMA", 8, 8)]);
    assert_eq!(agreed.dtmf, Some((110, 110)));
}

#[test]
fn telephone_event_takes_the_number_of_the_offer_and_only_where_wanted() {
    let offer = "m=audio 4000 RTP/AVP 0 99\na=rtpmap:99 telephone-event/8000\na=fmtp:99 0-15\n";
    let (answer, agreed) = accepted(offer);
    assert_eq!(agreed.dtmf, Some((99, 99)));
    assert!(has(&answer, "a=rtpmap:99 telephone-event/8000") && has(&answer, "a=fmtp:99 0-16"));
    let (answer, agreed) = accepted("m=audio 4000 RTP/AVP 0\n");
    assert_eq!(agreed.dtmf, None);
    assert!(!answer.to_string().contains("telephone-event"));
    let capabilities = Capabilities {
        dtmf: false,
        ..Capabilities::default()
    };
    let (answer, agreed) = session()
        .answer(&sdp(offer), &capabilities, &local())
        .expect("acceptable");
    assert_eq!(agreed.dtmf, None);
    assert!(!answer.to_string().contains("telephone-event"));
    // Of several clocks the one of the codec.
    let (_, agreed) = accepted(
        "m=audio 4000 RTP/AVP 0 100 101\na=rtpmap:100 telephone-event/48000\na=rtpmap:101 telephone-event/8000\n",
    );
    assert_eq!(agreed.dtmf, Some((101, 101)));
}

#[test]
fn in_an_answer_each_side_has_its_own_numbers() {
    let agreed = applied(
        "m=audio 4000 RTP/AVP 97 96\na=rtpmap:96 telephone-event/8000\na=rtpmap:97 PCMA/8000\n",
    )
    .expect("a good answer");
    assert_eq!(codecs(&agreed), [("PCMA", 8, 97)]);
    assert_eq!(agreed.dtmf, Some((101, 96)));
    // Numbers without their names mean what we said.
    let agreed = applied("m=audio 4000 RTP/AVP 8 101\n").expect("a good answer");
    assert_eq!(codecs(&agreed), [("PCMA", 8, 8)]);
    assert_eq!(agreed.dtmf, Some((101, 101)));
    let agreed = applied("m=audio 4000 RTP/AVP 8\n").expect("a good answer");
    assert_eq!(agreed.dtmf, None);
}

#[test]
fn bad_answers_are_told_and_leave_everything_as_it_was() {
    for (answer, status) in [
        ("m=audio 0 RTP/AVP 0\n", 488),
        ("m=audio 4000 RTP/AVP 18\n", 488),
        ("m=audio 4000 RTP/SAVP 0\n", 488),
        ("", 400),
        ("m=audio 4000 RTP/AVP 0\nm=audio 4002 RTP/AVP 0\n", 400),
        ("m=audio 4000 RTP/AVP 0\nc=IN IP4 phone.example.org\n", 488),
        ("m=audio 4000 RTP/AVP 0\nc=IN IP6 2001:db8::1\n", 488),
    ] {
        assert_eq!(
            applied(answer).map_err(|e| e.status()),
            Err(status),
            "{answer}"
        );
    }
    let mut session = session();
    let answer = sdp("m=audio 4000 RTP/AVP 0\n");
    assert_eq!(
        session.apply_answer(&answer),
        Err(OfferAnswerError::NoOffer)
    );
    session
        .make_offer(&Capabilities::default(), &local())
        .expect("an offer");
    let again = session.make_offer(&Capabilities::default(), &local());
    assert_eq!(again.map_err(|e| e.status()), Err(491));
    let crossing = session.answer(&answer, &Capabilities::default(), &local());
    assert_eq!(crossing.map_err(|e| e.status()), Err(491));
    session.apply_answer(&answer).expect("a good answer");
    let before = session.agreed().cloned();
    session
        .make_offer(&Capabilities::default(), &local())
        .expect("an offer");
    session.withdraw_offer();
    assert_eq!(session.agreed().cloned(), before);
    assert!(
        session
            .answer(&answer, &Capabilities::default(), &local())
            .is_ok()
    );
}

#[test]
fn a_second_answer_to_the_same_offer_replaces_the_first() {
    let mut session = session();
    session
        .make_offer(&Capabilities::default(), &local())
        .expect("an offer");
    session
        .apply_answer(&sdp("m=audio 4000 RTP/AVP 0\n"))
        .expect("early media");
    let agreed = session
        .apply_answer(&sdp("m=audio 6000 RTP/AVP 8\n"))
        .expect("the real end");
    assert_eq!(agreed.remote_rtp, "198.51.100.7:6000".parse().ok());
    assert_eq!(codecs(&agreed), [("PCMA", 8, 8)]);
}

#[test]
fn streams_we_do_not_speak_are_refused_in_their_places() {
    let (answer, _) = accepted(
        "m=video 5000 RTP/AVP 97 98\na=rtpmap:97 H264/90000\nm=audio 4500 RTP/SAVP 0\n\
         m=audio 4000 RTP/AVP 0\nm=audio 4002 RTP/AVP 8\nm=image 6000 udptl t38\nm=application 7000 TCP/BFCP *\n",
    );
    let media: Vec<String> = lines(&answer)
        .into_iter()
        .filter(|line| line.starts_with("m="))
        .collect();
    assert_eq!(
        media,
        [
            "m=video 0 RTP/AVP 97",
            "m=audio 0 RTP/SAVP 0",
            "m=audio 12000 RTP/AVP 0",
            "m=audio 0 RTP/AVP 8",
            "m=image 0 udptl t38",
            "m=application 0 TCP/BFCP *",
        ]
    );
    // A first audio stream without a common codec does not hide a second one with.
    let (answer, agreed) = accepted("m=audio 4000 RTP/AVP 18\nm=audio 4002 RTP/AVP 8\n");
    assert!(has(&answer, "m=audio 0 RTP/AVP 18") && has(&answer, "m=audio 12000 RTP/AVP 8"));
    assert_eq!(agreed.remote_rtp, "198.51.100.7:4002".parse().ok());
    for nothing in ["m=video 5000 RTP/AVP 97\n", "m=audio 0 RTP/AVP 0\n", ""] {
        assert_eq!(answer_to(nothing).unwrap_err(), OfferAnswerError::NoAudio);
    }
}

#[test]
fn every_direction_is_answered_with_its_counterpart() {
    use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
    let table = [
        // offered, we want, answered and ours, the remote put us on hold
        ("sendrecv", SendRecv, SendRecv, false),
        ("sendonly", SendRecv, RecvOnly, true),
        ("recvonly", SendRecv, SendOnly, false),
        ("inactive", SendRecv, Inactive, true),
        ("sendrecv", SendOnly, SendOnly, false),
        ("sendonly", SendOnly, Inactive, true),
        ("recvonly", SendOnly, SendOnly, false),
        ("sendrecv", Inactive, Inactive, false),
        ("sendonly", Inactive, Inactive, false),
    ];
    for (offered, wanted, expected, on_hold) in table {
        let offer = sdp(&format!("m=audio 4000 RTP/AVP 0\na={offered}\n"));
        let (answer, agreed) = session()
            .answer(
                &offer,
                &Capabilities::default(),
                &local().with_direction(wanted),
            )
            .expect("acceptable");
        assert_eq!(agreed.direction, expected, "{offered} {wanted:?}");
        assert_eq!(agreed.on_hold, on_hold, "{offered} {wanted:?}");
        assert!(
            has(&answer, &format!("a={}", expected.as_str())),
            "{offered}"
        );
    }
    // At session level it counts for every stream.
    let offer = parse(
        "v=0\no=- 1 1 IN IP4 198.51.100.7\ns=-\nc=IN IP4 198.51.100.7\nt=0 0\na=sendonly\nm=audio 4000 RTP/AVP 0\n",
    );
    let (_, agreed) = session()
        .answer(&offer, &Capabilities::default(), &local())
        .expect("acceptable");
    assert_eq!(agreed.direction, RecvOnly);
}

#[test]
fn zero_addresses_are_the_old_way_to_hold() {
    let (answer, agreed) = accepted("m=audio 4000 RTP/AVP 0\nc=IN IP4 0.0.0.0\n");
    assert_eq!((agreed.remote_rtp, agreed.remote_rtcp), (None, None));
    assert_eq!(agreed.direction, Direction::RecvOnly);
    assert!(agreed.on_hold && has(&answer, "a=recvonly"));
    let agreed = applied("m=audio 4000 RTP/AVP 0\nc=IN IP4 0.0.0.0\n").expect("a good answer");
    assert!(agreed.on_hold && agreed.remote_rtp.is_none());
}

#[test]
fn hold_and_resume_by_us_and_by_the_remote() {
    let mut session = session();
    let capabilities = Capabilities::default();
    let first = session
        .make_offer(&capabilities, &local())
        .expect("an offer");
    session
        .apply_answer(&sdp("m=audio 4000 RTP/AVP 0\n"))
        .expect("a good answer");
    let held = local().with_direction(Direction::SendOnly);
    let offer = session.make_offer(&capabilities, &held).expect("an offer");
    assert!(has(&offer, "a=sendonly"));
    assert_eq!(offer.origin.version, first.origin.version + 1);
    let agreed = session
        .apply_answer(&sdp("m=audio 4000 RTP/AVP 0\na=recvonly\n"))
        .expect("a good answer");
    // We hold it; it does not hold us.
    assert_eq!(
        (agreed.direction, agreed.on_hold),
        (Direction::SendOnly, false)
    );
    let agreed = session
        .apply_answer(&sdp("m=audio 4000 RTP/AVP 0\na=inactive\n"))
        .expect("a good answer");
    assert_eq!(
        (agreed.direction, agreed.on_hold),
        (Direction::Inactive, true)
    );
    session
        .make_offer(&capabilities, &local())
        .expect("an offer");
    let agreed = session
        .apply_answer(&sdp("m=audio 4000 RTP/AVP 0\n"))
        .expect("a good answer");
    assert_eq!(
        (agreed.direction, agreed.on_hold),
        (Direction::SendRecv, false)
    );
}

#[test]
fn the_version_rises_with_every_change_and_only_then() {
    let mut session = session();
    let capabilities = Capabilities::default();
    let offer = |port: u16, extra: &str| sdp(&format!("m=audio {port} RTP/AVP 0\n{extra}"));
    let mut version = |offer: &SessionDescription, local: LocalMedia| {
        let answer = session.answer(offer, &capabilities, &local);
        answer.expect("acceptable").0.origin.version
    };
    let first = version(&offer(4000, ""), local());
    assert_eq!(version(&offer(4000, ""), local()), first);
    // The remote's port is not in our description.
    assert_eq!(version(&offer(4002, ""), local()), first);
    assert_eq!(version(&offer(4002, "a=sendonly\n"), local()), first + 1);
    assert_eq!(version(&offer(4002, "a=sendonly\n"), local()), first + 1);
    assert_eq!(version(&offer(4002, ""), local()), first + 2);
    let moved = LocalMedia::new("192.0.2.1:14000".parse().expect("address"));
    assert_eq!(version(&offer(4002, ""), moved), first + 3);
}

#[test]
fn a_new_offer_keeps_places_and_numbers() {
    let mut session = session();
    let capabilities = Capabilities::default();
    let offer = sdp(
        "m=video 5000 RTP/AVP 97\nm=audio 4000 RTP/AVP 96 99\na=rtpmap:96 PCMU/8000\n\
         a=rtpmap:99 telephone-event/8000\n",
    );
    session
        .answer(&offer, &capabilities, &local())
        .expect("acceptable");
    let ours = session
        .make_offer(&capabilities, &local())
        .expect("an offer");
    assert_eq!(ours.media.len(), 2);
    assert!(has(&ours, "m=video 0 RTP/AVP 97"));
    assert!(has(&ours, "m=audio 12000 RTP/AVP 96 8 99"), "{ours}");
    let agreed = session
        .apply_answer(&sdp("m=video 0 RTP/AVP 97\nm=audio 4000 RTP/AVP 8 99\n"))
        .expect("a good answer");
    assert_eq!(codecs(&agreed), [("PCMA", 8, 8)]);
    assert_eq!(agreed.dtmf, Some((99, 99)));
    // The second audio stream was the one taken: it stays there.
    let mut session = self::session();
    let offer = sdp("m=audio 4000 RTP/AVP 18\nm=audio 4002 RTP/AVP 8\n");
    session
        .answer(&offer, &capabilities, &local())
        .expect("acceptable");
    let ours = session
        .make_offer(&capabilities, &local())
        .expect("an offer");
    assert_eq!((ours.media[0].port, ours.media[1].port), (0, 12000));
}

#[test]
fn dynamic_codecs_get_numbers_that_are_free() {
    let mut opus = CodecCapability::new("opus", 48000, Some(101));
    opus.channels = 2;
    opus.fmtp = "useinbandfec=1".to_owned();
    let capabilities = Capabilities {
        codecs: vec![
            opus,
            CodecCapability::new("G726-32", 8000, None),
            CodecCapability::pcma(),
        ],
        ..Capabilities::default()
    };
    let mut session = session();
    let offer = session
        .make_offer(&capabilities, &local())
        .expect("an offer");
    assert!(has(&offer, "m=audio 12000 RTP/AVP 101 96 8 97"), "{offer}");
    assert!(has(&offer, "a=rtpmap:101 opus/48000/2"));
    assert!(has(&offer, "a=fmtp:101 useinbandfec=1"));
    assert!(has(&offer, "a=rtpmap:96 G726-32/8000"));
    assert!(has(&offer, "a=rtpmap:97 telephone-event/8000"));
    let agreed = session
        .apply_answer(&sdp(
            "m=audio 4000 RTP/AVP 111\na=rtpmap:111 OPUS/48000/2\na=fmtp:111 stereo=0\n",
        ))
        .expect("a good answer");
    assert_eq!(codecs(&agreed), [("opus", 101, 111)]);
    assert_eq!(agreed.codecs[0].remote_fmtp, "stereo=0");
    // opus of one channel does not exist and is not ours.
    let mono = sdp("m=audio 4000 RTP/AVP 111\na=rtpmap:111 opus/48000\n");
    assert!(
        self::session()
            .answer(&mono, &capabilities, &local())
            .is_err()
    );
}

#[test]
fn packet_times_are_what_the_remote_asks_for_within_reason() {
    for (lines, expected) in [
        ("", 20),
        ("a=ptime:30\n", 30),
        ("a=ptime:0\n", 10),
        ("a=ptime:5\n", 10),
        ("a=ptime:25\n", 20),
        ("a=ptime:200\n", 60),
        ("a=ptime:99999999999\n", 20),
        ("a=ptime:40\na=maxptime:30\n", 30),
        ("a=maxptime:0\n", 10),
    ] {
        let (_, agreed) = accepted(&format!("m=audio 4000 RTP/AVP 0\n{lines}"));
        assert_eq!(agreed.ptime_ms, expected, "{lines}");
    }
    let capabilities = Capabilities {
        maxptime_ms: Some(60),
        ptime_ms: 30,
        ..Capabilities::default()
    };
    let offer = session()
        .make_offer(&capabilities, &local())
        .expect("an offer");
    assert!(has(&offer, "a=ptime:30") && has(&offer, "a=maxptime:60"));
    // Its wish may be left aside, its limit never.
    let capabilities = Capabilities {
        ptime_ms: 30,
        use_ptime: false,
        ..Capabilities::default()
    };
    for (lines, expected) in [("", 30), ("a=ptime:20\n", 30), ("a=maxptime:20\n", 20)] {
        let description = sdp(&format!("m=audio 4000 RTP/AVP 0\n{lines}"));
        let answered = session().answer(&description, &capabilities, &local());
        let (_, agreed) = answered.expect("an answer");
        assert_eq!(agreed.ptime_ms, expected, "{lines}");
    }
}

#[test]
fn audio_switched_off_in_mid_call_is_answered_and_comes_back() {
    let mut session = session();
    let capabilities = Capabilities::default();
    let on = sdp("m=audio 4000 RTP/AVP 0\n");
    session
        .answer(&on, &capabilities, &local())
        .expect("acceptable");
    let (answer, agreed) = session
        .answer(&sdp("m=audio 0 RTP/AVP 0\n"), &capabilities, &local())
        .expect("acceptable");
    assert!(has(&answer, "m=audio 0 RTP/AVP 0"));
    assert!(agreed.remote_rtp.is_none() && agreed.codecs.is_empty());
    let (_, agreed) = session
        .answer(&on, &capabilities, &local())
        .expect("acceptable");
    assert_eq!(codecs(&agreed), [("PCMU", 0, 0)]);
}

#[test]
fn ipv6_is_offered_and_answered() {
    let local = LocalMedia::new("[2001:db8::1]:12000".parse().expect("address"));
    let offer = parse(
        "v=0\no=- 1 1 IN IP6 2001:db8::7\ns=-\nc=IN IP6 2001:db8::7\nt=3 4\nm=audio 4000 RTP/AVP 0\n",
    );
    let (answer, agreed) = session()
        .answer(&offer, &Capabilities::default(), &local)
        .expect("acceptable");
    assert!(has(&answer, "c=IN IP6 2001:db8::1"));
    assert_eq!(agreed.remote_rtp, "[2001:db8::7]:4000".parse().ok());
    // RFC 3264 §6: the time is the offer's.
    assert!(has(&answer, "t=3 4"));
    let error = answer_to("m=audio 4000 RTP/AVP 0\nc=IN IP6 2001:db8::7\n").unwrap_err();
    assert_eq!(
        (error.status(), error.warning().map(|(code, _)| code)),
        (488, Some(301))
    );
}

#[test]
fn two_sessions_agree_with_each_other_early_late_and_again() {
    let mut capabilities = Capabilities::default();
    let there = LocalMedia::new("192.0.2.2:14000".parse().expect("address"));
    let (mut caller, mut callee) = (session(), Session::new("-", 99));
    for round in 0..6 {
        // Either side may offer: in the INVITE, or late in the 200 with the answer in the ACK.
        let (offerer, answerer, from, to) = if round % 2 == 0 {
            (&mut caller, &mut callee, local(), there)
        } else {
            (&mut callee, &mut caller, there, local())
        };
        let from = from.with_direction(match round {
            2 | 3 => Direction::SendOnly,
            _ => Direction::SendRecv,
        });
        capabilities.codecs.reverse();
        let offer = offerer.make_offer(&capabilities, &from).expect("an offer");
        let wire = parse(&offer.to_string().replace('\r', ""));
        assert_eq!(wire, offer);
        let (answer, theirs) = answerer
            .answer(&wire, &capabilities, &to)
            .expect("acceptable");
        let ours = offerer.apply_answer(&answer).expect("a good answer");
        assert_eq!(ours.direction, theirs.direction.reversed(), "{round}");
        assert_eq!(codecs(&ours), codecs(&theirs), "{round}");
        assert_eq!(ours.dtmf, theirs.dtmf);
        assert_eq!(ours.remote_rtp, Some(to.rtp));
        assert_eq!(theirs.remote_rtp, Some(from.rtp));
        assert_eq!(theirs.on_hold, matches!(round, 2 | 3));
    }
}

#[test]
fn one_port_for_media_and_control_is_agreed_where_both_want_it() {
    let offer = "m=audio 4000 RTP/AVP 0\na=rtcp-mux\n";
    let (answer, agreed) = accepted(offer);
    assert!(!agreed.rtcp_mux && !has(&answer, "a=rtcp-mux"));
    let wants = Capabilities {
        rtcp_mux: true,
        ..Capabilities::default()
    };
    let (answer, agreed) = session()
        .answer(&sdp(offer), &wants, &local())
        .expect("acceptable");
    assert!(agreed.rtcp_mux && has(&answer, "a=rtcp-mux"));
    let (answer, agreed) = session()
        .answer(&sdp("m=audio 4000 RTP/AVP 0\n"), &wants, &local())
        .expect("acceptable");
    assert!(!agreed.rtcp_mux && !has(&answer, "a=rtcp-mux"));
    for (line, agreed) in [("a=rtcp-mux\n", true), ("", false)] {
        let mut session = session();
        let ours = session.make_offer(&wants, &local()).expect("an offer");
        assert!(has(&ours, "a=rtcp-mux"));
        let theirs = sdp(&format!("m=audio 4000 RTP/AVP 0\n{line}"));
        assert_eq!(
            session.apply_answer(&theirs).expect("fits").rtcp_mux,
            agreed
        );
    }
}

#[test]
fn extended_reports_are_for_who_asks_for_ones_we_make() {
    for (line, wanted) in [
        ("a=rtcp-xr:voip-metrics\n", true),
        ("a=rtcp-xr:pkt-loss-rle rcvr-rtt=all:10000\n", true),
        ("a=rtcp-xr:stat-summary=loss,dup\n", false),
        ("a=rtcp-xr:\n", false),
        ("", false),
    ] {
        let (_, agreed) = accepted(&format!("m=audio 4000 RTP/AVP 0\n{line}"));
        assert_eq!(agreed.rtcp_xr, wanted, "{line}");
    }
}

#[test]
fn the_clock_of_digits_is_that_of_their_payload_type() {
    let opus = Capabilities {
        codecs: vec![CodecCapability {
            channels: 2,
            ..CodecCapability::new("opus", 48_000, Some(107))
        }],
        ..Capabilities::default()
    };
    for (events, dtmf, clock) in [
        ("101 telephone-event/48000", Some((101, 101)), 48_000),
        ("101 telephone-event/8000", Some((101, 101)), 8000),
        ("101 telephone-event/16000", None, 8000),
    ] {
        let offer =
            format!("m=audio 4000 RTP/AVP 107 101\na=rtpmap:107 opus/48000/2\na=rtpmap:{events}\n");
        let (_, agreed) = session()
            .answer(&sdp(&offer), &opus, &local())
            .expect("acceptable");
        assert_eq!((agreed.dtmf, agreed.dtmf_clock), (dtmf, clock), "{events}");
    }
}
