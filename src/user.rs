//! `strowger user`: subscribers.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use strowger_core::Config;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Add a subscriber (endpoint, AOR and auth of that name) and print its password.
    Add {
        /// Name: letters, digits and . _ - (1 to 80 characters).
        name: String,
        /// Password; random if left out.
        #[arg(long)]
        password: Option<String>,
        /// Dialplan context of its calls.
        #[arg(long, default_value = "internal")]
        context: String,
    },
}

/// 20 characters from 32 (100 bits), none that is easily confused.
pub(crate) fn random_password() -> anyhow::Result<String> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0u8; 20];
    getrandom::fill(&mut bytes).context("no random numbers from the kernel")?;
    Ok(bytes
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(byte % 32)]))
        .collect())
}

pub(crate) async fn run(config: &Config, command: Command) -> anyhow::Result<ExitCode> {
    let Command::Add {
        name,
        password,
        context,
    } = command;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > 80 || !name.chars().all(plain) {
        bail!("\"{name}\" is no subscriber name: 1 to 80 letters, digits and . _ - are allowed");
    }
    let store = crate::open_store(config).await?;
    if store.kind() == strowger_store::Kind::Sqlite {
        store.migrate().await?;
    }
    let password = match password {
        Some(password) if password.len() < 8 => bail!("the password has fewer than 8 characters"),
        Some(password) => password,
        None => random_password()?,
    };
    let callerid = format!("{name} <{name}>");
    if !strowger_store::add_subscriber(&store, &name, &password, &context, &callerid).await? {
        bail!(
            "subscriber \"{name}\" exists already in {}; nothing was changed",
            store.target()
        );
    }
    println!("{name} {password}");
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_long_and_never_the_same() {
        let first = random_password().unwrap();
        assert_eq!(first.len(), 20);
        assert_ne!(first, random_password().unwrap());
    }
}
