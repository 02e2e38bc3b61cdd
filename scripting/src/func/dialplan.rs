//! Functions about the dialplan and the devices it can call.

use std::time::{SystemTime, UNIX_EPOCH};

use strowger_dialplan::Query;
use strowger_dialplan::plan::HINT;

use super::{Function, argument};
use crate::task::Task;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::read(
        "DIALPLAN_EXISTS",
        "DIALPLAN_EXISTS(context[,exten[,priority]])",
        "1 if the place exists, else 0",
        exists,
    ),
    Function::read(
        "HINT",
        "HINT(exten[@context])",
        "the device whose state the extension shows",
        hint,
    ),
    Function::read(
        "PJSIP_DIAL_CONTACTS",
        "PJSIP_DIAL_CONTACTS(endpoint[,aor[,user]])",
        "dial strings of all registered phones",
        dial_contacts,
    ),
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

fn hint(task: &Task, args: &str) -> Result<String, String> {
    let place = argument(args, 0);
    let here = task.channel.location().context;
    let (exten, context) = place.split_once('@').unwrap_or((&place, &here));
    let plan = task.host.current();
    Ok(plan
        .find(&Query::new(context, exten, HINT))
        .map(|found| found.step().app.to_string())
        .unwrap_or_default())
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
