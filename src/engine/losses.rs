//! The losses of KegNet (Yoo et al., NeurIPS 2019, section 4) and of distillation. Every one is a scalar tensor.

use tch::{Kind, TchError, Tensor};

/// l_cls: cross entropy of the teacher's `logits` (N, classes) against one-hot `labels`, mean over the batch.
///
/// # Errors
/// What libtorch reports.
pub fn classifier(logits: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
    cross_entropy(logits, labels)
}

/// l_dec: mean squared error of the decoded latent vectors (N, latent).
///
/// # Errors
/// What libtorch reports.
pub fn decoder(decoded: &Tensor, z: &Tensor) -> Result<Tensor, TchError> {
    decoded.f_mse_loss(z, tch::Reduction::Mean)
}

/// l_div: exp(-mean over pairs of d(z1, z2) · d(x1, x2)), with the mean squared difference for z and the mean absolute
/// difference over the elements of x, as the reference experiments have it.
///
/// # Errors
/// What libtorch reports.
pub fn diversity(x: &Tensor, z: &Tensor) -> Result<Tensor, TchError> {
    let x = x.f_flatten(1, -1)?;
    let elements = x.size()[1] as f64;
    let latent = z.size()[1] as f64;
    let rows = if x.device().is_cuda() { ROWS_ON_CUDA } else { x.size()[0] };
    let between_x = absolute_distances(&x, rows)?.f_div_scalar(elements)?;
    let between_z = squared_distances(z)?.f_div_scalar(latent)?;
    between_x.f_mul(&between_z)?.f_mean(Kind::Float)?.f_neg()?.f_exp()
}

/// Rows of [`absolute_distances`] at once on a GPU.
const ROWS_ON_CUDA: i64 = 8;

/// Sums of absolute differences of all pairs of rows of `x` (N, elements), `rows` of them against all at a time. `cdist` holds
/// no differences, but on CUDA its gradient does: rows · N · elements of them.
fn absolute_distances(x: &Tensor, rows: i64) -> Result<Tensor, TchError> {
    let some = x.f_split(rows, 0)?;
    let distances = some.iter().map(|rows| Tensor::f_cdist(rows, x, 1.0, None::<i64>));
    Tensor::f_cat(&distances.collect::<Result<Vec<_>, _>>()?, 0)
}

/// Squared Euclidean distances of all pairs. z carries no gradient, so the cancellation of this form is harmless.
fn squared_distances(z: &Tensor) -> Result<Tensor, TchError> {
    let norms = z.f_square()?.f_sum_dim_intlist([1i64].as_slice(), true, Kind::Float)?;
    let products = z.f_matmul(&z.f_transpose(0, 1)?)?;
    norms.f_add(&norms.f_transpose(0, 1)?)?.f_sub(&products.f_mul_scalar(2.0)?)?.f_clamp_min(0.0)
}

/// Cross entropy of `logits` against probabilities, mean over the batch: l_dis where these are the teacher's.
///
/// # Errors
/// What libtorch reports.
pub fn cross_entropy(logits: &Tensor, probabilities: &Tensor) -> Result<Tensor, TchError> {
    let log = logits.f_log_softmax(-1, Kind::Float)?;
    log.f_mul(probabilities)?.f_sum_dim_intlist([-1i64].as_slice(), false, Kind::Float)?.f_mean(Kind::Float)?.f_neg()
}

/// Squared distance of centred logits (N, classes) relative to the teacher's own, mean over the batch: 0 for the same
/// probabilities. Unlike a divergence of probabilities it does not fade where both networks are sure, and unlike a plain
/// distance it does not depend on how large a teacher's logits are.
///
/// What it is relative to is at least `floor`, a sum of squares as [`spread`] is one: without one, inputs on which the teacher has next to
/// no opinion would be the farthest from any student.
///
/// # Errors
/// What libtorch reports.
pub fn relative_distance(teacher: &Tensor, student: &Tensor, floor: f64) -> Result<Tensor, TchError> {
    let teacher = centred(teacher)?;
    let distance = squares(&teacher.f_sub(&centred(student)?)?)?;
    distance.f_div(&squares(&teacher)?.f_add_scalar(floor + SMALL)?)?.f_mean(Kind::Float)
}

/// Kullback-Leibler divergence of the student's probabilities from the teacher's, both at `temperature`, mean over the batch
/// (Hinton et al., 2015, without their factor): it counts what lies near a decision, where a distance counts what is large.
///
/// # Errors
/// What libtorch reports.
pub fn divergence(teacher: &Tensor, student: &Tensor, temperature: f64) -> Result<Tensor, TchError> {
    let log = |logits: &Tensor| logits.f_div_scalar(temperature)?.f_log_softmax(-1, Kind::Float);
    let (theirs, ours) = (log(teacher)?, log(student)?);
    let each = theirs.f_exp()?.f_mul(&theirs.f_sub(&ours)?)?;
    each.f_sum_dim_intlist([-1i64].as_slice(), false, Kind::Float)?.f_mean(Kind::Float)
}

/// Sum of squares of centred logits (N, classes), mean over the batch.
///
/// # Errors
/// What libtorch reports.
pub fn spread(logits: &Tensor) -> Result<f64, TchError> {
    squares(&centred(logits)?)?.f_mean(Kind::Float)?.f_double_value(&[])
}

fn centred(logits: &Tensor) -> Result<Tensor, TchError> {
    logits.f_sub(&logits.f_mean_dim([-1i64].as_slice(), true, Kind::Float)?)
}

