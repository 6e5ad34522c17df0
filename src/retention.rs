//! Retention: what is deleted though nobody asks for it at that moment, and when.
//!
//! The rules are flags of the service ([`Policy`]) and `keep_upload` of a job. A collection plans by reading alone, and then
//! takes one job after the other, each in a transaction of its own that looks once more: a job that was retried meanwhile
//! stays. It can be cut off anywhere and run again, and several processes may collect at once.

mod bury;
mod collect;
mod plan;
mod policy;
mod room;
mod sweep;
mod usage;

pub use self::{
    bury::bury,
    collect::{Collected, Collector, run},
    plan::{Expired, What},
    policy::Policy,
    room::{Full, Room},
    sweep::sweep,
    usage::Usage,
};
use crate::{artifacts::ArtifactError, store::StoreError};

#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error("the data directory cannot be measured: {0}")]
    Io(#[from] std::io::Error),
}
