//! `kegd bench table`: runs the cells that have no file yet, each in a process of its own.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::bail;

use super::{
    cell::{Cell, Outcome},
    description::{Description, Places},
    machine::Machine,
    plan::{self, Planned},
    runner::{Failure, Job, Runner, Subject},
    shared::Generators,
};
use crate::cli::{stop, table::counted};

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

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if share > 0.0 && share <= 1.0 { Ok(share) } else { Err("give a number above 0 and at most 1".to_owned()) }
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
        let runner = Runner::new(self.out.clone(), machine, stop);
        let (mut jobs, mut found, mut failed_before) = (Vec::new(), false, 0);
        let places = Places::new(&self.description, &self.data);
        for teacher in &description.teachers {
            let cells: Vec<_> = planned.iter().filter(|cell| cell.teacher.name == teacher.name).collect();
            if cells.is_empty() {
                continue;
            }
            let sizes = description.models_of_size(teacher);
            let sizes =
                sizes.filter(|model| cells.iter().any(|cell| cell.student.size_of.as_ref() == Some(&model.name)));
            let Some(subject) = runner.subject(teacher, sizes, &places)? else { continue };
            found = true;
            let subject = Arc::new(subject);
            for cell in cells {
                match self.open(*cell, &subject)? {
                    Open::Run(job) => jobs.push(*job),
                    Open::FailedBefore => failed_before += 1,
                    Open::Passed => {}
                }
            }
        }
        if !found {
            bail!("none of the teachers is there");
        }
        if failed_before > 0 {
            eprintln!("{failed_before} cells failed before and are left so; --retry-failed runs them again");
        }
        run_all(&runner, &jobs, self.keep)
    }

    /// What is to be done about a cell.
    fn open<'a>(&self, cell: Planned<'a>, subject: &Arc<Subject>) -> anyhow::Result<Open<'a>> {
        let config = cell.config(subject.traits, self.fraction, &subject.ratios)?;
        let job = Job { cell, config, subject: Arc::clone(subject) };
        let path = cell.place().file(&self.out);
        let Some(found) = Cell::read(&path)? else { return Ok(Open::Run(Box::new(job))) };
        let has_failed = matches!(found.outcome, Outcome::Failed { .. });
        if self.retry_failed && has_failed {
            return Ok(Open::Run(Box::new(job)));
        }
        if found.was_run_with(&job.config.settings) && found.teacher_sha256 == subject.sha256 {
            return Ok(if has_failed { Open::FailedBefore } else { Open::Passed });
        }
        if self.retry_changed {
            return Ok(Open::Run(Box::new(job)));
        }
        eprintln!("{} was run with other settings or another teacher; --retry-changed runs it again", path.display());
        Ok(Open::Passed)
    }
}

/// Whether a cell is run.
enum Open<'a> {
    Run(Box<Job<'a>>),
    /// Its settings were tried, and failed.
    FailedBefore,
    /// It has its result, or one of other settings that is to stay.
    Passed,
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
    if failures > 0 {
        bail!(
            "{failures} of {} cells failed; what they said is above and in their files, and --retry-failed runs them again",
            jobs.len()
        );
    }
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
