//! How much a layer loses by an approximation: the one number that the budget compares between layers.
//!
//! It is a mixture of three. Of the weight alone, and of a layer's responses to inputs that were seen ("Accelerating Very Deep
//! Convolutional Networks", Zhang et al., TPAMI 2016, section 3.1): a layer that keeps the share 1 − e of its energy passes on
//! that share of its signal, and a chain of layers passes on the product of the shares. So losses are −ln(1 − e), which add up
//! (the "PCA energy" product, ibid., section 3.3). Plain sums of e let one layer lose nearly everything where that is cheap, and
//! with it the network.
//!
//! The third is the error of the network's answers, to first order: with x what the layer reads and δ = ΔW x the error of its
//! own answer, E[δᵀ G δ] for the sensitivity G of the logits to what the layer answers. E[x xᵀ] and G are the two factors by
//! which Martens and Grosse approximate a layer's curvature ("Optimizing Neural Networks with Kronecker-factored Approximate
//! Curvature", ICML 2015, section 3); here they are of the squared distance of the logits, whose Gauss-Newton matrix needs no
//! labels. It knows what the others cannot: much of what a layer answers is read by nothing after it.

use std::collections::BTreeMap;

use tch::{TchError, Tensor};

use super::algebra::{self, eigen, project};
use crate::domain::problem::Problem;

/// What is known about a layer beyond its weight.
#[derive(Debug)]
pub struct Measure {
    pub signal: Signal,
    /// G, (out, out): an error δ of what the layer answers at one place moves the centred logits by E[δᵀ G δ], summed over
    /// the layer's places, relative to their own square.
    pub sensitivity: Tensor,
}

/// What a layer reads or answers, as means over inputs and places.
#[derive(Debug)]
pub enum Signal {
    /// Of a matrix W: E[W x (W x)ᵀ] over its inputs x, (out, out).
    Responses(Tensor),
    /// Of a kernel: E[x xᵀ] over the patches x that it reads, taken as a Kronecker product of one moment over channels (in, in)
    /// and one over taps (taps, taps) of trace 1. Whitening then acts within the modes, so that channel ranks keep their meaning.
    Inputs { channels: Tensor, taps: Tensor },
}

/// By layer name; of a layer that is absent nothing is known.
pub type Measures = BTreeMap<String, Measure>;