fn squares(x: &Tensor) -> Result<Tensor, TchError> {
    x.f_square()?.f_sum_dim_intlist([-1i64].as_slice(), false, Kind::Float)
}

/// Mean squared error of a value relative to the teacher's mean square.
///
/// # Errors
/// What libtorch reports.
pub fn relative_error(teacher: &Tensor, student: &Tensor) -> Result<Tensor, TchError> {
    let size = teacher.f_square()?.f_mean(Kind::Float)?.f_add_scalar(SMALL)?;
    student.f_mse_loss(teacher, tch::Reduction::Mean)?.f_div(&size)
}

/// What keeps a quotient finite.
const SMALL: f64 = 1e-6;

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn value(tensor: &Tensor) -> f64 {
        tensor.double_value(&[])
    }

    #[test]
    fn classifier_loss_is_the_negative_log_probability() {
        let logits = Tensor::from_slice2(&[[2.0f32, 0.0], [0.0, 0.0]]);
        let labels = Tensor::from_slice2(&[[1.0f32, 0.0], [0.0, 1.0]]);
        let expected = ((1.0 + (-2.0f64).exp()).ln() + 2.0f64.ln()) / 2.0;
        assert!((value(&classifier(&logits, &labels).unwrap()) - expected).abs() < 1e-6);
    }

    #[test]
    fn diversity_equals_its_definition_by_broadcasting() {
        tch::manual_seed(3);
        let x = Tensor::randn([6, 2, 3, 3], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let z = Tensor::randn([6, 4], (Kind::Float, Device::Cpu));
        let flat = x.flatten(1, -1);
        let dx = (flat.unsqueeze(0) - flat.unsqueeze(1)).abs().mean_dim([2i64].as_slice(), false, Kind::Float);
        let dz = (z.unsqueeze(0) - z.unsqueeze(1)).square().mean_dim([2i64].as_slice(), false, Kind::Float);
        let expected = (-(dx * dz).mean(Kind::Float)).exp();
        let ours = diversity(&x, &z).unwrap();
        assert!((value(&expected) - value(&ours)).abs() < 1e-5);
        let theirs = Tensor::run_backward(&[&expected], &[&x], false, false).remove(0);
        let gradient = Tensor::run_backward(&[&ours], &[&x], false, false).remove(0);
        assert!(value(&(theirs - gradient).abs().max()) < 1e-6);
    }

    #[test]
    fn distances_are_the_same_whatever_is_worked_out_at_once() {
        tch::manual_seed(3);
        let x = Tensor::randn([7, 5], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let of = |rows: i64| {
            let distances = absolute_distances(&x, rows).unwrap();
            let gradient = Tensor::run_backward(&[&distances.square().sum(Kind::Float)], &[&x], false, false).remove(0);
            (distances, gradient)
        };
        let (whole, gradient) = of(7);
        assert_eq!(whole.size(), [7, 7]);
        for rows in [1, 3] {
            let (distances, slope) = of(rows);
            assert!(distances.equal(&whole) && slope.allclose(&gradient, 1e-5, 1e-5, false), "{rows}");
        }
    }

    #[test]
    fn relative_distance_knows_neither_a_shift_nor_the_scale_of_logits() {
        let teacher = Tensor::from_slice2(&[[3.0f32, -1.0, -2.0], [0.0, 4.0, -4.0]]);
        let even = Tensor::zeros([2, 3], (Kind::Float, Device::Cpu));
        let of = |student: &Tensor, scale: f64| {
            value(&relative_distance(&(&teacher * scale), &(student * scale), 0.0).unwrap())
        };
        assert!(of(&(&teacher + 7.0), 1.0) < 1e-6);
        assert!((of(&even, 1.0) - 1.0).abs() < 1e-4 && (of(&even, 50.0) - 1.0).abs() < 1e-4);
        // (14 + 32) / 2 is the spread: with it as the floor, errors of 14 and 32 count by so much less.
        let floor = spread(&teacher).unwrap();
        assert!((floor - 23.0).abs() < 1e-4);
        let expected = (14.0 / 37.0 + 32.0 / 55.0) / 2.0;
        assert!((value(&relative_distance(&teacher, &even, floor).unwrap()) - expected).abs() < 1e-4);
    }

    #[test]
    fn divergence_equals_its_definition() {
        let (teacher, student) = (Tensor::from_slice2(&[[2.0f32, 0.0]]), Tensor::from_slice2(&[[0.0f32, 1.0]]));
        let probability = |difference: f64| 1.0 / (1.0 + (-difference / 2.0).exp());
        let (p, q) = (probability(2.0), probability(-1.0));
        let expected = p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln();
        assert!((value(&divergence(&teacher, &student, 2.0).unwrap()) - expected).abs() < 1e-6);
        assert!(value(&divergence(&teacher, &(&teacher + 3.0), 2.0).unwrap()).abs() < 1e-6);
    }

    #[test]
    fn distillation_loss_is_least_where_the_student_is_the_teacher() {
        let teacher = Tensor::from_slice2(&[[1.0f32, -1.0, 0.5]]);
        let soft = teacher.softmax(-1, Kind::Float);
        let entropy = value(&-(&soft * soft.log()).sum(Kind::Float));
        assert!((value(&cross_entropy(&teacher, &soft).unwrap()) - entropy).abs() < 1e-6);
        assert!(value(&cross_entropy(&(teacher * 2.0), &soft).unwrap()) > entropy);
    }
}
