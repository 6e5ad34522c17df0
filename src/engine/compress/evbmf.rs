//! The rank of a matrix by empirical variational Bayes matrix factorisation, in closed form.
//!
//! Nakajima, Sugiyama, Babacan, Tomioka, "Global Analytic Solution of Fully-observed Variational Bayesian Matrix
//! Factorization", JMLR 14 (2013); the threshold in terms of τ and the noise estimate as in their "Perfect Dimensionality
//! Recovery by Variational Bayesian PCA", NIPS 2012. Notation of the latter: V is L × M with L ≤ M and singular values γ,
//! α = L / M, and a component is kept where γ² > M σ² (1 + τ̲)(1 + α / τ̲).

use tch::Tensor;

use super::algebra::spectrum;
use crate::domain::problem::Problem;

/// Points of the first scan for σ². The objective can have several minima, so that a search from one bracket may miss.
const SCAN: usize = 400;

/// The EVBMF rank of a float64 matrix: 0 where nothing stands out of the noise, at most its smaller extent.
///
/// # Errors
/// `internal` where libtorch fails.
pub fn rank(matrix: &Tensor) -> Result<usize, Problem> {
    let long = matrix.size().into_iter().max().unwrap_or(1);
    Ok(rank_of(&spectrum(matrix)?, long as f64))
}

/// The rank from the L squared singular values, largest first, and M.
fn rank_of(squares: &[f64], long: f64) -> usize {
    let noise = Noise::new(squares, long);
    let threshold = long * noise.variance() * noise.threshold;
    squares.iter().filter(|&&square| square > threshold).count()
}

/// The estimate of σ² for unknown noise: the minimum of the free energy over an interval that contains it.
struct Noise<'a> {
    squares: &'a [f64],
    long: f64,
    alpha: f64,
    /// x̲ = (1 + τ̲)(1 + α / τ̲): γ² / (M σ²) above which a component is kept.
    threshold: f64,
}

impl<'a> Noise<'a> {
    fn new(squares: &'a [f64], long: f64) -> Self {
        let alpha = squares.len() as f64 / long;
        let tau = lowest_tau(alpha);
        Self { squares, long, alpha, threshold: (1.0 + tau) * (1.0 + alpha / tau) }
    }

    /// Scans the interval on a logarithmic grid, then closes in on the best point by golden sections.
    fn variance(&self) -> f64 {
        let (low, high) = self.interval();
        if !(low > 0.0 && low < high) {
            return high;
        }
        let step = (high / low).ln() / (SCAN - 1) as f64;
        let at = |index: usize| low * (step * index as f64).exp();
        let best = (0..SCAN).min_by(|&a, &b| self.free_energy(at(a)).total_cmp(&self.free_energy(at(b)))).unwrap_or(0);
        golden_section(at(best.saturating_sub(1)), at((best + 1).min(SCAN - 1)), |variance| self.free_energy(variance))
    }

    /// Lower and upper bound of the global minimiser.
    fn interval(&self) -> (f64, f64) {
        let count = self.squares.len();
        let most = ((count as f64 / (1.0 + self.alpha)).ceil() as usize).saturating_sub(1).min(count - 1);
        let rest = &self.squares[most..];
        let low =
            (rest[0] / (self.long * self.threshold)).max(rest.iter().sum::<f64>() / (rest.len() as f64 * self.long));
        (low, self.squares.iter().sum::<f64>() / (count as f64 * self.long))
    }

    /// The free energy as a function of σ², up to constants: each component adds ψ₀(x) = x − ln x of x = γ² / (M σ²), or
    /// where it is kept ψ₀(x) + ψ₁(x), with τ(x) in place of the estimate.
    fn free_energy(&self, variance: f64) -> f64 {
        let component = |square: f64| {
            let x = (square / (self.long * variance)).max(f64::MIN_POSITIVE);
            if x <= self.threshold {
                return x - x.ln();
            }
            let excess = x - (1.0 + self.alpha);
            let tau = 0.5 * (excess + (excess * excess - 4.0 * self.alpha).sqrt());
            x - tau + ((tau + 1.0) / x).ln() + self.alpha * (tau / self.alpha + 1.0).ln()
        };
        self.squares.iter().map(|&square| component(square)).sum()
    }
}

