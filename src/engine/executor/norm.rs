//! Batch norm, by the statistics that a network keeps or by those of the batch while it learns them, and layer norm.

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

/// x over its axes from `axis` on, with scale and bias that have these axes' extents or broadcast to them.
pub fn layer_norm(
    x: &Tensor,
    (scale, bias): (&Tensor, Option<&Tensor>),
    axis: usize,
    epsilon: f32,
) -> Result<Tensor, TchError> {
    let (size, epsilon) = (x.size(), f64::from(epsilon));
    let extents = &size[axis..];
    // libtorch takes parameters of the full extents alone.
    if [Some(scale), bias].into_iter().flatten().all(|parameter| parameter.size() == extents) {
        return x.f_layer_norm(extents, Some(scale), bias, epsilon, true);
    }
    let none: Option<&Tensor> = None;
    let scaled = x.f_layer_norm(extents, none, none, epsilon, true)?.f_mul(scale)?;
    match bias {
        Some(bias) => scaled.f_add(bias),
        None => Ok(scaled),
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::engine::compress::fixture::random;

    #[test]
    fn a_scale_that_broadcasts_normalises_as_the_whole_one() {
        let x = random(1, &[2, 3, 4, 5]);
        let axes: &[i64] = &[1, 2, 3];
        let centred = &x - x.mean_dim(axes, true, Kind::Double);
        let deviation = (centred.square().mean_dim(axes, true, Kind::Double) + 1e-5).sqrt();
        let normal = centred / deviation;
        let cases: [(&[i64], Option<&[i64]>); 3] =
            [(&[3, 1, 1], Some(&[5])), (&[4, 1], None), (&[3, 4, 5], Some(&[1]))];
        for (scale, bias) in cases {
            let (scale, bias) = (random(2, scale), bias.map(|shape| random(3, shape)));
            let found = layer_norm(&x, (&scale, bias.as_ref()), 1, 1e-5).unwrap();
            let expected = &normal * &scale + bias.unwrap_or_else(|| Tensor::from(0.0));
            assert_eq!(found.size(), x.size());
            assert!((found - expected).abs().max().double_value(&[]) < 1e-6, "{:?}", scale.size());
        }
    }
}
