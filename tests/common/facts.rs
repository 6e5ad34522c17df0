//! What an inspection and a report look like, for tests that do not run the engine.

use std::collections::BTreeMap;

use kegd::domain::{
    audit::{Audit, Both, ClassCoverage, Coverage, Divergence, InputSource, Proportion, SourceAudit, Sure},
    config::Settings,
    model::{InputFacts, ModelFacts},
    prediction::Prediction,
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
            layout: Default::default(),
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
        planned_parameters: 0,
        sweep: vec![],
        student: None,
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
        audit: Some(audit()),
        training: vec!["The second game counts in full.".into()],
        seconds: BTreeMap::from([("total".into(), 1.0)]),
    };
    Report { model: model(), settings, result, layers: vec![], notes: vec![], warnings: vec!["no real data".into()] }
}

/// With a prediction, and with a class that was never answered.
pub fn audit() -> Audit {
    // Four digits: the last bit of a longer number may be another once it has been JSON.
    let agreement = Proportion { share: 0.9, low: 0.8256, high: 0.9448, n: 100 };
    let both = Both { teacher: 0.9, student: 0.8 };
    let source = |source| SourceAudit {
        source,
        agreement: agreement.clone(),
        kl: Divergence { mean: 0.1, p95: 0.2, p99: 0.3 },
        logit_difference: 0.1,
        sure: Sure { share: 0.0, agreement: None },
        confidence: both.clone(),
        entropy: both.clone(),
        effective_classes: 1.5,
    };
    let class =
        |class: &str, answers| ClassCoverage { class: class.into(), asked: 50, hits: 50, answers, agreed: answers };
    let coverage = Coverage {
        hits: agreement.clone(),
        effective_classes: 1.5,
        classes: 2,
        missed: 1,
        missed_names: vec!["<dog>".into()],
        balanced_agreement: 0.9,
        lowest_class: Some("cat".into()),
        lowest_agreement: 0.9,
        by_class: vec![class("cat", 100), class("<dog>", 0)],
    };
    let teachers = vec!["a".into(), "b".into(), "c".into()];
    Audit {
        sources: vec![source(InputSource::HeldOutGenerator), source(InputSource::WorstCase)],
        lowest: InputSource::HeldOutGenerator,
        coverage,
        weight_error: 0.25,
        prediction: Some(Prediction { loss: 0.02, low: 0.0, high: 0.051, level: 0.9, cells: 30, teachers }),
        no_prediction: None,
    }
}

pub fn problem() -> Problem {
    Problem::new(ErrorCode::UnsupportedOperators, "the model has a Loop at `/loop`").hint("Export it unrolled.")
}
