//! The science, on libtorch: from a graph to a smaller graph that answers alike.

pub mod error;
pub mod executor;
pub mod observer;