/// What the energy of an approximation is taken of.
#[derive(Clone, Copy, Debug)]
pub enum View<'a> {
    Weight,
    Responses(&'a Measure),
    /// The logits, to first order.
    Logits(&'a Measure),
}

impl<'a> View<'a> {
    /// Each with its share of the loss.
    ///
    /// No inputs seen are the teacher's own: followed blindly, they leave out what a real input may need, and not asked at all, the
    /// weight keeps what no input has. The first order is far off where much is lost in many layers in a row, as in deep
    /// networks, and responses alone spend much on what is read by nothing. `bench/README.md` has what each gives.
    pub fn all(measure: Option<&'a Measure>) -> Vec<(f64, Self)> {
        match measure {
            None => vec![(1.0, Self::Weight)],
            Some(measure) => {
                vec![(0.1, Self::Weight), (0.225, Self::Responses(measure)), (0.675, Self::Logits(measure))]
            }
        }
    }

    /// The loss of an approximation that loses `lost` of the energy `total`.
    pub fn loss(self, lost: f64, total: f64) -> f64 {
        if let Self::Logits(_) = self {
            return lost;
        }
        let share = if total > 0.0 { (lost / total).clamp(0.0, 1.0 - 1e-12) } else { 0.0 };
        -(-share).ln_1p()
    }

    /// Energies of the directions that a matrix W (out, in) answers in, largest first: squared singular values of W, of W Σ^½ or
    /// of G^½ W Σ^½.
    ///
    /// # Errors
    /// `internal` where the measure is not of a matrix of that size.
    pub fn spectrum(self, matrix: &Tensor) -> Result<Vec<f64>, Problem> {
        Ok(match self {
            Self::Responses(Measure { signal: Signal::Responses(moment), .. }) => algebra::spectrum_of(moment)?,
            Self::Logits(Measure { signal: Signal::Responses(moment), sensitivity }) => {
                let factor = sensitivity.f_linalg_cholesky(false)?;
                algebra::spectrum_of(&factor.f_tr()?.f_matmul(moment)?.f_matmul(&factor)?)?
            }
            _ => algebra::spectrum(matrix)?,
        })
    }

    /// The kernel (out, in, kernel…) in coordinates in which the energy of an approximation is its Frobenius norm.
    ///
    /// # Errors
    /// `internal` where the measure does not fit the kernel.
    pub fn whiten(self, kernel: &Tensor) -> Result<Tensor, Problem> {
        let (Self::Responses(measure) | Self::Logits(measure)) = self else { return Ok(kernel.shallow_clone()) };
        let Signal::Inputs { channels, taps } = &measure.signal else { return Ok(kernel.shallow_clone()) };
        let size = kernel.size();
        let whitened = project(&kernel.f_flatten(2, -1)?, 1, &root(channels)?)?;
        let mut whitened = project(&whitened, 2, &root(taps)?)?;
        if let Self::Logits(Measure { sensitivity, .. }) = self {
            // Any root does: they differ by a rotation, which no energy feels.
            whitened = project(&whitened, 0, &sensitivity.f_linalg_cholesky(false)?)?;
        }
        Ok(whitened.f_reshape(&size)?)
    }
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
        let loss = |lost, total| View::Weight.loss(lost, total);
        let two = loss(0.1, 1.0) + loss(0.2, 1.0);
        assert!((two - loss(1.0 - 0.9 * 0.8, 1.0)).abs() < 1e-12);
        assert!(loss(1.0, 1.0).is_finite());
        assert_eq!(loss(0.0, 0.0), 0.0);
    }

    fn moment(seed: u64, extent: i64) -> Tensor {
        let mixed = random(seed, &[extent, extent]);
        mixed.matmul(&mixed.tr())
    }

    /// tr(G W Σ Wᵀ).
    fn moved(weight: &Tensor, moment: &Tensor, sensitivity: &Tensor) -> f64 {
        sensitivity.matmul(weight).matmul(moment).matmul(&weight.tr()).trace().double_value(&[])
    }

    #[test]
    fn whitening_turns_what_moves_the_logits_into_a_norm() {
        let (channels, taps, sensitivity) = (moment(1, 4), moment(2, 9), moment(7, 5));
        let kernel = random(3, &[5, 4, 3, 3]);
        let whole = moved(&kernel.flatten(1, -1), &channels.kron(&taps), &sensitivity);
        let known = Measure { signal: Signal::Inputs { channels, taps }, sensitivity };
        let whitened = View::Logits(&known).whiten(&kernel).unwrap();
        assert_eq!(whitened.size(), kernel.size());
        assert!((energy(&whitened).unwrap() / whole - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_matrix_answers_in_the_directions_that_move_the_logits() {
        let (weight, inputs, sensitivity) = (random(4, &[5, 4]), moment(1, 4), moment(7, 5));
        let responses = weight.matmul(&inputs).matmul(&weight.tr());
        let expected =
            algebra::spectrum(&root(&sensitivity).unwrap().matmul(&weight).matmul(&root(&inputs).unwrap())).unwrap();
        let whole = moved(&weight, &inputs, &sensitivity);
        let known = Measure { signal: Signal::Responses(responses), sensitivity };
        let found = View::Logits(&known).spectrum(&weight).unwrap();
        assert!(found.iter().zip(&expected).all(|(found, expected)| (found - expected).abs() < 1e-9));
        assert!((found.iter().sum::<f64>() / whole - 1.0).abs() < 1e-9);
    }
}
