//! Endpoints, their contacts, and registrations with other servers.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use strowger_core::endpoint::contacts::{Contact, epoch_now};
use strowger_store::Endpoint;
use utoipa::ToSchema;
use warp::http::StatusCode;

use super::problem::Problem;
use super::{Answered, On, done};
use crate::http::json;

/// An endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EndpointView {
    id: String,
    /// Where its calls begin.
    context: String,
    caller_id: Option<String>,
    /// The state of its device, in Asterisk's words: `NOT_INUSE`, `INUSE`, `UNAVAILABLE`, ...
    state: &'static str,
    aors: Vec<String>,
    codecs: Vec<String>,
    transport: Option<String>,
    contacts: Vec<ContactView>,
}

/// Where an endpoint is reached.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ContactView {
    aor: String,
    uri: String,
    user_agent: Option<String>,
    /// `Reachable`, `Unreachable`, `NonQualified`, `Unknown`.
    status: &'static str,
    /// Microseconds; null: not measured.
    round_trip_us: Option<u64>,
    /// Seconds; null: for ever.
    expires_in_s: Option<i64>,
    /// It stands in the row of the AOR.
    is_static: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EndpointList {
    endpoints: Vec<EndpointView>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ContactList {
    contacts: Vec<ContactView>,
}

impl ContactView {
    fn of(contact: &Contact) -> Self {
        let (status, round_trip_us) = contact.status();
        let left = contact.row.expiration_time - epoch_now();
        Self {
            aor: contact.aor.clone(),
            uri: contact.uri.to_string(),
            user_agent: contact.row.user_agent.clone(),
            status: status.as_str(),
            round_trip_us,
            expires_in_s: (!contact.is_static).then_some(left.max(0)),
            is_static: contact.is_static,
        }
    }
}

fn contacts_of(on: &On, endpoint: &Endpoint) -> Vec<ContactView> {
    let snapshot = on.shared().snapshot();
    let aors = endpoint.aors.iter();
    aors.flat_map(|aor| on.shared().contacts.all(&snapshot, aor))
        .map(|contact| ContactView::of(&contact))
        .collect()
}

fn view(on: &On, endpoint: &Endpoint) -> EndpointView {
    EndpointView {
        id: endpoint.id.clone(),
        context: endpoint.context.clone(),
        caller_id: endpoint.callerid.clone(),
        state: on
            .shared()
            .device_state(&format!("PJSIP/{}", endpoint.id))
            .as_str(),
        aors: endpoint.aors.clone(),
        codecs: endpoint.allow.clone(),
        transport: endpoint.transport.clone(),
        contacts: contacts_of(on, endpoint),
    }
}

/// Endpoints that this key may see, by name.
fn own(on: &On) -> Vec<Arc<Endpoint>> {
    let snapshot = on.shared().snapshot();
    let mut endpoints: Vec<_> = snapshot
        .endpoints
        .values()
        .filter(|endpoint| on.caller.owns_context(&endpoint.context))
        .cloned()
        .collect();
    endpoints.sort_by(|a, b| a.id.cmp(&b.id));
    endpoints
}

/// The endpoints, by name.
#[utoipa::path(get, path = "/api/v1/endpoints", tag = "endpoints", responses((status = 200, body = EndpointList)))]
pub(super) fn endpoints(on: &On) -> Answered {
    let endpoints = own(on).iter().map(|endpoint| view(on, endpoint)).collect();
    Ok(json(StatusCode::OK, &EndpointList { endpoints }))
}

/// One endpoint.
#[utoipa::path(get, path = "/api/v1/endpoints/{id}", tag = "endpoints", params(("id" = String, Path)),
    responses((status = 200, body = EndpointView), (status = 404, description = "There is none", content_type = "application/problem+json")))]
pub(super) fn endpoint(on: &On) -> Answered {
    let snapshot = on.shared().snapshot();
    let found = snapshot.endpoints.get(on.place(0));
    let found = found.filter(|endpoint| on.caller.owns_context(&endpoint.context));
    let found = found.ok_or_else(|| Problem::missing(format_args!("endpoint {}", on.place(0))))?;
    Ok(json(StatusCode::OK, &view(on, found)))
}

/// All contacts, by AOR.
#[utoipa::path(get, path = "/api/v1/contacts", tag = "endpoints", responses((status = 200, body = ContactList)))]
pub(super) fn contacts(on: &On) -> Answered {
    let mut seen = Vec::new();
    for endpoint in own(on) {
        seen.extend(contacts_of(on, &endpoint));
    }
    // Endpoints may share an AOR.
    seen.sort_by(|a, b| (&a.aor, &a.uri).cmp(&(&b.aor, &b.uri)));
    seen.dedup_by(|a, b| a.aor == b.aor && a.uri == b.uri);
    Ok(json(StatusCode::OK, &ContactList { contacts: seen }))
}

/// A registration with another server.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RegistrationView {
    id: String,
    client_uri: String,
    server_uri: String,
    /// `Registered`, `Unregistered`, `Rejected`.
    status: &'static str,
    /// Seconds until the next REGISTER; null: none is planned.
    next_in_s: Option<u64>,
    /// The last answer, `403 Forbidden`; null: none yet.
    last_answer: Option<String>,
    /// Seconds that the registrar granted.
    granted_s: Option<u32>,
    registered_for_s: Option<u64>,
    failures: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RegistrationList {
    registrations: Vec<RegistrationView>,
}

/// Registrations with other servers; for keys without a group.
#[utoipa::path(get, path = "/api/v1/registrations", tag = "registrations", responses((status = 200, body = RegistrationList)))]
pub(super) fn registrations(on: &On) -> Answered {
    on.unbound()?;
    let all = on.shared().registrations.list().into_iter();
    let registrations = all
        .map(|status| RegistrationView {
            status: status.state.word(),
            next_in_s: status
                .next
                .map(|at| at.saturating_duration_since(Instant::now()).as_secs()),
            last_answer: status
                .last_answer
                .map(|(code, why)| format!("{code} {why}")),
            granted_s: status.granted_s,
            registered_for_s: status
                .registered_since
                .map(|since| since.elapsed().as_secs()),
            failures: status.failures,
            id: status.id,
            client_uri: status.client_uri,
            server_uri: status.server_uri,
        })
        .collect();
    Ok(json(StatusCode::OK, &RegistrationList { registrations }))
}

/// Registers now, whatever the plan was.
#[utoipa::path(post, path = "/api/v1/registrations/{id}/register", tag = "registrations", params(("id" = String, Path)),
    responses((status = 204, description = "REGISTER goes out"), (status = 404, description = "There is none", content_type = "application/problem+json")))]
pub(super) fn register(on: &On) -> Answered {
    ask(on, true)
}

/// Takes a registration back, until it is asked for again or its row changes.
#[utoipa::path(post, path = "/api/v1/registrations/{id}/unregister", tag = "registrations", params(("id" = String, Path)),
    responses((status = 204, description = "REGISTER goes out"), (status = 404, description = "There is none", content_type = "application/problem+json")))]
pub(super) fn unregister(on: &On) -> Answered {
    ask(on, false)
}

fn ask(on: &On, register: bool) -> Answered {
    on.unbound()?;
    let (shared, id) = (on.shared(), on.place(0));
    let sent = if register {
        shared.register_now(id)
    } else {
        shared.unregister(id)
    };
    if !sent {
        return Err(Problem::missing(format_args!("registration {id}")));
    }
    on.audit(if register {
        "registered"
    } else {
        "unregistered"
    });
    Ok(done())
}
