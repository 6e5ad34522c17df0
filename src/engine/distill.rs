//! Distils the teacher into the student on generated inputs alone (KegNet, section 4.3), then in a game
//! against generators that look for inputs on which the two differ.

mod done;

use std::ops::Range;

use tch::Tensor;

use self::done::{Done, MOST_AGAIN, SECOND, opening};
use super::{
    adam::Rate,
    checkpoint::{Keeper, Stage, State, shared, under},
    game::{Game, Leg, Rivals},
    losses,
    observer::{Observer, Stop},
    pool::Pool,
    rival::BATCHES,
    second_game::SecondGame,
    seed::{Stream, seed},
    student::Student,
    teacher::{Teacher, accuracy, answer_paced, pieces},
    ticker::Ticker,
};
use crate::domain::{
    config::Settings,
    job::Phase,
    problem::{ErrorCode, Problem},
};

/// Steps between two points of a loss curve.
const REPORT_EVERY: u64 = 10;

/// How much of the second game may count, as shares of the way that the weights went in it.
const SHARES: [f64; 4] = [1.0, 0.75, 0.5, 0.25];

/// At most as often the student is looked at once the second game is over: at its end, at its beginning, and at the shares.
const LOOKS_BACK: u64 = 2 + SHARES.len() as u64;

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
    /// The student as the second game found it, a copy of its weights; until that begins, as training found it. Empty where
    /// there is no such game.
    learned: State,
}

impl Class<'_> {
    fn state(&self) -> State {
        let mut state = self.student.state();
        state.extend(self.rivals.state());
        state.extend(under("learned", shared(&self.learned)));
        state
    }
}

