//! The HTTP interface through the real router, on a real SQLite file and real kept files.

#[path = "../common/mod.rs"]
mod common;

mod access;
mod bad_input;
mod contract;
mod events;
mod inspect;
mod jobs;
mod limits;
mod prometheus;
mod readiness;
mod results;
mod retention;
mod samples;
mod service;
mod upload;
