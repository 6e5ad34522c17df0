//! `kegd extract`: the generators alone, for students to come.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::{
    pipeline::{Beside, Inputs, Pipeline},
    quiet_threads, stop,
    terminal::Terminal,
};
use crate::domain::{config::Settings, model::ModelFacts};

/// Train generators against a classifier, and stop there.
///
/// `kegd distill --generators DIR` makes students with them, as many as you like.
#[derive(clap::Args, Debug)]
pub struct Extract {
    #[command(flatten)]
    inputs: Inputs,

    /// Where generators and samples go; made if it is not there. Files of the same names are replaced, and with
    /// them all generators and samples that an earlier run left there.
    #[arg(long, short, value_name = "DIR", default_value = "out")]
    out: PathBuf,

    /// Print no progress.
    #[arg(long, short)]
    quiet: bool,
}

/// `extraction.json`, beside the generators: what they were trained on, and how.
#[derive(Debug, Serialize, Deserialize)]
pub struct Extraction {
    pub model: ModelFacts,
    pub settings: Settings,
    /// Wall seconds of the training.
    pub seconds: f64,
}

impl Extraction {
    pub const FILE: &str = "extraction.json";
}

impl Extract {
    pub fn run(self) -> anyhow::Result<()> {
        quiet_threads::ensure()?;
        fs::create_dir_all(&self.out).with_context(|| format!("{} cannot be made", self.out.display()))?;
        let stop = Arc::new(AtomicBool::new(false));
        stop::on_interrupt(Arc::clone(&stop))?;
        let mut terminal = Terminal::new(self.quiet, stop);
        let mut pipeline = Pipeline::new(&self.inputs, Beside { alone: true, ..Beside::default() }, &self.out)?;
        let inspection = pipeline.inspect(&mut terminal)?;
        let begin = Instant::now();
        pipeline.extract(&mut terminal).inspect_err(|_| pipeline.rescue(&terminal, &self.out))?;
        let seconds = begin.elapsed().as_secs_f64();
        let extraction = Extraction { model: inspection.model, settings: pipeline.settings().clone(), seconds };
        let files = pipeline.keep(&terminal, &self.out)?;
        // Last: whoever finds it finds everything else.
        fs::write(self.out.join(Extraction::FILE), serde_json::to_vec_pretty(&extraction)?)?;
        println!("{} files in {}, {seconds:.0} s", files.len() + 1, self.out.display());
        Ok(())
    }
}
