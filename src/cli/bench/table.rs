//! `kegd bench table`: runs the cells that have no file yet, each in a process of its own.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
};

use anyhow::Context;
use serde_json::{Value, json};

use super::{
    cell::{Cell, Done, Outcome, Picked, Seconds},
    child::{self, Ended},
    description::{Description, Places, Teacher},
    machine::Machine,
    plan::{self, Config, Planned},
    shared::Generators,
};
use crate::{
    cli::{stop, table::counted},
    domain::{
        presets::TeacherKind,
        report::{Inspection, LayerRow, Report, Score},
    },
};

/// Run the cells of a table that were not run yet.
///
/// Each cell, and each training of generators that cells share, is a process of its own with its own seconds and memory,
/// and leaves one JSON file. Stop it whenever you like: the same command goes on where it stopped.
#[derive(clap::Args, Debug)]
pub struct Table {
    /// The table's description.
    description: PathBuf,

    /// Where teachers and test sets lie that are not beside the description; may be given several times. Teachers whose
    /// files are not there are left out.
    #[arg(long, value_name = "DIR")]
    data: Vec<PathBuf>,

    /// Where the results go: a JSON file for each cell. Generators, and logs of what runs, go to `.scratch` in it.
    #[arg(long, short, value_name = "DIR")]
    out: PathBuf,

    /// So many seeds: 1, 2, 3, …
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,

    /// These seeds: `--seed 4,5,6`.
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "seeds")]
    seed: Vec<u64>,

    /// Cells by `teacher/student/approach`, where `*` is any text: `'lenet5-mnist/S*/fast'`; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    only: Vec<String>,

    /// Run this share of the epochs of the approaches that the description calls scaled. The table names it.
    #[arg(long, value_name = "F", default_value_t = 1.0, value_parser = share)]
    fraction: f64,

    /// `auto`, `cpu` or `cuda:N`.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,

    /// CPU threads of each process; all cores without it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Run failed cells again.
    #[arg(long)]
    retry_failed: bool,

    /// Run cells again that were run with other settings, or on another teacher, than they would be now.
    #[arg(long)]
    retry_changed: bool,

    /// Keep student, report and generators of each cell in `.scratch`.
    #[arg(long)]
    keep: bool,
}

/// Moments of a training that are looked at where the best of them is shown.
const LOOKS: u32 = 40;

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if share > 0.0 && share <= 1.0 { Ok(share) } else { Err("give a number above 0 and at most 1".to_owned()) }
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
    kind: TeacherKind,
    pub sha256: String,
    /// By student: how many times fewer parameters than the teacher it has.
    ratios: BTreeMap<String, f64>,
}

/// Of the student that is planned, rounded up to five decimals: whoever has to keep to it is no larger.
fn ratio(inspection: &Inspection) -> f64 {
    let sum = |of: fn(&LayerRow) -> u64| inspection.plan.iter().map(of).sum::<u64>();
    let teacher = inspection.model.parameters;
    let student = (teacher + sum(|row| row.parameters_after)).saturating_sub(sum(|row| row.parameters_before));
    (1e5 * teacher as f64 / student.max(1) as f64).ceil() / 1e5
}

/// What all cells have in common.
pub struct Runner {
    program: PathBuf,
    out: PathBuf,
    machine: Machine,
    stop: Arc<AtomicBool>,
}

impl Table {
    pub fn run(self) -> anyhow::Result<()> {
        let description = Description::read(&self.description)?;
        let seeds = if self.seed.is_empty() { (1..=self.seeds).collect() } else { self.seed.clone() };
        let planned = plan::cells(&description, &seeds, &self.only)?;
        let stop = Arc::new(AtomicBool::new(false));
        stop::on_interrupt(Arc::clone(&stop))?;
        let threads =
            self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |cores| cores.get() as u16));
        let machine = Machine::here(&self.device, threads);
        let runner = Runner { program: std::env::current_exe()?, out: self.out.clone(), machine, stop };
        let mut jobs = Vec::new();
        let places = Places::new(&self.description, &self.data);
        for teacher in &description.teachers {
            let cells: Vec<_> = planned.iter().filter(|cell| cell.teacher.name == teacher.name).collect();
            if cells.is_empty() {
                continue;
            }
            let Some(mut subject) = runner.subject(teacher, &places)? else { continue };
            for student in description.models_of_size(teacher) {
                let compression = json!({"input": teacher.input, "compression": student.compression});
                let inspection = runner.inspect(&subject.model, Some(&compression))?;
                subject.ratios.insert(student.name.clone(), ratio(&inspection));
            }
            let subject = Arc::new(subject);
            for cell in cells {
                jobs.extend(self.open(*cell, &subject)?);
            }
        }
        run_all(&runner, &jobs, self.keep)
    }

    /// The cell with its configuration, unless it has its result already.
    fn open<'a>(&self, cell: Planned<'a>, subject: &Arc<Subject>) -> anyhow::Result<Option<Job<'a>>> {
        let config = cell.config(subject.kind, self.fraction, &subject.ratios)?;
        let job = Job { cell, config, subject: Arc::clone(subject) };
        let path = cell.place().file(&self.out);
        let Some(found) = Cell::read(&path)? else { return Ok(Some(job)) };
        if matches!(found.outcome, Outcome::Failed { .. }) {
            return Ok(self.retry_failed.then_some(job));
        }
        if found.settings == serde_json::to_value(&job.config.settings)? && found.teacher_sha256 == subject.sha256 {
            return Ok(None);
        }
        if !self.retry_changed {
            eprintln!(
                "{} was run with other settings or another teacher; --retry-changed runs it again",
                path.display()
            );
        }
        Ok(self.retry_changed.then_some(job))
    }
}

