//! Partial Tucker-2 decomposition of a kernel over its output and input channels.
//!
//! W (out, in, kernel…) ≈ core ×₀ factor_out ×₁ factor_in, with orthonormal factors: the higher-order SVD as the start
//! (De Lathauwer et al., SIAM J. Matrix Anal. Appl. 21, 2000, 1253), then higher-order orthogonal iteration (ibid., 1324),
//! as Kim et al. (ICLR 2016) use it to split one convolution into three. A linear layer is the case without kernel axes.

use serde::{Deserialize, Serialize};
use tch::{TchError, Tensor};

use super::algebra::{self, energy, expand, principal, project, unfold};
use crate::domain::problem::Problem;

/// Iteration ends when the squared relative error falls by less than this. On trained kernels it takes 5 to 40 rounds,
/// and another hundred would change the fourth digit of the error.
const TOLERANCE: f64 = 1e-8;

/// Rounds after which iteration ends in any case. The error never grows from round to round, so an early end is safe.
const MAX_ROUNDS: usize = 100;

/// Channels of the core: `input` of the in channels, `output` of the out channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranks {
    pub input: usize,
    pub output: usize,
}

/// A side of full rank has no factor: no two layers do there what one does.
#[derive(Debug)]
pub struct Tucker {
    /// (in, ranks.input), orthonormal columns.
    pub factor_in: Option<Tensor>,
    /// (ranks.output, ranks.input, kernel…)
    pub core: Tensor,
    /// (out, ranks.output), orthonormal columns.
    pub factor_out: Option<Tensor>,
    /// ‖W − W̃‖ / ‖W‖.
    pub error: f64,
}

impl Tucker {
    /// The kernel that the three factors stand for, (out, in, kernel…).
    ///
    /// # Errors
    /// `internal` where libtorch fails.
    pub fn kernel(&self) -> Result<Tensor, Problem> {
        let half = widen(&self.core, 1, self.factor_in.as_ref())?;
        Ok(widen(&half, 0, self.factor_out.as_ref())?)
    }
}

/// Decomposes a float64 kernel (out, in, kernel…) at ranks from 1 to the number of channels.
///
/// # Errors
/// `internal` where libtorch fails.
pub fn decompose(kernel: &Tensor, ranks: Ranks) -> Result<Tucker, Problem> {
    let total = energy(kernel)?;
    let mut factor_in = subspace(kernel, 1, ranks.input)?;
    let mut half = narrow(kernel, 1, factor_in.as_ref())?;
    let mut factor_out = subspace(&half, 0, ranks.output)?;
    let mut core = narrow(&half, 0, factor_out.as_ref())?;
    // With one side whole the other has its best subspace already.
    let rounds = if factor_in.is_some() && factor_out.is_some() { MAX_ROUNDS } else { 0 };
    let mut kept = energy(&core)?;
    for _ in 0..rounds {
        factor_in = subspace(&narrow(kernel, 0, factor_out.as_ref())?, 1, ranks.input)?;
        half = narrow(kernel, 1, factor_in.as_ref())?;
        factor_out = subspace(&half, 0, ranks.output)?;
        core = narrow(&half, 0, factor_out.as_ref())?;
        let gain = energy(&core)? - kept;
        if gain <= TOLERANCE * total {
            break;
        }
        kept += gain;
    }
    // The difference itself, because 1 - kept / total has lost its digits where the error is small.
    let mut tucker = Tucker { factor_in, core: core.f_contiguous()?, factor_out, error: 0.0 };
    tucker.error = algebra::relative_error(kernel, &tucker.kernel()?)?;
    Ok(tucker)
}

/// The leading subspace of one mode; `None` where it is all of it.
fn subspace(tensor: &Tensor, mode: i64, rank: usize) -> Result<Option<Tensor>, TchError> {
    if rank as i64 == tensor.size()[mode as usize] {
        return Ok(None);
    }
    principal(&unfold(tensor, mode)?, rank).map(Some)
}

/// Projects a mode onto a subspace; all of it leaves the tensor as it is.
fn narrow(tensor: &Tensor, mode: i64, factor: Option<&Tensor>) -> Result<Tensor, TchError> {
    factor.map_or_else(|| Ok(tensor.shallow_clone()), |factor| project(tensor, mode, factor))
}

/// The reverse of [`narrow`].
fn widen(tensor: &Tensor, mode: i64, factor: Option<&Tensor>) -> Result<Tensor, TchError> {
    factor.map_or_else(|| Ok(tensor.shallow_clone()), |factor| expand(tensor, mode, factor))
}

/// Squared error ‖W − W̃‖² of the truncated higher-order SVD at every pair of ranks.
#[derive(Debug)]
pub struct ErrorTable {
    errors: Vec<f64>,
    inputs: usize,
}

