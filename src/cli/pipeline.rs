//! A job without a server: the same tasks as a worker runs, one after the other, in this process.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Context;
use tempfile::TempDir;

use super::{generators, terminal::Terminal};
use crate::{
    domain::{
        architecture::Architecture,
        artifact::FileName,
        config::{JobConfig, Sampler, Settings},
        ids::{JobId, TaskId},
        presets::TeacherKind,
        report::{Inspection, Report, Score},
        reuse,
        task::{TaskKind, TaskSpec},
    },
    engine::{self, observer::Stop},
    protocol::Role,
};

/// What the job is made of.
#[derive(clap::Args, Debug)]
pub struct Inputs {
    /// The trained classifier: ONNX, .pt2, TorchScript, or weights as safetensors with `--arch`.
    model: PathBuf,

    /// The network of bare weights (safetensors), as `lenet5` or `resnet18`. Overrides the configuration's.
    #[arg(long, value_name = "NAME", value_parser = architecture)]
    arch: Option<Architecture>,

    /// The job's configuration, a JSON file; without it the preset `fast` is used as it is.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// A side file of the model, where its weights lie outside of it; may be given several times.
    #[arg(long, value_name = "FILE")]
    external_data: Vec<PathBuf>,

    /// `auto`, `cpu` or `cuda:N`; `auto` takes the first GPU that is there. Overrides the configuration's.
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,

    /// CPU threads; all cores without it. Fewer leave the machine usable, more than there are cores make everything slower.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// Files beside the model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'a> {
    pub eval: Option<&'a Path>,
    /// A student that is no compressed teacher.
    pub student: Option<&'a Path>,
    /// Whether the model is looked at alone: what the configuration says of a student is none of its business then.
    pub alone: bool,
}

impl Beside<'_> {
    /// The configuration as these files have it.
    fn fitted(self, config: JobConfig, inputs: &Inputs) -> anyhow::Result<JobConfig> {
        let mut config = JobConfig { arch: inputs.arch.or(config.arch), ..config };
        if self.alone {
            config.student = None;
            // A student as ONNX, scored with its job's configuration.
            let is_bare = inputs.model.extension().is_some_and(|suffix| suffix == "safetensors");
            config.arch = config.arch.filter(|_| is_bare || inputs.arch.is_some());
        }
        Ok(config.with_student_file(self.student.is_some())?)
    }
}

/// Refuses an `out` where a result would take the place of one of these files.
///
/// # Errors
/// It would, or `out` cannot be read.
pub fn spare(inputs: &Inputs, files: Beside<'_>, out: &Path) -> anyhow::Result<()> {
    let out = out.canonicalize().with_context(|| format!("{} cannot be read", out.display()))?;
    for path in [Some(inputs.model.as_path()), files.eval, files.student].into_iter().flatten() {
        let Ok(file) = path.canonicalize() else { continue };
        let name = file.file_name().and_then(|name| name.to_str());
        if file.parent() == Some(&out) && name.is_some_and(is_a_results) {
            anyhow::bail!("{} would be replaced by a result of that name: give another --out", path.display());
        }
    }
    Ok(())
}

/// A job's files in a directory of their own, which goes when this is dropped.
pub struct Pipeline {
    directory: TempDir,
    config: JobConfig,
    stem: String,
    /// What every task is told; the kind is set for each.
    spec: TaskSpec,
}

impl Pipeline {
    /// Lays out the files under `parent`.
    ///
    /// # Errors
    /// A file cannot be read, or the configuration is invalid.
    pub fn new(inputs: &Inputs, files: Beside<'_>, parent: &Path) -> anyhow::Result<Self> {
        let config = match &inputs.config {
            None => JobConfig::default(),
            Some(path) => {
                JobConfig::parse(&fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?)?
            }
        };
        let config = files.fitted(config, inputs)?;
        let stem = inputs.model.file_stem().map_or("model".into(), |stem| stem.to_string_lossy()).into_owned();
        let settings = config.resolve(TeacherKind::PlainImage, &stem)?;
        let directory = tempfile::Builder::new().prefix(".kegd-").tempdir_in(parent)?;
        let lay_out = |path: &Path, prefix: &str| lay_out(path, directory.path(), prefix);
        let wanted = inputs.device.as_deref().unwrap_or(&settings.device);
        let spec = TaskSpec {
            job: JobId::new(),
            task: TaskId::new(),
            run: 1,
            kind: TaskKind::Inspect,
            device: device(wanted),
            threads: inputs.threads.map_or_else(cores, usize::from),
            model: lay_out(&inputs.model, "teacher")?,
            external_data: inputs.external_data.iter().map(|path| lay_out(path, "side")).collect::<Result<_, _>>()?,
            generators: Vec::new(),
            eval: files.eval.map(|path| lay_out(path, "eval")).transpose()?,
            student: files.student.map(|path| lay_out_student(path, directory.path())).transpose()?,
            // Whoever calls a program with a file of theirs wants it read.
            run_modules: true,
            extracting_seconds: 0.0,
            resume: None,
            checkpoint_seconds: None,
            settings,
        };
        Ok(Self { directory, config, stem, spec })
    }

