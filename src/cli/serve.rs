//! `kegd serve`: the HTTP service and, unless told otherwise, one worker.

use std::{io::Write, net::SocketAddr, time::Duration};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::data::Data;
use crate::{
    api::{self, App, Disk, Gates, Helper, Hosts, Parts, Traffic},
    config::{
        AccessConfig, ByteSize, ChildConfig, CollectionConfig, LimitsConfig, LogConfig, RetentionConfig, ServerConfig,
        ShutdownConfig, StorageConfig, TrafficConfig, WorkerConfig,
    },
    queue::{Queue, QueueConfig},
    retention,
    sandbox::{Support, Terms},
    shutdown, telemetry, worker,
};

/// Start the HTTP service.
///
/// It prints its address once it is ready. SIGTERM or Ctrl-C stops it: requests under way are finished, and what runs writes a
/// checkpoint, from which the next start goes on.
#[derive(clap::Args, Debug)]
pub struct Serve {
    #[command(flatten)]
    server: ServerConfig,
    #[command(flatten)]
    shutdown: ShutdownConfig,
    #[command(flatten)]
    access: AccessConfig,
    #[command(flatten)]
    traffic: TrafficConfig,
    #[command(flatten)]
    storage: StorageConfig,
    #[command(flatten)]
    retention: RetentionConfig,
    #[command(flatten)]
    collection: CollectionConfig,
    #[command(flatten)]
    limits: LimitsConfig,
    /// Take jobs, but run none: for a service whose worker is a process of its own (`kegd work`).
    #[arg(long, env = "KEGD_NO_WORKER", value_parser = clap::builder::BoolishValueParser::new())]
    no_worker: bool,
    #[command(flatten)]
    worker: WorkerConfig,
    #[command(flatten)]
    child: ChildConfig,
    #[command(flatten)]
    log: LogConfig,
}

impl Serve {
    pub fn run(self) -> anyhow::Result<()> {
        telemetry::init(&self.log)?;
        tokio::runtime::Runtime::new()?.block_on(self.serve())
    }

    async fn serve(mut self) -> anyhow::Result<()> {
        raise_file_limit();
        self.child.run_modules.get_or_insert(self.server.listen.ip().to_canonical().is_loopback());
        let stop = shutdown::on_signal()?;
        Support::of_kernel().announce(self.child.sandbox)?;
        let (data, _owned) = Data::owned(&self.storage).await?;
        admit(self.server.listen, &self.access, data.store.has_keys().await?)?;
        let scratch = data.clean().await?;
        let listener = TcpListener::bind(self.server.listen)
            .await
            .with_context(|| format!("cannot listen on {}; --listen chooses another address", self.server.listen))?;
        let address = listener.local_addr()?;
        let terms = Terms::new(&self.child, usize::from(self.worker.slots));
        let helper = Helper::new(std::env::current_exe()?, &self.limits).on(terms);
        let collector = data.collector(&self.retention);
        let collecting = retention::run(collector.clone(), self.collection.gc_interval.0, stop.clone());
        let app = App::new(Parts {
            store: data.store.clone(),
            artifacts: data.artifacts.clone(),
            collector,
            disk: Disk::new(scratch.clone(), self.limits.min_free_disk),
            hosts: Hosts::new(&self.access),
            gates: Gates::new(&self.traffic),
            limits: self.limits,
            helper,
            scratch,
            traffic: Traffic::default(),
            stop: stop.clone(),
        });
        let working = async {
            match self.no_worker {
                true => {
                    let queue = Queue::new(data.store.clone(), QueueConfig::default());
                    stop.run_until_cancelled(worker::reap(queue, None)).await;
                    Ok(())
                }
                false => work_until((&self.worker, &self.child), &self.shutdown, &data, stop.clone()).await,
            }
        };
        let guarding = guard(&data, &stop);
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
        let serving = api::serve(listener, api::router(app), &self.traffic, stop.clone());
        let serving = until_grace(serving, &stop, self.shutdown.shutdown_grace);
        let (served, worked, guarded, ()) = tokio::join!(
            async { ends(serving.await).await },
            async { ends(working.await).await },
            async { ends(guarding.await).await },
            collecting
        );
        data.store.close().await;
        guarded.and(served).and(worked)
    }
}

