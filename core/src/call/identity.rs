//! Who is shown to whom: the caller of what comes in, From and identity headers of what goes out, the connected party in
//! responses and in the middle of calls (RFC 3323, RFC 3325, and Remote-Party-ID as devices know it).

use std::net::SocketAddr;

use strowger_sip::uri::Scheme;
use strowger_sip::{HeaderName, Host, Message, Method, NameAddr, Uri};
use strowger_store::{DirectMediaMethod, Endpoint, Globals};

use super::renegotiate::Wanted;
use crate::channel::{Channel, Party, Presentation, State};

/// The host of a From that tells nobody (RFC 3323 §4.1.1.3).
const ANONYMOUS_HOST: &str = "anonymous.invalid";

/// The caller's identity: the one that a trusted endpoint asserts, else the endpoint's `callerid`, else From.
pub(super) fn caller_of(
    endpoint: &Endpoint,
    globals: &Globals,
    request: &Message,
    from: &NameAddr,
) -> Party {
    let asserted = endpoint
        .trust_id_inbound
        .then(|| asserted_in(request, globals))
        .flatten();
    let mut party = asserted.unwrap_or_else(|| said_of(endpoint, globals, request, from));
    party.tag = endpoint.callerid_tag.clone().unwrap_or_default();
    party
}

/// What the endpoint's row says of it, completed by From.
fn said_of(endpoint: &Endpoint, globals: &Globals, request: &Message, from: &NameAddr) -> Party {
    let shown = party_of(from, globals);
    let mut party = configured(endpoint).unwrap_or_default();
    if party.number.is_empty() {
        party.number = shown.number;
        if !shown.name.is_empty() {
            party.name = shown.name;
        }
    }
    let (presentation, screened) = privacy_of(endpoint);
    party.presentation = presentation;
    party.screened = screened;
    let nobody =
        matches!(&from.uri.host, Host::Name(name) if name.eq_ignore_ascii_case(ANONYMOUS_HOST));
    if nobody || wants_privacy(request) {
        party.presentation = Presentation::Prohibited;
    }
    party
}

/// The `callerid` of an endpoint, if it has one.
pub(super) fn configured(endpoint: &Endpoint) -> Option<Party> {
    let text = endpoint.callerid.as_deref()?;
    let (presentation, screened) = privacy_of(endpoint);
    Some(Party {
        presentation,
        screened,
        tag: endpoint.callerid_tag.clone().unwrap_or_default(),
        ..Party::parse(text)
    })
}

/// The user of our Contact towards this endpoint: its `contact_user`, or with `use_callerid_contact` the number of whom it is
/// shown.
pub(super) fn contact_user(
    endpoint: &Endpoint,
    globals: &Globals,
    shown: &Party,
) -> Option<String> {
    let number = shown.number.as_str();
    let hidden = shown.presentation != Presentation::Allowed && !endpoint.trust_id_outbound;
    let caller =
        (globals.use_callerid_contact && !number.is_empty() && !hidden).then(|| number.to_owned());
    endpoint.contact_user.clone().or(caller)
}

/// `callerid_privacy`: whether it may be shown, and whether somebody has checked it.
fn privacy_of(endpoint: &Endpoint) -> (Presentation, bool) {
    let word = endpoint.callerid_privacy.trim();
    let presentation = if word.starts_with("prohib") {
        Presentation::Prohibited
    } else if word == "unavailable" {
        Presentation::Unavailable
    } else {
        Presentation::Allowed
    };
    (presentation, word.ends_with("passed_screened"))
}

fn party_of(address: &NameAddr, globals: &Globals) -> Party {
    let user = address.uri.user_decoded().unwrap_or_default();
    Party {
        number: number_of(&user, globals).to_owned(),
        name: address.display.clone().unwrap_or_default(),
        ..Party::default()
    }
}

/// The user without what some devices put behind a semicolon (`ignore_uri_user_options`).
pub(super) fn number_of<'a>(user: &'a str, globals: &Globals) -> &'a str {
    if globals.ignore_uri_user_options {
        user.split(';').next().unwrap_or(user)
    } else {
        user
    }
}