    /// # Errors
    /// A planned failure.
    pub fn inspect(&mut self, terminal: &mut Terminal) -> anyhow::Result<Inspection> {
        self.run(TaskKind::Inspect, "importing", terminal)?;
        let inspection: Inspection = self.read("inspection.json")?;
        // What depends on the model can be filled in only now.
        self.spec.settings = self.config.resolve(inspection.traits(), &self.stem)?;
        Ok(inspection)
    }

    /// Takes these files, or the ones that `kegd` left in these directories, instead of training generators.
    ///
    /// # Errors
    /// A file cannot be read, a directory holds no generators, or the configuration asks for none.
    pub fn reuse(&mut self, places: &[PathBuf]) -> anyhow::Result<()> {
        if !places.is_empty() && self.spec.settings.extraction.sampler != Sampler::Kegnet {
            anyhow::bail!("the configuration's sampler takes no generators: leave out --generators, or the sampler");
        }
        for file in generators::find(places)? {
            let name = generators::name(self.spec.generators.len());
            self.spec.generators.push(lay_out_as(&file, self.directory.path(), name)?);
        }
        Ok(())
    }

    /// Trains the generators.
    ///
    /// # Errors
    /// A planned failure, or that the user stopped it.
    pub fn extract(&mut self, terminal: &mut Terminal) -> anyhow::Result<()> {
        let extraction = &self.spec.settings.extraction;
        let generators = if extraction.sampler == Sampler::Kegnet { extraction.generators } else { 0 };
        let begin = Instant::now();
        for generator in 0..generators {
            let title = format!("generator {} of {generators}", generator + 1);
            self.run(TaskKind::Extract { generator }, &title, terminal)?;
        }
        self.spec.extracting_seconds = begin.elapsed().as_secs_f64();
        self.spec.generators = terminal.files_of(Role::Generator);
        Ok(())
    }

    /// Everything after the inspection; a report for each student.
    ///
    /// # Errors
    /// A planned failure, or that the user stopped it.
    pub fn distill(&mut self, terminal: &mut Terminal) -> anyhow::Result<Vec<Report>> {
        if self.spec.settings.from_job.is_some() {
            let why = "a job is one of a service, and there is none here".to_owned();
            return Err(reuse::refused(why).hint("Leave `from_job` out, and give `--generators`.").into());
        }
        if self.spec.generators.is_empty() {
            self.extract(terminal)?;
        } else {
            let (given, wanted) = (self.spec.generators.len(), &mut self.spec.settings.extraction.generators);
            if given < *wanted as usize {
                eprintln!(
                    "warning: the configuration asks for {wanted} generators, and the student learns from the {given} given"
                );
            }
            *wanted = u32::try_from(given)?;
        }
        // Every boundary of the student's training is told; the terminal keeps those that were asked for.
        self.spec.checkpoint_seconds = terminal.keeps_checkpoints().then_some(0.0);
        let students = self.spec.settings.compression.students();
        let mut reports = Vec::new();
        for target in 0..students {
            let title =
                if students > 1 { format!("student {} of {students}", target + 1) } else { "student".to_owned() };
            self.run(TaskKind::Distill { target }, &title, terminal)?;
            reports.push(self.read(&self.spec.own_file("report.json"))?);
        }
        Ok(reports)
    }

    /// What the run is told, with every default filled in.
    pub fn settings(&self) -> &Settings {
        &self.spec.settings
    }

    /// Real accuracy of the model itself on the evaluation set that it came with, or of these checkpoints of it.
    ///
    /// # Errors
    /// A planned failure.
    pub fn score(&self, checkpoints: &[PathBuf]) -> anyhow::Result<Vec<Score>> {
        engine::score(&self.spec, self.directory.path(), checkpoints).map_err(failure)
    }

    /// Moves what was made, apart from what only the next task needs, into `out`, and returns the names. Generators take the
    /// place of all that an earlier run left there, with their samples, and students that of their reports, even where they
    /// have none of their own yet: nobody could tell afterwards which belong together.
    ///
    /// # Errors
    /// A file cannot be moved.
    pub fn keep(&self, terminal: &Terminal, out: &Path) -> anyhow::Result<Vec<String>> {
        if !terminal.files_of(Role::Generator).is_empty() {
            generators::clear(out)?;
        }
        let mut names = Vec::new();
        for name in terminal.files().filter(|name| is_whole(name, &terminal.files_of(Role::Generator))) {
            let target = out.join(name);
            fs::rename(self.directory.path().join(name), &target)
                .with_context(|| format!("{} cannot be written", target.display()))?;
            names.push(name.to_owned());
        }
        for report in unreported(&names) {
            let earlier = out.join(report);
            if earlier.exists() {
                fs::remove_file(&earlier).with_context(|| format!("{} cannot be removed", earlier.display()))?;
            }
        }
        Ok(names)
    }

