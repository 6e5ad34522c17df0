//! Compression: which layers become smaller ([`plan`](plan())), by which decomposition ([`tucker`], [`svd`]), and the graph
//! rewritten accordingly ([`apply`]).
//!
//! Everything is computed in float64: truncated spectra decide ranks, and float32 Gram matrices would decide them by noise.

mod absorb;
pub mod action;
mod algebra;
mod alternatives;
pub mod budget;
pub mod evbmf;
mod factors;
#[cfg(test)]
pub(super) mod fixture;
pub mod layer;
pub mod measure;
pub mod moments;
mod named;
pub mod network;
pub mod pace;
pub mod plan;
pub mod rewrite;
pub mod svd;
pub mod target;
mod timing;
pub mod tucker;

pub use absorb::absorb;
pub use alternatives::alternatives;
pub use network::Network;
pub use plan::{plan, plan_measured, plans};
pub use rewrite::{apply, apply_paced};
