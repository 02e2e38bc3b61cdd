//! SIP messages, built and read by `rsip`: a second view of the server's SIP that shares no code with the exchange. Which
//! message follows on which is not known here.

pub(crate) mod sdp;

use anyhow::{Context as _, Result, bail};
use rsip::headers::auth::{Algorithm, AuthQop};
use rsip::headers::{self, Header, ToTypedHeader as _, UntypedHeader as _};
use rsip::message::HeadersExt as _;
use rsip::services::DigestGenerator;
use rsip::{Method, Request, Response, SipMessage, Uri};
use std::net::SocketAddr;

/// Header User-Agent of all we send.
const USER_AGENT: &str = "strowger-loadtest";
const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE, NOTIFY";

/// Reads a datagram.
pub(crate) fn read(bytes: &[u8]) -> Result<SipMessage> {
    SipMessage::try_from(bytes).map_err(|e| anyhow::anyhow!("unreadable: {e}"))
}

/// The Call-ID of a message.
pub(crate) fn call_id(message: &SipMessage) -> Option<&str> {
    message.call_id_header().ok().map(|header| header.value())
}

/// Number and method of CSeq.
pub(crate) fn cseq(message: &SipMessage) -> Option<(u32, Method)> {
    let typed = message.cseq_header().ok()?.typed().ok()?;
    Some((typed.seq, typed.method))
}

/// What identifies one of our users to the server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account {
    pub(crate) user: String,
    /// Empty: there is none, and a challenge is a refusal.
    pub(crate) password: String,
}

/// One side of a dialog (RFC 3261 §12), and the requests it can make.
#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    /// Value of From in our requests.
    local: String,
    /// Value of To in our requests.
    remote: String,
    target: Uri,
    routes: Vec<String>,
    contact: String,
    cseq: u32,
    /// Address of our socket, for Via.
    own: SocketAddr,
}

impl Dialog {
    /// A dialog that we begin by a request to `to`.
    pub(crate) fn calling(
        call_id: String,
        user: &str,
        to: &str,
        own: SocketAddr,
        peer: SocketAddr,
    ) -> Result<Self> {
        let target = format!("sip:{to}@{peer}");
        Ok(Self {
            local: format!("<sip:{user}@{peer}>;tag={call_id}"),
            remote: format!("<{target}>"),
            target: uri(&target)?,
            routes: Vec::new(),
            contact: format!("<sip:{user}@{own}>"),
            cseq: 0,
            call_id,
            own,
        })
    }

    /// What a user registers with: requests go to the server itself (RFC 3261 §10.2).
    pub(crate) fn registering(
        call_id: String,
        user: &str,
        own: SocketAddr,
        peer: SocketAddr,
    ) -> Result<Self> {
        let mut dialog = Self::calling(call_id, user, user, own, peer)?;
        dialog.target = uri(&format!("sip:{peer}"))?;
        dialog.remote = format!("<sip:{user}@{peer}>");
        Ok(dialog)
    }

    /// REGISTER of our contact for `seconds`; 0 takes it away.
    pub(crate) fn register(&mut self, branch: &str, seconds: u32) -> Request {
        let mut request = self.request(Method::Register, branch);
        request
            .headers
            .push(Header::Contact(headers::Contact::new(self.contact.clone())));
        request
            .headers
            .push(Header::Expires(headers::Expires::new(seconds.to_string())));
        request
    }

    /// The dialog of a request that came to us; `tag` is ours.
    pub(crate) fn called(request: &Request, tag: &str, own: SocketAddr) -> Result<Self> {
        let user = request.uri.user().unwrap_or("load");
        Ok(Self {
            call_id: request
                .call_id_header()
                .map_err(missing)?
                .value()
                .to_owned(),
            local: format!(
                "{};tag={tag}",
                request.to_header().map_err(missing)?.value()
            ),
            remote: request.from_header().map_err(missing)?.value().to_owned(),
            target: contact_of(&request.headers)?,
            routes: record_routes(&request.headers),
            contact: format!("<sip:{user}@{own}>"),
            cseq: 0,
            own,
        })
    }

