//! What there is: applications, functions, modules, and the actions and users of the Manager.

use strowger_scripting::{Help, applications, functions};

use super::super::super::classes::Classes;
use super::super::{ACTIONS, Context, find};
use super::{Output, failed, printed};

/// Which of them are asked for: all, `like` a part of the name, or `describing` words.
fn wanted<'h>(all: &'h [Help], how: &[&str]) -> Option<Vec<&'h Help>> {
    let has = |text: &str, word: &str| {
        text.to_ascii_lowercase()
            .contains(&word.to_ascii_lowercase())
    };
    let fits = |help: &&Help| match how {
        [] => true,
        ["like", part] => has(help.name, part),
        ["describing", words @ ..] => words
            .iter()
            .all(|word| has(help.name, word) || has(help.synopsis, word)),
        _ => false,
    };
    let known = matches!(how, [] | ["like", _] | ["describing", _, ..]);
    known.then(|| all.iter().filter(fits).collect())
}

fn described(kind: &str, help: &Help) -> Output {
    let not = "Not available";
    printed(
        [
            "",
            &format!("  -= Info about {kind} '{}' =- ", help.name),
            "",
            "[Synopsis]",
            help.synopsis,
            "",
            "[Description]",
            not,
            "",
            "[Syntax]",
            help.syntax,
            "",
            "[Arguments]",
            not,
            "",
            "[See Also]",
            not,
            "",
        ]
        .map(str::to_owned)
        .to_vec(),
    )
}

/// `None`: it is asked for in a way that is not known.
pub(super) fn applications_like(how: &[&str]) -> Option<Output> {
    let all = applications();
    let found = wanted(&all, how)?;
    let (which, verb) = if how.is_empty() {
        ("Registered", "Registered")
    } else {
        ("Matching", "Matching")
    };
    let mut lines = vec![format!("    -= {which} Asterisk Applications =-")];
    let rows = found.iter();
    lines.extend(rows.map(|help| format!("  {:>20}: {}", help.name, help.synopsis)));
    lines.push(format!("    -= {} Applications {verb} =-", found.len()));
    Some(printed(lines))
}

pub(super) fn application(name: &str) -> Output {
    let all = applications();
    let found = all.iter().find(|help| help.name.eq_ignore_ascii_case(name));
    match found {
        Some(help) => described("application", help),
        None => failed("Your application(s) is (are) not registered".to_owned()),
    }
}

/// `None`: it is asked for in a way that is not known.
pub(super) fn functions_like(how: &[&str]) -> Option<Output> {
    let all = functions();
    let found = wanted(&all, how)?;
    let matching = if how.is_empty() { "" } else { "matching " };
    let which = if how.is_empty() {
        "Installed"
    } else {
        "Matching"
    };
    let mut lines = vec![format!("{which} Custom Functions:"), "-".repeat(80)];
    let rows = found.iter();
    lines.extend(rows.map(|help| {
        format!(
            "{:<20.20}  {:<35.35}  {}",
            help.name, help.syntax, help.synopsis
        )
    }));
    lines.push(format!(
        "{} {matching}custom functions installed.",
        found.len()
    ));
    Some(printed(lines))
}

pub(super) fn function(name: &str) -> Output {
    let all = functions();
    match all.iter().find(|help| help.name == name) {
        Some(help) => described("function", help),
        None => failed("No function by that name registered.".to_owned()),
    }
}

/// The modules of Asterisk whose work is done here.
pub(super) fn modules(part: Option<&str>) -> Output {
    let mut lines = vec![format!(
        "{:<30} {:<40.40} {:<10} {:<11} {:>13}",
        "Module", "Description", "Use Count", "Status", "Support Level"
    )];
    let part = part.unwrap_or_default().to_ascii_lowercase();
    let all = strowger_scripting::modules();
    let found = all.iter().filter(|name| name.contains(&part));
    lines.extend(found.map(|name| {
        let name = format!("{name}.so");
        format!(
            "{name:<30} {:<40.40} {:<10} {:<11} {:>13}",
            "", 0, "Running", "core"
        )
    }));
    let count = lines.len() - 1;
    lines.push(format!("{count} modules loaded"));
    printed(lines)
}

/// The actions that the user may do.
pub(super) fn actions(on: &Context<'_>) -> Output {
    let mut lines = ["Action", "------"]
        .into_iter()
        .zip(["Synopsis", "--------"])
        .map(|(action, synopsis)| format!("  {action:<15}  {synopsis}"))
        .collect::<Vec<_>>();
    let may = |classes: Classes| classes.is_none() || !on.user.write.both(classes).is_none();
    let known = ACTIONS.iter().filter(|(_, classes, _)| may(*classes));
    lines.extend(known.map(|(name, _, synopsis)| format!("  {name:<15}  {synopsis}")));
    printed(lines)
}

