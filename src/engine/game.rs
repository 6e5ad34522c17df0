//! The game between a student and generators that look for inputs on which student and teacher differ (Fang et al.,
//! Data-Free Adversarial Distillation, 2019).
//!
//! Two things keep the student from forgetting what it knew while it learns what a generator found last: there are several,
//! which find different things, and half of a batch is images from formulas.
//!
//! A second game is against fresh generators, in larger steps: how large they may be is seen in its first rounds.

use tch::{TchError, Tensor, no_grad};

use super::{
    adam::{Adam, Rate},
    checkpoint::{Stage, State, trainable, under, variables},
    losses,
    observer::Stop,
    procedural,
    rival::{Apart, Sought, apart, challenge},
    sampler::{Draw, Trained, shape},
    seed::{Stream, seed},
    student::Student,
    teacher::Teacher,
};
use crate::{
    domain::config::{Distillation, Form, Settings},
    nets::generator::Shape,
};

/// Share of a student batch that comes from formulas; the rest is of the generators.
const PROCEDURAL: f64 = 0.5;

/// Learning rate of the generator: enough that it stays ahead of the student.
const GENERATOR_RATE: f64 = 3e-3;

/// Weight of the error at the landmarks, relative to that of the logits.
const LANDMARKS: f64 = 0.2;

/// How far the student steps in the second game, as a share of each weight's size, for a learning rate of 1: at the presets'
/// rate, and before the damage and the cosine lower it, 4.5 %. In the first game such steps ruin a student that is too small for what the generators find, and serve
/// the others.
const SECOND_RATE: f64 = 30.0;

/// How much smaller the steps are of a second game that is begun once more.
const CALMER: f64 = 0.25;

/// Dimensions of the generator's latent vector, whatever extraction has: with fewer it finds too little at a time.
const LATENT: i64 = 32;

/// The players' surroundings, which do not change.
pub struct Game<'a> {
    teacher: &'a Teacher,
    settings: &'a Settings,
    /// What the generators make, and from what. Worked out once: fitting pixels takes longer than a small network's lesson.
    shape: Shape,
    /// Values that both networks compute (see `landmarks`).
    landmarks: Vec<String>,
    /// See [`losses::relative_distance`].
    floor: f64,
    /// See [`losses::divergence`].
    temperature: f64,
    /// Learning rate of the student at the beginning.
    rate: f64,
}

/// Which of a student's two games.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg {
    First,
    /// Begun so often once more, each time in smaller steps.
    Second {
        again: u8,
    },
}

impl Leg {
    pub fn rounds(self, distillation: &Distillation) -> u32 {
        match self {
            Self::First => distillation.adversarial_steps,
            Self::Second { .. } if distillation.adversarial_steps == 0 => 0,
            Self::Second { .. } => distillation.further_steps,
        }
    }

    /// Of `round`, and with 0 of the first generators.
    fn stream(self, round: u32) -> Stream {
        match self {
            Self::First => Stream::Game { round },
            Self::Second { .. } => Stream::SecondGame { round },
        }
    }

    pub fn stage(self, round: u32) -> Stage {
        match self {
            Self::First => Stage::Game { round },
            Self::Second { again } => Stage::SecondGame { round, again },
        }
    }

    /// The generators', where the student's is at `pace` of what it began with.
    fn generator_rate(self, pace: f64) -> f64 {
        match self {
            Self::First => GENERATOR_RATE * pace,
            // A game this long would end with generators that stand still, and a student that knows their images by heart.
            Self::Second { .. } => GENERATOR_RATE,
        }
    }

    /// The student's, at `rate` as a learning rate.
    fn rate(self, rate: f64) -> Rate {
        match self {
            Self::First => Rate::Absolute(rate),
            Self::Second { again } => Rate::Relative(SECOND_RATE * CALMER.powi(again.into()) * rate),
        }
    }
}

/// A generator that plays.
struct Rival {
    generator: Trained,
    adam: Adam,
}

/// The generators that play, of which each round moves one.
pub struct Rivals(Vec<Rival>);

impl Rivals {
    /// Everything that the next round depends on, but for its random stream.
    pub fn state(&self) -> State {
        let mut state = State::new();
        for (place, Rival { generator, adam }) in self.0.iter().enumerate() {
            state.extend(under(&format!("game.generator{place}"), variables(&generator.store)));
            state.extend(under(&format!("game.adam{place}"), adam.state()));
        }
        state
    }

    /// Whose turn `round` is.
    fn turn(&mut self, round: u32) -> &mut Rival {
        let place = (round - 1) as usize % self.0.len();
        &mut self.0[place]
    }
}

