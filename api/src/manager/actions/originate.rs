//! `Originate`: a call that the exchange makes by itself.

use std::sync::Arc;
use std::time::Duration;

use strowger_core::Shared;
use strowger_core::call::originate::{
    OriginateOutcome, OriginateRequest, Reason, Subroutine, Target,
};
use strowger_core::channel::{Channel, Location, Party};
use strowger_core::dialplan::Reach;
use strowger_core::events::{Event, known};
use strowger_dialplan::args::{self, Priority};
use strowger_scripting::{application_reaches, text_reaches_with, variable_reaches};

use super::super::classes::Classes;
use super::super::request::Request;
use super::super::settings::User;
use super::Context;

/// Longest unique id that may be chosen.
const UNIQUEID_MAX: usize = 149;
/// The longest time a call may ring.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

/// Reads the request; the error is the message of the answer. `reaches`: does a text reach further than its call?
pub(in crate::manager) fn read(
    request: &Request,
    user: &User,
    reaches: &dyn Fn(&str) -> bool,
) -> Result<OriginateRequest, &'static str> {
    let channel = request.given("Channel").ok_or("Channel not specified")?;
    let exten = request.get("Exten");
    // Whoever may not administer the system reaches no further than the call.
    let confined = !user.write.include(Classes::SYSTEM);
    let forbidden = "Originate Access Forbidden: app or data blacklisted";
    let priority = request.get("Priority").trim();
    // What is no number is a label.
    let known = 1..=i64::from(i32::MAX);
    if priority
        .parse::<i64>()
        .is_ok_and(|number| !known.contains(&number))
    {
        return Err("Invalid priority");
    }
    let timeout = match request.given("Timeout") {
        None => Duration::from_secs(30),
        Some(text) => match text.trim().parse::<u64>() {
            Ok(ms) => Duration::from_millis(ms).min(TIMEOUT_MAX),
            Err(_) => return Err("Invalid timeout"),
        },
    };
    if channel
        .split_once('/')
        .is_none_or(|(_, rest)| rest.is_empty())
    {
        return Err("Invalid channel");
    }
    let chosen = |name: &str| {
        let id = request.given(name).map(str::to_owned);
        match id {
            Some(id) if id.len() > UNIQUEID_MAX => Err("Uniqueid length exceeds maximum of 149"),
            id => Ok(id),
        }
    };
    let uniqueids = [chosen("ChannelId")?, chosen("OtherChannelId")?];
    let target = if let Some(application) = request.given("Application") {
        let data = request.get("Data");
        if confined && (application_reaches(application) || reaches(data)) {
            return Err(forbidden);
        }
        Target::Application {
            name: application.to_owned(),
            data: data.to_owned(),
        }
    } else {
        let context = request.get("Context");
        if exten.is_empty() || context.is_empty() || priority.is_empty() {
            return Err("Originate with 'Exten' requires 'Context' and 'Priority'");
        }
        // Which number a label has only the dialplan knows.
        let number = priority.parse().unwrap_or(0);
        Target::Extension(Location::new(context, exten, number))
    };
    let mut call = OriginateRequest::new(channel, target);
    if confined {
        call.reach = Reach::Call;
    }
    call.timeout = timeout;
    call.uniqueids = uniqueids;
    call.caller = request.given("CallerID").map(Party::parse);
    call.accountcode = request.given("Account").map(str::to_owned);
    call.early_media = request.is_true("EarlyMedia");
    call.codecs = request
        .get("Codecs")
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    call.variables.extend(user.variables.iter().cloned());
    for list in request.all("Variable") {
        for pair in args::split(list) {
            let (name, value) = pair.split_once('=').unwrap_or((&pair, ""));
            if confined && (reaches(name) || variable_reaches(name)) {
                return Err(forbidden);
            }
            if !name.trim().is_empty() {
                call.variables
                    .push((name.trim().to_owned(), value.to_owned()));
            }
        }
    }
    if let Some(text) = request.given("PreDialGoSub") {
        call.pre_dial = Some(subroutine(text).ok_or("Invalid PreDialGoSub")?);
    }
    Ok(call)
}

fn subroutine(text: &str) -> Option<Subroutine> {
    let (place, arguments) = args::parse_gosub(text);
    let Priority::Number(priority) = place.priority else {
        return None;
    };
    Some(Subroutine {
        location: Location::new(place.context?, place.exten?, i32::try_from(priority).ok()?),
        arguments: arguments.map(args::split).unwrap_or_default(),
    })
}

