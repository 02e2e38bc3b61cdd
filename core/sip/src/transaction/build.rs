//! The messages a transaction layer makes by itself: ACK for failures, CANCEL, 100 Trying and refusals.

use crate::headers::Via;
use crate::message::{Builder, HeaderName, Message, Method};

/// Host (lower case) and port of a Via, as matching wants them (§18.1.2, §17.2.3).
pub(super) fn sent_by(via: &Via) -> (String, Option<u16>) {
    (via.host.to_string().to_ascii_lowercase(), via.port)
}

/// The To tag of a response, unless it is a 100 (which has none, §8.2.6.2).
pub(super) fn to_tag(response: &Message) -> Option<String> {
    Some(response.to().ok()?.tag()?.to_owned())
}

/// §17.1.1.3: the ACK for a final response other than 2xx has the Request-URI, Call-ID, From, Route and top Via of the
/// INVITE, the To of the response, and the CSeq number.
pub(super) fn ack(invite: &Message, response: &Message) -> Message {
    let to = response.header(&HeaderName::To);
    companion(invite, Method::Ack, to.unwrap_or_default()).finish()
}

/// §9.1: a CANCEL has the Request-URI, Call-ID, From, To, Route and top Via of the INVITE, and its CSeq number.
pub(super) fn cancel(invite: &Message, reason: Option<&str>) -> Message {
    let to = invite.header(&HeaderName::To).unwrap_or_default();
    let mut builder = companion(invite, Method::Cancel, to);
    if let Some(reason) = reason {
        builder = builder.header(HeaderName::Reason, reason);
    }
    builder.finish()
}

fn companion(invite: &Message, method: Method, to: &str) -> Builder {
    let number = invite.cseq().map(|cseq| cseq.number).unwrap_or_default();
    let cseq = format!("{number} {}", method.as_str());
    let mut builder = Builder::request(method, invite.request_uri().unwrap_or_default());
    if let Some(via) = invite.values(&HeaderName::Via).next() {
        builder = builder.header(HeaderName::Via, via);
    }
    for route in invite.headers(&HeaderName::Route) {
        builder = builder.header(HeaderName::Route, route);
    }
    for name in [HeaderName::From, HeaderName::CallId] {
        let value = invite.header(&name).unwrap_or_default();
        builder = builder.header(name, value);
    }
    builder
        .header(HeaderName::To, to)
        .header(HeaderName::CSeq, cseq)
        .header(HeaderName::MaxForwards, "70")
}

/// 100 Trying, without a To tag (§8.2.6.2).
pub(super) fn trying(request: &Message) -> Message {
    Builder::response_to(request, 100, "").finish()
}

/// A final response of the layer.
pub(super) fn reply(
    request: &Message,
    status: u16,
    reason: &str,
    tag: &str,
    headers: &[(HeaderName, &str)],
) -> Message {
    let mut builder = Builder::response_to(request, status, reason).to_tag(tag);
    for (name, value) in headers {
        builder = builder.header(name.clone(), *value);
    }
    builder.finish()
}
