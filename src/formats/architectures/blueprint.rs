//! A network without the values of its weights.

use std::collections::BTreeMap;

use super::Shapes;
use crate::{
    domain::{
        layout::Layout,
        problem::{ErrorCode, Problem},
    },
    formats::graph::{Graph, Node, Port, Tensor},
};

/// Most elements that all weights together may have where they are made up: 4 GiB of floats.
const MAX_PARAMETERS: usize = 1 << 30;

/// The opset that a network is written with which came in no ONNX file.
const OPSET: i64 = 17;

#[derive(Clone, Debug)]
pub struct Blueprint {
    pub input: Port,
    pub output: Port,
    pub nodes: Vec<Node>,
    /// Shapes of the weights by name.
    pub parameters: Shapes,
}

impl Blueprint {
    /// The network with these weights, which must be those of [`Self::parameters`].
    pub fn with(self, weights: BTreeMap<String, Tensor>) -> Graph {
        let Self { input, output, nodes, .. } = self;
        Graph { input, layout: Layout::default(), output, nodes, weights, opset: OPSET, metadata: [].into() }
    }

    /// The network with weights of zeros, which somebody is about to overwrite.
    ///
    /// # Errors
    /// `invalid_config` where they take more memory than any machine should give.
    pub fn blank(self) -> Result<Graph, Problem> {
        let count = |shape: &Vec<usize>| shape.iter().try_fold(1usize, |size, extent| size.checked_mul(*extent));
        let total = self.parameters.values().try_fold(0usize, |sum, shape| sum.checked_add(count(shape)?));
        if total.is_none_or(|total| total > MAX_PARAMETERS) {
            let detail = format!("The student would have more than {MAX_PARAMETERS} parameters.");
            return Err(Problem::new(ErrorCode::InvalidConfig, detail)
                .param("config.student.arch")
                .hint("Choose a smaller architecture."));
        }
        let zeros = |(name, shape): (&String, &Vec<usize>)| {
            (name.clone(), Tensor::f32(shape.clone(), vec![0.0; shape.iter().product()]))
        };
        let weights = self.parameters.iter().map(zeros).collect();
        Ok(self.with(weights))
    }
}