impl ErrorTable {
    /// One orthogonal change of basis gives all of them: the error at a pair of ranks is the energy of the core outside
    /// its leading block, a sum over a rectangle. Iteration lowers it further by a few percent at most.
    ///
    /// # Errors
    /// `internal` where libtorch fails.
    pub fn new(kernel: &Tensor) -> Result<Self, Problem> {
        let flat = kernel.f_flatten(2, -1)?;
        let size = flat.size();
        let basis_out = principal(&unfold(&flat, 0)?, size[0] as usize)?;
        let basis_in = principal(&unfold(&flat, 1)?, size[1] as usize)?;
        let core = project(&project(&flat, 0, &basis_out)?, 1, &basis_in)?;
        let energies = core.f_square()?.f_sum_dim_intlist(2, false, None)?;
        let kept = energies.f_cumsum(0, None)?.f_cumsum(1, None)?;
        let lost = kept.f_neg()?.f_add_scalar(energy(kernel)?)?.f_clamp_min(0.0)?;
        Ok(Self { errors: algebra::values(&lost)?, inputs: size[1] as usize })
    }

    pub fn at(&self, ranks: Ranks) -> f64 {
        self.errors[(ranks.output - 1) * self.inputs + ranks.input - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::compress::fixture::random;

    /// Outer products of two known channel subspaces: Tucker-2 of those ranks is exact.
    fn low_rank(ranks: Ranks) -> Tensor {
        let core = random(7, &[ranks.output as i64, ranks.input as i64, 3, 3]);
        expand(
            &expand(&core, 1, &random(8, &[10, ranks.input as i64])).unwrap(),
            0,
            &random(9, &[12, ranks.output as i64]),
        )
        .unwrap()
    }

    #[test]
    fn is_exact_at_the_true_ranks() {
        let ranks = Ranks { input: 3, output: 4 };
        let kernel = low_rank(ranks);
        let tucker = decompose(&kernel, ranks).unwrap();
        assert_eq!(tucker.factor_in.as_ref().unwrap().size(), [10, 3]);
        assert_eq!(tucker.core.size(), [4, 3, 3, 3]);
        assert_eq!(tucker.factor_out.as_ref().unwrap().size(), [12, 4]);
        assert!(tucker.error < 1e-12, "{}", tucker.error);
        assert!(algebra::relative_error(&kernel, &tucker.kernel().unwrap()).unwrap() < 1e-12);
        assert!(decompose(&kernel, Ranks { input: 2, output: 4 }).unwrap().error > 0.05);
    }

    #[test]
    fn a_full_rank_side_has_no_factor() {
        let kernel = random(1, &[6, 5, 3, 3]);
        let tucker = decompose(&kernel, Ranks { input: 5, output: 2 }).unwrap();
        assert!(tucker.factor_in.is_none());
        // With one side free the best subspace is that of the unfolding: Eckart-Young gives the error.
        let spectrum = algebra::spectrum(&unfold(&kernel, 0).unwrap()).unwrap();
        let expected = (spectrum[2..].iter().sum::<f64>() / spectrum.iter().sum::<f64>()).sqrt();
        assert!((tucker.error - expected).abs() < 1e-12);
    }

    #[test]
    fn iteration_improves_on_the_start_and_the_table_is_the_start() {
        let kernel = random(3, &[9, 7, 3, 3]);
        let table = ErrorTable::new(&kernel).unwrap();
        let total = energy(&kernel).unwrap();
        let ranks = Ranks { input: 3, output: 4 };
        let truncated = (table.at(ranks) / total).sqrt();
        let start_in = subspace(&kernel, 1, 3).unwrap().unwrap();
        let start_out = subspace(&kernel, 0, 4).unwrap().unwrap();
        let core = project(&project(&kernel, 0, &start_out).unwrap(), 1, &start_in).unwrap();
        let rebuilt = expand(&expand(&core, 1, &start_in).unwrap(), 0, &start_out).unwrap();
        assert!((truncated - algebra::relative_error(&kernel, &rebuilt).unwrap()).abs() < 1e-12);
        assert!(decompose(&kernel, ranks).unwrap().error < truncated);
        assert!(table.at(Ranks { input: 7, output: 9 }) < 1e-12 * total);
    }

    #[test]
    fn a_wide_linear_layer_has_the_error_of_its_spectrum() {
        let weight = random(5, &[3000, 40]);
        let spectrum = algebra::spectrum(&weight).unwrap();
        // The smaller rank decides, whichever side has it.
        for (input, output) in [(20, 30), (30, 20), (40, 20)] {
            let tucker = decompose(&weight, Ranks { input, output }).unwrap();
            assert_eq!(tucker.factor_out.as_ref().unwrap().size(), [3000, output as i64]);
            let expected = (spectrum[20..].iter().sum::<f64>() / spectrum.iter().sum::<f64>()).sqrt();
            assert!((tucker.error - expected).abs() < 1e-9, "{} {expected}", tucker.error);
        }
    }

    #[test]
    fn takes_a_matrix_as_the_kernel_of_a_linear_layer() {
        let weight = random(5, &[8, 6]);
        let tucker = decompose(&weight, Ranks { input: 3, output: 4 }).unwrap();
        assert_eq!(tucker.core.size(), [4, 3]);
        let spectrum = algebra::spectrum(&weight).unwrap();
        let expected = (spectrum[3..].iter().sum::<f64>() / spectrum.iter().sum::<f64>()).sqrt();
        assert!((tucker.error - expected).abs() < 1e-9, "{} {expected}", tucker.error);
    }
}
