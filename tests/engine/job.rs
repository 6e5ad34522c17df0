//! The three tasks of a job on a real teacher, in one process: what they leave, and that the seed alone decides it.

use std::path::Path;

use kegd::{
    domain::{
        config::{JobConfig, Sampler, Settings},
        job::{Phase, Progress},
        presets::TeacherKind,
        problem::ErrorCode,
        report::{Inspection, Report},
        task::TaskKind,
    },
    engine::{
        self,
        observer::{Observer, Stop},
    },
    formats::onnx,
    protocol::{MetricPoint, Role},
};
use ndarray::{Array1, ArrayD};
use ndarray_npy::{NpzWriter, WritableElement};

use crate::common::{
    engine::{task, turn},
    teacher,
};

const TEACHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/lenet5-mnist.onnx");
const TEST_SET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/mnist-test.npz");

/// A few steps of everything.
const SMALL: &str = r#"{
    "input": {"mean": [0.1307], "std": [0.3081]},
    "compression": {"ratio": 4.0},
    "extraction": {"generators": 1, "epochs": 1, "steps_per_epoch": 12, "batch_size": 32},
    "distillation": {"samples_per_generator": 64, "epochs": 1, "batch_size": 32, "adversarial_steps": 3, "student_steps": 2}
}"#;

#[derive(Default)]
struct Seen {
    progress: Vec<Progress>,
    metrics: Vec<MetricPoint>,
    files: Vec<String>,
    cancel_after: Option<usize>,
    cancel_in: Option<Phase>,
}

impl Observer for Seen {
    fn progress(&mut self, progress: Progress) -> Result<(), Stop> {
        let phase = progress.phase;
        self.progress.push(progress);
        if self.cancel_in == Some(phase) {
            return Err(Stop::Canceled);
        }
        match self.cancel_after {
            Some(most) if self.progress.len() > most => Err(Stop::Canceled),
            _ => Ok(()),
        }
    }

    fn metrics(&mut self, points: Vec<MetricPoint>) {
        self.metrics.extend(points);
    }

    fn sample(&mut self, file: &Path, _generator: u32, _epoch: u32, _count: u64) {
        self.artifact(file, Role::Samples);
    }

    fn artifact(&mut self, file: &Path, _role: Role) {
        assert!(file.exists(), "{} is announced before it is there", file.display());
        self.files.push(file.file_name().unwrap().to_string_lossy().into_owned());
    }
}

fn settings(seed: u64) -> Settings {
    let mut config = JobConfig::parse(SMALL.as_bytes()).unwrap();
    config.seed = Some(seed);
    config.resolve(TeacherKind::PlainImage, "m").unwrap()
}

/// With the real teacher.
fn directory() -> tempfile::TempDir {
    directory_with(&std::fs::read(TEACHER).unwrap())
}

fn directory_with(model: &[u8]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("model.onnx"), model).unwrap();
    directory
}

/// Runs a whole job in a directory that has its model, and its evaluation set if there shall be one; what was seen.
fn job(seed: u64, directory: &Path) -> Seen {
    let _turn = turn();
    let mut seen = Seen::default();
    engine::run(&task(TaskKind::Extract { generator: 0 }, settings(seed)), directory, &mut seen).unwrap();
    let mut last = task(TaskKind::Distill { target: 0 }, settings(seed));
    last.generators = vec!["generator-0.safetensors".into()];
    last.eval = directory.join("eval.npz").exists().then(|| "eval.npz".into());
    engine::run(&last, directory, &mut seen).unwrap();
    seen
}

fn read<T: serde::de::DeserializeOwned>(directory: &Path, name: &str) -> T {
    serde_json::from_slice(&std::fs::read(directory.join(name)).unwrap()).unwrap()
}

#[test]
fn inspection_names_the_layers_and_plans_the_ratio() {
    let directory = directory();
    engine::run(&task(TaskKind::Inspect, settings(1)), directory.path(), &mut Seen::default()).unwrap();
    let inspection: Inspection = read(directory.path(), "inspection.json");
    assert_eq!((inspection.model.parameters, inspection.model.classes), (61_706, 10));
    assert_eq!(inspection.layers.len(), 5);
    let after: u64 = inspection.plan.iter().map(|row| row.parameters_after).sum();
    assert!(after <= 61_706 / 4, "{after}");
}

#[test]
fn a_job_leaves_a_student_that_is_as_small_as_asked_and_a_report_that_says_so() {
    let directory = directory();
    std::fs::copy(TEST_SET, directory.path().join("eval.npz")).unwrap();
    let seen = job(1, directory.path());
    let report: Report = read(directory.path(), "report.json");
    let student =
        onnx::import(&std::fs::read(directory.path().join("student.onnx")).unwrap(), &Default::default()).unwrap();
    assert_eq!(student.graph.parameters(), report.result.student.parameters);
    assert!(report.result.ratio.parameters >= 4.0);
    assert!(
        report.layers.iter().all(|row| row.ms_before.unwrap() > 0.0 && row.ms_after.unwrap() > 0.0),
        "{:?}",
        report.layers
    );
    let accuracy = report.result.accuracy.unwrap();
    assert_eq!(accuracy.n, 10_000);
    assert!((accuracy.teacher - 0.9922).abs() < 0.001, "{}", accuracy.teacher);
    assert!(accuracy.compressed > 0.8, "{}", accuracy.compressed);
    assert_eq!(report.result.seconds["extracting"], 1.5);
    let audit = report.result.audit.unwrap();
    assert_eq!(audit.of(audit.lowest).unwrap().agreement.share, report.result.agreement.lowest);
    assert!((0.05..1.0).contains(&audit.weight_error), "{}", audit.weight_error);
    assert!(audit.prediction.is_some() != audit.no_prediction.is_some(), "a prediction, or why there is none");
    for file in [
        "generator-0.safetensors",
        "samples-g0-e0001.npz",
        "bank.npz",
        "student.onnx",
        "student.safetensors",
        "report.json",
    ] {
        assert!(seen.files.iter().any(|seen| seen == file), "{file} is missing among {:?}", seen.files);
    }
    for name in ["classifier_loss", "decoder_loss", "adversarial_distance", "student_distance"] {
        assert!(seen.metrics.iter().any(|point| point.name == name && point.value.is_finite()), "{name}");
    }
    assert!(seen.progress.iter().all(|progress| (0.0..=1.0).contains(&progress.fraction)));
}

