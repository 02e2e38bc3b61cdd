//! The torture messages of RFC 4475, by the names they have there.

use super::*;
use crate::uri::Scheme;

fn crlf(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

fn valid(raw: Vec<u8>) -> Message {
    let m = Message::parse(raw.into()).unwrap_or_else(|e| panic!("{e}"));
    m.check().unwrap_or_else(|e| panic!("{e}"));
    m
}

fn invalid(text: &str) -> ParseError {
    let parsed = Message::parse(crlf(text).into());
    match parsed.and_then(|m| m.check().map(|()| m)) {
        Ok(m) => panic!("accepted: {m:?}"),
        Err(error) => error,
    }
}

#[test]
fn wsinv_a_short_tortuous_invite() {
    let text = "INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0\n\
TO :\n sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n\n\
from   : \"J Rosenberg \\\\\\\"\"       <sip:jdrosen@example.com>\n  ;\n  tag = 98asjd8\n\
MaX-fOrWaRdS: 0068\n\
Call-ID: wsinv.ndaksdj@192.0.2.1\n\
Content-Length   : 150\n\
cseq: 0009\n  INVITE\n\
Via  : SIP  /   2.0\n /UDP\n    192.0.2.2;branch=390skdjuw\n\
s :\n\
NewFangledHeader:   newfangled value\n continued newfangled value\n\
UnknownHeaderWithUnusualValue: ;;,,;;,;\n\
Content-Type: application/sdp\n\
Route:\n <sip:services.example.com;lr;unknownwith=value;unknown-no-value>\n\
v:  SIP  / 2.0  / TCP     spindle.example.com   ;\n  branch  =   z9hG4bK9ikj8  ,\n SIP  /    2.0   / UDP  192.168.255.111   ; branch=\n z9hG4bK30239\n\
m:\"Quoted string \\\"\\\"\" <sip:jdrosen@example.com> ; newparam =\n      newvalue ;\n  secondparam ; q = 0.33\n\
\n\
v=0\no=mhandley 29739 7272939 IN IP4 192.0.2.3\ns=-\nc=IN IP4 192.0.2.4\nt=0 0\nm=audio 49217 RTP/AVP 0 12\nm=video 3227 RTP/AVP 31\na=rtpmap:31 LPC\n";
    let m = valid(crlf(text));
    assert_eq!(m.to().unwrap().tag(), Some("1918181833n"));
    let from = m.from().unwrap();
    assert_eq!(from.display.as_deref(), Some("J Rosenberg \\\""));
    assert_eq!(from.tag(), Some("98asjd8"));
    assert_eq!(m.max_forwards().unwrap(), Some(68));
    assert_eq!(
        m.cseq().unwrap(),
        CSeq {
            number: 9,
            method: Method::Invite
        }
    );
    let vias = m.vias().unwrap();
    assert_eq!(vias.len(), 3);
    assert_eq!(vias[1].transport, "TCP");
    assert_eq!(vias[1].rfc3261_branch(), Some("z9hG4bK9ikj8"));
    assert_eq!(vias[2].branch(), Some("z9hG4bK30239"));
    assert_eq!(m.header(&HeaderName::Subject), Some(""));
    assert_eq!(
        m.header(&"unknownheaderwithunusualvalue".into()),
        Some(";;,,;;,;")
    );
    assert_eq!(
        m.header(&"NEWFANGLEDHEADER".into()),
        Some("newfangled value continued newfangled value")
    );
    let contacts = m.contacts().unwrap();
    let contact = contacts.first().unwrap();
    assert_eq!(contact.q_milli(), 330);
    assert_eq!(contact.param("newparam"), Some("newvalue"));
    assert_eq!(contact.display.as_deref(), Some("Quoted string \"\""));
    assert!(m.routes().unwrap()[0].uri.is_loose_route());
    assert_eq!(m.body().len(), 150);
    assert_eq!(
        crate::sdp::SessionDescription::parse(m.body())
            .unwrap()
            .media
            .len(),
        2
    );
}

#[test]
fn intmeth_a_wide_range_of_valid_characters() {
    let method = "!interesting-Method0123456789_*+`.%indeed'~";
    let text = format!(
        "{method} sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com SIP/2.0\n\
Via: SIP/2.0/TCP host1.example.com;branch=z9hG4bK-.!%66*_+`'~\n\
To: \"BEL:\u{8} NUL:\\\u{1} DEL:\u{7f}\" <sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@example.com>\n\
From: token1~` token2'+_ token3*%!.- <sip:mundane@example.com>;fromParam''~+*_!.-%=\"\u{440}\u{430}\u{431}\u{43e}\u{442}\u{430}\u{44e}\u{449}\u{438}\u{439}\";tag=_token~1'+`*%!-.\n\
Call-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}}{{\n\
CSeq: 139122385 {method}\n\
Max-Forwards: 255\n\
extensionHeader-!.%*+_`'~:\u{fe}\u{ff}\u{2025}\n\
Content-Length: 0\n\n"
    );
    let m = valid(crlf(&text));
    assert_eq!(m.method(), Some(Method::Other(method.into())));
    assert_eq!(
        m.call_id().unwrap(),
        "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"
    );
    assert_eq!(m.from().unwrap().tag(), Some("_token~1'+`*%!-."));
    assert_eq!(m.via().unwrap().branch(), Some("z9hG4bK-.!%66*_+`'~"));
    assert_eq!(
        m.all_headers()
            .filter(|(n, _)| *n == "extensionHeader-!.%*+_`'~")
            .count(),
        1
    );
    assert_eq!(m.uri().unwrap().unwrap().host, "example.com".into());
}

const TAIL: &str = "To: sip:user@example.com\nFrom: sip:caller@example.net;tag=93334\nMax-Forwards: 87\nCall-ID: x.asdfnqwo3@example\n";

fn request(method: &str, uri: &str, more: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\nVia: SIP/2.0/UDP host5.example.net;branch=z9hG4bKkdjuw\n{TAIL}CSeq: 234234 {method}\n{more}\n"
    )
}

