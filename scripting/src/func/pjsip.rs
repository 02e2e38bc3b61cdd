//! Functions about endpoints, their contacts, and the headers of their requests.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{Function, argument};
use crate::task::Task;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::read(
        "PJSIP_DIAL_CONTACTS",
        "PJSIP_DIAL_CONTACTS(endpoint[,aor[,user]])",
        "dial strings of all registered phones",
        dial_contacts,
    ),
    Function::read_write(
        "PJSIP_HEADER",
        "PJSIP_HEADER(read|add|update|remove,name[,number])",
        "a header of the INVITE that came, or of the one about to be sent (in a subroutine of Dial option b)",
        header,
        set_header,
    ),
    Function::read(
        "PJSIP_HEADERS",
        "PJSIP_HEADERS([prefix])",
        "the names of the headers of the INVITE that came",
        headers,
    ),
    Function::read(
        "PJSIP_ENDPOINT",
        "PJSIP_ENDPOINT(name,field)",
        "an option of an endpoint",
        |task, args| {
            let name = argument(args, 0);
            let snapshot = task.shared().snapshot();
            let endpoint = snapshot.endpoints.get(&name);
            let endpoint = endpoint.ok_or_else(|| format!("there is no endpoint \"{name}\""))?;
            column(endpoint.columns(), &argument(args, 1))
        },
    ),
    Function::read(
        "PJSIP_AOR",
        "PJSIP_AOR(name,field)",
        "an option of an address of record; contact: the ids of its contacts",
        aor,
    ),
    Function::read(
        "PJSIP_CONTACT",
        "PJSIP_CONTACT(id,field)",
        "a field of a contact; rtt (microseconds) and status too",
        contact,
    ),
    Function::write(
        "PJSIP_SEND_SESSION_REFRESH",
        "PJSIP_SEND_SESSION_REFRESH([invite|update])",
        "describes the session of a call that is up anew, by re-INVITE or UPDATE",
        refresh,
    ),
];

/// Headers a dialplan may add to a request.
const HEADERS_MAX: usize = 64;
/// Headers that the exchange writes itself (RFC 3261 §20): a second one would make the request ambiguous.
const OWN_HEADERS: &[&str] = &[
    "via",
    "v",
    "from",
    "f",
    "to",
    "t",
    "call-id",
    "i",
    "cseq",
    "contact",
    "m",
    "content-length",
    "l",
    "content-type",
    "c",
    "max-forwards",
    "route",
    "record-route",
    "authorization",
    "proxy-authorization",
    "allow",
    "supported",
];

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs() as i64
}

