//! What a worker offers for runs.

use std::time::Duration;

use clap::Args;

use super::server::seconds;

#[derive(Args, Clone, Debug)]
pub struct WorkerConfig {
    /// Devices to run on, comma-separated: `cpu`, `cuda:0`, …; `auto` takes every GPU that is there, and the CPU otherwise.
    ///
    /// A GPU that is named several times runs as many tasks at once: small networks leave a large GPU idle most of the time.
    #[arg(long, env = "KEGD_DEVICES", value_name = "LIST", default_value = "auto", value_delimiter = ',')]
    pub devices: Vec<String>,

    /// Runs at once on the CPU; each gets an equal share of the cores.
    ///
    /// More than one makes a single job with several generators finish sooner only where there are cores to share: two runs
    /// on the same core slow each other down many times over.
    #[arg(long, env = "KEGD_SLOTS", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub slots: u16,

    /// Least time between two checkpoints of a run, in seconds; 0 writes one after every epoch, whatever that costs.
    ///
    /// It is what a crash of a run, a worker or the machine can lose, as long as an epoch is shorter. Writing takes at most a
    /// twentieth of a run's time otherwise. A stop by SIGTERM loses nothing: runs write a checkpoint first.
    #[arg(long, env = "KEGD_CHECKPOINT_EVERY", value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub checkpoint_every: Duration,
}
