//! What one request, and all of them together, may use.

use std::time::Duration;

use clap::Args;

use super::{ByteSize, server::seconds};

#[derive(Args, Clone, Debug)]
pub struct LimitsConfig {
    /// Largest upload (all parts of one request together); larger ones get 413.
    ///
    /// Uploads go to disk as they come, so this bounds disk space, not memory. Whoever runs the job needs memory for the model, though.
    #[arg(long, env = "KEGD_MAX_UPLOAD", value_name = "SIZE", default_value = "1GiB")]
    pub max_upload: ByteSize,

    /// Most jobs that may wait or run at once; beyond it a new one gets 429.
    #[arg(long, env = "KEGD_MAX_QUEUE", value_name = "JOBS", default_value_t = 100)]
    pub max_queue: u64,

    /// Disk space that uploads must leave free; below it a new job gets 507.
    ///
    /// A job writes samples and checkpoints while it runs; a full disk fails every job at once.
    #[arg(long, env = "KEGD_MIN_FREE_DISK", value_name = "SIZE", default_value = "512MiB")]
    pub min_free_disk: ByteSize,

    /// Longest that `POST /inspect` or a latent picture may take, in seconds, before its process is ended.
    #[arg(long, env = "KEGD_HELPER_TIMEOUT", value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub helper_timeout: Duration,

    /// Most such processes at once; further requests wait.
    ///
    /// Each holds a model in memory and takes CPU time from the jobs.
    #[arg(long, env = "KEGD_HELPERS", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub helpers: u8,
}
