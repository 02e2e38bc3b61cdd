//! `RetryDial`, `FollowMe`, `DISA`: dialling again, one number after the other, and from outside.

use std::time::{Duration, Instant};

use strowger_core::call::{DialRequest, RingMode};
use strowger_core::channel::{Cause, Channel, Location, Party};
use strowger_dialplan::Query;
use strowger_media::Repeat;

use super::music::music_of;
use super::play::{end_background, load};
use super::{ANSWER_MEDIA_WAIT, App, AppResult, Call, Next, Stop, app, files, seconds};

pub(super) const APPS: &[App] = &[
    app!(
        "RetryDial",
        "RetryDial(announce,sleep,retries,technology/resource[&...][,timeout[,options[,url]]])",
        "dials again while nobody answers",
        retry
    ),
    app!(
        "FollowMe",
        "FollowMe(id[,options])",
        "calls the numbers of somebody, one step after the other",
        follow_me
    ),
    app!(
        "DISA",
        "DISA(passcode|filename[,context[,callerid[,mailbox[,options]]]])",
        "gives a caller from outside a dial tone of a context",
        disa
    ),
];

/// Shortest time between two Dials of `RetryDial`: devices that are busy at once would make it a loop.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

async fn retry(call: Call) -> AppResult {
    let announce = call.arg(0).to_owned();
    let sleep = call.seconds(1).unwrap_or(Duration::from_secs(10));
    let sleep = sleep.max(RETRY_PAUSE);
    let retries: i64 = call.arg(2).parse().unwrap_or(5);
    let data = call.args.get(3..).unwrap_or_default().join(",");
    if data.is_empty() {
        return Err(Stop::Failed(
            "RetryDial needs a device to call, for example RetryDial(,10,3,PJSIP/100,30)"
                .to_owned(),
        ));
    }
    let sounds = load(&call, &announce, None).await.0;
    let mut left = retries;
    loop {
        let next = Box::pin(super::execute(&call.task, "Dial", data.clone(), None)).await?;
        let status = call.channel().variable("DIALSTATUS").unwrap_or_default();
        if next != Next::Continue || status == "ANSWER" || status == "INVALIDARGS" {
            return Ok(next);
        }
        if left == 0 {
            return Ok(Next::Continue);
        }
        left = (left - 1).max(-1);
        // A digit leaves the waiting for extension of that name.
        let until = Instant::now() + sleep;
        if !sounds.is_empty() {
            call.channel()
                .play(sounds.clone(), true, &|_| false)
                .await?;
        }
        let music = music_of(&call, "").await;
        let play = music.and_then(|music| call.channel().start_play(music.sounds, Repeat::Forever));
        let left_by = loop {
            let rest = until.saturating_duration_since(Instant::now());
            match call.channel().wait_digit(rest).await {
                Err(interrupt) => break Err(interrupt),
                Ok(None) => break Ok(None),
                Ok(Some(digit)) => {
                    let context = exit_context(&call);
                    let exten = digit.to_string();
                    if call.task.exists(&context, &exten, 1) {
                        break Ok(Some(Location::new(&context, &exten, 1)));
                    }
                }
            }
        };
        if let Some(play) = play {
            call.channel().stop_play(play);
        }
        if let Some(target) = left_by? {
            return Ok(Next::Jump(target));
        }
    }
}

fn exit_context(call: &Call) -> String {
    let set = call.channel().variable("EXITCONTEXT");
    set.filter(|context| !context.is_empty())
        .unwrap_or_else(|| call.channel().location().context)
}

/// A profile of `followme.conf`.
#[derive(Default)]
struct Profile {
    context: String,
    music_class: String,
    takes: String,
    declines: String,
    /// Numbers that ring at once, and how long.
    steps: Vec<(Vec<String>, Duration)>,
}