    /// Learns the other end's tag, contact and route from an answer that makes a dialog.
    pub(crate) fn established(&mut self, response: &Response) -> Result<()> {
        self.remote = response.to_header().map_err(missing)?.value().to_owned();
        self.target = contact_of(&response.headers)?;
        self.routes = record_routes(&response.headers);
        self.routes.reverse();
        Ok(())
    }

    /// Goes on with another Contact from a target refresh.
    pub(crate) fn refreshed(&mut self, headers: &rsip::Headers) {
        if let Ok(target) = contact_of(headers) {
            self.target = target;
        }
    }

    /// The next request of its method, with its branch.
    pub(crate) fn request(&mut self, method: Method, branch: &str) -> Request {
        self.cseq += 1;
        self.numbered(method, self.cseq, branch)
    }

    /// ACK for the final answer to request `cseq`: of a 2xx a transaction of its own (RFC 3261 §13.2.2.4), otherwise with
    /// the branch of the INVITE and the To of the answer (§17.1.1.3).
    pub(crate) fn ack(&self, cseq: u32, branch: &str, refused: Option<&Response>) -> Request {
        let mut ack = self.numbered(Method::Ack, cseq, branch);
        if let Some(Ok(to)) = refused.map(|response| response.to_header()) {
            ack.headers.unique_push(Header::To(to.clone()));
        }
        ack
    }

    /// CANCEL of the INVITE with that branch (RFC 3261 §9.1).
    pub(crate) fn cancel(&self, branch: &str) -> Request {
        self.numbered(Method::Cancel, self.cseq, branch)
    }

    /// Number of the last request.
    pub(crate) fn cseq(&self) -> u32 {
        self.cseq
    }

    fn numbered(&self, method: Method, cseq: u32, branch: &str) -> Request {
        let mut list = vec![
            Header::Via(headers::Via::new(format!(
                "SIP/2.0/UDP {};branch={branch};rport",
                self.own
            ))),
            Header::MaxForwards(headers::MaxForwards::new("70")),
            Header::From(headers::From::new(self.local.clone())),
            Header::To(headers::To::new(self.remote.clone())),
            Header::CallId(headers::CallId::new(self.call_id.clone())),
            Header::CSeq(headers::CSeq::new(format!("{cseq} {method}"))),
        ];
        if !matches!(method, Method::Cancel | Method::Register) {
            list.push(Header::Contact(headers::Contact::new(self.contact.clone())));
        }
        list.extend(
            self.routes
                .iter()
                .map(|route| Header::Route(headers::Route::new(route.clone()))),
        );
        list.push(Header::UserAgent(headers::UserAgent::new(USER_AGENT)));
        Request {
            method,
            uri: self.target.clone(),
            version: rsip::Version::V2,
            headers: list.into(),
            body: Vec::new(),
        }
    }

    /// An answer to a request of this dialog.
    pub(crate) fn respond(&self, request: &Request, code: u16) -> Response {
        let mut response = respond(request, code);
        if code > 100 && request.method == Method::Invite {
            // Outside of a dialog To has no tag yet.
            let tagged = request
                .to_header()
                .is_ok_and(|to| to.value().contains("tag="));
            if !tagged {
                response
                    .headers
                    .unique_push(Header::To(headers::To::new(self.local.clone())));
            }
            response
                .headers
                .push(Header::Contact(headers::Contact::new(self.contact.clone())));
            response
                .headers
                .push(Header::Allow(headers::Allow::new(ALLOW)));
        }
        response
    }
}

/// An answer to any request.
pub(crate) fn respond(request: &Request, code: u16) -> Response {
    let kept: Vec<Header> = request
        .headers
        .iter()
        .filter(|header| {
            matches!(
                header,
                Header::Via(_)
                    | Header::From(_)
                    | Header::To(_)
                    | Header::CallId(_)
                    | Header::CSeq(_)
                    | Header::RecordRoute(_)
            )
        })
        .cloned()
        .collect();
    Response {
        status_code: code.into(),
        version: rsip::Version::V2,
        headers: kept.into(),
        body: Vec::new(),
    }
}

/// The bytes of a request with that body.
pub(crate) fn finish(mut request: Request, body: Option<(&str, String)>) -> Vec<u8> {
    finish_headers(&mut request.headers, body.as_ref());
    request.body = body.map(|(_, text)| text.into_bytes()).unwrap_or_default();
    request.into()
}