impl Course<'_> {
    /// Trains `student` as `settings.distillation` says, from the checkpoint that `keeper` has, if it has one; `share` of
    /// the run's progress is this. Returns what became of the second game.
    ///
    /// # Errors
    /// `training_diverged`, [`Stop::Canceled`], and what libtorch reports.
    pub fn teach(
        &self,
        student: &mut Student,
        keeper: &mut Keeper<'_>,
        observer: &mut dyn Observer,
        share: (f64, f64),
    ) -> Result<SecondGame, Stop> {
        let distillation = &self.settings.distillation;
        let batches = self.pool.batches(i64::from(distillation.batch_size))?.len() as u64;
        let steps = |done: Done| done.steps(distillation, batches);
        let all = Done::all(distillation);
        let further = all.second > 0;
        let total = steps(all) + if further { LOOKS_BACK } else { 0 };
        let mut opening = Ticker::new(observer, Phase::Distilling, share, total);
        let game = Game::new(self.teacher, student, self.settings, opening.parts(BATCHES))?;
        let rivals = game.rivals(Leg::First)?;
        let learned = if further { student.copy()? } else { State::new() };
        let mut class = Class { student: &mut *student, game, rivals, learned };
        let done = Done::by(keeper.take_up(&class.state())?, all);
        let mut ticker = Ticker::new(observer, Phase::Distilling, share, total).with_checkpoints(steps(done));
        if further && steps(done) == 0 {
            self.look(class.student, &mut ticker)?.report(&mut ticker);
        }
        self.on_pool(&mut class, done.epochs, keeper, &mut ticker)?;
        self.play(&mut class, Leg::First, done.first..all.first, keeper, &mut ticker)?;
        let second_game =
            if further { self.second_game(&mut class, done, keeper, &mut ticker)? } else { SecondGame::None };
        if student.finish()? {
            // What follows looks at the student, and changes nothing: it can be repeated alone.
            keeper.write((Stage::Taught { second_game }, total), &student.network(), ticker.observer());
            return Ok(second_game);
        }
        Err(diverged("the student's weights are no longer finite after distillation"))
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
            let mut last = None;
            for indices in self.pool.batches(i64::from(distillation.batch_size))? {
                let (x, logits) = self.pool.pick(&indices)?;
                let soft = logits.f_softmax(-1, tch::Kind::Float)?;
                let loss = losses::cross_entropy(&class.student.answer_with(&x, &[])?.0, &soft)?;
                class.student.minimise(&loss, Rate::Absolute(distillation.learning_rate))?;
                ticker.tick()?;
                if ticker.step().is_multiple_of(REPORT_EVERY) {
                    ticker.metrics(&[("distillation_loss", loss.f_double_value(&[])?)]);
                }
                last = Some(loss);
            }
            check_finite(last.map_or(Ok(0.0), |loss| loss.f_double_value(&[]))?)?;
            keeper.boundary(ticker, Stage::Pool { epoch: epoch + 1 }, || class.state())?;
        }
        Ok(())
    }

    /// Plays on from where `rounds` of `leg` begin, which are done, to where they end.
    fn play(
        &self,
        class: &mut Class<'_>,
        leg: Leg,
        rounds: Range<u32>,
        keeper: &mut Keeper<'_>,
        ticker: &mut Ticker<'_>,
    ) -> Result<(), Stop> {
        for round in rounds.start + 1..=rounds.end {
            let Class { student, game, rivals, .. } = class;
            let (found, left) = game.play((leg, round), student, rivals, || ticker.tick())?;
            ticker.metrics(&[("adversarial_distance", found), ("student_distance", left)]);
            // A second game that ends so is taken back.
            if leg == Leg::First {
                check_finite(left)?;
            }
            keeper.boundary(ticker, leg.stage(round), || class.state())?;
        }
        Ok(())
    }

    fn look(&self, student: &Student, ticker: &mut Ticker<'_>) -> Result<Look, Stop> {
        let (executor, x) = (&student.executor, &self.pool.x);
        let answers = answer_paced(executor, x, ticker.parts(pieces(executor, x)))?;
        let agreement = accuracy(&answers, &self.pool.logits.f_argmax(-1, false)?)?;
        let of = |(ours, theirs): (Tensor, Tensor)| losses::divergence(&theirs, &ours, 1.0)?.f_double_value(&[]);
        let divergences = self.pool.by_source(&answers)?.into_iter().map(of).collect::<Result<_, _>>()?;
        Ok(Look { agreement, divergences })
    }

    /// Ends a game: the student becomes what its average is, and is looked at.
    fn end(&self, student: &mut Student, ticker: &mut Ticker<'_>) -> Result<Look, Stop> {
        student.settle()?;
        let look = self.look_on(student, ticker)?;
        look.report(ticker);
        Ok(look)
    }

    /// A look as a step: there are several on the way back, and none is short where the network is large.
    fn look_on(&self, student: &Student, ticker: &mut Ticker<'_>) -> Result<Look, Stop> {
        let look = self.look(student, ticker)?;
        ticker.tick()?;
        Ok(look)
    }

    /// Plays the second game from `done` on, if the first was learned.
    fn second_game(
        &self,
        class: &mut Class<'_>,
        done: Done,
        keeper: &mut Keeper<'_>,
        ticker: &mut Ticker<'_>,
    ) -> Result<SecondGame, Stop> {
        if done.second == 0 {
            let look = self.end(class.student, ticker)?;
            if let Some(refused) = SecondGame::refused(look.agreement) {
                return Ok(refused);
            }
            class.learned = class.student.copy()?;
            class.rivals = class.game.rivals(SECOND)?;
        }
        let (again, opened) = self.open(class, done, keeper, ticker)?;
        let leg = Leg::Second { again };
        self.play(class, leg, opened..leg.rounds(&self.settings.distillation), keeper, ticker)?;
        let counts = self.take_back(class, ticker)?;
        Ok(SecondGame::counts(counts, again))
    }

    /// Plays the second game's opening, once more and in smaller steps if the student then knows its teacher no longer as
    /// one must that is let in. Steps that serve a network of few layers ruin a deep one. Returns how often once more, and
    /// the rounds that are done.
    fn open(
        &self,
        class: &mut Class<'_>,
        done: Done,
        keeper: &mut Keeper<'_>,
        ticker: &mut Ticker<'_>,
    ) -> Result<(u8, u32), Stop> {
        let opening = opening(&self.settings.distillation);
        let (mut again, mut round) = (done.again, done.second);
        loop {
            if round > opening || again == MOST_AGAIN {
                return Ok((again, round));
            }
            self.play(class, Leg::Second { again }, round..opening, keeper, ticker)?;
            let look = class.student.averaged(|student| self.look_on(student, ticker))?;
            if SecondGame::refused(look.agreement).is_none() {
                return Ok((again, opening));
            }
            eprintln!("after {opening} rounds of the second game agreement is {:.3}: smaller steps", look.agreement);
            class.student.go_to((&class.learned, &class.learned), 0.0)?;
            class.student.settle()?;
            (again, round) = (again + 1, 0);
            class.rivals = class.game.rivals(Leg::Second { again })?;
        }
    }

    /// Ends the second game, and takes the student back on the straight way to where that found it, until it is nowhere
    /// farther from its teacher than it was there. One that is too small for what the generators find comes nearer on some
    /// images, and forgets others. Returns the share of the way that counts.
    fn take_back(&self, class: &mut Class<'_>, ticker: &mut Ticker<'_>) -> Result<f64, Stop> {
        let taught = self.end(class.student, ticker)?;
        let end = class.student.copy()?;
        class.student.go_to((&class.learned, &end), 0.0)?;
        let learned = self.look_on(class.student, ticker)?;
        let mut counts = 0.0;
        for share in SHARES {
            class.student.go_to((&class.learned, &end), share)?;
            if self.look_on(class.student, ticker)?.is_nowhere_farther_than(&learned) {
                counts = share;
                break;
            }
        }
        class.student.go_to((&class.learned, &end), counts)?;
        let (before, after) = (learned.divergences, taught.divergences);
        eprintln!(
            "{counts} of the second game counts: divergence by generator {before:.4?} before it, {after:.4?} after it"
        );
        Ok(counts)
    }
}

/// Ends a training that has lost its numbers: all that follows would be for nothing.
fn check_finite(loss: f64) -> Result<(), Stop> {
    if loss.is_finite() { Ok(()) } else { Err(diverged("the student's loss is no longer finite")) }
}

fn diverged(detail: &str) -> Stop {
    Problem::new(ErrorCode::TrainingDiverged, detail).hint("Lower distillation.learning_rate.").into()
}

/// How a student answers the pool, from which no game learns: only `epochs` do, which the presets with games do not have.
struct Look {
    /// Share on which its first choice is the teacher's.
    agreement: f64,
    /// Kullback-Leibler divergence of its answers from the teacher's, in nats, mean over each generator's images.
    divergences: Vec<f64>,
}

impl Look {
    fn report(&self, ticker: &mut Ticker<'_>) {
        let mean = self.divergences.iter().sum::<f64>() / self.divergences.len() as f64;
        ticker.metrics(&[("pool_agreement", self.agreement), ("pool_divergence", mean)]);
    }

    /// What is no number is farther than anything.
    fn is_nowhere_farther_than(&self, other: &Self) -> bool {
        self.divergences.iter().zip(&other.divergences).all(|(own, other)| own <= other)
    }
}
