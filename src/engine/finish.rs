//! The last task of a job: compress, distil, export, evaluate, report.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use tch::Device;

use super::{
    audit,
    beginning::Beginning,
    checkpoint::{Keeper, Stage},
    distill::Course,
    evalset::EvalSet,
    executor::Executor,
    files,
    given::Given,
    latency,
    observer::{Observer, Stop, leave_if_asked},
    pieces::at_once,
    pool::Pool,
    second_game::SecondGame,
    student::Student,
    teacher::{Teacher, answer_paced},
    ticker::Ticker,
};
use crate::{
    domain::{
        config::Settings,
        job::{Phase, Progress},
        model::ModelFacts,
        prediction,
        problem::{ErrorCode, Problem},
        report::{Accuracy, JobResult, LayerRow, NetworkSize, Ratios, Report},
        task::TaskSpec,
    },
    formats::{
        description::{self, About},
        facts, file,
        graph::Graph,
        sniff::Format,
    },
    protocol::Role,
};

/// What the earlier tasks and the user left for this one.
pub struct Inputs {
    pub teacher: Teacher,
    pub model: ModelFacts,
    /// The student, where the job was given one.
    pub given: Option<Given>,
    pub warnings: Vec<String>,
    pub generators: Vec<PathBuf>,
    pub eval: Option<PathBuf>,
}

/// Share of the run's progress at which each stretch ends.
const COMPRESSED: f64 = 0.03;
/// Where two students are tried for it.
const TRIED: f64 = 0.10;
/// Of all progress, for what the student learns from, once compression is done.
const DRAWN: f64 = 0.01;
const DISTILLED: f64 = 0.90;
const AUDITED: f64 = 0.97;
const EVALUATED: f64 = 0.98;

/// Leaves the student, the sample bank and `report.json` in `dir`.
///
/// # Errors
/// A planned failure, or [`Stop::Canceled`].
pub fn finish(mut inputs: Inputs, spec: &TaskSpec, dir: &Path, observer: &mut dyn Observer) -> Result<(), Stop> {
    let settings = &spec.own_settings();
    let teacher = &inputs.teacher;
    let mut keeper = Keeper::new(spec, dir);
    let compressed = if settings.distillation.trial_steps > 0 { TRIED } else { COMPRESSED };

    keeper.watch.begin("compressing");
    begin(observer, Phase::Compressing, 0.0)?;
    let beginning = Beginning::new(teacher, inputs.given, settings, &mut keeper, (observer, (0.0, compressed)))?;

    keeper.watch.begin("distilling");
    begin(observer, Phase::Distilling, compressed)?;
    let mut student = beginning.student(teacher, settings)?;
    let second_game = match taught_before(&mut student, &mut keeper)? {
        Some(second_game) => second_game,
        None => {
            let drawn = compressed + DRAWN;
            let pool = Pool::draw(teacher, settings, &inputs.generators, (&mut *observer, (compressed, drawn)))?;
            // All students of a job learn from the same pool.
            if spec.kind.student() == Some(0) {
                pool.write_bank(dir, observer)?;
            }
            let course = Course { teacher, pool: &pool, settings };
            course.teach(&mut student, &mut keeper, observer, (drawn, DISTILLED))?
        }
    };

    // Whatever becomes of measuring it, the student is finished, and its files are there.
    keeper.watch.begin("exporting");
    let learned = student.graph()?;
    let about = beginning.about(settings.arch);
    let student_size = export((&learned, &about), &inputs.model.format, (spec, dir), observer)?;

    keeper.watch.begin("evaluating");
    let pair = audit::Pair { teacher, student: &student.executor, settings };
    let (agreement, mut audit) = pair.audit(&beginning.rows, observer, (DISTILLED, AUDITED))?;
    let networks = Networks { teacher: &teacher.graph, compressed: &beginning.graph, student: &learned };
    let (latency_ms, layers) = measure(&networks, &beginning, spec)?;
    // Only here, with the student's weights final, is the evaluation set read.
    let accuracy =
        match inputs.eval.as_deref().map(|path| networks.accuracy(path, settings, teacher.device(), observer)) {
            Some(Err(Stop::Failed(problem))) => {
                // The student is worth keeping, whatever came of measuring it.
                inputs.warnings.push(unmeasured(&problem));
                None
            }
            measured => measured.transpose()?.map(|(accuracy, doubt)| {
                inputs.warnings.extend(doubt);
                accuracy
            }),
        };

    keeper.watch.begin("exporting");
    begin(observer, Phase::Exporting, EVALUATED)?;
    let teacher_size = NetworkSize {
        parameters: inputs.model.parameters,
        macs: inputs.model.macs,
        bytes: inputs.model.bytes,
        sha256: None,
        format: None,
    };
    let ratio = ratios(&teacher_size, &student_size, &latency_ms);
    let predicted = match beginning.unpredictable(teacher, settings) {
        Some(reason) => Err(reason),
        None => prediction::predict(&prediction::features(&audit, ratio.parameters)),
    };
    match predicted {
        Ok(prediction) => audit.prediction = Some(prediction),
        Err(reason) => audit.no_prediction = Some(reason),
    }
    let result = JobResult {
        ratio,
        teacher: teacher_size,
        student: student_size,
        latency_ms,
        agreement,
        accuracy,
        audit: Some(audit),
        training: beginning.note().into_iter().chain(second_game.note()).collect(),
        seconds: seconds(spec, &mut keeper),
    };
    let notes = notes(&result);
    let report =
        Report { model: inputs.model, settings: settings.clone(), result, layers, notes, warnings: inputs.warnings };
    let path = dir.join(spec.own_file("report.json"));
    files::write_json(&path, &report)?;
    observer.artifact(&path, Role::Report);
    reached(observer, Phase::Exporting, 1.0)
}

