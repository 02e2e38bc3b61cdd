//! Mutated session descriptions: nothing panics, and what was read is written and read again the same.

mod mutator;

use mutator::fuzz;
use strowger_sip::sdp::{CryptoAttribute, SessionDescription};

const CORPUS: &[&str] = &[
    "v=0\r\no=alice 2890844526 2890844526 IN IP4 host.example.com\r\ns=-\r\ni=x\r\nu=http://x\r\ne=a@b\r\np=+1\r\nc=IN IP4 192.0.2.1/127\r\nb=AS:64\r\nt=1 2\r\nr=7d 1h 0\r\nz=1 2\r\nk=prompt\r\na=sendonly\r\nm=audio 49170/2 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=rtcp:53020 IN IP4 126.16.64.4\r\n",
    "v=0\no=- 1 1 IN IP6 ::1\ns= \nt=0 0\nm=image 0 udptl t38\nc=IN IP6 ::\na=T38FaxVersion:0\nm=video 51372 RTP/SAVPF 96 97\nc=IN IP4 0.0.0.0\na=rtpmap:96 opus/48000/2\na=inactive\na=rtcp-mux\n",
    "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\nm=audio 4000 RTP/SAVP 8\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^31|1:4 WSH=64\na=crypto:2 AEAD_AES_128_GCM inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw==|1048576000\n",
];

#[test]
fn no_mutation_of_a_description_panics_and_what_is_read_is_written_back() {
    fuzz("sdp", CORPUS, 50_000, |bytes| {
        let Ok(sdp) = SessionDescription::parse(bytes) else {
            return;
        };
        for media in &sdp.media {
            let _ = (
                sdp.direction_of(media),
                media.rtpmaps(),
                media.ptime(),
                media.maxptime(),
            );
            let _ = (media.rtcp(), media.rtcp_mux());
            for value in media.values("crypto") {
                if let Ok(crypto) = CryptoAttribute::parse(value) {
                    let written = crypto.to_string();
                    assert_eq!(CryptoAttribute::parse(&written), Ok(crypto), "{written}");
                }
            }
            for pt in media.payload_types() {
                let _ = (media.rtpmap(pt), media.fmtp(pt));
            }
        }
        let written = sdp.to_string();
        let again = SessionDescription::parse(written.as_bytes())
            .unwrap_or_else(|e| panic!("{written}: {e}"));
        assert_eq!(again.to_string(), written);
    });
}
