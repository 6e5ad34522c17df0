//! One run, from the claim to the record of its end.

use std::sync::Arc;

use tracing::Instrument;

use super::{
    Shop,
    attempt::Attempt,
    directory::RunDirectory,
    files,
    lease::held,
    outcome::{Ended, LastWord, Memory, Outcome, outcome},
    process::{Exit, Process},
    recorded::recorded,
    slot::SlotPlan,
};
use crate::{
    domain::artifact::Artifact,
    queue::{Claim, Ending},
    retention,
};

/// Runs a claimed task to its end, and records the end.
pub(super) async fn run(shop: Arc<Shop>, plan: SlotPlan, claim: Claim) {
    let (fence, kind) = (claim.fence(), claim.kind());
    // Of the highest level, because a span that the filter leaves out would take its ids along.
    let span = tracing::error_span!(
        "run", job = %fence.job, task = kind.name(), generator = kind.generator(), run = fence.run
    );
    attempt(&shop, &plan, &claim).instrument(span).await;
}

async fn attempt(shop: &Shop, plan: &SlotPlan, claim: &Claim) {
    tracing::info!(device = plan.device, "run begins");
    let directory = match held(shop, claim, RunDirectory::lay_out(shop, plan, claim)).await {
        Ok(directory) => directory,
        Err(error) => return finish(shop, claim, error.into()).await,
    };
    let (outcome, made, log) = match Process::start(shop, plan, &directory).await {
        Ok((process, events)) => {
            let log = process.log.clone();
            let (outcome, made) = Attempt::new(shop, claim, &directory, process).supervise(events).await;
            (outcome, made, log)
        }
        // Nothing was printed, and what has no log leaves none: there may be many such runs.
        Err(error) => {
            let why = Outcome::Hindered(format!("it could not be started: {error}"));
            return end(shop, claim, why, &[]).await;
        }
    };
    if matches!(outcome, Outcome::Failed(_) | Outcome::Lost(_)) {
        tracing::warn!(last_words = log.last_words(), "a run ended badly");
    }
    if outcome != Outcome::Abandoned
        && let Err(error) = files::keep_log(shop, claim, &log).await
    {
        tracing::warn!(?error, "a log is lost");
    }
    end(shop, claim, outcome, &made).await;
}

async fn end(shop: &Shop, claim: &Claim, outcome: Outcome, made: &[Artifact]) {
    if let Some(ending) = ending(shop, claim, outcome, made).await {
        finish(shop, claim, ending).await;
    }
    files::tidy(shop, claim.fence()).await;
}

/// What is recorded; nothing where the task is no longer ours.
async fn ending(shop: &Shop, claim: &Claim, end: Outcome, made: &[Artifact]) -> Option<Ending> {
    let end = match end {
        Outcome::Succeeded => match files::product(shop, claim, made).await {
            Ok(product) => return Some(Ending::Succeeded(product)),
            Err(cause) => outcome(Ended {
                cause: Some(cause),
                last_word: Some(LastWord::Done),
                checkpointed: false,
                exit: Exit::Code(0),
                memory: Memory::Fine,
            }),
        },
        end => end,
    };
    match end {
        Outcome::Succeeded | Outcome::Abandoned => None,
        Outcome::Failed(problem) => Some(Ending::Failed(problem)),
        Outcome::Canceled => Some(Ending::Canceled),
        Outcome::Interrupted => Some(Ending::Interrupted),
        Outcome::Lost(why) => Some(Ending::Lost(why)),
        Outcome::Hindered(why) => Some(Ending::Hindered(why)),
    }
}

/// Records the end. Where that cannot be done, the run is given back by the worker's next life.
async fn finish(shop: &Shop, claim: &Claim, ending: Ending) {
    if let Ending::Hindered(why) = &ending {
        tracing::error!(why, "a run cannot go on here; its task is given back, and tried again later");
    }
    match recorded(shop, "the end of a run", || shop.queue.finish(claim, ending.clone())).await {
        Ok(settled) => {
            tracing::info!(?settled, "run ended");
            bury(shop).await;
        }
        Err(error) => tracing::warn!(%error, "the end of a run is not recorded"),
    }
}

/// Deletes the files whose rows went with the end of the run: the uploads of a job that keeps none. What fails is logged,
/// and tried again by the next collection.
async fn bury(shop: &Shop) {
    if let Err(error) = retention::bury(shop.queue.store(), &shop.artifacts).await {
        tracing::error!(%error, "files of deleted rows are still there");
    }
}
