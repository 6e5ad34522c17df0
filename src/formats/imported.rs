//! What every importer takes beside the file, and what it yields.

use std::collections::BTreeMap;

use super::graph::{Graph, Op};
use crate::domain::architecture::Architecture;

/// What the file alone does not say.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The input's shape without the batch, where the file leaves it open.
    pub input_shape: Option<Vec<usize>>,
    /// Side files with weights, by the name of the uploaded part.
    pub external: BTreeMap<String, Vec<u8>>,
    /// The network of bare weights.
    pub arch: Option<Architecture>,
}

/// A graph, and what was noticed on the way.
#[derive(Clone, Debug)]
pub struct Imported {
    pub graph: Graph,
    pub has_batch_norm: bool,
    pub ends_in_softmax: bool,
    pub warnings: Vec<String>,
    /// Bytes of the side files that the file names.
    pub side_bytes: u64,
}

impl Imported {
    pub fn new(graph: Graph, warnings: Vec<String>) -> Self {
        let has_batch_norm = graph.nodes.iter().any(|node| matches!(node.op, Op::BatchNorm { .. }));
        Self { has_batch_norm, ends_in_softmax: graph.logits().is_some(), graph, warnings, side_bytes: 0 }
    }
}
