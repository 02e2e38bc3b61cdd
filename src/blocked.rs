//! `strowger blocked`: addresses that the running exchange keeps out. Asks it over HTTP, with the key that it left in the
//! data directory.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Subcommand;
use strowger_core::Config;

/// The file with the key, in the data directory.
const KEY_FILE: &str = "control.key";
/// How long the exchange may take to answer.
const WAIT: Duration = Duration::from_secs(10);

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show them (the default).
    List,
    /// Let one address in again.
    Remove {
        /// The address, as the list shows it.
        address: IpAddr,
    },
    /// Let all of them in again.
    Clear,
}

/// The key of this data directory, made at the first start.
pub(crate) fn key(data: &Path) -> anyhow::Result<String> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = data.join(KEY_FILE);
    if let Ok(key) = std::fs::read_to_string(&path)
        && key.trim().len() >= 20
    {
        return Ok(key.trim().to_owned());
    }
    let key = format!(
        "{}{}",
        crate::user::random_password()?,
        crate::user::random_password()?
    );
    std::fs::File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| writeln!(file, "{key}"))
        .with_context(|| path.display().to_string())?;
    Ok(key)
}

pub(crate) fn run(config: &Config, command: Option<Command>) -> anyhow::Result<ExitCode> {
    match command.unwrap_or(Command::List) {
        Command::List => {
            let answer = ask(config, "GET", "/blocked")?;
            let list = answer["blocked"].as_array().cloned().unwrap_or_default();
            if list.is_empty() {
                println!("no address is blocked");
                return Ok(ExitCode::SUCCESS);
            }
            println!(
                "{:<40} {:>8} {:>5} {:>10}  why",
                "address", "left, s", "times", "dropped"
            );
            for blocked in list {
                let text = |name: &str| blocked[name].as_str().unwrap_or_default().to_owned();
                let number = |name: &str| blocked[name].as_u64().unwrap_or_default();
                println!(
                    "{:<40} {:>8} {:>5} {:>10}  {}",
                    text("address"),
                    number("left_s"),
                    number("times"),
                    number("dropped"),
                    text("why")
                );
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Remove { address } => {
            let answer = ask(config, "DELETE", &format!("/blocked/{address}"))?;
            if answer["unblocked"].as_u64() == Some(0) {
                eprintln!("{address} is not blocked");
                return Ok(ExitCode::FAILURE);
            }
            println!("{address} is let in again");
            Ok(ExitCode::SUCCESS)
        }
        Command::Clear => {
            let answer = ask(config, "DELETE", "/blocked")?;
            println!("{} let in again", answer["unblocked"]);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Where the exchange listens, as seen from here.
fn address(config: &Config) -> SocketAddr {
    let mut address = config.http.bind;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
            SocketAddr::V6(_) => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1u16]),
        });
    }
    address
}

fn ask(config: &Config, method: &str, path: &str) -> anyhow::Result<serde_json::Value> {
    let address = address(config);
    let file = config.data.0.join(KEY_FILE);
    let key = std::fs::read_to_string(&file).with_context(|| {
        format!(
            "{}: is this the data directory of the exchange?",
            file.display()
        )
    })?;
    let mut stream = TcpStream::connect_timeout(&address, WAIT)
        .with_context(|| format!("no exchange answers on {address} (http.bind)"))?;
    stream.set_read_timeout(Some(WAIT))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        key.trim()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| anyhow!("no HTTP answer from {address}"))?;
    let value: serde_json::Value = serde_json::from_str(body.trim()).unwrap_or_default();
    if !head.starts_with("HTTP/1.1 200") {
        let line = head.lines().next().unwrap_or_default();
        bail!(
            "{address}: {line} {}",
            value["error"].as_str().unwrap_or_default()
        );
    }
    Ok(value)
}
