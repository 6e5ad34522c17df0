//! PyTorch's ATen operators: calls of them become the one graph, and the graph becomes calls of them. The files that hold the
//! calls are other modules' business.

mod call;
mod lower;
mod names;
mod ops;
mod prepare;
pub mod program;
pub mod write;

pub use call::{Arg, Call, scalar_of};
pub use lower::{Context, is_in_place, lower, lower_alone};
pub use ops::{is_known, is_view, list_length, may_copy, names as operators};
pub use prepare::prepare;
