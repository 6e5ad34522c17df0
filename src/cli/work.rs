//! `kegd work`: a worker without the HTTP service.

use super::{data::Data, serve::work_until};
use crate::{
    config::{LogConfig, ShutdownConfig, StorageConfig, WorkerConfig},
    shutdown, telemetry,
};

/// Run jobs that a `kegd serve --no-worker` with the same data directory takes.
///
/// SIGTERM or Ctrl-C stops it: what runs writes a checkpoint and is given back to the queue.
#[derive(clap::Args, Debug)]
pub struct Work {
    #[command(flatten)]
    storage: StorageConfig,
    #[command(flatten)]
    worker: WorkerConfig,
    #[command(flatten)]
    shutdown: ShutdownConfig,
    #[command(flatten)]
    log: LogConfig,
}

impl Work {
    pub fn run(self) -> anyhow::Result<()> {
        telemetry::init(&self.log)?;
        tokio::runtime::Runtime::new()?.block_on(async {
            let stop = shutdown::on_signal()?;
            let data = Data::open(&self.storage).await?;
            work_until(&self.worker, &self.shutdown, &data, stop).await?;
            data.store.close().await;
            Ok(())
        })
    }
}
