//! Factors fitted to a layer's inputs: ‖(W − W̃) Σ^½‖² in place of ‖W − W̃‖², Σ the second moment of the input patches.
//!
//! A matrix has a closed form, the truncated singular value decomposition of W Σ^½. A kernel with taps is fitted by
//! alternating least squares over the three Tucker factors ("Distribution-Aware Tensor Decomposition", arXiv 2511.04494):
//! given the in factor B, core and out factor solve a reduced-rank regression exactly; given those, B solves a linear system.

use tch::{Kind, TchError, Tensor};

use super::{
    algebra::{self, eigen, expand, project, relative_error},
    measure::root,
    svd::{self, Svd},
    tucker::{self, Ranks, Tucker},
};
use crate::domain::problem::Problem;

/// Fitting ends when the Σ-error, relative to ‖W Σ^½‖², falls by less than this in one round.
const TOLERANCE: f64 = 1e-6;
const MAX_ROUNDS: usize = 30;

/// Steps of conjugate gradients in each round.
const GRADIENT_STEPS: usize = 20;

/// Added to every second moment, relative to its mean diagonal: inputs that never vary leave no direction undetermined.
const RIDGE: f64 = 1e-8;

/// (1 − λ) Σ + λ tr(Σ) / d · I: 0 trusts the inputs, 1 is the plain decomposition of the weight.
///
/// # Errors
/// `internal` where the moment is not a square matrix.
pub fn shrink(moment: &Tensor, lambda: f64) -> Result<Tensor, Problem> {
    Ok(toward_identity(moment, lambda)?)
}

fn toward_identity(moment: &Tensor, lambda: f64) -> Result<Tensor, TchError> {
    let extent = moment.size()[0];
    let mean = f64::try_from(moment.f_trace()?)? / extent as f64;
    // An input that is always zero says nothing about its layer.
    let (mean, lambda) = if mean > 0.0 { (mean, lambda) } else { (1.0, 1.0) };
    moment.f_mul_scalar(1.0 - lambda)?.f_add(&algebra::identity(extent)?.f_mul_scalar(lambda * mean)?)
}

/// The best two layers of a rank for a weight (out, in) under the second moment (in, in) of its inputs.
///
/// # Errors
/// `internal` where the moment does not fit the weight.
pub fn svd(weight: &Tensor, moment: &Tensor, rank: usize) -> Result<Svd, Problem> {
    let root = root(&toward_identity(moment, RIDGE)?)?;
    let whitened = svd::decompose(&weight.f_matmul(&root)?, rank)?;
    // first · root⁻¹, by solving from the right; root is symmetric.
    let first = Tensor::f_linalg_solve(&root, &whitened.first.f_tr()?, true)?.f_tr()?.f_contiguous()?;
    let error = relative_error(weight, &whitened.second.f_matmul(&first)?)?;
    Ok(Svd { first, second: whitened.second, error })
}

/// Tucker-2 factors of a kernel (out, in, kernel…) under the second moment (d, d), d = in · kernel, of its patches.
///
/// # Errors
/// `internal` where the moment does not fit the kernel.
pub fn tucker(kernel: &Tensor, moment: &Tensor, ranks: Ranks) -> Result<Tucker, Problem> {
    let fit = Fit::new(kernel, moment, ranks)?;
    let start = tucker::decompose(kernel, ranks)?.factor_in;
    let (factor_in, best) = match start {
        None => (None, fit.outer(&algebra::identity(fit.channels)?)?),
        Some(start) => {
            let (factor_in, best) = fit.alternate(start)?;
            (Some(factor_in), best)
        }
    };
    let mut shape = kernel.size();
    (shape[0], shape[1]) = (ranks.output as i64, ranks.input as i64);
    let mut tucker = Tucker { factor_in, core: best.core.f_reshape(&shape)?, factor_out: best.factor_out, error: 0.0 };
    tucker.error = relative_error(kernel, &tucker.kernel()?)?;
    Ok(tucker)
}

/// Core and out factor for one in factor.
struct Outer {
    /// (rank out, rank in, taps)
    core: Tensor,
    /// (out, rank out), orthonormal; `None` at full rank.
    factor_out: Option<Tensor>,
    /// ‖(W − W̃) Σ^½‖².
    lost: f64,
}

/// What does not change from round to round. Patches are indexed (channel, tap).
struct Fit {
    /// Σ, (d, d)
    moment: Tensor,
    /// W Σ, (out, channels, taps)
    response: Tensor,
    /// ‖W Σ^½‖²
    total: f64,
    channels: i64,
    taps: i64,
    outputs: i64,
    rank_out: i64,
}

