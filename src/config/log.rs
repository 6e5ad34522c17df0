//! What is logged, and how.

use clap::{Args, ValueEnum};

#[derive(Args, Clone, Debug)]
pub struct LogConfig {
    /// What to log, as `level` or `target=level`, comma-separated: `info`, `kegd=debug,sqlx=warn`.
    #[arg(long = "log", env = "KEGD_LOG", value_name = "FILTER", default_value = "info,sqlx=warn")]
    pub filter: String,

    /// `text` for people, `json` for machines: one object a line, on standard error.
    #[arg(long = "log-format", env = "KEGD_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}
