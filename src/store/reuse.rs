//! What of a job another job can use again: its trained generators, and what they make.

use std::collections::BTreeMap;

use super::{Job, SampleRow, Store, StoreError, Tx};
use crate::domain::{
    artifact::{Artifact, Role},
    ids::JobId,
    problem::Problem,
    reuse,
    task::{TaskKind, TaskStatus},
};

/// A file of another job that a job begins with, and its index row where it holds samples.
#[derive(Clone, Debug)]
pub struct Reused {
    pub artifact: Artifact,
    pub sample: Option<SampleRow>,
}

impl Store {
    /// All generators of `source`, with the newest samples of each.
    ///
    /// # Errors
    /// `invalid_config` where it has not finished, or not all of its generators are there; the database fails.
    pub async fn generators_to_share(&self, source: &Job) -> Result<Vec<Reused>, StoreError> {
        let artifacts: Vec<Artifact> = self.artifacts(source.id).await?.into_iter().map(|row| row.artifact).collect();
        let generators = artifacts.iter().filter(|file| file.role == Role::Generator);
        let mut shared: Vec<Reused> = generators.map(|file| Reused { artifact: file.clone(), sample: None }).collect();
        let trained = self
            .tasks(source.id)
            .await?
            .iter()
            .all(|task| !matches!(task.kind, TaskKind::Extract { .. }) || task.status == TaskStatus::Succeeded);
        check(source, shared.len(), trained)?;
        let mut newest: BTreeMap<u32, SampleRow> = BTreeMap::new();
        // Rows ascend by epoch, so the last one of each generator stays.
        for row in self.samples(source.id).await? {
            newest.insert(row.generator, row);
        }
        for sample in newest.into_values() {
            let file = artifacts.iter().find(|file| file.name == sample.artifact).cloned();
            shared.extend(file.map(|artifact| Reused { artifact, sample: Some(sample) }));
        }
        Ok(shared)
    }
}

fn check(source: &Job, generators: usize, trained: bool) -> Result<(), Problem> {
    let id = source.id;
    if !source.status.is_final() {
        let why = format!("job {id} is {}; only the generators of a finished job can be used", source.status);
        return Err(reuse::refused(why).hint("Wait until it has finished: GET /jobs/{id}?wait=60."));
    }
    let all = source.settings.extraction.generators;
    if trained && generators == all as usize {
        return Ok(());
    }
    let why = format!("job {id} has {generators} of its {all} generators");
    Err(reuse::refused(why).hint("Let it go on from its checkpoint (POST /jobs/{id}/retry), or leave `from_job` out."))
}

impl Tx {
    /// Keeps the rows of files that a job begins with.
    pub(super) async fn insert_reused(&mut self, job: JobId, reused: &[Reused]) -> Result<(), StoreError> {
        for Reused { artifact, sample } in reused {
            self.insert_upload(job, artifact).await?;
            if let Some(sample) = sample {
                self.put_sample(job, sample).await?;
            }
        }
        Ok(())
    }
}
