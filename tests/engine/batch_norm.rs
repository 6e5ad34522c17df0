//! What a teacher that still has its batch norm recorded of its training data is kept to.

use std::path::Path;

use kegd::{
    domain::{
        config::JobConfig,
        presets::TeacherKind,
        report::{Inspection, Report},
        task::TaskKind,
    },
    engine,
};

use crate::common::engine::{Seen, task, turn};

/// A ResNet14 that was exported with its batch norm.
const TRAINED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/teachers/resnet14-fashion-bn.onnx");

/// A small one whose weights a formula makes.
const SMALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/resnet_batchnorm_dynamo18.onnx");

fn config() -> JobConfig {
    let config = br#"{
        "compression": {"ratio": 1.5},
        "extraction": {"generators": 1, "epochs": 2, "steps_per_epoch": 6, "batch_size": 16, "form": "smooth", "batch_norm": 1.0},
        "distillation": {"samples_per_generator": 64, "batch_size": 32, "adversarial_steps": 2, "student_steps": 2}
    }"#;
    JobConfig::parse(config).unwrap()
}

fn directory_with(model: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::copy(model, directory.path().join("model.onnx")).unwrap();
    directory
}

fn read<T: serde::de::DeserializeOwned>(directory: &Path, name: &str) -> T {
    serde_json::from_slice(&std::fs::read(directory.join(name)).unwrap()).unwrap()
}

#[test]
fn generators_come_nearer_to_what_was_recorded() {
    let _turn = turn();
    let directory = directory_with(TRAINED);
    let settings = config().resolve(TeacherKind::ResidualImage, "m").unwrap();
    let mut seen = Seen::default();
    engine::run(&task(TaskKind::Extract { generator: 0 }, settings), directory.path(), &mut seen).unwrap();
    let distances = seen.metrics.iter().filter(|point| point.name == "batch_norm_loss").map(|point| point.value);
    let distances: Vec<f64> = distances.collect();
    assert_eq!(distances.len(), 2, "{distances:?}");
    assert!(distances[1] < 0.8 * distances[0], "{distances:?}");
}

#[test]
fn the_game_keeps_to_the_record_and_nothing_is_predicted_where_the_audit_does() {
    let _turn = turn();
    let directory = directory_with(SMALL);
    let directory = directory.path();
    let unknown = config().resolve(TeacherKind::PlainImage, "m").unwrap();
    engine::run(&task(TaskKind::Inspect, unknown), directory, &mut Seen::default()).unwrap();
    let settings = config().resolve(read::<Inspection>(directory, "inspection.json").traits(), "m").unwrap();
    assert!(settings.distillation.batch_norm > 0.0);
    engine::run(&task(TaskKind::Extract { generator: 0 }, settings.clone()), directory, &mut Seen::default()).unwrap();
    let mut last = task(TaskKind::Distill { target: 0 }, settings);
    last.generators = vec!["generator-0.safetensors".into()];
    engine::run(&last, directory, &mut Seen::default()).unwrap();
    let audit = read::<Report>(directory, "report.json").result.audit.unwrap();
    assert!(audit.prediction.is_none());
    assert!(audit.no_prediction.unwrap().contains("extraction.batch_norm"));
}
