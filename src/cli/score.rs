//! `kegd score`: how often a model is right, for whoever has real data.

use std::path::PathBuf;

use super::{
    pipeline::{Inputs, Pipeline},
    quiet_threads,
    table::counted,
};

/// Measure the real accuracy of a model, teacher or student, where real data is.
#[derive(clap::Args, Debug)]
pub struct Score {
    #[command(flatten)]
    inputs: Inputs,

    /// Real inputs and their classes: .npz with `x`, (N, C, H, W), (N, H, W) or (N, F), and `y`. Bytes are scaled to 0..1
    /// and normalised by the configuration's `input`; images are resized to the model's input.
    #[arg(long, value_name = "FILE")]
    eval: PathBuf,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Score {
    pub fn run(self) -> anyhow::Result<()> {
        quiet_threads::ensure()?;
        let score = Pipeline::new(&self.inputs, Some(&self.eval), &std::env::temp_dir())?.score()?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&score)?);
        } else {
            let (accuracy, n, parameters) = (100.0 * score.accuracy, counted(score.n), counted(score.parameters));
            println!("{accuracy:.2} % of {n} inputs, {parameters} parameters");
        }
        Ok(())
    }
}
