//! Archives of `torch.export.save`: in as a graph, and out again.

mod calls;
mod container;
mod export;
mod import;
mod schema;
mod signature;
mod weights;

pub use container::SCHEMA_MAJOR;
pub use export::export;
pub use import::import;
