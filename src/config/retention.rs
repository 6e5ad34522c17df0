//! How long things are kept, and how much.

use clap::Args;

use super::{ByteSize, Span};

#[derive(Args, Clone, Debug)]
pub struct RetentionConfig {
    /// How long a job is kept after it has finished, with its student, samples and report: `30d`, `12h`. Kept until it is
    /// deleted where this is not given.
    ///
    /// What is older is deleted for good at the next collection. Queued and running jobs are never touched, and a retry
    /// starts the time anew. Each job shows when it goes as `expires_at`.
    #[arg(long, env = "KEGD_RETAIN_JOBS", value_name = "TIME")]
    pub retain_jobs: Option<Span>,

    /// How long the uploads of a finished job (teacher, side files, evaluation set) are kept; as long as the job where this
    /// is not given.
    ///
    /// The job and its results stay, but it can no longer be retried. `0` deletes uploads at the first collection after
    /// the job has finished. A job whose config says `"keep_upload": false` loses them the moment it succeeds.
    #[arg(long, env = "KEGD_RETAIN_UPLOADS", value_name = "TIME")]
    pub retain_uploads: Option<Span>,

    /// Most bytes to keep under the data directory: `50GiB`. As much as the disk has where this is not given.
    ///
    /// Above it the jobs that finished first are deleted, with everything they have, until the rest fits. An upload that
    /// could not fit even then gets 507 and costs no job. For as long as uploads arrive and jobs run the sum may be
    /// larger; --min-free-disk guards the disk itself.
    #[arg(long, env = "KEGD_MAX_STORAGE", value_name = "SIZE")]
    pub max_storage: Option<ByteSize>,
}

#[derive(Args, Clone, Copy, Debug)]
pub struct CollectionConfig {
    /// How often the service looks for what has expired; it also does at its start.
    #[arg(long, env = "KEGD_GC_INTERVAL", value_name = "TIME", default_value = "1h", value_parser = interval)]
    pub gc_interval: Span,
}

fn interval(text: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    if span.0.is_zero() { Err("an interval is longer than 0".to_owned()) } else { Ok(span) }
}