#[test]
fn esc01_and_escnull_escapes_stay_escaped() {
    let m = valid(crlf(&request(
        "INVITE",
        "sip:sips%3Auser%40example.com@example.net",
        "C: application/sdp\nContact: <sip:caller@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31>\nContent-Length: 0\n",
    )));
    let uri = m.uri().unwrap().unwrap();
    assert_eq!(uri.user.as_deref(), Some("sips%3Auser%40example.com"));
    assert_eq!(uri.user_decoded().as_deref(), Some("sips:user@example.com"));
    let contacts = m.contacts().unwrap();
    assert_eq!(
        contacts.first().unwrap().uri.param("n%61me"),
        Some("v%61lue%25%34%31")
    );
    assert!(!contacts.first().unwrap().uri.is_loose_route());
    let m = valid(crlf(&request(
        "REGISTER",
        "sip:example.com",
        "L:0\nContact: <sip:%00@host5.example.com>\nContact: <sip:%00%00@host5.example.com>\n",
    )));
    let contacts = m.contacts().unwrap();
    assert_eq!(contacts.list().len(), 2);
    assert!(!contacts.list()[0].uri.matches(&contacts.list()[1].uri));
}

#[test]
fn esc02_a_percent_sign_in_a_method_is_no_escape() {
    let m = valid(crlf(&request(
        "RE%47IST%45R",
        "sip:registrar.example.com",
        "L:0\n",
    )));
    assert_eq!(m.method_str(), "RE%47IST%45R");
    assert_ne!(m.method(), Some(Method::Register));
}

#[test]
fn lwsdisp_no_space_between_name_and_bracket() {
    let m = valid(crlf(
        &request("OPTIONS", "sip:user@example.com", "L: 0\n").replace(
            "From: sip:caller@example.net",
            "From: caller<sip:caller@example.com>",
        ),
    ));
    assert_eq!(m.from().unwrap().display.as_deref(), Some("caller"));
}

#[test]
fn longreq_long_values_are_read() {
    let long = "very".repeat(300);
    let mut more = format!(
        "Contact: <sip:amazinglylongcallername{long}@host5.example.net>\nUnknown-{long}: {long}\n"
    );
    for i in 0..33 {
        more += &format!("v: SIP/2.0/TCP sip{i}.example.com\n");
    }
    let m = valid(crlf(&request(
        "INVITE",
        &format!("sip:{long}@example.com;long={long}"),
        &more,
    )));
    assert_eq!(m.vias().unwrap().len(), 34);
    assert_eq!(
        m.header(&format!("UNKNOWN-{long}").as_str().into()),
        Some(&*long)
    );
}

#[test]
fn dblreq_what_follows_the_message_in_a_datagram_is_dropped() {
    let first = request("REGISTER", "sip:example.com", "Content-Length: 0\n");
    let second = request("INVITE", "sip:joe@example.com", "Content-Length: 0\n");
    let m = valid(crlf(&(first + &second)));
    assert!(m.is_method(&Method::Register) && m.body().is_empty());
}

#[test]
fn semiuri_semicolons_in_the_user_belong_to_the_user() {
    let m = valid(crlf(&request(
        "OPTIONS",
        "sip:user;par=u%40example.net@example.com",
        "l: 0\n",
    )));
    let uri = m.uri().unwrap().unwrap();
    assert_eq!(uri.user.as_deref(), Some("user;par=u%40example.net"));
    assert!(uri.params.is_empty());
}

