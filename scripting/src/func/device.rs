//! States of devices and extensions, and presence.

use strowger_core::device::{DeviceState, ExtensionState};
use strowger_dialplan::plan::HINT;
use strowger_dialplan::{CallError, Query, Vars, args, subst};

use super::text::{base64_decode, base64_encode};
use super::{Function, argument};
use crate::task::Task;

/// Family of presence that the dialplan sets.
const PRESENCE: &str = "CustomPresence";
/// What somebody's presence may be.
const PRESENCE_STATES: [&str; 7] = [
    "not_set",
    "unavailable",
    "available",
    "away",
    "xa",
    "chat",
    "dnd",
];

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::read_write(
        "DEVICE_STATE",
        "DEVICE_STATE(device)",
        "the state of a device; Custom:name can be set",
        |task, args| Ok(task.shared().device_state(args.trim()).as_str().to_owned()),
        set_device_state,
    ),
    Function::read(
        "EXTENSION_STATE",
        "EXTENSION_STATE(exten[@context])",
        "the state of an extension by its hint",
        |task, args| {
            let state = find_hint(task, &argument(args, 0))
                .map_or(ExtensionState::Unknown, |hint| {
                    task.shared().hint_state(&hint)
                });
            Ok(state.as_str().to_owned())
        },
    ),
    Function::read(
        "HINT",
        "HINT(exten[@context][,n])",
        "the devices whose state the extension shows; n: the name in the hint",
        |task, args| {
            // The name of a hint is what realtime and Lua have no place for.
            if argument(args, 1).contains('n') {
                return Ok(String::new());
            }
            Ok(find_hint(task, &argument(args, 0)).unwrap_or_default())
        },
    ),
    Function::read_write(
        "PRESENCE_STATE",
        "PRESENCE_STATE(CustomPresence:name,value|subtype|message[,e])",
        "somebody's presence",
        presence,
        set_presence,
    ),
];

/// The variables of a hint: its extension, else global ones.
struct HintVars<'t> {
    task: &'t Task,
    exten: &'t str,
    context: &'t str,
}

impl Vars for HintVars<'_> {
    fn get(&self, name: &str) -> Option<String> {
        match name {
            "EXTEN" => Some(self.exten.to_owned()),
            "CONTEXT" => Some(self.context.to_owned()),
            _ => self.task.shared().globals.get(name),
        }
    }

    fn call(&self, function: &str, arguments: &str) -> Result<String, CallError> {
        self.task.call(function, arguments)
    }
}

/// The devices of an extension's hint; of patterns too.
fn find_hint(task: &Task, place: &str) -> Option<String> {
    let here = task.channel.location().context;
    let (exten, context) = place.split_once('@').unwrap_or((place, &here));
    let plan = task.host.current();
    let found = plan.find(&Query::new(context, exten, HINT))?;
    let vars = HintVars {
        task,
        exten,
        context,
    };
    Some(subst::substitute(&found.step().app, &vars))
}

fn set_device_state(task: &Task, args: &str, value: &str) -> Result<(), String> {
    let name = match args.trim().split_once(':') {
        Some((kind, name)) if kind.eq_ignore_ascii_case("custom") && !name.is_empty() => name,
        _ => {
            return Err(format!(
                "DEVICE_STATE({args}) follows the device and cannot be set; Custom:name can"
            ));
        }
    };
    let state = DeviceState::parse(value).ok_or_else(|| {
        let known = DeviceState::ALL.map(DeviceState::as_str).join(", ");
        format!("DEVICE_STATE({args}): \"{value}\" is no state; known are {known}")
    })?;
    let shared = task.shared();
    shared
        .set_custom_state(name, state)
        .map_err(|error| error.to_string())
}

fn presence_name(provider: &str) -> Result<String, String> {
    match provider.split_once(':') {
        Some((kind, name)) if kind.eq_ignore_ascii_case(PRESENCE) && !name.is_empty() => {
            Ok(name.to_owned())
        }
        _ => Err(format!(
            "PRESENCE_STATE: \"{provider}\" is not known; write CustomPresence:name"
        )),
    }
}

/// `state,subtype,message,options`, as it is kept.
fn kept(task: &Task, name: &str) -> Vec<String> {
    let kept = task.shared().astdb.get(PRESENCE, name).unwrap_or_default();
    kept.splitn(4, ',').map(str::to_owned).collect()
}

fn presence(task: &Task, args: &str) -> Result<String, String> {
    let (provider, field, options) = (argument(args, 0), argument(args, 1), argument(args, 2));
    let kept = kept(task, &presence_name(&provider)?);
    let get = |index: usize| kept.get(index).cloned().unwrap_or_default();
    let encoded = get(3).contains('e');
    let plain = |text: String| {
        if encoded && !options.contains('e') {
            String::from_utf8_lossy(&base64_decode(&text)).into_owned()
        } else {
            text
        }
    };
    match field.to_ascii_lowercase().as_str() {
        "value" => Ok(match get(0) {
            state if state.is_empty() => "not_set".to_owned(),
            state => state,
        }),
        "subtype" => Ok(plain(get(1))),
        "message" => Ok(plain(get(2))),
        other => Err(format!(
            "PRESENCE_STATE: field \"{other}\": known are value, subtype, message"
        )),
    }
}

fn set_presence(task: &Task, args: &str, value: &str) -> Result<(), String> {
    let name = presence_name(&argument(args, 0))?;
    let parts = args::split_at_most(value, 4);
    let state = parts.first().map(|state| state.trim().to_ascii_lowercase());
    let state = state.unwrap_or_default();
    if !PRESENCE_STATES.contains(&state.as_str()) {
        return Err(format!(
            "PRESENCE_STATE: \"{state}\" is no state; known are {}",
            PRESENCE_STATES.join(", ")
        ));
    }
    let part = |index: usize| parts.get(index).map(|part| part.trim()).unwrap_or_default();
    let options = part(3);
    if options.contains('e')
        && [part(1), part(2)]
            .iter()
            .any(|text| base64_encode(&base64_decode(text)) != *text)
    {
        return Err("PRESENCE_STATE: option e: subtype and message have to be Base64".to_owned());
    }
    // A comma would end the field.
    if part(1).contains(',') || part(2).contains(',') {
        return Err(
            "PRESENCE_STATE: a subtype or message with a comma is written in Base64, with option e"
                .to_owned(),
        );
    }
    let kept = format!("{state},{},{},{options}", part(1), part(2));
    task.shared()
        .astdb
        .put(PRESENCE, &name, &kept)
        .map_err(|error| error.to_string())
}
