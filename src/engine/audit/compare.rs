//! The figures of one source, from the logits of both networks.

use tch::{Device, Kind, TchError, Tensor};

use crate::domain::audit::{Both, Divergence, InputSource, Proportion, SourceAudit, Sure};

/// The teacher is sure of what it gives more than this probability.
const SURE: f64 = 0.9;

/// Larger logits are cut off: a network that overflows must not make figures that are no numbers.
const MOST: f64 = 1e9;

/// Compares the logits `theirs` of the teacher and `ours` of the student, (N, classes) each.
///
/// # Errors
/// What libtorch reports.
pub fn compare(source: InputSource, theirs: &Tensor, ours: &Tensor) -> Result<SourceAudit, TchError> {
    let (theirs, ours) = (finite(theirs)?, finite(ours)?);
    let agree = theirs.f_argmax(-1, false)?.f_eq_tensor(&ours.f_argmax(-1, false)?)?;
    let (teacher, student) = (Answers::new(&theirs)?, Answers::new(&ours)?);
    let sure = teacher.confidence.f_gt(SURE)?;
    let kl = per_input(&teacher.p.f_mul(&teacher.log.f_sub(&student.log)?)?)?;
    Ok(SourceAudit {
        source,
        agreement: proportion(&agree, &agree.f_ones_like()?)?.unwrap_or_else(|| Proportion::wilson(0, 0)),
        kl: divergence(&kl)?,
        logit_difference: difference(&theirs, &ours)?,
        sure: Sure { share: mean(&sure)?, agreement: proportion(&agree, &sure)? },
        confidence: Both { teacher: mean(&teacher.confidence)?, student: mean(&student.confidence)? },
        entropy: Both { teacher: mean(&teacher.entropy()?)?, student: mean(&student.entropy()?)? },
        effective_classes: effective_classes(&theirs)?,
    })
}

/// In double precision, on the CPU, without infinities.
pub(super) fn finite(logits: &Tensor) -> Result<Tensor, TchError> {
    logits.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?.f_nan_to_num(0.0, MOST, -MOST)
}

/// What one network says of a source.
struct Answers {
    /// Probabilities and their logarithms, (N, classes).
    p: Tensor,
    log: Tensor,
    /// The highest probability, (N).
    confidence: Tensor,
}

impl Answers {
    fn new(logits: &Tensor) -> Result<Self, TchError> {
        let log = logits.f_log_softmax(-1, Kind::Double)?;
        let p = log.f_exp()?;
        let confidence = p.f_amax([-1i64].as_slice(), false)?;
        Ok(Self { p, log, confidence })
    }

    fn entropy(&self) -> Result<Tensor, TchError> {
        per_input(&self.p.f_mul(&self.log)?)?.f_neg()
    }
}

/// Sum over classes.
fn per_input(values: &Tensor) -> Result<Tensor, TchError> {
    values.f_sum_dim_intlist([-1i64].as_slice(), false, Kind::Double)
}

fn mean(values: &Tensor) -> Result<f64, TchError> {
    values.f_to_kind(Kind::Double)?.f_mean(Kind::Double)?.f_double_value(&[])
}

fn sum(values: &Tensor) -> Result<f64, TchError> {
    values.f_to_kind(Kind::Double)?.f_sum(Kind::Double)?.f_double_value(&[])
}

/// How many of the inputs `of` have `hits`, both boolean (N); `None` where there are none.
pub fn proportion(hits: &Tensor, of: &Tensor) -> Result<Option<Proportion>, TchError> {
    let of = of.f_to_kind(Kind::Bool)?;
    let (hits, n) = (sum(&hits.f_logical_and(&of)?)? as u64, sum(&of)? as u64);
    Ok((n > 0).then(|| Proportion::wilson(hits, n)))
}

/// Rounding may leave a divergence a little below 0.
fn divergence(kl: &Tensor) -> Result<Divergence, TchError> {
    let mut values: Vec<f64> = Vec::try_from(&kl.f_clamp_min(0.0)?)?;
    values.sort_by(f64::total_cmp);
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    Ok(Divergence { mean, p95: percentile(&values, 0.95), p99: percentile(&values, 0.99) })
}

/// The value that the share `level` of `sorted` lies below, by linear interpolation between neighbours (type 7 of Hyndman
/// and Fan, 1996, as NumPy has it).
fn percentile(sorted: &[f64], level: f64) -> f64 {
    let place = level * sorted.len().saturating_sub(1) as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    match (sorted.get(below), sorted.get(below + 1)) {
        (Some(low), Some(high)) => low + part * (high - low),
        (Some(low), None) => *low,
        (None, _) => 0.0,
    }
}

