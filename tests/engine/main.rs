//! The tasks of a job in this process, on libtorch.

#[path = "../fixtures/build.rs"]
mod build;
#[path = "../common/mod.rs"]
mod common;
#[path = "../fixtures/channels_last.rs"]
mod networks;

mod batch_norm;
mod channels_last;
mod given;
mod job;
mod resume;
mod targets;
