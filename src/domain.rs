//! The words of the house as types: no I/O, and no import of ours outside this module.

pub mod access;
pub mod architecture;
pub mod artifact;
pub mod audit;
pub mod config;
pub mod cost;
pub mod device;
pub mod given;
pub mod ids;
pub mod job;
pub mod latent;
pub mod layer_choice;
pub mod metric;
pub mod model;
pub mod operators;
pub mod prediction;
pub mod presets;
pub mod problem;
pub mod query;
pub mod report;
pub mod retention;
pub mod reuse;
pub mod students;
pub mod targets;
pub mod task;
pub mod warnings;
