//! Distils the teacher into the student on generated inputs alone (KegNet, section 4.3), then in a game
//! against generators that look for inputs on which the two differ.

use super::{
    adam::Rate,
    checkpoint::{Keeper, Stage, State},
    game::{Game, Leg, Rivals},
    losses,
    observer::{Observer, Stop},
    pool::Pool,
    seed::{Stream, seed},
    student::Student,
    teacher::{Teacher, accuracy, answer},
    ticker::Ticker,
};
use crate::domain::{
    config::Settings,
    job::Phase,
    problem::{ErrorCode, Problem},
};

/// Steps between two points of a loss curve.
const REPORT_EVERY: u64 = 10;

/// A second game is played only by a student that agrees with its teacher on this share of the pool after the first. One that
/// is too small for what the generators find forgets there what it knew of other inputs.
const LEARNED: f64 = 0.98;

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

/// How much of the course is done: epochs of the pool, then rounds of the two games.
#[derive(Clone, Copy, Debug)]
struct Done {
    epochs: u32,
    first: u32,
    second: u32,
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
            let rounds = u64::from(done.first) + u64::from(done.second);
            let decision = u64::from(done.second > 0);
            u64::from(done.epochs) * batches + rounds * (1 + u64::from(distillation.student_steps)) + decision
        };
        let [first, second] = [Leg::First, Leg::Second].map(|leg| leg.rounds(distillation));
        let all = Done { epochs: distillation.epochs, first, second };
        let game = Game::new(self.teacher, student, self.settings)?;
        let rivals = game.rivals(Leg::First)?;
        let mut class = Class { student: &mut *student, game, rivals };
        let done = match keeper.take_up(&class.state())? {
            Some(Stage::Pool { epoch }) => Done { epochs: epoch, first: 0, second: 0 },
            Some(Stage::Game { round }) => Done { first: round, second: 0, ..all },
            Some(Stage::SecondGame { round }) => Done { second: round, ..all },
            _ => Done { epochs: 0, first: 0, second: 0 },
        };
        let mut ticker = Ticker::new(observer, Phase::Distilling, share, steps(all)).with_checkpoints(steps(done));
        if second > 0 && steps(done) == 0 {
            ticker.metrics(&[("pool_agreement", self.agreement(class.student)?)]);
        }
        self.on_pool(&mut class, done.epochs, keeper, &mut ticker)?;
        self.play(&mut class, (Leg::First, done.first), keeper, &mut ticker)?;
        if done.second > 0 || second > 0 && self.begin_anew(&mut class, &mut ticker)? {
            self.play(&mut class, (Leg::Second, done.second), keeper, &mut ticker)?;
        }
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
                class.student.minimise(&loss, Rate::Absolute(distillation.learning_rate))?;
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
        (leg, done): (Leg, u32),
        keeper: &mut Keeper<'_>,
        ticker: &mut Ticker<'_>,
    ) -> Result<(), Stop> {
        for round in done + 1..=leg.rounds(&self.settings.distillation) {
            let Class { student, game, rivals } = class;
            let (found, left) = game.play((leg, round), student, rivals, || ticker.tick())?;
            ticker.metrics(&[("adversarial_distance", found), ("student_distance", left)]);
            keeper.boundary(ticker, leg.stage(round), || class.state())?;
        }
        Ok(())
    }

    /// Share of the pool on which the student's first choice is the teacher's.
    fn agreement(&self, student: &Student) -> Result<f64, Stop> {
        Ok(accuracy(&answer(&student.executor, &self.pool.x)?, &self.pool.logits.f_argmax(-1, false)?)?)
    }

    /// Prepares the second game, if the first was learned.
    fn begin_anew(&self, class: &mut Class<'_>, ticker: &mut Ticker<'_>) -> Result<bool, Stop> {
        class.student.settle()?;
        let agreement = self.agreement(class.student)?;
        ticker.tick()?;
        ticker.metrics(&[("pool_agreement", agreement)]);
        class.rivals = class.game.rivals(Leg::Second)?;
        Ok(agreement >= LEARNED)
    }
}