/// A column of a row by its name.
fn column(columns: Vec<(&'static str, Option<String>)>, field: &str) -> Result<String, String> {
    let found = columns.into_iter().find(|(name, _)| *name == field);
    match found {
        Some((_, value)) => Ok(value.unwrap_or_default()),
        None => Err(format!("there is no field \"{field}\"")),
    }
}

fn aor(task: &Task, args: &str) -> Result<String, String> {
    let (name, field) = (argument(args, 0), argument(args, 1));
    let shared = task.shared();
    let snapshot = shared.snapshot();
    let row = snapshot.aors.get(&name);
    let row = row.ok_or_else(|| format!("there is no address of record \"{name}\""))?;
    if field == "contact" {
        let contacts = shared.contacts.all(&snapshot, &name);
        let ids = contacts
            .iter()
            .filter(|contact| contact.is_alive(now()))
            .map(|contact| contact.row.id.clone());
        return Ok(ids.collect::<Vec<_>>().join(","));
    }
    column(row.columns(), &field)
}

/// The address of record in the id of a contact: `aor;@hash`, or `aor@@hash` of a static one.
fn aor_of(id: &str) -> Option<&str> {
    let (before, _) = id.rsplit_once('@')?;
    before.strip_suffix([';', '@'])
}

fn contact(task: &Task, args: &str) -> Result<String, String> {
    let (id, field) = (argument(args, 0), argument(args, 1));
    let shared = task.shared();
    let snapshot = shared.snapshot();
    let found = aor_of(&id).and_then(|aor| {
        let contacts = shared.contacts.all(&snapshot, aor);
        contacts
            .into_iter()
            .find(|contact| contact.row.id == id && contact.is_alive(now()))
    });
    let found = found.ok_or_else(|| format!("there is no contact \"{id}\""))?;
    match field.as_str() {
        "rtt" => Ok(found.status().1.unwrap_or(0).to_string()),
        "status" => Ok(found.status().0.as_str().to_owned()),
        _ => column(found.row.columns(), &field),
    }
}

/// `PJSIP_HEADER(read,name[,number])`; a `*` at its end makes the name a beginning.
fn header(task: &Task, args: &str) -> Result<String, String> {
    let (action, name) = (argument(args, 0).to_ascii_lowercase(), argument(args, 1));
    if action != "read" {
        return Err(format!(
            "PJSIP_HEADER: \"{action}\" is written: Set(PJSIP_HEADER({action},{name})=value)"
        ));
    }
    if name.is_empty() {
        return Err("PJSIP_HEADER: the name of a header is missing".to_owned());
    }
    let number: i64 = match argument(args, 2).as_str() {
        "" => 1,
        text => text
            .parse()
            .map_err(|_| format!("PJSIP_HEADER: \"{text}\" is no number of a header"))?,
    };
    let received = task.channel.received_headers();
    let mut values = received
        .iter()
        .filter(|(known, _)| is_called(known, &name))
        .map(|(_, value)| value.clone());
    // Negative numbers count from the last.
    let value = match usize::try_from(number) {
        Ok(0) => return Err("PJSIP_HEADER: headers are counted from 1".to_owned()),
        Ok(number) => values.nth(number - 1),
        Err(_) => {
            let back = usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX);
            values.nth_back(back - 1)
        }
    };
    Ok(value.unwrap_or_default())
}

/// `Set(PJSIP_SEND_SESSION_REFRESH()=update)`; the word may stand in the brackets too.
fn refresh(task: &Task, args: &str, value: &str) -> Result<(), String> {
    let word = if value.trim().is_empty() { args } else { value };
    let update = match word.trim().to_ascii_lowercase().as_str() {
        "" | "invite" => false,
        "update" => true,
        other => {
            return Err(format!(
                "PJSIP_SEND_SESSION_REFRESH: \"{other}\" is neither invite nor update"
            ));
        }
    };
    let refreshed = task.channel.send_session_refresh(update);
    refreshed.map_err(|error| format!("PJSIP_SEND_SESSION_REFRESH: {error}"))
}

fn is_called(name: &str, wanted: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(prefix) => begins_with(name, prefix),
        None => name.eq_ignore_ascii_case(wanted),
    }
}

fn begins_with(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn headers(task: &Task, args: &str) -> Result<String, String> {
    let prefix = args.trim().trim_end_matches('*').to_owned();
    let mut names: Vec<String> = Vec::new();
    for (name, _) in task.channel.received_headers() {
        let known = names.iter().any(|known| known.eq_ignore_ascii_case(&name));
        if begins_with(&name, &prefix) && !known {
            names.push(name);
        }
    }
    Ok(names.join(","))
}

fn dial_contacts(task: &Task, args: &str) -> Result<String, String> {
    let (name, aor, user) = (argument(args, 0), argument(args, 1), argument(args, 2));
    let snapshot = task.shared().snapshot();
    let Some(endpoint) = snapshot.endpoints.get(&name) else {
        return Err(format!(
            "PJSIP_DIAL_CONTACTS({name}): there is no such endpoint in ps_endpoints"
        ));
    };
    let aors = if aor.is_empty() {
        endpoint.aors.clone()
    } else {
        vec![aor]
    };
    let now = now();
    let mut strings = Vec::new();
    for aor in aors {
        for contact in task.shared().contacts.dialable(&snapshot, &aor, now) {
            strings.push(format!(
                "PJSIP/{name}/{}",
                with_user(&contact.uri.to_string(), &user)
            ));
        }
    }
    Ok(strings.join("&"))
}

fn set_header(task: &Task, args: &str, value: &str) -> Result<(), String> {
    let (action, name) = (argument(args, 0).to_ascii_lowercase(), argument(args, 1));
    if !is_header_name(&name) {
        return Err(format!("PJSIP_HEADER: \"{name}\" is no name of a header"));
    }
    if OWN_HEADERS
        .iter()
        .any(|own| own.eq_ignore_ascii_case(&name))
    {
        return Err(format!(
            "PJSIP_HEADER: {name} is written by the exchange itself"
        ));
    }
    let mut data = task.channel.data_mut();
    let headers = &mut data.request_headers;
    match action.as_str() {
        "add" => {
            if headers.len() >= HEADERS_MAX {
                return Err(format!(
                    "PJSIP_HEADER: {HEADERS_MAX} headers were added already"
                ));
            }
            headers.push((name, one_line(value)));
        }
        "update" => match headers
            .iter_mut()
            .find(|(known, _)| known.eq_ignore_ascii_case(&name))
        {
            Some(header) => header.1 = one_line(value),
            None => return Err(format!("PJSIP_HEADER: there is no {name} to update")),
        },
        "remove" => headers.retain(|(known, _)| !known.eq_ignore_ascii_case(&name)),
        other => {
            return Err(format!(
                "PJSIP_HEADER: \"{other}\": known are add, update, remove"
            ));
        }
    }
    Ok(())
}

/// A token as RFC 3261 §25.1 has it.
fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte))
}

