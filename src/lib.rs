//! kegd: shrink a frozen classifier without its data.

pub mod api;
pub mod artifacts;
pub mod child;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod engine;
pub mod formats;
pub mod imaging;
pub mod nets;
pub mod protocol;
pub mod queue;
pub mod retention;
pub mod sandbox;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod worker;
