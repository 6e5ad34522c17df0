//! ONNX files: in as a graph, and out again.

#[allow(clippy::all, clippy::pedantic)]
#[rustfmt::skip]
mod proto;
