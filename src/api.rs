//! The HTTP service: one router, one file for each noun, every error as `application/problem+json`.

mod accept;
mod access_log;
mod artifacts;
mod assets;
mod caller;
mod devices;
mod disk;
mod download;
mod drain;
mod error;
mod etag;
mod events;
mod exposition;
mod extract;
mod files;
mod forgotten_at;
mod formats;
mod gates;
mod helper;
mod hosts;
mod inspect;
mod jobs;
mod metrics;
mod openapi;
mod operations;
mod process;
mod prometheus;
mod range;
mod readiness;
mod report;
mod report_page;
mod request_id;
mod retry;
mod reuse;
mod router;
mod samples;
mod security;
mod semantics;
mod serve;
mod service;
mod stall;
mod state;
mod student;
mod submit;
mod traffic;
mod upload;
mod usage;
mod view;
mod workers;

/// For the fuzz targets.
#[cfg(fuzzing)]
pub use accept::preferred;
pub use disk::Disk;
/// For the fuzz targets.
#[cfg(fuzzing)]
pub use download::Download;
pub use gates::Gates;
pub use helper::Helper;
pub use hosts::Hosts;
pub use router::router;
pub use serve::serve;
pub use state::{App, Parts};
pub use traffic::Traffic;
