//! A teacher that still has its batch norm trains generators that keep to what that recorded.

use std::path::Path;

use kegd::{
    domain::{
        config::{Form, JobConfig},
        job::Progress,
        presets::TeacherKind,
        report::Inspection,
        task::TaskKind,
    },
    engine::{
        self,
        observer::{Observer, Stop},
    },
    protocol::{MetricPoint, Role},
};

use crate::common::engine::{task, turn};

/// A ResNet14 that was exported with its batch norm.
const TEACHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/teachers/resnet14-fashion-bn.onnx");

const SMALL: &str = r#"{
    "input": {"mean": [0.2856], "std": [0.3385]},
    "extraction": {"generators": 1, "epochs": 2, "steps_per_epoch": 6, "batch_size": 16}
}"#;

#[derive(Default)]
struct Seen(Vec<MetricPoint>);

impl Observer for Seen {
    fn progress(&mut self, _: Progress) -> Result<(), Stop> {
        Ok(())
    }

    fn metrics(&mut self, points: Vec<MetricPoint>) {
        self.0.extend(points);
    }

    fn sample(&mut self, _: &Path, _: u32, _: u32, _: u64) {}

    fn artifact(&mut self, _: &Path, _: Role) {}
}

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
    let distances = seen.0.iter().filter(|point| point.name == "batch_norm_loss").map(|point| point.value);
    let distances: Vec<f64> = distances.collect();
    assert_eq!(distances.len(), 2, "{distances:?}");
    assert!(distances[1] < 0.8 * distances[0], "{distances:?}");
}
