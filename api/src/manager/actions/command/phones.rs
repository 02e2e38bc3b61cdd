//! `pjsip show ...`: what the tables say of telephones, and how they are, in the lines of Asterisk's command line. Passwords are
//! never shown.

use std::time::Instant;

use strowger_core::endpoint::contacts::{Contact, Status, epoch_now};
use strowger_store::{Aor, Auth, Endpoint, Identify, Snapshot, Transport};

use super::super::Context;
use super::super::listings::open_columns;
use super::super::phones::{channels_of, state_of};
use super::{Output, failed, printed};

type Columns = Vec<(&'static str, Option<String>)>;

/// The line below the headings.
fn rule() -> String {
    "=".repeat(90)
}

const ENDPOINT: &str =
    " Endpoint:  <Endpoint/CID.....................................>  <State.....>  <Channels.>";
const OF_ENDPOINT: [&str; 8] = [
    "    I/OAuth:  <AuthId/UserName...........................................................>",
    "        Aor:  <Aor............................................>  <MaxContact>",
    "      Contact:  <Aor/ContactUri..........................> <Hash....> <Status> <RTT(ms)..>",
    "  Transport:  <TransportId........>  <Type>  <cos>  <tos>  <BindAddress..................>",
    "   Identify:  <Identify/Endpoint.........................................................>",
    "        Match:  <criteria.........................>",
    "    Channel:  <ChannelId......................................>  <State.....>  <Time.....>",
    "        Exten: <DialedExten...........>  CLCID: <ConnectedLineCID.......>",
];
const AOR: &str = "      Aor:  <Aor..............................................>  <MaxContact>";
const AOR_CONTACT: &str =
    "    Contact:  <Aor/ContactUri............................> <Hash....> <Status> <RTT(ms)..>";
const AUTH: &str =
    "  I/OAuth:  <AuthId/UserName.............................................................>";
const CONTACT: &str =
    "  Contact:  <Aor/ContactUri..............................> <Hash....> <Status> <RTT(ms)..>";
const TRANSPORT: &str =
    "Transport:  <TransportId........>  <Type>  <cos>  <tos>  <BindAddress..................>";
const IDENTIFY: &str =
    " Identify:  <Identify/Endpoint...........................................................>";
const REGISTRATION: &str = " <Registration/ServerURI..............................>  <Auth....................>  <Status.......>";

/// Headings, a line below them, and a list with how many it has.
fn list(headings: &[&str], objects: Vec<Vec<String>>) -> Vec<String> {
    if objects.is_empty() {
        return vec!["No objects found.".to_owned()];
    }
    let mut lines = vec![String::new()];
    lines.extend(headings.iter().map(|heading| (*heading).to_owned()));
    lines.extend([rule(), String::new()]);
    let count = objects.len();
    lines.extend(objects.into_iter().flatten());
    lines.extend([String::new(), format!("Objects found: {count}")]);
    lines
}

/// Headings, one object, and what its row says.
fn single(headings: &[&str], object: Vec<String>, columns: Columns) -> Vec<String> {
    let mut lines = vec![String::new()];
    lines.extend(headings.iter().map(|heading| (*heading).to_owned()));
    lines.extend([rule(), String::new()]);
    lines.extend(object);
    lines.push(String::new());
    lines.extend(parameters(columns));
    lines
}

fn parameters(mut columns: Columns) -> Vec<String> {
    columns.retain(|(name, _)| *name != "id");
    columns.sort_by_key(|(name, _)| *name);
    let width = columns
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or(0);
    let width = width.max("ParameterName".len());
    let row = |name: &str, value: &str| format!(" {name:<width$} : {value}");
    let mut lines = vec![row("ParameterName", "ParameterValue")];
    lines.push(format!(" {}", "=".repeat(width + 17)));
    lines.extend(columns.iter().map(|(name, value)| {
        let value = match value.as_deref().unwrap_or_default() {
            "yes" => "true",
            "no" => "false",
            value => value,
        };
        row(name, value)
    }));
    lines.push(String::new());
    lines
}

fn no_such(name: &str) -> Output {
    failed(format!("Unable to find object {name}."))
}

/// A line of a contact; `label` and the width of the address follow from the heading.
fn contact_line(label: &str, width: usize, contact: &Contact) -> String {
    let (status, round_trip) = contact.status();
    let status = match status {
        Status::Unknown => "Unknown",
        Status::NonQualified => "NonQual",
        Status::Reachable => "Avail",
        Status::Unreachable => "Unavail",
    };
    let time = round_trip.map_or_else(
        || "nan".to_owned(),
        |micros| format!("{}.{:03}", micros / 1000, micros % 1000),
    );
    let id = &contact.row.id;
    let hash = id.rsplit_once('@').map_or(id.as_str(), |(_, hash)| hash);
    let place = format!("{}/{}", contact.aor, contact.uri);
    format!("{label}:  {place:<width$} {hash:<10.10} {status:<8.8} {time:>11}")
}

fn contacts_of(on: &Context<'_>, snapshot: &Snapshot, aor: &str) -> Vec<std::sync::Arc<Contact>> {
    on.manager.shared.contacts.all(snapshot, aor)
}

fn transport_line(indent: &str, transport: &Transport) -> String {
    format!(
        "{indent}Transport:  {:<21}  {:>6}  {:>5}  {:>5}  {}",
        transport.id,
        transport.protocol.as_str(),
        transport.cos,
        transport.tos,
        transport.bind
    )
}

fn identify_lines(indent: &str, identify: &Identify) -> Vec<String> {
    let mut lines = vec![format!(
        "{indent} Identify:  {}/{}",
        identify.id, identify.endpoint
    )];
    let headers = identify.match_header.iter();
    for criterion in identify.matches.iter().chain(headers) {
        lines.push(format!("{indent}      Match: {criterion}"));
    }
    lines
}

fn endpoint_lines(on: &Context<'_>, snapshot: &Snapshot, endpoint: &Endpoint) -> Vec<String> {
    let id = &endpoint.id;
    let caller = endpoint.callerid.as_deref().unwrap_or_default();
    let number = caller
        .rsplit_once('<')
        .map_or(caller, |(_, number)| number.trim_end_matches('>'));
    let name = match number {
        "" => id.clone(),
        number => format!("{id}/{number}"),
    };
    let channels = channels_of(on, id);
    let channels: Vec<&str> = channels
        .split(',')
        .filter(|name| !name.is_empty())
        .collect();
    let mut lines = vec![format!(
        " Endpoint:  {name:<51}  {:<12.12}  {} of inf",
        state_of(on, id),
        channels.len()
    )];
    let user = |auth: &str| {
        let row = snapshot.auths.get(auth);
        let user = row.and_then(|row| row.username.as_deref());
        format!("{auth}/{}", user.unwrap_or_default())
    };
    for auth in &endpoint.outbound_auth {
        lines.push(format!("    OutAuth:  {}", user(auth)));
    }
    for auth in &endpoint.auth {
        lines.push(format!("     InAuth:  {}", user(auth)));
    }
    for aor in endpoint
        .aors
        .iter()
        .filter_map(|aor| snapshot.aors.get(aor))
    {
        lines.push(format!(
            "        Aor:  {:<49}  {}",
            aor.id, aor.max_contacts
        ));
        let contacts = contacts_of(on, snapshot, &aor.id);
        let contacts = contacts.iter();
        lines.extend(contacts.map(|contact| contact_line("      Contact", 42, contact)));
    }
    let transports = snapshot.transports.iter();
    let own = transports.filter(|transport| Some(&transport.id) == endpoint.transport.as_ref());
    lines.extend(own.map(|transport| transport_line("  ", transport)));
    for identify in snapshot.identifies.iter().filter(|row| row.endpoint == *id) {
        lines.extend(identify_lines("  ", identify));
    }
    lines.extend(channels.iter().map(|name| format!("    Channel:  {name}")));
    lines.push(String::new());
    lines
}

fn endpoint_headings() -> Vec<&'static str> {
    std::iter::once(ENDPOINT).chain(OF_ENDPOINT).collect()
}