/// A cell that is to be run.
struct Job<'a> {
    cell: Planned<'a>,
    config: Config,
    subject: Arc<Subject>,
}

fn run_all(runner: &Runner, jobs: &[Job<'_>], keep: bool) -> anyhow::Result<()> {
    let mut generators = Generators::default();
    let mut failures = 0;
    for (index, job) in jobs.iter().enumerate() {
        let place = job.cell.place();
        eprintln!("[{}/{}] {} seed {}", index + 1, jobs.len(), place.group(), place.seed);
        let outcome = match runner.cell(job, &mut generators, keep) {
            Ok(done) => Outcome::Done(Box::new(done)),
            Err(Failure::Failed(error)) => Outcome::Failed { error },
            Err(Failure::Ends(error)) => return Err(error),
        };
        failures += usize::from(matches!(outcome, Outcome::Failed { .. }));
        eprintln!("    {}", told(&outcome));
        let cell = Cell {
            fraction: job.config.fraction,
            teacher_sha256: job.subject.sha256.clone(),
            config: job.config.json.clone(),
            settings: serde_json::to_value(&job.config.settings)?,
            machine: runner.machine.clone(),
            outcome,
            place,
        };
        cell.write(&cell.place.file(&runner.out))?;
    }
    println!("{} cells run, {failures} of them failed", jobs.len());
    Ok(())
}

fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Failed { error } => format!("failed: {error}"),
        Outcome::Done(done) => {
            let accuracy = done.result.accuracy.as_ref().map_or(0.0, |accuracy| accuracy.student);
            format!(
                "{:.2} %, {} parameters, {:.1} s, {} MB",
                100.0 * accuracy,
                counted(done.result.student.parameters),
                done.seconds.total(),
                done.peak_memory_bytes / 1_000_000
            )
        }
    }
}

impl Runner {
    /// Generators, logs, and what runs just now.
    pub fn scratch(&self) -> PathBuf {
        self.out.join(".scratch")
    }

    /// Looks at a teacher; `None`, with a line that says so, where its files are not there.
    fn subject(&self, teacher: &Teacher, places: &Places) -> anyhow::Result<Option<Subject>> {
        let find = |path: &Path| {
            let found = places.find(path);
            if found.is_none() {
                eprintln!("{}: left out, {} is not there; --data says where to look", teacher.name, path.display());
            }
            found
        };
        let (Some(model), Some(eval)) = (find(&teacher.model), find(&teacher.eval)) else { return Ok(None) };
        let inspection = self.inspect(&model, None).with_context(|| teacher.name.clone())?;
        let (kind, sha256) = (inspection.kind, inspection.model.sha256);
        Ok(Some(Subject { model, eval, kind, sha256, ratios: BTreeMap::new() }))
    }

    fn inspect(&self, model: &Path, config: Option<&Value>) -> anyhow::Result<Inspection> {
        let mut process = Command::new(&self.program);
        process.arg("inspect").arg("--json").arg(model);
        let file = tempfile::NamedTempFile::new()?;
        if let Some(config) = config {
            fs::write(file.path(), config.to_string())?;
            process.arg("--config").arg(file.path());
        }
        answered(&mut process)
    }

    fn cell(&self, job: &Job<'_>, generators: &mut Generators, keep: bool) -> Result<Done, Failure> {
        let Job { cell, config, subject } = job;
        let place = cell.place();
        let shared = match config.trains_generators() {
            true => Some(generators.of(self, subject, &place, config)?),
            false => None,
        };
        let folder = place.file(&self.scratch().join("cells")).with_extension("");
        let mut arguments = vec!["--eval".into(), subject.eval.clone().into_os_string()];
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
    fn scores(&self, subject: &Subject, folder: &Path) -> anyhow::Result<Vec<Score>> {
        let mut process = Command::new(&self.program);
        process.arg("score").arg(folder.join("student.onnx")).arg("--eval").arg(&subject.eval).arg("--json");
        process.arg("--config").arg(folder.join("config.json"));
        process.args(["--device", &self.machine.device, "--threads", &self.machine.threads.to_string()]);
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "checkpoint") {
                process.arg("--checkpoint").arg(path);
            }
        }
        answered(&mut process)
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
        more: &[std::ffi::OsString],
    ) -> Result<Ended, Failure> {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("{} cannot be deleted", folder.display()))?;
        }
        fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let (settings, log) = (folder.join("config.json"), folder.join("log.txt"));
        fs::write(&settings, config.to_string()).context("the configuration cannot be written")?;
        let mut process = Command::new(&self.program);
        process.arg(command).arg(&subject.model).arg("--config").arg(&settings).arg("--out").arg(folder);
        process.args(["--device", &self.machine.device, "--threads", &self.machine.threads.to_string()]).args(more);
        let ended = child::run(&mut process, &log, &self.stop)?;
        if self.stop.load(Ordering::Relaxed) {
            return Err(Failure::Ends(anyhow::anyhow!("stopped; the same command goes on from here")));
        }
        if ended.success { Ok(ended) } else { Err(Failure::Failed(child::last_words(&log))) }
    }
}

/// The JSON that a process prints.
fn answered<T: serde::de::DeserializeOwned>(process: &mut Command) -> anyhow::Result<T> {
    let output = process.output().context("kegd cannot be started")?;
    if !output.status.success() {
        anyhow::bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("what kegd answered cannot be read")
}
