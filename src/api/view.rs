//! A job as clients see it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::{
        access::KeyId,
        config::Settings,
        ids::JobId,
        job::{JobStatus, Phase, Progress},
        model::ModelFacts,
        problem::Problem,
        report::JobResult,
        students::StudentResult,
        targets::Measured,
    },
    retention::Policy,
    store::Job,
};

/// A job: what was submitted, how far it is, and what came of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Job)]
pub struct JobView {
    #[schema(value_type = String, format = Uuid)]
    pub id: JobId,
    pub name: String,
    /// The public part of the key it was submitted with; null where nobody was asked for one.
    pub owner: Option<KeyId>,
    pub status: JobStatus,
    pub phase: Phase,
    /// 1, and one more for each retry.
    pub attempt: u32,
    pub progress: Option<Progress>,
    /// 1 is next; null when the job does not wait.
    pub queue_position: Option<u64>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// When it is deleted, with all its files; null while it has not finished, and where finished jobs are kept.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When its uploads are deleted, where that comes before the job; it cannot be retried from then on.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub upload_expires_at: Option<Timestamp>,
    /// When its uploads were deleted; null while they are there.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub upload_deleted_at: Option<Timestamp>,
    /// Where its latest run ran: `cpu`, `cuda:0`.
    pub device: Option<String>,
    /// What the importer found out; null until then.
    pub model: Option<ModelFacts>,
    /// As resolved, with every default filled in.
    pub config: Settings,
    /// Only when succeeded; of a sweep, that of its first target.
    pub result: Option<JobResult>,
    /// What came of each target, in their order, as soon as it has: one of a usual job, several of a sweep. Those of a job that
    /// failed or was canceled stay.
    pub results: Vec<StudentView>,
    /// Only when failed.
    pub error: Option<Problem>,
    /// What its owner should know, also that no worker is there which may run it.
    pub warnings: Vec<String>,
    /// Whether it has stopped short, and can go on from where it did: `POST /jobs/{id}/retry` with `{"from":"checkpoint"}`.
    pub can_resume: bool,
    /// The newest value of every series of `GET /jobs/{id}/metrics`.
    pub latest_metrics: BTreeMap<String, f64>,
    /// Rises with every change; it is the entity tag.
    pub revision: u64,
    pub links: Links,
}

/// Where everything of a job is found.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Links {
    #[serde(rename = "self")]
    pub this: String,
    pub events: String,
    pub metrics: String,
    pub layers: String,
    pub report: String,
    pub student: String,
    pub artifacts: String,
    pub samples: String,
    pub samples_png: String,
    pub samples_npz: String,
    pub latent_png: String,
}

/// What came of one target.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = StudentResult)]
pub struct StudentView {
    /// What the target counts; null where the job has none.
    pub by: Option<Measured>,
    /// The target, as `target=` of the links takes it.
    pub target: Option<f64>,
    pub result: JobResult,
    /// Names of its files among those of the job: the student in each format, and the report.
    pub artifacts: Vec<String>,
    pub links: StudentLinks,
}

/// Where everything of one student is found.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StudentLinks {
    pub student: String,
    pub report: String,
    pub layers: String,
}

impl StudentView {
    fn of(job: &Job, result: &StudentResult) -> Self {
        // Without a sweep there is nothing to choose from.
        let choice =
            job.settings.swept(result.number).map_or(String::new(), |target| format!("?target={}", target.value));
        let Links { student, report, layers, .. } = Links::of(job.id);
        Self {
            by: result.by,
            target: result.target,
            result: result.result.clone(),
            artifacts: result.artifacts.clone(),
            links: StudentLinks {
                student: format!("{student}{choice}"),
                report: format!("{report}{choice}"),
                layers: format!("{layers}{choice}"),
            },
        }
    }
}

impl Links {
    pub fn of(id: JobId) -> Self {
        let this = format!("/jobs/{id}");
        Self {
            events: format!("{this}/events"),
            metrics: format!("{this}/metrics"),
            layers: format!("{this}/layers"),
            report: format!("{this}/report"),
            student: format!("{this}/student"),
            artifacts: format!("{this}/artifacts"),
            samples: format!("{this}/samples"),
            samples_png: format!("{this}/samples.png"),
            samples_npz: format!("{this}/samples.npz"),
            latent_png: format!("{this}/samples/latent.png"),
            this,
        }
    }
}

impl JobView {
    /// Without `can_resume`, which the job's row does not tell.
    pub fn new(job: Job, queue_position: Option<u64>, policy: &Policy) -> Self {
        Self {
            links: Links::of(job.id),
            results: job.results.iter().map(|result| StudentView::of(&job, result)).collect(),
            expires_at: policy.job_expires(&job),
            upload_expires_at: policy.upload_expires(&job),
            upload_deleted_at: job.upload_deleted_at,
            id: job.id,
            name: job.name,
            owner: job.owner,
            status: job.status,
            phase: job.phase,
            attempt: job.attempt,
            progress: job.progress,
            queue_position,
            created_at: job.created_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            device: job.device,
            model: job.model,
            config: job.settings,
            result: job.result,
            error: job.error,
            warnings: job.warnings,
            can_resume: false,
            latest_metrics: job.latest_metrics,
            revision: job.revision,
        }
    }
}
