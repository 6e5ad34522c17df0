//! The students of a job: one, or one for each target of a sweep.

use serde::{Deserialize, Serialize};

use super::{
    config::Settings,
    report::{JobResult, LayerRow},
    targets::Measured,
};

/// What the configuration would make of the layers for one target of a sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PlannedStudent {
    pub by: Measured,
    pub target: f64,
    pub plan: Vec<LayerRow>,
    /// Of the whole student.
    #[serde(default)]
    pub parameters: u64,
}

/// What came of one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StudentResult {
    /// Place of the target among those of the job, from 0.
    pub number: u32,
    /// None where the job has no target: its layers are given, or nothing is compressed.
    pub by: Option<Measured>,
    pub target: Option<f64>,
    /// Names of its files: the student in each format, and its report.
    pub artifacts: Vec<String>,
    pub result: JobResult,
}

impl StudentResult {
    /// Of student `number` of a job with these settings.
    pub fn new(settings: &Settings, number: u32, artifacts: Vec<String>, result: JobResult) -> Self {
        let target = settings.compression.targets().get(number as usize).copied();
        let (by, target) = (target.map(|target| target.by), target.map(|target| target.value));
        Self { number, by, target, artifacts, result }
    }
}

/// Puts a result into its place; one that is there already is replaced.
pub fn record(results: &mut Vec<StudentResult>, result: StudentResult) {
    results.retain(|known| known.number != result.number);
    let place = results.partition_point(|known| known.number < result.number);
    results.insert(place, result);
}
