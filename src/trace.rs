//! `strowger trace`: what was said over SIP in recent and failed calls, as a list, ladders and capture files.

use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use strowger_core::Config;

use crate::control::{ask, ask_bytes};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// The calls that are kept, the newest first (the default).
    List,
    /// The ladder of a call, with the calls that belong to it.
    Call {
        /// Its Call-ID, uniqueid, linkedid or channel.
        id: String,
        /// The messages too, whole.
        #[arg(long)]
        messages: bool,
    },
    /// A capture file, for Wireshark and others.
    Pcap {
        /// Only calls of this number, endpoint, channel or Call-ID.
        of: Option<String>,
        /// Only messages of the last seconds.
        #[arg(long, value_name = "SECONDS")]
        last: Option<u32>,
        /// Where to write it; otherwise stdout.
        #[arg(long)]
        file: Option<PathBuf>,
    },
}

/// Text as a part of a query.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

pub(crate) fn run(config: &Config, command: Option<Command>) -> anyhow::Result<ExitCode> {
    match command.unwrap_or(Command::List) {
        Command::List => list(&ask(config, "GET", "/trace")?),
        Command::Call { id, messages } => {
            let messages = if messages { "yes" } else { "no" };
            let path = format!("/trace/call?id={}&messages={messages}", encoded(&id));
            let answer = ask(config, "GET", &path)?;
            print!("{}", answer["ladder"].as_str().unwrap_or_default());
        }
        Command::Pcap { of, last, file } => {
            let mut path = format!(
                "/trace/pcap?of={}",
                encoded(of.as_deref().unwrap_or_default())
            );
            if let Some(last) = last {
                path.push_str(&format!("&last={last}"));
            }
            let (head, capture) = ask_bytes(config, "GET", &path)?;
            let left_out = head
                .lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(name, _)| name.eq_ignore_ascii_case("x-messages-left-out"));
            if let Some((_, count)) = left_out.filter(|(_, count)| *count != "0") {
                eprintln!("{count} messages had no room: ask for less with --last");
            }
            match file {
                Some(file) => {
                    write(&file, &capture).with_context(|| format!("writing {}", file.display()))?
                }
                None => std::io::stdout().write_all(&capture)?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a file that nobody but its owner reads: it tells who called whom, and answers to challenges.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    // One that was there has the rights that it had.
    if file.metadata()?.is_file() {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    file.write_all(bytes)
}

fn list(answer: &serde_json::Value) {
    let calls = answer["calls"].as_array().cloned().unwrap_or_default();
    if calls.is_empty() {
        println!("no call is kept yet");
        return;
    }
    println!(
        "{:<19}  {:<16} {:<16} {:>4}  {:<32} Call-ID",
        "began", "from", "to", "SIP", "standing"
    );
    for call in calls {
        let text = |name: &str| call[name].as_str().unwrap_or_default().to_owned();
        let began = call["began"].as_i64().unwrap_or_default();
        let began = chrono::DateTime::from_timestamp(began, 0)
            .unwrap_or_default()
            .with_timezone(&chrono::Local);
        println!(
            "{:<19}  {:<16} {:<16} {:>4}  {:<32} {}",
            began.format("%Y-%m-%d %H:%M:%S"),
            text("from"),
            text("to"),
            call["messages"].as_u64().unwrap_or_default(),
            text("standing"),
            text("call_id").replace(char::is_control, "?")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_calls_are_encoded_for_a_query() {
        assert_eq!(encoded("1&a=b@[::1] %"), "1%26a%3Db%40%5B%3A%3A1%5D%20%25");
    }
}
