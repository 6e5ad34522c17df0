//! How alike teacher and student answer on inputs that the student never trained on. It is not accuracy.

use tch::{Kind, Tensor};

use super::{
    executor::Executor,
    extract::Training,
    observer::{Observer, Stop},
    sampler::{Draw, noise, shape},
    samples::MOST_ELEMENTS,
    seed::{Stream, seed},
    teacher::{Teacher, answer},
    ticker::Ticker,
};
use crate::domain::{
    config::{Sampler, Settings},
    job::Phase,
    report::{Agreement, SourceAgreement},
};

/// Inputs of each source, where they are small enough.
const INPUTS: i64 = 2000;

/// Steps of the held-out generator at most: it hits the class asked for long before.
const MOST_STEPS: u32 = 500;

/// Its number, which no generator of a job can have: the student must never have seen it.
const HELD_OUT: u32 = 1 << 20;

/// Trains a generator for this alone, and compares the two networks on its inputs and on N(0, 1).
///
/// # Errors
/// As training a generator.
pub fn agreement(
    teacher: &Teacher,
    student: &Executor,
    settings: &Settings,
    observer: &mut dyn Observer,
    share: (f64, f64),
) -> Result<Agreement, Stop> {
    let mut settings = settings.clone();
    let steps = settings.extraction.steps_per_epoch.min(MOST_STEPS);
    settings.extraction.steps_per_epoch = steps;
    settings.extraction.epochs = settings.extraction.epochs.min((MOST_STEPS / steps).max(1));
    let mut training = Training::new(teacher, &settings, HELD_OUT)?;
    let total = u64::from(settings.extraction.epochs) * u64::from(steps);
    let mut silent = Silent(observer);
    let mut ticker = Ticker::new(&mut silent, Phase::Evaluating, share, total);
    training.run(1..=settings.extraction.epochs, &mut ticker, |_, _, _| Ok(()))?;

    let shape = shape(&teacher.graph, &settings);
    let elements = shape.output.iter().product::<i64>().max(1);
    let count = INPUTS.min(MOST_ELEMENTS / elements).max(1);
    seed(settings.seed, Stream::Audit);
    let generated = training.generator.sample(&Draw::balanced(&shape, count, teacher.device())?)?;
    let held_out_generator = compare(teacher, student, &generated)?;
    let Some(drawn) = noise(Sampler::Gaussian, &shape, count, teacher.device())? else {
        unreachable!("Gaussian noise needs no generator")
    };
    let noise = compare(teacher, student, &drawn)?;
    let lowest = held_out_generator.top1.min(noise.top1);
    Ok(Agreement { held_out_generator, noise, lowest })
}

fn compare(teacher: &Teacher, student: &Executor, x: &Tensor) -> Result<SourceAgreement, Stop> {
    let theirs = teacher.answer(x)?.f_argmax(-1, false)?;
    let ours = answer(student, x)?.f_argmax(-1, false)?;
    let top1 = theirs.f_eq_tensor(&ours)?.f_to_kind(Kind::Double)?.f_mean(Kind::Double)?.f_double_value(&[])?;
    Ok(SourceAgreement { top1, n: x.size()[0] as u64 })
}

/// Passes progress on but no losses: the held-out generator's curve would be drawn over that of the job's own.
struct Silent<'a>(&'a mut dyn Observer);

impl Observer for Silent<'_> {
    fn progress(&mut self, progress: crate::domain::job::Progress) -> Result<(), Stop> {
        self.0.progress(progress)
    }

    fn metrics(&mut self, _points: Vec<crate::protocol::MetricPoint>) {}

    fn sample(&mut self, _file: &std::path::Path, _generator: u32, _epoch: u32, _count: u64) {}

    fn artifact(&mut self, _file: &std::path::Path, _role: crate::protocol::Role) {}

    fn leave_asked(&self) -> bool {
        self.0.leave_asked()
    }
}
