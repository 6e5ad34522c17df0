//! The HTTP service: one router, one file for each noun, every error as `application/problem+json`.

mod assets;
mod download;
mod error;
mod extract;
mod layers;
mod middleware;
mod openapi;
mod router;
mod security;
mod state;

pub use error::ApiError;
pub use router::router;
pub use state::App;
