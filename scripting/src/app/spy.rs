//! `ChanSpy`, `ExtenSpy`, `BridgeAdd`: a third party in a call of two, which only listens, whispers to one of them, or is
//! heard by both.

use std::cell::Cell;
use std::collections::HashSet;
use std::time::{Duration, Instant};

use strowger_core::call::guests::{GuestRole, Parties, VisitEnd};
use strowger_core::channel::{Channel, Location};
use strowger_dialplan::args::Options;
use tokio::sync::watch;

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

const OPTIONS: &str = "bBcdEgnoqsSuvwWxX";
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

/// Steps of option `v` either way.
const VOLUME_MAX: i8 = 4;

/// How loud the calls are heard: as many times louder or more silent as the steps say.
fn listen_db(steps: i8) -> i8 {
    const DB: [i8; 5] = [0, 0, 6, 10, 12];
    let steps = steps.clamp(-VOLUME_MAX, VOLUME_MAX);
    let db = DB.get(usize::from(steps.unsigned_abs()));
    db.copied().unwrap_or_default() * steps.signum()
}

/// How the spy takes part at first.
fn first_role(call: &Call, application: &str, options: &Options) -> (GuestRole, i8) {
    let steps = match options.argument('v').map(str::trim) {
        None => 0,
        Some(text) => match text.parse::<i8>() {
            Ok(steps) if (-VOLUME_MAX..=VOLUME_MAX).contains(&steps) => steps,
            _ => {
                call.warn(&format!(
                    "{application}: option v({text}): the volume is a number from -4 to 4"
                ));
                0
            }
        },
    };
    let heard_by = if options.has('B') {
        Parties::Both
    } else if options.has('w') || options.has('W') {
        Parties::Visited
    } else {
        Parties::Nobody
    };
    let hears = if options.has('W') {
        Parties::Nobody
    } else if options.has('o') {
        Parties::Visited
    } else {
        Parties::Both
    };
    let role = GuestRole {
        heard_by,
        hears,
        listen_db: listen_db(steps),
    };
    (role, steps)
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
    let (first, steps) = first_role(call, application, &options);
    let (role, roles) = watch::channel(first);
    let steps = Cell::new(steps);
    let single = options.has('X');
    let exit_context = match channel.variable("SPY_EXIT_CONTEXT") {
        Some(context) if !context.is_empty() => context,
        _ => channel.location().context,
    };
    // Option X: the spy goes to a number of one digit.
    let exits = |digit: char| {
        single
            && call
                .task
                .exists(&exit_context, digit.encode_utf8(&mut [0; 4]), 1)
    };
    let leave = |digit: char| {
        if digit == next_key || exit_key == Some(digit) || exits(digit) {
            return true;
        }
        let heard_by = match digit {
            '4' if options.has('d') => Parties::Nobody,
            '5' if options.has('d') => Parties::Visited,
            '6' if options.has('d') => Parties::Both,
            '#' => {
                steps.set(if steps.get() >= VOLUME_MAX {
                    -VOLUME_MAX
                } else {
                    steps.get() + 1
                });
                role.send_modify(|role| role.listen_db = listen_db(steps.get()));
                return false;
            }
            _ => return false,
        };
        role.send_modify(|role| role.heard_by = heard_by);
        false
    };
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
                if let Some(digit) = digit.filter(|digit| exits(*digit)) {
                    return Ok(jump_out(&exit_context, digit));
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
        let end = spy(call, &name, roles.clone(), &leave).await;
        heard.insert(name);
        match end {
            VisitEnd::Interrupted(interrupt) => return Err(interrupt.into()),
            VisitEnd::Digit(digit) if exit_key == Some(digit) => return Ok(Next::Continue),
            VisitEnd::Digit(digit) if digit != next_key => {
                return Ok(jump_out(&exit_context, digit));
            }
            VisitEnd::Over if options.has('E') => return Ok(Next::Continue),
            _ => {}
        }
    }
}

/// Listens to a channel, and tells programs that watch.
async fn spy(
    call: &Call,
    name: &str,
    roles: watch::Receiver<GuestRole>,
    leave: &dyn Fn(char) -> bool,
) -> VisitEnd {
    let channel = call.channel();
    let spied = if call.shared().events.are_heard() {
        call.with_channel(name, Channel::described).await
    } else {
        None
    };
    let spied = spied.unwrap_or_default();
    let begun = Cell::new(false);
    let seated = || {
        begun.set(true);
        channel.tell_spying("ChanSpyStart", &spied);
    };
    let end = channel.visit_by_name(name, roles, &seated, leave).await;
    if begun.get() {
        channel.tell_spying("ChanSpyStop", &spied);
    }
    end
}

fn jump_out(context: &str, digit: char) -> Next {
    Next::Jump(Location::new(context, &digit.to_string(), 1))
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
    let (_role, roles) = watch::channel(GuestRole::BARGE);
    let end = channel
        .visit_by_name(&name, roles, &|| {}, &|_| false)
        .await;
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
