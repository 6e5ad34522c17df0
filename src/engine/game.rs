//! The game between a student and generators that look for inputs on which student and teacher differ (Fang et al.,
//! Data-Free Adversarial Distillation, 2019).
//!
//! Three things keep the student from forgetting what it knew while it learns what a generator found last: there are
//! several, which find different things; it also meets what earlier ones would show it; and images from formulas.

use tch::{Device, Kind, TchError, Tensor, no_grad};

use super::{
    adam::Adam,
    checkpoint::{State, trainable, under, variables},
    losses, procedural,
    rival::{Apart, apart, challenge},
    sampler::{Draw, Trained, shape},
    seed::{Stream, seed},
    student::Student,
    teacher::Teacher,
};
use crate::{
    domain::{
        config::{Distillation, Form, Settings},
        problem::Problem,
    },
    nets::generator::Shape,
};

/// Shares of a student batch; the rest is of the generators as they are now.
const PROCEDURAL: f64 = 0.3;
const PAST: f64 = 0.25;

/// Generators of earlier rounds that are kept.
const KEPT: u32 = 8;

/// Learning rate of the generator: enough that it stays ahead of the student.
const GENERATOR_RATE: f64 = 3e-3;

/// Weight of the error at the landmarks, relative to that of the logits.
const LANDMARKS: f64 = 0.2;

/// Dimensions of the generator's latent vector, whatever extraction has: with fewer it finds too little at a time.
const LATENT: i64 = 32;

/// The players' surroundings, which do not change.
pub struct Game<'a> {
    teacher: &'a Teacher,
    settings: &'a Settings,
    /// Values that both networks compute (see `landmarks`).
    landmarks: Vec<String>,
    /// See [`losses::relative_distance`].
    floor: f64,
    /// See [`losses::divergence`].
    temperature: f64,
    /// Learning rate of the student at the beginning.
    rate: f64,
}

/// A generator that plays.
struct Rival {
    generator: Trained,
    adam: Adam,
}

/// The generators that play now, of which each round moves one, and some of those that played before.
pub struct Rivals {
    now: Vec<Rival>,
    past: Vec<Trained>,
}

impl Rivals {
    fn new(teacher: &Teacher, settings: &Settings) -> Result<Self, TchError> {
        let Distillation { rivals, adversarial_steps: rounds, .. } = settings.distillation;
        seed(settings.seed, Stream::Game { round: 0 });
        let shape = Shape { latent: LATENT, ..shape(&teacher.graph, settings) };
        let fresh = || Trained::fresh(shape.clone(), Form::Smooth, teacher.device());
        // A game of fewer rounds has fewer and keeps fewer; one that is not played, none.
        let rival = |generator: Trained| Ok(Rival { adam: Adam::new(trainable(&generator.store))?, generator });
        let now = (0..rivals.min(rounds)).map(|_| rival(fresh())).collect::<Result<_, TchError>>()?;
        Ok(Self { now, past: (0..KEPT.min(rounds)).map(|_| fresh()).collect() })
    }

    /// Everything that the next round depends on, but for its random stream.
    pub fn state(&self) -> State {
        let mut state = State::new();
        for (place, Rival { generator, adam }) in self.now.iter().enumerate() {
            state.extend(under(&format!("game.generator{place}"), variables(&generator.store)));
            state.extend(under(&format!("game.adam{place}"), adam.state()));
        }
        for (place, generator) in self.past.iter().enumerate() {
            state.extend(under(&format!("game.past{place}"), variables(&generator.store)));
        }
        state
    }

    /// Whose turn `round` is.
    fn place(&self, round: u32) -> usize {
        (round - 1) as usize % self.now.len()
    }

    /// Keeps the generator that moved in `round` as it is, evenly over a game of `rounds`, in place of the oldest one.
    fn keep(&self, round: u32, rounds: u32) -> Result<(), TchError> {
        let every = (rounds / KEPT).max(1);
        if !round.is_multiple_of(every) {
            return Ok(());
        }
        let place = &self.past[((round / every - 1) % KEPT) as usize];
        let moved = &self.now[self.place(round)].generator;
        no_grad(|| {
            for ((_, mut kept), (_, now)) in variables(&place.store).into_iter().zip(variables(&moved.store)) {
                kept.f_copy_(&now)?;
            }
            Ok(())
        })
    }

    /// Those kept before `round` is played.
    fn kept(&self, round: u32, rounds: u32) -> &[Trained] {
        let kept = ((round - 1) / (rounds / KEPT).max(1)).min(KEPT);
        &self.past[..kept as usize]
    }
}

