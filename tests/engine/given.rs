//! Teachers of bare weights, and students that are no compressed teachers, through the tasks of the engine.

use std::{collections::BTreeMap, path::Path};

use kegd::{
    domain::{
        architecture::Architecture,
        config::JobConfig,
        presets::TeacherKind,
        problem::{ErrorCode, Problem},
        report::{Inspection, Report},
        task::{TaskKind, TaskSpec},
    },
    engine::{self, observer::Stop},
    formats::{
        graph::{Graph, Node, Op, Reduce, Tensor},
        onnx, pt2,
    },
};
use ndarray::{Array1, Array4};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{
    engine::{Seen, task, turn},
    teacher::{named, small_file},
};

const LENET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/lenet5-mnist.onnx");

/// A few steps on noise, of the pool and of the game: what is learned does not matter here.
fn spec(kind: TaskKind, model: &str, student: Option<&str>, more: Value) -> TaskSpec {
    let mut config = json!({
        "extraction": {"sampler": "uniform", "epochs": 1, "steps_per_epoch": 4, "batch_size": 16},
        "distillation": {"samples_per_generator": 64, "epochs": 2, "batch_size": 32, "adversarial_steps": 3, "student_steps": 2}
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let config = JobConfig::parse(config.to_string().as_bytes()).unwrap();
    let config = config.with_student_file(student.is_some()).unwrap();
    let task = task(kind, config.resolve(TeacherKind::PlainImage, "m").unwrap());
    let (model, student) = (model.into(), student.map(str::to_owned));
    TaskSpec { model, student, checkpoint_seconds: Some(0.0), ..task }
}

/// Small: a residual student of larger images spends minutes in its audit.
const IMAGE: [usize; 3] = [1, 4, 4];

const DISTILL: TaskKind = TaskKind::Distill { target: 0 };

fn lenet() -> Graph {
    onnx::import(&std::fs::read(LENET).unwrap(), &Default::default()).unwrap().graph
}

/// The demo's teacher as a file of bare weights, as `safetensors.torch.save_file` writes one.
fn bare(weights: &BTreeMap<String, Tensor>) -> Vec<u8> {
    let bytes: Vec<(&String, &Tensor, Vec<u8>)> =
        weights.iter().map(|(name, tensor)| (name, tensor, kegd::formats::safetensors::to_bytes(tensor))).collect();
    let views = bytes.iter().map(|(name, tensor, bytes)| {
        (name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, tensor.shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(directory.path().join(name), bytes).unwrap();
    }
    directory
}

fn read<T: serde::de::DeserializeOwned>(directory: &Path, name: &str) -> T {
    serde_json::from_slice(&std::fs::read(directory.join(name)).unwrap()).unwrap()
}

fn refused(spec: &TaskSpec, directory: &Path) -> Problem {
    match engine::run(spec, directory, &mut Seen::default()) {
        Err(Stop::Failed(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

/// An evaluation set of noise, each input with the class that a network says it is.
fn answered_by(graph: &Graph, file: &Path) {
    let x = tch::no_grad(|| tch::Tensor::randn([200, 1, 4, 4], (tch::Kind::Float, tch::Device::Cpu)));
    let executor = engine::executor::Executor::new(graph, tch::Device::Cpu).unwrap();
    let classes = tch::no_grad(|| executor.forward(&x).unwrap().argmax(-1, false));
    let x = Array4::<f32>::from_shape_vec((200, 1, 4, 4), Vec::try_from(x.flatten(0, -1)).unwrap()).unwrap();
    let y = Array1::<i64>::from_vec(Vec::try_from(classes).unwrap());
    let mut writer = ndarray_npy::NpzWriter::new(std::fs::File::create(file).unwrap());
    writer.add_array("x", &x).unwrap();
    writer.add_array("y", &y).unwrap();
    writer.finish().unwrap();
}

#[test]
fn weights_come_back_as_weights_that_say_whose_they_are() {
    let _turn = turn();
    let teacher = named(Architecture::Resnet14, &IMAGE, 4);
    let directory = folder(&[("m.safetensors", &bare(&teacher.weights))]);
    answered_by(&teacher, &directory.path().join("eval.npz"));
    let config = json!({"arch": "resnet14", "compression": {"ratio": 4}, "input": {"shape": IMAGE}});
    let spec = TaskSpec { eval: Some("eval.npz".into()), ..spec(DISTILL, "m.safetensors", None, config) };
    let mut seen = Seen::default();
    engine::run(&spec, directory.path(), &mut seen).unwrap();
    let report: Report = read(directory.path(), "report.json");
    let accuracy = report.result.accuracy.as_ref().unwrap();
    assert_eq!(accuracy.teacher, 1.0, "the very network whose weights they are");
    assert_eq!((report.model.format.as_str(), report.model.parameters), ("safetensors", teacher.parameters()));
    assert_eq!(report.result.student.format.as_deref(), Some("safetensors"));
    for name in ["student.safetensors", "student.json", "student.onnx"] {
        assert!(seen.files.iter().any(|file| file == name), "{name} is missing among {:?}", seen.files);
    }

    let bytes = std::fs::read(directory.path().join("student.safetensors")).unwrap();
    assert_eq!(report.result.student.bytes, bytes.len() as u64);
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let inside: Value = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["graph"]).unwrap();
    let beside: Value = read(directory.path(), "student.json");
    assert_eq!(inside, beside);
    assert_eq!(beside["architecture"], "resnet14");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let described = beside["weights"].as_object().unwrap();
    assert_eq!(described.len(), file.len());
    for (name, shape) in described {
        assert_eq!(json!(file.tensor(name).unwrap().shape()), *shape, "{name}");
    }
    let onnx_file = std::fs::read(directory.path().join("student.onnx")).unwrap();
    let graph = onnx::import(&onnx_file, &Default::default()).unwrap().graph;
    let names = |key: &str| -> Vec<String> {
        beside["layers"].as_array().unwrap().iter().map(|layer| layer[key].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("name"), graph.nodes.iter().map(|node| node.name.clone()).collect::<Vec<_>>());
    let decomposed = beside["decompositions"].as_array().unwrap();
    assert!(!decomposed.is_empty());
    for made in decomposed {
        let layer = made["layer"].as_str().unwrap();
        assert!(names("name").iter().any(|name| name.starts_with(&format!("{layer}."))), "{layer}");
        let row = report.layers.iter().find(|row| row.layer == layer).unwrap();
        assert_eq!((&made["action"], &made["ranks"]), (&json!(row.action), &json!(row.ranks)));
    }
}

#[test]
fn a_network_by_its_name_learns_and_can_be_taken_up_again() {
    let _turn = turn();
    let model = onnx::export(&named(Architecture::Mlp, &IMAGE, 4)).unwrap();
    let config = json!({"student": {"arch": "resnet14"}, "seed": 5});
    let spec = spec(DISTILL, "m.onnx", None, config);
    let whole = folder(&[("m.onnx", &model)]);
    engine::run(&spec, whole.path(), &mut Seen::default()).unwrap();

    let first = folder(&[("m.onnx", &model)]);
    let mut seen = Seen { leave: true, ..Seen::default() };
    assert!(matches!(engine::run(&spec, first.path(), &mut seen), Err(Stop::Interrupted)));
    let checkpoint = seen.checkpoint.expect("it left a checkpoint");
    let second = folder(&[("m.onnx", &model)]);
    std::fs::copy(&checkpoint, second.path().join(checkpoint.file_name().unwrap())).unwrap();
    let resume = checkpoint.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    engine::run(&TaskSpec { resume, run: 2, ..spec.clone() }, second.path(), &mut Seen::default()).unwrap();
    let student = |directory: &TempDir| std::fs::read(directory.path().join("student.onnx")).unwrap();
    assert!(student(&whole) == student(&second), "another student after an interruption");

    let report: Report = read(whole.path(), "report.json");
    assert!(
        report.layers.iter().all(|row| row.action == "anew" && row.ms_after.unwrap() > 0.0 && row.ms_before.is_none())
    );
    assert_eq!(report.layers[0].layer, "conv1");
    assert!(report.notes[0].contains("random weights"), "{:?}", report.notes);
    assert!(report.result.audit.unwrap().no_prediction.unwrap().contains("this student is none"));
    let graph = onnx::import(&student(&whole), &Default::default()).unwrap().graph;
    assert_eq!((graph.classes(), graph.input.name.as_str()), (4, "input"));
    // Its batch norm has learned what its values are like.
    let variance = graph.weights["layer1.0.bn1.running_var"].as_f32().unwrap();
    assert!(variance.iter().all(|value| value.is_finite() && (value - 1.0).abs() > 1e-4), "{variance:?}");
}

#[test]
fn a_students_file_keeps_its_statistics_or_begins_anew() {
    let _turn = turn();
    let teacher = onnx::export(&named(Architecture::Mlp, &IMAGE, 4)).unwrap();
    let own = named(Architecture::Resnet14, &IMAGE, 4);
    let file = onnx::export(&own).unwrap();
    let made = |init: &str| {
        let directory = folder(&[("m.onnx", &teacher), ("given-s.onnx", &file)]);
        let spec = spec(DISTILL, "m.onnx", Some("given-s.onnx"), json!({"student": {"init": init}}));
        engine::run(&spec, directory.path(), &mut Seen::default()).unwrap();
        let bytes = std::fs::read(directory.path().join("student.onnx")).unwrap();
        let report: Report = read(directory.path(), "report.json");
        (onnx::import(&bytes, &Default::default()).unwrap().graph, report)
    };
    let (kept, report) = made("weights");
    assert_eq!(kept.weights["bn1.running_mean"], own.weights["bn1.running_mean"]);
    assert_ne!(kept.weights["conv1.weight"], own.weights["conv1.weight"], "it learned");
    assert!(report.layers.iter().all(|row| row.action == "given"));
    let (anew, report) = made("anew");
    assert_ne!(anew.weights["bn1.running_mean"], own.weights["bn1.running_mean"]);
    assert!(report.layers.iter().all(|row| row.action == "anew"));
}

#[test]
fn an_inspection_shows_the_student_or_refuses_it() {
    let _turn = turn();
    let teacher = onnx::export(&named(Architecture::Mlp, &IMAGE, 4)).unwrap();
    let other = onnx::export(&named(Architecture::Resnet14, &IMAGE, 5)).unwrap();
    let directory =
        folder(&[("m.onnx", &teacher), ("given-s.onnx", &other), ("w.safetensors", &bare(&lenet().weights))]);
    let named = spec(TaskKind::Inspect, "m.onnx", None, json!({"student": {"arch": "mlp"}}));
    engine::run(&named, directory.path(), &mut Seen::default()).unwrap();
    let inspection: Inspection = read(directory.path(), "inspection.json");
    let student = inspection.student.unwrap();
    assert_eq!((student.format, inspection.plan.len()), (None, 11));
    assert!(inspection.warnings.iter().any(|warning| warning.contains("no batch norm")));

    let misfit = spec(TaskKind::Inspect, "m.onnx", Some("given-s.onnx"), json!({}));
    assert!(refused(&misfit, directory.path()).detail.contains("5 classes apart, and the teacher 4"));
    let needless = spec(TaskKind::Inspect, "m.onnx", None, json!({"arch": "lenet5"}));
    let problem = refused(&needless, directory.path());
    assert!(problem.detail.contains("the file has its network"), "{problem}");
    let bare = spec(TaskKind::Inspect, "w.safetensors", None, json!({}));
    assert!(refused(&bare, directory.path()).hint.unwrap().contains(r#"{"arch": "lenet5"}"#));
    let wrong = spec(TaskKind::Inspect, "w.safetensors", None, json!({"arch": "resnet18"}));
    let problem = refused(&wrong, directory.path());
    assert!(problem.errors.len() > 50 && problem.detail.contains("missing"), "{problem}");
}

#[test]
fn a_named_student_comes_nearer_to_its_teacher() {
    let _turn = turn();
    let directory = folder(&[("m.onnx", &small_file())]);
    let config = json!({
        "student": {"arch": "mlp"},
        "input": {"mean": [0.1307], "std": [0.3081]},
        "distillation": {"samples_per_generator": 64, "epochs": 0, "batch_size": 64, "adversarial_steps": 20}
    });
    let mut seen = Seen::default();
    engine::run(&spec(DISTILL, "m.onnx", None, config), directory.path(), &mut seen).unwrap();
    let distances: Vec<f64> =
        seen.metrics.iter().filter(|point| point.name == "student_distance").map(|point| point.value).collect();
    let (first, last) = (distances[0], distances[distances.len() - 1]);
    assert!(distances.len() == 20 && last < 0.8 * first, "{distances:?}");
}

/// Whoever learns that hours later has lost them.
#[test]
fn a_student_that_cannot_go_back_as_its_teacher_came_is_refused_at_once() {
    let _turn = turn();
    let teacher = named(Architecture::Resnet14, &IMAGE, 4);
    // The product over one channel: nothing of PyTorch's that a file could name.
    let mut student = teacher.clone();
    let product = Op::Reduce { kind: Reduce::Product, axes: vec![1], keep_dims: true };
    let (name, output) = ("product".to_owned(), "flat".to_owned());
    student
        .nodes
        .insert(0, Node { name, op: product, inputs: vec![student.input.name.clone()], outputs: vec![output.clone()] });
    student.nodes[1].inputs[0] = output;
    let files = [("m.onnx", onnx::export(&teacher).unwrap()), ("m.pt2", pt2::export(&teacher).unwrap())];
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let directory = folder(&files);
    std::fs::write(directory.path().join("s.onnx"), onnx::export(&student).unwrap()).unwrap();
    let inspected =
        |model: &str| spec(TaskKind::Inspect, model, Some("s.onnx"), json!({"student": {"init": "weights"}}));
    engine::run(&inspected("m.onnx"), directory.path(), &mut Seen::default()).unwrap();
    let problem = refused(&inspected("m.pt2"), directory.path());
    assert_eq!((problem.code, problem.param.as_deref()), (ErrorCode::UnsupportedOperators, Some("student")));
    assert!(problem.detail.contains("pt2") && problem.detail.contains("product"), "{problem}");
}
