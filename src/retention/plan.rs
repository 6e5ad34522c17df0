//! What would go: a pure function, so that a dry run and a collection cannot differ.

use std::collections::HashSet;

use jiff::Timestamp;

use super::policy::{Policy, after};
use crate::{
    domain::{ids::JobId, retention::Reason},
    store::FinishedJob,
};

/// How much of a job goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Job,
    Uploads,
}

/// Something that is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    pub job: FinishedJob,
    pub what: What,
    pub reason: Reason,
}

impl Expired {
    /// What its going frees.
    pub fn bytes(&self) -> u64 {
        match self.what {
            What::Job => self.job.bytes,
            What::Uploads => self.job.upload_bytes,
        }
    }
}

/// What goes now, of `finished` jobs (the one that finished first at the front), where `used` bytes are kept. First what is
/// too old, then as many further jobs as the storage needs; never more than it needs.
pub(super) fn plan(policy: &Policy, now: Timestamp, used: u64, finished: &[FinishedJob]) -> Vec<Expired> {
    let due = |job: &FinishedJob, retain| after(Some(job.finished_at), retain).is_some_and(|end| end <= now);
    let mut expired: Vec<Expired> = Vec::new();
    for job in finished {
        let (what, reason) = if due(job, policy.jobs) {
            (What::Job, Reason::RetainJobs)
        } else if job.upload_bytes > 0 && due(job, policy.uploads) {
            (What::Uploads, Reason::RetainUploads)
        } else {
            continue;
        };
        expired.push(Expired { job: job.clone(), what, reason });
    }
    let left = used.saturating_sub(expired.iter().map(Expired::bytes).sum());
    let excess = policy.storage.map_or(0, |most| left.saturating_sub(most));
    make_room(&mut expired, excess, finished);
    expired
}

/// Adds the jobs that must go so that `excess` bytes less are kept.
fn make_room(expired: &mut Vec<Expired>, mut excess: u64, finished: &[FinishedJob]) {
    let gone: HashSet<JobId> =
        expired.iter().filter(|entry| entry.what == What::Job).map(|entry| entry.job.id).collect();
    let without_uploads: HashSet<JobId> =
        expired.iter().filter(|entry| entry.what == What::Uploads).map(|entry| entry.job.id).collect();
    for job in finished.iter().filter(|job| !gone.contains(&job.id)) {
        if excess == 0 {
            return;
        }
        if without_uploads.contains(&job.id) {
            expired.retain(|entry| entry.job.id != job.id);
            excess = excess.saturating_add(job.upload_bytes);
        }
        excess = excess.saturating_sub(job.bytes);
        expired.push(Expired { job: job.clone(), what: What::Job, reason: Reason::MaxStorage });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: i64 = 1_750_000_000;
    const DAY: u64 = 86_400;

    /// A job that finished so many days ago, of 100 bytes, 40 of them uploaded.
    fn job(days: i64) -> FinishedJob {
        let finished_at = Timestamp::from_second(NOW - days * DAY as i64).unwrap();
        FinishedJob { id: JobId::new(), name: format!("{days}"), finished_at, bytes: 100, upload_bytes: 40 }
    }

    fn planned(policy: Policy, used: u64, finished: &[FinishedJob]) -> Vec<(String, What, Reason)> {
        let now = Timestamp::from_second(NOW).unwrap();
        let expired = plan(&policy, now, used, finished);
        expired.into_iter().map(|entry| (entry.job.name, entry.what, entry.reason)).collect()
    }

    fn days(days: u64) -> Option<Duration> {
        Some(Duration::from_secs(days * DAY))
    }

    #[test]
    fn nothing_goes_without_a_rule() {
        assert_eq!(planned(Policy::default(), u64::MAX, &[job(10_000)]), []);
    }

    #[test]
    fn age_decides_to_the_second() {
        let policy = Policy { jobs: days(30), uploads: days(7), storage: None };
        let found = planned(policy, 0, &[job(31), job(30), job(29), job(7), job(6)]);
        let expected = [
            ("31", What::Job, Reason::RetainJobs),
            ("30", What::Job, Reason::RetainJobs),
            ("29", What::Uploads, Reason::RetainUploads),
            ("7", What::Uploads, Reason::RetainUploads),
        ];
        assert_eq!(found, expected.map(|(name, what, reason)| (name.to_owned(), what, reason)));
        let mut bare = job(8);
        bare.upload_bytes = 0;
        assert_eq!(planned(policy, 0, &[bare]), [], "there is nothing left to delete");
    }

    #[test]
    fn storage_takes_the_oldest_and_no_more_than_it_needs() {
        let policy = Policy { storage: Some(250), ..Policy::default() };
        let jobs = [job(5), job(4), job(3)];
        assert_eq!(planned(policy, 250, &jobs), []);
        let one = ("5".to_owned(), What::Job, Reason::MaxStorage);
        assert_eq!(planned(policy, 251, &jobs), std::slice::from_ref(&one).to_vec());
        assert_eq!(planned(policy, 350, &jobs), [one]);
        assert_eq!(planned(policy, 351, &jobs).len(), 2);
        assert_eq!(planned(policy, 10_000, &jobs).len(), 3, "all that there is, and then it is over");
    }

    #[test]
    fn what_age_takes_counts_for_storage() {
        let policy = Policy { jobs: days(30), uploads: days(4), storage: Some(250) };
        let jobs = [job(40), job(5), job(3)];
        // 390 without the job of 40 days and the upload of the next one are 250.
        assert_eq!(planned(policy, 390, &jobs).len(), 2);
        let found = planned(policy, 391, &jobs);
        let expected = [("40", What::Job, Reason::RetainJobs), ("5", What::Job, Reason::MaxStorage)]
            .map(|(name, what, reason)| (name.to_owned(), what, reason));
        assert_eq!(found, expected, "the whole job in place of its uploads");
    }
}
