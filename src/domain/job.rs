//! A job as clients see it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Where a job stands. The last three are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    Queued,
    Running,
    Succeeded,
    Failed,
    Canceled,
}

impl JobStatus {
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Canceled];

    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled)
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for JobStatus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|status| status.name() == text).ok_or_else(|| format!("no such job status: {text}"))
    }
}

/// What a job is doing right now; in the order in which it comes to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Queued,
    Importing,
    Extracting,
    Compressing,
    Distilling,
    Evaluating,
    Exporting,
    Done,
}

impl Phase {
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Importing,
        Self::Extracting,
        Self::Compressing,
        Self::Distilling,
        Self::Evaluating,
        Self::Exporting,
        Self::Done,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Importing => "importing",
            Self::Extracting => "extracting",
            Self::Compressing => "compressing",
            Self::Distilling => "distilling",
            Self::Evaluating => "evaluating",
            Self::Exporting => "exporting",
            Self::Done => "done",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Phase {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|phase| phase.name() == text).ok_or_else(|| format!("no such phase: {text}"))
    }
}

/// How far a run, or a whole job, has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Progress {
    /// 0 to 1, never falling within an attempt.
    pub fraction: f64,
    pub phase: Phase,
    pub step: u64,
    pub steps: u64,
    /// Seconds left, measured on this attempt's own speed; absent until there is something to measure.
    pub eta_seconds: Option<f64>,
}
