//! How the server is configured: one struct for each concern, each a set of command-line flags that are also
//! environment variables (`--max-upload` is `KEGD_MAX_UPLOAD`). A flag wins over its variable.

mod child;
mod limits;
mod log;
mod server;
mod size;
mod worker;

pub use child::{ChildConfig, SandboxMode};
pub use limits::LimitsConfig;
pub use log::{LogConfig, LogFormat};
pub use server::{ServerConfig, StorageConfig};
pub use size::ByteSize;
pub use worker::WorkerConfig;
