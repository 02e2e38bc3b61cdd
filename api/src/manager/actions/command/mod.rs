//! `Command`: the commands of the command line of Asterisk that programs ask for, with their output. A file for each family.

mod channels;
mod faxes;
mod help;
mod house;
mod phones;
mod plan;

use std::time::Duration;

use super::super::answer::Answer;
use super::super::classes::Classes;
use super::super::epoch;
use super::{Context, SYSTEM_REPORTING, system};

/// Commands that are refused to everybody.
const REFUSED: &[&str] = &["module load", "module unload", "restart gracefully"];

/// What a command printed, or printed in vain.
struct Output {
    lines: Vec<String>,
    failed: bool,
}

fn printed(lines: Vec<String>) -> Output {
    Output {
        lines,
        failed: false,
    }
}

fn failed(line: String) -> Output {
    Output {
        lines: vec![line],
        failed: true,
    }
}

/// How a command is written.
fn usage(ways: &[&str]) -> Output {
    Output {
        lines: ways.iter().map(|way| format!("Usage: {way}")).collect(),
        failed: true,
    }
}

pub(super) async fn run(on: Context<'_>) -> String {
    let Some(command) = on.request.given("Command") else {
        return on.error("No command provided");
    };
    let words = split(command);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let plain = words.join(" ").to_ascii_lowercase();
    if REFUSED.iter().any(|refused| plain.starts_with(refused)) {
        return on.error("Command blacklisted");
    }
    let output = perform(&on, &words).await;
    let output = output.unwrap_or_else(|| {
        failed(format!(
            "No such command '{command}' (type 'core show help {command}' for other possible commands)"
        ))
    });
    let mut text = Answer::to(on.request);
    text.response(if output.failed { "Error" } else { "Success" })
        .line("Message", "Command output follows");
    for line in output.lines {
        text.line("Output", line);
    }
    text.end();
    text.into_text()
}

/// Words of a command line: blanks within quotation marks and behind a backslash belong to a word.
fn split(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut chars = command.chars();
    while let Some(char) = chars.next() {
        match char {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            char if char.is_whitespace() && !quoted => words.extend(word.take()),
            char => word.get_or_insert_default().push(char),
        }
    }
    words.extend(word);
    words
}

/// The classes of which a command needs one, as the actions do that do the same (DBPut and DBDel, DBGet and DBGetTree): class
/// `command` alone does not open what others are asked more for.
fn of_database(verb: &str) -> Classes {
    match verb {
        "put" | "del" | "deltree" => Classes::SYSTEM,
        _ => SYSTEM_REPORTING,
    }
}

