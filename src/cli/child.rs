//! The hidden commands: what the service starts this binary with.

use std::{fs, path::PathBuf};

use anyhow::Context;

use super::terminal::Terminal;
use crate::{
    child,
    domain::{
        problem::{ErrorCode, Problem},
        query::EngineQuery,
    },
    engine::{self, observer::Stop},
};

/// One run of a task, for a worker.
#[derive(clap::Args, Debug)]
pub struct RunTask {
    /// The run's directory.
    #[arg(long)]
    dir: PathBuf,
}

impl RunTask {
    pub fn run(self) -> ! {
        child::main(&self.dir, engine::run)
    }
}

/// One question of the service to the engine.
#[derive(clap::Args, Debug)]
pub struct RunQuery {
    /// The directory with the question and its files.
    #[arg(long)]
    dir: PathBuf,
}

impl RunQuery {
    pub fn run(self) -> anyhow::Result<()> {
        let json = fs::read(self.dir.join(EngineQuery::FILE)).context("the question cannot be read")?;
        let answered = match serde_json::from_slice(&json).context("the question cannot be read")? {
            EngineQuery::Inspect(spec) => engine::run(&spec, &self.dir, &mut Terminal::new(true, Default::default())),
            EngineQuery::Latent(request) => engine::latent::render(&request, &self.dir),
        };
        let problem = match answered {
            Ok(()) => return Ok(()),
            Err(Stop::Failed(problem)) => problem,
            Err(Stop::Canceled | Stop::Interrupted) => Problem::new(ErrorCode::Internal, "The question was withdrawn."),
        };
        fs::write(self.dir.join(EngineQuery::PROBLEM), serde_json::to_vec(&problem)?)?;
        Err(problem.into())
    }
}
