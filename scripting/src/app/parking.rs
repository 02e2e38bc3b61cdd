//! `Park`, `ParkedCall`, `ParkAndAnnounce`: calls that wait in a numbered space until somebody fetches them, from whatever
//! telephone and core.

use std::time::{Duration, Instant};

use strowger_core::call::BridgeOptions;
use strowger_core::channel::{Afterwards, Cause, Channel, Location};
use strowger_core::parking::{Lot, Parked};
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

fn lot_of(call: &Call, name: &str) -> Option<Lot> {
    let wanted = match name {
        "" => call.channel().variable("PARKINGLOT").unwrap_or_default(),
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

/// Takes a space for somebody who comes soon: the lot's name and the space.
pub(super) fn reserve(call: &Call, lot: &str, space: Option<u32>) -> Option<(String, u32)> {
    let lot = lot_of(call, lot)?;
    let who = Parked {
        channel: call.channel().name().to_string(),
        shard: call.channel().shard().index(),
    };
    let space = call.shared().parked.take(&lot, space, who);
    if space.is_none() {
        call.warn(&format!("parking lot {} is full", lot.name));
    }
    space.map(|space| (lot.name, space))
}

pub(super) fn release(call: &Call, lot: &str, space: u32) {
    call.shared().parked.free(lot, space);
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

/// A space that is freed however the waiting ends, unless somebody fetched the call.
struct Place<'c> {
    call: &'c Call,
    lot: String,
    space: u32,
}

impl Place<'_> {
    /// Does this call still stand there?
    fn is_ours(&self) -> bool {
        let name = self.call.channel().name();
        let parked = self.call.shared().parked.list();
        parked.iter().any(|(lot, space, who)| {
            *lot == self.lot && *space == self.space && *who.channel == *name
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.is_ours() {
            self.call.shared().parked.free(&self.lot, self.space);
        }
    }
}

async fn park(call: Call) -> AppResult {
    let options = call.options("Park", 1);
    call.warn_unknown("Park", &options, OPTIONS);
    let wanted = call.arg(2).parse().ok();
    end_background(&call);
    call.channel().answer(Duration::from_millis(500)).await?;
    // A space that who parks has reserved is taken over.
    let reserved =
        wanted.filter(|space| call.shared().parked.free(&name_of(&call), *space).is_some());
    let Some((lot, space)) = reserve(&call, call.arg(0), reserved.or(wanted)) else {
        return Ok(Next::Continue);
    };
    if !options.has('s') {
        let channel = call.channel().clone();
        tell_space(&call, &channel, space).await;
    }
    if let Some(text) = options.argument('c').filter(|text| !text.is_empty()) {
        let target = resolve(&call.task, &args::parse_goto(text))?;
        return stay(&call, &lot, space, Some(target)).await;
    }
    stay(&call, &lot, space, None).await
}

fn name_of(call: &Call) -> String {
    lot_of(call, call.arg(0)).map_or_else(String::new, |lot| lot.name)
}

/// Waits in a space until somebody fetches the call, or its time is over: then it goes back to who parked it, or to
/// `otherwise`.
pub(super) async fn stay(
    call: &Call,
    lot: &str,
    space: u32,
    otherwise: Option<Location>,
) -> AppResult {
    let channel = call.channel();
    let who = Parked {
        channel: channel.name().to_string(),
        shard: channel.shard().index(),
    };
    call.shared().parked.set(lot, space, who);
    let place = Place {
        call,
        lot: lot.to_owned(),
        space,
    };
    let Some(lot) = lot_of(call, lot) else {
        return Ok(Next::Continue);
    };
    call.set("PARKINGSLOT", &space.to_string());
    call.set("PARKING_SPACE", &space.to_string());
    call.set("PARKEDLOT", &lot.name);
    let music = channel.music(&lot.music_class).await.ok();
    let music = music.and_then(|music| channel.start_play(music.sounds, Repeat::Forever));
    let until = (!lot.time.is_zero()).then(|| Instant::now() + lot.time);
    let result = loop {
        match channel.wait_change(until).await {
            Err(interrupt) => break Err(interrupt),
            Ok(_) if until.is_some_and(|at| Instant::now() >= at) => break Ok(()),
            Ok(_) => channel.clear_digits(),
        }
    };
    if let Some(play) = music {
        channel.stop_play(play);
    }
    if !place.is_ours() {
        // Fetched: whoever did so has us, or is about to.
        channel.check()?;
        let soon = Instant::now() + Duration::from_secs(5);
        loop {
            channel.wait_change(Some(soon)).await?;
            if Instant::now() >= soon {
                return Ok(Next::End);
            }
        }
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
    let Some((space, parked)) = call.shared().parked.fetch(&lot.name, space) else {
        // What Asterisk plays: nobody is there.
        let sounds = load(&call, "pbx-invalid", None).await.0;
        if !sounds.is_empty() {
            channel.play(sounds, false, &|_| false).await?;
        }
        return Ok(Next::Continue);
    };
    call.set("PARKINGSLOT", &space.to_string());
    if parked.shard == channel.shard().index() {
        let other = channel.shard().channel_by_name(&parked.channel);
        let seized = match other {
            Some(other) => other.seize().await,
            None => None,
        };
        let Some(mut seized) = seized else {
            return Ok(Next::Continue);
        };
        seized.set_afterwards(Afterwards::HangUp);
        let peer = seized.channel().clone();
        channel.check()?;
        channel.bridge(&peer, BridgeOptions::default()).await;
        drop(seized);
    } else {
        let half = channel.reach(parked.shard, parked.channel, Afterwards::HangUp);
        let Some(half) = half.await else {
            channel.check()?;
            return Ok(Next::Continue);
        };
        let bridged = channel.bridge(&half, BridgeOptions::default()).await;
        bridged.peer.hangup(Cause::NORMAL_CLEARING);
    }
    channel.check()?;
    Ok(Next::End)
}

async fn park_and_announce(call: Call) -> AppResult {
    let device = call.arg(3).to_owned();
    let announcement = call.arg(2).to_owned();
    end_background(&call);
    call.channel().answer(Duration::from_millis(500)).await?;
    let Some((lot, space)) = reserve(&call, call.arg(0), None) else {
        return Ok(Next::Continue);
    };
    if device.is_empty() {
        return Err(Stop::Failed(
            "ParkAndAnnounce needs the device that is told, as in ParkAndAnnounce(,,PARKED,PJSIP/100)"
                .to_owned(),
        ));
    }
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
    let shard = std::rc::Rc::clone(call.channel().shard());
    call.channel().spawn(async move {
        strowger_core::call::originate::originate(&shard, request).await;
    });
    stay(&call, &lot, space, None).await
}