/// `None`: there is no such command.
async fn perform(on: &Context<'_>, words: &[&str]) -> Option<Output> {
    let lower: Vec<String> = words.iter().map(|word| word.to_ascii_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    Some(match lower.as_slice() {
        ["core", verb @ ("stop" | "restart" | "abort"), rest @ ..] => {
            return house::end(on, verb, rest);
        }
        ["core", "show", rest @ ..] => return core(on, rest, &words[2..]).await,
        ["channel", "originate", ..] => channels::call(on, &words[2..]).await,
        ["channel", "request", "hangup", _] => channels::hang_up(on, words[3]).await,
        ["hangup", "request", _] => channels::hang_up(on, words[2]).await,
        [
            "core" | "module" | "dialplan" | "pjsip" | "moh" | "queue" | "manager" | "voicemail"
            | "features" | "cdr" | "logger",
            "reload",
            rest @ ..,
        ] => {
            return reload(on, lower[0], rest).await;
        }
        ["reload"] => reloaded(on, true).await,
        ["logger", "rotate"] => Output {
            failed: !on.manager.shared.protection.log.rotate().await,
            lines: Vec::new(),
        },
        ["dialplan", "show"] => plan::show(&on.manager.plans.current(), None),
        ["dialplan", "show", _] => plan::show(&on.manager.plans.current(), Some(words[2])),
        ["dialplan", "add", "extension", ..] => plan::add(on, &words[3..]).await,
        ["dialplan", "remove", "extension", ..] => plan::remove(on, &words[3..]).await,
        ["database", verb, ..] if on.user.write.both(of_database(verb)).is_none() => {
            failed("Permission denied".to_owned())
        }
        ["database", rest @ ..] => house::database(on, rest, &words[1..]),
        ["fax", "show", rest @ ..] => return faxes::show(on, rest),
        ["queue", "show"] => house::queues(on, None),
        ["queue", "show", _] => house::queues(on, Some(words[2])),
        ["cdr", "show", "status"] => house::records(on),
        ["confbridge", "list"] => house::conferences(on),
        ["module", "show"] => help::modules(None),
        ["module", "show", "like", part] => help::modules(Some(part)),
        ["manager", "show", "commands"] => help::actions(on),
        ["manager", "show", "command", _] => help::action(words[3]),
        ["manager", "show", "users"] => help::users(on),
        ["manager", "show", "user", _] => help::user(on, words[3]),
        ["pjsip", "show", kind] => return phones_of(on, kind),
        ["pjsip", "show", kind, _] => return phone_of(on, kind, words[3]),
        ["rtp" | "rtcp", "set", "debug", ..] => house::not_printed("Packets of RTP"),
        ["pjsip", "set", "logger", ..] => house::not_printed("Messages of SIP"),
        _ => return None,
    })
}

/// `core show ...`.
async fn core(on: &Context<'_>, lower: &[&str], words: &[&str]) -> Option<Output> {
    Some(match lower {
        ["version"] => printed(vec![format!("Asterisk {}", system::version())]),
        ["uptime", rest @ ..] => uptime(on, rest == ["seconds"]),
        ["calls"] => printed(channels::calls(on).await),
        ["channels", rest @ ..] => printed(channels::channels(on, rest).await),
        ["channel", _] => channels::channel(on, words[1]).await,
        ["applications", rest @ ..] => return help::applications_like(rest),
        ["application", _] => help::application(words[1]),
        ["functions", rest @ ..] => return help::functions_like(rest),
        ["function", _] => help::function(words[1]),
        ["hints"] => plan::hints(on, None),
        ["hint", _] => plan::hints(on, Some(words[1])),
        ["settings"] => house::settings(on),
        _ => return None,
    })
}

fn phones_of(on: &Context<'_>, kind: &str) -> Option<Output> {
    Some(match kind {
        "endpoints" => phones::endpoints(on),
        "aors" => phones::aors(on),
        "auths" => phones::auths(on),
        "contacts" => phones::contacts(on),
        "transports" => phones::transports(on),
        "identifies" => phones::identifies(on),
        "registrations" => phones::registrations(on),
        "settings" => phones::settings(on),
        _ => return None,
    })
}

fn phone_of(on: &Context<'_>, kind: &str, name: &str) -> Option<Output> {
    Some(match kind {
        "endpoint" => phones::endpoint(on, name),
        "aor" => phones::aor(on, name),
        "auth" => phones::auth(on, name),
        "transport" => phones::transport(on, name),
        _ => return None,
    })
}

async fn reloaded(on: &Context<'_>, dialplan: bool) -> Output {
    Output {
        lines: Vec::new(),
        failed: !system::reload(on.manager, dialplan).await,
    }
}

/// `core reload`, `module reload x`, `queue reload all`: all is read again, whichever part is named.
async fn reload(on: &Context<'_>, part: &str, rest: &[&str]) -> Option<Output> {
    Some(match (part, rest) {
        ("module", [module]) if !strowger_scripting::has_module(module) => {
            failed(format!("No such module '{module}'"))
        }
        ("module", [module]) => reloaded(on, system::reads_dialplan(module)).await,
        ("core" | "module" | "dialplan", []) => reloaded(on, true).await,
        ("queue", _) | (_, []) => reloaded(on, false).await,
        _ => return None,
    })
}

fn uptime(on: &Context<'_>, in_seconds: bool) -> Output {
    let up = on.manager.shared.started_at.elapsed().as_secs();
    let reloaded = &on.manager.reloaded;
    let reloaded = reloaded.load(std::sync::atomic::Ordering::Relaxed);
    let last = epoch().saturating_sub(reloaded);
    let shown = |seconds: u64| {
        if in_seconds {
            seconds.to_string()
        } else {
            spoken(Duration::from_secs(seconds))
        }
    };
    printed(vec![
        format!("System uptime: {}", shown(up)),
        format!("Last reload: {}", shown(last)),
    ])
}

/// `1 hour, 2 minutes, 3 seconds`.
fn spoken(time: Duration) -> String {
    let mut rest = time.as_secs();
    let mut parts = Vec::new();
    for (name, length) in [
        ("year", 31_536_000),
        ("week", 604_800),
        ("day", 86_400),
        ("hour", 3_600),
        ("minute", 60),
        ("second", 1),
    ] {
        let count = rest / length;
        rest %= length;
        if count > 0 {
            let ending = if count == 1 { "" } else { "s" };
            parts.push(format!("{count} {name}{ending}"));
        }
    }
    if parts.is_empty() {
        parts.push("0 seconds".to_owned());
    }
    parts.join(", ")
}

fn count(number: usize, what: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {what}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_may_have_blanks_within_quotation_marks() {
        for (command, wanted) in [
            (" database  get a b ", &["database", "get", "a", "b"][..]),
            (
                r#"put fam key "a  b" c"#,
                &["put", "fam", "key", "a  b", "c"],
            ),
            (r#"a\ b "" x"y z"w"#, &["a b", "", "xy zw"]),
            (r#"say \"hi\" \\"#, &["say", "\"hi\"", "\\"]),
            (r#""never closed at all"#, &["never closed at all"]),
            ("", &[]),
        ] {
            assert_eq!(split(command), wanted, "{command}");
        }
    }

    #[test]
    fn times_are_spoken_in_whole_parts() {
        assert_eq!(spoken(Duration::ZERO), "0 seconds");
        assert_eq!(
            spoken(Duration::from_secs(90_061)),
            "1 day, 1 hour, 1 minute, 1 second"
        );
        assert_eq!(count(1, "active call"), "1 active call");
        assert_eq!(count(0, "active call"), "0 active calls");
    }
}
