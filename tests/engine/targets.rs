//! Students by other targets than a ratio, through the tasks of the engine: as small or as fast as was asked for.

use std::{collections::BTreeMap, path::Path};

use kegd::{
    domain::{
        config::JobConfig,
        presets::TeacherKind,
        report::Report,
        task::{TaskKind, TaskSpec},
    },
    engine::{self, observer::Stop},
    formats::{
        graph::{Graph, Node, Op, Port, Tensor, Unary},
        onnx,
    },
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{
    engine::{Seen, task, turn},
    teacher,
};

/// A few steps on noise: what is learned does not matter here.
fn spec(compression: Value, target: u32) -> TaskSpec {
    let config = json!({
        "compression": compression,
        "extraction": {"sampler": "uniform", "epochs": 1, "steps_per_epoch": 4, "batch_size": 16},
        "distillation": {"samples_per_generator": 64, "epochs": 2, "batch_size": 32, "adversarial_steps": 0}
    });
    let config = JobConfig::parse(config.to_string().as_bytes()).unwrap();
    let task = task(TaskKind::Distill { target }, config.resolve(TeacherKind::PlainImage, "m").unwrap());
    TaskSpec { checkpoint_seconds: Some(0.0), ..task }
}

fn directory(model: &[u8]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("model.onnx"), model).unwrap();
    directory
}

fn report(directory: &Path, name: &str) -> Report {
    serde_json::from_slice(&std::fs::read(directory.join(name)).unwrap()).unwrap()
}

#[test]
fn a_student_has_the_size_that_was_asked_for() {
    let _turn = turn();
    let directory = directory(&teacher::small_file());
    for (compression, most) in [
        (json!({"parameters": 4_000}), 4_000),
        (json!({"macs": 20_000, "keep": ["conv1"]}), 20_000),
        (json!({"bytes": 20_000}), 20_000),
    ] {
        engine::run(&spec(compression.clone(), 0), directory.path(), &mut Seen::default()).unwrap();
        let report = report(directory.path(), "report.json");
        let student = &report.result.student;
        let size = match compression.as_object().unwrap().keys().next().unwrap().as_str() {
            "bytes" => std::fs::metadata(directory.path().join("student.onnx")).unwrap().len(),
            "keep" | "macs" => student.macs,
            _ => student.parameters,
        };
        assert!(size <= most && size > most * 9 / 10, "{size} of {most}, {compression}");
    }
}

#[test]
fn students_of_a_sweep_lie_side_by_side() {
    let _turn = turn();
    let directory = directory(&teacher::small_file());
    let mut seen = Seen::default();
    let sweep = json!({"ratio": [8, 2.5]});
    for target in [1, 0] {
        engine::run(&spec(sweep.clone(), target), directory.path(), &mut seen).unwrap();
    }
    seen.files.sort();
    let expected = [
        "bank.npz",
        "report-ratio-2.5.json",
        "report-ratio-8.json",
        "student-ratio-2.5.onnx",
        "student-ratio-2.5.safetensors",
        "student-ratio-8.onnx",
        "student-ratio-8.safetensors",
    ];
    assert_eq!(seen.files, expected);
    let large = report(directory.path(), "report-ratio-2.5.json");
    let small = report(directory.path(), "report-ratio-8.json");
    assert!(large.result.ratio.parameters >= 2.5 && large.result.ratio.parameters < 3.0);
    assert!(small.result.ratio.parameters >= 8.0);
    // The student is the one that a job of its own would have made.
    engine::run(&spec(json!({"ratio": 2.5}), 0), directory.path(), &mut seen).unwrap();
    let read = |name: &str| std::fs::read(directory.path().join(name)).unwrap();
    assert!(read("student.onnx") == read("student-ratio-2.5.onnx"), "another student");
    assert_eq!(report(directory.path(), "report.json").settings, large.settings);
}

