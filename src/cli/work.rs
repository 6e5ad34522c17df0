//! `kegd work`: a worker without the HTTP service.

use super::{
    data::Data,
    serve::{guard, work_until},
};
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
            let guarding = async {
                let guarded = guard(&data, &stop).await;
                stop.cancel();
                guarded
            };
            let working = async {
                let worked = work_until((&self.worker, &self.child), &self.shutdown, &data, stop.clone()).await;
                stop.cancel();
                worked
            };
            let (guarded, worked) = tokio::join!(guarding, working);
            data.store.close().await;
            guarded.and(worked)
        })
    }
}
