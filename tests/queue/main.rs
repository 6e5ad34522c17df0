//! The rules of the queue and of the store below it, on a real SQLite file.

#[path = "../common/mod.rs"]
mod common;

mod chain;
mod checkpoints;
mod fences;
mod leases;
mod slots;
mod states;
mod store;
mod sweep;
mod totals;
