//! The HTTP interface through the real router, on a real SQLite file and real kept files.

#[path = "../common/mod.rs"]
mod common;

mod access;
mod bad_input;
mod conformity;
mod contract;
mod devices;
mod events;
mod idempotency;
mod inspect;
mod jobs;
mod limits;
mod negotiation;
mod paging;
mod prometheus;
mod readiness;
mod results;
mod retention;
mod samples;
mod service;
mod streams;
mod sweep;
mod upload;
mod wire;
