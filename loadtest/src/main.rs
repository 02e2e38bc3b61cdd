//! The command line of the load generator: composition only.

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use strowger_loadtest::capacity::{self, Search};
use strowger_loadtest::proof::exchange::{Plan, binary_beside, without_password};
use strowger_loadtest::proof::{self, Proof};
use strowger_loadtest::report::{self, Run};
use strowger_loadtest::run::{self, Options};
use strowger_loadtest::scenario::Scenario;
use strowger_loadtest::sipp;

/// Load tests of SIP servers: calls with media that is checked, reports, capacity.
///
/// Aims at loopback addresses only, unless --i-own-this says that the server is yours. Ends with 0 when everything was
/// good enough, with 1 when not, with 2 when it could not be run.
#[derive(Parser)]
#[command(version)]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Run a scenario and write its report
    Run(RunArgs),
    /// Search the largest load at which a scenario is still good enough
    Find(FindArgs),
    /// Set two runs beside each other
    Compare {
        /// Folders of runs
        a: PathBuf,
        b: PathBuf,
    },
    /// Write the report of a run anew from its raw data
    Report {
        /// Folder of the run
        folder: PathBuf,
    },
    /// Look whether scenario files are in order
    Check {
        #[arg(required = true)]
        scenarios: Vec<PathBuf>,
    },
    /// Start an exchange for each profile, load it, and put all results on one page
    Proof(ProofArgs),
    /// Run SIPp scenarios against a server and check their outcome
    Sipp(sipp::SippArgs),
}

#[derive(Args)]
struct Common {
    /// The server's SIP address, before that of the scenario
    #[arg(long, value_name = "ADDRESS:PORT")]
    server: Option<SocketAddr>,
    /// The server's process, for CPU and memory; without it the owner of the address is looked for on this machine
    #[arg(long)]
    pid: Option<u32>,
    /// The core that the generator stays on
    #[arg(long)]
    core: Option<usize>,
    /// Normal priority for the generator
    #[arg(long)]
    no_realtime: bool,
    /// The server is not on this machine's loopback network, and is yours
    #[arg(long)]
    i_own_this: bool,
    /// What the server is, for the report
    #[arg(long, default_value = "")]
    subject: String,
    /// No line each second
    #[arg(long)]
    quiet: bool,
    /// Folder of the report
    #[arg(long, default_value = "loadtest-report")]
    out: PathBuf,
}

#[derive(Args)]
struct RunArgs {
    /// The scenario (TOML)
    scenario: PathBuf,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct FindArgs {
    /// The scenario (TOML); of its steps the last is varied
    scenario: PathBuf,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    search: SearchArgs,
}

#[derive(Args)]
struct SearchArgs {
    /// The first load: calls at once, or calls begun in a second where they have a length
    #[arg(long, default_value_t = 100.0)]
    from: f64,
    /// The largest load that is tried
    #[arg(long, default_value_t = 20_000.0)]
    most: f64,
    /// Seconds of each trial, without its ramp
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Repetitions around the knee
    #[arg(long, default_value_t = 3)]
    repeats: usize,
}

impl SearchArgs {
    fn search(&self) -> Search {
        Search {
            from: self.from,
            most: self.most,
            seconds: self.seconds,
            repeats: self.repeats,
            ..Search::default()
        }
    }
}

#[derive(Args)]
struct ProofArgs {
    /// The exchange's program; without it the one beside this program
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Only these profiles
    #[arg(long = "profile", value_name = "NAME")]
    profiles: Vec<String>,
    /// The long proof
    #[arg(long)]
    full: bool,
    /// At the end, this many seconds at one load with calls coming and going
    #[arg(long, default_value_t = 0.0, value_name = "SECONDS")]
    soak: f64,
    /// Calls at once of the soak
    #[arg(long, default_value_t = 300)]
    soak_calls: u32,
    /// Search the capacity of the profiles instead
    #[arg(long)]
    capacity: bool,
    #[command(flatten)]
    search: SearchArgs,
    /// Cores of the exchange: `all`, or numbers with commas
    #[arg(long, default_value = "0")]
    cores: String,
    /// Core of the generator
    #[arg(long)]
    core: Option<usize>,
    /// Normal priority for the generator
    #[arg(long)]
    no_realtime: bool,
    /// The exchange's database, empty and its own; without it SQLite. Rows are inserted
    #[arg(long, default_value = "", value_name = "URL")]
    database: String,
    /// No line each second
    #[arg(long)]
    quiet: bool,
    /// Folder of the results
    #[arg(long, default_value = "target/loadtest")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let command = Command::parse();
    match carry_out(command.what) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

/// The words that this was called with.
fn called_with() -> String {
    without_password(&std::env::args().collect::<Vec<_>>().join(" "))
}

/// Set when somebody presses Ctrl-C: calls are ended and the report is written. A second time ends at once.
fn stopper() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot wait for signals")?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                while tokio::signal::ctrl_c().await.is_ok() {
                    if seen.swap(true, Ordering::Relaxed) {
                        std::process::exit(130);
                    }
                }
            });
        })?;
    Ok(stop)
}

