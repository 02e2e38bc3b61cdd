//! `Park`, `ParkedCall`, `ParkAndAnnounce`: calls that wait in a numbered space until somebody fetches them, from whatever
//! telephone and core.

use std::time::{Duration, Instant};

use strowger_core::call::BridgeOptions;
use strowger_core::channel::{Afterwards, Channel, Location};
use strowger_core::parking::{Lot, Parked, Place};
use strowger_dialplan::args;
use strowger_media::Repeat;

use super::jump::resolve;
use super::play::{end_background, load};
use super::{App, AppResult, Call, Next, Stop, app};

pub(super) const APPS: &[App] = &[
    app!(
        "Park",
        "Park([lot[,options[,space]]])",
        "puts the call into a space of a parking lot",
        park
    ),
    app!(
        "ParkedCall",
        "ParkedCall([lot[,space]])",
        "fetches a parked call",
        parked_call
    ),
    app!(
        "ParkAndAnnounce",
        "ParkAndAnnounce([lot[,options[,announcement[,device]]]])",
        "parks the call and tells a device where",
        park_and_announce
    ),
];

/// Letters of `Park`.
const OPTIONS: &str = "rRscot";

/// The device of a channel: its name without the number that makes it unique.
pub(super) fn device_of(name: &str) -> String {
    let name = name
        .strip_suffix(";1")
        .or(name.strip_suffix(";2"))
        .unwrap_or(name);
    name.rsplit_once('-')
        .map_or(name, |(device, _)| device)
        .to_owned()
}

/// The lot in which this channel is parked: its variable `PARKINGLOT`, else `CHANNEL(parkinglot)`.
pub(super) fn parking_lot_of(channel: &Channel) -> String {
    let set = channel.variable("PARKINGLOT").filter(|lot| !lot.is_empty());
    set.or_else(|| channel.setting("parkinglot"))
        .unwrap_or_default()
}

fn lot_of(call: &Call, name: &str) -> Option<Lot> {
    let wanted = match name {
        "" => parking_lot_of(call.channel()),
        name => name.to_owned(),
    };
    let lot = Lot::find(&call.shared().snapshot(), &wanted);
    if lot.is_none() {
        call.warn(&format!(
            "parking lot \"{wanted}\" is not in res_parking.conf; the lot there always is is called default"
        ));
    }
    lot
}

/// Takes a space for `who`, who comes soon.
pub(super) fn reserve(call: &Call, lot: &str, space: Option<u32>, who: &Channel) -> Option<Place> {
    let lot = lot_of(call, lot)?;
    let who = Parked {
        channel: who.name().to_string(),
        shard: who.shard().index(),
    };
    let place = call.shared().parked.take(&lot, space, who);
    match space {
        _ if place.is_some() => {}
        Some(space) => call.warn(&format!(
            "space {space} of parking lot {} is taken",
            lot.name
        )),
        None => call.warn(&format!("parking lot {} is full", lot.name)),
    }
    place
}

/// Says the number of a space, digit by digit.
pub(super) async fn tell_space(call: &Call, to: &Channel, space: u32) {
    let language = to.data().language.clone();
    let names: Vec<String> = space
        .to_string()
        .chars()
        .map(|digit| format!("digits/{digit}"))
        .collect();
    let sounds = load(call, &names.join("&"), Some(&language)).await.0;
    if !sounds.is_empty() {
        let _ = to.play(sounds, false, &|_| false).await;
    }
}

async fn park(call: Call) -> AppResult {
    let options = call.options("Park", 1);
    call.warn_unknown("Park", &options, OPTIONS);
    let wanted = match call.arg(2) {
        "" => None,
        text => {
            let space = text.parse().ok();
            if space.is_none() {
                call.warn(&format!("Park: \"{text}\" is no space"));
            }
            space
        }
    };
    let target = match options.argument('c').filter(|text| !text.is_empty()) {
        Some(text) => Some(resolve(&call.task, &args::parse_goto(text))?),
        None => None,
    };
    end_background(&call);
    let channel = call.channel().clone();
    // Who parks it by a key has taken a space already.
    let kept = channel.data_mut().parking.take();
    channel.answer(Duration::from_millis(500)).await?;
    let Some(place) = kept.or_else(|| reserve(&call, call.arg(0), wanted, &channel)) else {
        return Ok(Next::Continue);
    };
    if !options.has('s') {
        tell_space(&call, &channel, place.space()).await;
    }
    stay(&call, place, target).await
}

/// How long a call whose time is over waits for whoever is about to fetch it.
const FETCHING: Duration = Duration::from_secs(1);

/// Waits in a space until somebody fetches the call, or its time is over: then it goes back to who parked it, or to
/// `otherwise`.
pub(super) async fn stay(call: &Call, place: Place, otherwise: Option<Location>) -> AppResult {
    let channel = call.channel();
    let space = place.space();
    let Some(lot) = lot_of(call, place.lot()) else {
        return Ok(Next::Continue);
    };
    call.set("PARKINGSLOT", &space.to_string());
    call.set("PARKING_SPACE", &space.to_string());
    call.set("PARKEDLOT", &lot.name);
    let music = channel.music(&lot.music_class).await.ok();
    let music = music.and_then(|music| channel.start_play(music.sounds, Repeat::Forever));
    let mut until = (!lot.time.is_zero()).then(|| Instant::now() + lot.time);
    let result = loop {
        match channel.wait_change(until).await {
            Err(interrupt) => break Err(interrupt),
            Ok(_) if until.is_some_and(|at| Instant::now() >= at) => {
                if !place.is_fetched() {
                    break Ok(());
                }
                until = Some(Instant::now() + FETCHING);
            }
            Ok(_) => channel.clear_digits(),
        }
    };
    if let Some(play) = music {
        channel.stop_play(play);
    }
    drop(place);
    result?;
    time_over(call, &lot, otherwise).await
}

