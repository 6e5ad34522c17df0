//! What every handler can reach.

use std::{ops::Deref, sync::Arc};

use super::{error::ApiResult, helper::Helper, prometheus::Traffic};
use crate::{
    artifacts::Artifacts,
    config::LimitsConfig,
    domain::{
        ids::JobId,
        problem::{ErrorCode, Problem},
    },
    store::{Job, Store},
};

/// The service's parts. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

pub struct Parts {
    pub store: Store,
    pub artifacts: Artifacts,
    pub limits: LimitsConfig,
    /// Runs what needs the engine, in a process of its own.
    pub helper: Helper,
    pub traffic: Traffic,
}

impl App {
    pub fn new(store: Store, artifacts: Artifacts, limits: LimitsConfig) -> Self {
        let helper = Helper::new(&limits);
        Self(Arc::new(Parts { store, artifacts, limits, helper, traffic: Traffic::default() }))
    }

    /// # Errors
    /// `not_found`, and whatever the database fails with.
    pub async fn job(&self, id: JobId) -> ApiResult<Job> {
        self.store.job(id).await?.ok_or_else(|| {
            Problem::new(ErrorCode::NotFound, format!("There is no job {id}."))
                .hint("GET /jobs lists the jobs; a deleted one is gone for good.")
                .into()
        })
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
