//! Mutated URIs, addresses and Via values: nothing panics, and what was read is written and read again the same.

mod mutator;

use mutator::fuzz;
use strowger_sip::headers::{CSeq, Via};
use strowger_sip::uri::{NameAddr, Uri};

const CORPUS: &[&str] = &[
    "sip:alice:pw@atlanta.com:5060;transport=tcp;lr?subject=project%20x&priority=urgent",
    "sips:[2001:db8::10]:5070;maddr=1.2.3.4",
    "tel:+1-201-555-0123;phone-context=example.com",
    "\"J \\\" R\" <sip:%61@[::ffff:1.2.3.4];x=\"y\">;tag=1;q=0.5;expires=9",
    "SIP / 2.0 / UDP host : 5060 ; branch = z9hG4bK1 ; received=[::1];rport=77;maddr=10.0.0.1",
    "urn:service:sos",
    "00123 INVITE",
];

#[test]
fn no_mutation_of_a_uri_panics_and_what_is_read_is_written_back() {
    fuzz("uri", CORPUS, 150_000, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(uri) = Uri::parse(&text) {
            let written = uri.to_string();
            let again = Uri::parse(&written).unwrap_or_else(|e| panic!("{written:?}: {e}"));
            assert_eq!(again, uri);
            assert!(uri.matches(&again), "{written}");
            let _ = uri.user_decoded();
        }
        if let Ok(address) = NameAddr::parse(&text) {
            let written = address.to_string();
            let again = NameAddr::parse(&written).unwrap_or_else(|e| panic!("{written:?}: {e}"));
            assert_eq!(again.uri, address.uri);
            assert_eq!(again.params, address.params);
            let _ = (address.q_milli(), address.expires(), address.tag());
        }
        let _ = NameAddr::parse_list(&text);
        if let Ok(mut via) = Via::parse(&text) {
            let written = via.to_string();
            assert_eq!(Via::parse(&written).as_ref(), Ok(&via), "{written}");
            via.stamp(([1, 2, 3, 4], 5).into(), true);
            assert!(via.response_target().is_some());
        }
        let _ = CSeq::parse(&text);
    });
}
