//! The inputs of the audit, apart from those that are searched for.

use tch::{Device, Kind, TchError, Tensor};

use super::super::{
    extract::Training,
    observer::Stop,
    pieces::may_be_too_large,
    procedural,
    sampler::{Draw, Trained, noise, shape},
    samples::MOST_ELEMENTS,
    seed::{Stream, seed},
    teacher::Teacher,
    ticker::Ticker,
};
use crate::{
    domain::{
        audit::InputSource,
        config::{Sampler, Settings},
        problem::{ErrorCode, Problem},
    },
    formats::graph::Graph,
    nets::generator::Shape,
};

/// Inputs of each source, where they are small enough.
const INPUTS: i64 = 2000;

/// Steps of the held-out generator at most: it hits the class asked for long before.
const MOST_STEPS: u32 = 500;

/// Its number, which no generator of a job can have: the student must never have seen it.
const HELD_OUT: u32 = 1 << 20;

/// The job's settings, with a training of the generator that is no longer than it needs to be. Its batch may never have been
/// tried, where the job trained no generator: on a large teacher it is no larger than the student's, which is known to fit.
///
/// # Errors
/// Where the graph's shapes cannot be told.
pub fn short(settings: &Settings, teacher: &Graph) -> Result<Settings, Problem> {
    let mut settings = settings.clone();
    let batch = settings.extraction.batch_size;
    if may_be_too_large(teacher, batch.into())? {
        settings.extraction.batch_size = batch.min(settings.distillation.batch_size);
    }
    let steps = settings.extraction.steps_per_epoch.min(MOST_STEPS);
    settings.extraction.steps_per_epoch = steps;
    settings.extraction.epochs = settings.extraction.epochs.min((MOST_STEPS / steps).max(1));
    Ok(settings)
}

/// Steps of that training.
pub fn steps(short: &Settings) -> u64 {
    u64::from(short.extraction.epochs) * u64::from(short.extraction.steps_per_epoch)
}

/// The part of the audit's random numbers that belongs to `source`.
pub fn stream(source: InputSource) -> Stream {
    let part = match source {
        InputSource::HeldOutGenerator => 0,
        InputSource::Noise => 1,
        InputSource::Mixtures => 2,
        InputSource::Procedural => 3,
        InputSource::WorstCase => 4,
    };
    Stream::Audit { part }
}

/// Inputs of each source for this teacher.
///
/// # Errors
/// Where the graph's cost cannot be told.
fn count(teacher: &Teacher, shape: &Shape) -> Result<i64, Stop> {
    let elements = shape.elements().max(shape.classes);
    Ok(teacher.bearable(INPUTS)?.min(MOST_ELEMENTS / elements).max(2))
}

/// The learning rate after a training that diverged, at most: a tenth of the lowest that a preset has.
const CALM_RATE: f64 = 1e-4;

/// A generator that was trained for the audit alone.
pub struct HeldOut {
    generator: Trained,
    shape: Shape,
    count: i64,
    seed: u64,
    device: Device,
}

impl HeldOut {
    /// Trains once more, calmly, if the training diverges: by now there is a finished student to lose.
    ///
    /// # Errors
    /// As training a generator.
    pub fn train(teacher: &Teacher, short: &Settings, ticker: &mut Ticker<'_>) -> Result<Self, Stop> {
        let begin = ticker.step();
        let generator = match train(teacher, short, ticker) {
            Err(Stop::Failed(problem)) if problem.code == ErrorCode::TrainingDiverged => {
                eprintln!("warning: the audit's generator is trained once more, more slowly: {problem}");
                ticker.extend(ticker.step() - begin);
                train(teacher, &calm(short), ticker)?
            }
            trained => trained?,
        };
        let shape = shape(&teacher.graph, short);
        let count = count(teacher, &shape)?;
        Ok(Self { generator, shape, count, seed: short.seed, device: teacher.device() })
    }

    /// How many inputs each source has.
    pub fn count(&self) -> i64 {
        self.count
    }

    /// Inputs of the generator with what they were made from: the classes in turn.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn draw(&self) -> Result<(Draw, Tensor), Stop> {
        seed(self.seed, stream(InputSource::HeldOutGenerator));
        let draw = Draw::balanced(&self.shape, self.count, self.device)?;
        let x = self.generator.sample(&draw)?;
        Ok((draw, x))
    }

    /// Inputs of another source that is drawn; `None` where this kind of input has no such source.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn others(&self, source: InputSource, generated: &Tensor) -> Result<Option<Tensor>, TchError> {
        seed(self.seed, stream(source));
        match source {
            InputSource::Mixtures => mixtures(generated).map(Some),
            // Vectors have no images: what would be drawn is noise once more.
            InputSource::Procedural if self.shape.output.len() == 3 => {
                procedural::draw(&self.shape.output, &self.shape.pixels, self.count, self.device).map(Some)
            }
            InputSource::Noise => noise(Sampler::Gaussian, &self.shape, self.count, self.device),
            InputSource::Procedural | InputSource::HeldOutGenerator | InputSource::WorstCase => Ok(None),
        }
    }
}

fn train(teacher: &Teacher, short: &Settings, ticker: &mut Ticker<'_>) -> Result<Trained, Stop> {
    let mut training = Training::new(teacher, short, HELD_OUT)?;
    training.run(1..=short.extraction.epochs, ticker, |_, _, _| Ok(()))?;
    Ok(training.generator)
}

fn calm(settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    settings.extraction.learning_rate = CALM_RATE.min(settings.extraction.learning_rate / 10.0);
    settings
}

/// Each input with another one, by a weight that is uniform in 0..1 (mixup with α = 1: Zhang et al., ICLR 2018).
fn mixtures(x: &Tensor) -> Result<Tensor, TchError> {
    let count = x.size()[0];
    let order = Tensor::f_randperm(count, (Kind::Int64, Device::Cpu))?.f_to_device(x.device())?;
    let extents: Vec<i64> = std::iter::once(count).chain(x.size().iter().skip(1).map(|_| 1)).collect();
    let weight = Tensor::f_rand(extents, (Kind::Float, Device::Cpu))?.f_to_device(x.device())?;
    x.f_index_select(0, &order)?.f_lerp_tensor(x, &weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{config::JobConfig, presets::TeacherKind},
        engine::{compress::fixture, pieces},
    };

    #[test]
    fn a_batch_that_was_never_tried_on_a_large_teacher_is_the_students() {
        let config = br#"{"extraction": {"sampler": "uniform", "batch_size": 256}, "distillation": {"batch_size": 3}}"#;
        let settings = JobConfig::parse(config).unwrap().resolve(TeacherKind::PlainImage, "m").unwrap();
        let batch = |teacher| short(&settings, teacher).unwrap().extraction.batch_size;
        assert_eq!((batch(&pieces::tests::wide()), batch(&fixture::network())), (3, 256));
    }
}
