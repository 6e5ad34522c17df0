//! Progress of one run: which share of it is done, and how long the rest will take at the speed seen so far.

use std::{collections::HashMap, time::Instant};

use super::observer::{Observer, Stop, leave_if_asked};
use crate::{
    domain::job::{Phase, Progress},
    protocol::MetricPoint,
};

/// Points of a series in one stretch, about: more than any plot shows, and with some series at once fewer than a run may send.
const MOST_POINTS: u64 = 100_000;

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
    /// In which part of the stretch each series had its latest point, where not every step can have one.
    pointed: HashMap<String, u64>,
}

impl<'a> Ticker<'a> {
    pub fn new(observer: &'a mut dyn Observer, phase: Phase, share: (f64, f64), steps: u64) -> Self {
        Self {
            observer,
            phase,
            share,
            steps: steps.max(1),
            step: 0,
            before: 0,
            has_checkpoints: false,
            started: Instant::now(),
            pointed: HashMap::new(),
        }
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
        self.report(0.0)
    }

    /// For the next step, where it is a long one of `parts`: to be called after each of them, it says how far the step is, so
    /// that whoever watches the run sees that it gets on.
    ///
    /// # Errors
    /// What it returns has those of [`Self::tick`].
    pub fn parts(&mut self, parts: u64) -> impl FnMut() -> Result<(), Stop> {
        let mut done = 0;
        move || {
            done += 1;
            self.report(done as f64 / (parts + 1) as f64)
        }
    }

    /// So many steps come on top of what was planned.
    pub fn extend(&mut self, steps: u64) {
        self.steps += steps;
    }

    /// Reports the present step, and that `more` of the next is done.
    fn report(&mut self, more: f64) -> Result<(), Stop> {
        let (from, to) = self.share;
        let part = |steps: f64| (to - from) * steps / self.steps as f64;
        let at = (self.step as f64 + more).min(self.steps as f64);
        let fraction = from + part(at);
        let done = at - self.before as f64;
        // For the whole run: the later stretches are taken to be as long as their shares say.
        let left = (done > 0.0).then(|| self.started.elapsed().as_secs_f64() * (1.0 - fraction) / part(done));
        self.observer.progress(Progress {
            fraction,
            phase: self.phase,
            step: self.step,
            steps: self.steps,
            eta_seconds: left,
        })?;
        if self.has_checkpoints { Ok(()) } else { leave_if_asked(self.observer) }
    }

    /// Reports values of series at the present step; of a very long stretch, some of them.
    pub fn metrics(&mut self, values: &[(&str, f64)]) {
        let (step, every) = (self.step, self.steps.div_ceil(MOST_POINTS));
        let mut points = Vec::with_capacity(values.len());
        for &(name, value) in values {
            if every == 1 || self.pointed.insert(name.to_owned(), step / every) != Some(step / every) {
                points.push(MetricPoint { name: name.to_owned(), step, value });
            }
        }
        if !points.is_empty() {
            self.observer.metrics(points);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::protocol::Role;

    /// What was reported: step, fraction, and whether the time left was.
    #[derive(Default)]
    struct Seen(Vec<(u64, f64, bool)>, HashMap<String, u64>);

    impl Observer for Seen {
        fn progress(&mut self, progress: Progress) -> Result<(), Stop> {
            self.0.push((progress.step, progress.fraction, progress.eta_seconds.is_some()));
            Ok(())
        }

        fn metrics(&mut self, points: Vec<MetricPoint>) {
            for point in points {
                *self.1.entry(point.name).or_default() += 1;
            }
        }

        fn sample(&mut self, _: &Path, _: u32, _: u32, _: u64) {}

        fn artifact(&mut self, _: &Path, _: Role) {}
    }

    #[test]
    fn parts_of_a_step_are_reported_and_count_for_none() {
        let seen = &mut Seen::default();
        let mut ticker = Ticker::new(seen, Phase::Distilling, (0.5, 1.0), 4).with_checkpoints(2);
        ticker.report(0.0).unwrap();
        ticker.tick().unwrap();
        {
            let mut after = ticker.parts(3);
            after().unwrap();
            after().unwrap();
        }
        ticker.tick().unwrap();
        // Of a run that goes on from step 2, nothing can be told of its speed before it has done anything.
        let expected = [(2, 0.75, false), (3, 0.875, true), (3, 0.90625, true), (3, 0.9375, true), (4, 1.0, true)];
        assert_eq!(seen.0, expected);
    }

    #[test]
    fn a_series_of_a_long_stretch_has_an_end() {
        for (steps, expected) in [(1_000, 1_000), (100_000, 100_000), (250_000, 83_334)] {
            let mut seen = Seen::default();
            let mut ticker = Ticker::new(&mut seen, Phase::Distilling, (0.0, 1.0), steps);
            for _ in 0..steps {
                ticker.metrics(&[("often", 1.0)]);
                ticker.tick().unwrap();
            }
            ticker.metrics(&[("seldom", 1.0)]);
            assert_eq!((seen.1["often"], seen.1["seldom"]), (expected, 1), "{steps}");
        }
    }

    #[test]
    fn what_is_planned_later_takes_its_part() {
        let mut seen = Seen::default();
        let mut ticker = Ticker::new(&mut seen, Phase::Evaluating, (0.0, 1.0), 2);
        ticker.tick().unwrap();
        ticker.extend(2);
        ticker.tick().unwrap();
        assert_eq!(seen.0, [(1, 0.5, true), (2, 0.5, true)]);
    }
}