pub(super) async fn originate(on: Context<'_>) -> String {
    let snapshot = on.manager.shared.snapshot();
    let reaches = |text: &str| text_reaches_with(text, &snapshot);
    let mut request = match read(on.request, on.user, &reaches) {
        Ok(request) => request,
        Err(message) => return on.error(message),
    };
    if let Target::Extension(place) = &mut request.target {
        let written = on.request.get("Priority");
        match on.priority(&place.context, &place.exten, written).await {
            Some(number) => place.priority = number,
            None if written.trim().parse::<i64>().is_err() => {
                return on.error("Invalid priority");
            }
            None => return on.error("Extension does not exist."),
        }
    }
    for id in request.uniqueids.iter().flatten() {
        if on.find_channel(id).await.is_some() {
            return on.error("Unique ID already in use.");
        }
    }
    let shared = Arc::clone(&on.manager.shared);
    let known = Told::new(on.request, &request);
    let outcome = match shared.originate(request) {
        Ok(outcome) => outcome,
        Err(error) => {
            tracing::warn!(%error, "Manager: Originate");
            return on.error("Originate failed");
        }
    };
    if on.request.is_true("Async") {
        tokio::spawn(async move {
            let outcome = outcome.await.ok();
            known.tell(&shared, outcome.as_ref()).await;
        });
        return on.success("Originate successfully queued");
    }
    match outcome.await {
        Ok(outcome) if outcome.reason == Reason::Answered => {
            on.success("Originate successfully queued")
        }
        Ok(OriginateOutcome {
            error: Some(error), ..
        }) => {
            tracing::warn!(error, "Manager: Originate");
            on.error("Originate failed")
        }
        _ => on.error("Originate failed"),
    }
}

/// What the event about a call that was made says of the request.
struct Told {
    id: String,
    channel: String,
    target: Target,
    caller: Party,
}

impl Told {
    fn new(request: &Request, call: &OriginateRequest) -> Self {
        Self {
            id: request.get("ActionID").to_owned(),
            channel: call.destination.clone(),
            target: call.target.clone(),
            caller: call.caller.clone().unwrap_or_default(),
        }
    }

    async fn tell(&self, shared: &Shared, outcome: Option<&OriginateOutcome>) {
        if !shared.events.are_heard() {
            return;
        }
        let mut event = self.event(outcome);
        let names = shared.events.channel_variables.load_full();
        if let Some(outcome) = outcome.filter(|_| !names.is_empty()) {
            let read = move |channel: &Channel| {
                let value = |name: &String| channel.variable(name).unwrap_or_default();
                let pairs = names.iter().map(|name| format!("{name}={}", value(name)));
                pairs.collect::<Vec<_>>()
            };
            let pairs = shared.with_channel(&outcome.channel, read).await;
            for pair in pairs.unwrap_or_default() {
                event = event.with(format!("ChanVariable({})", outcome.channel), pair);
            }
        }
        shared.events.tell(|| event);
    }