impl Fit {
    fn new(kernel: &Tensor, moment: &Tensor, ranks: Ranks) -> Result<Self, TchError> {
        let size = kernel.size();
        let (outputs, channels, taps) = (size[0], size[1], size[2..].iter().product());
        let moment = toward_identity(moment, RIDGE)?;
        let weight = kernel.f_flatten(1, -1)?;
        let response = weight.f_matmul(&moment)?;
        let total = f64::try_from(response.f_mul(&weight)?.f_sum(Kind::Double)?)?;
        let response = response.f_view([outputs, channels, taps])?;
        Ok(Self { moment, response, total, channels, taps, outputs, rank_out: ranks.output as i64 })
    }

    /// Better and better factors from an in factor on, until a round gains little.
    fn alternate(&self, start: Tensor) -> Result<(Tensor, Outer), TchError> {
        let mut factor_in = start;
        let mut best = self.outer(&factor_in)?;
        for _ in 0..MAX_ROUNDS {
            let next_in = self.inner(&best, &factor_in)?;
            let next = self.outer(&next_in)?;
            let gain = best.lost - next.lost;
            if gain > 0.0 {
                (factor_in, best) = (next_in, next);
            }
            if gain <= TOLERANCE * self.total {
                break;
            }
        }
        Ok((factor_in, best))
    }

    /// Core and out factor for the in factor B, exactly: with z = Bᵀx the regression of y = W x on z has coefficients
    /// M = C Σ_z⁻¹, C = E[y zᵀ], and its best approximation of rank r projects onto the r leading eigenvectors of M Cᵀ.
    fn outer(&self, factor_in: &Tensor) -> Result<Outer, TchError> {
        let width = factor_in.size()[1] * self.taps;
        let cross = project(&self.response, 1, factor_in)?.f_reshape([self.outputs, width])?;
        let blocks = self.moment.f_view([self.channels, self.taps, self.channels, self.taps])?;
        let reduced = project(&project(&blocks, 0, factor_in)?, 2, factor_in)?.f_reshape([width, width])?;
        let regression = Tensor::f_linalg_solve(&reduced, &cross.f_tr()?, true)?.f_tr()?;
        let (values, vectors) = eigen(&regression.f_matmul(&cross.f_tr()?)?)?;
        let lost = self.total - f64::try_from(values.f_narrow(0, 0, self.rank_out)?.f_sum(Kind::Double)?)?;
        let whole = self.rank_out == self.outputs;
        let factor_out = if whole { None } else { Some(vectors.f_narrow(1, 0, self.rank_out)?) };
        let core = match &factor_out {
            None => regression,
            Some(factor) => factor.f_tr()?.f_matmul(&regression)?,
        };
        Ok(Outer { core: core.f_reshape([self.rank_out, -1, self.taps])?, factor_out, lost })
    }

    /// A better in factor for core and out factor: conjugate gradients on its normal equations, from the old one on. They
    /// never form the matrix, which has (channels · rank in)² elements, and every step lowers the error, so few will do.
    fn inner(&self, outer: &Outer, start: &Tensor) -> Result<Tensor, TchError> {
        let target = match &outer.factor_out {
            None => self.response.shallow_clone(),
            Some(factor) => project(&self.response, 0, factor)?,
        };
        let mut factor = start.f_contiguous()?;
        let mut residual = self.onto_factor(&target, outer)?.f_sub(&self.normal(&factor, outer)?)?;
        let mut direction = residual.f_contiguous()?;
        let mut square = algebra::energy(&residual)?;
        let enough = square * 1e-12;
        for _ in 0..GRADIENT_STEPS {
            let image = self.normal(&direction, outer)?;
            let curvature = f64::try_from(direction.f_mul(&image)?.f_sum(Kind::Double)?)?;
            if square <= enough || curvature <= 0.0 {
                break;
            }
            let step = square / curvature;
            factor = factor.f_add(&direction.f_mul_scalar(step)?)?;
            residual = residual.f_sub(&image.f_mul_scalar(step)?)?;
            let next = algebra::energy(&residual)?;
            direction = residual.f_add(&direction.f_mul_scalar(next / square)?)?;
            square = next;
        }
        // The span is what matters: the next core absorbs the rest.
        Ok(Tensor::f_linalg_qr(&factor, "reduced")?.0)
    }

