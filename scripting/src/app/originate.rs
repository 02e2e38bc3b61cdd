//! `Originate`: has the exchange make a call by itself.

use std::time::Duration;

use strowger_core::call::originate::{
    OriginateOutcome, OriginateRequest, Reason, Subroutine, TIMEOUT, Target, originate,
};
use strowger_core::channel::{Location, Party};
use strowger_dialplan::args;

use super::dial_options::place;
use super::jump::resolve;
use super::{App, AppResult, Call, Next, Stop, app};

pub(super) const APPS: &[App] = &[app!(
    "Originate",
    "Originate(technology/resource,app|exten,arg1[,arg2[,arg3[,timeout[,options]]]])",
    "calls somebody and runs an application or the dialplan with who answers",
    run
)
.reaching()];

const OPTIONS: &str = "abBCcnv";

async fn run(call: Call) -> AppResult {
    let request = match request(&call) {
        Ok(request) => request,
        Err(error) => {
            call.set("ORIGINATE_STATUS", Reason::Failed.status());
            call.warn(&format!("Originate: {error}"));
            return Ok(Next::Continue);
        }
    };
    let options = call.options("Originate", 6);
    call.warn_unknown("Originate", &options, OPTIONS);
    if let Some(text) = options.argument('B') {
        let (location, arguments) = subroutine(&call, text)?;
        crate::runner::subroutine_here(&call.task, location, &arguments).await;
        call.channel().check()?;
    }
    let shard = std::rc::Rc::clone(call.channel().shard());
    if options.has('a') {
        call.channel().spawn(async move {
            originate(&shard, request).await;
        });
        call.set("ORIGINATE_STATUS", Reason::Answered.status());
        return Ok(Next::Continue);
    }
    // The caller may go: the call that is made goes on without him.
    let (tell, told) = tokio::sync::oneshot::channel();
    call.channel().spawn(async move {
        let _ = tell.send(originate(&shard, request).await);
    });
    tokio::pin!(told);
    let outcome: Option<OriginateOutcome> = loop {
        tokio::select! {
            outcome = &mut told => break outcome.ok(),
            changed = call.channel().wait_change(None) => { changed?; }
        }
    };
    if let Some(error) = outcome.as_ref().and_then(|outcome| outcome.error.as_ref()) {
        call.warn(&format!("Originate: {error}"));
    }
    let reason = outcome.map_or(Reason::Failed, |outcome| outcome.reason);
    call.set("ORIGINATE_STATUS", reason.status());
    Ok(Next::Continue)
}

fn subroutine(call: &Call, text: &str) -> Result<(Location, Vec<String>), Stop> {
    let text = place(text);
    let (destination, arguments) = args::parse_gosub(&text);
    let location = resolve(&call.task, &destination)?;
    Ok((location, arguments.map(args::split).unwrap_or_default()))
}

/// The subroutine of an option `b`.
pub(super) fn pre_dial(call: &Call, text: &str) -> Result<Subroutine, Stop> {
    let (location, arguments) = subroutine(call, text)?;
    Ok(Subroutine {
        location,
        arguments,
    })
}

fn request(call: &Call) -> Result<OriginateRequest, String> {
    let destination = call.arg(0);
    if destination.is_empty() {
        return Err("a device to call is needed, for example PJSIP/100".to_owned());
    }
    let here = call.channel().location();
    let target = match call.arg(1).to_ascii_lowercase().as_str() {
        "app" if !call.arg(2).is_empty() => Target::Application {
            name: call.arg(2).to_owned(),
            data: call.arg(3).to_owned(),
        },
        "app" => return Err("the name of an application is missing".to_owned()),
        "exten" => {
            let context = match call.arg(2) {
                "" => &here.context,
                context => context,
            };
            let exten = match call.arg(3) {
                "" => "s",
                exten => exten,
            };
            let priority = match call.arg(4) {
                "" => Ok(1),
                text => text.parse().map_err(|_| text),
            };
            let priority = priority
                .map_err(|text| format!("priority \"{text}\" is no number"))
                .map(|priority: i32| priority.max(1))?;
            Target::Extension(Location::new(context, exten, priority))
        }
        other => return Err(format!("\"{other}\" is neither app nor exten")),
    };
    let mut request = OriginateRequest::new(destination, target);
    request.timeout = call
        .seconds(5)
        .filter(|timeout| *timeout > Duration::ZERO)
        .unwrap_or(TIMEOUT);
    let options = call.options("Originate", 6);
    let text = |letter: char| options.argument(letter).filter(|text| !text.is_empty());
    let own = call.channel().data().caller.clone();
    request.caller = Some(Party {
        number: text('c').map_or(own.number, str::to_owned),
        name: text('n').map_or(own.name, str::to_owned),
        presentation: own.presentation,
        tag: own.tag,
        screened: own.screened,
    });
    if let Some(codecs) = text('C') {
        let words = codecs.split([',', '&', ':']).map(str::trim);
        request.codecs = words.map(str::to_owned).collect();
    }
    if let Some(pairs) = text('v') {
        for pair in pairs.split('^') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            request
                .variables
                .push((name.trim().to_owned(), value.to_owned()));
        }
    }
    {
        let data = call.channel().data();
        request.linkedid = Some(data.linkedid.clone());
        request.max_forwards = data.max_forwards();
        request.language = Some(data.language.clone());
        for (name, value) in data.variables.inherited().marked() {
            request.variables.insert(0, (name, value));
        }
    }
    if let Some(text) = text('b') {
        let (location, arguments) = subroutine(call, text)
            .map_err(|_| format!("the subroutine of option b({text}) does not exist"))?;
        request.pre_dial = Some(Subroutine {
            location,
            arguments,
        });
    }
    Ok(request)
}
