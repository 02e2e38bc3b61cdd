//! Logs go to stderr, as text or JSON, through a thread of their own: a reader that stalls must not stop calls. When
//! that thread falls behind, lines are lost and counted.

use std::sync::OnceLock;

use anyhow::anyhow;
use strowger_core::config::{Log, LogFormat};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

static LOST: OnceLock<ErrorCounter> = OnceLock::new();

/// Installs the subscriber; a wrong filter is an error that names it. The guard writes the last lines when dropped.
pub(crate) fn init(config: &Log) -> anyhow::Result<WorkerGuard> {
    let filter = EnvFilter::try_new(&config.level)
        .map_err(|error| anyhow!("configuration key log.level: \"{}\": {error}", config.level))?;
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .finish(std::io::stderr());
    let _ = LOST.set(writer.error_counter());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    match config.format {
        LogFormat::Text => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(guard)
}

/// Lines lost so far.
pub(crate) fn lost_lines() -> u64 {
    LOST.get()
        .map_or(0, |counter| counter.dropped_lines() as u64)
}
