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

    /// Takes back `seconds` that it went on from: the work that they were spent on is of no use.
    pub(super) fn forget(&mut self, seconds: &BTreeMap<String, f64>) {
        for (phase, spent) in seconds {
            self.seconds.entry(phase.clone()).and_modify(|all| *all -= spent);
        }
    }

    fn count(&mut self) {
        let passed = self.last.elapsed();
        self.last += passed;
        if !self.phase.is_empty() {
            *self.seconds.entry(self.phase.to_owned()).or_default() += passed.as_secs_f64();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_run_spent_stays_where_an_earlier_one_is_forgotten() {
        let before = BTreeMap::from([("compressing".to_owned(), 5.0), ("distilling".to_owned(), 7.0)]);
        let mut watch = Stopwatch::new(before.clone());
        watch.begin("compressing");
        std::thread::sleep(std::time::Duration::from_millis(5));
        watch.begin("distilling");
        watch.forget(&before);
        std::thread::sleep(std::time::Duration::from_millis(5));
        let seconds = watch.read();
        assert!(seconds["compressing"] > 0.004 && seconds["compressing"] < 5.0, "{seconds:?}");
        assert!(seconds["distilling"] > 0.004 && seconds["distilling"] < 7.0, "{seconds:?}");
    }
}
