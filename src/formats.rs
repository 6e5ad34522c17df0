//! Bytes to graph and graph to bytes. No tensor library, no network, no database.

pub mod architectures;
pub mod description;
pub mod dim;
pub mod facts;
pub mod file;
pub mod graph;
pub mod imported;
pub mod interpolation;
pub mod onnx;
pub mod refusal;
pub mod safetensors;
pub mod shapes;
pub mod sniff;
pub mod weights;