impl<'a> Game<'a> {
    /// # Errors
    /// Where the graphs do not fit together, and what `after`, called after each of [`super::rival::BATCHES`], reports.
    pub fn new(
        teacher: &'a Teacher,
        student: &Student,
        settings: &'a Settings,
        after: impl FnMut() -> Result<(), Stop>,
    ) -> Result<Self, Stop> {
        // Exporters call values alike in networks that have nothing to do with each other.
        let landmarks = match settings.student {
            Some(_) => Vec::new(),
            None => super::landmarks::landmarks(&teacher.graph, student.beginning())?,
        };
        let shape = Shape { latent: LATENT, ..shape(&teacher.graph, settings) };
        let Apart { floor, distance, temperature } = apart(teacher, &student.executor, settings, after)?;
        // What compression hardly hurt has little to gain and much to lose: the steps are as large as the damage.
        let rate = settings.distillation.learning_rate * distance.min(1.0).sqrt();
        Ok(Self { teacher, settings, shape, landmarks, floor, temperature, rate })
    }

    /// The generators that `leg` begins with.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn rivals(&self, leg: Leg) -> Result<Rivals, TchError> {
        let Distillation { rivals, adversarial_steps: rounds, .. } = self.settings.distillation;
        seed(self.settings.seed, leg.stream(0));
        // A game of fewer rounds has fewer; one that is not played, none.
        let rival = |_| {
            let generator = Trained::fresh(self.shape.clone(), Form::Smooth, self.teacher.device());
            Ok(Rival { adam: Adam::new(trainable(&generator.store))?, generator })
        };
        (0..rivals.min(rounds)).map(rival).collect::<Result<_, TchError>>().map(Rivals)
    }

    /// Plays `round` of `leg`, the first of which is 1: one step of one generator, `student_steps` of the student. The
    /// student's rate falls along half a cosine, in the first game the generators' too. Returns the distance that the
    /// generator found, and the one left after the last step.
    ///
    /// # Errors
    /// What libtorch and `after`, called after each step, report.
    pub fn play<E: From<TchError>>(
        &self,
        (leg, round): (Leg, u32),
        student: &mut Student,
        rivals: &mut Rivals,
        mut after: impl FnMut() -> Result<(), E>,
    ) -> Result<(f64, f64), E> {
        let distillation = &self.settings.distillation;
        seed(self.settings.seed, leg.stream(round));
        let pace = cosine(round - 1, leg.rounds(distillation));
        let Rival { generator, adam } = rivals.turn(round);
        let found = challenge(
            (generator, adam),
            (self.teacher, &student.executor),
            Sought { floor: self.floor, batch_norm: distillation.batch_norm },
            i64::from(distillation.batch_size),
            leg.generator_rate(pace),
        )?;
        after()?;
        let mut left = 0.0;
        for _ in 0..distillation.student_steps {
            let loss = self.lesson(student, rivals)?;
            student.minimise(&loss, leg.rate(self.rate * pace))?;
            left = loss.f_double_value(&[])?;
            after()?;
        }
        Ok((found, left))
    }

    /// The student's loss on inputs of the generators and images from formulas.
    fn lesson(&self, student: &Student, rivals: &Rivals) -> Result<Tensor, TchError> {
        let (x, logits, blocks) = no_grad(|| {
            let x = self.inputs(rivals)?;
            let (logits, blocks) = self.teacher.logits_with(&x, &self.landmarks)?;
            Ok::<_, TchError>((x, logits, blocks))
        })?;
        let (answers, ours) = student.answer_with(&x, &self.landmarks)?;
        let mut loss = losses::relative_distance(&logits, &answers, self.floor)?;
        loss = loss.f_add(&losses::divergence(&logits, &answers, self.temperature)?)?;
        let weight = LANDMARKS / blocks.len().max(1) as f64;
        for (theirs, ours) in blocks.iter().zip(&ours) {
            loss = loss.f_add(&losses::relative_error(theirs, ours)?.f_mul_scalar(weight)?)?;
        }
        Ok(loss)
    }

    /// One batch for the student: a share from formulas, the rest of all generators alike.
    fn inputs(&self, rivals: &Rivals) -> Result<Tensor, TchError> {
        let (batch, device) = (i64::from(self.settings.distillation.batch_size), self.teacher.device());
        let Shape { output, pixels, .. } = &self.shape;
        let procedural = ((batch as f64 * PROCEDURAL) as i64).max(1);
        let mut parts = vec![procedural::draw(output, pixels, procedural, device)?];
        // Batch norm in training needs two values for each channel.
        let each = ((batch - procedural) / rivals.0.len() as i64).max(2);
        for Rival { generator, .. } in &rivals.0 {
            let draw = Draw::random(&generator.shape, each, device)?;
            parts.push(generator.net.forward(&draw.labels, &draw.z, true)?);
        }
        Tensor::f_cat(&parts, 0)
    }
}

/// From 1 to 0 along half a cosine.
fn cosine(step: u32, steps: u32) -> f64 {
    0.5 * (1.0 + (std::f64::consts::PI * f64::from(step) / f64::from(steps)).cos())
}
