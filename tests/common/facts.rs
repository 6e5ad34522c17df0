//! What an inspection and a report look like, for tests that do not run the engine.

use std::collections::BTreeMap;

use kegd::domain::{
    config::Settings,
    model::{InputFacts, ModelFacts},
    presets::TeacherKind,
    problem::{ErrorCode, Problem},
    report::{Agreement, Inspection, JobResult, Latency, NetworkSize, Percentiles, Ratios, Report, SourceAgreement},
};

pub fn model() -> ModelFacts {
    ModelFacts {
        format: "onnx".into(),
        bytes: 249_175,
        sha256: "ab".repeat(32),
        parameters: 61_706,
        macs: 416_520,
        input: InputFacts {
            name: "input".into(),
            shape: vec![None, Some(1), Some(32), Some(32)],
            dtype: "float32".into(),
        },
        classes: 10,
        has_batch_norm: false,
        ends_in_softmax: false,
    }
}

pub fn inspection(kind: TeacherKind) -> Inspection {
    Inspection {
        model: model(),
        kind,
        layers: vec![],
        plan: vec![],
        sweep: vec![],
        warnings: vec!["the batch is fixed".into()],
    }
}

pub fn report(settings: Settings) -> Report {
    let agreement = SourceAgreement { top1: 0.9, n: 100 };
    let time = Percentiles { p50: 1.0, p95: 2.0 };
    let size = |parameters| NetworkSize { parameters, macs: 10, bytes: 10, sha256: None, format: None };
    let result = JobResult {
        teacher: size(61_706),
        student: size(13_728),
        ratio: Ratios { parameters: 4.5, macs: 1.0, bytes: 1.0, latency: 1.0 },
        latency_ms: Latency { device: "cpu, 1 thread".into(), batch: 1, teacher: time.clone(), student: time },
        agreement: Agreement { held_out_generator: agreement.clone(), noise: agreement, lowest: 0.9 },
        accuracy: None,
        seconds: BTreeMap::from([("total".into(), 1.0)]),
    };
    Report { model: model(), settings, result, layers: vec![], notes: vec![], warnings: vec!["no real data".into()] }
}

pub fn problem() -> Problem {
    Problem::new(ErrorCode::UnsupportedOperators, "the model has a Loop at `/loop`").hint("Export it unrolled.")
}
