//! A worker and its children: real processes over real pipes, which end well, badly, or not by themselves.

#[path = "../common/mod.rs"]
mod common;

mod checkpoints;
mod child;
mod faults;
mod hostile;
mod logs;
mod sandbox;
mod stopped;
mod trouble;