/// The bytes of a response with that body.
pub(crate) fn finish_response(mut response: Response, body: Option<String>) -> Vec<u8> {
    let body = body.map(|text| (sdp::TYPE, text));
    finish_headers(&mut response.headers, body.as_ref());
    response.body = body.map(|(_, text)| text.into_bytes()).unwrap_or_default();
    response.into()
}

fn finish_headers(list: &mut rsip::Headers, body: Option<&(&str, String)>) {
    if let Some((kind, _)) = body {
        list.push(Header::ContentType(headers::ContentType::new(*kind)));
    }
    let length = body.map_or(0, |(_, text)| text.len());
    list.push(Header::ContentLength(headers::ContentLength::new(
        length.to_string(),
    )));
}

/// Adds to `request` the answer to a challenge (RFC 2617: MD5, `qop=auth`; those for other
/// algorithms are passed over).
pub(crate) fn authorize(
    request: &mut Request,
    response: &Response,
    account: &Account,
) -> Result<()> {
    if account.password.is_empty() {
        bail!("the server wants a password, and the scenario gives none");
    }
    let proxy = response.status_code.code() == 407;
    let challenge = response
        .headers
        .iter()
        .filter_map(|header| match header {
            Header::WwwAuthenticate(header) => header.typed().ok(),
            Header::ProxyAuthenticate(header) => {
                headers::WwwAuthenticate::new(header.value()).typed().ok()
            }
            _ => None,
        })
        .find(|challenge| {
            challenge
                .algorithm
                .is_none_or(|algorithm| algorithm == Algorithm::Md5)
        })
        .context("there is no challenge for MD5")?;
    let qop = challenge.qop.as_ref().map(|_| AuthQop::Auth {
        cnonce: "0a4f113b".to_owned(),
        nc: 1,
    });
    let answer = DigestGenerator {
        username: &account.user,
        password: &account.password,
        nonce: &challenge.nonce,
        uri: &request.uri,
        realm: &challenge.realm,
        method: &request.method,
        qop: qop.as_ref(),
        algorithm: Algorithm::Md5,
    }
    .compute();
    let mut value = format!(
        "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{}\", response=\"{answer}\", algorithm=MD5",
        account.user, challenge.realm, challenge.nonce, request.uri
    );
    if qop.is_some() {
        value.push_str(", qop=auth, nc=00000001, cnonce=\"0a4f113b\"");
    }
    if let Some(opaque) = &challenge.opaque {
        value.push_str(&format!(", opaque=\"{opaque}\""));
    }
    request.headers.push(if proxy {
        Header::ProxyAuthorization(headers::ProxyAuthorization::new(value))
    } else {
        Header::Authorization(headers::Authorization::new(value))
    });
    Ok(())
}

fn missing(error: rsip::Error) -> anyhow::Error {
    anyhow::anyhow!("{error}")
}

fn uri(text: &str) -> Result<Uri> {
    Uri::try_from(text).map_err(|e| anyhow::anyhow!("{text:?} is no address: {e}"))
}

fn contact_of(list: &rsip::Headers) -> Result<Uri> {
    list.iter()
        .find_map(|header| match header {
            Header::Contact(contact) => contact.uri().ok(),
            _ => None,
        })
        .context("no Contact that can be read")
}

