//! `strowger import asterisk`: the configuration of an Asterisk taken into the database, with a report of every line.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};
use strowger_core::Config;
use strowger_core::sounds::SoundStore;
use strowger_dialplan::{Origin, Severity};
use strowger_store::{
    DialplanLine, Finding, ImportOptions, Kind, Snapshot, StaticRow, Store, Target, Verdict,
};

/// Numbers of rows that stand for lines of files, above all that a database gives.
const LINES_FROM: i64 = 1 << 62;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Read pjsip.conf, extensions.conf and what else there is of an Asterisk's configuration folder.
    Asterisk {
        /// The folder, /etc/asterisk or a copy of it.
        dir: PathBuf,
        /// Where everything goes that may go to either; otherwise each kind of object where it is usually looked for.
        #[arg(long, value_name = "PLACE")]
        into: Option<Into>,
        /// Change nothing, only report.
        #[arg(long)]
        dry_run: bool,
        /// What the files say wins over rows that others wrote or changed.
        #[arg(long)]
        replace: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Into {
    /// Sections of files, in the static tables.
    Static,
    /// Rows of the realtime tables.
    Realtime,
}

pub(crate) async fn run(config: &Config, command: Command) -> anyhow::Result<ExitCode> {
    let Command::Asterisk {
        dir,
        into,
        dry_run,
        replace,
    } = command;
    let store = crate::open_store(config).await?;
    if !dry_run && store.kind() == Kind::Sqlite {
        for problem in store.migrate().await? {
            println!("{problem}");
        }
    }
    let scripts = config.data.0.join(&config.dialplan.lua);
    let options = ImportOptions {
        into: into.map(|into| match into {
            Into::Static => Target::Static,
            Into::Realtime => Target::Realtime,
        }),
        dry_run,
        replace,
        scripts: scripts.clone(),
    };
    let (mut report, lines) = strowger_store::import_asterisk(&store, &dir, &options)
        .await
        .with_context(|| format!("import of {}", dir.display()))?;
    let scripts = if dry_run { dir } else { scripts };
    report.extend(faults(config, &store, lines, &scripts).await);
    print!("{report}");
    if dry_run {
        println!("a dry run: the database is as it was");
    }
    Ok(match report.count(Verdict::Failed) {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// What is wrong with the lines of the dialplan, as `strowger check` would say it, with their places in the files.
async fn faults(
    config: &Config,
    store: &Store,
    lines: Vec<DialplanLine>,
    scripts: &std::path::Path,
) -> Vec<Finding> {
    // In a dry run tables may be missing; then there is only what the files say.
    let mut snapshot = match store.load().await {
        Ok((snapshot, _)) => snapshot,
        Err(_) => Snapshot::default(),
    };
    let sections = lines.iter().map(|line| (line.conf, line.context.as_str()));
    let sections: HashSet<(&str, &str)> = sections.collect();
    let written = |file: &str, section: &str| sections.contains(&(file, section));
    let mut statics: Vec<StaticRow> = snapshot.statics.iter().cloned().collect();
    statics.retain(|row| !written(&row.filename, &row.category));
    let from_lines = lines.iter().enumerate();
    statics.extend(from_lines.map(|(number, line)| StaticRow {
        id: LINES_FROM + i64::try_from(number).unwrap_or(0),
        filename: line.conf.to_owned(),
        category: line.context.clone(),
        var_name: line.name.clone(),
        var_val: line.value.clone(),
        ..StaticRow::default()
    }));
    snapshot.statics = Arc::new(statics);
    let mut rows: Vec<_> = snapshot.extensions.iter().cloned().collect();
    rows.retain(|row| !written("extensions.conf", &row.context));
    snapshot.extensions = Arc::new(rows);
    let sounds = SoundStore::new(
        config.data.0.join("sounds"),
        tokio::runtime::Handle::current(),
    );
    let scripts = strowger_scripting::Scripts::read(scripts);
    let problems = strowger_scripting::check(&snapshot, &scripts, &sounds);
    let of_lines = problems.into_iter().filter_map(|problem| {
        let Some(Origin::Static(id)) = problem.origin else {
            return None;
        };
        let line = lines.get(usize::try_from(id - LINES_FROM).ok()?)?;
        Some(Finding {
            file: line.file.clone(),
            line: line.line,
            last: line.line,
            verdict: match problem.severity {
                Severity::Error => Verdict::Decision,
                Severity::Warning => Verdict::NoEquivalent,
            },
            what: format!("{}; {}", problem.what, problem.hint),
        })
    });
    of_lines.collect()
}