/// The sender asks that its identity be withheld (RFC 3323 §4.2, RFC 3325 §9.3).
fn wants_privacy(message: &Message) -> bool {
    message.headers(&HeaderName::Privacy).any(|value| {
        value.split([';', ',']).any(|word| {
            ["id", "user", "header"]
                .iter()
                .any(|known| word.trim().eq_ignore_ascii_case(known))
        })
    })
}

/// The identity that a message asserts: P-Asserted-Identity, Remote-Party-ID, P-Preferred-Identity, the first of them.
pub(super) fn asserted_in(message: &Message, globals: &Globals) -> Option<Party> {
    for name in [
        HeaderName::PAssertedIdentity,
        HeaderName::RemotePartyId,
        HeaderName::PPreferredIdentity,
    ] {
        let values = message.headers(&name);
        let mut list = values.flat_map(|value| NameAddr::parse_list(value).unwrap_or_default());
        // §9.1: at most a SIP URI and a tel URI; one without a number tells nothing.
        let found = list.find(|address| {
            matches!(address.uri.scheme, Scheme::Sip | Scheme::Sips | Scheme::Tel)
                && address
                    .uri
                    .user_decoded()
                    .is_some_and(|user| !user.is_empty())
        });
        let Some(address) = found else { continue };
        let mut party = party_of(&address, globals);
        if name == HeaderName::RemotePartyId {
            let privacy = address.param("privacy").unwrap_or("off");
            if !privacy.eq_ignore_ascii_case("off") {
                party.presentation = Presentation::Prohibited;
            }
            party.screened = address
                .param("screen")
                .is_some_and(|word| word.eq_ignore_ascii_case("yes"));
        }
        if wants_privacy(message) {
            party.presentation = Presentation::Prohibited;
        }
        return Some(party);
    }
    None
}

impl Channel {
    /// The far end is connected with somebody else from now on, and is told so.
    pub(super) fn connect_with(&self, party: Party) {
        if self.data().connected != party {
            self.data_mut().connected = party;
            self.tell_connected();
        }
    }

    /// Tells the far end of an answered call whom it is connected with (`send_connected_line`, `connected_line_method`).
    /// Before the answer the responses to its INVITE do.
    pub fn tell_connected(&self) {
        let Some(endpoint) = self.endpoint().cloned() else {
            return;
        };
        if self.is_over() || self.data().state != State::Up {
            return;
        }
        let flow = self.session().as_ref().map(|session| session.flow);
        let Some(flow) = flow else { return };
        let at = self.shard().advertised(&flow);
        let headers = connected_headers(&endpoint, &self.data().connected, at);
        if headers.is_empty() {
            return;
        }
        // An UPDATE where the far end takes one, or always a re-INVITE.
        let method = match endpoint.connected_line_method {
            DirectMediaMethod::Update => None,
            DirectMediaMethod::Invite => Some(Method::Invite),
        };
        self.renegotiate(Wanted::refresh(method).with(headers));
    }

    /// The far end says who it is, where it is believed (`trust_id_inbound`, `trust_connected_line`).
    pub(super) fn learn_identity(&self, message: &Message) {
        let believed = |endpoint: &&std::sync::Arc<Endpoint>| {
            endpoint.trust_id_inbound && endpoint.trust_connected_line
        };
        if self.endpoint().filter(believed).is_none() {
            return;
        }
        let snapshot = self.shard().shared().snapshot();
        if let Some(party) = asserted_in(message, &snapshot.globals) {
            let mut data = self.data_mut();
            let tag = std::mem::take(&mut data.caller.tag);
            data.caller = Party { tag, ..party };
        }
    }
}

/// What we are to the party that an identity is told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Calling,
    Called,
}

/// What a request to an endpoint says of the caller.
#[derive(Debug)]
pub(super) struct Identity {
    /// From, without a tag.
    pub(super) from: NameAddr,
    /// P-Asserted-Identity, Privacy and Remote-Party-ID, where the endpoint is told them.
    pub(super) headers: Vec<(HeaderName, String)>,
}

