//! Functions about the dialplan and the devices it can call.

use std::time::{SystemTime, UNIX_EPOCH};

use strowger_dialplan::Query;
use strowger_dialplan::args::parse_goto;

use super::{Function, argument};
use crate::app::Stop;
use crate::app::jump::resolve;
use crate::task::Task;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::read(
        "DIALPLAN_EXISTS",
        "DIALPLAN_EXISTS(context[,exten[,priority]])",
        "1 if the place exists, else 0",
        exists,
    ),
    Function::read(
        "EVAL_EXTEN",
        "EVAL_EXTEN([[context,]exten,]priority)",
        "what the data of a step would be",
        evaluate_step,
    ),
    Function::read(
        "PJSIP_DIAL_CONTACTS",
        "PJSIP_DIAL_CONTACTS(endpoint[,aor[,user]])",
        "dial strings of all registered phones",
        dial_contacts,
    ),
    Function::write(
        "PJSIP_HEADER",
        "PJSIP_HEADER(add|update|remove,name)",
        "a header of the INVITE about to be sent (in a subroutine of Dial option b)",
        set_header,
    ),
];

/// The data of the step that a place means, substituted for this channel.
fn evaluate_step(task: &Task, args: &str) -> Result<String, String> {
    let place = resolve(task, &parse_goto(args)).map_err(|stop| match stop {
        Stop::Failed(why) => why,
        Stop::Interrupted(_) => "the call is over".to_owned(),
    })?;
    let plan = task.plan();
    let caller = task.caller();
    let query = Query::new(&place.context, &place.exten, place.priority)
        .caller(Some(&caller))
        .vars(task);
    let found = plan.find(&query).ok_or_else(|| {
        format!(
            "there is no {},{},{}",
            place.context, place.exten, place.priority
        )
    })?;
    Ok(found.step().template.evaluate(task))
}

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

fn exists(task: &Task, args: &str) -> Result<String, String> {
    let (context, exten, priority) = (argument(args, 0), argument(args, 1), argument(args, 2));
    if context.is_empty() {
        return Err("DIALPLAN_EXISTS needs a context".to_owned());
    }
    let plan = task.host.current();
    let caller = task.caller();
    let found = if exten.is_empty() {
        plan.context(&context).is_some()
    } else if priority.is_empty() {
        plan.exists(
            &Query::new(&context, &exten, 1)
                .caller(Some(&caller))
                .vars(task),
        )
    } else {
        match priority.parse() {
            Ok(priority) => plan.exists(
                &Query::new(&context, &exten, priority)
                    .caller(Some(&caller))
                    .vars(task),
            ),
            Err(_) => plan.exists(
                &Query::label(&context, &exten, &priority)
                    .caller(Some(&caller))
                    .vars(task),
            ),
        }
    };
    Ok(u8::from(found).to_string())
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
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs() as i64;
    let mut strings = Vec::new();
    for aor in aors {
        for contact in task.shared().contacts.dialable(&snapshot, &aor, now) {
            strings.push(format!(
                "PJSIP/{name}/{}",
                with_user(&contact.row.uri, &user)
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
