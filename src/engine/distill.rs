//! Distils the teacher into the student on generated inputs alone (KegNet, section 4.3), then sharpens it in a game
//! against a generator that looks for inputs on which the two differ (Fang et al., 2019).

use tch::{TchError, Tensor, no_grad};

use super::{
    adam::Adam,
    checkpoint::{Keeper, Stage, State, trainable, under, variables},
    losses,
    observer::{Observer, Stop},
    pool::Pool,
    procedural, rival,
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

/// Learning rate of the game's generator.
const GAME_RATE: f64 = 3e-3;

/// What a student learns from.
pub struct Course<'a> {
    pub teacher: &'a Teacher,
    pub pool: &'a Pool,
    pub settings: &'a Settings,
}

/// The game's generator, which looks for inputs on which student and teacher differ.
struct Rival {
    generator: Trained,
    adam: Adam,
}

impl Rival {
    fn new(teacher: &Teacher, settings: &Settings) -> Result<Self, TchError> {
        seed(settings.seed, Stream::Game { round: 0 });
        let generator = Trained::fresh(shape(&teacher.graph, settings), Form::Smooth, teacher.device());
        let adam = Adam::new(trainable(&generator.store))?;
        Ok(Self { generator, adam })
    }

    fn state(&self) -> State {
        let mut state = under("game.generator", variables(&self.generator.store));
        state.extend(under("game.adam", self.adam.state()));
        state
    }
}

/// What training changes.
struct Class<'a> {
    student: &'a mut Student,
    rival: Rival,
}

impl Class<'_> {
    fn state(&self) -> State {
        let mut state = self.student.state();
        state.extend(self.rival.state());
        state
    }
}

/// How much of the course is done: epochs of the pool, then rounds of the game.
#[derive(Clone, Copy, Debug)]
struct Done {
    epochs: u32,
    rounds: u32,
}

impl Course<'_> {
    /// Trains `student` as `settings.distillation` says, from the checkpoint that `keeper` has, if it has one; `share` of
    /// the run's progress is this.
    ///
    /// # Errors
    /// `training_diverged`, [`Stop::Canceled`], and what libtorch reports.
    pub fn teach(
        &self,
        student: &mut Student,
        keeper: &mut Keeper<'_>,
        observer: &mut dyn Observer,
        share: (f64, f64),
    ) -> Result<(), Stop> {
        let distillation = &self.settings.distillation;
        let batches = self.pool.batches(i64::from(distillation.batch_size))?.len() as u64;
        let steps = |done: Done| {
            let game = u64::from(done.rounds) * (1 + u64::from(distillation.student_steps));
            u64::from(done.epochs) * batches + game
        };
        let all = Done { epochs: distillation.epochs, rounds: distillation.adversarial_steps };
        let mut class = Class { student: &mut *student, rival: Rival::new(self.teacher, self.settings)? };
        let done = match keeper.take_up(&class.state())? {
            Some(Stage::Pool { epoch }) => Done { epochs: epoch, rounds: 0 },
            Some(Stage::Game { round }) => Done { rounds: round, ..all },
            _ => Done { epochs: 0, rounds: 0 },
        };
        let mut ticker = Ticker::new(observer, Phase::Distilling, share, steps(all)).with_checkpoints(steps(done));
        self.on_pool(&mut class, done.epochs, keeper, &mut ticker)?;
        self.game(&mut class, done.rounds, keeper, &mut ticker)?;
        if student.finish()? {
            // What follows looks at the student, and changes nothing: it can be repeated alone.
            keeper.write((Stage::Taught, steps(all)), &student.network(), ticker.observer());
            return Ok(());
        }
        Err(Problem::new(ErrorCode::TrainingDiverged, "the student's weights are no longer finite after distillation")
            .hint("Lower distillation.learning_rate.")
            .into())
    }

    fn on_pool(
        &self,
        class: &mut Class<'_>,
        first: u32,
        keeper: &mut Keeper<'_>,
        ticker: &mut Ticker<'_>,
    ) -> Result<(), Stop> {
        let distillation = &self.settings.distillation;
        for epoch in first..distillation.epochs {
            seed(self.settings.seed, Stream::Distill { epoch });
            for indices in self.pool.batches(i64::from(distillation.batch_size))? {
                let (x, logits) = self.pool.pick(&indices)?;
                let soft = logits.f_softmax(-1, tch::Kind::Float)?;
                let loss = losses::cross_entropy(&class.student.executor.forward(&x)?, &soft)?;
                class.student.minimise(&loss, distillation.learning_rate)?;
                ticker.tick()?;
                if ticker.step().is_multiple_of(REPORT_EVERY) {
                    ticker.metrics(&[("distillation_loss", loss.f_double_value(&[])?)]);
                }
            }
            keeper.boundary(ticker, Stage::Pool { epoch: epoch + 1 }, || class.state())?;
        }
        Ok(())
    }

    fn game(
        &self,
        class: &mut Class<'_>,
        first: u32,
        keeper: &mut Keeper<'_>,
        ticker: &mut Ticker<'_>,
    ) -> Result<(), Stop> {
        let distillation = &self.settings.distillation;
        for round in first..distillation.adversarial_steps {
            seed(self.settings.seed, Stream::Game { round: round + 1 });
            let pace = cosine(round, distillation.adversarial_steps);
            let Rival { generator, adam } = &mut class.rival;
            let batch = i64::from(distillation.batch_size);
            let student = &class.student.executor;
            let found = rival::challenge((generator, adam), self.teacher, student, batch, GAME_RATE * pace)?;
            ticker.tick()?;
            let mut learned = 0.0;
            for _ in 0..distillation.student_steps {
                let loss = self.lesson(class.student, &class.rival.generator)?;
                class.student.minimise(&loss, distillation.learning_rate * pace)?;
                learned = loss.f_double_value(&[])?;
                ticker.tick()?;
            }
            ticker.metrics(&[("adversarial_distance", found), ("student_distance", learned)]);
            keeper.boundary(ticker, Stage::Game { round: round + 1 }, || class.state())?;
        }
        Ok(())
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
