//! `strowger dialplan test`: calls of a file of tests go through the dialplan, with nobody in them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use strowger_core::Config;
use strowger_scripting::rehearsal::{Failure, Tests};
use strowger_store::Snapshot;

/// The folder of what a test writes; it goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new(number: usize) -> anyhow::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| anyhow!("no random numbers: {error}"))?;
        let name = format!("strowger-test-{:016x}-{number}", u64::from_ne_bytes(random));
        let path = std::env::temp_dir().join(name);
        strowger_core::shared::create_private(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `show`: how each call went is told, and not only of those that went another way.
pub(crate) async fn run(
    config: &Config,
    files: &[PathBuf],
    show: bool,
) -> anyhow::Result<ExitCode> {
    let mut database = None;
    let (mut count, mut failed) = (0, 0);
    for file in files {
        let shown = file.display();
        let text = std::fs::read_to_string(file).with_context(|| shown.to_string())?;
        let tests = Tests::parse(&text).map_err(|error| anyhow!("{shown}: {error}"))?;
        // A file with rows of its own needs no database.
        let snapshot = if tests.has_rows() {
            Snapshot::default()
        } else {
            match &database {
                Some(known) => Snapshot::clone(known),
                None => {
                    let store = crate::open_store(config).await?;
                    database.insert(store.load().await?.0).clone()
                }
            }
        };
        for (number, test) in tests.tests.iter().enumerate() {
            let folder = Folder::new(number)?;
            let held = tokio::task::block_in_place(|| {
                let stage = tests.stage(config, &snapshot, &folder.0)?;
                test.run(&stage)
            });
            count += 1;
            let (failure, story) =
                held.map_err(|error| anyhow!("{shown}:{}: {}: {error}", test.line, test.name))?;
            match &failure {
                None => println!("ok    {}", test.name),
                Some(failure) => {
                    failed += 1;
                    tell(file, test.line, &test.name, failure);
                }
            }
            if show || failure.is_some() {
                println!("      the call went:");
                for line in story.lines() {
                    println!("        {line}");
                }
            }
        }
    }
    println!("{count} tests, {failed} failed");
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn tell(file: &Path, line: usize, name: &str, failure: &Failure) {
    let file = file.display();
    println!("FAIL  {name}  ({file}:{line})");
    for (line, text) in &failure.findings {
        println!("      {file}:{line}: {text}");
    }
}
