//! A generator that looks for inputs on which two networks differ: one step of it, and the measure of differing.

use tch::{TchError, no_grad};

use super::{
    adam::{Adam, Rate},
    executor::Executor,
    losses,
    observer::Stop,
    procedural,
    sampler::{Draw, Trained, shape},
    samples::MOST_ELEMENTS,
    seed::{Stream, seed},
    teacher::{Teacher, answer},
};
use crate::domain::config::Settings;

/// What distances are relative to is at least this times the teacher's spread on images from formulas.
const FLOOR: f64 = 2.0;

/// Images from formulas on which two networks are held against each other, and batches that they are drawn in. Within a
/// batch few forms are drawn: one batch alone would say twice as much or half as much, by its seed.
const MEASURED: i64 = 250;
pub const BATCHES: u64 = 8;

/// The temperature at which answers are compared, relative to the teacher's spread on images from formulas: logits of any
/// scale are softened alike.
const TEMPERATURE: f64 = 0.75;

/// How teacher and student are apart before any search, on images from formulas.
#[derive(Clone, Copy, Debug)]
pub struct Apart {
    /// See [`losses::relative_distance`].
    pub floor: f64,
    /// Squared distance of the centred logits, relative to the teacher's own.
    pub distance: f64,
    /// See [`losses::divergence`].
    pub temperature: f64,
}

/// What a generator looks for.
#[derive(Clone, Copy, Debug)]
pub struct Sought {
    /// See [`losses::relative_distance`].
    pub floor: f64,
    /// Weight of the distance from what the teacher's batch norm recorded (see [`super::record`]): a student need not know what
    /// its teacher says of inputs that are unlike all that it was trained on.
    pub batch_norm: f64,
}

/// # Errors
/// What libtorch and `after`, called after each of [`BATCHES`], report.
pub fn apart(
    teacher: &Teacher,
    student: &Executor,
    settings: &Settings,
    mut after: impl FnMut() -> Result<(), Stop>,
) -> Result<Apart, Stop> {
    let count = teacher.bearable(MEASURED * BATCHES as i64)? / BATCHES as i64;
    seed(settings.seed, Stream::Apart);
    no_grad(|| {
        let shape = shape(&teacher.graph, settings);
        let count = count.min(MOST_ELEMENTS / shape.elements()).max(2);
        let (mut spread, mut between) = (0.0, 0.0);
        for _ in 0..BATCHES {
            let x = procedural::draw(&shape.output, &shape.pixels, count, teacher.device())?;
            let logits = teacher.answer(&x)?;
            spread += losses::spread(&logits)? / BATCHES as f64;
            between += losses::spread(&logits.f_sub(&answer(student, &x)?)?)? / BATCHES as f64;
            after()?;
        }
        let spread = spread.max(f64::MIN_POSITIVE);
        // A teacher that answers everything alike has none.
        let deviation = (spread / shape.classes.max(1) as f64).sqrt().max(1e-3);
        Ok(Apart { floor: FLOOR * spread, distance: between / spread, temperature: TEMPERATURE * deviation })
    })
}

/// Moves `generator` towards inputs on which the two differ most, and returns the relative distance of the logits on its
/// batch before the step.
///
/// Labels are drawn, but nothing asks for them: inputs that the teacher is sure of are those on which the student already
/// agrees.
///
/// # Errors
/// What libtorch reports.
pub fn challenge(
    (generator, adam): (&Trained, &mut Adam),
    (teacher, student): (&Teacher, &Executor),
    sought: Sought,
    batch: i64,
    rate: f64,
) -> Result<f64, TchError> {
    let draw = Draw::random(&generator.shape, batch, teacher.device())?;
    let x = generator.net.forward(&draw.labels, &draw.z, true)?;
    let (logits, off_record) = teacher.logits_on_record(&x, sought.batch_norm)?;
    let distance = losses::relative_distance(&logits, &student.forward(&x)?, sought.floor)?;
    let mut loss = distance.f_neg()?;
    if let Some(off_record) = off_record {
        loss = loss.f_add(&off_record.f_mul_scalar(sought.batch_norm)?)?;
    }
    adam.minimise(&loss, Rate::Absolute(rate))?;
    distance.f_double_value(&[])
}
