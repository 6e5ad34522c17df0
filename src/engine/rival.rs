//! One step of a generator that looks for inputs on which two frozen networks differ.

use tch::TchError;

use super::{
    adam::Adam,
    executor::Executor,
    losses,
    sampler::{Draw, Trained},
    teacher::Teacher,
};

/// Weight of the label term in the generator's loss: enough to spread its inputs over the classes, and no more, for
/// inputs that the teacher is sure of are those on which the student already agrees.
const LABEL_WEIGHT: f64 = 0.1;

/// Moves `generator` towards inputs on which teacher and student differ, yet that the teacher puts into the class asked
/// for, and returns the mean absolute difference of the logits on its batch before the step.
///
/// # Errors
/// What libtorch reports.
pub fn challenge(
    (generator, adam): (&Trained, &mut Adam),
    teacher: &Teacher,
    student: &Executor,
    batch: i64,
    rate: f64,
) -> Result<f64, TchError> {
    let draw = Draw::random(&generator.shape, batch, teacher.device())?;
    let x = generator.net.forward(&draw.labels, &draw.z, true)?;
    let logits = teacher.logits(&x)?;
    let distance = losses::logit_distance(&logits, &student.forward(&x)?)?;
    let label = losses::classifier(&logits, &draw.labels)?;
    adam.minimise(&label.f_mul_scalar(LABEL_WEIGHT)?.f_sub(&distance)?, rate)?;
    distance.f_double_value(&[])
}
