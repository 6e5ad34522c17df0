//! Metrics: named series of numbers over the steps of a task.

use serde::{Deserialize, Serialize};

/// One value of one series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MetricPoint {
    pub name: String,
    pub step: u64,
    /// Finite: JSON has no other numbers.
    pub value: f64,
}