/// Headers of actions, `*` behind those that are needed. Others have none, or such as their answer names.
const HEADERS: &[(&str, &str)] = &[
    ("AbsoluteTimeout", "Channel* Timeout*"),
    ("AGI", "Channel* Command* CommandID"),
    ("Atxfer", "Channel* Exten* Context"),
    ("BlindTransfer", "Channel* Context Exten*"),
    ("Bridge", "Channel1* Channel2* Tone"),
    ("BridgeDestroy", "BridgeUniqueid*"),
    ("BridgeInfo", "BridgeUniqueid*"),
    ("BridgeKick", "BridgeUniqueid Channel*"),
    ("BridgeList", "BridgeType"),
    ("CancelAtxfer", "Channel*"),
    ("Challenge", "AuthType*"),
    ("Command", "Command*"),
    ("ConfbridgeKick", "Conference* Channel*"),
    ("ConfbridgeList", "Conference*"),
    ("ConfbridgeLock", "Conference*"),
    ("ConfbridgeMute", "Conference* Channel*"),
    ("ConfbridgeStartRecord", "Conference* RecordFile"),
    ("ConfbridgeStopRecord", "Conference*"),
    ("ConfbridgeUnlock", "Conference*"),
    ("ConfbridgeUnmute", "Conference* Channel*"),
    ("CoreShowChannelMap", "Channel*"),
    ("CreateConfig", "Filename*"),
    ("DBDel", "Family* Key*"),
    ("DBDelTree", "Family* Key"),
    ("DBGet", "Family* Key*"),
    ("DBGetTree", "Family Key"),
    ("DBPut", "Family* Key* Val"),
    (
        "DialplanExtensionAdd",
        "Context* Extension* Priority* Application* ApplicationData Replace",
    ),
    ("DialplanExtensionRemove", "Context* Extension* Priority"),
    ("Events", "EventMask*"),
    ("ExtensionState", "Exten* Context"),
    ("Filter", "Operation* Filter MatchCriteria"),
    ("GetConfig", "Filename* Category Filter"),
    ("GetConfigJSON", "Filename* Category Filter"),
    ("Getvar", "Channel Variable*"),
    ("Hangup", "Channel* Cause"),
    ("ListCategories", "Filename*"),
    ("Login", "Username* AuthType Secret Key Events"),
    ("MailboxCount", "Mailbox*"),
    ("MailboxStatus", "Mailbox*"),
    (
        "MessageSend",
        "Destination To From Body Base64Body Variable",
    ),
    ("MixMonitor", "Channel* File Options Command"),
    ("MixMonitorMute", "Channel* Direction State MixMonitorID"),
    ("ModuleCheck", "Module*"),
    ("ModuleLoad", "Module LoadType* Recursive"),
    ("MWIDelete", "Mailbox*"),
    ("MWIGet", "Mailbox*"),
    ("MWIUpdate", "Mailbox* OldMessages NewMessages"),
    (
        "Originate",
        "Channel* Exten Context Priority Application Data Timeout CallerID Variable Account EarlyMedia Async Codecs ChannelId OtherChannelId PreDialGoSub",
    ),
    ("PJSIPHangup", "Channel* Cause"),
    ("PJSIPQualify", "Endpoint*"),
    ("PJSIPRegister", "Registration*"),
    ("PJSIPShowEndpoint", "Endpoint*"),
    ("PJSIPUnregister", "Registration*"),
    ("PlayDTMF", "Channel* Digit* Duration Receive"),
    ("PresenceState", "Provider*"),
    (
        "QueueAdd",
        "Queue* Interface* Penalty Paused MemberName StateInterface",
    ),
    (
        "QueueChangePriorityCaller",
        "Queue* Caller* Priority* Immediate",
    ),
    ("QueueLog", "Queue* Event* Uniqueid Interface Message"),
    ("QueueMemberRingInUse", "Interface* RingInUse* Queue"),
    ("QueuePause", "Interface* Paused* Queue Reason"),
    ("QueuePenalty", "Interface* Penalty* Queue"),
    ("QueueReload", "Queue Members Rules Parameters"),
    ("QueueRemove", "Queue* Interface*"),
    ("QueueReset", "Queue"),
    ("QueueRule", "Rule"),
    ("QueueStatus", "Queue Member"),
    ("QueueSummary", "Queue"),
    ("QueueWithdrawCaller", "Queue* Caller* WithdrawInfo"),
    (
        "Redirect",
        "Channel* ExtraChannel Exten* ExtraExten Context* ExtraContext Priority* ExtraPriority",
    ),
    ("Reload", "Module"),
    ("SendText", "Channel* Message* Content-Type"),
    ("Setvar", "Channel Variable* Value"),
    ("ShowDialPlan", "Extension Context"),
    ("Status", "Channel Variables AllVariables"),
    ("StopMixMonitor", "Channel* MixMonitorID"),
    (
        "UpdateConfig",
        "SrcFilename* DstFilename* Reload PreserveEffectiveContext Action-000000 Cat-000000 Var-000000 Value-000000 Match-000000 Line-000000 Options-000000",
    ),
    ("UserEvent", "UserEvent* Header1 HeaderN"),
    ("WaitEvent", "Timeout*"),
];

