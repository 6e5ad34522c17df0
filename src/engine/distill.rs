//! Distils the teacher into the student on generated inputs alone (KegNet, section 4.3), then sharpens it in a game
//! against a generator that looks for inputs on which the two differ (Fang et al., 2019).

use tch::{TchError, Tensor, no_grad};

use super::{
    adam::Adam,
    losses,
    observer::{Observer, Stop},
    pool::Pool,
    procedural,
    sampler::{Draw, Trained, shape},
    seed::{Stream, seed},
    student::Student,
    teacher::Teacher,
    ticker::Ticker,
};
use crate::{
    domain::{
        config::Settings,
        job::Phase,
        problem::{ErrorCode, Problem},
    },
    nets::generator::Form,
};

/// Steps between two points of a loss curve.
const REPORT_EVERY: u64 = 10;

/// Share of each student batch in the game that comes from the pool, so that what was learned stays learned.
const REPLAYED: f64 = 0.125;

/// Share of procedural images: the generator's inputs alone are so alike that the student drifts everywhere else.
const PROCEDURAL: f64 = 0.25;

/// Weight of the label term in the game's generator loss: enough to spread its inputs over the classes, and no more, for
/// inputs that the teacher is sure of are those on which the student already agrees.
const LABEL_WEIGHT: f64 = 0.1;

/// Learning rate of the game's generator.
const GAME_RATE: f64 = 3e-3;

/// What a student learns from.
pub struct Course<'a> {
    pub teacher: &'a Teacher,
    pub pool: &'a Pool,
    pub settings: &'a Settings,
}

impl Course<'_> {
    /// Trains `student` as `settings.distillation` says; `share` of the run's progress is this.
    ///
    /// # Errors
    /// `training_diverged`, [`Stop::Canceled`], and what libtorch reports.
    pub fn teach(&self, student: &mut Student, observer: &mut dyn Observer, share: (f64, f64)) -> Result<(), Stop> {
        let distillation = &self.settings.distillation;
        let batch = i64::from(distillation.batch_size);
        let pool_steps = u64::from(distillation.epochs) * self.pool.batches(batch)?.len() as u64;
        let game_steps = u64::from(distillation.adversarial_steps) * (1 + u64::from(distillation.student_steps));
        let mut ticker = Ticker::new(observer, Phase::Distilling, share, pool_steps + game_steps);
        self.on_pool(student, &mut ticker)?;
        if distillation.adversarial_steps > 0 {
            self.game(student, &mut ticker)?;
        }
        if student.finish()? {
            return Ok(());
        }
        Err(Problem::new(ErrorCode::TrainingDiverged, "the student's weights are no longer finite after distillation")
            .hint("Lower distillation.learning_rate.")
            .into())
    }

    fn on_pool(&self, student: &mut Student, ticker: &mut Ticker<'_>) -> Result<(), Stop> {
        let distillation = &self.settings.distillation;
        for epoch in 0..distillation.epochs {
            seed(self.settings.seed, Stream::Distill { epoch });
            for indices in self.pool.batches(i64::from(distillation.batch_size))? {
                let (x, logits) = self.pool.pick(&indices)?;
                let soft = logits.f_softmax(-1, tch::Kind::Float)?;
                let loss = losses::cross_entropy(&student.executor.forward(&x)?, &soft)?;
                student.minimise(&loss, distillation.learning_rate)?;
                ticker.tick()?;
                if ticker.step().is_multiple_of(REPORT_EVERY) {
                    ticker.metrics(&[("distillation_loss", loss.f_double_value(&[])?)]);
                }
            }
        }
        Ok(())
    }

    fn game(&self, student: &mut Student, ticker: &mut Ticker<'_>) -> Result<(), Stop> {
        let Self { teacher, settings, .. } = self;
        let distillation = &settings.distillation;
        seed(settings.seed, Stream::Game { round: 0 });
        let generator = Trained::fresh(shape(&teacher.graph, settings), Form::Smooth, teacher.device());
        let mut adam = Adam::new(generator.store.trainable_variables())?;
        for round in 0..distillation.adversarial_steps {
            seed(settings.seed, Stream::Game { round: round + 1 });
            let pace = cosine(round, distillation.adversarial_steps);
            let found = self.challenge(student, &generator, &mut adam, GAME_RATE * pace)?;
            ticker.tick()?;
            let mut learned = 0.0;
            for _ in 0..distillation.student_steps {
                let loss = self.lesson(student, &generator)?;
                student.minimise(&loss, distillation.learning_rate * pace)?;
                learned = loss.f_double_value(&[])?;
                ticker.tick()?;
            }
            ticker.metrics(&[("adversarial_distance", found), ("student_distance", learned)]);
        }
        Ok(())
    }

    /// The generator's move: inputs on which teacher and student differ, yet that the teacher puts into the class asked
    /// for.
    fn challenge(&self, student: &Student, generator: &Trained, adam: &mut Adam, rate: f64) -> Result<f64, TchError> {
        let batch = i64::from(self.settings.distillation.batch_size);
        let draw = Draw::random(&generator.shape, batch, self.teacher.device())?;
        let x = generator.net.forward(&draw.labels, &draw.z, true)?;
        let logits = self.teacher.logits(&x)?;
        let distance = losses::logit_distance(&logits, &student.executor.forward(&x)?)?;
        let label = losses::classifier(&logits, &draw.labels)?;
        adam.minimise(&label.f_mul_scalar(LABEL_WEIGHT)?.f_sub(&distance)?, rate)?;
        distance.f_double_value(&[])
    }

    /// The student's loss on fresh inputs of the generator, procedural images and some of the pool.
    fn lesson(&self, student: &Student, generator: &Trained) -> Result<Tensor, TchError> {
        let batch = self.settings.distillation.batch_size;
        let share = |share: f64| (f64::from(batch) * share) as i64;
        let (replayed, procedural) = (share(REPLAYED).min(self.pool.len()), share(PROCEDURAL).max(1));
        // Batch norm in training needs two values for each channel.
        let fresh = (i64::from(batch) - replayed - procedural).max(2);
        let device = self.teacher.device();
        let (x, logits) = no_grad(|| {
            let draw = Draw::random(&generator.shape, fresh, device)?;
            let fresh = generator.net.forward(&draw.labels, &draw.z, true)?;
            let drawn = procedural::draw(&generator.shape.output, procedural, device)?;
            let new = Tensor::f_cat(&[fresh, drawn], 0)?;
            let indices = Tensor::f_randint(self.pool.len(), [replayed], (tch::Kind::Int64, tch::Device::Cpu))?;
            let (old, old_logits) = self.pool.pick(&indices.f_to_device(device)?)?;
            let new_logits = self.teacher.logits(&new)?;
            Ok::<_, TchError>((Tensor::f_cat(&[new, old], 0)?, Tensor::f_cat(&[new_logits, old_logits], 0)?))
        })?;
        losses::logit_distance(&logits, &student.executor.forward(&x)?)
    }
}

/// From 1 to 0 along half a cosine.
fn cosine(step: u32, steps: u32) -> f64 {
    0.5 * (1.0 + (std::f64::consts::PI * f64::from(step) / f64::from(steps)).cos())
}