    /// Keeps what was finished before a task failed or was stopped, and says where it lies.
    pub fn rescue(&self, terminal: &Terminal, out: &Path) {
        let trained = terminal.files_of(Role::Generator).len();
        let wanted = self.spec.settings.extraction.generators as usize;
        if (1..wanted).contains(&trained) && generators::find(&[out.to_owned()]).is_ok() {
            // Some would take the place of all of them.
            return eprintln!(
                "the generators of an earlier run stay in {}: this one has not finished its own",
                out.display()
            );
        }
        match self.keep(terminal, out) {
            Ok(names) if names.is_empty() => {}
            Ok(names) => {
                eprintln!("{} files that were finished are in {}", names.len(), out.display());
                if trained > 0 {
                    let use_them =
                        if trained < wanted { "makes a student of these alone" } else { "goes on from there" };
                    eprintln!(
                        "{trained} of {wanted} generators among them: `kegd distill --generators {}` {use_them}",
                        out.display()
                    );
                }
            }
            Err(error) => eprintln!("warning: what was finished is lost: {error:#}"),
        }
    }

    fn run(&mut self, kind: TaskKind, title: &str, terminal: &mut Terminal) -> anyhow::Result<()> {
        self.spec.kind = kind;
        terminal.begin(title);
        let ended = engine::run(&self.spec, self.directory.path(), terminal);
        terminal.end();
        ended.map_err(failure)
    }

    fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> anyhow::Result<T> {
        let json = fs::read(self.directory.path().join(name)).with_context(|| format!("{name} was not written"))?;
        serde_json::from_slice(&json).with_context(|| format!("{name} cannot be read"))
    }
}

/// Whether a file belongs to no generator whose training was stopped, given those that were trained.
fn is_whole(name: &str, trained: &[String]) -> bool {
    generators::of_samples(name).is_none_or(|(generator, _)| trained.contains(&generators::name(generator as usize)))
}

/// What the reports of these students would be called, as far as they are not among the files.
fn unreported(names: &[String]) -> BTreeSet<String> {
    let report = |name: &String| {
        let (target, _) = name.strip_prefix("student")?.rsplit_once('.')?;
        Some(format!("report{target}.json"))
    };
    names.iter().filter_map(report).filter(|report| !names.contains(report)).collect()
}

fn failure(stop: Stop) -> anyhow::Error {
    match stop {
        Stop::Canceled | Stop::Interrupted => anyhow::anyhow!("stopped"),
        Stop::Failed(problem) => problem.into(),
    }
}

/// Puts a file into `directory` under its own name, or, where a run writes a file of that name itself, with `prefix` before
/// it: what a run wrote would go through the link into the user's file.
fn lay_out(path: &Path, directory: &Path, prefix: &str) -> anyhow::Result<String> {
    let name = path.file_name().with_context(|| format!("{} is no file", path.display()))?;
    let name = name.to_str().with_context(|| format!("{}: the name is not UTF-8", path.display()))?;
    lay_out_as(path, directory, if is_a_results(name) { format!("{prefix}-{name}") } else { name.to_owned() })
}

/// Whether a run writes a file of that name itself.
fn is_a_results(name: &str) -> bool {
    name.parse::<FileName>().is_ok_and(|name| name.is_reserved())
}

/// Under a name that no run writes: a student's own file is often called as the one that a run makes of it.
fn lay_out_student(path: &Path, directory: &Path) -> anyhow::Result<String> {
    let name = path.file_name().with_context(|| format!("{} is no file", path.display()))?;
    lay_out_as(path, directory, format!("given-{}", name.to_string_lossy()))
}

/// An architecture by its name.
fn architecture(name: &str) -> Result<Architecture, String> {
    let found = Architecture::ALL.into_iter().find(|architecture| architecture.name() == name);
    found.ok_or_else(|| format!("known are {}", Architecture::names()))
}

/// Linked where that is possible, which costs neither time nor space.
fn lay_out_as(path: &Path, directory: &Path, name: String) -> anyhow::Result<String> {
    let target = directory.join(&name);
    if target.exists() {
        anyhow::bail!("two files are called {name}");
    }
    // A link to a link would lead nowhere from another directory.
    let source = path.canonicalize().with_context(|| format!("{} cannot be read", path.display()))?;
    if fs::hard_link(&source, &target).is_err() {
        fs::copy(&source, &target).with_context(|| format!("{} cannot be read", path.display()))?;
    }
    Ok(name)
}

fn device(wanted: &str) -> String {
    match wanted {
        "auto" => engine::gpus().into_iter().next().unwrap_or_else(|| "cpu".to_owned()),
        "cuda" => "cuda:0".to_owned(),
        device => device.to_owned(),
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_student_that_nothing_was_measured_of_is_known_by_its_files() {
        let of = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            unreported(&names).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(of(&["bank.npz", "student.onnx", "student.safetensors", "student.json"]), ["report.json"]);
        assert_eq!(of(&["student.onnx", "report.json", "generator-0.safetensors"]), [""; 0]);
        let sweep = ["student-ratio-4.onnx", "report-ratio-4.json", "student-ratio-4.5.onnx"];
        assert_eq!(of(&sweep), ["report-ratio-4.5.json"]);
    }
}
