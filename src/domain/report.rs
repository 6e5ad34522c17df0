//! The result of a job: the table a user reads, and the compression table.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::presets::Traits;

/// Most bytes that are read of an [`Inspection`] or a report: a child wrote it, and the child had read a stranger's model.
pub const MOST_JSON: u64 = 64 << 20;

/// One row of the compression table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LayerRow {
    pub layer: String,
    pub kind: super::model::LayerKind,
    /// `keep`, `tucker` (three layers), or `svd` (two layers). Of a student that was given: `given` (with its own weights) or
    /// `anew` (with random ones); its layers have no teacher's before them.
    pub action: String,
    /// `[in, out]` for Tucker-2, `[rank]` for SVD, empty where the layer is kept.
    pub ranks: Vec<usize>,
    pub parameters_before: u64,
    pub parameters_after: u64,
    pub macs_before: u64,
    pub macs_after: u64,
    /// Relative Frobenius error of the weight, ‖W − W̃‖ / ‖W‖.
    pub error: f64,
    /// Measured time of the layer in ms, batch 1; absent in a plan, which measures nothing.
    pub ms_before: Option<f64>,
    pub ms_after: Option<f64>,
    /// Why this action, in words.
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NetworkSize {
    pub parameters: u64,
    pub macs: u64,
    pub bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

/// Teacher divided by student: above 1 is smaller or faster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Ratios {
    pub parameters: f64,
    pub macs: f64,
    pub bytes: f64,
    pub latency: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Percentiles {
    pub p50: f64,
    pub p95: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Latency {
    /// Where it was measured, in words: `cpu, 2 threads`.
    pub device: String,
    pub batch: usize,
    pub teacher: Percentiles,
    pub student: Percentiles,
}

/// How often the student's first choice is the teacher's, on one source of inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SourceAgreement {
    /// 0 to 1.
    pub top1: f64,
    pub n: u64,
}

/// Agreement on inputs the student never trained on. It is not accuracy. The audit says more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Agreement {
    pub held_out_generator: SourceAgreement,
    pub noise: SourceAgreement,
    /// The lowest top-1 agreement of all sources of the audit, but for the worst case, which was searched for.
    pub lowest: f64,
}

/// Real accuracy, 0 to 1, on the evaluation set that was sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Accuracy {
    pub teacher: f64,
    /// The student before any distillation: straight after compression, or as it was given.
    pub compressed: f64,
    pub student: f64,
    pub n: u64,
}

/// What one network, teacher or student, reaches on a labelled set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// 0 to 1.
    pub accuracy: f64,
    /// Inputs that it was measured on.
    pub n: u64,
    pub parameters: u64,
    pub macs: u64,
    /// Of a checkpoint: how far the training was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JobResult {
    pub teacher: NetworkSize,
    pub student: NetworkSize,
    pub ratio: Ratios,
    pub latency_ms: Latency,
    pub agreement: Agreement,
    #[serde(default)]
    pub accuracy: Option<Accuracy>,
    /// What is known of the student's quality without data. Null in reports of versions that had none.
    #[serde(default)]
    pub audit: Option<super::audit::Audit>,
    /// What is to be said of the training, in words: what a given student began with, what became of a second game.
    #[serde(default)]
    pub training: Vec<String>,
    /// Wall seconds by phase, and `total`.
    pub seconds: BTreeMap<String, f64>,
}

/// `report.json`: everything a job found out. Written by the child that distils.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Report {
    pub model: super::model::ModelFacts,
    pub settings: super::config::Settings,
    pub result: JobResult,
    pub layers: Vec<LayerRow>,
    /// What the figures mean and what they do not, in words.
    pub notes: Vec<String>,
    pub warnings: Vec<String>,
}

impl Inspection {
    /// What a preset's hyper-parameters depend on.
    pub fn traits(&self) -> Traits {
        Traits { kind: self.kind, batch_norm: self.model.has_batch_norm }
    }
}

/// `inspection.json`: what `POST /inspect` and the `inspect` task answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Inspection {
    #[serde(flatten)]
    pub model: super::model::ModelFacts,
    /// What the preset's hyper-parameters depend on, with `has_batch_norm`.
    pub kind: super::presets::TeacherKind,
    pub layers: Vec<super::model::LayerFacts>,
    /// The compression table that the configuration would give; of a sweep, that of its first target.
    pub plan: Vec<LayerRow>,
    /// Of the student that `plan` makes: fewer than its rows take from the model where layers take in batch norms. 0 in files
    /// of older versions.
    #[serde(default)]
    pub planned_parameters: u64,
    /// Of a sweep, the tables of all its targets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sweep: Vec<super::students::PlannedStudent>,
    /// The student that was given, where one was: `plan` lists its layers then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub student: Option<super::model::StudentFacts>,
    pub warnings: Vec<String>,
}
