//! `CHANNEL`, `CDR`, `TIMEOUT` and what is known about how legs ended.

use std::time::{Duration, Instant};

use strowger_core::call::quality;
use strowger_core::channel::setting_variable;
use strowger_dialplan::args;
use strowger_media::LegStats;

use super::text::{is_yes, leading_number, number};
use super::{Function, argument};
use crate::app::jump::resolve;
use crate::task::Task;

/// Longest timeout that can be set, in seconds: a year.
const TIMEOUT_SECONDS_MAX: f64 = 365.0 * 86400.0;

/// Hang-up handlers of a channel.
const HANDLERS_MAX: usize = 32;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::read_write(
        "CHANNEL",
        "CHANNEL(item[,field[,type]])",
        "a property of the channel",
        channel,
        set_channel,
    ),
    Function::read_write(
        "CDR",
        "CDR(field[,options])",
        "a field of the call's record",
        cdr,
        set_cdr,
    ),
    Function::write(
        "CDR_PROP",
        "CDR_PROP(property)",
        "whether a record is kept",
        set_cdr_property,
    ),
    Function::read_write(
        "TIMEOUT",
        "TIMEOUT(absolute|digit|response)",
        "how long to wait, in seconds",
        timeout,
        set_timeout,
    ),
    Function::read(
        "HANGUPCAUSE",
        "HANGUPCAUSE(channel,tech|ast)",
        "how a dialled leg ended",
        hangup_cause,
    ),
    Function::read(
        "HANGUPCAUSE_KEYS",
        "HANGUPCAUSE_KEYS()",
        "the legs HANGUPCAUSE knows",
        |task, _| {
            let legs = task.legs.borrow();
            let names: Vec<&str> = legs
                .iter()
                .map(|leg| leg.name.as_str())
                .filter(|name| !name.is_empty())
                .collect();
            Ok(names.join(","))
        },
    ),
    Function::read(
        "EXCEPTION",
        "EXCEPTION(reason|context|exten|priority)",
        "why extension e runs",
        exception,
    ),
];

fn channel(task: &Task, args: &str) -> Result<String, String> {
    let channel = &task.channel;
    let data = channel.data();
    let item = argument(args, 0).to_ascii_lowercase();
    match item.as_str() {
        "rtcp" => return rtcp(task, &argument(args, 1), &argument(args, 2)),
        // As the old SIP channel had it: the type first.
        "rtpqos" => return rtcp(task, &argument(args, 2), &argument(args, 1)),
        "rtp" => return rtp(task, &argument(args, 1)),
        "pjsip" => {
            let item = argument(args, 1).to_ascii_lowercase();
            let found = channel.signalling_item(&item);
            return found.ok_or_else(|| {
                format!("CHANNEL(pjsip,{item}): known are call-id, local_uri, local_tag, remote_uri, remote_tag, target_uri, request_uri, local_addr, remote_addr, transport, secure and t38state")
            });
        }
        _ => {}
    }
    Ok(match item.as_str() {
        "name" => channel.name().to_string(),
        "uniqueid" => channel.uniqueid().to_string(),
        "linkedid" => data.linkedid.clone(),
        "state" => state_name(data.state).to_owned(),
        "channeltype" => {
            let name = channel.name();
            name.split('/').next().unwrap_or_default().to_owned()
        }
        "language" => data.language.clone(),
        "musicclass" => data.music_class.clone(),
        "accountcode" => data.accountcode.clone(),
        "amaflags" => data.amaflags.clone(),
        "tonezone" => data.tonezone.clone(),
        "hangupsource" => data.hangup_source.clone(),
        "onhold" => u8::from(data.held).to_string(),
        "exten" => data.location.exten.clone(),
        "context" => data.location.context.clone(),
        "priority" => data.location.priority.to_string(),
        "appname" => data.application.clone(),
        "appdata" => data.application_data.clone(),
        "audioreadformat" | "audiowriteformat" | "audionativeformat" | "checkhangup" => {
            match item.as_str() {
                "checkhangup" => u8::from(data.ended.is_some()).to_string(),
                // Media of applications is linear; what goes over the wire is the engine's affair.
                _ => "slin".to_owned(),
            }
        }
        "secure_media" => u8::from(channel.has_secure_media()).to_string(),
        "secure_signaling" => u8::from(channel.has_secure_signaling()).to_string(),
        "tenantid" => channel
            .endpoint()
            .and_then(|endpoint| endpoint.tenantid.clone())
            .unwrap_or_default(),
        "peerip" => channel
            .peer_ip()
            .map(|ip| ip.to_string())
            .unwrap_or_default(),
        "contact" => channel.signalling_item("target_uri").unwrap_or_default(),
        "max_forwards" => data.max_forwards().to_string(),
        "rxgain" | "txgain" => "0".to_owned(),
        "hangup_handler_push" | "hangup_handler_pop" | "hangup_handler_wipe" => {
            return Err(format!("CHANNEL({item}) can only be written"));
        }
        "endpoint" => channel
            .endpoint()
            .map(|endpoint| endpoint.id.clone())
            .unwrap_or_default(),
        "aor" => channel
            .endpoint()
            .map(|endpoint| endpoint.aors.join(","))
            .unwrap_or_default(),
        "after_bridge_goto" => data.after_bridge.as_ref().map_or_else(String::new, |to| {
            format!("{},{},{}", to.context, to.exten, to.priority)
        }),
        "callgroup" | "pickupgroup" | "namedcallgroup" | "namedpickupgroup" | "parkinglot" => data
            .variables
            .get(&setting_variable(&item))
            .unwrap_or_default()
            .to_owned(),
        _ => return Err(format!("CHANNEL({item}): there is no such item")),
    })
}

