//! A job whose row cannot be read is ended where it stands, so that it does not hold up all others.

use super::{NewEvent, RunEnd, Signal, StoreError, Total, Tx, rows};
use crate::domain::{
    ids::JobId,
    job::{JobStatus, Phase},
    problem::Problem,
};

impl Tx {
    /// Makes a job failed without reading it: a version that could not be read was written by hand, or by another kegd.
    pub(crate) async fn condemn(&mut self, job: JobId, problem: &Problem) -> Result<(), StoreError> {
        let (id, now) = (job.to_string(), self.now);
        self.end_runs(job, RunEnd::Failed, Some(&problem.detail)).await?;
        let tasks = "update tasks set status = 'failed', finished_at = ?, lease_until = null, worker = null, slot = null \
                     where job = ? and status in ('queued', 'running')";
        sqlx::query(tasks).bind(now).bind(&id).execute(&mut *self.sql).await?;
        // One that had its end already, and whose last run stops only now, was counted then.
        let open = "select count(*) as n from jobs where id = ? and finished_at is null";
        let open = rows::number(&sqlx::query(open).bind(&id).fetch_one(&mut *self.sql).await?, "n")?;
        self.add(Total::JobsFinished(JobStatus::Failed), open).await?;
        let jobs = "update jobs set status = 'failed', phase = 'done', error = ?, finished_at = ?, \
                    revision = revision + 1 where id = ?";
        sqlx::query(jobs).bind(rows::to_json(problem, "error")?).bind(now).bind(&id).execute(&mut *self.sql).await?;
        self.append_event(job, &NewEvent::Failed { error: problem }).await?;
        self.append_event(job, &NewEvent::Status { status: JobStatus::Failed, phase: Phase::Done }).await?;
        self.announce(Signal::StopAsked(job));
        Ok(())
    }
}
