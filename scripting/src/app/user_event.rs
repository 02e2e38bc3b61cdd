//! `UserEvent`: the dialplan tells programs that watch the exchange what happened.

use strowger_core::events::Event;
use strowger_dialplan::args;

use super::{App, AppResult, Call, Next, app};

pub(super) const APPS: &[App] = &[app!(
    now "UserEvent",
    "UserEvent(name[,Header: value...])",
    "tells programs that watch the exchange what happened",
    user_event
)];

fn user_event(call: &Call) -> AppResult {
    let mut parts = args::split(&call.data).into_iter();
    let name = parts.next().unwrap_or_default();
    if name.trim().is_empty() {
        call.warn("UserEvent needs the name of the event");
        return Ok(Next::Continue);
    }
    call.shared().events.tell(|| {
        let mut event = Event::of("UserEvent", call.channel()).with("UserEvent", line(&name));
        for part in parts {
            // A header without a colon is told as it is, with nothing behind it.
            let (header, value) = part.split_once(':').unwrap_or((&part, ""));
            if !header.trim().is_empty() {
                event = event.with(line(header), line(value));
            }
        }
        event
    });
    Ok(Next::Continue)
}

/// A text for one line: whoever reads events reads lines.
fn line(text: &str) -> String {
    text.trim().replace(['\r', '\n'], " ")
}
