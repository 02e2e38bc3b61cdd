//! `Command`: the commands of the command line of Asterisk that programs ask for, with their output.

use std::time::Duration;

use strowger_core::channel::Channel;
use strowger_core::events::channel_block;

use super::super::answer::Answer;
use super::super::epoch;
use super::{Context, system};

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

pub(super) async fn run(on: Context<'_>) -> String {
    let Some(command) = on.request.given("Command") else {
        return on.error("No command provided");
    };
    let words = words_of(command);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let plain = words.join(" ").to_ascii_lowercase();
    if REFUSED.iter().any(|refused| plain.starts_with(refused)) {
        return on.error("Command blacklisted");
    }
    let output = perform(on, command, &words).await;
    let mut text = Answer::to(on.request);
    text.response(if output.failed { "Error" } else { "Success" })
        .line("Message", "Command output follows");
    for line in output.lines {
        text.line("Output", line);
    }
    text.end();
    text.into_text()
}

async fn perform(on: Context<'_>, command: &str, words: &[&str]) -> Output {
    let lower: Vec<String> = words.iter().map(|word| word.to_ascii_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    let shared = &on.manager.shared;
    match lower.as_slice() {
        ["core", "show", "version"] => printed(vec![format!("Asterisk {}", system::version())]),
        ["core", "show", "uptime", rest @ ..] => {
            let up = shared.started_at.elapsed().as_secs();
            let reloaded = on
                .manager
                .reloaded
                .load(std::sync::atomic::Ordering::Relaxed);
            let last = epoch().saturating_sub(reloaded);
            let shown = |seconds: u64| match rest {
                ["seconds"] => seconds.to_string(),
                _ => spoken(Duration::from_secs(seconds)),
            };
            printed(vec![
                format!("System uptime: {}", shown(up)),
                format!("Last reload: {}", shown(last)),
            ])
        }
        ["core", "show", "calls"] => printed(calls(&on).await),
        ["core", "show", "channels", rest @ ..] => printed(channels(&on, rest).await),
        ["core", "reload"]
        | ["reload"]
        | ["module", "reload"]
        | ["dialplan", "reload"]
        | ["pjsip", "reload"]
        | ["queue", "reload", ..]
        | ["moh", "reload"] => {
            let failed = !system::reload_all(on.manager).await;
            Output {
                lines: Vec::new(),
                failed,
            }
        }
        ["module", "reload", module] if !strowger_scripting::has_module(module) => Output {
            lines: vec![format!("No such module '{module}'")],
            failed: true,
        },
        ["module", "reload", _] => {
            let failed = !system::reload_all(on.manager).await;
            Output {
                lines: Vec::new(),
                failed,
            }
        }
        ["database", "show", rest @ ..] if rest.len() <= 2 => {
            // Families and keys have a case.
            let prefix = words[2..].join("/");
            let all = shared.astdb.tree(&prefix);
            let mut lines: Vec<String> = all
                .iter()
                .map(|(key, value)| format!("{key:<50}: {value:<25}"))
                .collect();
            lines.push(format!("{} results found.", all.len()));
            printed(lines)
        }
        ["database", "get", _, _] => match shared.astdb.get(words[2], words[3]) {
            Some(value) => printed(vec![format!("Value: {value}")]),
            None => printed(vec!["Database entry not found.".to_owned()]),
        },
        ["database", "put", _, _, ..] if words.len() == 5 => {
            let put = shared.astdb.put(words[2], words[3], words[4]);
            printed(vec![match put {
                Ok(()) => "Updated database successfully".to_owned(),
                Err(_) => "Failed to update entry".to_owned(),
            }])
        }
        ["database", "del", _, _] => printed(vec![
            if shared.astdb.del(words[2], words[3]) {
                "Database entry removed."
            } else {
                "Database entry could not be removed."
            }
            .to_owned(),
        ]),
        ["database", "deltree", _, rest @ ..] if rest.len() <= 1 => {
            let count = shared.astdb.deltree(words[2], words.get(3).copied());
            printed(vec![match count {
                0 => "Database unavailable or no entries.".to_owned(),
                count => format!("{count} database entries removed."),
            }])
        }
        _ => Output {
            lines: vec![format!(
                "No such command '{command}' (type 'core show help {command}' for other possible commands)"
            )],
            failed: true,
        },
    }
}

/// The words of a command as the command line reads them: quotes keep blanks, a backslash keeps what follows it.
fn words_of(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut characters = command.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' => word
                .get_or_insert_default()
                .push(characters.next().unwrap_or('\\')),
            blank if blank.is_whitespace() && !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
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

async fn calls(on: &Context<'_>) -> Vec<String> {
    let running = on
        .gather(|shard| {
            let channels = shard.channels();
            channels
                .iter()
                .filter(|channel| channel.runs_dialplan())
                .count()
        })
        .await;
    let processed = usize::try_from(on.manager.shared.calls_processed()).unwrap_or(usize::MAX);
    vec![
        count(running.into_iter().sum(), "active call"),
        format!("{} processed", count(processed, "call")),
    ]
}

/// What a line says of a channel.
struct Seen {
    block: [(&'static str, String); 14],
    application: String,
    data: String,
    seconds: u64,
    bridge: String,
}

fn seen(channel: &Channel) -> Seen {
    let block = channel_block(channel);
    let data = channel.data();
    Seen {
        block,
        application: data.application.clone(),
        data: data.application_data.clone(),
        seconds: data.created_at.elapsed().as_secs(),
        bridge: data.bridge_id.as_deref().unwrap_or_default().to_owned(),
    }
}

impl Seen {
    fn get(&self, name: &str) -> &str {
        let found = self.block.iter().find(|(known, _)| *known == name);
        found.map_or("", |(_, value)| value)
    }

    fn known(&self, name: &str) -> &str {
        match self.get(name) {
            "<unknown>" => "",
            value => value,
        }
    }
}

async fn channels(on: &Context<'_>, how: &[&str]) -> Vec<String> {
    let mut all: Vec<Seen> = on.look_at_channels(seen).await;
    all.sort_by_key(|seen| std::cmp::Reverse(seen.seconds));
    if how == ["concise"] {
        let line = |seen: &Seen| {
            [
                seen.get("Channel"),
                seen.get("Context"),
                seen.get("Exten"),
                seen.get("Priority"),
                seen.get("ChannelStateDesc"),
                &seen.application,
                &seen.data,
                seen.known("CallerIDNum"),
                seen.get("AccountCode"),
                "",
                "3",
                &seen.seconds.to_string(),
                &seen.bridge,
                seen.get("Uniqueid"),
            ]
            .join("!")
        };
        return all.iter().map(line).collect();
    }
    let mut lines = Vec::new();
    if how != ["count"] {
        let row = |channel: &str, place: &str, state: &str, application: &str| {
            format!("{channel:<20.20} {place:<20.20} {state:<7.7} {application:<30.30}")
        };
        lines.push(row("Channel", "Location", "State", "Application(Data)"));
        lines.extend(all.iter().map(|seen| {
            let place = match seen.get("Exten") {
                "" => "(None)".to_owned(),
                exten => format!("{exten}@{}:{}", seen.get("Context"), seen.get("Priority")),
            };
            let application = match seen.application.as_str() {
                "" => "(None)".to_owned(),
                name => format!("{name}({})", seen.data),
            };
            row(
                seen.get("Channel"),
                &place,
                seen.get("ChannelStateDesc"),
                &application,
            )
        }));
    }
    lines.push(count(all.len(), "active channel"));
    lines.extend(calls(on).await);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_keep_words_together() {
        for (command, words) in [
            (" core  show version ", &["core", "show", "version"][..]),
            (
                "database put desk colour \"dark red\"",
                &["database", "put", "desk", "colour", "dark red"],
            ),
            (
                r#"database put a b "say \"hi\"""#,
                &["database", "put", "a", "b", r#"say "hi""#],
            ),
            (r#"database put a b """#, &["database", "put", "a", "b", ""]),
            (r"a\ b \", &["a b", "\\"]),
            ("\"open end", &["open end"]),
            ("", &[]),
        ] {
            assert_eq!(words_of(command), words, "{command}");
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
