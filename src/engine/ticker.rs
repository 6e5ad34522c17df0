//! Progress of one run: which share of it is done, and how long the rest will take at the speed seen so far.

use std::time::Instant;

use super::observer::{Observer, Stop, leave_if_asked};
use crate::{
    domain::job::{Phase, Progress},
    protocol::MetricPoint,
};

/// A stretch of work with countable steps, which takes the share `from..to` of the run.
pub struct Ticker<'a> {
    observer: &'a mut dyn Observer,
    phase: Phase,
    share: (f64, f64),
    steps: u64,
    step: u64,
    /// Steps that an earlier run has done: they say nothing about the speed of this one.
    before: u64,
    has_checkpoints: bool,
    started: Instant,
}

impl<'a> Ticker<'a> {
    pub fn new(observer: &'a mut dyn Observer, phase: Phase, share: (f64, f64), steps: u64) -> Self {
        let started = Instant::now();
        Self { observer, phase, share, steps: steps.max(1), step: 0, before: 0, has_checkpoints: false, started }
    }

    /// Of a stretch that writes checkpoints, of which an earlier run has done `step` steps. A run that is asked to leave goes
    /// on to the next checkpoint; in any other stretch it leaves at the next step.
    pub fn with_checkpoints(self, step: u64) -> Self {
        Self { step, before: step, has_checkpoints: true, ..self }
    }

    pub fn step(&self) -> u64 {
        self.step
    }

    pub fn observer(&mut self) -> &mut dyn Observer {
        self.observer
    }

    /// Counts one step.
    ///
    /// # Errors
    /// [`Stop::Canceled`] or [`Stop::Interrupted`] if the run shall end.
    pub fn tick(&mut self) -> Result<(), Stop> {
        self.step = (self.step + 1).min(self.steps);
        let (from, to) = self.share;
        let part = |steps: u64| (to - from) * steps as f64 / self.steps as f64;
        let fraction = from + part(self.step);
        // For the whole run: the later stretches are taken to be as long as their shares say.
        let left = self.started.elapsed().as_secs_f64() * (1.0 - fraction) / part(self.step - self.before);
        self.observer.progress(Progress {
            fraction,
            phase: self.phase,
            step: self.step,
            steps: self.steps,
            eta_seconds: Some(left),
        })?;
        if self.has_checkpoints { Ok(()) } else { leave_if_asked(self.observer) }
    }

    /// Reports values of series at the present step.
    pub fn metrics(&mut self, values: &[(&str, f64)]) {
        let step = self.step;
        let points = values.iter().map(|&(name, value)| MetricPoint { name: name.to_owned(), step, value }).collect();
        self.observer.metrics(points);
    }
}
