//! Distils the teacher into the student on generated inputs alone (KegNet, section 4.3), then in a game
//! against a generator that looks for inputs on which the two differ.

use super::{
    checkpoint::{Keeper, Stage, State},
    game::{Game, Rivals},
    losses,
    observer::{Observer, Stop},
    pool::Pool,
    seed::{Stream, seed},
    student::Student,
    teacher::Teacher,
    ticker::Ticker,
};
use crate::domain::{
    config::Settings,
    job::Phase,
    problem::{ErrorCode, Problem},
};

/// Steps between two points of a loss curve.
const REPORT_EVERY: u64 = 10;

/// What a student learns from.
pub struct Course<'a> {
    pub teacher: &'a Teacher,
    pub pool: &'a Pool,
    pub settings: &'a Settings,
}

/// What training changes.
struct Class<'a> {
    student: &'a mut Student,
    game: Game<'a>,
    rivals: Rivals,
}

impl Class<'_> {
    fn state(&self) -> State {
        let mut state = self.student.state();
        state.extend(self.rivals.state());
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
        let game = Game::new(self.teacher, student, self.settings)?;
        let rivals = game.rivals()?;
        let mut class = Class { student: &mut *student, game, rivals };
        let done = match keeper.take_up(&class.state())? {
            Some(Stage::Pool { epoch }) => Done { epochs: epoch, rounds: 0 },
            Some(Stage::Game { round }) => Done { rounds: round, ..all },
            _ => Done { epochs: 0, rounds: 0 },
        };
        let mut ticker = Ticker::new(observer, Phase::Distilling, share, steps(all)).with_checkpoints(steps(done));
        self.on_pool(&mut class, done.epochs, keeper, &mut ticker)?;
        self.play(&mut class, done.rounds, keeper, &mut ticker)?;
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
                let loss = losses::cross_entropy(&class.student.answer_with(&x, &[])?.0, &soft)?;
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

    fn play(
        &self,
        class: &mut Class<'_>,
        first: u32,
        keeper: &mut Keeper<'_>,
        ticker: &mut Ticker<'_>,
    ) -> Result<(), Stop> {
        for round in first + 1..=self.settings.distillation.adversarial_steps {
            seed(self.settings.seed, Stream::Game { round });
            let Class { student, game, rivals } = class;
            let (found, left) = game.play(round, student, rivals, || ticker.tick())?;
            ticker.metrics(&[("adversarial_distance", found), ("student_distance", left)]);
            keeper.boundary(ticker, Stage::Game { round }, || class.state())?;
        }
        Ok(())
    }
}
