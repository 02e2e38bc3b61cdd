//! `originate`: a call that the exchange makes. With `async` the answer comes at once; without, when the call was answered or was
//! not, and says which.

use std::sync::Arc;

use serde::Serialize;
use strowger_core::call::originate::{
    OriginateError, OriginateOutcome, OriginateRequest, Reason, Target,
};
use strowger_core::channel::Cause;
use strowger_core::dialplan::Exists;
use warp::http::StatusCode;
use warp::reply::Response;

use super::{Product, data};
use crate::http::{Parameters, Refused, is_true};
use crate::keys::Caller;
use crate::manager::program;
use crate::recordings;
use crate::shards;

/// What the answer says: the Manager's words, and how the call went.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    response: &'static str,
    message: &'static str,
    /// Empty where no channel could be made, or none is known yet.
    channel: String,
    uniqueid: String,
    /// The Manager's number of the outcome: 0 failed, 1 hung up, 3 not answered, 4 answered, 5 busy, 8 congestion. Null: not
    /// known yet.
    reason: Option<String>,
    /// The outcome in a word: SUCCESS, FAILED, HANGUP, RINGING, BUSY, CONGESTION.
    status: Option<&'static str>,
    /// Q.850.
    cause: Option<String>,
    #[serde(rename = "Cause-txt")]
    cause_txt: Option<&'static str>,
}

impl Answer {
    fn queued() -> Self {
        Self {
            response: "Success",
            message: "Originate successfully queued",
            channel: String::new(),
            uniqueid: String::new(),
            reason: None,
            status: None,
            cause: None,
            cause_txt: None,
        }
    }

    fn of(outcome: OriginateOutcome) -> Self {
        let answered = outcome.reason == Reason::Answered;
        Self {
            response: if answered { "Success" } else { "Error" },
            message: if answered {
                "Originate successfully queued"
            } else {
                "Originate failed"
            },
            channel: outcome.channel,
            uniqueid: outcome.uniqueid,
            reason: Some((outcome.reason as u8).to_string()),
            status: Some(outcome.reason.status()),
            cause: Some(outcome.cause.0.to_string()),
            cause_txt: Some(outcome.cause.text()),
        }
    }
}

/// Parameters that are headers of the Manager's `Originate`.
const HEADERS: [(&str, &str); 13] = [
    ("channel", "Channel"),
    ("exten", "Exten"),
    ("context", "Context"),
    ("priority", "Priority"),
    ("application", "Application"),
    ("data", "Data"),
    ("timeout", "Timeout"),
    ("callerid", "CallerID"),
    ("account", "Account"),
    ("earlymedia", "EarlyMedia"),
    ("codecs", "Codecs"),
    ("channelid", "ChannelId"),
    ("otherchannelid", "OtherChannelId"),
];

/// Reads the request; each parameter is the header of the Manager of that name.
fn read(parameters: &Parameters) -> Result<OriginateRequest, Refused> {
    let application = parameters.given("application").is_some();
    let required: &[&str] = if application {
        &["channel"]
    } else {
        &["channel", "exten", "context", "priority"]
    };
    for name in required {
        if parameters.given(name).is_none() {
            return Err(Refused::bad(format!("{name} is missing")));
        }
    }
    let mut headers: Vec<(&str, &str)> = HEADERS
        .iter()
        .filter_map(|(name, header)| Some((*header, parameters.given(name)?)))
        .collect();
    headers.extend(parameters.all("variable").map(|value| ("Variable", value)));
    program::originate(&headers).map_err(|why| {
        if why.starts_with("Originate Access Forbidden") && !application {
            let given: Vec<&str> = parameters.all("variable").collect();
            let why = format!(
                "variable: something in {:?} names files or programs, or reaches further than the call, which only a dialplan may",
                given.join(",")
            );
            return Refused::new(StatusCode::FORBIDDEN, why);
        }
        let why = match why {
            "Invalid channel" => {
                "channel: TECHNOLOGY/RESOURCE is wanted, such as PJSIP/100 or Local/100@office"
            }
            "Invalid priority" => "priority: a number from 1 is wanted",
            "Invalid timeout" => "timeout: a number of milliseconds is wanted",
            other => other,
        };
        Refused::bad(why)
    })
}

