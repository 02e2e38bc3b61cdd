//! Streams of video that two telephones send each other through the exchange: what is passed on of an offer and its answer.

use strowger_sip::offer_answer::{Capabilities, LocalMedia, Session, VideoStream};
use strowger_sip::sdp::SessionDescription;

fn sdp(media: &str) -> SessionDescription {
    let text =
        format!("v=0\no=- 1 1 IN IP4 198.51.100.7\ns=-\nc=IN IP4 198.51.100.7\nt=0 0\n{media}");
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

/// What a caller with two cameras and a presentation describes, the audio in the midst.
const TWO_VIDEOS: &str = "m=video 5000 RTP/AVPF 96 97 98\nb=TIAS:512000\na=rtpmap:96 H264/90000\n\
    a=fmtp:96 profile-level-id=42e01f;packetization-mode=1\na=rtpmap:97 VP8/90000\na=rtpmap:98 rtx/90000\n\
    a=fmtp:98 apt=96\na=rtcp-fb:* ccm fir\na=rtcp-fb:96 nack pli\na=rtcp-fb:97 nack\na=rtcp-mux\n\
    a=candidate:1 1 UDP 1 198.51.100.7 5000 typ host\na=sendrecv\n\
    m=audio 4000 RTP/AVP 0\n\
    m=application 4500 UDP/BFCP *\n\
    m=video 5002 RTP/AVP 31 34\na=content:slides\na=sendonly\n\
    m=video 5004 RTP/SAVP 96\na=rtpmap:96 H264/90000\n";

fn videos(description: &SessionDescription, names: &[&str], most: usize) -> Vec<VideoStream> {
    VideoStream::all_in(description, names, most, local().rtp)
}

/// The lines of the streams of video, each with what belongs to it.
fn video_lines(description: &SessionDescription) -> Vec<Vec<String>> {
    let all = lines(description);
    let mut streams: Vec<Vec<String>> = Vec::new();
    let mut is_video = false;
    for line in all {
        if line.starts_with("m=") {
            is_video = line.starts_with("m=video");
            if is_video {
                streams.push(Vec::new());
            }
        }
        if let Some(stream) = streams.last_mut().filter(|_| is_video) {
            stream.push(line);
        }
    }
    streams
}

/// The callee's session, which was offered these streams at ports from 13000.
fn offered(streams: Vec<VideoStream>) -> (Session, SessionDescription) {
    let mut callee = session();
    callee.offer_video(streams.into_iter().zip((13_000..).step_by(2)).collect());
    let offer = callee
        .make_offer(&Capabilities::default(), &local())
        .expect("an offer");
    (callee, offer)
}

#[test]
fn video_is_offered_as_the_caller_describes_it_with_the_codecs_that_are_allowed() {
    let caller = sdp(TWO_VIDEOS);
    let (_, offer) = offered(videos(&caller, &["H264", "H263"], 4));
    assert_eq!(
        video_lines(&offer),
        [
            vec![
                "m=video 13000 RTP/AVPF 96",
                "b=TIAS:512000",
                "a=rtpmap:96 H264/90000",
                "a=fmtp:96 profile-level-id=42e01f;packetization-mode=1",
                "a=rtcp-fb:* ccm fir",
                "a=rtcp-fb:96 nack pli",
                "a=sendrecv",
            ],
            vec!["m=video 13002 RTP/AVP 34", "a=content:slides", "a=sendonly"],
        ]
    );
    assert!(
        lines(&offer)
            .iter()
            .position(|line| line.starts_with("m=audio"))
            < lines(&offer)
                .iter()
                .position(|line| line.starts_with("m=video"))
    );
    for (names, most, found) in [
        (&["H264", "H261"][..], 1, 1),
        (&["h264", "h261"], 0, 0),
        (&["VP9", "AV1"], 4, 0),
        (&["rtx"], 4, 1),
    ] {
        assert_eq!(videos(&caller, names, most).len(), found, "{names:?}");
    }
}

#[test]
fn the_answer_of_the_called_side_comes_back_in_the_places_of_the_callers_offer() {
    let caller = sdp(TWO_VIDEOS);
    let (mut callee, _) = offered(videos(&caller, &["H264", "VP8", "H261", "H263"], 4));
    callee
        .apply_answer(&sdp(
            "m=audio 6000 RTP/AVP 0\nm=video 0 RTP/AVPF 96\nm=video 6004 RTP/AVP 34\n\
             a=fmtp:34 QCIF=1\na=rtcp:6009\na=recvonly\n",
        ))
        .expect("a call");
    let agreed = callee.video();
    assert_eq!(agreed.len(), 1, "one is refused: {agreed:?}");
    let second = &agreed[0];
    assert_eq!((second.port, second.of), (13_002, 3));
    assert_eq!(second.remote.remote_rtp, "198.51.100.7:6004".parse().ok());
    assert_eq!(second.remote.remote_rtcp, "198.51.100.7:6009".parse().ok());
    assert!(second.remote.receives());

    // The caller was told nothing yet: its first answer refuses all, byte for byte as ever; another one takes the second.
    let mut told = session();
    let (first, _) = told
        .answer(&caller, &Capabilities::default(), &local())
        .expect("acceptable");
    assert_eq!(
        video_lines(&first),
        [
            ["m=video 0 RTP/AVPF 96"],
            ["m=video 0 RTP/AVP 31"],
            ["m=video 0 RTP/SAVP 96"]
        ]
    );
    told.accept_video(vec![(second.of, second.remote.clone(), 14_000)]);
    let (answer, _) = told
        .answer(&caller, &Capabilities::default(), &local())
        .expect("acceptable");
    assert_eq!(
        video_lines(&answer),
        [
            vec!["m=video 0 RTP/AVPF 96"],
            vec!["m=video 14000 RTP/AVP 34", "a=fmtp:34 QCIF=1", "a=recvonly"],
            vec!["m=video 0 RTP/SAVP 96"],
        ]
    );
    let places: Vec<String> = lines(&answer)
        .into_iter()
        .filter(|line| line.starts_with("m="))
        .collect();
    assert_eq!(places.len(), 5);
    assert!(places[1].starts_with("m=audio 12000 "), "{places:?}");
    assert_eq!(places[2], "m=application 0 UDP/BFCP *");
    assert_eq!(
        told.video()[0].remote.remote_rtp,
        "198.51.100.7:5002".parse().ok()
    );
}

#[test]
fn video_outlives_hold_and_refreshes_and_ends_where_it_is_switched_off() {
    let (mut callee, _) = offered(videos(&sdp(TWO_VIDEOS), &["H264"], 1));
    let audio = "m=audio 6000 RTP/AVP 0\n";
    let answer = sdp(&format!(
        "{audio}m=video 6002 RTP/AVPF 96\na=rtpmap:96 H264/90000\n"
    ));
    callee.apply_answer(&answer).expect("a call");
    // A refresh of ours offers what there is.
    let again = callee
        .make_offer(&Capabilities::default(), &local())
        .expect("an offer");
    assert_eq!(video_lines(&again)[0][0], "m=video 13000 RTP/AVPF 96");
    callee.apply_answer(&answer).expect("a call");
    assert_eq!(callee.video().len(), 1);
    let held = |direction: &str, port: u16| {
        sdp(&format!(
            "m=audio 6000 RTP/AVP 0\na={direction}\nm=video {port} RTP/AVPF 96 100\n\
             a=rtpmap:96 H264/90000\na=rtpmap:100 VP8/90000\na={direction}\n"
        ))
    };
    for (direction, back, receives) in [
        ("sendonly", "a=recvonly", false),
        ("inactive", "a=inactive", false),
        ("sendrecv", "a=sendrecv", true),
    ] {
        let (answer, _) = callee
            .answer(&held(direction, 6010), &Capabilities::default(), &local())
            .expect("acceptable");
        let stream = &video_lines(&answer)[0];
        assert_eq!(stream[0], "m=video 13000 RTP/AVPF 96", "{direction}");
        assert_eq!(stream.last().map(String::as_str), Some(back));
        let remote = &callee.video()[0].remote;
        assert_eq!(remote.receives(), receives, "{direction}");
        assert_eq!(remote.remote_rtp, "198.51.100.7:6010".parse().ok());
    }
    let (answer, _) = callee
        .answer(&held("sendrecv", 0), &Capabilities::default(), &local())
        .expect("acceptable");
    assert_eq!(video_lines(&answer), [["m=video 0 RTP/AVPF 96"]]);
    assert!(callee.video().is_empty());
    // It is not begun anew, by either side.
    let (answer, _) = callee
        .answer(&held("sendrecv", 6010), &Capabilities::default(), &local())
        .expect("acceptable");
    assert_eq!(video_lines(&answer), [["m=video 0 RTP/AVPF 96"]]);
    let offer = callee
        .make_offer(&Capabilities::default(), &local())
        .expect("an offer");
    assert_eq!(video_lines(&offer), [["m=video 0 RTP/AVPF 96"]]);
}

#[test]
fn control_packets_share_the_port_where_both_sides_of_a_dialog_want_that() {
    let mux = |ours: bool, theirs: &str| {
        let capabilities = Capabilities {
            rtcp_mux: ours,
            ..Capabilities::default()
        };
        let caller = sdp("m=audio 4000 RTP/AVP 0\nm=video 5000 RTP/AVP 34\na=rtcp-mux\n");
        let mut callee = session();
        let stream = videos(&caller, &["H263"], 1).remove(0);
        callee.offer_video(vec![(stream, 13_000)]);
        let offer = callee
            .make_offer(&capabilities, &local())
            .expect("an offer");
        let offered = video_lines(&offer)[0].contains(&"a=rtcp-mux".to_owned());
        let answer = format!("m=audio 6000 RTP/AVP 0\nm=video 6002 RTP/AVP 34\n{theirs}");
        callee.apply_answer(&sdp(&answer)).expect("a call");
        (offered, callee.video()[0].rtcp_mux)
    };
    // What the caller can, is not asked of whom it calls.
    assert_eq!(mux(false, "a=rtcp-mux\n"), (false, false));
    assert_eq!(mux(true, ""), (true, false));
    assert_eq!(mux(true, "a=rtcp-mux\n"), (true, true));
}

#[test]
fn a_fax_ends_the_video_beside_the_audio() {
    let (mut callee, _) = offered(videos(&sdp(TWO_VIDEOS), &["H264"], 1));
    callee
        .apply_answer(&sdp(
            "m=audio 6000 RTP/AVP 0\nm=video 6002 RTP/AVPF 96\na=rtpmap:96 H264/90000\n",
        ))
        .expect("a call");
    assert_eq!(callee.video().len(), 1);
    let at = "192.0.2.1:15000".parse().expect("an address");
    callee.offer_fax(&local(), at, &[]).expect("an offer");
    callee
        .apply_fax_answer(&sdp("m=image 6000 udptl t38\nm=video 0 RTP/AVPF 96\n"))
        .expect("fax");
    assert!(callee.video().is_empty());
}
