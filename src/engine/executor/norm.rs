//! Batch norm: by the statistics that a network keeps, or by those of the batch while it learns them.

use tch::{TchError, Tensor};

/// By which mean and variance batch norm normalises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// The network's own: inference.
    Running,
    /// Those of the batch, towards which the network's own move.
    Batch,
}

/// How far the running statistics move with each batch: what PyTorch's modules do where nothing else is said.
const MOMENTUM: f64 = 0.1;

/// x (N, C, …) with scale, bias, mean and variance of (C), all of which stay but for mean and variance under
/// [`Statistics::Batch`].
pub fn batch_norm(
    x: &Tensor,
    (scale, bias, mean, variance): (&Tensor, &Tensor, &Tensor, &Tensor),
    epsilon: f32,
    statistics: Statistics,
) -> Result<Tensor, TchError> {
    // One value for each channel has no variance, and libtorch refuses it.
    let several = x.numel() > scale.numel();
    let by_batch = statistics == Statistics::Batch && several;
    let cudnn = true;
    x.f_batch_norm(Some(scale), Some(bias), Some(mean), Some(variance), by_batch, MOMENTUM, f64::from(epsilon), cudnn)
}
