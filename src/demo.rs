//! The embedded default: a demo dialplan and three subscribers with random passwords, so that two telephones can talk
//! after one command.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use strowger_core::Config;
use strowger_store::Store;

const USERS: [&str; 3] = ["100", "101", "102"];
const FILE: &str = "demo-subscribers.txt";

/// True when the configuration names no database of its own.
pub(crate) fn is_embedded_default(config: &Config) -> bool {
    config.database.url == strowger_core::config::Database::default().url
}

/// Seeds the demo once; what a person needs to know is in the data directory from then on.
pub(crate) async fn seed(store: &Store, config: &Config) -> anyhow::Result<()> {
    let file = config.data.0.join(FILE);
    if file.exists() {
        return Ok(());
    }
    let mut users = Vec::new();
    for name in USERS {
        users.push((name.to_owned(), crate::user::random_password()?));
    }
    strowger_store::seed_demo(store, &users)
        .await
        .context("cannot seed the demo")?;
    let mut text = String::new();
    for (name, password) in &users {
        writeln!(text, "{name} {password}")?;
    }
    let mut handle = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&file)
        .with_context(|| file.display().to_string())?;
    handle.write_all(text.as_bytes())?;
    Ok(())
}

/// What a newcomer needs next.
pub(crate) fn banner(config: &Config, data: &Path) -> String {
    let mut text = String::new();
    let list = |addresses: &[std::net::SocketAddr]| {
        addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let _ = writeln!(text, "Strowger {} is ready", env!("CARGO_PKG_VERSION"));
    let _ = writeln!(
        text,
        "  SIP      udp {}  tcp {}",
        list(&config.sip.udp),
        list(&config.sip.tcp)
    );
    let _ = writeln!(text, "  HTTP     http://{}/metrics", config.http.bind);
    let _ = writeln!(text, "  data     {}", data.display());
    if is_embedded_default(config)
        && let Ok(subscribers) = std::fs::read_to_string(data.join(FILE))
    {
        let _ = writeln!(
            text,
            "  subscribers (user, password; also in {}):",
            data.join(FILE).display()
        );
        for line in subscribers.lines() {
            let _ = writeln!(text, "    {line}");
        }
        let _ = writeln!(
            text,
            "  dial     100, 101, 102 each other; 600 echo test; 601 a prompt;"
        );
        let _ = writeln!(
            text,
            "           602 record and listen; 8100, 8101, 8102 a recorded call"
        );
    }
    text
}
