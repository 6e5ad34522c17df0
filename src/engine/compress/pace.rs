//! How planning and decomposing tell that they go on: the layers of a large network take minutes, and a run that says nothing
//! for that long is taken for one that hangs.

use super::layer::layers;
use crate::{domain::problem::Problem, formats::graph::Graph};

/// Called after each layer; what it returns ends the work.
pub type Pace<'p, E> = &'p mut dyn FnMut() -> Result<(), E>;

/// How often a network's plan for one target and its decomposition call their pace at most: of each layer for its choices,
/// the time of its forms, what it loses, and its factors.
///
/// # Errors
/// `invalid_model` where nodes do not fit together.
pub fn steps(graph: &Graph) -> Result<u64, Problem> {
    Ok(4 * layers(graph)?.len() as u64)
}