/// What is added to all logits of an input changes no answer, so they are centred first.
fn difference(theirs: &Tensor, ours: &Tensor) -> Result<f64, TchError> {
    let centred = |logits: &Tensor| logits.f_sub(&logits.f_mean_dim([-1i64].as_slice(), true, Kind::Double)?);
    let (theirs, ours) = (centred(theirs)?, centred(ours)?);
    let spread = mean(&theirs.f_abs()?)?;
    Ok(mean(&theirs.f_sub(&ours)?.f_abs()?)? / spread.max(1e-9))
}

/// exp of the entropy of the mean probabilities: 1 where all inputs are of one class, and all classes where they are evenly
/// distributed.
///
/// # Errors
/// What libtorch reports.
pub fn effective_classes(logits: &Tensor) -> Result<f64, TchError> {
    let p = logits.f_softmax(-1, Kind::Double)?.f_mean_dim([0i64].as_slice(), false, Kind::Double)?;
    sum(&p.f_mul(&p.f_clamp_min(1e-300)?.f_log()?)?.f_neg()?).map(f64::exp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(rows: &[[f64; 3]]) -> Tensor {
        Tensor::from_slice2(rows)
    }

    /// `numpy.percentile([0, 1, 2, 3, 10], [95, 99])` is 8.6 and 9.72.
    #[test]
    fn percentiles_are_numpys() {
        let sorted = [0.0, 1.0, 2.0, 3.0, 10.0];
        assert!((percentile(&sorted, 0.95) - 8.6).abs() < 1e-12);
        assert!((percentile(&sorted, 0.99) - 9.72).abs() < 1e-12);
        assert_eq!((percentile(&[4.0], 0.99), percentile(&sorted, 1.0), percentile(&[], 0.5)), (4.0, 10.0, 0.0));
    }

    /// By hand: the first input has probabilities (0.8, 0.1, 0.1) against (0.1, 0.8, 0.1), the second the same twice.
    #[test]
    fn the_figures_equal_their_definitions() {
        let (high, low) = (0.8f64.ln(), 0.1f64.ln());
        let theirs = logits(&[[high, low, low], [low + 5.0, low + 5.0, high + 5.0]]);
        let ours = logits(&[[low, high, low], [low, low, high]]);
        let found = compare(InputSource::Noise, &theirs, &ours).unwrap();
        let kl = 0.7 * 8.0f64.ln();
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} is not {b}");
        assert_eq!((found.agreement.share, found.agreement.n), (0.5, 2));
        close(found.kl.mean, kl / 2.0);
        close(found.kl.p95, 0.95 * kl);
        // Centred logits: 2/3, -1/3, -1/3 of ln 8; the first input differs by ln 8 in two of three.
        close(found.logit_difference, (2.0 / 6.0) / (4.0 / 9.0));
        assert_eq!(found.sure, Sure { share: 0.0, agreement: None });
        close(found.confidence.teacher, 0.8);
        let entropy = |p: &[f64]| -p.iter().map(|p| p * p.ln()).sum::<f64>();
        close(found.entropy.student, entropy(&[0.8, 0.1, 0.1]));
        close(found.effective_classes, entropy(&[0.45, 0.1, 0.45]).exp());
    }

    #[test]
    fn sure_inputs_are_counted_apart() {
        let theirs = logits(&[[9.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.1, 0.0, 0.0], [0.0, 0.1, 0.0]]);
        let ours = logits(&[[9.0, 0.0, 0.0], [9.0, 0.0, 0.0], [9.0, 0.0, 0.0], [9.0, 0.0, 0.0]]);
        let sure = compare(InputSource::Noise, &theirs, &ours).unwrap().sure;
        let agreement = sure.agreement.unwrap();
        assert_eq!((sure.share, agreement.share, agreement.n), (0.5, 0.5, 2));
    }

    #[test]
    fn networks_that_overflow_leave_numbers() {
        let theirs = logits(&[[f64::INFINITY, 0.0, f64::NAN], [1.0, 0.0, 0.0]]);
        let ours = logits(&[[f64::NEG_INFINITY, 0.0, 1.0], [1.0, 0.0, 0.0]]);
        let json = serde_json::to_value(compare(InputSource::Noise, &theirs, &ours).unwrap()).unwrap();
        assert!(json["kl"]["mean"].is_number() && json["logit_difference"].is_number(), "{json}");
        assert!(json["entropy"]["teacher"].is_number() && json["effective_classes"].is_number(), "{json}");
    }
}
