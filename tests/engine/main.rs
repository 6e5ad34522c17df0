//! The tasks of a job in this process, on libtorch.

#[path = "../common/mod.rs"]
mod common;

mod batch_norm;
mod given;
mod job;
mod resume;
mod targets;
