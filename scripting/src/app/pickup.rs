//! `Pickup`, `PickupChan`, `ChanIsAvail`: calls that ring elsewhere, and whether a device could be called.

use std::time::Duration;

use strowger_core::call::pickup::Wanted;
use strowger_core::call::{Destination, To};

use super::bridge::is_named;
use super::play::end_background;
use super::{App, AppResult, Call, Next, app};

pub(super) const APPS: &[App] = &[
    app!(
        "Pickup",
        "Pickup([exten[@context]][&exten2[@context2]...])",
        "takes a call that rings elsewhere",
        pickup
    ),
    app!(
        "PickupChan",
        "PickupChan(channel[&channel2...][,options])",
        "takes the call that a channel rings with",
        pickup_channel
    ),
    app!(
        "ChanIsAvail",
        "ChanIsAvail(technology/resource[&...][,options])",
        "says which device can be called",
        available
    ),
];

/// The context in which a name is not a number but a mark.
const MARK: &str = "PICKUPMARK";

async fn pickup(call: Call) -> AppResult {
    let wanted: Vec<Wanted> = if call.data.trim().is_empty() {
        match Wanted::by(call.channel()) {
            Some(groups) => vec![groups],
            None => {
                call.warn("Pickup: the caller has no pickup group: pickup_group and named_pickup_group of the endpoint, or CHANNEL(pickupgroup)");
                Vec::new()
            }
        }
    } else {
        let here = call.channel().location().context;
        let places = call.data.split('&').map(str::trim);
        places
            .filter(|place| !place.is_empty())
            .map(|place| match place.split_once('@') {
                Some((mark, MARK)) => Wanted::Mark(mark.to_owned()),
                Some((exten, context)) => Wanted::Number {
                    exten: exten.to_owned(),
                    context: context.to_owned(),
                },
                None => Wanted::Number {
                    exten: place.to_owned(),
                    context: here.clone(),
                },
            })
            .collect()
    };
    take(&call, &wanted).await
}

async fn pickup_channel(call: Call) -> AppResult {
    let options = call.options("PickupChan", 1);
    call.warn_unknown("PickupChan", &options, "p");
    let names = call.arg(0).split('&').map(str::trim);
    let wanted: Vec<Wanted> = names
        .filter(|name| !name.is_empty())
        .map(|name| Wanted::Name(name.to_owned()))
        .collect();
    take(&call, &wanted).await
}

/// Takes the first call that rings and is wanted; goes on where there is none.
async fn take(call: &Call, wanted: &[Wanted]) -> AppResult {
    let channel = call.channel();
    for wanted in wanted {
        if !channel.rings_for(wanted).await {
            continue;
        }
        end_background(call);
        channel.answer(Duration::ZERO).await?;
        if channel.pick_up(wanted).await.is_some() {
            channel.check()?;
            return Ok(Next::End);
        }
    }
    channel.check()?;
    Ok(Next::Continue)
}

/// States as `AVAILSTATUS` numbers them.
mod state {
    pub(super) const INVALID: u8 = 4;
    pub(super) const NOT_INUSE: u8 = 1;
    pub(super) const INUSE: u8 = 2;
    pub(super) const UNAVAILABLE: u8 = 5;
}

async fn available(call: Call) -> AppResult {
    let options = call.options("ChanIsAvail", 1);
    call.warn_unknown("ChanIsAvail", &options, "ast");
    let all = options.has('a');
    let snapshot = call.shared().snapshot();
    let mut found: Vec<String> = Vec::new();
    let mut status = state::INVALID;
    for text in call.arg(0).split('&').map(str::trim) {
        if text.is_empty() {
            continue;
        }
        let destination = match Destination::parse(text, &snapshot) {
            Ok(destination) => destination,
            Err(error) => {
                call.warn(&format!("ChanIsAvail: {error}"));
                status = state::INVALID;
                continue;
            }
        };
        status = match &destination.to {
            To::Local { exten, context, .. } => {
                if call.task.exists(context, exten, 1) {
                    state::NOT_INUSE
                } else {
                    state::INVALID
                }
            }
            To::Device { endpoint, uri, .. } => {
                let device = format!("PJSIP/{}", endpoint.id);
                let contacts = &call.shared().contacts;
                let reached = uri.is_some()
                    || endpoint
                        .aors
                        .iter()
                        .any(|aor| contacts.first(&snapshot, aor).is_some());
                let used = !call
                    .shared()
                    .directory
                    .names(|name| is_named(name, &device))
                    .is_empty();
                match (reached, used) {
                    (false, _) => state::UNAVAILABLE,
                    (true, true) => state::INUSE,
                    (true, false) => state::NOT_INUSE,
                }
            }
        };
        // Without option s a device that talks is available all the same.
        let free = match status {
            state::NOT_INUSE => true,
            state::INUSE => !options.has('s'),
            _ => false,
        };
        if free {
            found.push(text.to_owned());
            if !all {
                break;
            }
        }
    }
    call.set("AVAILCHAN", &found.join("&"));
    call.set("AVAILORIGCHAN", &found.join("&"));
    call.set("AVAILSTATUS", &status.to_string());
    // 0: nothing stands against it; 3: there is no way to it.
    let cause = if found.is_empty() { "3" } else { "0" };
    call.set("AVAILCAUSECODE", cause);
    Ok(Next::Continue)
}
