//! The last task of a job: compress, distil, evaluate, export, report.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use tch::Device;

use super::{
    audit,
    checkpoint::{Keeper, Stage},
    compress::{self, measure::Measures, plan::Plan},
    distill::Course,
    evalset::EvalSet,
    executor::Executor,
    files, latency,
    observer::{Observer, Stop, leave_if_asked},
    pool::Pool,
    student::Student,
    teacher::{Teacher, accuracy, answer},
};
use crate::{
    domain::{
        config::Settings,
        job::{Phase, Progress},
        model::ModelFacts,
        prediction,
        report::{Accuracy, JobResult, LayerRow, NetworkSize, Ratios, Report},
        targets::Measured,
        task::TaskSpec,
    },
    formats::{
        facts, file,
        graph::{Graph, Node},
        sniff::Format,
    },
    protocol::Role,
};

/// What the earlier tasks and the user left for this one.
pub struct Inputs {
    pub teacher: Teacher,
    pub model: ModelFacts,
    pub warnings: Vec<String>,
    pub generators: Vec<PathBuf>,
    pub eval: Option<PathBuf>,
}

/// Share of the run's progress at which each stretch ends.
const COMPRESSED: f64 = 0.03;
const DISTILLED: f64 = 0.90;
const EVALUATED: f64 = 0.98;

/// Leaves the student, the sample bank and `report.json` in `dir`.
///
/// # Errors
/// A planned failure, or [`Stop::Canceled`].
pub fn finish(inputs: Inputs, spec: &TaskSpec, dir: &Path, observer: &mut dyn Observer) -> Result<(), Stop> {
    let settings = &spec.own_settings();
    let teacher = &inputs.teacher;
    let mut keeper = Keeper::new(spec, dir);

    keeper.watch.begin("compressing");
    begin(observer, Phase::Compressing, 0.0)?;
    let plan = plan(teacher, settings, &mut keeper)?;
    let compressed = compress::apply(&teacher.graph, &plan)?;

    keeper.watch.begin("distilling");
    begin(observer, Phase::Distilling, COMPRESSED)?;
    let mut student = Student::new(compressed.clone(), teacher.device(), settings.distillation.average_decay)?;
    if !taught_before(&mut student, &mut keeper)? {
        let pool = Pool::draw(teacher, settings, &inputs.generators)?;
        // All students of a job learn from the same pool.
        if spec.kind.student() == Some(0) {
            pool.write_bank(dir, observer)?;
        }
        Course { teacher, pool: &pool, settings }.teach(
            &mut student,
            &mut keeper,
            observer,
            (COMPRESSED, DISTILLED),
        )?;
    }

    keeper.watch.begin("evaluating");
    let pair = audit::Pair { teacher, student: &student.executor, settings };
    let (agreement, mut audit) = pair.audit(&plan.rows(), observer, (DISTILLED, EVALUATED))?;
    let networks = Networks { teacher: &teacher.graph, compressed: &compressed, student: &student.graph()? };
    let (latency_ms, layers) = measure(&networks, &plan, spec)?;
    // Only here, with the student's weights final, is the evaluation set read.
    let accuracy =
        inputs.eval.as_deref().map(|path| networks.accuracy(path, settings, teacher.device())).transpose()?;

    keeper.watch.begin("exporting");
    begin(observer, Phase::Exporting, EVALUATED)?;
    let student_size = export(networks.student, &inputs.model.format, (spec, dir), observer)?;

    let teacher_size = NetworkSize {
        parameters: inputs.model.parameters,
        macs: inputs.model.macs,
        bytes: inputs.model.bytes,
        sha256: None,
        format: None,
    };
    let ratio = ratios(&teacher_size, &student_size, &latency_ms);
    match prediction::predict(&prediction::features(&audit, ratio.parameters)) {
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

/// What becomes of each layer. What was measured to decide it is kept: measured again, it might come to another student.
fn plan(teacher: &Teacher, settings: &Settings, keeper: &mut Keeper<'_>) -> Result<Plan, Stop> {
    if let Some(decided) = keeper.plan() {
        return Ok(compress::plan::repeat(&teacher.graph, decided.to_vec())?);
    }
    let compression = &settings.compression;
    let plan = compress::plan_measured(&teacher.graph, compression, &Measures::new(), teacher.device())?;
    if compression.target().is_some_and(|target| target.by == Measured::Latency) {
        keeper.keep_plan(plan.decisions());
    }
    Ok(plan)
}

fn reached(observer: &mut dyn Observer, phase: Phase, fraction: f64) -> Result<(), Stop> {
    observer.progress(Progress { fraction, phase, step: 0, steps: 1, eta_seconds: None })
}

fn begin(observer: &mut dyn Observer, phase: Phase, fraction: f64) -> Result<(), Stop> {
    reached(observer, phase, fraction)?;
    leave_if_asked(observer)
}

/// Takes up the checkpoint of a student whose training is over, where that is what `keeper` has.
fn taught_before(student: &mut Student, keeper: &mut Keeper<'_>) -> Result<bool, Stop> {
    if keeper.stage() != Some(Stage::Taught) || keeper.take_up(&student.network())?.is_none() {
        return Ok(false);
    }
    student.leave_as_it_is();
    // Only weights that are finite were written.
    Ok(student.finish()?)
}

/// Wall seconds by phase, over all tasks of the job and all runs that this one goes on from.
fn seconds(spec: &TaskSpec, keeper: &mut Keeper<'_>) -> BTreeMap<String, f64> {
    let mut seconds = keeper.watch.read();
    seconds.insert("extracting".to_owned(), spec.extracting_seconds);
    let total = seconds.values().sum();
    seconds.insert("total".to_owned(), total);
    seconds
}

/// The three networks that a report compares.
struct Networks<'a> {
    teacher: &'a Graph,
    compressed: &'a Graph,
    student: &'a Graph,
}

impl Networks<'_> {
    fn accuracy(&self, eval: &Path, settings: &Settings, device: Device) -> Result<Accuracy, Stop> {
        let set = EvalSet::read(eval, &self.teacher.input.shape, self.teacher.classes(), &settings.input, device)?;
        let of = |graph: &Graph| -> Result<f64, Stop> {
            Ok(accuracy(&answer(&Executor::new(graph, device)?, &set.x)?, &set.y)?)
        };
        Ok(Accuracy {
            teacher: of(self.teacher)?,
            compressed: of(self.compressed)?,
            student: of(self.student)?,
            n: set.x.size()[0] as u64,
        })
    }
}