/// The domain that identities towards an endpoint bear: `from_domain`, else our address `at`.
pub(super) fn domain(endpoint: &Endpoint, at: SocketAddr) -> String {
    endpoint
        .from_domain
        .clone()
        .unwrap_or_else(|| Host::from(at.ip()).to_string())
}

/// May this endpoint not learn who that is?
fn is_hidden(endpoint: &Endpoint, party: &Party) -> bool {
    party.presentation != Presentation::Allowed && !endpoint.trust_id_outbound
}

/// How `party` is shown to an endpoint that is called from our address `at`.
pub(super) fn shown_to(
    endpoint: &Endpoint,
    globals: &Globals,
    party: &Party,
    at: SocketAddr,
    default_port: u16,
) -> Identity {
    let hidden = is_hidden(endpoint, party);
    let mut host = domain(endpoint, at);
    let mut port = (endpoint.from_domain.is_none() && at.port() != default_port).then(|| at.port());
    if hidden && endpoint.from_domain.is_none() {
        (host, port) = (ANONYMOUS_HOST.to_owned(), None);
    }
    let (user, name) = match &endpoint.from_user {
        Some(user) => (user.as_str(), ""),
        None if hidden => ("anonymous", "Anonymous"),
        None if party.number.is_empty() => (globals.default_from_user.as_str(), &*party.name),
        None => (party.number.as_str(), &*party.name),
    };
    let mut uri = Uri::sip(Some(user), Host::Name(host), port);
    phone(endpoint, &mut uri);
    Identity {
        from: named(name, uri),
        headers: headers(endpoint, party, at, Role::Calling),
    }
}

/// The identity headers that tell an endpoint who `party` is.
pub(super) fn headers(
    endpoint: &Endpoint,
    party: &Party,
    at: SocketAddr,
    role: Role,
) -> Vec<(HeaderName, String)> {
    let mut headers = Vec::new();
    if party.number.is_empty() || is_hidden(endpoint, party) {
        return headers;
    }
    let private = party.presentation != Presentation::Allowed;
    let mut uri = Uri::sip(Some(&party.number), Host::Name(domain(endpoint, at)), None);
    phone(endpoint, &mut uri);
    let address = named(&party.name, uri);
    if endpoint.send_pai {
        headers.push((HeaderName::PAssertedIdentity, address.to_string()));
        if private {
            headers.push((HeaderName::Privacy, "id".to_owned()));
        }
    }
    if endpoint.send_rpid {
        let role = match role {
            Role::Calling => "calling",
            Role::Called => "called",
        };
        let privacy = if private { "full" } else { "off" };
        let screen = if party.screened { "yes" } else { "no" };
        headers.push((
            HeaderName::RemotePartyId,
            format!("{address};party={role};privacy={privacy};screen={screen}"),
        ));
    }
    headers
}

/// The identity of the party that an endpoint is connected with, for responses and later requests.
pub(super) fn connected_headers(
    endpoint: &Endpoint,
    party: &Party,
    at: SocketAddr,
) -> Vec<(HeaderName, String)> {
    if endpoint.send_connected_line {
        headers(endpoint, party, at, Role::Called)
    } else {
        Vec::new()
    }
}

/// `user_eq_phone`: says that the user is a telephone number, where it is one.
pub(super) fn phone(endpoint: &Endpoint, uri: &mut Uri) {
    let is_number = uri.user.as_deref().is_some_and(|user| {
        let digits = user.strip_prefix('+').unwrap_or(user);
        !digits.is_empty()
            && digits
                .chars()
                .all(|c| c.is_ascii_digit() || "*#".contains(c))
    });
    if endpoint.user_eq_phone
        && is_number
        && matches!(uri.scheme, Scheme::Sip | Scheme::Sips)
        && !uri.params.has("user")
    {
        uri.params.set("user", Some("phone"));
    }
}

/// An address with a display name, unless that is empty.
pub(super) fn named(name: &str, uri: Uri) -> NameAddr {
    let mut address = NameAddr::new(uri);
    address.display = (!name.is_empty()).then(|| name.to_owned());
    address
}

#[cfg(test)]
mod tests;
