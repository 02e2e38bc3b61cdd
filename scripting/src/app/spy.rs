//! `ChanSpy`, `ExtenSpy`, `BridgeAdd`: a third party in a call of two, which only listens or is heard.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use strowger_core::call::guests::VisitEnd;
use strowger_core::channel::Channel;
use strowger_dialplan::args::Options;

use super::play::{end_background, load};
use super::{ANSWER_MEDIA_WAIT, App, AppResult, Call, Next, Stop, app};

pub(super) const APPS: &[App] = &[
    app!(
        "ChanSpy",
        "ChanSpy([prefix[,options]])",
        "listens to calls, one after the other",
        channels
    ),
    app!(
        "ExtenSpy",
        "ExtenSpy(exten[@context][,options])",
        "listens to calls of a number",
        number
    ),
    app!(
        "BridgeAdd",
        "BridgeAdd(channel)",
        "joins a call of two others",
        add
    ),
];

const OPTIONS: &str = "bBcdEgnqsSux";
/// How long it is waited for another call.
const PAUSE: Duration = Duration::from_secs(1);

async fn channels(call: Call) -> AppResult {
    let prefix = call.arg(0).to_ascii_lowercase();
    let names = move |call: &Call| {
        let own = call.channel().name();
        let wanted = |name: &str| *name != *own && name.to_ascii_lowercase().starts_with(&prefix);
        call.shared().directory.names(wanted)
    };
    listen(&call, "ChanSpy", &names, None).await
}

async fn number(call: Call) -> AppResult {
    let here = call.channel().location().context;
    let (exten, context) = match call.arg(0).split_once('@') {
        Some((exten, context)) => (exten.to_owned(), context.to_owned()),
        None => (call.arg(0).to_owned(), here),
    };
    if exten.is_empty() {
        return Err(Stop::Failed(
            "ExtenSpy needs a number, for example ExtenSpy(100@office)".to_owned(),
        ));
    }
    let names = |call: &Call| call.shared().directory.names(|_| true);
    listen(&call, "ExtenSpy", &names, Some((exten, context))).await
}

/// Is this channel wanted? Asked on its own shard.
#[derive(Clone)]
struct Filter {
    place: Option<(String, String)>,
    groups: Vec<String>,
}

impl Filter {
    fn fits(&self, channel: &Channel) -> bool {
        if !channel.can_be_visited() {
            return false;
        }
        if let Some((exten, context)) = &self.place {
            let place = channel.location();
            if place.exten != *exten || place.context != *context {
                return false;
            }
        }
        if self.groups.is_empty() {
            return true;
        }
        let own = channel.variable("SPYGROUP").unwrap_or_default();
        own.split([':', ','])
            .any(|group| self.groups.iter().any(|wanted| wanted == group.trim()))
    }
}

async fn listen(
    call: &Call,
    application: &str,
    names: &dyn Fn(&Call) -> Vec<String>,
    place: Option<(String, String)>,
) -> AppResult {
    let options = call.options(application, 1);
    call.warn_unknown(application, &options, OPTIONS);
    let channel = call.channel();
    end_background(call);
    channel.answer(ANSWER_MEDIA_WAIT).await?;
    let key = |letter: char, usual: char| {
        let text = options.argument(letter).unwrap_or_default();
        text.trim().chars().next().unwrap_or(usual)
    };
    let (next_key, exit_key) = (key('c', '*'), options.has('x').then(|| key('x', '#')));
    let filter = Filter {
        place,
        groups: groups(&options),
    };
    let leave = |digit: char| digit == next_key || exit_key == Some(digit);
    let mut heard: HashSet<String> = HashSet::new();
    loop {
        let mut found = None;
        for name in names(call) {
            if heard.contains(&name) {
                continue;
            }
            let filter = filter.clone();
            let fits = call.with_channel(&name, move |channel| filter.fits(channel));
            if fits.await == Some(true) {
                found = Some(name);
                break;
            }
        }
        channel.check()?;
        let Some(name) = found else {
            if heard.is_empty() && options.has('S') || options.has('E') && !heard.is_empty() {
                return Ok(Next::Continue);
            }
            // All were heard: from the first again, after a while.
            heard.clear();
            let until = Instant::now() + PAUSE;
            while Instant::now() < until {
                let rest = until.saturating_duration_since(Instant::now());
                let digit = channel.wait_digit(rest).await?;
                if digit.is_some() && digit == exit_key {
                    return Ok(Next::Continue);
                }
            }
            continue;
        };
        if !options.has('q') {
            let beep = load(call, "beep", None).await.0;
            if !beep.is_empty() {
                channel.play(beep, true, &|_| false).await?;
            }
        }
        call.set("SPY_CHANNEL", &name);
        // The other party of the same call is not listened to next.
        if let Some(peer) = call
            .with_channel(&name, |c| c.variable("BRIDGEPEER"))
            .await
            .flatten()
        {
            heard.insert(peer);
        }
        let end = channel.visit_by_name(&name, options.has('B'), &leave).await;
        heard.insert(name);
        match end {
            VisitEnd::Interrupted(interrupt) => return Err(interrupt.into()),
            VisitEnd::Digit(digit) if exit_key == Some(digit) => return Ok(Next::Continue),
            VisitEnd::Over if options.has('E') => return Ok(Next::Continue),
            _ => {}
        }
    }
}

fn groups(options: &Options) -> Vec<String> {
    let text = options.argument('g').unwrap_or_default();
    text.split([':', ','])
        .map(|group| group.trim().to_owned())
        .filter(|group| !group.is_empty())
        .collect()
}

async fn add(call: Call) -> AppResult {
    let channel = call.channel();
    let name = call.arg(0);
    let known = call
        .shared()
        .directory
        .names(|known| super::bridge::is_named(known, name));
    let Some(name) = known.into_iter().find(|known| **known != *channel.name()) else {
        call.set("BRIDGERESULT", "NONEXISTENT");
        call.warn(&format!("BridgeAdd: there is no channel {name}"));
        return Ok(Next::Continue);
    };
    end_background(&call);
    channel.answer(ANSWER_MEDIA_WAIT).await?;
    let end = channel.visit_by_name(&name, true, &|_| false).await;
    match end {
        VisitEnd::Interrupted(interrupt) => Err(interrupt.into()),
        VisitEnd::NotThere => {
            call.set("BRIDGERESULT", "FAILURE");
            call.warn(&format!("BridgeAdd: {name} is in no bridge"));
            Ok(Next::Continue)
        }
        _ => {
            call.set("BRIDGERESULT", "SUCCESS");
            Ok(Next::Continue)
        }
    }
}
