//! Where the server listens and where it keeps what it keeps.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;

#[derive(Args, Clone, Debug)]
pub struct ServerConfig {
    /// Address and port to listen on; port 0 picks a free one, which is printed once the service is ready.
    ///
    /// On an address of this machine alone (127.0.0.1, the default) no key is asked for until one exists. Beyond it
    /// (0.0.0.0) the service starts only where a key exists (`kegd keys create`), or with --allow-anonymous. It speaks
    /// plain HTTP: keys and models can be read on their way unless a proxy with TLS stands in front.
    #[arg(long, env = "KEGD_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
}

#[derive(Args, Clone, Debug)]
pub struct StorageConfig {
    /// Folder for the database, the uploads and the results; made if it is not there.
    ///
    /// Two servers must not share one. Delete it, and every job is gone.
    #[arg(long, env = "KEGD_DATA_DIR", value_name = "DIR", default_value = "./kegd-data")]
    pub data_dir: PathBuf,
}

/// A number of seconds, whole or not.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let value: f64 = text.parse().map_err(|_| format!("`{text}` is no number of seconds"))?;
    Duration::try_from_secs_f64(value).map_err(|error| format!("`{text}`: {error}"))
}
