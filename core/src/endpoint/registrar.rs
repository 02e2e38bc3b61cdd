//! REGISTER (RFC 3261 §10.3, RFC 3327): which contacts of an address of record come, stay and go, and what is answered.

use std::net::IpAddr;

use strowger_sip::headers::{Contacts as ContactList, NameAddr};
use strowger_sip::uri::Scheme;
use strowger_sip::{Builder, Flow, HeaderName, Message, Transport, Uri};
use strowger_store::{Aor, Contact as Row, Endpoint, Snapshot};

use super::acl::contact_allowed;
use super::contacts::{Change, Contact, Contacts, Status, TRANSPORT, contact_id, epoch_now};
use crate::transport::settings::symmetric;

/// The longest contact URI that `ps_contacts` holds.
const URI_LENGTH_MAX: usize = 511;
/// Contacts in one REGISTER at most.
const CONTACTS_PER_REQUEST_MAX: usize = 32;

/// What became of a REGISTER.
#[derive(Debug)]
pub struct Outcome {
    /// The response.
    pub response: Message,
    /// Contacts added or refreshed.
    pub registered: u64,
    /// Contacts removed, on demand or to make room.
    pub removed: u64,
    /// Not a 200.
    pub refused: bool,
    /// The address of record, where one was found.
    pub aor: Option<String>,
}

/// Why a REGISTER is refused.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    status: u16,
    reason: &'static str,
    header: Option<(HeaderName, String)>,
}

const fn refuse(status: u16, reason: &'static str) -> Refusal {
    Refusal {
        status,
        reason,
        header: None,
    }
}

/// The address of record of the endpoint that the To of the request names.
fn find_aor<'a>(snapshot: &'a Snapshot, endpoint: &Endpoint, to: &Uri) -> Result<&'a Aor, Refusal> {
    if endpoint.aors.is_empty() {
        return Err(refuse(403, "Forbidden (endpoint has no AOR)"));
    }
    let user = to.user_decoded().unwrap_or_default();
    let host = to.host.to_string();
    let real = snapshot
        .domain_aliases
        .get(&host)
        .map(|alias| alias.domain.as_str());
    let mut names = Vec::new();
    if !snapshot.globals.disable_multi_domain {
        names.push(format!("{user}@{host}"));
        names.extend(real.map(|real| format!("{user}@{real}")));
    }
    names.push(user.into_owned());
    names
        .iter()
        .find(|name| endpoint.aors.iter().any(|aor| aor.trim() == name.as_str()))
        .and_then(|name| snapshot.aors.get(name))
        .map(|aor| &**aor)
        .ok_or(refuse(404, "Not Found (no such AOR of this endpoint)"))
}

/// Everything the decision rests on.
struct Request<'a> {
    snapshot: &'a Snapshot,
    message: &'a Message,
    endpoint: &'a Endpoint,
    aor: &'a Aor,
    flow: &'a Flow,
    now: i64,
    call_id: &'a str,
    cseq: u32,
    path: Vec<String>,
}

/// Registers at the present time; see [`register_at`].
pub fn register(
    snapshot: &Snapshot,
    contacts: &Contacts,
    endpoint: &Endpoint,
    message: &Message,
    flow: &Flow,
) -> Outcome {
    let tag = format!("{:016x}", crate::random_u64());
    register_at(
        snapshot,
        contacts,
        endpoint,
        message,
        flow,
        epoch_now(),
        &tag,
    )
}

