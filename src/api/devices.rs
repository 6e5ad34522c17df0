//! Jobs that ask for a device which no worker offers: refused while that is known, and said of those that wait.

use crate::{
    domain::{
        device::may_run,
        problem::{ErrorCode, Problem},
    },
    store::{Job, Store, StoreError},
};

/// The devices of all workers that are alive.
#[derive(Debug)]
pub struct Offer(Vec<String>);

impl Offer {
    /// # Errors
    /// The database fails.
    pub async fn now(store: &Store) -> Result<Self, StoreError> {
        Ok(Self(store.offered_devices().await?))
    }

    /// Refuses a new job that no worker would take. Where no worker is there to be asked, it may wait for one.
    ///
    /// # Errors
    /// `invalid_config`, with what there is.
    pub fn check(&self, wanted: &str) -> Result<(), Problem> {
        if self.0.is_empty() || self.takes(wanted) {
            return Ok(());
        }
        Err(Problem::new(ErrorCode::InvalidConfig, format!("No worker offers the device `{wanted}`."))
            .param("config.device")
            .hint(format!("There is {}. `auto`, the default, takes whatever comes first.", self.0.join(", "))))
    }

    /// What a client should know of a job that is not finished.
    pub fn warning(&self, job: &Job) -> Option<String> {
        if job.status.is_final() { None } else { self.complaint(&job.settings.device) }
    }

    /// Why what asks for `wanted` waits, where it waits for a worker and not for its turn.
    pub fn complaint(&self, wanted: &str) -> Option<String> {
        if self.0.is_empty() {
            return Some("No worker is there: jobs wait until one comes.".to_owned());
        }
        let offered = self.0.join(", ");
        (!self.takes(wanted))
            .then(|| format!("No worker offers the device `{wanted}` now, only {offered}: the job waits for one."))
    }

    fn takes(&self, wanted: &str) -> bool {
        self.0.iter().any(|slot| may_run(wanted, slot))
    }
}
