//! How patient an end is.

use std::time::Duration;

use clap::Args;

use super::server::seconds;

#[derive(Args, Clone, Debug)]
pub struct ShutdownConfig {
    /// Longest that the end may take after SIGTERM or Ctrl-C, in seconds; a second signal ends at once.
    ///
    /// Requests and downloads under way may finish within it. Runs are asked to write a checkpoint and exit, and the next start
    /// goes on from there; one that has not come to the end of an epoch by then is killed, and goes on from the checkpoint
    /// before. Give whatever stops the service (systemd's TimeoutStopSec, a container's stop_grace_period) more than this.
    #[arg(long, env = "KEGD_SHUTDOWN_GRACE", value_name = "SECONDS", default_value = "20", value_parser = seconds)]
    pub shutdown_grace: Duration,
}