/// Fails once the data are gone; until `stop`.
pub async fn guard(data: &Data, stop: &CancellationToken) -> anyhow::Result<()> {
    match stop.run_until_cancelled(data.gone()).await {
        Some(gone) => Err(gone),
        None => Ok(()),
    }
}

/// Works until `stop`, and then until what runs has left.
pub async fn work_until(
    (config, child): (&WorkerConfig, &ChildConfig),
    ShutdownConfig { shutdown_grace }: &ShutdownConfig,
    data: &Data,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut own = worker::WorkerConfig::new(&data.directory)?;
    own.slots = worker::slots(&own.program, &config.devices, config.slots).await?;
    own.terms = Terms::new(child, own.slots.len());
    own.stall = child.stall_timeout;
    tracing::info!(memory = %ByteSize(own.terms.memory >> 20 << 20), "each run may use");
    own.checkpoint_every = config.checkpoint_every;
    own.drain = worker::Grace::within(*shutdown_grace);
    let queue = Queue::new(data.store.clone(), QueueConfig::default());
    let stopped = stop.clone();
    tokio::select! {
        worked = worker::run(own, queue, data.artifacts.clone(), stop) => Ok(worked?),
        () = async { stopped.cancelled().await; tokio::time::sleep(*shutdown_grace).await } => {
            // Children end with us, and the worker's next life takes their tasks back.
            tracing::warn!("runs still under way are cut off");
            Ok(())
        }
    }
}

/// Serves until `stop`, and then lets requests under way finish for as long as `grace`.
async fn until_grace(
    serving: impl Future<Output = std::io::Result<()>>,
    stop: &CancellationToken,
    grace: Duration,
) -> anyhow::Result<()> {
    tokio::select! {
        served = serving => Ok(served?),
        () = async { stop.cancelled().await; tokio::time::sleep(grace).await } => {
            tracing::warn!("requests still under way are cut off");
            Ok(())
        }
    }
}

/// Refuses to open the service to everybody unless that was asked for.
fn admit(listen: SocketAddr, access: &AccessConfig, has_keys: bool) -> anyhow::Result<()> {
    if has_keys || access.allow_anonymous || listen.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    anyhow::bail!(
        "--listen {listen} can be reached from other machines, and there is no API key: whoever reaches it could read and \
         delete everybody's jobs.\n\
         Either make a key first: kegd keys create --name NAME --scope admin, with the same --data-dir.\n\
         Or allow that, in a network that you trust: --allow-anonymous (KEGD_ALLOW_ANONYMOUS=true)."
    )
}

/// As many open files as the system allows us: each connection takes one, and downloads and children take more.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::debug!(%error, "the limit of open files stays");
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("127.0.0.1:8080", false, false, true)]
    #[case("127.9.9.9:1", false, false, true)]
    #[case("[::1]:8080", false, false, true)]
    #[case("[::ffff:127.0.0.1]:8080", false, false, true)]
    #[case("0.0.0.0:8080", false, false, false)]
    #[case("[::]:8080", false, false, false)]
    #[case("192.168.1.5:8080", false, false, false)]
    #[case("0.0.0.0:8080", true, false, true)]
    #[case("0.0.0.0:8080", false, true, true)]
    fn who_may_be_served(
        #[case] listen: SocketAddr,
        #[case] allow_anonymous: bool,
        #[case] has_keys: bool,
        #[case] starts: bool,
    ) {
        let access = AccessConfig { allow_anonymous, ..AccessConfig::default() };
        assert_eq!(admit(listen, &access, has_keys).is_ok(), starts);
    }
}