/// The call comes back to the telephone that parked it.
async fn time_over(call: &Call, lot: &Lot, otherwise: Option<Location>) -> AppResult {
    if let Some(target) = otherwise {
        return Ok(Next::Jump(target));
    }
    let parker = call.channel().variable("PARKER").unwrap_or_default();
    call.set("PARKINGTIMEOUT", "yes");
    if !lot.comes_back || parker.is_empty() {
        for exten in [parker.replace('/', "_").as_str(), "s"] {
            if !exten.is_empty() && call.task.exists(&lot.context, exten, 1) {
                return Ok(Next::Jump(Location::new(&lot.context, exten, 1)));
            }
        }
        return Ok(Next::Continue);
    }
    let data = format!("{parker},{}", lot.dial_time.as_secs());
    let result = Box::pin(super::execute(&call.task, "Dial", data, None)).await;
    match result {
        Ok(Next::Continue) if call.task.exists(&lot.context, "s", 1) => {
            Ok(Next::Jump(Location::new(&lot.context, "s", 1)))
        }
        other => other,
    }
}

async fn parked_call(call: Call) -> AppResult {
    let channel = call.channel();
    let Some(lot) = lot_of(&call, call.arg(0)) else {
        return Ok(Next::Continue);
    };
    let space = match call.arg(1) {
        "" => None,
        text => match text.parse() {
            Ok(space) => Some(space),
            Err(_) => {
                call.warn(&format!("ParkedCall: \"{text}\" is no space"));
                return Ok(Next::Continue);
            }
        },
    };
    end_background(&call);
    channel.answer(Duration::ZERO).await?;
    let Some(parked) = call.shared().parked.fetch(&lot.name, space) else {
        return nobody(&call).await;
    };
    call.set("PARKINGSLOT", &parked.space.to_string());
    let name = parked.who.channel.clone();
    if parked.who.shard == channel.shard().index() {
        let other = channel.shard().channel_by_name(&name);
        let seized = match other {
            Some(other) => other.seize().await,
            None => None,
        };
        let Some(mut seized) = seized else {
            return nobody(&call).await;
        };
        let peer = seized.channel().clone();
        if let Err(interrupt) = channel.check() {
            // Whoever wanted it is gone: it waits for another.
            let (lot, space) = (&lot.name, parked.space);
            peer.run_application("Park", &format!("{lot},s,{space}"));
            return Err(interrupt.into());
        }
        seized.set_afterwards(Afterwards::HangUp);
        let bridged = channel.bridge(&peer, BridgeOptions::default()).await;
        seized.let_go(&bridged);
    } else {
        let reached = channel.reach(parked.who.shard, name, Afterwards::HangUp);
        let Some(reached) = reached.await else {
            return nobody(&call).await;
        };
        let bridged = channel
            .bridge(reached.channel(), BridgeOptions::default())
            .await;
        reached.let_go(&bridged);
    }
    channel.check()?;
    Ok(Next::End)
}

/// What Asterisk plays where nobody is parked.
async fn nobody(call: &Call) -> AppResult {
    call.channel().check()?;
    let sounds = load(call, "pbx-invalid", None).await.0;
    if !sounds.is_empty() {
        call.channel().play(sounds, false, &|_| false).await?;
    }
    Ok(Next::Continue)
}

async fn park_and_announce(call: Call) -> AppResult {
    let device = call.arg(3).to_owned();
    let announcement = call.arg(2).to_owned();
    if device.is_empty() {
        return Err(Stop::Failed(
            "ParkAndAnnounce needs the device that is told, as in ParkAndAnnounce(,,PARKED,PJSIP/100)"
                .to_owned(),
        ));
    }
    end_background(&call);
    call.channel().answer(Duration::from_millis(500)).await?;
    let Some(place) = reserve(&call, call.arg(0), None, call.channel()) else {
        return Ok(Next::Continue);
    };
    let space = place.space();
    // Parts of the announcement that are called PARKED are the number of the space.
    let number: Vec<String> = space
        .to_string()
        .chars()
        .map(|digit| format!("digits/{digit}"))
        .collect();
    let parts = announcement.split(':').filter(|part| !part.is_empty());
    let mut names: Vec<String> = Vec::new();
    for part in parts {
        if part == "PARKED" {
            names.extend(number.clone());
        } else {
            names.push(part.to_owned());
        }
    }
    if names.is_empty() {
        names = number;
    }
    let mut request = strowger_core::call::originate::OriginateRequest::new(
        &device,
        strowger_core::call::originate::Target::Application {
            name: "Playback".to_owned(),
            data: names.join("&"),
        },
    );
    request.caller = Some(call.channel().data().caller.clone());
    request.max_forwards = call.channel().data().max_forwards();
    let shard = std::rc::Rc::clone(call.channel().shard());
    call.channel().spawn(async move {
        strowger_core::call::originate::originate(&shard, request).await;
    });
    stay(&call, place, None).await
}