pub(super) fn endpoints(on: &Context<'_>) -> Output {
    let snapshot = on.manager.shared.snapshot();
    let mut all: Vec<_> = snapshot.endpoints.values().collect();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    let all = all.into_iter();
    let all = all.map(|endpoint| endpoint_lines(on, &snapshot, endpoint));
    printed(list(&endpoint_headings(), all.collect()))
}

pub(super) fn endpoint(on: &Context<'_>, name: &str) -> Output {
    let snapshot = on.manager.shared.snapshot();
    let Some(endpoint) = snapshot.endpoints.get(name) else {
        return no_such(name);
    };
    let lines = endpoint_lines(on, &snapshot, endpoint);
    printed(single(&endpoint_headings(), lines, endpoint.columns()))
}

fn aor_lines(on: &Context<'_>, snapshot: &Snapshot, aor: &Aor) -> Vec<String> {
    let mut lines = vec![format!("      Aor:  {:<51}  {}", aor.id, aor.max_contacts)];
    let contacts = contacts_of(on, snapshot, &aor.id);
    let contacts = contacts.iter();
    lines.extend(contacts.map(|contact| contact_line("    Contact", 44, contact)));
    lines.push(String::new());
    lines
}

pub(super) fn aors(on: &Context<'_>) -> Output {
    let snapshot = on.manager.shared.snapshot();
    let mut all: Vec<_> = snapshot.aors.values().collect();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    let all = all.into_iter().map(|aor| aor_lines(on, &snapshot, aor));
    printed(list(&[AOR, AOR_CONTACT], all.collect()))
}

