//! What a teacher that still has its batch norm recorded of its training data is kept to.

use kegd::{
    domain::{config::JobConfig, presets::TeacherKind, report::Inspection, task::TaskKind},
    engine,
};

use crate::common::engine::{Seen, task, turn};

/// A ResNet14 that was exported with its batch norm.
const TEACHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/teachers/resnet14-fashion-bn.onnx");

const SMALL: &str = r#"{
    "input": {"mean": [0.2856], "std": [0.3385]},
    "extraction": {"generators": 1, "epochs": 2, "steps_per_epoch": 6, "batch_size": 16,
                   "form": "smooth", "batch_norm": 1.0}
}"#;

#[test]
fn a_job_of_a_teacher_with_batch_norm_can_train_generators_towards_what_that_recorded() {
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    std::fs::copy(TEACHER, directory.path().join("model.onnx")).unwrap();
    let config = JobConfig::parse(SMALL.as_bytes()).unwrap();
    let unknown = config.resolve(TeacherKind::PlainImage, "m").unwrap();
    engine::run(&task(TaskKind::Inspect, unknown), directory.path(), &mut Seen::default()).unwrap();
    let inspection = std::fs::read(directory.path().join("inspection.json")).unwrap();
    let inspection: Inspection = serde_json::from_slice(&inspection).unwrap();
    let settings = config.resolve(inspection.traits(), "m").unwrap();
    assert!(settings.distillation.batch_norm > 0.0, "the game keeps to the record");
    let mut seen = Seen::default();
    engine::run(&task(TaskKind::Extract { generator: 0 }, settings), directory.path(), &mut seen).unwrap();
    let distances = seen.metrics.iter().filter(|point| point.name == "batch_norm_loss").map(|point| point.value);
    let distances: Vec<f64> = distances.collect();
    assert_eq!(distances.len(), 2, "{distances:?}");
    assert!(distances[1] < 0.8 * distances[0], "{distances:?}");
}
