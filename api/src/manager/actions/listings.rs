//! What the tables say of addresses of record and their passwords' users, who is registered, and asking telephones at once.

use strowger_store::Endpoint;

use super::super::answer::Answer;
use super::Context;
use super::phones::{contact_status, options};

/// Columns that prove who somebody is.
const SECRETS: &[&str] = &[
    "md5_cred",
    "oauth_secret",
    "password",
    "password_digest",
    "refresh_token",
];

/// What a row says, without its secrets: whoever may list rows does not need them.
pub(super) fn open_columns(
    mut columns: Vec<(&'static str, Option<String>)>,
) -> Vec<(&'static str, Option<String>)> {
    columns.retain(|(column, _)| !SECRETS.contains(column));
    columns
}

pub(super) fn aors(on: Context<'_>) -> String {
    let snapshot = on.manager.shared.snapshot();
    let mut all: Vec<_> = snapshot.aors.values().collect();
    if all.is_empty() {
        return on.error("No AORs found");
    }
    all.sort_by(|a, b| a.id.cmp(&b.id));
    let mut text = Answer::to(on.request);
    text.list("A listing of AORs follows, presented as AorList events");
    for aor in all {
        let contacts = on.manager.shared.contacts.all(&snapshot, &aor.id);
        let contacts: Vec<String> = contacts.iter().map(|c| c.uri.to_string()).collect();
        text.item("AorList")
            .line("ObjectType", "aor")
            .line("ObjectName", &aor.id);
        let columns = aor.columns().into_iter();
        options(
            &mut text,
            columns.filter(|(name, _)| *name != "contact").collect(),
        );
        text.line("Contacts", contacts.join(",")).end();
    }
    text.complete("AorListComplete").end();
    text.into_text()
}

pub(super) fn auths(on: Context<'_>) -> String {
    let snapshot = on.manager.shared.snapshot();
    let mut all: Vec<_> = snapshot.auths.values().collect();
    if all.is_empty() {
        return on.error("No auths found");
    }
    all.sort_by(|a, b| a.id.cmp(&b.id));
    let mut text = Answer::to(on.request);
    text.list("A listing of Auths follows, presented as AuthList events");
    for auth in all {
        text.item("AuthList")
            .line("ObjectType", "auth")
            .line("ObjectName", &auth.id);
        options(&mut text, open_columns(auth.columns()));
        text.end();
    }
    text.complete("AuthListComplete").end();
    text.into_text()
}

/// Addresses of record that somebody may register at, with what he registered.
pub(super) fn registrations(on: Context<'_>) -> String {
    let snapshot = on.manager.shared.snapshot();
    let mut all: Vec<&Endpoint> = snapshot.endpoints.values().map(AsRef::as_ref).collect();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    let mut text = Answer::to(on.request);
    text.list("Following are Events for each Inbound registration");
    for endpoint in all {
        for aor in endpoint.aors.iter().filter_map(|id| snapshot.aors.get(id)) {
            let contacts = on.manager.shared.contacts.all(&snapshot, &aor.id);
            let mut registered = contacts.iter().filter(|contact| !contact.is_static);
            if registered.next().is_none() {
                continue;
            }
            text.item("InboundRegistrationDetail")
                .line("ObjectType", "aor")
                .line("ObjectName", &aor.id);
            let columns = aor.columns().into_iter();
            options(
                &mut text,
                columns.filter(|(name, _)| *name != "contact").collect(),
            );
            let contacts: Vec<String> = contacts.iter().map(|c| c.uri.to_string()).collect();
            text.line("Contacts", contacts.join(","))
                .line("EndpointName", &endpoint.id)
                .end();
        }
    }
    text.complete("InboundRegistrationDetailComplete").end();
    text.into_text()
}

/// How each registered contact does.
pub(super) fn registration_states(on: Context<'_>) -> String {
    let mut all = on
        .manager
        .shared
        .contacts
        .collect(|contact| !contact.is_static);
    all.sort_by(|a, b| a.row.id.cmp(&b.row.id));
    let mut text = Answer::to(on.request);
    text.list("Following are ContactStatusEvents for each Inbound registration");
    for contact in all {
        let endpoint = contact.row.endpoint.as_deref().unwrap_or_default();
        contact_status(&mut text, &contact, endpoint);
    }
    text.complete("ContactStatusDetailComplete").end();
    text.into_text()
}

pub(super) async fn qualify(on: Context<'_>) -> String {
    let Some(name) = on.request.given("Endpoint") else {
        return on.error("Endpoint parameter missing.");
    };
    let snapshot = on.manager.shared.snapshot();
    let Some(endpoint) = snapshot.endpoints.get(name) else {
        return on.error("Unable to retrieve endpoint");
    };
    if endpoint.aors.is_empty() {
        return on.error("No AoRs configured for endpoint");
    }
    let aors = endpoint.aors.clone();
    on.gather(move |shard| aors.iter().for_each(|aor| shard.qualify_now(aor)))
        .await;
    on.success("Endpoint found, will qualify")
}

#[cfg(test)]
mod tests {
    use strowger_store::Auth;

    use super::*;

    #[test]
    fn no_secret_of_a_row_is_shown() {
        let hush = || Some("hush".to_owned());
        let auth = Auth {
            password: hush(),
            md5_cred: hush(),
            refresh_token: hush(),
            oauth_secret: hush(),
            password_digest: vec!["MD5:hush".to_owned()],
            username: Some("100".to_owned()),
            ..Auth::default()
        };
        let open = open_columns(auth.columns());
        assert!(open.contains(&("username", Some("100".to_owned()))));
        for (column, value) in open {
            assert!(!value.unwrap_or_default().contains("hush"), "{column}");
        }
    }
}