    fn event(&self, outcome: Option<&OriginateOutcome>) -> Event {
        let reason = outcome.map_or(Reason::Failed, |outcome| outcome.reason);
        let answered = reason == Reason::Answered;
        // Of a call that came to nothing only what was asked for is told.
        let made = outcome.filter(|_| answered);
        let channel = made.map(|outcome| outcome.channel.as_str());
        let mut event = Event::new("OriginateResponse");
        if !self.id.is_empty() {
            event = event.with("ActionID", &self.id);
        }
        event = event
            .with("Response", if answered { "Success" } else { "Failure" })
            .with("Channel", channel.unwrap_or(&self.channel));
        event = match &self.target {
            Target::Extension(place) => event
                .with("Context", &place.context)
                .with("Exten", &place.exten),
            Target::Application { name, data } => {
                event.with("Application", name).with("Data", data)
            }
        };
        event
            .with("Reason", (reason as u8).to_string())
            .with(
                "Uniqueid",
                known(made.map_or("", |outcome| &outcome.uniqueid)),
            )
            .with("CallerIDNum", known(&self.caller.number))
            .with("CallerIDName", known(&self.caller.name))
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use strowger_scripting::text_reaches;

    use super::super::super::request::tests::request;
    use super::super::super::settings::{Settings, tests::rows};
    use super::*;

    fn user(write: &str) -> Arc<User> {
        let rows = rows(&[
            ("dialler", "secret", "x"),
            ("dialler", "write", write),
            ("dialler", "setvar", "FROM=manager"),
        ]);
        let settings = Settings::read(&rows, SocketAddr::from(([127, 0, 0, 1], 5038)));
        Arc::clone(settings.find("dialler").expect("the user"))
    }

    #[test]
    fn a_request_needs_somebody_to_call_and_somewhere_to_go() {
        let (c, x, p) = (("Context", "office"), ("Exten", "100"), ("Priority", "1"));
        let phone = ("Channel", "PJSIP/100");
        for (headers, wanted) in [
            (vec![], "Channel not specified"),
            (vec![("Channel", "nobody"), c, x, p], "Invalid channel"),
            (vec![("Channel", "PJSIP/"), c, x, p], "Invalid channel"),
            (vec![phone, c, x, ("Priority", "-1")], "Invalid priority"),
            (vec![phone, c, x, ("Priority", "0")], "Invalid priority"),
            (vec![phone, c, x, p, ("Timeout", "soon")], "Invalid timeout"),
            (
                vec![phone, x],
                "Originate with 'Exten' requires 'Context' and 'Priority'",
            ),
            (
                vec![phone, ("Application", "System"), ("Data", "reboot")],
                "Originate Access Forbidden: app or data blacklisted",
            ),
            (
                vec![phone, ("Application", "System "), ("Data", "reboot")],
                "Originate Access Forbidden: app or data blacklisted",
            ),
            (
                vec![
                    phone,
                    ("Application", "ExecIfTime"),
                    ("Data", "*,*,*,*?System(id)"),
                ],
                "Originate Access Forbidden: app or data blacklisted",
            ),
            (
                vec![
                    phone,
                    ("Application", "Originate"),
                    ("Data", "Local/1@office,app,System,id"),
                ],
                "Originate Access Forbidden: app or data blacklisted",
            ),
            (
                vec![
                    phone,
                    ("Application", "Set"),
                    ("Data", "REALTIME_STORE(users,name)=x"),
                ],
                "Originate Access Forbidden: app or data blacklisted",
            ),
            (
                vec![phone, c, x, p, ("Variable", "DB(a/b)=1")],
                "Originate Access Forbidden: app or data blacklisted",
            ),
            (
                vec![phone, ("Application", "Playback"), ("Data", "${shell(id)}")],
                "Originate Access Forbidden: app or data blacklisted",
            ),
        ] {
            let error = read(&request(&headers), &user("originate"), &text_reaches).err();
            assert_eq!(error, Some(wanted), "{headers:?}");
        }
        let system = request(&[phone, ("Application", "System"), ("Data", "true")]);
        let call = read(&system, &user("originate,system"), &text_reaches).expect("a call");
        assert_eq!(call.reach, Reach::Exchange);
        let plain = request(&[phone, ("Application", "Playback"), ("Data", "beep")]);
        let call = read(&plain, &user("originate"), &text_reaches).expect("a call");
        assert_eq!(call.reach, Reach::Call);
    }

    #[test]
    fn everything_that_may_be_said_reaches_the_call() {
        let call = read(
            &request(&[
                ("Channel", "Local/1@office/n"),
                ("Context", "office"),
                ("Exten", "100"),
                ("Priority", "2"),
                ("Timeout", "1500"),
                ("CallerID", "\"A\" <7>"),
                ("Variable", "a=1,__b=x y"),
                ("variable", "c="),
                ("Account", "house"),
                ("EarlyMedia", "true"),
                ("Codecs", "alaw, ulaw"),
                ("ChannelId", "one"),
                ("OtherChannelId", "two"),
                ("PreDialGoSub", "subs,s,1(a,b)"),
            ]),
            &user("originate"),
            &text_reaches,
        )
        .expect("a call");
        assert_eq!(
            call.target,
            Target::Extension(Location::new("office", "100", 2))
        );
        assert_eq!(call.timeout, Duration::from_millis(1500));
        let variables: Vec<_> = call
            .variables
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(variables, ["FROM=manager", "a=1", "__b=x y", "c="]);
        assert_eq!(call.codecs, ["alaw", "ulaw"]);
        assert_eq!(
            call.uniqueids,
            [Some("one".to_owned()), Some("two".to_owned())]
        );
        let caller = call.caller.expect("a caller");
        assert_eq!((caller.name.as_str(), caller.number.as_str()), ("A", "7"));
        assert!(call.early_media && call.accountcode.as_deref() == Some("house"));
        let subroutine = call.pre_dial.expect("a subroutine");
        assert_eq!(subroutine.location, Location::new("subs", "s", 1));
        assert_eq!(subroutine.arguments, ["a", "b"]);
    }

    #[test]
    fn of_a_call_that_failed_only_what_was_asked_for_is_told() {
        let target = Target::Extension(Location::new("office", "100", 1));
        let call = OriginateRequest::new("PJSIP/bob", target);
        let told = Told::new(&request(&[]), &call);
        let outcome = |reason| OriginateOutcome {
            reason,
            channel: "PJSIP/bob-00000001".to_owned(),
            uniqueid: "1.1".to_owned(),
            linkedid: "1.1".to_owned(),
            cause: strowger_core::channel::Cause::USER_BUSY,
            error: None,
        };
        for (reason, channel, uniqueid) in [
            (Reason::Busy, "PJSIP/bob", "<unknown>"),
            (Reason::Answered, "PJSIP/bob-00000001", "1.1"),
        ] {
            let event = told.event(Some(&outcome(reason)));
            assert_eq!(event.field("Channel"), Some(channel));
            assert_eq!(event.field("Uniqueid"), Some(uniqueid));
        }
    }

    #[test]
    fn who_waits_for_the_call_is_told_of_it_by_its_id() {
        let headers = request(&[("ActionID", "9")]);
        let target = Target::Extension(Location::new("office", "100", 1));
        let call = OriginateRequest::new("PJSIP/nobody", target);
        let event = Told::new(&headers, &call).event(None);
        let fields: Vec<_> = event
            .fields
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        assert_eq!(
            fields,
            [
                "ActionID: 9",
                "Response: Failure",
                "Channel: PJSIP/nobody",
                "Context: office",
                "Exten: 100",
                "Reason: 0",
                "Uniqueid: <unknown>",
                "CallerIDNum: <unknown>",
                "CallerIDName: <unknown>"
            ]
        );
    }
}
