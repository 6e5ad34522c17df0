//! The HTTP service: one router, one file for each noun, every error as `application/problem+json`.

mod accept;
mod access_log;
mod artifacts;
mod assets;
mod devices;
mod download;
mod error;
mod events;
mod exposition;
mod extract;
mod files;
mod formats;
mod helper;
mod inspect;
mod jobs;
mod metrics;
mod openapi;
mod process;
mod prometheus;
mod readiness;
mod report;
mod report_page;
mod request_id;
mod router;
mod samples;
mod security;
mod service;
mod state;
mod student;
mod submit;
mod traffic;
mod upload;
mod view;
mod workers;

/// For the fuzz targets.
#[cfg(fuzzing)]
pub use accept::preferred;
/// For the fuzz targets.
#[cfg(fuzzing)]
pub use download::Download;
pub use helper::Helper;
pub use router::router;
pub use state::{App, Parts};
pub use traffic::Traffic;
