//! A lease that is renewed while something takes long.

use std::convert::Infallible;

use super::Shop;
use crate::queue::{Beat, Claim};

/// Does `work`, and renews the lease meanwhile: to copy gigabytes on a slow disk takes longer than one lasts. A lease that
/// is lost for all that shows at the next write.
pub(super) async fn held<T>(shop: &Shop, claim: &Claim, work: impl Future<Output = T>) -> T {
    tokio::select! {
        done = work => done,
        never = renew(shop, claim) => match never {},
    }
}

async fn renew(shop: &Shop, claim: &Claim) -> Infallible {
    loop {
        tokio::time::sleep(shop.queue.config().lease / 4).await;
        if let Err(error) = shop.queue.record(claim, &Beat::default()).await {
            tracing::warn!(%error, "a lease is not renewed");
        }
    }
}
