//! How the server is configured: one struct for each concern, each a set of command-line flags that are also
//! environment variables (`--max-upload` is `KEGD_MAX_UPLOAD`). A flag wins over its variable.

mod limits;
mod log;
mod server;
mod shutdown;
mod size;
mod worker;

pub use limits::LimitsConfig;
pub use log::{LogConfig, LogFormat};
pub use server::{ServerConfig, StorageConfig};
pub use shutdown::ShutdownConfig;
pub use size::ByteSize;
pub use worker::WorkerConfig;