impl<'a> Game<'a> {
    /// # Errors
    /// Where the graphs do not fit together.
    pub fn new(teacher: &'a Teacher, student: &Student, settings: &'a Settings) -> Result<Self, Problem> {
        // Exporters call values alike in networks that have nothing to do with each other.
        let landmarks = match settings.student {
            Some(_) => Vec::new(),
            None => super::landmarks::landmarks(&teacher.graph, student.beginning())?,
        };
        let Apart { floor, distance, temperature } = apart(teacher, &student.executor, settings)?;
        // What compression hardly hurt has little to gain and much to lose: the steps are as large as the wound.
        let rate = settings.distillation.learning_rate * distance.min(1.0).sqrt();
        Ok(Self { teacher, settings, landmarks, floor, temperature, rate })
    }

    /// The first generators.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn rivals(&self) -> Result<Rivals, TchError> {
        Rivals::new(self.teacher, self.settings)
    }

    /// Plays `round`, the first of which is 1: one step of one generator, `student_steps` of the student, each at a rate that
    /// falls along half a cosine. Returns the distance that the generator found, and the one left after the last step.
    ///
    /// # Errors
    /// What libtorch and `after`, called after each step, report.
    pub fn play<E: From<TchError>>(
        &self,
        round: u32,
        student: &mut Student,
        rivals: &mut Rivals,
        mut after: impl FnMut() -> Result<(), E>,
    ) -> Result<(f64, f64), E> {
        let distillation = &self.settings.distillation;
        let rounds = distillation.adversarial_steps;
        let pace = cosine(round - 1, rounds);
        let place = rivals.place(round);
        let Rival { generator, adam } = &mut rivals.now[place];
        let found = challenge(
            (generator, adam),
            (self.teacher, &student.executor),
            self.floor,
            i64::from(distillation.batch_size),
            GENERATOR_RATE * pace,
        )?;
        after()?;
        let mut left = 0.0;
        for _ in 0..distillation.student_steps {
            let loss = self.lesson(student, rivals, round)?;
            student.minimise(&loss, self.rate * pace)?;
            left = loss.f_double_value(&[])?;
            after()?;
        }
        rivals.keep(round, rounds)?;
        Ok((found, left))
    }

    /// The student's loss on inputs of the generators and images from formulas.
    fn lesson(&self, student: &Student, rivals: &Rivals, round: u32) -> Result<Tensor, TchError> {
        let (x, logits, blocks) = no_grad(|| {
            let x = self.inputs(rivals, round)?;
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

    fn inputs(&self, rivals: &Rivals, round: u32) -> Result<Tensor, TchError> {
        let (batch, device) = (self.settings.distillation.batch_size, self.teacher.device());
        let share = |share: f64| (f64::from(batch) * share) as i64;
        let drawn = |generator: &Trained, count: i64| {
            let draw = Draw::random(&generator.shape, count, device)?;
            generator.net.forward(&draw.labels, &draw.z, true)
        };
        let shape = &rivals.now[rivals.place(round)].generator.shape;
        let mut parts = vec![procedural::draw(&shape.output, &shape.pixels, share(PROCEDURAL).max(1), device)?];
        // Batch norm in training needs two values for each channel.
        let kept = rivals.kept(round, self.settings.distillation.adversarial_steps);
        if let Some(earlier) = any_of(kept)? {
            parts.push(drawn(earlier, share(PAST).max(2))?);
        }
        let others: i64 = parts.iter().map(|part| part.size()[0]).sum();
        let each = (i64::from(batch) - others) / rivals.now.len() as i64;
        for Rival { generator, .. } in &rivals.now {
            parts.push(drawn(generator, each.max(2))?);
        }
        Tensor::f_cat(&parts, 0)
    }
}

/// One of them at random; `None` where there is none.
fn any_of(generators: &[Trained]) -> Result<Option<&Trained>, TchError> {
    if generators.is_empty() {
        return Ok(None);
    }
    let place = Tensor::f_randint(generators.len() as i64, [1], (Kind::Int64, Device::Cpu))?.f_int64_value(&[0])?;
    Ok(generators.get(place as usize))
}

/// From 1 to 0 along half a cosine.
fn cosine(step: u32, steps: u32) -> f64 {
    0.5 * (1.0 + (std::f64::consts::PI * f64::from(step) / f64::from(steps)).cos())
}
