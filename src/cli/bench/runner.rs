//! Runs kegd for the bench: one process for each step of a cell, in a folder of its own.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
};

use anyhow::Context;
use serde_json::{Value, json};

use super::{
    cell::{Done, Picked, Seconds},
    child::{self, Ended},
    description::{Places, Student, Teacher},
    machine::Machine,
    plan::{Config, Planned},
    shared::Generators,
};
use crate::domain::{
    presets::Traits,
    report::{Inspection, Report, Score},
};

/// Moments of a training that are looked at where the best of them is shown.
const LOOKS: u32 = 40;

const STOPPED: &str = "stopped; the same command goes on from here";

/// A cell that is to be run.
pub struct Job<'a> {
    pub cell: Planned<'a>,
    pub config: Config,
    pub subject: Arc<Subject>,
}

/// Why a cell has no result.
pub enum Failure {
    /// What its process said.
    Failed(String),
    /// The whole table ends: it was stopped, or the bench itself cannot go on.
    Ends(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Ends(error)
    }
}

/// A teacher that is there.
pub struct Subject {
    model: PathBuf,
    eval: PathBuf,
    pub traits: Traits,
    pub sha256: String,
    /// By student whose size others have: how many times fewer parameters than the teacher it has.
    pub ratios: BTreeMap<String, f64>,
}

/// What all cells have in common.
pub struct Runner {
    pub out: PathBuf,
    pub machine: Machine,
    stop: Arc<AtomicBool>,
}

impl Runner {
    /// Results go to `out`. `stop` ends what runs, and the table.
    pub fn new(out: PathBuf, machine: Machine, stop: Arc<AtomicBool>) -> Self {
        Self { out, machine, stop }
    }

    /// Generators, logs, and what runs just now.
    pub fn scratch(&self) -> PathBuf {
        self.out.join(".scratch")
    }