#[test]
fn transports_known_and_unknown_ones_in_via() {
    let m = valid(crlf(&request(
        "OPTIONS",
        "sip:user@example.com",
        "Via: SIP/2.0/SCTP t1.example.com;branch=z9hG4bKa, SIP/2.0/TLS t3.example.com\nVia: SIP/2.0/UNKNOWN t4.example.com;branch=z9hG4bKb\nl: 0\n",
    )));
    let names: Vec<_> = m.vias().unwrap().into_iter().map(|v| v.transport).collect();
    assert_eq!(names, ["UDP", "SCTP", "TLS", "UNKNOWN"]);
}

#[test]
fn mpart01_a_body_of_any_bytes_is_kept() {
    let body: Vec<u8> = (0..=255).cycle().take(600).collect();
    let mut raw = crlf(&request(
        "MESSAGE",
        "sip:kumiko@example.org",
        "Content-Type: multipart/mixed;boundary=7a9cbec02ceef655\nContent-Length: 600\n",
    ));
    raw.extend_from_slice(&body);
    let m = valid(raw);
    assert_eq!(m.body(), body);
    assert_eq!(m.content_type(), Some("multipart/mixed"));
}

#[test]
fn unreason_and_noreason_any_reason_phrase_or_none() {
    let base = format!(
        "Via: SIP/2.0/UDP 192.0.2.198;branch=z9hG4bK1324923\n{TAIL}CSeq: 35 INVITE\nContent-Length: 0\n\n"
    );
    let m = valid(crlf(&format!(
        "SIP/2.0 200 = 2**3 * 5**2 но сто девяносто девять - простое\n{base}"
    )));
    assert_eq!(
        m.reason(),
        "= 2**3 * 5**2 но сто девяносто девять - простое"
    );
    assert_eq!(valid(crlf(&format!("SIP/2.0 100 \n{base}"))).reason(), "");
}

#[test]
fn inv2543_an_old_invite_without_branch_tag_and_max_forwards() {
    let m = valid(crlf(
        "INVITE sip:UserB@example.com SIP/2.0\nVia: SIP/2.0/UDP iftgw.example.com\nFrom: <sip:+13035551111@ift.client.example.net;user=phone>\n\
Record-Route: <sip:UserB@example.com;maddr=ss1.example.com>\nTo: sip:+16505552222@ss1.example.net;user=phone\nCall-ID: inv2543.1717@ift.client.example.com\nCSeq: 56 INVITE\nContent-Type: application/sdp\n\nv=0\n",
    ));
    assert_eq!(m.from().unwrap().tag(), None);
    // Without brackets the parameter is the header's.
    assert_eq!(m.to().unwrap().param("user"), Some("phone"));
    assert_eq!(m.via().unwrap().branch(), None);
    assert_eq!(m.body(), b"v=0\r\n");
}

#[test]
fn unkscm_novelsc_unksm2_unknown_schemes_are_read() {
    let m = valid(crlf(&request(
        "OPTIONS",
        "nobodyKnowsThisScheme:totallyopaquecontent",
        "l: 0\n",
    )));
    assert_eq!(
        m.uri().unwrap().unwrap().scheme,
        Scheme::Other("nobodyknowsthisscheme".into())
    );
    valid(crlf(&request(
        "OPTIONS",
        "soap.beep://192.0.2.103:3002",
        "l: 0\n",
    )));
    let m = valid(crlf(
        &request(
            "REGISTER",
            "sip:example.com",
            "Contact: <name:John_Smith>\nl: 0\n",
        )
        .replace("To: sip:user@example.com", "To: isbn:2983792873"),
    ));
    assert_eq!(m.to().unwrap().uri.opaque, "2983792873");
    assert_eq!(
        m.contacts().unwrap().first().unwrap().uri.to_string(),
        "name:John_Smith"
    );
}

#[test]
fn cparam01_cparam02_regescrt_contacts_with_unusual_parts() {
    let contact = |value: &str| {
        let m = valid(crlf(&request(
            "REGISTER",
            "sip:example.com",
            &format!("Contact: {value}\nl: 0\n"),
        )));
        m.contacts().unwrap().first().unwrap().clone()
    };
    assert_eq!(
        contact("sip:+19725552222@gw1.example.net;unknownparam")
            .uri
            .params
            .len(),
        0
    );
    assert_eq!(
        contact("<sip:+19725552222@gw1.example.net;unknownparam>")
            .uri
            .params
            .len(),
        1
    );
    let c = contact("<sip:user@example.com?Route=%3Csip:sip.example.com%3E>");
    assert_eq!(
        c.uri.headers,
        [("Route".to_owned(), "%3Csip:sip.example.com%3E".to_owned())]
    );
}

