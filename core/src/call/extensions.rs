//! Option tags (RFC 3261 §19.2): what a peer may require of us, and what we say we can.

use strowger_sip::{HeaderName, Message, reliable, session_timer};
use strowger_store::{Endpoint, Rel100, SessionTimers};

/// Taking the place of another dialog (RFC 3891).
const REPLACES: &str = "replaces";

/// Can we do this with that endpoint?
fn is_spoken(tag: &str, endpoint: Option<&Endpoint>) -> bool {
    if tag.eq_ignore_ascii_case(reliable::OPTION) {
        endpoint.is_none_or(|endpoint| endpoint.rel100 != Rel100::No)
    } else if tag.eq_ignore_ascii_case(session_timer::OPTION) {
        endpoint.is_none_or(|endpoint| endpoint.timers != SessionTimers::No)
    } else {
        tag.eq_ignore_ascii_case(REPLACES)
    }
}

/// The value of Supported; empty where there is nothing.
pub(crate) fn supported(endpoint: Option<&Endpoint>) -> String {
    let tags = [reliable::OPTION, session_timer::OPTION, REPLACES];
    let spoken: Vec<&str> = tags
        .into_iter()
        .filter(|tag| is_spoken(tag, endpoint))
        .collect();
    spoken.join(", ")
}

/// The same for a re-INVITE or UPDATE, whose provisional responses are not acknowledged (RFC 3262 §4 leaves that to us).
pub(crate) fn supported_in_dialog(endpoint: Option<&Endpoint>) -> &'static str {
    if is_spoken(session_timer::OPTION, endpoint) {
        session_timer::OPTION
    } else {
        ""
    }
}

/// What a request requires and we cannot: the value of Unsupported, with a 420. `None` where we can all of it.
pub(crate) fn unsupported(request: &Message, endpoint: Option<&Endpoint>) -> Option<String> {
    let unknown: Vec<&str> = request
        .values(&HeaderName::Require)
        .filter(|tag| !is_spoken(tag, endpoint))
        .collect();
    (!unknown.is_empty()).then(|| unknown.join(", "))
}

/// Does the sender of this message take UPDATE (RFC 3311 §4)? `None` where it does not say what it takes.
pub(crate) fn takes_update(message: &Message) -> Option<bool> {
    message.header(&HeaderName::Allow)?;
    Some(message.lists(&HeaderName::Allow, "UPDATE"))
}
