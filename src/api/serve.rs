//! The connections: how many at once, how long their heads may be and may take, and how they end.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::stall::Stalling;
use crate::config::TrafficConfig;

/// Longest request line and headers; larger ones get 431.
const MAX_HEAD: usize = 32 << 10;

/// What a connection may hold in memory in each direction: a client that does not read makes us hold this much, and then
/// its answer is not produced any further.
const MAX_BUFFER: usize = 128 << 10;

/// How long to wait where a connection could not be accepted: for want of file descriptors, mostly.
const RECOVER: Duration = Duration::from_millis(200);

/// Serves until `stop`, and then until the requests under way are answered.
///
/// # Errors
/// None as yet: a connection that cannot be accepted is logged, and the next one is waited for.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: &TrafficConfig,
    stop: CancellationToken,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(config.max_connections as usize));
    let connections = TaskTracker::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_header_size(MAX_HEAD)
        .max_buf_size(MAX_BUFFER);
    while let Some(Some((place, stream))) = stop.run_until_cancelled(accept(&listener, &places)).await {
        let connection = Connection { http: http.clone(), router: router.clone(), idle: config.idle_timeout, place };
        connections.spawn(connection.run(stream, stop.clone()));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
    Ok(())
}

/// The next connection, once there is a place for it. Until then it waits in the kernel's queue, where it costs us nothing.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<(OwnedSemaphorePermit, TcpStream)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Some((place, stream)),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(RECOVER).await;
            }
        }
    }
}

struct Connection {
    http: http1::Builder,
    router: Router,
    idle: Duration,
    /// Free again when the connection is closed.
    place: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(self, stream: TcpStream, stop: CancellationToken) {
        // Answers are written whole: waiting for more to send along would only delay them.
        let _ = stream.set_nodelay(true);
        let io = TokioIo::new(Stalling::new(stream, self.idle));
        let mut connection = std::pin::pin!(self.http.serve_connection(io, TowerToHyperService::new(self.router)));
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, "a connection broke off");
        }
        drop(self.place);
    }
}
