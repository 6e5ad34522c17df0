//! Wall time by phase, over all runs of a task.

use std::{collections::BTreeMap, time::Instant};

/// Seconds by phase, with the time since the last look under way.
#[derive(Debug)]
pub struct Stopwatch {
    seconds: BTreeMap<String, f64>,
    phase: &'static str,
    last: Instant,
}

impl Stopwatch {
    /// Goes on from `seconds`.
    pub(super) fn new(seconds: BTreeMap<String, f64>) -> Self {
        Self { seconds, phase: "", last: Instant::now() }
    }

    /// What follows is `phase`.
    pub fn begin(&mut self, phase: &'static str) {
        self.count();
        self.phase = phase;
    }

    /// Seconds of every phase until now.
    pub fn read(&mut self) -> BTreeMap<String, f64> {
        self.count();
        self.seconds.clone()
    }

    fn count(&mut self) {
        let passed = self.last.elapsed();
        self.last += passed;
        if !self.phase.is_empty() {
            *self.seconds.entry(self.phase.to_owned()).or_default() += passed.as_secs_f64();
        }
    }
}
