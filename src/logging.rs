//! Logs go to stderr, as text or JSON.

use anyhow::anyhow;
use strowger_core::config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;

/// Installs the subscriber; a wrong filter is an error that names it.
pub(crate) fn init(config: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.level)
        .map_err(|error| anyhow!("configuration key log.level: \"{}\": {error}", config.level))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match config.format {
        LogFormat::Text => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