pub(super) fn action(name: &str) -> Output {
    let Some((name, classes, synopsis)) = find(name) else {
        return printed(Vec::new());
    };
    let not = || "Not available".to_owned();
    let headers = HEADERS.iter().find(|(known, _)| known == name);
    let headers = headers.map_or("", |(_, headers)| headers);
    let mut lines = vec![
        "[Syntax]".to_owned(),
        format!("Action: {name}"),
        "[ActionID:] <value>".to_owned(),
    ];
    lines.extend(headers.split_whitespace().map(|header| {
        header.strip_suffix('*').map_or_else(
            || format!("[{header}:] <value>"),
            |needed| format!("{needed}: <value>"),
        )
    }));
    lines.extend([
        String::new(),
        "[Synopsis]".to_owned(),
        format!("{synopsis} "),
        String::new(),
        "[Description]".to_owned(),
        not(),
        String::new(),
        "[Arguments]".to_owned(),
        "ActionID".to_owned(),
        "    Comes back with the answer.".to_owned(),
        String::new(),
        "[See Also]".to_owned(),
        not(),
        String::new(),
        "[Privilege]".to_owned(),
        classes.printed(),
        String::new(),
        "[List Responses]".to_owned(),
        "None".to_owned(),
        String::new(),
        "[Final Response]".to_owned(),
        "None".to_owned(),
        String::new(),
    ]);
    printed(lines)
}

pub(super) fn users(on: &Context<'_>) -> Output {
    let settings = on.manager.settings();
    let mut lines = vec![String::new(), "username".to_owned(), "--------".to_owned()];
    lines.extend(settings.users.iter().map(|user| user.name.clone()));
    lines.push("-------------------".to_owned());
    lines.push(format!(
        "{} manager users configured.",
        settings.users.len()
    ));
    printed(lines)
}

pub(super) fn user(on: &Context<'_>, name: &str) -> Output {
    let settings = on.manager.settings();
    let Some(user) = settings.find(name) else {
        return failed(format!("There is no manager called {name}"));
    };
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    let row = |name: &str, value: &str| format!("{name:>20}: {value}");
    let mut lines = vec![
        String::new(),
        row("username", &user.name),
        row("secret", "<Set>"),
        row("read perm", &user.read.printed()),
        row("write perm", &user.write.printed()),
        row("displayconnects", yes(user.display_connects)),
        row("allowmultiplelogin", yes(user.multiple_logins)),
        row("Variables", ""),
    ];
    let variables = user.variables.iter();
    lines.extend(variables.map(|(name, value)| format!("  {name} = {value}")));
    printed(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_of_actions_that_there_are() {
        for (name, _) in HEADERS {
            assert_eq!(find(name).map(|action| action.0), Some(*name));
        }
        let text = action("waitevent").lines.join("\n");
        assert!(
            text.starts_with(
                "[Syntax]\nAction: WaitEvent\n[ActionID:] <value>\nTimeout: <value>\n"
            ),
            "{text}"
        );
        assert!(text.contains("\n[Privilege]\n<none>\n"), "{text}");
        assert!(action("nothing").lines.is_empty());
    }

    #[test]
    fn applications_are_found_by_a_part_of_their_names() {
        let Some(output) = applications_like(&["like", "PLAYB"]) else {
            panic!("a way to ask");
        };
        let rows: Vec<_> = output.lines.iter().map(|line| line.trim()).collect();
        assert!(
            rows.iter().any(|line| line.starts_with("Playback:")),
            "{rows:?}"
        );
        assert!(
            !rows.iter().any(|line| line.starts_with("Dial:")),
            "{rows:?}"
        );
        assert!(applications_like(&["unlike", "x"]).is_none());
        assert!(
            application("dial")
                .lines
                .iter()
                .any(|line| line.contains("'Dial'"))
        );
        assert!(function("NO_SUCH").failed);
    }
}