pub(super) fn aor(on: &Context<'_>, name: &str) -> Output {
    let snapshot = on.manager.shared.snapshot();
    let Some(aor) = snapshot.aors.get(name) else {
        return no_such(name);
    };
    let lines = aor_lines(on, &snapshot, aor);
    printed(single(&[AOR, AOR_CONTACT], lines, aor.columns()))
}

fn auth_line(auth: &Auth) -> String {
    let user = auth.username.as_deref().unwrap_or_default();
    format!("     Auth:  {}/{user}", auth.id)
}

pub(super) fn auths(on: &Context<'_>) -> Output {
    let snapshot = on.manager.shared.snapshot();
    let mut all: Vec<_> = snapshot.auths.values().collect();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    let all = all.into_iter().map(|auth| vec![auth_line(auth)]);
    printed(list(&[AUTH], all.collect()))
}

pub(super) fn auth(on: &Context<'_>, name: &str) -> Output {
    let snapshot = on.manager.shared.snapshot();
    let Some(auth) = snapshot.auths.get(name) else {
        return no_such(name);
    };
    let columns = open_columns(auth.columns());
    printed(single(&[AUTH], vec![auth_line(auth)], columns))
}

pub(super) fn contacts(on: &Context<'_>) -> Output {
    let now = epoch_now();
    let shared = &on.manager.shared;
    let mut all = shared.contacts.collect(|contact| contact.is_alive(now));
    all.sort_by(|a, b| a.row.id.cmp(&b.row.id));
    let all = all.iter();
    let all = all.map(|contact| vec![contact_line("  Contact", 46, contact)]);
    printed(list(&[CONTACT], all.collect()))
}

pub(super) fn transports(on: &Context<'_>) -> Output {
    let snapshot = on.manager.shared.snapshot();
    let all = snapshot.transports.iter();
    let all = all.map(|transport| vec![transport_line("", transport)]);
    printed(list(&[TRANSPORT], all.collect()))
}

pub(super) fn transport(on: &Context<'_>, name: &str) -> Output {
    let snapshot = on.manager.shared.snapshot();
    let found = snapshot.transports.iter().find(|row| row.id == name);
    let Some(transport) = found else {
        return no_such(name);
    };
    let columns = open_columns(transport.columns());
    let line = transport_line("", transport);
    printed(single(&[TRANSPORT], vec![line], columns))
}

pub(super) fn identifies(on: &Context<'_>) -> Output {
    let snapshot = on.manager.shared.snapshot();
    let all = snapshot.identifies.iter();
    let all = all.map(|identify| identify_lines("", identify));
    printed(list(&[IDENTIFY], all.collect()))
}

pub(super) fn registrations(on: &Context<'_>) -> Output {
    let snapshot = on.manager.shared.snapshot();
    let all = on.manager.shared.registrations.list().into_iter();
    let all = all.map(|status| {
        let place = format!("{}/{}", status.id, status.server_uri);
        let mut rows = snapshot.registrations.iter();
        let row = rows.find(|row| row.id == status.id);
        let auth = row.map_or_else(String::new, |row| row.outbound_auth.join(","));
        let left = status.next.map_or(0, |at| {
            at.saturating_duration_since(Instant::now()).as_secs()
        });
        let word = status.state.word();
        let line = if word == "Registered" {
            format!(" {place:<53}  {auth:<26}  {word:<16}  (exp. {left}s)")
        } else {
            format!(" {place:<53}  {auth:<26}  {word}")
        };
        vec![line]
    });
    printed(list(&[REGISTRATION], all.collect()))
}

pub(super) fn settings(on: &Context<'_>) -> Output {
    let snapshot = on.manager.shared.snapshot();
    let mut lines = vec!["Global Settings:".to_owned(), String::new()];
    lines.extend(parameters(snapshot.globals.columns()));
    lines.extend(["System Settings:".to_owned(), String::new()]);
    lines.extend(parameters(snapshot.system.columns()));
    printed(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_below_their_headings() {
        let transport = Transport {
            id: "udp".to_owned(),
            bind: "192.0.2.1:5060".to_owned(),
            ..Transport::default()
        };
        let line = transport_line("", &transport);
        assert_eq!(TRANSPORT.find("<BindAddress"), line.find("192.0.2.1"));
        let lines = list(&[TRANSPORT], vec![vec![line]]);
        assert_eq!(lines.last().map(String::as_str), Some("Objects found: 1"));
        assert_eq!(list(&[TRANSPORT], Vec::new()), ["No objects found."]);
    }

    #[test]
    fn what_a_row_says_is_sorted_and_lined_up() {
        let columns: Columns = vec![
            ("id", Some("x".to_owned())),
            ("max_contacts", Some("5".to_owned())),
            ("contact", None),
            ("remove_existing", Some("yes".to_owned())),
        ];
        assert_eq!(
            parameters(columns),
            [
                " ParameterName   : ParameterValue",
                " ================================",
                " contact         : ",
                " max_contacts    : 5",
                " remove_existing : true",
                ""
            ]
        );
    }
}