fn profile(call: &Call, id: &str) -> Option<Profile> {
    let snapshot = call.shared().snapshot();
    let mut profile = Profile {
        context: call.channel().location().context,
        takes: "1".to_owned(),
        declines: "2".to_owned(),
        ..Profile::default()
    };
    for row in snapshot.statics.iter() {
        if row.filename != "followme.conf" || row.category != id {
            continue;
        }
        let value = row.var_val.trim_start_matches('>').trim();
        match row.var_name.as_str() {
            "context" => value.clone_into(&mut profile.context),
            "musicclass" | "musiconhold" | "music" => value.clone_into(&mut profile.music_class),
            "takecall" => value.clone_into(&mut profile.takes),
            "declinecall" => value.clone_into(&mut profile.declines),
            "number" => {
                let (numbers, rest) = value.split_once(',').unwrap_or((value, ""));
                let timeout = rest.split(',').next().and_then(seconds);
                let numbers = numbers.split('&').map(|number| number.trim().to_owned());
                profile.steps.push((
                    numbers.filter(|number| !number.is_empty()).collect(),
                    timeout
                        .filter(|timeout| !timeout.is_zero())
                        .unwrap_or(Duration::from_secs(25)),
                ));
            }
            _ => {}
        }
    }
    (!profile.steps.is_empty()).then_some(profile)
}

/// How long who answers may think.
const DECIDE: Duration = Duration::from_secs(10);

/// Asks who answered whether he takes the call.
async fn accepts(call: &Call, peer: &Channel, profile: &Profile) -> bool {
    let language = peer.data().language.clone();
    let sounds = load(call, "beep", Some(&language)).await.0;
    if !sounds.is_empty() && peer.play(sounds, true, &|_| false).await.is_err() {
        return false;
    }
    let until = Instant::now() + DECIDE;
    loop {
        let rest = until.saturating_duration_since(Instant::now());
        match peer.wait_digit(rest).await {
            Ok(Some(digit)) if profile.takes.contains(digit) => return true,
            Ok(Some(digit)) if profile.declines.contains(digit) => return false,
            Ok(Some(_)) if !call.channel().is_over() => {}
            _ => return false,
        }
    }
}

async fn follow_me(call: Call) -> AppResult {
    let options = call.options("FollowMe", 1);
    call.warn_unknown("FollowMe", &options, "adIlnNs");
    let Some(profile) = profile(&call, call.arg(0)) else {
        call.warn(&format!(
            "FollowMe: followme.conf has no numbers for \"{}\"",
            call.arg(0)
        ));
        return Ok(Next::Continue);
    };
    let channel = call.channel();
    end_background(&call);
    if !options.has('N') {
        channel.answer(ANSWER_MEDIA_WAIT).await?;
    }
    let ring = match music_of(&call, &profile.music_class).await {
        Some(music) if !options.has('N') => RingMode::Playing(music),
        _ => RingMode::Always,
    };
    for (numbers, timeout) in &profile.steps {
        let request = DialRequest {
            destinations: numbers
                .iter()
                .map(|number| format!("Local/{number}@{}/n", profile.context))
                .collect(),
            timeout: Some(*timeout),
            ring: ring.clone(),
            ..DialRequest::default()
        };
        let outcome = channel.dial(request).await;
        channel.check()?;
        let Some(peer) = outcome.answered else {
            continue;
        };
        if !accepts(&call, &peer, &profile).await {
            peer.hangup(Cause::NORMAL_CLEARING);
            channel.check()?;
            continue;
        }
        if let Err(interrupt) = channel.answer(Duration::ZERO).await {
            peer.hangup(Cause::NORMAL_CLEARING);
            return Err(interrupt.into());
        }
        let bridged = channel.bridge(&peer, Default::default()).await;
        bridged.hang_up_peer(Cause::NORMAL_CLEARING);
        channel.check()?;
        return Ok(Next::End);
    }
    Ok(Next::Continue)
}

/// Between two digits, and for the first.
const DISA_DIGIT: Duration = Duration::from_secs(10);
const DISA_FIRST: Duration = Duration::from_secs(20);
const DISA_DIGITS_MAX: usize = 80;
const DISA_TRIES: u32 = 3;

/// A passcode with what it opens.
struct Pass {
    code: String,
    context: String,
    caller: String,
}

/// Lines `passcode[,context[,callerid]]` of a file, or the one passcode of the arguments.
async fn passes(call: &Call, context: &str) -> Result<Vec<Pass>, String> {
    let first = call.arg(0);
    let pass = |code: &str, context: &str, caller: &str| Pass {
        code: code.trim().to_owned(),
        context: context.trim().to_owned(),
        caller: caller.trim().to_owned(),
    };
    if first.eq_ignore_ascii_case("no-password") || first.chars().all(|c| c.is_ascii_digit()) {
        return Ok(vec![pass(first, context, call.arg(2))]);
    }
    if let Some(why) = files::refused(first) {
        return Err(why.to_owned());
    }
    let path = call.shared().paths().data.join(first);
    let control = call.shared().control.clone();
    let text = control
        .spawn_blocking(move || std::fs::read_to_string(path))
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| format!("\"{first}\": {error}"))?;
    let lines = text.lines().map(str::trim);
    Ok(lines
        .filter(|line| !line.is_empty() && !line.starts_with([';', '#']))
        .map(|line| {
            let mut parts = line.splitn(3, ',');
            let code = parts.next().unwrap_or_default();
            let own = parts.next().map(str::trim).filter(|own| !own.is_empty());
            pass(
                code,
                own.unwrap_or(context),
                parts.next().unwrap_or_default(),
            )
        })
        // Nobody is let in for dialling nothing.
        .filter(|pass| !pass.code.is_empty())
        .collect())
}