/// τ̲, the zero of Φ(τ) + Φ(τ / α) with Φ(z) = ln(1 + z) / z − ½, by bisection: Φ falls from ½ towards −½.
fn lowest_tau(alpha: f64) -> f64 {
    let phi = |z: f64| z.ln_1p() / z - 0.5;
    let (mut low, mut high) = (1e-12, 3.0);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if phi(middle) + phi(middle / alpha) > 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// The minimiser of a function with one minimum between `low` and `high`.
fn golden_section(mut low: f64, mut high: f64, value: impl Fn(f64) -> f64) -> f64 {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    while high - low > 1e-10 * high {
        let (left, right) = (high - GOLDEN * (high - low), low + GOLDEN * (high - low));
        if value(left) <= value(right) {
            high = right;
        } else {
            low = left;
        }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waves of the given amplitudes and pseudo-random noise, such as any language can make it:
    /// v(i, j) = Σ_h a_h cos(0.7 h i + h) sin(0.3 h j + 2 h) + s (u − ½), i and j from 1, u in row-major order from the
    /// generator x ← (1103515245 x + 12345) mod 2³¹, u = x / 2³¹, starting after x = 1.
    fn matrix(rows: usize, columns: usize, amplitudes: &[f64], noise: f64) -> Tensor {
        let mut x: u64 = 1;
        let mut values = Vec::with_capacity(rows * columns);
        for i in 1..=rows {
            for j in 1..=columns {
                x = (1_103_515_245 * x + 12_345) % (1 << 31);
                let waves = amplitudes.iter().zip(1..).map(|(amplitude, h)| {
                    let h = f64::from(h);
                    amplitude * (0.7 * h * i as f64 + h).cos() * (0.3 * h * j as f64 + 2.0 * h).sin()
                });
                values.push(waves.sum::<f64>() + noise * (x as f64 / f64::from(1_u32 << 31) - 0.5));
            }
        }
        Tensor::from_slice(&values).view([rows as i64, columns as i64])
    }

    /// Expected values from a separate NumPy program written from the paper: `numpy.linalg.svd`, the objective evaluated
    /// on a grid of 20,001 values of σ².
    #[rstest::rstest]
    #[case(12, 30, &[1.0, 0.8, 0.6], 0.5, 3, 0.021_463)]
    #[case(12, 30, &[1.0, 0.8, 0.6], 3.0, 1, 0.898_122)]
    #[case(20, 20, &[2.0, 1.5, 1.0, 0.8, 0.6], 1.0, 4, 0.090_632)]
    #[case(40, 9, &[1.0, 0.5], 0.2, 2, 0.003_199)]
    #[case(16, 144, &[0.5, 0.4, 0.3, 0.2, 0.1], 1.0, 4, 0.082_455)]
    #[case(10, 25, &[], 1.0, 0, 0.073_401)]
    fn agrees_with_another_implementation(
        #[case] rows: usize,
        #[case] columns: usize,
        #[case] amplitudes: &[f64],
        #[case] noise: f64,
        #[case] expected: usize,
        #[case] variance: f64,
    ) {
        let matrix = matrix(rows, columns, amplitudes, noise);
        assert_eq!(rank(&matrix).unwrap(), expected);
        assert_eq!(rank(&matrix.tr()).unwrap(), expected);
        let estimate = Noise::new(&spectrum(&matrix).unwrap(), rows.max(columns) as f64).variance();
        assert!((estimate / variance - 1.0).abs() < 5e-4, "{estimate}");
    }

    #[test]
    fn tau_is_the_papers_constant_for_square_matrices() {
        assert!((lowest_tau(1.0) - 2.5129).abs() < 1e-4);
    }

    #[test]
    fn degenerate_matrices_have_a_rank() {
        let zeros = Tensor::zeros([4, 7], (tch::Kind::Double, tch::Device::Cpu));
        assert_eq!(rank(&zeros).unwrap(), 0);
        assert!(rank(&matrix(1, 9, &[1.0], 0.1)).unwrap() <= 1);
        // Without noise: what is there stands out.
        assert_eq!(rank(&matrix(12, 30, &[1.0, 0.8], 0.0)).unwrap(), 2);
    }
}
