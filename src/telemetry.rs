//! Logs: `tracing` events to standard error, as text or as JSON lines. Standard output belongs to results.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// Installs the process's logger.
///
/// # Errors
/// Where the filter cannot be read, or a logger is already installed.
pub fn init(config: &LogConfig) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.filter)
        .with_context(|| format!("--log: `{}` is no filter; write for example info,sqlx=warn", config.filter))?;
    let logger = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = match config.format {
        LogFormat::Text => logger.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => logger.json().flatten_event(true).try_init(),
    };
    installed.map_err(|error| anyhow::anyhow!("the logger cannot be installed: {error}"))
}
