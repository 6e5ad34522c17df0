//! Truncated singular value decomposition of a linear weight (or a 1x1 kernel): one layer becomes two.

use tch::{TchError, Tensor};

use super::algebra::{self, eigen};
use crate::domain::problem::Problem;

/// W (out, in) ≈ second · first. The singular values are shared evenly between the two, so that both learn at one rate.
#[derive(Debug)]
pub struct Svd {
    /// (rank, in)
    pub first: Tensor,
    /// (out, rank)
    pub second: Tensor,
    /// ‖W − W̃‖ / ‖W‖.
    pub error: f64,
}

/// The best approximation of a float64 matrix (out, in) at a rank from 1 to its smaller extent (Eckart and Young, 1936).
///
/// # Errors
/// `internal` where libtorch fails.
pub fn decompose(weight: &Tensor, rank: usize) -> Result<Svd, Problem> {
    // The smaller Gram matrix gives the leading left (or right) singular vectors. W is projected onto them, so that the
    // approximation is a projection to the last digit even where small singular values are lost to rounding.
    let size = weight.size();
    let wide = size[0] <= size[1];
    let rows = if wide { weight.shallow_clone() } else { weight.f_tr()? };
    let (squares, vectors) = eigen(&rows.f_matmul(&rows.f_tr()?)?)?;
    let basis = vectors.f_narrow(1, 0, rank as i64)?;
    let scale = balance(&squares.f_narrow(0, 0, rank as i64)?)?;
    let one = basis.f_mul(&scale)?;
    let other = basis.f_div(&scale)?.f_tr()?.f_matmul(&rows)?;
    let (first, second) = if wide { (other, one) } else { (one.f_tr()?, other.f_tr()?) };
    let error = algebra::relative_error(weight, &second.f_matmul(&first)?)?;
    Ok(Svd { first: first.f_contiguous()?, second: second.f_contiguous()?, error })
}

/// Smaller extent beyond which [`error`] does without the factors: their eigenvectors take several times as long as the
/// spectrum, which for the layers of a large network is minutes.
const LARGE: i64 = 512;

/// The error of [`decompose`]; of a large matrix from the tail of its spectrum, which is the same but for rounding.
///
/// # Errors
/// `internal` where libtorch fails.
pub fn error(weight: &Tensor, rank: usize) -> Result<f64, Problem> {
    if weight.size().iter().min().is_none_or(|extent| *extent <= LARGE) {
        return Ok(decompose(weight, rank)?.error);
    }
    let squares = algebra::spectrum(weight)?;
    let total: f64 = squares.iter().sum();
    let lost: f64 = squares.iter().skip(rank).sum();
    Ok(if total > 0.0 { (lost / total).sqrt() } else { 0.0 })
}

/// Below the squared singular values of any float32 matrix but zeros, and so large that a fraction of it is no zero.
const NOTHING: f64 = 1e-200;

/// √s of singular values s given as squares; kept off zero, where dividing by it would spoil a rank-deficient weight.
fn balance(squares: &Tensor) -> Result<Tensor, TchError> {
    let largest = f64::try_from(squares.f_max()?)?.max(NOTHING);
    squares.f_clamp_min(largest * 1e-24)?.f_sqrt()?.f_sqrt()
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::engine::compress::fixture::random;

    #[test]
    fn error_is_the_tail_of_the_spectrum() {
        for (rows, columns) in [(9, 5), (5, 9)] {
            let weight = random(11, &[rows, columns]);
            let (_, singular, _) = weight.svd(true, false);
            let squares: Vec<f64> = algebra::values(&singular.square()).unwrap();
            let svd = decompose(&weight, 3).unwrap();
            assert_eq!((svd.first.size(), svd.second.size()), (vec![3, columns], vec![rows, 3]));
            let expected = (squares[3..].iter().sum::<f64>() / squares.iter().sum::<f64>()).sqrt();
            assert!((svd.error - expected).abs() < 1e-9);
            let balanced = algebra::energy(&svd.first).unwrap() / algebra::energy(&svd.second).unwrap();
            assert!((balanced - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn the_error_of_a_large_matrix_is_that_of_its_factors() {
        let weight = random(11, &[LARGE + 1, LARGE + 9]);
        for rank in [1, 100, 512] {
            let (fast, slow) = (error(&weight, rank).unwrap(), decompose(&weight, rank).unwrap().error);
            assert!((fast - slow).abs() < 1e-9, "{fast} {slow}");
        }
        assert_eq!(error(&Tensor::zeros([600, 600], (Kind::Double, Device::Cpu)), 2).unwrap(), 0.0);
    }

    #[test]
    fn a_rank_deficient_weight_stays_finite() {
        let weight = random(11, &[6, 1]).matmul(&random(12, &[1, 4]));
        let svd = decompose(&weight, 3).unwrap();
        assert!(svd.error < 1e-9);
        assert!(algebra::values(&svd.first).unwrap().iter().all(|value| value.is_finite()));
        let zeros = decompose(&Tensor::zeros([4, 4], (Kind::Double, Device::Cpu)), 2).unwrap();
        assert!(zeros.error == 0.0);
        assert!(algebra::values(&zeros.first).unwrap().iter().all(|value| *value == 0.0));
        assert!(algebra::values(&zeros.second).unwrap().iter().all(|value| value.is_finite()));
    }
}
