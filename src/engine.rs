//! The science, on libtorch: from a graph to a smaller graph that answers alike.

pub mod observer;
