//! TorchScript modules with operators that have no rule: they teach students that are given, where they may run.

mod common;

use std::path::Path;

use common::{
    engine::{Seen, task, turn},
    service::Service,
};
use kegd::{
    domain::{
        config::JobConfig,
        presets::TeacherKind,
        problem::{ErrorCode, Problem},
        report::{Inspection, Report},
        task::{TaskKind, TaskSpec},
    },
    engine::{self, observer::Stop},
};
use reqwest::{
    Client,
    multipart::{Form, Part},
};
use serde_json::{Value, json};
use tch::Tensor;
use tempfile::TempDir;

const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/opaque/unknown_traced.pt");

fn spec(kind: TaskKind, student: bool) -> TaskSpec {
    let mut config = json!({
        "extraction": {"sampler": "uniform", "epochs": 1, "steps_per_epoch": 4, "batch_size": 16},
        "distillation": {"samples_per_generator": 64, "epochs": 2, "batch_size": 32, "adversarial_steps": 3, "student_steps": 2}
    });
    if student {
        config["student"] = json!({"arch": "mlp"});
    }
    let config = JobConfig::parse(config.to_string().as_bytes()).unwrap();
    TaskSpec { model: "m.pt".into(), ..task(kind, config.resolve(TeacherKind::Tabular, "m").unwrap()) }
}

fn folder() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::copy(MODULE, directory.path().join("m.pt")).unwrap();
    directory
}

fn read<T: serde::de::DeserializeOwned>(directory: &Path, name: &str) -> T {
    serde_json::from_slice(&std::fs::read(directory.join(name)).unwrap()).unwrap()
}

fn refused(spec: &TaskSpec) -> Problem {
    match engine::run(spec, folder().path(), &mut Seen::default()) {
        Err(Stop::Failed(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_teaches_a_student_that_comes_back_in_its_format() {
    let _turn = turn();
    let directory = folder();
    engine::run(&spec(TaskKind::Inspect, true), directory.path(), &mut Seen::default()).unwrap();
    let inspection: Inspection = read(directory.path(), "inspection.json");
    assert_eq!((inspection.model.format.as_str(), inspection.model.classes), ("torchscript", 5));
    // 16 x 24 + 24 + 24 x 5 + 5
    assert_eq!((inspection.model.parameters, inspection.model.ends_in_softmax), (533, true));
    let warnings = inspection.warnings;
    assert!(warnings.iter().any(|warning| warning.contains("teaches as it is")), "{warnings:?}");

    engine::run(&spec(TaskKind::Distill { target: 0 }, true), directory.path(), &mut Seen::default()).unwrap();
    let report: Report = read(directory.path(), "report.json");
    assert_eq!(report.result.student.format.as_deref(), Some("torchscript"));
    assert!(report.result.agreement.noise.n > 0);
    let bytes = std::fs::read(directory.path().join("student.pt")).unwrap();
    let student = tch::CModule::load_data(&mut std::io::Cursor::new(bytes)).unwrap();
    assert_eq!(student.forward_ts(&[Tensor::zeros([3, 16], tch::kind::FLOAT_CPU)]).unwrap().size(), [3, 5]);
}

#[test]
fn without_a_student_or_the_right_to_run_it_is_refused() {
    let _turn = turn();
    let problem = refused(&spec(TaskKind::Inspect, false));
    assert_eq!(problem.code, ErrorCode::UnsupportedOperators);
    assert!(problem.detail.contains("aten.cumsum") && problem.hint.unwrap().contains("as `student`"));
    let problem = refused(&TaskSpec { run_modules: false, ..spec(TaskKind::Inspect, true) });
    assert_eq!(problem.code, ErrorCode::UnsupportedOperators);
    assert!(problem.hint.unwrap().contains("KEGD_RUN_MODULES"));
}

/// A module that answers otherwise than it looks.
#[test]
fn what_is_no_classifier_is_refused() {
    let _turn = turn();
    let mut spec = spec(TaskKind::Inspect, true);
    spec.settings.input.shape = Some(vec![4, 16]);
    let problem = refused(&spec);
    assert_eq!(problem.code, ErrorCode::NotAClassifier, "{}", problem.detail);
    spec.settings.input.shape = Some(vec![7]);
    assert_eq!(refused(&spec).code, ErrorCode::InvalidModel);
}

/// The status and the body of `POST /inspect`, by a service that was started with these flags.
async fn inspected(flags: &[&str]) -> (u16, Value) {
    let data = tempfile::tempdir().unwrap();
    let service = Service::start_with(data.path(), flags);
    let part = Part::bytes(std::fs::read(MODULE).unwrap()).file_name("m.pt");
    let form = Form::new().part("model", part).text("config", r#"{"student": {"arch": "mlp"}}"#);
    let answer = Client::new().post(format!("{}/inspect", service.url)).multipart(form).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_service_for_its_own_machine_runs_modules_unless_told_otherwise() {
    let (status, inspection) = inspected(&[]).await;
    assert_eq!((status, &inspection["classes"]), (200, &json!(5)), "{inspection}");
    let (status, problem) = inspected(&["--run-modules", "false"]).await;
    assert_eq!((status, &problem["code"]), (422, &json!("unsupported_operators")), "{problem}");
}
