//! `kegd score`: how often a model is right, for whoever has real data.

use std::path::PathBuf;

use super::{
    pipeline::{Beside, Inputs, Pipeline},
    quiet_threads,
    table::counted,
};
use crate::domain::report;

/// Measure the real accuracy of a model, teacher or student, where real data is.
#[derive(clap::Args, Debug)]
pub struct Score {
    #[command(flatten)]
    inputs: Inputs,

    /// Real inputs and their classes: .npz with `x`, (N, C, H, W) or (N, H, W, C) as the model takes it, (N, H, W) or (N, F),
    /// and `y`. Bytes are scaled to 0..1 and normalised by the configuration's `input`; images are resized to the model's
    /// input.
    #[arg(long, value_name = "FILE")]
    eval: PathBuf,

    /// Measure the student as it was here, a file that `kegd distill --checkpoints` left beside it; may be given several
    /// times. Whoever picks one by such figures picks by real data.
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,

    /// Print JSON: a list where there are checkpoints.
    #[arg(long)]
    json: bool,
}

impl Score {
    pub fn run(self) -> anyhow::Result<()> {
        quiet_threads::ensure()?;
        let beside = Beside { eval: Some(&self.eval), alone: true, ..Beside::default() };
        let scores = Pipeline::new(&self.inputs, beside, &std::env::temp_dir())?.score(&self.checkpoint)?;
        match &scores[..] {
            [score] if self.json && self.checkpoint.is_empty() => println!("{}", serde_json::to_string_pretty(score)?),
            scores if self.json => println!("{}", serde_json::to_string_pretty(scores)?),
            scores => scores.iter().for_each(|score| println!("{}", line(score))),
        }
        Ok(())
    }
}

fn line(score: &report::Score) -> String {
    let (accuracy, n, parameters) = (100.0 * score.accuracy, counted(score.n), counted(score.parameters));
    let at = score.at.as_ref().map(|at| format!(", at {at}")).unwrap_or_default();
    format!("{accuracy:.2} % of {n} inputs, {parameters} parameters{at}")
}
