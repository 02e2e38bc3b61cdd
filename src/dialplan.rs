//! `strowger dialplan`: what the exchange makes of the rows.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::bail;
use clap::Subcommand;
use strowger_core::Config;
use strowger_dialplan::{Plan, Severity};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Print a context: its extensions and steps, or with --lua the Lua it is compiled to.
    Show {
        context: String,
        #[arg(long)]
        lua: bool,
    },
    /// Compile everything and say how long it took.
    Compile,
    /// Print every problem; fails if one is an error.
    Lint,
    /// Let the calls of test files go through the dialplan, with nobody in them; fails if one goes another way.
    Test {
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Tell how each call went.
        #[arg(long)]
        show: bool,
    },
}

async fn load(config: &Config) -> anyhow::Result<Plan> {
    let store = crate::open_store(config).await?;
    let (snapshot, _) = store.load().await?;
    let scripts = strowger_scripting::Scripts::read(&config.data.0.join(&config.dialplan.lua));
    Ok(strowger_scripting::compile(&snapshot, &scripts, None))
}

pub(crate) async fn run(config: &Config, command: Command) -> anyhow::Result<ExitCode> {
    if let Command::Test { files, show } = &command {
        return crate::dialplan_test::run(config, files, *show).await;
    }
    let started = Instant::now();
    let plan = load(config).await?;
    match command {
        Command::Show { context, lua } => {
            let Some(found) = plan.context(&context) else {
                let mut known: Vec<_> = plan
                    .contexts()
                    .map(|context| context.name.to_string())
                    .collect();
                known.sort();
                bail!("no context \"{context}\"; there are: {}", known.join(", "));
            };
            if lua {
                println!("{}", found.lua);
            } else {
                for include in found.script_includes.iter().chain(&found.includes) {
                    println!("include {}  ; {}", include.context, include.origin);
                }
                for step in &found.steps {
                    let label = step
                        .label
                        .as_deref()
                        .map(|label| format!("({label})"))
                        .unwrap_or_default();
                    println!(
                        "{},{}{label},{}({})  ; {}",
                        step.exten, step.priority, step.app, step.appdata, step.origin
                    );
                }
            }
        }
        Command::Compile => {
            let steps: usize = plan.contexts().map(|context| context.steps.len()).sum();
            println!(
                "{} contexts, {steps} steps, {} problems, {:.1} ms with the database",
                plan.contexts().count(),
                plan.problems.len(),
                started.elapsed().as_secs_f64() * 1000.0
            );
        }
        Command::Lint => {
            for problem in &plan.problems {
                println!("{problem}");
            }
            if plan
                .problems
                .iter()
                .any(|problem| problem.severity == Severity::Error)
            {
                return Ok(ExitCode::FAILURE);
            }
            println!("{} warnings, no errors", plan.problems.len());
        }
        Command::Test { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}
