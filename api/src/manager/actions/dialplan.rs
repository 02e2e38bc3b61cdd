//! The dialplan, its hints, and the states of devices.

use strowger_core::device::{ExtensionState, devices_of};

use super::super::answer::Answer;
use super::super::feed::status_text;
use super::Context;

/// An extension with what its hint says.
struct Seen {
    exten: String,
    context: String,
    hint: String,
    state: ExtensionState,
}

impl Seen {
    fn write(&self, text: &mut Answer) {
        text.line("Exten", &self.exten)
            .line("Context", &self.context)
            .line("Hint", &self.hint)
            .line("Status", self.state.number().to_string())
            .line("StatusText", status_text(self.state))
            .end();
    }
}

pub(super) async fn extension_state(on: Context<'_>) -> String {
    let Some(exten) = on.request.given("Exten") else {
        return on.error("Extension not specified");
    };
    let context = on.request.given("Context").unwrap_or("default");
    let (place, number) = (context.to_owned(), exten.to_owned());
    let hint = on
        .ask_dialplan(move |shard| shard.dialplan().hint(&place, &number))
        .await
        .flatten()
        .unwrap_or_default();
    let state = if hint.is_empty() {
        ExtensionState::Unknown
    } else {
        on.manager.shared.hint_state(&hint)
    };
    let mut text = Answer::to(on.request);
    text.response("Success").line("Message", "Extension Status");
    Seen {
        exten: exten.to_owned(),
        context: context.to_owned(),
        hint,
        state,
    }
    .write(&mut text);
    text.into_text()
}

pub(super) fn extension_states(on: Context<'_>) -> String {
    let shared = &on.manager.shared;
    let hints = shared.devices.hints();
    let mut all: Vec<Seen> = hints
        .iter()
        .map(|((context, exten), hint)| Seen {
            exten: exten.clone(),
            context: context.clone(),
            hint: hint.to_owned(),
            state: shared.hint_state(hint),
        })
        .collect();
    if all.is_empty() {
        return on.error("No dialplan hints are available");
    }
    all.sort_by(|a, b| (&a.context, &a.exten).cmp(&(&b.context, &b.exten)));
    let mut text = Answer::to(on.request);
    text.list("Extension Statuses will follow");
    for seen in all {
        seen.write(text.item("ExtensionStatus"));
    }
    text.complete("ExtensionStateListComplete").end();
    text.into_text()
}

/// Devices of endpoints, and those that hints name.
pub(super) fn device_states(on: Context<'_>) -> String {
    let shared = &on.manager.shared;
    let snapshot = shared.snapshot();
    let mut devices: Vec<String> = snapshot
        .endpoints
        .keys()
        .map(|id| format!("PJSIP/{id}"))
        .collect();
    let hints = shared.devices.hints();
    for (_, hint) in hints.iter() {
        devices.extend(devices_of(hint).map(strowger_core::device::device_key));
    }
    devices.sort();
    devices.dedup();
    let mut text = Answer::to(on.request);
    text.list("Device State Changes will follow");
    for device in devices {
        let state = shared.device_state(&device);
        text.item("DeviceStateChange")
            .line("Device", device)
            .line("State", state.as_str())
            .end();
    }
    text.complete("DeviceStateListComplete").end();
    text.into_text()
}

/// What the rows and files say, as written.
pub(super) fn show(on: Context<'_>) -> String {
    let plan = on.manager.plans.current();
    let (wanted, exten) = (on.request.given("Context"), on.request.given("Extension"));
    let mut contexts: Vec<_> = plan
        .contexts()
        .filter(|context| wanted.is_none_or(|wanted| *wanted == *context.name))
        .collect();
    if let Some(name) = wanted.filter(|_| contexts.is_empty()) {
        return on.error(&format!("Did not find context {name}"));
    }
    contexts.sort_by(|a, b| a.name.cmp(&b.name));
    let mut text = Answer::to(on.request);
    text.list("DialPlan list will follow");
    let (mut extensions, mut priorities, mut shown) = (0usize, 0usize, 0usize);
    for context in contexts {
        let mut steps: Vec<_> = context
            .steps
            .iter()
            .filter(|step| exten.is_none_or(|exten| *exten == *step.exten))
            .collect();
        steps.sort_by(|a, b| (&a.exten, a.priority).cmp(&(&b.exten, b.priority)));
        let mut last = None;
        for step in &steps {
            if last != Some(&step.exten) {
                extensions += 1;
                last = Some(&step.exten);
            }
            priorities += 1;
            text.item("ListDialplan")
                .line("Context", &*context.name)
                .line("Extension", &*step.exten);
            if let Some(label) = &step.label {
                text.line("ExtensionLabel", &**label);
            }
            let priority = match step.priority {
                priority if priority > 0 => priority.to_string(),
                _ => "hint".to_owned(),
            };
            text.line("Priority", priority)
                .line("Application", &*step.app)
                .line("AppData", &*step.appdata)
                .line(
                    "Registrar",
                    step.registrar.as_deref().unwrap_or("pbx_config"),
                )
                .end();
        }
        if exten.is_none() {
            for include in &context.includes {
                text.item("ListDialplan")
                    .line("Context", &*context.name)
                    .line("IncludeContext", &*include.context)
                    .line("Registrar", "pbx_config")
                    .end();
            }
        }
        shown += usize::from(!steps.is_empty() || exten.is_none());
    }
    if let Some(exten) = exten.filter(|_| priorities == 0) {
        return on.error(&format!("Did not find extension {exten}"));
    }
    text.complete("ShowDialPlanComplete")
        .line("ListExtensions", extensions.to_string())
        .line("ListPriorities", priorities.to_string())
        .line("ListContexts", shown.to_string())
        .end();
    text.into_text()
}
