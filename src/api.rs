//! The HTTP service: one router, one file for each noun, every error as `application/problem+json`.

mod accept;
mod artifacts;
mod assets;
mod download;
mod drain;
mod error;
mod etag;
mod events;
mod extract;
mod files;
mod formats;
mod helper;
mod inspect;
mod jobs;
mod metrics;
mod openapi;
mod prometheus;
mod range;
mod report;
mod report_page;
mod request_id;
mod router;
mod samples;
mod security;
mod semantics;
mod service;
mod state;
mod student;
mod submit;
mod upload;
mod view;
mod workers;

pub use helper::Helper;
pub use prometheus::Traffic;
pub use router::router;
pub use state::{App, Parts};
