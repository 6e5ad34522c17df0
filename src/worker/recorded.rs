//! What must not be lost because the database fails for a while.

use std::time::Duration;

use super::Shop;
use crate::{queue::QueueError, store::StoreError};

const AGAIN: Duration = Duration::from_secs(1);

/// Records `what`, again and again while the database fails: that must not cost a run that goes well, and meanwhile nobody
/// else gets the task either. A worker that is told to end does not wait for it.
///
/// # Errors
/// What the queue refuses; at the worker's end, that the database failed.
pub(super) async fn recorded<T, F>(shop: &Shop, what: &str, mut record: impl FnMut() -> F) -> Result<T, QueueError>
where
    F: Future<Output = Result<T, QueueError>>,
{
    loop {
        match record().await {
            Err(QueueError::Store(error @ StoreError::Database(_))) if !shop.shutdown.is_cancelled() => {
                tracing::error!(%error, "{what} cannot be recorded; trying again");
                shop.shutdown.run_until_cancelled(tokio::time::sleep(AGAIN)).await;
            }
            done => return done,
        }
    }
}
