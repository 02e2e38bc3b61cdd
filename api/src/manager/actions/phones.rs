//! Endpoints, their contacts, and registrations with other servers.

use std::time::Instant;

use strowger_core::device::DeviceState;
use strowger_core::endpoint::contacts::{Contact, epoch_now};
use strowger_store::Endpoint;

use super::super::answer::Answer;
use super::Context;
use super::listings::open_columns;

/// The state of a device in words.
pub(super) fn words(state: DeviceState) -> &'static str {
    match state {
        DeviceState::Unknown => "Unknown",
        DeviceState::NotInUse => "Not in use",
        DeviceState::InUse => "In use",
        DeviceState::Busy => "Busy",
        DeviceState::Invalid => "Invalid",
        DeviceState::Unavailable => "Unavailable",
        DeviceState::Ringing => "Ringing",
        DeviceState::RingInUse => "Ring+Inuse",
        DeviceState::OnHold => "On Hold",
    }
}

pub(super) fn state_of(on: &Context<'_>, endpoint: &str) -> &'static str {
    words(on.manager.shared.device_state(&format!("PJSIP/{endpoint}")))
}

/// Channels of an endpoint that are there.
pub(super) fn channels_of(on: &Context<'_>, endpoint: &str) -> String {
    let prefix = format!("PJSIP/{endpoint}-");
    let names = on.manager.shared.directory.names(|name| {
        name.strip_prefix(&prefix)
            .is_some_and(|rest| !rest.contains('-'))
    });
    names.join(",")
}

/// Contacts of all addresses of record of an endpoint.
fn contacts_of(on: &Context<'_>, endpoint: &Endpoint) -> Vec<std::sync::Arc<Contact>> {
    let snapshot = on.manager.shared.snapshot();
    let aors = endpoint.aors.iter();
    aors.flat_map(|aor| on.manager.shared.contacts.all(&snapshot, aor))
        .collect()
}

pub(super) fn endpoints(on: Context<'_>) -> String {
    let snapshot = on.manager.shared.snapshot();
    let mut all: Vec<_> = snapshot.endpoints.values().collect();
    if all.is_empty() {
        return on.error("No endpoints found");
    }
    all.sort_by(|a, b| a.id.cmp(&b.id));
    let mut text = Answer::to(on.request);
    text.list("A listing of Endpoints follows, presented as EndpointList events");
    for endpoint in all {
        let contacts: String = contacts_of(&on, endpoint)
            .iter()
            .map(|contact| format!("{}/{},", contact.aor, contact.uri))
            .collect();
        text.item("EndpointList")
            .line("ObjectType", "endpoint")
            .line("ObjectName", &endpoint.id)
            .line(
                "Transport",
                endpoint.transport.as_deref().unwrap_or_default(),
            )
            .line("Aor", endpoint.aors.join(","))
            .line("Auths", endpoint.auth.join(","))
            .line("OutboundAuths", endpoint.outbound_auth.join(","));
        if !contacts.is_empty() {
            text.line("Contacts", contacts);
        }
        text.line("DeviceState", state_of(&on, &endpoint.id))
            .line("ActiveChannels", channels_of(&on, &endpoint.id))
            .end();
    }
    text.complete("EndpointListComplete").end();
    text.into_text()
}

/// `direct_media` is `DirectMedia`.
fn camel(column: &str) -> String {
    let mut upper = true;
    column
        .chars()
        .filter_map(|c| {
            if c == '_' {
                upper = true;
                return None;
            }
            let first = std::mem::take(&mut upper);
            Some(if first { c.to_ascii_uppercase() } else { c })
        })
        .collect()
}

/// Options of a row as lists of the Manager have them.
pub(super) fn options(text: &mut Answer, columns: Vec<(&'static str, Option<String>)>) {
    for (column, value) in columns {
        if column == "id" {
            continue;
        }
        let value = value.unwrap_or_default();
        let value = match value.as_str() {
            "yes" => "true",
            "no" => "false",
            other => other,
        };
        text.line(&camel(column), value);
    }
}

pub(super) fn endpoint(on: Context<'_>) -> String {
    let snapshot = on.manager.shared.snapshot();
    let name = on.request.get("Endpoint");
    let Some(endpoint) = snapshot.endpoints.get(name) else {
        return on.error(&format!("Unable to retrieve endpoint {name}"));
    };
    let mut text = Answer::to(on.request);
    text.list("Following are Events for each object associated with the Endpoint");
    text.item("EndpointDetail")
        .line("ObjectType", "endpoint")
        .line("ObjectName", name);
    options(&mut text, endpoint.columns());
    text.line("DeviceState", state_of(&on, name))
        .line("ActiveChannels", channels_of(&on, name))
        .end();
    for id in &endpoint.aors {
        let Some(aor) = snapshot.aors.get(id) else {
            continue;
        };
        let contacts = on.manager.shared.contacts.all(&snapshot, id);
        let registered = contacts.iter().filter(|contact| !contact.is_static).count();
        text.item("AorDetail")
            .line("ObjectType", "aor")
            .line("ObjectName", id);
        options(&mut text, aor.columns());
        text.line("TotalContacts", contacts.len().to_string())
            .line("ContactsRegistered", registered.to_string())
            .line("EndpointName", name)
            .end();
        for contact in &contacts {
            contact_status(&mut text, contact, name);
        }
    }
    for id in &endpoint.auth {
        let Some(auth) = snapshot.auths.get(id) else {
            continue;
        };
        text.item("AuthDetail")
            .line("ObjectType", "auth")
            .line("ObjectName", id);
        options(&mut text, open_columns(auth.columns()));
        text.line("EndpointName", name).end();
    }
    for identify in snapshot
        .identifies
        .iter()
        .filter(|row| row.endpoint == name)
    {
        text.item("IdentifyDetail")
            .line("ObjectType", "identify")
            .line("ObjectName", &identify.id);
        options(&mut text, identify.columns());
        text.line("EndpointName", name).end();
    }
    text.complete("EndpointDetailComplete").end();
    text.into_text()
}

pub(super) fn contact_status(text: &mut Answer, contact: &Contact, endpoint: &str) {
    let row = &contact.row;
    let (status, round_trip) = contact.status();
    text.item("ContactStatusDetail")
        .line("AOR", &contact.aor)
        .line("URI", contact.uri.to_string())
        .line("UserAgent", row.user_agent.as_deref().unwrap_or_default())
        .line("RegExpire", row.expiration_time.to_string());
    if let Some(address) = &row.via_addr {
        text.line("ViaAddress", format!("{address}:{}", row.via_port));
    }
    if let Some(id) = &row.call_id {
        text.line("CallID", id);
    }
    text.line("Status", status.as_str())
        .line(
            "RoundtripUsec",
            round_trip.map_or_else(|| "N/A".to_owned(), |time| time.to_string()),
        )
        .line("EndpointName", endpoint)
        .line("ID", &row.id)
        .line(
            "AuthenticateQualify",
            if row.authenticate_qualify { "1" } else { "0" },
        )
        .line(
            "OutboundProxy",
            row.outbound_proxy.as_deref().unwrap_or_default(),
        )
        .line("Path", row.path.as_deref().unwrap_or_default())
        .line("QualifyFrequency", row.qualify_frequency.to_string())
        .line("QualifyTimeout", format!("{:.3}", row.qualify_timeout))
        .line(
            "Qualify2xxOnly",
            if row.qualify_2xx_only { "1" } else { "0" },
        )
        .end();
}

pub(super) fn contacts(on: Context<'_>) -> String {
    let now = epoch_now();
    let mut all = on
        .manager
        .shared
        .contacts
        .collect(|contact| contact.is_alive(now));
    if all.is_empty() {
        return on.error("No Contacts found");
    }
    all.sort_by(|a, b| a.row.id.cmp(&b.row.id));
    let mut text = Answer::to(on.request);
    text.list("A listing of Contacts follows, presented as ContactList events");
    for contact in all {
        let (status, round_trip) = contact.status();
        text.item("ContactList")
            .line("ObjectType", "contact")
            .line("ObjectName", &contact.row.id);
        options(&mut text, contact.row.columns());
        text.line("Status", status.as_str())
            .line(
                "RoundtripUsec",
                round_trip.map_or_else(|| "N/A".to_owned(), |time| time.to_string()),
            )
            .end();
    }
    text.complete("ContactListComplete").end();
    text.into_text()
}

pub(super) fn registrations(on: Context<'_>) -> String {
    let snapshot = on.manager.shared.snapshot();
    let mut text = Answer::to(on.request);
    text.list("Following are Events for each Outbound registration");
    let (mut registered, mut not_registered) = (0usize, 0usize);
    for status in on.manager.shared.registrations.list() {
        let word = status.state.word();
        if word == "Registered" {
            registered += 1;
        } else {
            not_registered += 1;
        }
        let next = status.next.map_or(0, |at| {
            at.saturating_duration_since(Instant::now()).as_secs()
        });
        text.item("OutboundRegistrationDetail")
            .line("ObjectType", "registration")
            .line("ObjectName", &status.id);
        if let Some(row) = snapshot
            .registrations
            .iter()
            .find(|row| row.id == status.id)
        {
            options(&mut text, row.columns());
        }
        text.line("Status", word)
            .line("NextReg", next.to_string())
            .end();
    }
    text.complete("OutboundRegistrationDetailComplete")
        .line("Registered", registered.to_string())
        .line("NotRegistered", not_registered.to_string())
        .end();
    text.into_text()
}

pub(super) fn register(on: Context<'_>, register: bool) -> String {
    let Some(name) = on.request.given("Registration") else {
        return on.error("Registration parameter missing.");
    };
    let shared = &on.manager.shared;
    let send = |id: &str| {
        if register {
            shared.register_now(id)
        } else {
            shared.unregister(id)
        }
    };
    if name == "*all" {
        for row in shared.snapshot().registrations.iter() {
            send(&row.id);
        }
        return on.success(if register {
            "Reregistrations queued."
        } else {
            "Unregistrations queued."
        });
    }
    if !send(name) {
        return on.error("Unable to retrieve registration entry");
    }
    on.success(if register {
        "Reregistration sent"
    } else {
        "Unregistration sent"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_written_as_words() {
        for (column, wanted) in [
            ("direct_media", "DirectMedia"),
            ("100rel", "100rel"),
            ("allow", "Allow"),
            ("t38_udptl", "T38Udptl"),
        ] {
            assert_eq!(camel(column), wanted);
        }
    }
}
