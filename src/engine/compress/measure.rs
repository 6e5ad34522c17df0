//! How much a layer loses by an approximation: the one number that the budget compares between layers.
//!
//! A layer that keeps the share 1 − e of its energy, e = ‖W − W̃‖² / ‖W‖², passes on that share of its signal, and a chain
//! of layers passes on the product of the shares. So losses are −ln(1 − e), which add up (the "PCA energy" product of Zhang
//! et al., "Accelerating Very Deep Convolutional Networks", TPAMI 2016, section 3.3). Plain sums of e let one layer lose
//! nearly everything where that is cheap, and with it the network.

use std::collections::BTreeMap;

use tch::{TchError, Tensor};

use super::algebra::{eigen, energy, project};
use crate::domain::problem::Problem;

/// What is known about a layer beyond its weight, from synthetic inputs.
#[derive(Debug)]
pub struct Measure {
    /// Weight of the layer's loss among the others, 1 where nothing is known.
    pub importance: f64,
    /// E[x xᵀ] of the patches x that the layer reads, (d, d) with d = in · kernel, in the order of the weight's own
    /// flattening. The energy of an approximation is then that of the response: ‖(W − W̃) Σ^½‖².
    pub second_moment: Option<Tensor>,
}

impl Default for Measure {
    fn default() -> Self {
        Self { importance: 1.0, second_moment: None }
    }
}

/// By layer name; a layer that is absent has the default.
pub type Measures = BTreeMap<String, Measure>;

impl Measure {
    /// The loss of an approximation that loses `lost` of the energy `total`.
    pub fn loss(&self, lost: f64, total: f64) -> f64 {
        let share = if total > 0.0 { (lost / total).clamp(0.0, 1.0 - 1e-12) } else { 0.0 };
        -self.importance * (-share).ln_1p()
    }

    /// The kernel (out, in, kernel…) in coordinates in which the energy of an approximation is its Frobenius norm.
    ///
    /// Exact for a matrix. For a larger kernel Σ is taken as a Kronecker product of one moment over channels and one over
    /// taps: the whitening then acts within the modes, so that the channel ranks keep their meaning.
    ///
    /// # Errors
    /// `internal` where the second moment does not fit the kernel.
    pub fn whiten(&self, kernel: &Tensor) -> Result<Tensor, Problem> {
        let Some(moment) = &self.second_moment else { return Ok(kernel.shallow_clone()) };
        let size = kernel.size();
        let (channels, taps) = (size[1], size[2..].iter().product::<i64>());
        let blocks = moment.f_view([channels, taps, channels, taps])?;
        let over_channels = blocks.f_diagonal(0, 1, 3)?.f_sum_dim_intlist(-1, false, None)?;
        let over_taps = blocks.f_diagonal(0, 0, 2)?.f_sum_dim_intlist(-1, false, None)?;
        let trace = f64::try_from(moment.f_trace()?)?.max(f64::MIN_POSITIVE);
        let flat = kernel.f_reshape([size[0], channels, taps])?;
        let whitened = project(&flat, 1, &root(&over_channels)?)?;
        let whitened = project(&whitened, 2, &root(&over_taps.f_div_scalar(trace)?)?)?;
        Ok(whitened.f_reshape(&size)?)
    }

    /// The energy of a kernel under the measure.
    ///
    /// # Errors
    /// `internal` where the second moment does not fit the kernel.
    pub fn energy(&self, kernel: &Tensor) -> Result<f64, Problem> {
        let flat = kernel.f_flatten(1, -1)?;
        Ok(match &self.second_moment {
            None => energy(&flat)?,
            Some(moment) => f64::try_from(flat.f_matmul(moment)?.f_mul(&flat)?.f_sum(None)?)?,
        })
    }
}

/// The symmetric root of a positive semidefinite matrix.
pub(super) fn root(moment: &Tensor) -> Result<Tensor, TchError> {
    let (values, vectors) = eigen(moment)?;
    vectors.f_mul(&values.f_clamp_min(0.0)?.f_sqrt()?)?.f_matmul(&vectors.f_tr()?)
}

/// The measure of a layer, or the default.
pub(super) fn of<'a>(measures: &'a Measures, layer: &str, default: &'a Measure) -> &'a Measure {
    measures.get(layer).unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::compress::fixture::random;

    #[test]
    fn losses_of_a_chain_add_up() {
        let measure = Measure::default();
        let two = measure.loss(0.1, 1.0) + measure.loss(0.2, 1.0);
        assert!((two - measure.loss(1.0 - 0.9 * 0.8, 1.0)).abs() < 1e-12);
        assert!(measure.loss(1.0, 1.0).is_finite());
        assert_eq!(measure.loss(0.0, 0.0), 0.0);
    }

    #[test]
    fn whitening_turns_the_response_energy_into_a_norm() {
        let (channels, taps) = (random(1, &[4, 4]), random(2, &[9, 9]));
        let moment = channels.matmul(&channels.tr()).kron(&taps.matmul(&taps.tr()));
        let measure = Measure { importance: 1.0, second_moment: Some(moment) };
        let kernel = random(3, &[5, 4, 3, 3]);
        let norm = energy(&measure.whiten(&kernel).unwrap()).unwrap();
        assert!((norm / measure.energy(&kernel).unwrap() - 1.0).abs() < 1e-9);
        let matrix = Measure { importance: 1.0, second_moment: Some(channels.matmul(&channels.tr())) };
        let weight = random(4, &[5, 4]);
        let norm = energy(&matrix.whiten(&weight).unwrap()).unwrap();
        assert!((norm / matrix.energy(&weight).unwrap() - 1.0).abs() < 1e-9);
    }
}
