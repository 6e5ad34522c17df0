//! How much a layer loses by an approximation: the one number that the budget compares between layers.
//!
//! A layer that keeps the share 1 − e of its energy passes on that share of its signal, and a chain of layers passes on the
//! product of the shares. So losses are −ln(1 − e), which add up (the "PCA energy" product of Zhang et al., "Accelerating Very
//! Deep Convolutional Networks", TPAMI 2016, section 3.3). Plain sums of e let one layer lose nearly everything where that is
//! cheap, and with it the network.
//!
//! The energy is that of the layer's responses, where something is known about its inputs (ibid., section 3.1): of the weight
//! alone, directions count that no input ever has.

use std::collections::BTreeMap;

use tch::{TchError, Tensor};

use super::algebra::{self, eigen, project};
use crate::domain::problem::Problem;

/// What is known about a layer beyond its weight.
#[derive(Debug)]
pub enum Measure {
    /// Of a matrix W: E[W x (W x)ᵀ] over its inputs x, (out, out).
    Responses(Tensor),
    /// Of a kernel, or of a matrix with many more outputs than inputs: E[x xᵀ] over the patches x that it reads, taken as a
    /// Kronecker product of one moment over channels (in, in) and one over taps (taps, taps) of trace 1. Whitening then acts
    /// within the modes, so that channel ranks keep their meaning.
    Inputs { channels: Tensor, taps: Tensor },
}

/// By layer name; of a layer that is absent nothing is known.
pub type Measures = BTreeMap<String, Measure>;

/// The loss of an approximation that loses `lost` of the energy `total`.
pub fn loss(lost: f64, total: f64) -> f64 {
    let share = if total > 0.0 { (lost / total).clamp(0.0, 1.0 - 1e-12) } else { 0.0 };
    -(-share).ln_1p()
}

/// Energies of the directions that a matrix (out, in) answers in, largest first: squared singular values of W Σ^½.
///
/// # Errors
/// `internal` where the measure is not of a matrix of that size.
pub fn spectrum(matrix: &Tensor, measure: Option<&Measure>) -> Result<Vec<f64>, Problem> {
    Ok(match measure {
        Some(Measure::Responses(moment)) => algebra::spectrum_of(moment)?,
        // A matrix has one tap, whose moment is 1.
        Some(Measure::Inputs { channels, .. }) => algebra::spectrum(&matrix.f_matmul(&root(channels)?)?)?,
        None => algebra::spectrum(matrix)?,
    })
}

/// The kernel (out, in, kernel…) in coordinates in which the energy of an approximation is its Frobenius norm.
///
/// # Errors
/// `internal` where the measure does not fit the kernel.
pub fn whiten(kernel: &Tensor, measure: Option<&Measure>) -> Result<Tensor, Problem> {
    let Some(Measure::Inputs { channels, taps }) = measure else { return Ok(kernel.shallow_clone()) };
    let size = kernel.size();
    let whitened = project(&kernel.f_flatten(2, -1)?, 1, &root(channels)?)?;
    Ok(project(&whitened, 2, &root(taps)?)?.f_reshape(&size)?)
}

/// The symmetric root of a positive semidefinite matrix.
fn root(moment: &Tensor) -> Result<Tensor, TchError> {
    let (values, vectors) = eigen(moment)?;
    vectors.f_mul(&values.f_clamp_min(0.0)?.f_sqrt()?)?.f_matmul(&vectors.f_tr()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::compress::{algebra::energy, fixture::random};

    #[test]
    fn losses_of_a_chain_add_up() {
        let two = loss(0.1, 1.0) + loss(0.2, 1.0);
        assert!((two - loss(1.0 - 0.9 * 0.8, 1.0)).abs() < 1e-12);
        assert!(loss(1.0, 1.0).is_finite());
        assert_eq!(loss(0.0, 0.0), 0.0);
    }

    fn moment(seed: u64, extent: i64) -> Tensor {
        let mixed = random(seed, &[extent, extent]);
        mixed.matmul(&mixed.tr())
    }

    /// tr(W Σ Wᵀ).
    fn response(weight: &Tensor, moment: &Tensor) -> f64 {
        weight.matmul(moment).matmul(&weight.tr()).trace().double_value(&[])
    }

    #[test]
    fn whitening_turns_the_energy_of_responses_into_a_norm() {
        let (channels, taps) = (moment(1, 4), moment(2, 9));
        let kernel = random(3, &[5, 4, 3, 3]);
        let whole = response(&kernel.flatten(1, -1), &channels.kron(&taps));
        let whitened = whiten(&kernel, Some(&Measure::Inputs { channels, taps })).unwrap();
        assert_eq!(whitened.size(), kernel.size());
        assert!((energy(&whitened).unwrap() / whole - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_matrix_answers_in_the_directions_of_its_responses() {
        let (weight, inputs) = (random(4, &[5, 4]), moment(1, 4));
        let responses = weight.matmul(&inputs).matmul(&weight.tr());
        let found = spectrum(&weight, Some(&Measure::Responses(responses))).unwrap();
        let expected = algebra::spectrum(&weight.matmul(&root(&inputs).unwrap())).unwrap();
        assert!(found.iter().zip(&expected).all(|(found, expected)| (found - expected).abs() < 1e-9));
        assert!((found.iter().sum::<f64>() / response(&weight, &inputs) - 1.0).abs() < 1e-9);
    }
}
