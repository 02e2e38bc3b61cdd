//! Properties that hold for any input.

use bytes::Bytes;
use proptest::prelude::*;
use strowger_sip::auth::{Challenge, Credentials};
use strowger_sip::message::{Builder, Framer, HeaderName, Message, Method, peek};
use strowger_sip::sdp::SessionDescription;
use strowger_sip::uri::{NameAddr, Uri};

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = peek(&bytes);
        let _ = SessionDescription::parse(&bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let _ = (Uri::parse(&text).is_ok(), NameAddr::parse(&text).is_ok());
        let _ = (Challenge::parse(&text).is_ok(), Credentials::parse(&text).is_ok());
        let mut framer = Framer::new();
        framer.push(&bytes);
        while let Ok(Some(_)) = framer.next_frame() {}
        let _ = Message::parse(Bytes::from(bytes)).is_ok();
    }

    #[test]
    fn any_user_survives_a_uri(user in "[^\\p{C}]{1,30}") {
        let uri = Uri::sip(Some(&user), "example.com", None);
        let read = Uri::parse(&uri.to_string()).unwrap();
        prop_assert_eq!(read.user_decoded().unwrap().into_owned(), user);
    }

    #[test]
    fn any_display_name_survives_a_header(name in "\\PC{0,30}") {
        let mut address = NameAddr::new(Uri::parse("sip:a@b").unwrap());
        address.display = Some(name.clone());
        let read = NameAddr::parse(&address.to_string()).unwrap();
        prop_assert_eq!(read.display.unwrap_or_default(), name);
    }

    #[test]
    fn any_value_and_body_survive_a_message(value in "\\PC{0,60}", body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let built = Builder::request(Method::Message, "sip:a@b")
            .header(HeaderName::Via, "SIP/2.0/UDP h;branch=z9hG4bK1")
            .header(HeaderName::From, "<sip:a@b>;tag=1")
            .header(HeaderName::To, "<sip:a@b>")
            .header(HeaderName::CallId, "c")
            .header(HeaderName::CSeq, "1 MESSAGE")
            .header("X-Value", &value)
            .body("application/octet-stream", body.clone())
            .finish();
        let read = Message::parse(built.raw().clone()).unwrap();
        prop_assert_eq!(read.body(), &body[..]);
        prop_assert_eq!(
            read.header_bytes(&"x-value".into()).unwrap(),
            value.as_bytes().trim_ascii()
        );
        let looked = peek(built.raw()).unwrap();
        prop_assert_eq!(looked.call_id, b"c");
        prop_assert_eq!(looked.method, b"MESSAGE");
    }

    #[test]
    fn header_injection_is_impossible(value in "[a\\r\\n: X-]{0,40}") {
        let built = Builder::response(200, &value)
            .header(HeaderName::Subject, &value)
            .finish();
        prop_assert_eq!(built.all_headers().count(), 2);
        prop_assert_eq!(built.body(), b"");
    }
}
