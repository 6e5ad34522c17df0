//! `kegd serve`: the HTTP service and, unless told otherwise, one worker.

use std::{io::Write, time::Duration};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::data::Data;
use crate::{
    api::{self, App, Helper, Parts, Traffic},
    config::{CollectionConfig, LimitsConfig, LogConfig, RetentionConfig, ServerConfig, StorageConfig, WorkerConfig},
    queue::{Queue, QueueConfig},
    retention, shutdown, telemetry, worker,
};

/// Start the HTTP service.
///
/// It prints its address once it is ready. SIGTERM or Ctrl-C stops it: requests under way are finished, and what runs is
/// taken up again by the next start.
#[derive(clap::Args, Debug)]
pub struct Serve {
    #[command(flatten)]
    server: ServerConfig,
    #[command(flatten)]
    storage: StorageConfig,
    #[command(flatten)]
    retention: RetentionConfig,
    #[command(flatten)]
    collection: CollectionConfig,
    #[command(flatten)]
    limits: LimitsConfig,
    /// Take jobs, but run none: for a service whose worker is a process of its own (`kegd work`).
    #[arg(long, env = "KEGD_NO_WORKER")]
    no_worker: bool,
    #[command(flatten)]
    worker: WorkerConfig,
    #[command(flatten)]
    log: LogConfig,
}

impl Serve {
    pub fn run(self) -> anyhow::Result<()> {
        telemetry::init(&self.log)?;
        tokio::runtime::Runtime::new()?.block_on(self.serve())
    }

    async fn serve(self) -> anyhow::Result<()> {
        let stop = shutdown::on_signal()?;
        let data = Data::open(&self.storage).await?;
        let scratch = data.clean().await?;
        let listener = TcpListener::bind(self.server.listen)
            .await
            .with_context(|| format!("cannot listen on {}; --listen chooses another address", self.server.listen))?;
        let address = listener.local_addr()?;
        let helper = Helper::new(std::env::current_exe()?, &self.limits);
        let collector = data.collector(&self.retention);
        let collecting = retention::run(collector.clone(), self.collection.gc_interval.0, stop.clone());
        let app = App::new(Parts {
            store: data.store.clone(),
            artifacts: data.artifacts.clone(),
            collector,
            limits: self.limits,
            helper,
            scratch,
            traffic: Traffic::default(),
            stop: stop.clone(),
        });
        let working = async {
            match self.no_worker {
                true => Ok(()),
                false => work_until(&self.worker, &data, stop.clone()).await,
            }
        };
        // Either of them failing ends the other.
        let ends = async |ended: anyhow::Result<()>| {
            if ended.is_err() {
                stop.cancel();
            }
            ended
        };
        tracing::info!(%address, "listening");
        // For scripts: the only line on standard output. The socket takes connections already.
        writeln!(std::io::stdout(), "kegd listens on http://{address}")?;
        let serving = serve_until(listener, app, stop.clone(), self.server.shutdown_grace);
        let (served, worked, ()) =
            tokio::join!(async { ends(serving.await).await }, async { ends(working.await).await }, collecting);
        data.store.close().await;
        served.and(worked)
    }
}

/// Works until `stop`.
pub async fn work_until(config: &WorkerConfig, data: &Data, stop: CancellationToken) -> anyhow::Result<()> {
    let mut own = worker::WorkerConfig::new(&data.directory)?;
    own.slots = worker::slots(&own.program, &config.devices, config.slots).await?;
    let queue = Queue::new(data.store.clone(), QueueConfig::default());
    Ok(worker::run(own, queue, data.artifacts.clone(), stop).await?)
}

/// Serves until `stop`, and then lets requests under way finish for as long as `grace`.
async fn serve_until(listener: TcpListener, app: App, stop: CancellationToken, grace: Duration) -> anyhow::Result<()> {
    let stopped = stop.clone();
    let server = axum::serve(listener, api::router(app)).with_graceful_shutdown(stop.cancelled_owned());
    tokio::select! {
        served = server => Ok(served?),
        () = async { stopped.cancelled().await; tokio::time::sleep(grace).await } => {
            tracing::warn!("requests still under way are cut off");
            Ok(())
        }
    }
}
