//! ONNX files: in as a graph, and out again.

mod call;
mod export;
mod import;
mod metadata;
mod model;
mod ops;
mod order;
pub mod piece;
#[allow(clippy::all, clippy::pedantic)]
#[rustfmt::skip]
pub mod proto;
mod tensor;
mod wire;
mod write;

use super::{array, fold, lowering};

pub use super::imported::{ImportOptions, Imported};
pub use export::{check_parameters, export};
pub use import::import;
pub use model::OPSETS;
pub use ops::names as operators;
