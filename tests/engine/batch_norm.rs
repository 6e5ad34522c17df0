//! A teacher that still has its batch norm trains generators that keep to what that recorded.

use kegd::{
    domain::{
        config::{Form, JobConfig},
        presets::TeacherKind,
        report::Inspection,
        task::TaskKind,
    },
    engine,
};

use crate::common::engine::{Seen, task, turn};

/// A ResNet14 that was exported with its batch norm.
const TEACHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/teachers/resnet14-fashion-bn.onnx");

const SMALL: &str = r#"{
    "input": {"mean": [0.2856], "std": [0.3385]},
    "extraction": {"generators": 1, "epochs": 2, "steps_per_epoch": 6, "batch_size": 16}
}"#;

#[test]
fn a_job_of_a_teacher_with_batch_norm_trains_generators_towards_what_that_recorded() {
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    std::fs::copy(TEACHER, directory.path().join("model.onnx")).unwrap();
    let config = JobConfig::parse(SMALL.as_bytes()).unwrap();
    let unknown = config.resolve(TeacherKind::PlainImage, "m").unwrap();
    engine::run(&task(TaskKind::Inspect, unknown), directory.path(), &mut Seen::default()).unwrap();
    let inspection = std::fs::read(directory.path().join("inspection.json")).unwrap();
    let inspection: Inspection = serde_json::from_slice(&inspection).unwrap();
    let settings = config.resolve(inspection.traits(), "m").unwrap();
    assert_eq!(settings.extraction.form, Form::Smooth);
    let mut seen = Seen::default();
    engine::run(&task(TaskKind::Extract { generator: 0 }, settings), directory.path(), &mut seen).unwrap();
    let distances = seen.metrics.iter().filter(|point| point.name == "batch_norm_loss").map(|point| point.value);
    let distances: Vec<f64> = distances.collect();
    assert_eq!(distances.len(), 2, "{distances:?}");
    assert!(distances[1] < 0.8 * distances[0], "{distances:?}");
}
