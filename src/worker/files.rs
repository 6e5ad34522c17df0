//! The files of a run: adopted while it runs, and what is read of them when it has ended well.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::{Shop, log::RunLog, outcome::Cause, recorded::recorded};
use crate::{
    artifacts::{AdoptError, ArtifactError, Claimed},
    domain::{
        artifact::{Artifact, FileName, Role},
        report::MOST_JSON,
        task::{Fence, TaskKind},
    },
    protocol::FileRef,
    queue::{Claim, Hold, Product, QueueError},
    store::{SampleRow, StoreError},
};

/// The generator and epoch of a file of samples.
#[derive(Clone, Copy, Debug)]
pub(super) struct SampleOf {
    pub(super) generator: u32,
    pub(super) epoch: u32,
    pub(super) count: u64,
}

/// Keeps a file that the child announced.
pub(super) async fn adopt(
    shop: &Shop,
    claim: &Claim,
    directory: &Path,
    (file, role, sample): (FileRef, Role, Option<SampleOf>),
) -> Result<(Artifact, Hold), Cause> {
    let FileRef { name, bytes, sha256 } = file;
    if !role.is_made_by_runs() {
        return Err(Cause::Misbehaved(format!("`{}` is said to be a {}, which no run makes", name, role.name())));
    }
    let name: FileName = name.parse().map_err(|error| Cause::Misbehaved(format!("{error}")))?;
    let claimed = Claimed { name, role, bytes, sha256 };
    let artifact = shop.artifacts.adopt(claim.fence(), directory, claimed).await.map_err(|error| match error {
        AdoptError::Untrue(what) => Cause::Misbehaved(what),
        AdoptError::Storage(error) => Cause::Trouble(format!("its files cannot be kept: {error}")),
    })?;
    let sample = sample.map(|SampleOf { generator, epoch, count }| SampleRow {
        artifact: artifact.name.clone(),
        generator,
        epoch,
        count,
    });
    let hold = keep(shop, claim, &artifact, sample.as_ref()).await?;
    Ok((artifact, hold))
}

/// Keeps the row of a file; without its row the file goes too.
async fn keep(shop: &Shop, claim: &Claim, file: &Artifact, sample: Option<&SampleRow>) -> Result<Hold, Cause> {
    let refused = match recorded(shop, "a file of a run", || shop.queue.keep(claim, file, sample)).await {
        Ok(hold) => return Ok(hold),
        Err(refused) => refused,
    };
    if let Err(error) = shop.artifacts.delete(file).await {
        tracing::warn!(key = file.key, %error, "a file that nothing names is left behind");
    }
    Err(match refused {
        QueueError::LeaseLost => Cause::LeaseLost,
        QueueError::NameTaken(_) => Cause::Misbehaved(refused.to_string()),
        // A number that no column can hold.
        QueueError::Store(error @ StoreError::Corrupt { .. }) => {
            Cause::Misbehaved(format!("it sent what cannot be kept: {error}"))
        }
        QueueError::Store(error) => Cause::Trouble(format!("its files cannot be recorded: {error}")),
    })
}

/// Deletes what a run that has ended leaves without a row.
pub(super) async fn tidy(shop: &Shop, run: Fence) {
    // Rows first: what is kept in between belongs to a later run.
    let tidied = async {
        let rows = shop.queue.store().artifacts(run.job).await.map_err(|error| error.to_string())?;
        let named = rows.into_iter().map(|row| row.artifact.key).collect();
        shop.artifacts.tidy(run, named).await.map_err(|error| error.to_string())
    };
    match tidied.await {
        Ok(0) => {}
        Ok(deleted) => tracing::debug!(job = %run.job, run = run.run, deleted, "files that nothing names are gone"),
        Err(error) => tracing::warn!(job = %run.job, %error, "files that nothing names may be left behind"),
    }
}

/// What a run that ended well has found out, from the files that it made.
pub(super) async fn product(shop: &Shop, claim: &Claim, made: &[Artifact]) -> Result<Product, Cause> {
    Ok(match claim.kind() {
        TaskKind::Inspect => Product::Inspected(Box::new(read(shop, made, Role::Inspection).await?)),
        TaskKind::Extract { .. } if made.iter().any(|file| file.role == Role::Generator) => Product::Extracted,
        TaskKind::Extract { .. } => return Err(missing(Role::Generator)),
        TaskKind::Distill { .. } if made.iter().any(|file| file.role == Role::Student) => {
            Product::Distilled(Box::new(read(shop, made, Role::Report).await?))
        }
        TaskKind::Distill { .. } => return Err(missing(Role::Student)),
    })
}

fn missing(role: Role) -> Cause {
    Cause::Misbehaved(format!("it said that it was done, but left no {}", role.name()))
}

async fn read<T: DeserializeOwned>(shop: &Shop, made: &[Artifact], role: Role) -> Result<T, Cause> {
    let file = made.iter().rfind(|file| file.role == role).ok_or_else(|| missing(role))?;
    let json = shop.artifacts.read_whole(file, MOST_JSON).await;
    let json = json.map_err(|error| match error {
        ArtifactError::TooLarge { .. } => Cause::Misbehaved(error.to_string()),
        error => Cause::Trouble(format!("what it found out cannot be read: {error}")),
    })?;
    serde_json::from_slice(&json)
        .map_err(|error| Cause::Misbehaved(format!("`{}` is not as agreed: {error}", file.name)))
}

/// Keeps what a run printed, however it ended: under the names of its task and its number.
pub(super) async fn keep_log(shop: &Shop, claim: &Claim, log: &RunLog) -> Result<(), Cause> {
    let unkept = |error: &dyn std::fmt::Display| Cause::Trouble(format!("its log cannot be kept: {error}"));
    let (task, run) = (claim.kind().label(&claim.settings), claim.fence().run);
    let name = format!("log-{task}-run{run}.txt").parse().map_err(|error| unkept(&error))?;
    let kept = shop.artifacts.put_for_run(claim.fence(), name, Role::Log, log.content().into()).await;
    let kept = kept.map_err(|error| unkept(&error))?;
    keep(shop, claim, &kept, None).await.map(drop)
}