    /// The normal equations' matrix applied to an in factor (channels, rank in): through the student's responses.
    fn normal(&self, factor: &Tensor, outer: &Outer) -> Result<Tensor, TchError> {
        let student = expand(&outer.core, 1, factor)?.f_reshape([self.rank_out, self.channels * self.taps])?;
        let responses = student.f_matmul(&self.moment)?.f_view([self.rank_out, self.channels, self.taps])?;
        self.onto_factor(&responses, outer)
    }

    /// (rank out, channels, taps) against the core: (channels, rank in).
    fn onto_factor(&self, responses: &Tensor, outer: &Outer) -> Result<Tensor, TchError> {
        responses.f_tensordot(&outer.core, [0, 2], [0, 2])
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::engine::compress::fixture::random;

    /// A second moment far from a multiple of the identity.
    fn moment(extent: i64) -> Tensor {
        let scale = Tensor::linspace(-1.5, 1.5, extent, (Kind::Double, Device::Cpu)).exp();
        let mixed = random(21, &[extent, extent]) * scale;
        mixed.matmul(&mixed.tr())
    }

    fn lost(weight: &Tensor, rebuilt: &Tensor, moment: &Tensor) -> f64 {
        let difference = (weight - rebuilt).flatten(1, -1);
        f64::try_from(difference.matmul(moment).multiply(&difference).sum(Kind::Double)).unwrap()
    }

    const RANKS: Ranks = Ranks { input: 2, output: 3 };

    #[test]
    fn lowers_the_response_error_of_a_kernel_round_by_round() {
        let (kernel, moment) = (random(22, &[6, 5, 3, 1]), moment(15));
        let plain = tucker::decompose(&kernel, RANKS).unwrap();
        let fit = Fit::new(&kernel, &moment, RANKS).unwrap();
        let mut factor = plain.factor_in.as_ref().unwrap().shallow_clone();
        let mut outer = fit.outer(&factor).unwrap();
        let start = lost(&kernel, &plain.kernel().unwrap(), &moment);
        assert!(outer.lost < start);
        for _ in 0..8 {
            factor = fit.inner(&outer, &factor).unwrap();
            let next = fit.outer(&factor).unwrap();
            assert!(next.lost <= outer.lost * (1.0 + 1e-9), "{} after {}", next.lost, outer.lost);
            outer = next;
        }
        let fitted = tucker(&kernel, &moment, RANKS).unwrap();
        let end = lost(&kernel, &fitted.kernel().unwrap(), &moment);
        assert!(end < 0.5 * start, "{end} of {start}");
        assert!(fitted.error >= plain.error, "no fit beats the plain one in the plain norm");
    }

    #[test]
    fn is_the_plain_decomposition_where_nothing_is_known() {
        let kernel = random(23, &[6, 5, 3, 3]);
        let identity = algebra::identity(45).unwrap();
        let plain = tucker::decompose(&kernel, RANKS).unwrap();
        assert!((tucker(&kernel, &identity, RANKS).unwrap().error - plain.error).abs() < 1e-4);
        let all_shrunk = shrink(&moment(45), 1.0).unwrap();
        assert!((tucker(&kernel, &all_shrunk, RANKS).unwrap().error - plain.error).abs() < 1e-4);
        let weight = random(24, &[7, 4]);
        let fitted = svd(&weight, &algebra::identity(4).unwrap(), 2).unwrap();
        assert!((fitted.error - svd::decompose(&weight, 2).unwrap().error).abs() < 1e-9);
    }

    #[test]
    fn a_matrix_has_the_least_response_error_of_its_rank() {
        let (weight, moment) = (random(25, &[7, 5]), moment(5));
        let fitted = svd(&weight, &moment, 2).unwrap();
        let least = lost(&weight, &fitted.second.matmul(&fitted.first), &moment);
        let whitened = weight.matmul(&root(&moment).unwrap());
        let tail: f64 = algebra::spectrum(&whitened).unwrap()[2..].iter().sum();
        assert!((least / tail - 1.0).abs() < 1e-4, "{least} {tail}");
        let plain = svd::decompose(&weight, 2).unwrap();
        assert!(lost(&weight, &plain.second.matmul(&plain.first), &moment) > least);
    }

    #[test]
    fn inputs_that_never_vary_leave_finite_factors() {
        let weight = random(26, &[4, 3]);
        let fitted = svd(&weight, &Tensor::zeros([3, 3], (Kind::Double, Device::Cpu)), 2).unwrap();
        assert!((fitted.error - svd::decompose(&weight, 2).unwrap().error).abs() < 1e-9);
    }
}