/// `CHANNEL(rtcp,field[,audio])`: how the media did. The step that reads it has asked the media thread before.
fn rtcp(task: &Task, field: &str, kind: &str) -> Result<String, String> {
    if !matches!(kind.to_ascii_lowercase().as_str(), "" | "audio") {
        return Err(format!("CHANNEL(rtcp): there is no {kind} stream"));
    }
    let field = field.to_ascii_lowercase();
    let blank = LegStats::default();
    let read = |stats: &LegStats| quality::item(stats, &field);
    task.channel
        .with_stats(read)
        .unwrap_or_else(|| read(&blank))
        .ok_or_else(|| format!("CHANNEL(rtcp,{field}): there is no such field"))
}

/// `CHANNEL(rtp,field)`: the addresses of the media.
fn rtp(task: &Task, field: &str) -> Result<String, String> {
    let (ours, theirs) = task
        .channel
        .rtp_addresses()
        .ok_or("CHANNEL(rtp): the channel has no media")?;
    Ok(match field.to_ascii_lowercase().as_str() {
        "src" => ours.to_string(),
        "dest" => theirs.map(|at| at.to_string()).unwrap_or_default(),
        // Media never flows past us.
        "direct" => String::new(),
        "hold" => u8::from(task.channel.data().held).to_string(),
        "secure" => u8::from(task.channel.has_secure_media()).to_string(),
        other => {
            return Err(format!(
                "CHANNEL(rtp,{other}): known are src, dest, direct, hold and secure"
            ));
        }
    })
}

/// Does a row of the dialplan read how the media did?
pub(crate) fn reads_stats(data: &str) -> bool {
    ["rtcp", "rtpqos", "RTCP", "RTPQOS"]
        .iter()
        .any(|word| data.contains(word))
}

