//! One cell of a table as a file: what was run, and what came out.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::machine::Machine;
use crate::domain::{
    config::Settings,
    report::{Accuracy, LayerRow, NetworkSize, Report, Score},
};

/// Which cell: names of the table description, and the seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub teacher: String,
    pub student: String,
    pub approach: String,
    pub seed: u64,
}

impl Place {
    /// What patterns are compared with.
    pub fn group(&self) -> String {
        format!("{}/{}/{}", self.teacher, self.student, self.approach)
    }

    /// The cell's file, below the folder of results.
    pub fn file(&self, results: &Path) -> PathBuf {
        results.join(&self.teacher).join(format!("{}--{}--s{}.json", self.student, self.approach, self.seed))
    }
}

/// The file. Everything that is printed anywhere comes from such files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cell {
    #[serde(flatten)]
    pub place: Place,
    /// Share of the approach's schedule that was run, 0 to 1.
    pub fraction: f64,
    /// SHA-256 of the teacher's file.
    pub teacher_sha256: String,
    /// The job's configuration, as `kegd distill --config` took it.
    pub config: Value,
    /// The same with every default filled in.
    pub settings: Value,
    pub machine: Machine,
    #[serde(flatten)]
    pub outcome: Outcome,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "status")]
pub enum Outcome {
    Done(Box<Done>),
    Failed { error: String },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Done {
    pub result: Figures,
    /// Not data-free: the best that was found along the training by looking at the test set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picked: Option<Picked>,
    /// The layers that were compressed.
    pub layers: Vec<Layer>,
    pub seconds: Seconds,
    /// The larger one of the two processes'.
    pub peak_memory_bytes: u64,
}

/// The best of several moments of a training, by the test set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Picked {
    /// 0 to 1.
    pub accuracy: f64,
    /// How far the training was.
    pub at: String,
    /// Moments that were looked at, the last one among them.
    pub of: usize,
}

impl Picked {
    /// The best of `scores` and of the end of the training.
    pub fn best(scores: &[Score], end: f64) -> Self {
        let best = scores.iter().max_by(|one, other| one.accuracy.total_cmp(&other.accuracy));
        let (accuracy, at) = best.map_or((0.0, ""), |best| (best.accuracy, best.at.as_deref().unwrap_or_default()));
        let of = scores.len() + 1;
        if accuracy > end {
            return Self { accuracy, at: at.to_owned(), of };
        }
        Self { accuracy: end, at: "the end".to_owned(), of }
    }
}

/// The report's result: what tables are made of by name, and all the rest as the report has it, so that a cell can be read
/// by any version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figures {
    pub teacher: NetworkSize,
    pub student: NetworkSize,
    pub accuracy: Option<Accuracy>,
    #[serde(flatten)]
    more: Map<String, Value>,
}

impl Figures {
    /// Teacher's parameters for each of the student's.
    pub fn ratio(&self) -> f64 {
        self.teacher.parameters as f64 / self.student.parameters.max(1) as f64
    }

    /// How often the student's first choice is the teacher's on inputs of a generator that it did not learn from, 0 to 1.
    pub fn agreement(&self) -> Option<f64> {
        self.more.get("agreement")?.pointer("/held_out_generator/top1")?.as_f64()
    }
}

/// Wall seconds of the processes, start and measurements included.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// Of the generators, which the other students of the same teacher, approach and seed share.
    pub extraction: f64,
    pub student: f64,
}

impl Seconds {
    pub fn total(self) -> f64 {
        self.extraction + self.student
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    pub layer: String,
    pub action: String,
    pub ranks: Vec<usize>,
    pub parameters: u64,
}

impl Done {
    /// # Errors
    /// The report lacks what every cell has.
    pub fn new(report: Report, seconds: Seconds, peak_memory_bytes: u64) -> anyhow::Result<Self> {
        let compressed = |row: LayerRow| {
            let LayerRow { layer, action, ranks, parameters_after: parameters, .. } = row;
            (action != "keep").then_some(Layer { layer, action, ranks, parameters })
        };
        let layers = report.layers.into_iter().filter_map(compressed).collect();
        let result = serde_json::from_value(serde_json::to_value(report.result)?)?;
        Ok(Self { result, picked: None, layers, seconds, peak_memory_bytes })
    }
}

impl Cell {
    /// Whether it was run with `settings`. What was not yet a setting then had its default, as in a job from before.
    pub fn was_run_with(&self, settings: &Settings) -> bool {
        Settings::deserialize(&self.settings).is_ok_and(|own| own == *settings)
    }

    /// What it was run with, as [`Self::was_run_with`] takes it: cells from before and after a setting was there read alike.
    pub fn settings_today(&self) -> Value {
        let settings = Settings::deserialize(&self.settings).ok().and_then(|own| serde_json::to_value(own).ok());
        settings.unwrap_or_else(|| self.settings.clone())
    }

    /// `None` where there is no such file.
    ///
    /// # Errors
    /// The file cannot be read, or holds no cell: it is named, with what to do.
    pub fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        let json = match fs::read(path) {
            Ok(json) => json,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
        };
        let cell = serde_json::from_slice(&json).with_context(|| {
            format!("{} holds no cell of a table; delete it, and the cell is run again", path.display())
        })?;
        Ok(Some(cell))
    }

    /// Writes the whole file or none of it.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let unwritten = || format!("{} cannot be written", path.display());
        fs::create_dir_all(folder).with_context(unwritten)?;
        let file = tempfile::Builder::new().prefix(".cell-").tempfile_in(folder).with_context(unwritten)?;
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        io::Write::write_all(&mut file.as_file(), &json).with_context(unwritten)?;
        file.as_file().sync_all().with_context(unwritten)?;
        // Temporary files are for the user alone; results are for whoever reads the folder.
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file().set_permissions(readable).with_context(unwritten)?;
        file.persist(path).with_context(unwritten)?;
        Ok(())
    }

    /// Every cell below `results`, in the order of names.
    ///
    /// # Errors
    /// As [`Cell::read`].
    pub fn read_all(results: &Path) -> anyhow::Result<Vec<Self>> {
        let list = |folder: &Path| -> anyhow::Result<Vec<PathBuf>> {
            let entries = fs::read_dir(folder).with_context(|| format!("{} cannot be listed", folder.display()))?;
            let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
            // Hidden ones are being written, or are the bench's scratch.
            paths.retain(|path| !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")));
            paths.sort_unstable();
            Ok(paths)
        };
        let mut cells = Vec::new();
        for folder in list(results)?.into_iter().filter(|path| path.is_dir()) {
            for path in list(&folder)?.into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "json")) {
                cells.extend(Self::read(&path)?);
            }
        }
        Ok(cells)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_moment_is_picked_and_the_end_is_one_of_them() {
        let score = |accuracy, at: &str| Score { accuracy, n: 1, parameters: 1, macs: 1, at: Some(at.to_owned()) };
        let scores = [score(0.5, "epoch 1"), score(0.9, "epoch 2"), score(0.7, "epoch 3")];
        let picked = |end| Picked::best(&scores, end);
        assert_eq!(picked(0.6), Picked { accuracy: 0.9, at: "epoch 2".to_owned(), of: 4 });
        assert_eq!(picked(0.95), Picked { accuracy: 0.95, at: "the end".to_owned(), of: 4 });
    }
}
