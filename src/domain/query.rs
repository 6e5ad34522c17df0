//! Questions to the engine that belong to no run: asked by the server, answered by a short-lived child.

use serde::{Deserialize, Serialize};

use super::{latent::LatentRequest, task::TaskSpec};

/// Written as [`EngineQuery::FILE`] into a directory of its own, with the files that it names beside it. The child leaves
/// its answer there: [`EngineQuery::answer`], or a problem as [`EngineQuery::PROBLEM`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "query", content = "of")]
pub enum EngineQuery {
    /// What the importer sees in a model, and the plan: answered with an `Inspection`.
    Inspect(Box<TaskSpec>),
    /// Pictures of a latent space: answered with an `.npz` of `x` and `y`.
    Latent(LatentRequest),
}

impl EngineQuery {
    pub const FILE: &str = "query.json";
    pub const PROBLEM: &str = "problem.json";

    /// The name of the file that holds the answer.
    pub fn answer(&self) -> &'static str {
        match self {
            Self::Inspect(_) => "inspection.json",
            Self::Latent(_) => "latent.npz",
        }
    }
}
