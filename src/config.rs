//! How the server is configured: one struct for each concern, each a set of command-line flags that are also
//! environment variables (`--max-upload` is `KEGD_MAX_UPLOAD`). A flag wins over its variable.

mod access;
mod child;
mod limits;
mod log;
mod retention;
mod server;
mod shutdown;
mod size;
mod span;
mod traffic;
mod worker;

pub use access::AccessConfig;
pub use child::{ChildConfig, SandboxMode};
pub use limits::LimitsConfig;
pub use log::{LogConfig, LogFormat};
pub use retention::{CollectionConfig, RetentionConfig};
pub use server::{ServerConfig, StorageConfig};
pub use shutdown::ShutdownConfig;
pub use size::ByteSize;
pub use span::Span;
pub use traffic::TrafficConfig;
pub use worker::WorkerConfig;