fn options(common: &Common, stop: Arc<AtomicBool>) -> Options {
    Options {
        server: common.server,
        pid: common.pid,
        core: common.core,
        realtime: !common.no_realtime,
        i_own_this: common.i_own_this,
        progress: !common.quiet,
        subject: common.subject.clone(),
        command: called_with(),
        stop,
    }
}

fn carry_out(what: What) -> Result<bool> {
    match what {
        What::Run(args) => {
            let scenario = Scenario::load(&args.scenario)?;
            let options = options(&args.common, stopper()?);
            let folder = &args.common.out;
            let (_, result) = run::run(&scenario, &options, folder)?;
            let (markdown, html) = report::write(folder)?;
            for fault in &result.faults {
                println!("fault: {fault}");
            }
            for doubt in &result.doubts {
                println!("doubt: {doubt}");
            }
            let verdict = if result.passed() { "passed" } else { "FAILED" };
            println!("{verdict}: {} {}", markdown.display(), html.display());
            Ok(result.passed())
        }
        What::Find(args) => {
            let scenario = Scenario::load(&args.scenario)?;
            let options = options(&args.common, stopper()?);
            let folder = &args.common.out;
            let found = capacity::find(&scenario, args.search.search(), |n, scenario| {
                if options.stop.load(Ordering::Relaxed) {
                    bail!("stopped");
                }
                let folder = folder.join(format!("trial-{n}"));
                run::run(scenario, &options, &folder).map(|(_, result)| result)
            })?;
            let text = found.markdown(&scenario.title, &options.command);
            std::fs::create_dir_all(folder)?;
            std::fs::write(folder.join("capacity.md"), &text)?;
            std::fs::write(
                folder.join("capacity.json"),
                serde_json::to_vec_pretty(&found)?,
            )?;
            println!("{text}");
            Ok(found.knee.is_some())
        }
        What::Compare { a, b } => {
            print!("{}", report::compare(&Run::load(&a)?, &Run::load(&b)?));
            Ok(true)
        }
        What::Report { folder } => {
            let (markdown, html) = report::write(&folder)?;
            println!("{} {}", markdown.display(), html.display());
            Ok(true)
        }
        What::Check { scenarios } => {
            let mut good = true;
            for path in scenarios {
                match Scenario::load(&path) {
                    Ok(scenario) => println!("{}: {}", path.display(), scenario.title),
                    Err(error) => {
                        println!("{error}");
                        good = false;
                    }
                }
            }
            Ok(good)
        }
        What::Proof(args) => prove(&args),
        What::Sipp(args) => sipp::run(&args),
    }
}

fn prove(args: &ProofArgs) -> Result<bool> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let proof = Proof {
        plan: Plan {
            binary: args.binary.clone().unwrap_or_else(binary_beside),
            cores: args.cores.clone(),
            database: args.database.clone(),
            users: 0,
            tls: false,
            more: String::new(),
        },
        out: args.out.clone(),
        profiles: args.profiles.clone(),
        full: args.full,
        soak_s: args.soak,
        soak_calls: args.soak_calls,
        capacity: args.capacity.then(|| args.search.search()),
        // The exchange has the first core; the generator the last, unless there is only one.
        core: args.core.or_else(|| (cores > 1).then(|| cores - 1)),
        realtime: !args.no_realtime,
        progress: !args.quiet,
        command: called_with(),
        stop: stopper()?,
    };
    let good = proof::prove(&proof)?;
    println!("{}", proof.out.join("summary.md").display());
    Ok(good)
}
