//! Generators that the students of one teacher, approach and seed share: trained once, kept beside the results.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    cell::Place,
    machine::Machine,
    plan::Config,
    runner::{Failure, Runner, Subject},
};
use crate::domain::config;

/// Trained generators, and what they cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shared {
    teacher_sha256: String,
    config: Value,
    extraction: config::Extraction,
    machine: Machine,
    /// Wall time of the process.
    pub seconds: f64,
    pub peak_memory_bytes: u64,
    /// Where they lie; known to whoever reads the file.
    #[serde(skip)]
    pub folder: PathBuf,
}

const FILE: &str = "shared.json";

/// Hands out generators, and trains those that are not there.
#[derive(Default)]
pub struct Generators {
    /// What failed in this process: once is enough for all students.
    failed: BTreeMap<PathBuf, String>,
}

impl Generators {
    /// The generators for a cell with this configuration.
    ///
    /// # Errors
    /// Their training fails or is stopped.
    pub fn of(
        &mut self,
        runner: &Runner,
        subject: &Subject,
        place: &Place,
        config: &Config,
    ) -> Result<Shared, Failure> {
        let folder =
            runner.scratch().join("generators").join(&place.teacher).join(&place.approach).join(place.seed.to_string());
        if let Some(error) = self.failed.get(&folder) {
            return Err(Failure::Failed(error.clone()));
        }
        let mut wanted = Shared {
            teacher_sha256: subject.sha256.clone(),
            config: config.of_generators(),
            extraction: config.settings.extraction.clone(),
            // A checkout that goes on while a table runs must not cost it its generators.
            machine: Machine { commit: None, ..runner.machine.clone() },
            seconds: 0.0,
            peak_memory_bytes: 0,
            folder: folder.clone(),
        };
        if let Some(found) = read(&folder).filter(|found| found.fits(&wanted)) {
            return Ok(found);
        }
        let trained = wanted.train(runner, subject);
        if let Err(Failure::Failed(error)) = &trained {
            self.failed.insert(folder, error.clone());
        }
        trained.map(|()| wanted)
    }
}

impl Shared {
    /// Whether these generators are the ones that `other` would train. Other hardware trains others, in other seconds.
    fn fits(&self, other: &Self) -> bool {
        (&self.teacher_sha256, &self.config, &self.extraction, &self.machine)
            == (&other.teacher_sha256, &other.config, &other.extraction, &other.machine)
    }

    fn train(&mut self, runner: &Runner, subject: &Subject) -> Result<(), Failure> {
        let ended = runner.run("extract", subject, &self.config, &self.folder, &[])?;
        (self.seconds, self.peak_memory_bytes) = (ended.seconds, ended.peak_memory_bytes);
        // Last: a folder without it was interrupted.
        let json = serde_json::to_vec_pretty(&self).context("generators cannot be described")?;
        fs::write(self.folder.join(FILE), json).context("the generators' folder cannot be written")?;
        Ok(())
    }
}

/// What lies in `folder`, where anything complete does. Anything else is trained again.
fn read(folder: &Path) -> Option<Shared> {
    let found: Shared = serde_json::from_slice(&fs::read(folder.join(FILE)).ok()?).ok()?;
    Some(Shared { folder: folder.to_owned(), ..found })
}
