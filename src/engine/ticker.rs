//! Progress of one run: which share of it is done, and how long the rest will take at the speed seen so far.

use std::time::Instant;

use super::observer::{Observer, Stop};
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
    started: Instant,
}

impl<'a> Ticker<'a> {
    pub fn new(observer: &'a mut dyn Observer, phase: Phase, share: (f64, f64), steps: u64) -> Self {
        Self { observer, phase, share, steps: steps.max(1), step: 0, started: Instant::now() }
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
    /// [`Stop::Canceled`] if the run shall end.
    pub fn tick(&mut self) -> Result<(), Stop> {
        self.step = (self.step + 1).min(self.steps);
        let (from, to) = self.share;
        let done = (to - from) * self.step as f64 / self.steps as f64;
        let fraction = from + done;
        // For the whole run: the later stretches are taken to be as long as their shares say.
        let left = self.started.elapsed().as_secs_f64() * (1.0 - fraction) / done;
        self.observer.progress(Progress {
            fraction,
            phase: self.phase,
            step: self.step,
            steps: self.steps,
            eta_seconds: Some(left),
        })
    }

    /// Reports values of series at the present step.
    pub fn metrics(&mut self, values: &[(&str, f64)]) {
        let step = self.step;
        let points = values.iter().map(|&(name, value)| MetricPoint { name: name.to_owned(), step, value }).collect();
        self.observer.metrics(points);
    }
}