    /// Looks at a teacher, and at those of its students whose size others have. `None`, with a line that says so, where its
    /// files are not there.
    ///
    /// # Errors
    /// kegd does not take the teacher, or a student's compression.
    pub fn subject<'a>(
        &self,
        teacher: &Teacher,
        sizes: impl Iterator<Item = &'a Student>,
        places: &Places,
    ) -> anyhow::Result<Option<Subject>> {
        let find = |path: &Path| {
            let found = places.find(path);
            if found.is_none() {
                eprintln!("{}: left out, {} is not there; --data says where to look", teacher.name, path.display());
            }
            found
        };
        let (Some(model), Some(eval)) = (find(&teacher.model), find(&teacher.eval)) else { return Ok(None) };
        let inspect = |config: Value| self.inspect(&model, &config).with_context(|| teacher.name.clone());
        let inspection = inspect(json!({"input": teacher.input}))?;
        let mut ratios = BTreeMap::new();
        for student in sizes {
            let inspection = inspect(json!({"input": teacher.input, "compression": student.compression}))?;
            ratios.insert(student.name.clone(), ratio(&inspection));
        }
        Ok(Some(Subject { model, eval, traits: inspection.traits(), sha256: inspection.model.sha256, ratios }))
    }

    fn inspect(&self, model: &Path, config: &Value) -> anyhow::Result<Inspection> {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), config.to_string())?;
        let mut process = self.kegd("inspect");
        self.answered(process.arg("--json").arg(model).arg("--config").arg(file.path()))
    }

    /// Runs a cell, with the generators that it shares. Its folder goes unless it is to be kept, or it fails.
    ///
    /// # Errors
    /// It fails or is stopped.
    pub fn cell(&self, job: &Job<'_>, generators: &mut Generators, keep: bool) -> Result<Done, Failure> {
        let Job { cell, config, subject } = job;
        let place = cell.place();
        let shared = match config.trains_generators() {
            true => Some(generators.of(self, subject, &place, config)?),
            false => None,
        };
        let folder = place.file(&self.scratch().join("cells")).with_extension("");
        let mut arguments: Vec<OsString> = vec!["--eval".into(), subject.eval.clone().into_os_string()];
        if let Some(shared) = &shared {
            arguments.extend(["--generators".into(), shared.folder.clone().into_os_string()]);
        }
        if cell.approach.picked {
            let every = (config.settings.distillation.epochs / LOOKS).max(1);
            arguments.extend(["--checkpoints".into(), every.to_string().into()]);
        }
        let ended = self.run("distill", subject, &config.json, &folder, &arguments)?;
        let report = fs::read(folder.join("report.json")).context("the report was not written")?;
        let report: Report = serde_json::from_slice(&report).context("the report cannot be read")?;
        let end = report.result.accuracy.as_ref().map(|accuracy| accuracy.student);
        let picked = match end.filter(|_| cell.approach.picked) {
            Some(end) => Some(Picked::best(&self.scores(subject, &folder)?, end)),
            None => None,
        };
        if !keep {
            fs::remove_dir_all(&folder).with_context(|| format!("{} cannot be deleted", folder.display()))?;
        }
        let (extraction, memory) = shared.map_or((0.0, 0), |shared| (shared.seconds, shared.peak_memory_bytes));
        let seconds = Seconds { extraction, student: ended.seconds };
        Ok(Done { picked, ..Done::new(report, seconds, ended.peak_memory_bytes.max(memory))? })
    }

    /// What the student in `folder` was worth at each of its checkpoints, on the test set: asked when the job is over.
    fn scores(&self, subject: &Subject, folder: &Path) -> Result<Vec<Score>, Failure> {
        let mut process = self.kegd("score");
        process.arg(folder.join("student.onnx")).arg("--eval").arg(&subject.eval).arg("--json");
        process.arg("--config").arg(folder.join("config.json"));
        for entry in fs::read_dir(folder).context("the student's folder cannot be read")? {
            let path = entry.context("the student's folder cannot be read")?.path();
            if path.extension().is_some_and(|extension| extension == "checkpoint") {
                process.arg("--checkpoint").arg(path);
            }
        }
        let scores = self.answered(&mut process);
        if self.is_stopped() {
            return Err(stopped());
        }
        // The other cells do not depend on it.
        scores.map_err(|error| Failure::Failed(format!("the checkpoints were not measured: {error:#}")))
    }

    /// Runs `kegd <command> MODEL --config … --out FOLDER` with `more`, in a fresh folder that also gets its log.
    ///
    /// # Errors
    /// It fails or is stopped.
    pub fn run(
        &self,
        command: &str,
        subject: &Subject,
        config: &Value,
        folder: &Path,
        more: &[OsString],
    ) -> Result<Ended, Failure> {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("{} cannot be deleted", folder.display()))?;
        }
        fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let (settings, log) = (folder.join("config.json"), folder.join("log.txt"));
        fs::write(&settings, config.to_string()).context("the configuration cannot be written")?;
        let mut process = self.kegd(command);
        process.arg(&subject.model).arg("--config").arg(&settings).arg("--out").arg(folder).args(more);
        let ended = child::run(&mut process, &log, &self.stop)?;
        if self.is_stopped() {
            return Err(stopped());
        }
        if ended.success { Ok(ended) } else { Err(Failure::Failed(child::why(&ended, &log))) }
    }

    /// This very program, on the table's device: a table takes days, and the file of that name may be another one by then.
    fn kegd(&self, command: &str) -> Command {
        let mut process = Command::new("/proc/self/exe");
        // Otherwise the program starts itself anew to set it, by its name.
        process.arg(command).env("OMP_WAIT_POLICY", "passive").env("GOMP_SPINCOUNT", "0");
        process.args(["--device", &self.machine.device, "--threads", &self.machine.threads.to_string()]);
        process
    }

    /// The JSON that a process prints.
    fn answered<T: serde::de::DeserializeOwned>(&self, process: &mut Command) -> anyhow::Result<T> {
        let output = child::with_parent(process).output().context("kegd cannot be started")?;
        if self.is_stopped() {
            anyhow::bail!(STOPPED);
        }
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            anyhow::bail!("{}", if words.trim().is_empty() { "kegd ended without a word" } else { words.trim() });
        }
        serde_json::from_slice(&output.stdout).context("what kegd answered cannot be read")
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

fn stopped() -> Failure {
    Failure::Ends(anyhow::anyhow!(STOPPED))
}

/// Of the student that is planned, rounded up to five decimals: whoever has to keep to it is no larger.
fn ratio(inspection: &Inspection) -> f64 {
    let (teacher, student) = (inspection.model.parameters, inspection.planned_parameters);
    (1e5 * teacher as f64 / student.max(1) as f64).ceil() / 1e5
}
