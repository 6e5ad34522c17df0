//! ONNX files: in as a graph, and out again.

mod array;
mod call;
mod export;
mod finish;
mod fold;
mod import;
mod lowering;
mod model;
mod ops;
mod order;
pub mod piece;
#[allow(clippy::all, clippy::pedantic)]
#[rustfmt::skip]
pub mod proto;
mod tensor;
mod write;

pub use super::imported::{ImportOptions, Imported};
pub use export::export;
pub(super) use import::check_finite;
pub use import::import;
pub(super) use lowering::check_size;
pub use model::OPSETS;
pub use ops::names as operators;
pub(super) use tensor::{brain, half};
