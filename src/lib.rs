//! kegd: shrink a frozen classifier without its data.

pub mod artifacts;
pub mod child;
pub mod clock;
pub mod domain;
pub mod engine;
pub mod formats;
pub mod nets;
pub mod protocol;
pub mod queue;
pub mod store;
pub mod worker;