/// May this caller make that call?
async fn check(
    product: &Product,
    caller: &Caller,
    request: &OriginateRequest,
) -> Result<(), Refused> {
    let forbidden = |why: String| Err(Refused::new(StatusCode::FORBIDDEN, why));
    if !caller.may_call(&request.destination) {
        return forbidden(format!(
            "channel: {} belongs to another group",
            request.destination
        ));
    }
    match &request.target {
        Target::Extension(place) => {
            if !caller.owns_context(&place.context) {
                return forbidden(format!(
                    "context: {} belongs to another group",
                    place.context
                ));
            }
            let (context, exten) = (place.context.clone(), place.exten.clone());
            let exists = shards::ask_any(&product.shared, move |shard| {
                shard.dialplan().exists(&context, &exten, "")
            });
            match exists.await {
                Some(Exists::Yes) => {}
                Some(_) => {
                    return Err(Refused::bad(format!(
                        "exten: there is no extension {} in context {}",
                        place.exten, place.context
                    )));
                }
                None => {
                    let why = "the exchange has too much to do at present; try again later";
                    return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, why));
                }
            }
        }
        // What an application does is not bound to any context.
        Target::Application { .. } if caller.group().is_some() => {
            return forbidden("application: a key of a group calls extensions only".to_owned());
        }
        Target::Application { .. } => {}
    }
    for (name, _) in &request.variables {
        if !caller.may_set(name) {
            return forbidden(format!("variable: {name:?} may not be set by this key"));
        }
    }
    for id in request.uniqueids.iter().flatten() {
        if caller.group().is_some() {
            return forbidden(
                "channelid, otherchannelid: a key of a group chooses none".to_owned(),
            );
        }
        let used = shards::find_channel(&product.shared, id).await.is_some()
            || recordings::is_known(&product.shared, &product.store, id).await?;
        if used {
            let why = format!("channelid: {id} is in use, or was");
            return Err(Refused::new(StatusCode::CONFLICT, why));
        }
    }
    Ok(())
}

pub(super) async fn originate(
    product: &Arc<Product>,
    caller: &Caller,
    parameters: &Parameters,
) -> Result<Response, Refused> {
    let request = read(parameters)?;
    check(product, caller, &request).await?;
    tracing::info!(
        key = caller.user.uuid,
        name = caller.user.name,
        destination = request.destination,
        "API: originate"
    );
    let outcome = product.shared.originate(request).map_err(|error| {
        let status = match error {
            OriginateError::Variables | OriginateError::UniqueId => StatusCode::BAD_REQUEST,
            OriginateError::Draining | OriginateError::Overloaded => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        Refused::new(status, error.to_string())
    })?;
    if is_true(parameters.get("async")) {
        return Ok(data(Answer::queued()));
    }
    let Ok(outcome) = outcome.await else {
        let why = "the call ended with its shard; the log of the exchange says more";
        return Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, why));
    };
    if let Some(why) = &outcome.error {
        if outcome.cause == Cause::NORMAL_CIRCUIT_CONGESTION {
            return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, why.clone()));
        }
        return Err(Refused::bad(format!("channel: {why}")));
    }
    Ok(data(Answer::of(outcome)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_core::channel::Location;

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        let mut parameters = Parameters::default();
        for (name, value) in pairs {
            let pushed = parameters.push((*name).to_owned(), (*value).to_owned());
            pushed.expect("room for it");
        }
        parameters
    }

    #[test]
    fn the_documented_parameters_make_a_call() {
        let call = read(&parameters(&[
            ("api_key", "k"),
            ("channel", "Local/100@office"),
            ("exten", "200"),
            ("context", "office"),
            ("priority", "1"),
            ("callerid", "\"A\" <7>"),
            ("variable", "file=123,idcall=456"),
        ]))
        .expect("a call");
        assert_eq!(call.destination, "Local/100@office");
        assert_eq!(
            call.target,
            Target::Extension(Location::new("office", "200", 1))
        );
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(call.variables, [pair("file", "123"), pair("idcall", "456")]);
        assert_eq!(call.caller.expect("a caller").number, "7");
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let (channel, exten) = (("channel", "PJSIP/1"), ("exten", "2"));
        let (context, priority) = (("context", "c"), ("priority", "1"));
        for (pairs, wanted) in [
            (vec![], "channel is missing"),
            (vec![channel], "exten is missing"),
            (vec![channel, exten], "context is missing"),
            (vec![channel, exten, context], "priority is missing"),
            (
                vec![("channel", "1"), exten, context, priority],
                "channel: TECH",
            ),
            (
                vec![channel, exten, context, ("priority", "x")],
                "priority: a number",
            ),
            (
                vec![channel, exten, context, priority, ("timeout", "x")],
                "timeout: a number",
            ),
            (
                vec![channel, ("application", "System"), ("data", "id")],
                "Originate Access Forbidden",
            ),
        ] {
            let refused = read(&parameters(&pairs)).expect_err("refused");
            assert!(refused.why.starts_with(wanted), "{pairs:?}: {refused}");
            assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        }
        assert!(read(&parameters(&[channel, ("application", "Echo")])).is_ok());
    }

    #[test]
    fn the_answer_to_a_call_that_was_queued_has_every_field() {
        assert_eq!(
            serde_json::to_string(&Answer::queued()).expect("JSON"),
            "{\"Response\":\"Success\",\"Message\":\"Originate successfully queued\",\"Channel\":\"\",\
             \"Uniqueid\":\"\",\"Reason\":null,\"Status\":null,\"Cause\":null,\"Cause-txt\":null}"
        );
    }
}
