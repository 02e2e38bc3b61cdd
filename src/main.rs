//! The `strowger` command: composition of the crates and the command line. No call, packet or row is handled here.

mod blocked;
mod check;
mod control;
mod demo;
mod dialplan;
mod dialplan_test;
mod import;
mod logging;
mod serve;
mod trace;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use strowger_core::Config;

/// Calls are made of small pieces that come and go on one thread: cheaper than with the allocator of the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Automatic telephone exchange.
#[derive(Parser)]
#[command(name = "strowger", version, about, disable_help_subcommand = true)]
struct Arguments {
    /// Configuration file (strowger.toml).
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder for everything the exchange keeps; wins over the configuration.
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the exchange (the default).
    Serve,
    /// Look for faults in configuration, database, dialplan and sounds, without starting.
    Check,
    /// Show, compile or check the dialplan.
    Dialplan {
        #[command(subcommand)]
        command: dialplan::Command,
    },
    /// Work on the database.
    Db {
        #[command(subcommand)]
        command: DbCommand,
    },
    /// Work on subscribers.
    User {
        #[command(subcommand)]
        command: user::Command,
    },
    /// Addresses that the running exchange keeps out.
    Blocked {
        #[command(subcommand)]
        command: Option<blocked::Command>,
    },
    /// What was said over SIP in recent and failed calls of the running exchange.
    Trace {
        #[command(subcommand)]
        command: Option<trace::Command>,
    },
    /// Take over the configuration of another exchange.
    Import {
        #[command(subcommand)]
        command: import::Command,
    },
    /// Print the version.
    Version,
}

#[derive(Subcommand)]
enum DbCommand {
    /// Create missing tables and bring ours up to date; existing rows and foreign tables stay as they are.
    Migrate,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("strowger: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    if matches!(arguments.command, Some(Command::Version)) {
        println!("strowger {}", env!("CARGO_PKG_VERSION"));
        return Ok(ExitCode::SUCCESS);
    }
    let mut config = Config::load(arguments.config.as_deref(), std::env::vars())?;
    if let Some(data) = arguments.data {
        config.data.0 = data;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .context("cannot start the control runtime")?;
    match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => {
            let flushed_at_the_end = logging::init(&config.log)?;
            let next = serve::serve(config, &runtime)?;
            // What is still being written is written, the log too.
            drop(runtime);
            drop(flushed_at_the_end);
            match next {
                Some(program) => Err(serve::begin_again(&program)),
                None => Ok(ExitCode::SUCCESS),
            }
        }
        Command::Check => runtime.block_on(check::check(&config)),
        Command::Dialplan { command } => runtime.block_on(dialplan::run(&config, command)),
        Command::Db {
            command: DbCommand::Migrate,
        } => runtime.block_on(async {
            let store = open_store(&config).await?;
            for problem in store.migrate().await? {
                println!("{problem}");
            }
            println!("{} is up to date", store.target());
            Ok(ExitCode::SUCCESS)
        }),
        Command::Blocked { command } => blocked::run(&config, command),
        Command::User { command } => runtime.block_on(user::run(&config, command)),
        Command::Trace { command } => trace::run(&config, command),
        Command::Import { command } => runtime.block_on(import::run(&config, command)),
        Command::Version => Ok(ExitCode::SUCCESS),
    }
}

/// Connects to the configured database.
async fn open_store(config: &Config) -> anyhow::Result<strowger_store::Store> {
    let data = &config.data.0;
    strowger_core::shared::create_private(data)
        .with_context(|| format!("data directory {}", data.display()))?;
    Ok(strowger_store::Store::connect(&config.database.url, data).await?)
}