/// Works on a REGISTER of an authenticated endpoint at this time, in seconds since 1970: changes the contacts, and says
/// what to answer. All of its contacts are taken, or none.
pub fn register_at(
    snapshot: &Snapshot,
    contacts: &Contacts,
    endpoint: &Endpoint,
    message: &Message,
    flow: &Flow,
    now: i64,
    tag: &str,
) -> Outcome {
    let mut name = None;
    let result = admit(snapshot, endpoint, message, flow, now).and_then(|request| {
        name = Some(request.aor.id.clone());
        let list = message
            .contacts()
            .map_err(|_| refuse(400, "Bad Request (Contact)"))?;
        contacts.update(&request.aor.id, |current| {
            match decide(&request, &list, current) {
                Ok(changes) => {
                    let counts = count(&changes);
                    let listed = listing(&request, current, &changes);
                    (changes, Ok((counts, listed, request.path.clone())))
                }
                Err(refusal) => (Vec::new(), Err(refusal)),
            }
        })
    });
    match result {
        Ok(((registered, removed), listed, path)) => {
            let mut response = Builder::response_to(message, 200, "").to_tag(tag);
            for contact in listed {
                response.push(HeaderName::Contact, contact);
            }
            for value in path {
                response.push(HeaderName::Path, value);
            }
            if let Some(date) = chrono::DateTime::from_timestamp(now, 0) {
                response.push(
                    HeaderName::Date,
                    date.format("%a, %d %b %Y %H:%M:%S GMT").to_string(),
                );
            }
            Outcome {
                response: response.finish(),
                registered,
                removed,
                refused: false,
                aor: name,
            }
        }
        Err(refusal) => {
            let mut response =
                Builder::response_to(message, refusal.status, refusal.reason).to_tag(tag);
            if let Some((header, value)) = refusal.header {
                response.push(header, value);
            }
            Outcome {
                response: response.finish(),
                registered: 0,
                removed: 0,
                refused: true,
                aor: name,
            }
        }
    }
}

fn count(changes: &[Change]) -> (u64, u64) {
    let set = changes
        .iter()
        .filter(|c| matches!(c, Change::Set(_)))
        .count() as u64;
    (set, changes.len() as u64 - set)
}

/// What can be said before looking at the contacts: extensions, the AOR, Path.
fn admit<'a>(
    snapshot: &'a Snapshot,
    endpoint: &'a Endpoint,
    message: &'a Message,
    flow: &'a Flow,
    now: i64,
) -> Result<Request<'a>, Refusal> {
    let bad = |_| refuse(400, "Bad Request");
    let aor = find_aor(snapshot, endpoint, &message.to().map_err(bad)?.uri)?;
    let unsupported: Vec<&str> = message
        .values(&HeaderName::Require)
        .filter(|tag| !(tag.eq_ignore_ascii_case("path") && aor.support_path))
        .collect();
    if !unsupported.is_empty() {
        // RFC 3261 §8.2.2.3
        return Err(Refusal {
            status: 420,
            reason: "Bad Extension",
            header: Some((HeaderName::Unsupported, unsupported.join(", "))),
        });
    }
    let path = if aor.support_path {
        let list = message
            .addresses(HeaderName::Path)
            .map_err(|_| refuse(400, "Bad Request (Path)"))?;
        list.iter().map(ToString::to_string).collect()
    } else {
        Vec::new()
    };
    Ok(Request {
        snapshot,
        message,
        endpoint,
        aor,
        flow,
        now,
        call_id: message.call_id().map_err(bad)?,
        cseq: message.cseq().map_err(bad)?.number,
        path,
    })
}

/// RFC 3261 §10.3 step 7: an older request of the same Call-ID must not undo a newer one.
fn in_order(request: &Request<'_>, binding: &Contact) -> Result<(), Refusal> {
    let same_call = binding.row.call_id.as_deref() == Some(request.call_id);
    if same_call && binding.cseq.is_some_and(|cseq| request.cseq <= cseq) {
        return Err(refuse(500, "Server Internal Error (CSeq out of order)"));
    }
    Ok(())
}