fn measure(
    networks: &Networks<'_>,
    plan: &Plan,
    spec: &TaskSpec,
) -> Result<(crate::domain::report::Latency, Vec<LayerRow>), Stop> {
    let shape = &networks.teacher.input.shape;
    let device = super::run::device(&spec.device)?;
    let (teacher, student) = (Executor::new(networks.teacher, device)?, Executor::new(networks.student, device)?);
    let latency = latency::compare(&teacher, &student, shape, spec.threads)?;
    let before = latency::nodes(&teacher, shape)?;
    let after = latency::nodes(&student, shape)?;
    let mut rows = plan.rows();
    for (row, planned) in rows.iter_mut().zip(&plan.layers) {
        let node = &networks.teacher.nodes[planned.layer.node];
        row.ms_before = before.get(planned.layer.node).copied();
        row.ms_after = Some(time_of(networks.student, &after, node, &planned.layer.name));
    }
    Ok((latency, rows))
}

/// Milliseconds of a node that was kept, or of the nodes that took its place: their names begin with the layer's and a dot.
fn time_of(student: &Graph, times: &[f64], teacher: &Node, layer: &str) -> f64 {
    let replaced = |node: &Node| node.name.strip_prefix(layer).is_some_and(|rest| rest.starts_with('.'));
    let belongs = |node: &Node| node == teacher || replaced(node);
    student.nodes.iter().zip(times).filter(|(node, _)| belongs(node)).fold(0.0, |sum, (_, time)| sum + time)
}

/// Writes the student's files, and returns the size of it as it goes back: in the format in which its teacher came.
fn export(
    student: &Graph,
    uploaded: &str,
    (spec, dir): (&TaskSpec, &Path),
    observer: &mut dyn Observer,
) -> Result<NetworkSize, Stop> {
    let written = file::write(student, Format::named(uploaded).unwrap_or(Format::Onnx))?;
    for file in &written {
        let path = dir.join(spec.own_file(&format!("student.{}", file.format.suffix())));
        std::fs::write(&path, &file.bytes)?;
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
    let mut notes = audit::words::notes(result);
    notes.push("Latency is measured on the machine of this run, both networks in turn on the same input.".to_owned());
    notes
}
