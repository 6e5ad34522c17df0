//! How alike teacher and student answer on inputs that the student never trained on. It is not accuracy.

mod compare;
mod coverage;
mod search;
mod sources;
pub mod words;

use tch::Tensor;

use super::{
    executor::Executor,
    observer::{Observer, Stop},
    teacher::{Teacher, answer_paced, pieces},
    ticker::Ticker,
};
use crate::domain::{
    audit::{Audit, Coverage, InputSource, SourceAudit},
    config::Settings,
    job::Phase,
    report::{Agreement, LayerRow, SourceAgreement},
};
use sources::HeldOut;

/// Teacher and student, both frozen, with the job's settings.
pub struct Pair<'a> {
    pub teacher: &'a Teacher,
    pub student: &'a Executor,
    pub settings: &'a Settings,
}

impl Pair<'_> {
    /// Logits of both for `x`, (N, classes) each, without gradients.
    ///
    /// # Errors
    /// What libtorch and `after`, called after each of both's [`pieces`], report.
    fn answers(&self, x: &Tensor, mut after: impl FnMut() -> Result<(), Stop>) -> Result<(Tensor, Tensor), Stop> {
        Ok((answer_paced(self.teacher.executor(), x, &mut after)?, answer_paced(self.student, x, after)?))
    }

    /// In how many pieces both answer `x`.
    fn pieces(&self, x: &Tensor) -> u64 {
        pieces(self.teacher.executor(), x) + pieces(self.student, x)
    }

    /// Compares the two on every source, and searches for the worst case. `layers` is what compression did.
    ///
    /// The job's seed decides all of it; `share` of the run's progress is this.
    ///
    /// # Errors
    /// As training a generator.
    pub fn audit(
        &self,
        layers: &[LayerRow],
        observer: &mut dyn Observer,
        share: (f64, f64),
    ) -> Result<(Agreement, Audit), Stop> {
        let settings = sources::short(self.settings, &self.teacher.graph)?;
        let mut silent = Silent(observer);
        // To compare what is drawn is a step, and so it is with what is found.
        let total = sources::steps(&settings) + search::STEPS + 2;
        let mut ticker = Ticker::new(&mut silent, Phase::Evaluating, share, total);
        let held_out = HeldOut::train(self.teacher, &settings, &mut ticker)?;

        let (coverage, mut sources) = self.drawn(&held_out, &mut ticker)?;
        ticker.tick()?;
        let found = search::worst_case(self, held_out.count(), &mut ticker)?;
        sources.push(self.compare(InputSource::WorstCase, &found, ticker.parts(self.pieces(&found)))?);
        ticker.tick()?;

        let agreement = agreement(&sources);
        let lowest = lowest(&sources).map_or(InputSource::HeldOutGenerator, |found| found.source);
        let weight_error = weight_error(layers);
        Ok((agreement, Audit { sources, lowest, coverage, weight_error, prediction: None, no_prediction: None }))
    }

    /// The sources that are drawn, and which classes those of the generator cover.
    fn drawn(&self, held_out: &HeldOut, ticker: &mut Ticker<'_>) -> Result<(Coverage, Vec<SourceAudit>), Stop> {
        let (draw, generated) = held_out.draw()?;
        let others = [InputSource::Mixtures, InputSource::Procedural, InputSource::Noise];
        let mut after = ticker.parts(self.pieces(&generated) * (1 + others.len() as u64));
        let (theirs, ours) = self.answers(&generated, &mut after)?;
        let coverage = coverage::coverage(&draw.labels, (&theirs, &ours), self.settings.classes.as_deref())?;
        let mut sources = vec![compare::compare(InputSource::HeldOutGenerator, &theirs, &ours)?];
        for source in others {
            if let Some(x) = held_out.others(source, &generated)? {
                sources.push(self.compare(source, &x, &mut after)?);
            }
        }
        Ok((coverage, sources))
    }

    fn compare(
        &self,
        source: InputSource,
        x: &Tensor,
        after: impl FnMut() -> Result<(), Stop>,
    ) -> Result<SourceAudit, Stop> {
        let (theirs, ours) = self.answers(x, after)?;
        Ok(compare::compare(source, &theirs, &ours)?)
    }
}

fn lowest(sources: &[SourceAudit]) -> Option<&SourceAudit> {
    let drawn = sources.iter().filter(|found| found.source.is_drawn());
    drawn.min_by(|a, b| a.agreement.share.total_cmp(&b.agreement.share))
}

fn agreement(sources: &[SourceAudit]) -> Agreement {
    let of = |source| {
        let found = sources.iter().find(|found| found.source == source);
        found.map_or(SourceAgreement { top1: 0.0, n: 0 }, |SourceAudit { agreement, .. }| SourceAgreement {
            top1: agreement.share,
            n: agreement.n,
        })
    };
    Agreement {
        held_out_generator: of(InputSource::HeldOutGenerator),
        noise: of(InputSource::Noise),
        lowest: lowest(sources).map_or(0.0, |found| found.agreement.share),
    }
}

/// Root mean square of the layers' relative errors, by their parameters; 0 where nothing was compressed.
fn weight_error(layers: &[LayerRow]) -> f64 {
    let parameters: u64 = layers.iter().map(|row| row.parameters_before).sum();
    let squares = layers.iter().map(|row| row.parameters_before as f64 * row.error.powi(2));
    (squares.sum::<f64>() / parameters.max(1) as f64).sqrt()
}

/// Passes progress on but no losses: the held-out generator's curve would be drawn over that of the job's own.
struct Silent<'a>(&'a mut dyn Observer);

impl Observer for Silent<'_> {
    fn progress(&mut self, progress: crate::domain::job::Progress) -> Result<(), Stop> {
        self.0.progress(progress)
    }

    fn metrics(&mut self, _points: Vec<crate::protocol::MetricPoint>) {}

    fn sample(&mut self, _file: &std::path::Path, _generator: u32, _epoch: u32, _count: u64) {}

    fn artifact(&mut self, _file: &std::path::Path, _role: crate::protocol::Role) {}

    fn leave_asked(&self) -> bool {
        self.0.leave_asked()
    }
}

#[cfg(test)]
mod tests;
