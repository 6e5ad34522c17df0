//! `kegd serve`: the HTTP service and, unless told otherwise, one worker.

use std::{io::Write, path::PathBuf};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    api::{self, App, Helper, Parts},
    artifacts::Artifacts,
    clock::Clock,
    config::{LimitsConfig, LogConfig, ServerConfig, StorageConfig, WorkerConfig},
    shutdown,
    store::Store,
    telemetry,
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
    limits: LimitsConfig,
    /// Take jobs, but run none: for a service whose workers are processes of their own (`kegd work`).
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
        let Data { store, artifacts, scratch } = Data::open(&self.storage).await?;
        let listener = TcpListener::bind(self.server.listen)
            .await
            .with_context(|| format!("cannot listen on {}; --listen chooses another address", self.server.listen))?;
        let helper = Helper::new(std::env::current_exe()?, &self.limits);
        let parts = Parts {
            store: store.clone(),
            artifacts,
            limits: self.limits,
            helper,
            scratch,
            traffic: Default::default(),
        };
        let address = listener.local_addr()?;
        tracing::info!(%address, "listening");
        // For scripts: the only line on standard output, and only once requests are answered.
        writeln!(std::io::stdout(), "kegd listens on http://{address}")?;
        serve_until(listener, App::new(parts), stop, self.server.shutdown_grace).await?;
        store.close().await;
        Ok(())
    }
}

/// What lies under the data directory.
struct Data {
    store: Store,
    artifacts: Artifacts,
    scratch: PathBuf,
}

impl Data {
    async fn open(config: &StorageConfig) -> anyhow::Result<Self> {
        let directory = &config.data_dir;
        let scratch = directory.join("scratch");
        // What a server that was killed left there belongs to nobody.
        let _ = std::fs::remove_dir_all(&scratch);
        std::fs::create_dir_all(&scratch)
            .with_context(|| format!("--data-dir {} cannot be used", directory.display()))?;
        let store = Store::open(&directory.join("kegd.sqlite"), Clock::System)
            .await
            .with_context(|| format!("the database in {} cannot be opened", directory.display()))?;
        let artifacts = Artifacts::open(directory.join("artifacts"))?;
        artifacts.sweep(&store.job_ids().await?).await?;
        Ok(Self { store, artifacts, scratch: scratch.canonicalize()? })
    }
}

/// Serves until `stop`, and then lets requests under way finish for as long as `grace`.
async fn serve_until(
    listener: TcpListener,
    app: App,
    stop: CancellationToken,
    grace: std::time::Duration,
) -> anyhow::Result<()> {
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
