//! The worst case: a fresh generator that searches for inputs on which teacher and student differ, with both at hand.

use tch::{TchError, Tensor, no_grad};

use super::{
    super::{
        adam::Adam,
        checkpoint::trainable,
        observer::Stop,
        rival::{self, Sought},
        sampler::{Draw, Trained, shape},
        seed::seed,
        ticker::Ticker,
    },
    Pair,
    sources::stream,
};
use crate::domain::{audit::InputSource, config::Form};

/// Steps of the search: what it finds changes little after that.
pub const STEPS: u64 = 60;

/// Inputs of each step, where the job's own batches are not smaller: those are known to fit.
const BATCH: i64 = 64;

/// Inputs that are drawn at once in the end.
const PIECE: i64 = 250;

const LEARNING_RATE: f64 = 3e-3;

/// `count` inputs of a generator after `STEPS` steps of the game's search, while both networks stay as they are.
///
/// # Errors
/// [`Stop::Canceled`], and what libtorch reports.
pub fn worst_case(pair: &Pair<'_>, count: i64, ticker: &mut Ticker<'_>) -> Result<Tensor, Stop> {
    let Pair { teacher, student, settings } = pair;
    let floor = rival::apart(teacher, student, settings, ticker.parts(rival::BATCHES))?.floor;
    let sought = Sought { floor, batch_norm: settings.distillation.batch_norm };
    seed(settings.seed, stream(InputSource::WorstCase));
    let generator = Trained::fresh(shape(&teacher.graph, settings), Form::Smooth, teacher.device());
    let mut adam = Adam::new(trainable(&generator.store))?;
    let batch = BATCH.min(settings.distillation.batch_size.into());
    for _ in 0..STEPS {
        rival::challenge((&generator, &mut adam), (teacher, student), sought, batch, LEARNING_RATE)?;
        ticker.tick()?;
    }
    let pieces = (0..count).step_by(PIECE as usize).map(|begin| PIECE.min(count - begin));
    let pieces = pieces.map(|size| piece(&generator, size, teacher.device())).collect::<Result<Vec<_>, _>>()?;
    Ok(Tensor::f_cat(&pieces, 0)?)
}

/// With the statistics of the batch, as in the search: the running ones lag behind so short a training. A batch of one
/// input has none, so two are drawn at least.
fn piece(generator: &Trained, size: i64, device: tch::Device) -> Result<Tensor, TchError> {
    no_grad(|| {
        let draw = Draw::random(&generator.shape, size.max(2), device)?;
        generator.net.forward(&draw.labels, &draw.z, true)?.f_narrow(0, 0, size)
    })
}