fn decide(
    request: &Request<'_>,
    list: &ContactList,
    current: &[std::sync::Arc<Contact>],
) -> Result<Vec<Change>, Refusal> {
    let dynamic = || current.iter().filter(|c| !c.is_static);
    let contacts = match list {
        ContactList::Star => {
            // §10.2.2: only together with an expiry of zero.
            if request.message.expires() != Some(0) {
                return Err(refuse(400, "Bad Request (Contact * needs Expires 0)"));
            }
            for binding in dynamic() {
                in_order(request, binding)?;
            }
            return Ok(dynamic()
                .map(|c| Change::Remove(c.row.id.clone()))
                .collect());
        }
        ContactList::List(contacts) => contacts,
    };
    if contacts.is_empty() {
        return Ok(Vec::new());
    }
    if request.aor.max_contacts == 0 {
        return Err(refuse(403, "Forbidden (max_contacts of the AOR is 0)"));
    }
    if contacts.len() > CONTACTS_PER_REQUEST_MAX {
        return Err(refuse(400, "Bad Request (too many contacts)"));
    }
    let mut changes: Vec<Change> = Vec::new();
    for contact in contacts {
        let (uri, text) = target(request, contact)?;
        let expires = contact.expires().or_else(|| request.message.expires());
        // The same contact: an equal URI; or, behind a NAT that gave it another port, the same user in the same Call-ID.
        let known = dynamic().find(|c| c.uri.matches(&uri)).or_else(|| {
            dynamic().find(|c| {
                request.endpoint.rewrite_contact
                    && c.row.call_id.as_deref() == Some(request.call_id)
                    && c.uri.user == uri.user
            })
        });
        if let Some(known) = known {
            in_order(request, known)?;
        }
        if expires == Some(0) {
            changes.extend(known.map(|c| Change::Remove(c.row.id.clone())));
            continue;
        }
        let set = binding(request, contact, uri, text, expires);
        if let Some(moved) = known.filter(|c| c.row.id != set.row.id) {
            changes.push(Change::Remove(moved.row.id.clone()));
        }
        changes.retain(|c| !matches!(c, Change::Set(other) if other.row.id == set.row.id));
        changes.push(Change::Set(Box::new(set)));
    }
    make_room(request, current, &mut changes)?;
    Ok(changes)
}

/// The URI to store: that of the contact, or the same user at the address the request came from.
fn target(request: &Request<'_>, contact: &NameAddr) -> Result<(Uri, String), Refusal> {
    let mut uri = contact.uri.clone();
    if !matches!(uri.scheme, Scheme::Sip | Scheme::Sips) {
        return Err(refuse(400, "Bad Request (Contact is no SIP URI)"));
    }
    if request.endpoint.rewrite_contact {
        let remote = request.flow.remote;
        uri.host = remote.ip().to_canonical().into();
        uri.port = Some(remote.port());
        if request.flow.transport == Transport::Udp {
            uri.params.remove("transport");
        } else {
            uri.params
                .set("transport", Some(request.flow.transport.uri_param()));
        }
    }
    let address: Option<IpAddr> = uri.host.ip();
    let allowed = address.map_or(Ok(true), |ip| {
        contact_allowed(request.snapshot, request.endpoint, ip)
    });
    if allowed != Ok(true) {
        return Err(refuse(403, "Forbidden (Contact address denied)"));
    }
    let text = uri.to_string();
    if text.len() > URI_LENGTH_MAX {
        return Err(refuse(400, "Bad Request (Contact too long)"));
    }
    Ok((uri, text))
}

fn binding(
    request: &Request<'_>,
    contact: &NameAddr,
    uri: Uri,
    text: String,
    expires: Option<u32>,
) -> Contact {
    let aor = request.aor;
    let expires = expires
        .unwrap_or(aor.default_expiration)
        .min(aor.maximum_expiration.max(1))
        .max(aor.minimum_expiration);
    let remote = request.flow.remote;
    let transport = symmetric(&request.snapshot.transports, request.flow);
    let mut stored = text.clone();
    if transport.is_some() {
        let mut named = uri.clone();
        named.params.set(TRANSPORT, transport);
        let named = named.to_string();
        if named.len() <= URI_LENGTH_MAX {
            stored = named;
        }
    }
    let row = Row {
        id: contact_id(&aor.id, &text),
        uri: stored,
        expiration_time: request.now.saturating_add(i64::from(expires)),
        qualify_frequency: aor.qualify_frequency,
        outbound_proxy: aor.outbound_proxy.clone(),
        path: (!request.path.is_empty()).then(|| request.path.join(", ")),
        user_agent: request
            .message
            .header(&HeaderName::UserAgent)
            .map(|agent| agent.chars().take(255).collect()),
        qualify_timeout: aor.qualify_timeout,
        reg_server: String::new(),
        authenticate_qualify: aor.authenticate_qualify,
        via_addr: Some(remote.ip().to_canonical().to_string()),
        via_port: remote.port(),
        call_id: Some(request.call_id.chars().take(255).collect()),
        endpoint: Some(request.endpoint.id.clone()),
        // Reached by the connection it came on, and by nothing else.
        prune_on_boot: request.flow.transport.is_websocket()
            || (request.flow.transport.is_reliable() && request.endpoint.rewrite_contact),
        qualify_2xx_only: aor.qualify_2xx_only,
    };
    let mut made = Contact::new(&aor.id, uri, row);
    made.sent_uri = contact.uri.to_string();
    made.q_milli = contact.q_milli();
    made.path.clone_from(&request.path);
    made.cseq = Some(request.cseq);
    made.connection = request.flow.connection;
    made.transport = transport.map(str::to_owned);
    made
}

