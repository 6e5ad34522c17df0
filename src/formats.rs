//! Bytes to graph and graph to bytes. No tensor library, no network, no database.

pub mod dim;
pub mod graph;
pub mod onnx;
pub mod refusal;
pub mod shapes;
pub mod sniff;