/// Two large linear layers, in which nearly all of the time goes.
fn wide() -> Vec<u8> {
    let (features, classes) = (1024, 4);
    let weight = |rows: usize, seed: usize| {
        let value = |index: usize| ((index * 7919 + seed * 104_729) % 2003) as f32 / 2003.0 - 0.5;
        Tensor::f32(vec![rows, features], (0..rows * features).map(value).collect())
    };
    let gemm = |name: &str, input: &str| Node {
        name: name.into(),
        op: Op::Gemm { alpha: 1.0, beta: 1.0, trans_b: true },
        inputs: vec![input.into(), format!("{name}.weight")],
        outputs: vec![format!("{name}.out")],
    };
    let relu = Node {
        name: "relu".into(),
        op: Op::Unary(Unary::Relu),
        inputs: vec!["one.out".into()],
        outputs: vec!["relu.out".into()],
    };
    let graph = Graph {
        input: Port { name: "x".into(), shape: vec![features] },
        layout: Default::default(),
        output: Port { name: "three.out".into(), shape: vec![classes] },
        nodes: vec![gemm("one", "x"), relu, gemm("two", "relu.out"), gemm("three", "two.out")],
        weights: BTreeMap::from([
            ("one.weight".into(), weight(features, 1)),
            ("two.weight".into(), weight(features, 2)),
            ("three.weight".into(), weight(classes, 3)),
        ]),
        opset: 17,
        metadata: [].into(),
    };
    onnx::export(&graph).unwrap()
}

#[test]
fn a_student_is_as_fast_as_was_asked_for_and_stays_the_same_when_it_is_taken_up_again() {
    let _turn = turn();
    let model = wide();
    let first = directory(&model);
    let spec = spec(json!({"latency": 2.0, "keep": ["three"]}), 0);
    let mut seen = Seen { leave: true, ..Seen::default() };
    assert!(matches!(engine::run(&spec, first.path(), &mut seen), Err(Stop::Interrupted)));
    let checkpoint = seen.checkpoint.expect("it left a checkpoint");
    let second = directory(&model);
    std::fs::copy(&checkpoint, second.path().join(checkpoint.file_name().unwrap())).unwrap();
    let resume = checkpoint.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    engine::run(&TaskSpec { resume, run: 2, ..spec }, second.path(), &mut Seen::default()).unwrap();

    let report = report(second.path(), "report.json");
    // Measured once more, beside whatever else this machine does now.
    assert!(report.result.ratio.latency > 1.4, "{}", report.result.ratio.latency);
    assert_eq!(report.layers[2].reason, "kept as asked");
    let faster: Vec<_> = report.layers.iter().filter(|row| row.action == "svd").collect();
    assert!(!faster.is_empty() && faster.iter().all(|row| row.reason.contains("ms instead of")), "{:?}", report.layers);
    // The numbers in the reasons are those that were measured before the stop, not after it.
    let kept = String::from_utf8_lossy(&std::fs::read(&checkpoint).unwrap()).into_owned();
    assert!(faster.iter().all(|row| kept.contains(&row.reason)), "{:?}", report.layers);
}

#[test]
fn a_time_that_cannot_be_reached_is_refused_with_the_one_that_can() {
    let _turn = turn();
    let directory = directory(&teacher::small_file());
    let Err(Stop::Failed(problem)) =
        engine::run(&spec(json!({"latency": 500}), 0), directory.path(), &mut Seen::default())
    else {
        panic!("it was reached")
    };
    assert_eq!((problem.status, problem.param.as_deref()), (422, Some("config.compression.latency")));
    assert!(problem.detail.contains("the fastest one measured was"), "{problem}");
    // The teacher itself is as fast as the teacher.
    engine::run(&spec(json!({"latency": 1}), 0), directory.path(), &mut Seen::default()).unwrap();
    assert!(report(directory.path(), "report.json").layers.iter().all(|row| row.action == "keep"));
}