/// Keeps within `max_contacts`: unreachable ones go first where `remove_unavailable` says so, then the oldest where
/// `remove_existing` does; otherwise the request is refused.
fn make_room(
    request: &Request<'_>,
    current: &[std::sync::Arc<Contact>],
    changes: &mut Vec<Change>,
) -> Result<(), Refusal> {
    let max = usize::try_from(request.aor.max_contacts).unwrap_or(usize::MAX);
    let coming = changes
        .iter()
        .filter(|c| matches!(c, Change::Set(_)))
        .count();
    let touched = |id: &str| {
        changes.iter().any(|change| match change {
            Change::Set(contact) => contact.row.id == id,
            Change::Remove(removed) => removed == id,
        })
    };
    let mut staying: Vec<_> = current
        .iter()
        .filter(|c| !c.is_static && c.is_alive(request.now) && !touched(&c.row.id))
        .collect();
    let over = (coming + staying.len()).saturating_sub(max);
    if over == 0 {
        return Ok(());
    }
    // The last one goes first: oldest at the end, unreachable ones behind them.
    staying.sort_by_key(|c| {
        let unavailable = request.aor.remove_unavailable && c.status().0 == Status::Unreachable;
        (unavailable, std::cmp::Reverse(c.row.expiration_time))
    });
    let removable = if request.aor.remove_existing {
        staying.len()
    } else if request.aor.remove_unavailable {
        staying
            .iter()
            .filter(|c| c.status().0 == Status::Unreachable)
            .count()
    } else {
        0
    };
    if over > removable {
        return Err(refuse(403, "Forbidden (too many contacts)"));
    }
    let victims: Vec<Change> = staying
        .iter()
        .rev()
        .take(over)
        .map(|c| Change::Remove(c.row.id.clone()))
        .collect();
    changes.extend(victims);
    Ok(())
}

/// The Contact values of the answer (§10.3 step 8): every registered contact, as the phone knows it, with what is left.
fn listing(
    request: &Request<'_>,
    current: &[std::sync::Arc<Contact>],
    changes: &[Change],
) -> Vec<String> {
    let line = |contact: &Contact| {
        let left = contact.row.expiration_time.saturating_sub(request.now);
        let q = if contact.q_milli == 1000 {
            String::new()
        } else {
            format!(";q=0.{:03}", contact.q_milli)
        };
        format!("<{}>{q};expires={left}", contact.sent_uri)
    };
    let kept = current
        .iter()
        .filter(|c| !c.is_static && c.is_alive(request.now))
        .filter(|c| {
            !changes.iter().any(|change| match change {
                Change::Set(contact) => contact.row.id == c.row.id,
                Change::Remove(id) => *id == c.row.id,
            })
        })
        .map(|c| line(c));
    let set = changes.iter().filter_map(|change| match change {
        Change::Set(contact) => Some(line(contact)),
        Change::Remove(_) => None,
    });
    kept.chain(set).collect()
}

#[cfg(test)]
mod tests;
