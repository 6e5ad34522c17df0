//! Logs: `tracing` events to standard error, as text or as JSON lines. Standard output belongs to results.

mod json;

use std::io::IsTerminal;

use anyhow::Context;
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter,
    fmt::{MakeWriter, format::JsonFields},
    util::SubscriberInitExt,
};

use crate::config::{LogConfig, LogFormat};

/// Installs the process's logger. Where whoever reads the log goes away, the lines are lost and nothing else: told of that on
/// standard error too, as loggers do by default, the process would panic wherever it has something to say.
///
/// # Errors
/// Where the filter cannot be read, or a logger is already installed.
pub fn init(config: &LogConfig) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.filter)
        .with_context(|| format!("--log: `{}` is no filter; write for example info,sqlx=warn", config.filter))?;
    let installed = match config.format {
        LogFormat::Text => {
            let logger = tracing_subscriber::fmt().log_internal_errors(false).with_env_filter(filter);
            let logger = logger.with_writer(std::io::stderr);
            logger.with_ansi(std::io::stderr().is_terminal()).finish().try_init()
        }
        LogFormat::Json => json_lines(filter, std::io::stderr).try_init(),
    };
    installed.map_err(|error| anyhow::anyhow!("the logger cannot be installed: {error}"))
}

/// A logger that writes JSON lines to `writer`.
pub fn json_lines<W>(filter: EnvFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .log_internal_errors(false)
        .fmt_fields(JsonFields::new())
        .event_format(json::Lines)
        .with_env_filter(filter)
        .with_writer(writer)
        .finish()
}
