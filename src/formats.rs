//! Bytes to graph and graph to bytes. No tensor library, no network, no database.

pub mod architectures;
mod archive;
mod array;
pub mod aten;
pub mod description;
pub mod dim;
mod elements;
pub mod facts;
pub mod file;
mod finish;
mod fold;
pub(crate) mod free_names;
pub mod graph;
pub mod imported;
pub mod interpolation;
mod lowering;
pub mod onnx;
mod problems;
pub mod pt2;
pub mod refusal;
pub mod safetensors;
pub mod shapes;
pub mod sniff;
mod strided;
pub mod torchscript;
mod value;
pub mod weights;