fn set_channel(task: &Task, args: &str, value: &str) -> Result<(), String> {
    let item = argument(args, 0).to_ascii_lowercase();
    let value = value.trim();
    if item == "after_bridge_goto" {
        let target = match value {
            "" => None,
            text => Some(
                resolve(task, &args::parse_goto(text))
                    .map_err(|_| format!("CHANNEL(after_bridge_goto): {text} does not exist"))?,
            ),
        };
        task.channel.data_mut().after_bridge = target;
        return Ok(());
    }
    if let Some(action) = item.strip_prefix("hangup_handler_") {
        return set_handler(task, action, value);
    }
    {
        let mut data = task.channel.data_mut();
        match item.as_str() {
            "language" => value.clone_into(&mut data.language),
            "musicclass" => value.clone_into(&mut data.music_class),
            "accountcode" => value.clone_into(&mut data.accountcode),
            "amaflags" => data.amaflags = ama_flags(value)?.to_owned(),
            "tonezone" => value.clone_into(&mut data.tonezone),
            "hangupsource" => value.clone_into(&mut data.hangup_source),
            "callgroup" | "pickupgroup" | "namedcallgroup" | "namedpickupgroup" | "parkinglot" => {
                data.variables.set(&setting_variable(&item), value);
            }
            "name" | "uniqueid" | "linkedid" | "state" | "channeltype" | "onhold" | "exten"
            | "context" | "priority" | "appname" | "appdata" | "endpoint" | "aor"
            | "secure_media" | "secure_signaling" | "checkhangup" | "audioreadformat"
            | "audiowriteformat" | "audionativeformat" | "peerip" | "contact" | "max_forwards"
            | "rxgain" | "txgain" | "pjsip" => {
                return Err(format!("CHANNEL({item}) can only be read"));
            }
            _ => return Err(format!("CHANNEL({item}): there is no such item")),
        }
    }
    Ok(())
}

/// `CHANNEL(hangup_handler_push|pop|wipe)=[context,exten,priority[(arguments)]]`: pop and wipe may put another in place.
fn set_handler(task: &Task, action: &str, value: &str) -> Result<(), String> {
    match action {
        "push" if value.is_empty() => {
            return Err(
                "CHANNEL(hangup_handler_push) needs a place: context,exten,priority(arguments)"
                    .to_owned(),
            );
        }
        "push" => {}
        "pop" | "wipe" => {
            let count = if action == "pop" { 1 } else { HANDLERS_MAX };
            for _ in 0..count {
                let popped = task.channel.data_mut().hangup_handlers.pop();
                let Some(handler) = popped else { break };
                task.channel
                    .tell_hangup_handler("HangupHandlerPop", &handler);
            }
        }
        other => {
            return Err(format!(
                "CHANNEL(hangup_handler_{other}): known are push, pop and wipe"
            ));
        }
    }
    if value.is_empty() {
        return Ok(());
    }
    let (destination, _) = args::parse_gosub(value);
    if destination.context.is_none() {
        // It runs wherever the call is then.
        let place = task.channel.location();
        return push_handler(task, format!("{},{value}", complete(&destination, &place)));
    }
    push_handler(task, value.to_owned())
}

/// The part of a place that was left out.
fn complete(
    destination: &args::Destination<'_>,
    place: &strowger_core::channel::Location,
) -> String {
    match destination.exten {
        Some(_) => place.context.clone(),
        None => format!("{},{}", place.context, place.exten),
    }
}

fn push_handler(task: &Task, handler: String) -> Result<(), String> {
    let mut data = task.channel.data_mut();
    let handlers = &mut data.hangup_handlers;
    if handlers.len() >= HANDLERS_MAX {
        return Err(format!("{HANDLERS_MAX} hang-up handlers wait already"));
    }
    handlers.push(handler.clone());
    drop(data);
    task.channel
        .tell_hangup_handler("HangupHandlerPush", &handler);
    Ok(())
}

fn ama_flags(value: &str) -> Result<&'static str, String> {
    match value.to_ascii_lowercase().as_str() {
        "omit" | "1" => Ok("OMIT"),
        "billing" | "2" => Ok("BILLING"),
        "documentation" | "default" | "3" => Ok("DOCUMENTATION"),
        _ => Err(format!(
            "amaflags \"{value}\": known are OMIT, BILLING, DOCUMENTATION"
        )),
    }
}

fn state_name(state: strowger_core::channel::State) -> &'static str {
    use strowger_core::channel::State;
    match state {
        State::Down => "Down",
        State::Dialing => "Dialing",
        State::Ring => "Ring",
        State::Ringing => "Ringing",
        State::Up => "Up",
        State::Busy => "Busy",
    }
}

