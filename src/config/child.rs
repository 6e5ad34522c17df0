//! What children may do and use: the processes that read uploads and run libtorch.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{ByteSize, server::seconds};

#[derive(Args, Clone, Debug)]
pub struct ChildConfig {
    /// How the processes that read uploads are kept from the rest of this machine.
    ///
    /// `auto`: by everything that the kernel offers (Landlock for files, seccomp for system calls); what it lacks is said at
    /// the start and in /readyz?verbose, and the service goes on without it. `require`: the service does not start where the kernel
    /// lacks either of them, and a run that cannot be isolated fails. `off`: an upload that takes over its process can do
    /// whatever this service can: read its database and files, reach the network, start programs. Only for finding faults.
    #[arg(long, env = "KEGD_SANDBOX", value_name = "MODE", default_value = "auto")]
    pub sandbox: SandboxMode,

    /// Memory that one such process may use: 4GiB, 512MiB. Default: four fifths of the machine's, or of the container's,
    /// divided by the runs at once.
    ///
    /// A run that needs more fails with `out_of_memory`. Too high, and the kernel ends runs when the machine has nothing left.
    /// Memory of a GPU is not counted.
    #[arg(long, env = "KEGD_CHILD_MEMORY", value_name = "SIZE")]
    pub child_memory: Option<ByteSize>,

    /// Disk that one run may use in its directory, its inputs among it; a run that needs more fails with `disk_full`.
    #[arg(long, env = "KEGD_CHILD_DISK", value_name = "SIZE", default_value = "16GiB")]
    pub child_disk: ByteSize,

    /// Run TorchScript modules whose operators kegd does not know, so that they can teach a student of their user's own.
    ///
    /// Such a module is code, and runs in libtorch's interpreter, inside the sandbox of the run; every other model is only read.
    /// Default: for a service that listens to this machine alone, and not for `kegd work`. Behind a proxy that others reach, say
    /// `false`.
    #[arg(long, env = "KEGD_RUN_MODULES", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", value_parser = clap::builder::BoolishValueParser::new())]
    pub run_modules: Option<bool>,

    /// How long a run may stand still (no step, no loss, no file) before its process is ended and it is tried again, in seconds.
    ///
    /// Too short, and a huge model that is decomposed for minutes never gets past that.
    #[arg(long, env = "KEGD_STALL_TIMEOUT", value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    pub stall_timeout: Duration,
}

/// See [`ChildConfig::sandbox`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SandboxMode {
    #[default]
    Auto,
    Require,
    Off,
}

impl SandboxMode {
    /// As it is written in flags and variables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Require => "require",
            Self::Off => "off",
        }
    }
}
