//! TorchScript: modules that `torch.jit.trace` or `torch.jit.script` made and `torch.jit.save` wrote.
//!
//! The archive holds data and code. The code is never run: it is followed, once, as what it does to a batch of any size becomes
//! the graph. Format:
//! <https://github.com/pytorch/pytorch/blob/main/torch/csrc/jit/docs/serialization.md>.

mod calls;
mod export;
mod import;
mod item;
mod machine;
mod objects;
mod parse;
mod pickle;
mod pickler;
mod plain;
mod python;
mod signatures;
mod sources;
mod syntax;
mod tensors;
mod tokens;

pub use export::export;
pub use import::{import, port};