fn reached(observer: &mut dyn Observer, phase: Phase, fraction: f64) -> Result<(), Stop> {
    observer.progress(Progress { fraction, phase, step: 0, steps: 1, eta_seconds: None })
}

fn begin(observer: &mut dyn Observer, phase: Phase, fraction: f64) -> Result<(), Stop> {
    reached(observer, phase, fraction)?;
    leave_if_asked(observer)
}

/// Takes up the checkpoint of a student whose training is over, where that is what `keeper` has.
fn taught_before(student: &mut Student, keeper: &mut Keeper<'_>) -> Result<Option<SecondGame>, Stop> {
    let Some(Stage::Taught { second_game }) = keeper.stage() else { return Ok(None) };
    if keeper.take_up(&student.network())?.is_none() {
        return Ok(None);
    }
    student.leave_as_it_is();
    // Only weights that are finite were written.
    Ok(student.finish()?.then_some(second_game))
}

/// Wall seconds by phase, over all tasks of the job and all runs that this one goes on from.
fn seconds(spec: &TaskSpec, keeper: &mut Keeper<'_>) -> BTreeMap<String, f64> {
    let mut seconds = keeper.watch.read();
    seconds.insert("extracting".to_owned(), spec.extracting_seconds);
    let total = seconds.values().sum();
    seconds.insert("total".to_owned(), total);
    seconds
}

fn unmeasured(problem: &Problem) -> String {
    let remedy = match problem.code {
        ErrorCode::InvalidEval => "Mend the set, and measure",
        _ => "Measure",
    };
    format!("Accuracy was not measured: {problem}. {remedy} the student with `kegd score`.")
}

/// The three networks that a report compares.
struct Networks<'a> {
    teacher: &'a Graph,
    /// The student before it learned.
    compressed: &'a Graph,
    student: &'a Graph,
}

impl Networks<'_> {
    /// With what there is to be said of it.
    fn accuracy(
        &self,
        eval: &Path,
        settings: &Settings,
        device: Device,
        observer: &mut dyn Observer,
    ) -> Result<(Accuracy, Option<String>), Stop> {
        let input = (self.teacher.input.shape.as_slice(), self.teacher.layout);
        let set = EvalSet::read(eval, input, self.teacher.classes(), &settings.input, device)?;
        let all = [self.teacher, self.compressed, self.student];
        let pieces = all.into_iter().map(|graph| Ok(set.pieces(at_once(graph)?))).sum::<Result<u64, Problem>>()?;
        let mut ticker = Ticker::new(observer, Phase::Evaluating, (AUDITED, EVALUATED), pieces);
        let mut of = |graph: &Graph| -> Result<f64, Stop> {
            let executor = Executor::new(graph, device)?;
            set.accuracy(|x| answer_paced(&executor, x, || ticker.tick()))
        };
        let accuracy = Accuracy {
            teacher: of(self.teacher)?,
            compressed: of(self.compressed)?,
            student: of(self.student)?,
            n: set.count(),
        };
        Ok((accuracy, set.doubt()))
    }
}

fn measure(
    networks: &Networks<'_>,
    beginning: &Beginning,
    spec: &TaskSpec,
) -> Result<(crate::domain::report::Latency, Vec<LayerRow>), Stop> {
    let device = super::run::device(&spec.device)?;
    let (teacher, student) = (Executor::new(networks.teacher, device)?, Executor::new(networks.student, device)?);
    let latency = latency::compare(&teacher, &student, &networks.teacher.input.shape, spec.threads)?;
    let rows = beginning.timed((networks.teacher, &teacher), (networks.student, &student))?;
    Ok((latency, rows))
}

/// Writes the student's files, and returns the size of it as it goes back: in the format in which its teacher came.
fn export(
    (student, about): (&Graph, &About),
    uploaded: &str,
    (spec, dir): (&TaskSpec, &Path),
    observer: &mut dyn Observer,
) -> Result<NetworkSize, Stop> {
    let uploaded = Format::named(uploaded).unwrap_or(Format::Onnx);
    let written = file::write(student, uploaded, about)?;
    for file in &written {
        let path = dir.join(spec.own_file(&format!("student.{}", file.format.suffix())));
        std::fs::write(&path, &file.bytes)?;
        observer.artifact(&path, Role::Student);
    }
    // Whoever sent weights without a network gets the network's description beside them.
    if uploaded == Format::Safetensors {
        let path = dir.join(spec.own_file("student.json"));
        files::write_json(&path, &description::describe(student, about))?;
        observer.artifact(&path, Role::Student);
    }
    let (macs, _) = facts::facts(student)?;
    let first = written.first();
    Ok(NetworkSize {
        parameters: student.parameters(),
        macs,
        bytes: first.map_or(0, |file| file.bytes.len() as u64),
        sha256: first.map(|file| files::sha256(&file.bytes)),
        format: first.map(|file| file.format.name().to_owned()),
    })
}

fn ratios(teacher: &NetworkSize, student: &NetworkSize, latency: &crate::domain::report::Latency) -> Ratios {
    let ratio = |before: u64, after: u64| before as f64 / after.max(1) as f64;
    Ratios {
        parameters: ratio(teacher.parameters, student.parameters),
        macs: ratio(teacher.macs, student.macs),
        bytes: ratio(teacher.bytes, student.bytes),
        latency: latency.teacher.p50 / latency.student.p50.max(f64::MIN_POSITIVE),
    }
}

fn notes(result: &JobResult) -> Vec<String> {
    let mut notes = result.training.clone();
    notes.extend(audit::words::notes(result));
    notes.push("Latency is measured on the machine of this run, both networks in turn on the same input.".to_owned());
    notes
}
