//! `status`: the Manager's `Status` with all variables, each event as one object.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use warp::reply::Response;

use super::{Product, data};
use crate::http::{Fields, Parameters};
use crate::keys::Caller;
use crate::manager::program::{self, Block};

/// Parameters that are compared, and the field that each is compared with.
const FILTERS: [(&str, &str); 4] = [
    ("calleridnum", "CallerIDNum"),
    ("connectedlinenum", "ConnectedLineNum"),
    ("context", "Context"),
    ("exten", "Exten"),
];
/// What the Manager says of a part that nobody knows.
const UNKNOWN: &str = "<unknown>";

/// Seconds and microseconds in hexadecimal digits: `66000f44594c1`.
fn action_id() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format!("{:08x}{:05x}", now.as_secs(), now.subsec_micros())
}

/// A block as an object: `Variable` keeps the last pair, and each pair is a field of its own too.
fn object(block: Block) -> Fields {
    let mut fields = Fields::default();
    let mut variables = Vec::new();
    for (name, value) in block {
        if name == "Variable" {
            fields.set(&name, &*value);
            let (variable, value) = value.split_once('=').unwrap_or((&value, ""));
            variables.push((variable.to_owned(), value.to_owned()));
        } else if name == "ActionID" {
            // Behind the variables.
            variables.push((name, value));
        } else if !fields.0.iter().any(|(known, _)| *known == name) {
            fields.set(&name, value);
        }
    }
    let of_channel: Vec<String> = fields.0.iter().map(|(name, _)| name.clone()).collect();
    for (name, value) in variables {
        // What the exchange says of a channel is not for its variables to say.
        if !of_channel.contains(&name) {
            fields.set(&name, value);
        }
    }
    // Whose number is known has a name, if only an empty one.
    for party in ["CallerID", "ConnectedLine", "EffectiveConnectedLine"] {
        let (number, name) = (format!("{party}Num"), format!("{party}Name"));
        if fields.get(&number) != UNKNOWN && fields.get(&name) == UNKNOWN {
            fields.set(&name, "");
        }
    }
    fields
}

/// Does it fit what is asked for?
fn fits(fields: &Fields, parameters: &Parameters) -> bool {
    FILTERS.iter().all(|(parameter, field)| {
        parameters
            .given(parameter)
            .is_none_or(|wanted| fields.get(field) == wanted)
    })
}

pub(super) async fn status(
    product: &Arc<Product>,
    caller: &Caller,
    parameters: &Parameters,
) -> Response {
    let id = action_id();
    let headers = [
        ("Action", "Status"),
        ("AllVariables", "true"),
        ("ActionID", id.as_str()),
    ];
    let blocks = program::ask(&product.manager, &headers).await;
    let is_status = |block: &Block| {
        let first = block.first();
        first.is_some_and(|(name, value)| name == "Event" && value == "Status")
    };
    let channels = blocks.into_iter().filter(is_status).map(object);
    let mut channels: Vec<_> = channels
        .filter(|fields| caller.owns_channel(fields.get("Channel"), fields.get("Context")))
        .filter(|fields| fits(fields, parameters))
        .collect();
    // The newest first.
    channels.reverse();
    data(channels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(pairs: &[(&str, &str)]) -> Block {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn variables_become_fields_and_the_last_of_them_stays_as_it_is() {
        let fields = object(block(&[
            ("Event", "Status"),
            ("CallerIDNum", "110"),
            ("CallerIDName", "<unknown>"),
            ("ConnectedLineNum", "<unknown>"),
            ("ConnectedLineName", "<unknown>"),
            ("Seconds", "5"),
            ("Variable", "RINGTIME=0"),
            ("Variable", "DIALSTATUS="),
            ("Variable", "SIPDOMAIN=pbx1.ru"),
            ("ActionID", "66000f44594c1"),
        ]));
        assert_eq!(
            serde_json::to_string(&fields).expect("JSON"),
            "{\"Event\":\"Status\",\"CallerIDNum\":\"110\",\"CallerIDName\":\"\",\
             \"ConnectedLineNum\":\"<unknown>\",\"ConnectedLineName\":\"<unknown>\",\"Seconds\":\"5\",\
             \"Variable\":\"SIPDOMAIN=pbx1.ru\",\"RINGTIME\":\"0\",\"DIALSTATUS\":\"\",\
             \"SIPDOMAIN\":\"pbx1.ru\",\"ActionID\":\"66000f44594c1\"}"
        );
    }

    #[test]
    fn a_variable_never_speaks_for_the_exchange() {
        let fields = object(block(&[
            ("Event", "Status"),
            ("Channel", "PJSIP/a-1"),
            ("Context", "theirs"),
            ("Variable", "Context=mine"),
            // A name with a line break in it would look so.
            ("Context", "mine"),
            ("Variable", "Channel=PJSIP/mine-1"),
            ("ActionID", "1"),
        ]));
        assert_eq!(fields.get("Context"), "theirs");
        assert_eq!(fields.get("Channel"), "PJSIP/a-1");
        assert_eq!(fields.get("ActionID"), "1");
    }

    #[test]
    fn filters_are_compared_whole_and_together() {
        let fields = object(block(&[
            ("CallerIDNum", "109"),
            ("Context", "outgoing"),
            ("Exten", "109"),
        ]));
        for (pairs, wanted) in [
            (&[][..], true),
            (&[("exten", "109")], true),
            (&[("exten", "10")], false),
            (&[("exten", "109"), ("context", "incoming")], false),
            (&[("exten", ""), ("context", "outgoing")], true),
            (&[("connectedlinenum", "1")], false),
        ] {
            let mut parameters = Parameters::default();
            for (name, value) in pairs {
                let pushed = parameters.push((*name).to_owned(), (*value).to_owned());
                pushed.expect("room for it");
            }
            assert_eq!(fits(&fields, &parameters), wanted, "{pairs:?}");
        }
    }

    #[test]
    fn an_action_has_thirteen_hexadecimal_digits() {
        let id = action_id();
        assert!(
            id.len() == 13 && u64::from_str_radix(&id, 16).is_ok(),
            "{id}"
        );
    }
}