/// Digits behind a dial tone, until `enough` says so, `#`, or none comes. The tone goes on as long as `unheard` says that
/// nothing was dialled yet.
async fn dialled(
    call: &Call,
    enough: impl Fn(&str) -> bool,
    unheard: impl Fn(&str) -> bool,
) -> Result<String, Stop> {
    let channel = call.channel();
    let mut tone = channel.start_tone("dial");
    let mut number = String::new();
    loop {
        let wait = if number.is_empty() {
            DISA_FIRST
        } else {
            DISA_DIGIT
        };
        let digit = channel.wait_digit(wait).await;
        let more = matches!(digit, Ok(Some(digit)) if digit != '#');
        if let Ok(Some(digit)) = digit
            && more
        {
            number.push(digit);
        }
        if (!more || !unheard(&number))
            && let Some(play) = tone.take()
        {
            channel.stop_play(play);
        }
        digit?;
        if !more {
            return Ok(number);
        }
        if number.len() >= DISA_DIGITS_MAX || enough(&number) {
            if let Some(play) = tone.take() {
                channel.stop_play(play);
            }
            return Ok(number);
        }
    }
}

async fn disa(call: Call) -> AppResult {
    let options = call.options("DISA", 4);
    call.warn_unknown("DISA", &options, "np");
    if call.arg(0).is_empty() {
        return Err(Stop::Failed(
            "DISA needs a passcode, no-password, or a file of passcodes".to_owned(),
        ));
    }
    let context = match call.arg(1) {
        "" => "disa",
        context => context,
    };
    end_background(&call);
    if !options.has('n') {
        call.channel().answer(ANSWER_MEDIA_WAIT).await?;
    }
    let passes = match passes(&call, context).await {
        Ok(passes) => passes,
        Err(error) => return Err(Stop::Failed(format!("DISA: {error}"))),
    };
    let mut opened = passes
        .iter()
        .find(|pass| pass.code.eq_ignore_ascii_case("no-password"));
    for _ in 0..DISA_TRIES {
        if opened.is_some() {
            break;
        }
        let code = dialled(&call, |_| false, |_| false).await?;
        opened = passes.iter().find(|pass| pass.code == code);
    }
    let Some(pass) = opened else {
        call.warn("DISA: wrong passcodes");
        super::refuse_channel(
            call.channel(),
            Cause::CALL_REJECTED,
            "congestion",
            Some(Duration::from_secs(10)),
        )
        .await?;
        return Ok(Next::End);
    };
    let caller = match pass.caller.as_str() {
        "" => None,
        text => Some(Party::parse(text)),
    };
    if let Some(caller) = caller {
        call.channel().data_mut().caller = caller;
    }
    let number = {
        let caller = call.task.caller();
        let enough = |number: &str| {
            let plan = call.task.plan();
            let query = Query::new(&pass.context, number, 1)
                .caller(Some(&caller))
                .vars(&*call.task);
            plan.exists(&query) && !plan.match_more(&query)
        };
        // `ignorepat`: numbers for an outside line are dialled over the dial tone.
        let unheard = |number: &str| call.task.plan().ignores(&pass.context, number);
        dialled(&call, enough, unheard).await?
    };
    if call.task.exists(&pass.context, &number, 1) {
        return Ok(Next::Jump(Location::new(&pass.context, &number, 1)));
    }
    call.set("INVALID_EXTEN", &number);
    if call.task.exists(&pass.context, "i", 1) {
        return Ok(Next::Jump(Location::new(&pass.context, "i", 1)));
    }
    super::refuse_channel(
        call.channel(),
        Cause::UNALLOCATED,
        "congestion",
        Some(Duration::from_secs(10)),
    )
    .await?;
    Ok(Next::End)
}
