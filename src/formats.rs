//! Bytes to graph and graph to bytes. No tensor library, no network, no database.

pub mod graph;
pub mod onnx;
pub mod sniff;
