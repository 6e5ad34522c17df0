//! A job whose row cannot be read is ended where it stands, so that it does not hold up all others.

use super::{NewEvent, Signal, StoreError, Tx, rows};
use crate::domain::{
    ids::JobId,
    job::{JobStatus, Phase},
    problem::Problem,
};

impl Tx {
    /// Makes a job failed without reading it: a version that could not be read was written by hand, or by another kegd.
    pub(crate) async fn condemn(&mut self, job: JobId, problem: &Problem) -> Result<(), StoreError> {
        let (id, now) = (job.to_string(), self.now);
        let runs = "update runs set ended_at = ?, outcome = 'failed', detail = ? \
                    where ended_at is null and task in (select id from tasks where job = ?)";
        sqlx::query(runs).bind(now).bind(&problem.detail).bind(&id).execute(&mut *self.sql).await?;
        let tasks = "update tasks set status = 'failed', finished_at = ?, lease_until = null, worker = null, slot = null \
                     where job = ? and status in ('queued', 'running')";
        sqlx::query(tasks).bind(now).bind(&id).execute(&mut *self.sql).await?;
        let jobs = "update jobs set status = 'failed', phase = 'done', error = ?, finished_at = ?, \
                    revision = revision + 1 where id = ?";
        sqlx::query(jobs).bind(rows::to_json(problem, "error")?).bind(now).bind(&id).execute(&mut *self.sql).await?;
        self.append_event(job, &NewEvent::Failed { error: problem }).await?;
        self.append_event(job, &NewEvent::Status { status: JobStatus::Failed, phase: Phase::Done }).await?;
        self.announce(Signal::StopAsked(job));
        Ok(())
    }
}
