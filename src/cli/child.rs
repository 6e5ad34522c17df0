//! The hidden commands: what the service starts this binary with.

use std::{fs, path::PathBuf};

use super::terminal::Terminal;
use crate::{
    child,
    domain::{
        problem::{ErrorCode, Problem},
        query::EngineQuery,
    },
    engine::{self, observer::Stop},
    sandbox,
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
        let isolated = sandbox::enter(&self.dir).map_err(Stop::from);
        let problem = match isolated.and_then(|()| self.answer()) {
            Ok(()) => return Ok(()),
            Err(Stop::Failed(problem)) => problem,
            Err(Stop::Canceled | Stop::Interrupted) => Problem::new(ErrorCode::Internal, "The question was withdrawn."),
        };
        fs::write(self.dir.join(EngineQuery::PROBLEM), serde_json::to_vec(&problem)?)?;
        Err(problem.into())
    }

    fn answer(&self) -> Result<(), Stop> {
        let json = fs::read(self.dir.join(EngineQuery::FILE))?;
        let query = serde_json::from_slice(&json)
            .map_err(|error| Problem::new(ErrorCode::Internal, format!("the question cannot be read: {error}")))?;
        match query {
            EngineQuery::Inspect(spec) => engine::run(&spec, &self.dir, &mut Terminal::new(true, Default::default())),
            EngineQuery::Latent(request) => engine::latent::render(&request, &self.dir),
        }
    }
}