fn cdr(task: &Task, args: &str) -> Result<String, String> {
    let parts = args::split(args);
    let field = parts.first().map(|field| field.trim()).unwrap_or_default();
    let options = parts.get(1).map(String::as_str).unwrap_or_default();
    Ok(task
        .channel
        .cdr_field(field, options.contains('u'), options.contains('f'))
        .unwrap_or_default())
}

fn set_cdr(task: &Task, args: &str, value: &str) -> Result<(), String> {
    task.channel.set_cdr_field(&argument(args, 0), value)
}

fn set_cdr_property(task: &Task, args: &str, value: &str) -> Result<(), String> {
    match argument(args, 0).to_ascii_lowercase().as_str() {
        "disable" => task.channel.data_mut().cdr.set_disabled(is_yes(value)),
        "party_a" => {}
        other => return Err(format!("CDR_PROP({other}): known are disable and party_a")),
    }
    Ok(())
}

fn timeout(task: &Task, args: &str) -> Result<String, String> {
    let timeouts = task.channel.data().timeouts;
    Ok(match argument(args, 0).to_ascii_lowercase().as_str() {
        "absolute" => timeouts.absolute.map_or_else(
            || "0".to_owned(),
            |at| {
                format!(
                    "{:.3}",
                    at.saturating_duration_since(Instant::now()).as_secs_f64()
                )
            },
        ),
        "digit" => number(timeouts.digit.as_secs_f64()),
        "response" => number(timeouts.response.as_secs_f64()),
        other => {
            return Err(format!(
                "TIMEOUT({other}): known are absolute, digit, response"
            ));
        }
    })
}

fn set_timeout(task: &Task, args: &str, value: &str) -> Result<(), String> {
    let item = argument(args, 0).to_ascii_lowercase();
    let seconds = leading_number(value)
        .ok_or_else(|| format!("TIMEOUT({item}): \"{value}\" is no number"))?;
    let length = Duration::from_secs_f64(seconds.clamp(0.0, TIMEOUT_SECONDS_MAX));
    let mut data = task.channel.data_mut();
    let timeouts = &mut data.timeouts;
    match item.as_str() {
        "absolute" => timeouts.absolute = (seconds > 0.0).then(|| Instant::now() + length),
        "digit" if seconds > 0.0 => timeouts.digit = length,
        "response" if seconds > 0.0 => timeouts.response = length,
        // Nothing or less means the default again.
        "digit" => timeouts.digit = strowger_core::channel::Timeouts::default().digit,
        "response" => timeouts.response = strowger_core::channel::Timeouts::default().response,
        other => {
            return Err(format!(
                "TIMEOUT({other}): known are absolute, digit, response"
            ));
        }
    }
    Ok(())
}

fn hangup_cause(task: &Task, args: &str) -> Result<String, String> {
    let (name, kind) = (argument(args, 0), argument(args, 1));
    let legs = task.legs.borrow();
    let Some(leg) = legs.iter().rev().find(|leg| leg.name == name) else {
        return Err(format!("HANGUPCAUSE({name}): no such channel was dialled"));
    };
    match kind.as_str() {
        "ast" => Ok(leg.cause.text().to_owned()),
        "tech" | "" => Ok(leg.status.map_or_else(String::new, |status| {
            format!("SIP {status} {}", reason(status))
        })),
        other => Err(format!(
            "HANGUPCAUSE: type \"{other}\": known are tech and ast"
        )),
    }
}

/// The reason phrases of the responses that end calls (RFC 3261 §21).
fn reason(status: u16) -> &'static str {
    match status {
        200..=299 => "OK",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        415 => "Unsupported Media Type",
        420 => "Bad Extension",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        491 => "Request Pending",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        _ => "",
    }
}

fn exception(task: &Task, args: &str) -> Result<String, String> {
    let exception = task.exception.borrow();
    let Some(exception) = exception.as_ref() else {
        return Ok(String::new());
    };
    Ok(match argument(args, 0).to_ascii_lowercase().as_str() {
        "reason" => exception.reason.clone(),
        "context" => exception.place.context.clone(),
        "exten" => exception.place.exten.clone(),
        "priority" => exception.place.priority.to_string(),
        other => {
            return Err(format!(
                "EXCEPTION({other}): known are reason, context, exten, priority"
            ));
        }
    })
}