fn record_routes(list: &rsip::Headers) -> Vec<String> {
    list.iter()
        .filter_map(|header| match header {
            Header::RecordRoute(route) => Some(route.value().to_owned()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "127.0.0.1:5070";
    const PEER: &str = "127.0.0.1:5060";

    fn dialog() -> Dialog {
        let address = |text: &str| text.parse().expect("an address");
        Dialog::calling("c1".to_owned(), "alice", "100", address(OWN), address(PEER))
            .expect("a dialog")
    }

    fn text(request: Request) -> String {
        String::from_utf8(finish(request, None)).expect("text")
    }

    #[test]
    fn a_challenge_is_answered_as_the_rfc_computes_it() {
        let mut dialog = dialog();
        let mut request = dialog.request(Method::Register, "z9hG4bK1");
        let challenge = "SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/UDP x;branch=1\r\nCall-ID: c1\r\n\
            WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\", algorithm=MD5, opaque=\"o\"\r\n\r\n";
        let Ok(SipMessage::Response(response)) = read(challenge.as_bytes()) else {
            panic!("a response")
        };
        let mut account = Account {
            user: "alice".to_owned(),
            password: String::new(),
        };
        assert!(authorize(&mut request, &response, &account).is_err());
        account.password = "secret".to_owned();
        authorize(&mut request, &response, &account).expect("an answer");
        let text = text(request);
        // md5("md5(alice:r:secret):n:00000001:0a4f113b:auth:md5(REGISTER:sip:100@127.0.0.1:5060)")
        assert!(text.contains("response=\"b5f47d3dd1c09b19"), "{text}");
        assert!(text.contains("opaque=\"o\""), "{text}");
        assert!(
            text.contains("algorithm=MD5, qop=auth, nc=00000001"),
            "{text}"
        );
    }

    #[test]
    fn a_dialog_goes_where_the_answer_says() {
        let mut dialog = dialog();
        let invite = text(dialog.request(Method::Invite, "z9hG4bK1"));
        assert!(
            invite.starts_with("INVITE sip:100@127.0.0.1:5060 SIP/2.0\r\n"),
            "{invite}"
        );
        assert!(
            invite.contains("From: <sip:alice@127.0.0.1:5060>;tag=c1\r\n"),
            "{invite}"
        );
        let answer = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x;branch=1\r\nTo: <sip:100@x>;tag=t\r\n\
            From: <sip:a@x>;tag=c1\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\nRecord-Route: <sip:p1;lr>\r\nRecord-Route: <sip:p2;lr>\r\n\
            Contact: <sip:100@127.0.0.9:5099>\r\n\r\n";
        let Ok(SipMessage::Response(response)) = read(answer.as_bytes()) else {
            panic!("a response")
        };
        dialog.established(&response).expect("established");
        let ack = text(dialog.ack(1, "z9hG4bK2", None));
        assert!(
            ack.starts_with("ACK sip:100@127.0.0.9:5099 SIP/2.0\r\n"),
            "{ack}"
        );
        assert!(ack.contains("CSeq: 1 ACK\r\n"), "{ack}");
        assert!(ack.contains("To: <sip:100@x>;tag=t\r\n"), "{ack}");
        let places = ["<sip:p2;lr>", "<sip:p1;lr>"].map(|route| ack.find(route));
        assert!(places[0].is_some() && places[0] < places[1], "{ack}");
        let bye = text(dialog.request(Method::Bye, "z9hG4bK3"));
        assert!(bye.contains("CSeq: 2 BYE\r\n"), "{bye}");
    }

    #[test]
    fn an_answer_names_the_request_and_us() {
        let request = "INVITE sip:900@127.0.0.1:5070 SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=1\r\nVia: SIP/2.0/UDP b;branch=2\r\n\
            From: <sip:x@y>;tag=f\r\nTo: <sip:900@127.0.0.1>\r\nCall-ID: k\r\nCSeq: 7 INVITE\r\nContact: <sip:s@127.0.0.1:5060>\r\n\r\n";
        let Ok(SipMessage::Request(request)) = read(request.as_bytes()) else {
            panic!("a request")
        };
        let address = |text: &str| text.parse().expect("an address");
        let dialog = Dialog::called(&request, "mine", address(OWN)).expect("a dialog");
        let answer = finish_response(dialog.respond(&request, 200), Some("v=0\r\n".to_owned()));
        let answer = String::from_utf8(answer).expect("text");
        assert!(answer.starts_with("SIP/2.0 200 OK\r\n"), "{answer}");
        for line in [
            "Via: SIP/2.0/UDP a;branch=1\r\nVia: SIP/2.0/UDP b;branch=2\r\n",
            "To: <sip:900@127.0.0.1>;tag=mine\r\n",
            "Contact: <sip:900@127.0.0.1:5070>\r\n",
            "CSeq: 7 INVITE\r\n",
            "Content-Length: 5\r\n\r\nv=0\r\n",
        ] {
            assert!(answer.contains(line), "{line:?} is missing in {answer}");
        }
    }
}