#[test]
fn regaut01_zeromf_bext01_sdp01_are_for_the_layers_above() {
    let m = valid(crlf(&request(
        "REGISTER",
        "sip:example.com",
        "Authorization: NoOneKnowsThisScheme opaque-data=here\nProxy-Require: nothingSupportsThis, nothingSupportsThisEither\nRequire: nothingSupportsThis\nl: 0\n",
    ).replace("Max-Forwards: 87", "Max-Forwards: 0")));
    assert_eq!(m.max_forwards().unwrap(), Some(0));
    assert_eq!(m.values(&HeaderName::ProxyRequire).count(), 2);
    assert_eq!(
        crate::auth::Credentials::parse(m.header(&HeaderName::Authorization).unwrap()),
        Err(crate::auth::AuthError::Scheme)
    );
}

#[test]
fn badbranch_a_branch_of_the_cookie_alone_identifies_nothing() {
    let m = valid(crlf(
        &request("OPTIONS", "sip:u@example.com", "l: 0\n").replace("z9hG4bKkdjuw", "z9hG4bK"),
    ));
    assert_eq!(m.via().unwrap().rfc3261_branch(), None);
}

#[test]
fn the_invalid_messages_are_refused_with_what_is_wrong() {
    let options = || request("OPTIONS", "sip:user@example.com", "l: 0\n");
    let with = |more: &str| request("INVITE", "sip:user@example.com", more);
    let uri = |uri: &str| request("INVITE", uri, "l: 0\n");
    for (name, text, what) in [
        ("badinv01", with("Contact: \"Joe\" <sip:joe@example.org>;;;;\nl: 0\n"), "Contact: parameter without a name"),
        ("badinv01", with("Via: SIP/2.0/UDP 192.0.2.15;;,;,,\nl: 0\n"), "Via: parameter without a name"),
        ("clerr", with("Content-Length: 9999\n"), "Content-Length is 9999"),
        ("ncl", with("Content-Length: -999\n"), "Content-Length: not a number"),
        ("scalar02", options().replace("CSeq: 234234", "CSeq: 36893488147419103232"), "CSeq: CSeq number too large"),
        ("scalar02", options().replace("Max-Forwards: 87", "Max-Forwards: 300"), "Max-Forwards: not a number"),
        ("quotbal", with("l: 0\n").replace("To: sip:user@example.com", "To: \"Mr. J. User <sip:j.user@example.com>"), "To: quoted string without an end"),
        ("ltgtruri", uri("<sip:user@example.com>"), "Request-URI stands in brackets"),
        ("lwsruri", uri("sip:user@example.com; lr"), "SIP/2.0 expected"),
        ("lwsstart", uri(" sip:user@example.com"), "no Request-URI"),
        ("trws", options().replacen("SIP/2.0\n", "SIP/2.0  \n", 1), "SIP/2.0 expected"),
        ("escruri", uri("sip:user@example.com?Route=%3Csip:example.com%3E"), "Request-URI: headers are not allowed"),
        ("regbadct", with("Contact: sip:user@example.com?Route=%3Csip:sip.example.com%3E\nl: 0\n"), "Contact: URI with headers"),
        ("badaspec", with("l: 0\n").replace("To: sip:user@example.com", "To: \"Watson, Thomas\" < sip:t.watson@example.org >"), "To: byte not allowed"),
        ("baddn", with("l: 0\n").replace("From: sip:caller@example.net", "From: Bell, Alexander <sip:a.g.bell@example.com>"), "From: byte not allowed"),
        ("badvers", options().replacen("SIP/2.0\n", "SIP/7.0\n", 1), "SIP version"),
        ("mismatch01", options().replace("234234 OPTIONS", "8 INVITE"), "CSeq method differs"),
        ("mismatch02", request("NEWMETHOD", "sip:user@example.com", "l: 0\n").replace("234234 NEWMETHOD", "8 INVITE"), "CSeq method differs"),
        ("insuf", "INVITE sip:user@example.com SIP/2.0\nMax-Forwards: 95\nVia: SIP/2.0/UDP 192.0.2.95;branch=z9hG4bKkdj\nCSeq: 1 INVITE\n\n".to_owned(), "From is missing"),
        ("mulsingle", with("From: sip:caller@example.net;tag=2\nl: 0\n"), "From stands more than once"),
        ("mcl01", with("Content-Length: 13\nContent-Length: 5\n"), "Content-Length stands more than once"),
    ] {
        let error = invalid(&text);
        assert!(error.to_string().contains(what), "{name}: {error}");
        let status = if name == "badvers" { 505 } else { 400 };
        let answered = error.response().and_then(|r| r.status());
        // A request line that is no request line at all may be dropped.
        let no_request = matches!(name, "ltgtruri" | "lwsstart");
        assert!(answered == Some(status) || no_request, "{name}: {answered:?}");
    }
    let error = invalid("SIP/2.0 4294967301 better not break the receiver\nVia: SIP/2.0/UDP h\n\n");
    assert!(error.to_string().contains("status is not a number"));
}
