//! `kegd work`: a worker without the HTTP service.

use super::{data::Data, serve::work_until};
use crate::{
    config::{ChildConfig, LogConfig, ShutdownConfig, StorageConfig, WorkerConfig},
    sandbox::Support,
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
    child: ChildConfig,
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
            Support::of_kernel().announce(self.child.sandbox)?;
            let data = Data::open(&self.storage).await?;
            work_until((&self.worker, &self.child), &self.shutdown, &data, stop).await?;
            data.store.close().await;
            Ok(())
        })
    }
}