#[test]
fn the_seed_alone_decides_the_student_and_its_audit() {
    let made = |seed| {
        let made = directory_with(&teacher::small_file());
        job(seed, made.path());
        let bytes = ["student.onnx", "student.safetensors"].map(|name| std::fs::read(made.path().join(name)).unwrap());
        let result = read::<Report>(made.path(), "report.json").result;
        (bytes, result.agreement, result.audit.unwrap())
    };
    let first = made(1);
    assert!(first == made(1), "the same seed gave another student, or another audit");
    let other = made(2);
    assert!(first.0 != other.0, "another seed gave the same student");
    assert_ne!(first.2, other.2);
}

#[test]
fn a_canceled_run_stops() {
    let directory = directory();
    let _turn = turn();
    let mut seen = Seen { cancel_after: Some(3), ..Seen::default() };
    let end = engine::run(&task(TaskKind::Extract { generator: 0 }, settings(1)), directory.path(), &mut seen);
    assert!(matches!(end, Err(Stop::Canceled)));
    assert!(seen.progress.len() < 8);
}

#[test]
fn a_student_is_there_before_it_is_measured() {
    let directory = directory_with(&teacher::small_file());
    let _turn = turn();
    let mut noise = settings(1);
    noise.extraction.sampler = Sampler::Gaussian;
    let mut seen = Seen { cancel_in: Some(Phase::Evaluating), ..Seen::default() };
    let end = engine::run(&task(TaskKind::Distill { target: 0 }, noise), directory.path(), &mut seen);
    assert!(matches!(end, Err(Stop::Canceled)), "{end:?}");
    assert_eq!(seen.files, ["bank.npz", "student.onnx", "student.safetensors"]);
}

/// Writes an evaluation set with these inputs, and as many labels of the value `label`.
fn write_eval<X: WritableElement + Clone, Y: WritableElement + Clone>(directory: &Path, x: ArrayD<X>, label: Y) {
    let mut writer = NpzWriter::new(std::fs::File::create(directory.join("eval.npz")).unwrap());
    writer.add_array("y", &Array1::from_elem(x.shape()[0], label)).unwrap();
    writer.add_array("x", &x).unwrap();
    writer.finish().unwrap();
}

const IMAGES: [usize; 4] = [3, 1, 28, 28];

#[test]
fn an_evaluation_set_that_cannot_be_used_is_refused_before_any_training() {
    let directory = directory();
    let refused = |words: &str| {
        let mut inspect = task(TaskKind::Inspect, settings(1));
        inspect.eval = Some("eval.npz".into());
        let Err(Stop::Failed(problem)) = engine::run(&inspect, directory.path(), &mut Seen::default()) else {
            panic!("it was accepted: {words}")
        };
        assert_eq!(problem.code, ErrorCode::InvalidEval);
        assert!(problem.detail.contains(words), "{}", problem.detail);
    };
    write_eval(directory.path(), ArrayD::<f32>::zeros(&[4, 7][..]), 0_i64);
    refused("[4, 7]");
    write_eval(directory.path(), ArrayD::<u8>::zeros(&[3, 1, 0, 0][..]), 0_i64);
    refused("`x` is [3, 1, 0, 0]: it holds nothing");
    write_eval(directory.path(), ArrayD::<i32>::zeros(&IMAGES[..]), 0_i64);
    refused("`x` is int32, and can be float32, float64, uint8");
    write_eval(directory.path(), ArrayD::<f32>::zeros(&IMAGES[..]), 0.0_f32);
    refused("`y` is float32, and can be int64");
    write_eval(directory.path(), ArrayD::<f32>::zeros(&IMAGES[..]), true);
    refused("`y` is bool");
}

#[test]
fn labels_that_the_model_does_not_have_cost_the_accuracy_and_not_the_student() {
    let directory = directory();
    write_eval(directory.path(), ArrayD::<f64>::zeros(&IMAGES[..]), 10_i16);
    job(1, directory.path());
    let report: Report = read(directory.path(), "report.json");
    assert_eq!(report.result.accuracy, None);
    assert!(report.warnings.iter().any(|warning| warning.contains("run from 10 to 10")), "{:?}", report.warnings);
    assert!(directory.path().join("student.onnx").exists());
}

#[test]
fn inputs_in_double_precision_and_labels_of_any_integer_are_read() {
    let directory = directory();
    write_eval(directory.path(), ArrayD::<f64>::zeros(&IMAGES[..]), 9_u32);
    job(1, directory.path());
    let report: Report = read(directory.path(), "report.json");
    assert_eq!(report.result.accuracy.map(|accuracy| accuracy.n), Some(3));
}
