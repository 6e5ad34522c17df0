//! What a worker offers for runs.

use clap::Args;

#[derive(Args, Clone, Debug)]
pub struct WorkerConfig {
    /// Devices to run on, comma-separated: `cpu`, `cuda:0`, …; `auto` takes every GPU that is there, and the CPU otherwise.
    #[arg(long, env = "KEGD_DEVICES", value_name = "LIST", default_value = "auto", value_delimiter = ',')]
    pub devices: Vec<String>,

    /// Runs at once on the CPU; each gets an equal share of the cores.
    ///
    /// More than one makes a single job with several generators finish sooner only where there are cores to share: two runs
    /// on the same core slow each other down many times over.
    #[arg(long, env = "KEGD_SLOTS", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub slots: u16,
}
