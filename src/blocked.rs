//! `strowger blocked`: addresses that the running exchange keeps out.

use std::net::IpAddr;
use std::process::ExitCode;

use clap::Subcommand;
use strowger_core::Config;

use crate::control::ask;

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