/// A header's value cannot begin another header.
fn one_line(value: &str) -> String {
    value.chars().filter(|c| !c.is_control()).collect()
}

/// A SIP URI with another user part; unchanged when `user` is empty.
fn with_user(uri: &str, user: &str) -> String {
    if user.is_empty() {
        return uri.to_owned();
    }
    let Some((scheme, rest)) = uri.split_once(':') else {
        return uri.to_owned();
    };
    // An `@` after parameters or headers begin is not that of the user part.
    let end = rest.find(['?']).unwrap_or(rest.len());
    let host = match rest.get(..end).and_then(|part| part.rfind('@')) {
        Some(at) => rest.get(at + 1..).unwrap_or_default(),
        None => rest,
    };
    format!("{scheme}:{user}@{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_one_line_with_a_proper_name() {
        for (name, wanted) in [
            ("X-Foo", true),
            ("", false),
            ("X Foo", false),
            ("X:Foo", false),
            ("Я", false),
        ] {
            assert_eq!(is_header_name(name), wanted, "{name}");
        }
        assert_eq!(one_line("a\r\nVia: x"), "aVia: x");
    }

    #[test]
    fn the_address_of_record_is_read_from_the_id_of_a_contact() {
        for (id, aor) in [
            ("100;@abc", Some("100")),
            ("100@@abc", Some("100")),
            ("a@b;@abc", Some("a@b")),
            ("a@b@@abc", Some("a@b")),
            ("100", None),
            ("100@abc", None),
        ] {
            assert_eq!(aor_of(id), aor, "{id}");
        }
    }

    #[test]
    fn headers_are_named_whole_or_by_their_beginning() {
        for (name, wanted, is) in [
            ("X-Call", "x-call", true),
            ("X-Call", "X-*", true),
            ("X-Call", "X", false),
            ("Я", "X*", false),
        ] {
            assert_eq!(is_called(name, wanted), is, "{name} {wanted}");
        }
    }

    #[test]
    fn the_user_part_of_a_contact_is_replaced() {
        for (uri, user, wanted) in [
            ("sip:100@192.0.2.1:5060", "", "sip:100@192.0.2.1:5060"),
            ("sip:100@192.0.2.1:5060", "7912", "sip:7912@192.0.2.1:5060"),
            (
                "sip:192.0.2.1;transport=tcp",
                "7912",
                "sip:7912@192.0.2.1;transport=tcp",
            ),
            (
                "sips:a@[2001:db8::1]:5061?x=y@z",
                "b",
                "sips:b@[2001:db8::1]:5061?x=y@z",
            ),
        ] {
            assert_eq!(with_user(uri, user), wanted, "{uri}");
        }
    }
}
