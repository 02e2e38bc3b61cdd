use super::*;

const PHONE: &str = "v=0\r\n\
    o=alice 2890844526 2890844527 IN IP4 host.atlanta.example.com\r\n\
    s= \r\n\
    c=IN IP4 192.0.2.1\r\n\
    b=AS:64\r\n\
    t=0 0\r\n\
    a=sendonly\r\n\
    m=audio 49170/2 RTP/AVP 8 0 18 101 9\r\n\
    i=a line\r\n\
    a=rtpmap:101 telephone-event/8000\r\n\
    a=fmtp:101 0-15\r\n\
    a=rtpmap:18 G729/8000\r\n\
    a=fmtp:18 annexb=no\r\n\
    a=ptime:30\r\n\
    a=rtcp:53020 IN IP4 126.16.64.4\r\n\
    m=video 0 RTP/AVP 31\r\n\
    c=IN IP6 2001:db8::1\r\n\
    a=inactive\r\n\
    a=rtcp-mux\r\n";

#[test]
fn a_description_is_read_and_written_back_byte_for_byte() {
    let sdp = SessionDescription::parse(PHONE.as_bytes()).unwrap();
    assert_eq!(sdp.to_string(), PHONE);
    assert_eq!(sdp.origin.version, 2_890_844_527);
    let [audio, video] = &*sdp.media else {
        panic!("two media expected")
    };
    assert_eq!((audio.port, audio.port_count), (49170, Some(2)));
    assert_eq!(
        audio.payload_types().collect::<Vec<_>>(),
        [8, 0, 18, 101, 9]
    );
    assert_eq!(audio.rtpmap(8).unwrap().name, "PCMA");
    assert_eq!(audio.rtpmap(101).unwrap().name, "telephone-event");
    assert_eq!(audio.fmtp(18), Some("annexb=no"));
    assert_eq!(audio.ptime(), Some(30));
    let rtcp = audio.rtcp().unwrap();
    assert_eq!(
        (rtcp.port, rtcp.address),
        (53020, "126.16.64.4".parse().ok())
    );
    assert_eq!(sdp.direction_of(audio), Direction::SendOnly);
    assert_eq!(sdp.direction_of(video), Direction::Inactive);
    assert_eq!(
        sdp.connection_of(video).and_then(Connection::ip),
        "2001:db8::1".parse().ok()
    );
    assert!(video.rtcp_mux());
}

#[test]
fn line_feeds_blank_lines_and_spaced_users_are_accepted() {
    let text = "v=0\no=My Phone 1 99999999999999999999999 IN IP4 10.0.0.1\ns=x\nc=IN IP4 0.0.0.0\nt=0 0\n\nm=audio 4000 RTP/AVP 0\n";
    let sdp = SessionDescription::parse(text.as_bytes()).unwrap();
    assert_eq!(sdp.origin.username, "My Phone");
    assert_eq!(sdp.origin.version, u64::MAX);
    assert!(sdp.connection.unwrap().is_hold());
}

#[test]
fn bad_descriptions_name_the_line() {
    let head = "v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\ns=-\r\n";
    for (text, line) in [
        (String::new(), 1),
        ("o=- 1 1 IN IP4 1.1.1.1\r\n".to_owned(), 1),
        ("v=1\r\n".to_owned(), 1),
        ("v=0\r\no=- x 1 IN IP4 1.1.1.1\r\n".to_owned(), 2),
        ("v=0\r\no=- 1 1 IN\r\n".to_owned(), 2),
        (format!("{head}c=IN IP4\r\n"), 4),
        (format!("{head}m=audio 70000 RTP/AVP 0\r\n"), 4),
        (format!("{head}m=audio 4000 RTP/AVP\r\n"), 4),
        (format!("{head}m=audio 4000 RTP/AVP 0\r\n"), 4),
        (format!("{head}r=7d 1h 0\r\n"), 4),
        (format!("{head}q=1\r\n"), 4),
        (format!("{head}nonsense\r\n"), 4),
        (
            format!("{head}t=0 0\r\nm=audio 0 RTP/AVP 0\r\ns=late\r\n"),
            6,
        ),
        (format!("{head}t=-1 0\r\n"), 4),
        ("v=0\r\ns=-\r\n".to_owned(), 2),
        (
            format!("{head}{}", "a=x\r\n".repeat(SDP_LINES_MAX)),
            SDP_LINES_MAX + 1,
        ),
    ] {
        let error = SessionDescription::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.line, line, "{text:.200} {error}");
    }
    assert!(SessionDescription::parse(&vec![b'a'; SDP_LENGTH_MAX + 1]).is_err());
}

#[test]
fn a_made_description_reads_back_and_cannot_be_split_by_line_ends() {
    let mut sdp = SessionDescription::new("-", 7, 8, "2001:db8::2".parse().unwrap());
    let mut audio = Media::new(MediaKind::Audio, 10000, "RTP/AVP");
    audio.push_format(
        &RtpMap {
            payload_type: 96,
            name: "opus".to_owned(),
            clock_rate: 48000,
            channels: Some(2),
        },
        "useinbandfec=1",
    );
    audio.set_direction(Direction::SendOnly);
    audio.set_direction(Direction::RecvOnly);
    sdp.media.push(audio);
    let read = SessionDescription::parse(sdp.to_string().as_bytes()).unwrap();
    assert_eq!(read, sdp);
    assert_eq!(read.media[0].rtpmaps()[0].channels, Some(2));
    sdp.name = "x\r\na=evil".to_owned();
    assert!(!sdp.to_string().contains("evil"));
}

#[test]
fn directions_turn_round() {
    assert_eq!(Direction::SendOnly.reversed(), Direction::RecvOnly);
    assert_eq!(Direction::Inactive.reversed(), Direction::Inactive);
    assert_eq!(Direction::parse("sendrecv"), Some(Direction::SendRecv));
}
