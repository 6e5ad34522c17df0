//! A graph that is one call of an operator for each node, with names that Python takes.

use std::collections::{HashMap, HashSet};

use super::{
    names::Names,
    write::{Operation, operation},
};
use crate::{
    domain::problem::{ErrorCode, Problem},
    formats::{
        graph::{Graph, Node, Op, Tensor},
        shapes,
    },
};

/// A weight that some node reads.
pub struct Weight<'g> {
    /// Its name in the graph.
    pub name: &'g str,
    /// The variable that it is.
    pub value: String,
    /// The name in the state dictionary.
    pub path: String,
    pub tensor: &'g Tensor,
    /// Trained, and not a statistic or a constant.
    pub is_parameter: bool,
}

pub struct Program<'g> {
    pub graph: &'g Graph,
    pub weights: Vec<Weight<'g>>,
    pub calls: Vec<(&'g Node, Operation)>,
    /// Variables by the names of values.
    variables: HashMap<&'g str, String>,
}

impl<'g> Program<'g> {
    /// The program of a graph that [`super::prepare`] made ready.
    ///
    /// # Errors
    /// `invalid_model` where the shapes of the graph do not fit together, `internal` where a node has no operator of PyTorch's.
    pub fn of(graph: &'g Graph) -> Result<Self, Problem> {
        let mut extents = shapes::infer(graph, 1)?;
        extents.extend(graph.weights.iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone())));
        let mut calls = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            let call = operation(node, &extents).ok_or_else(|| {
                let detail = format!("{} has no operator of PyTorch's.", shapes::describe(node));
                Problem::new(ErrorCode::Internal, format!("The student cannot be written: {detail}"))
            })?;
            calls.push((node, call));
        }
        let mut names = Names::default();
        let mut variables = HashMap::new();
        // The ports first: their names are what the teacher's callers know.
        for port in [&graph.input.name, &graph.output.name] {
            variables.insert(port.as_str(), names.variable(port));
        }
        for output in graph.nodes.iter().flat_map(|node| &node.outputs) {
            variables.entry(output.as_str()).or_insert_with(|| names.variable(output));
        }
        let weights = weights(graph, &mut names);
        variables.extend(weights.iter().map(|weight| (weight.name, weight.value.clone())));
        Ok(Self { graph, weights, calls, variables })
    }

    /// The variable of a value or a weight.
    pub fn variable(&self, name: &str) -> String {
        self.variables.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }
}

/// The weights that nodes read, parameters first as PyTorch has them.
fn weights<'g>(graph: &'g Graph, names: &mut Names) -> Vec<Weight<'g>> {
    let read: HashSet<&str> = graph.nodes.iter().flat_map(|node| node.inputs.iter().map(String::as_str)).collect();
    let parameters = parameters(graph);
    let mut paths = Names::default();
    let mut used: Vec<(&String, &Tensor)> =
        graph.weights.iter().filter(|(name, _)| read.contains(name.as_str())).collect();
    used.sort_by_key(|(name, _)| !parameters.contains(name.as_str()));
    let weight = |(name, tensor): (&'g String, &'g Tensor)| {
        let is_parameter = parameters.contains(name.as_str());
        let path = paths.path(name);
        let kind = if is_parameter { "p" } else { "b" };
        Weight { name, value: names.variable(&format!("{kind}_{path}")), path, tensor, is_parameter }
    };
    used.into_iter().map(weight).collect()
}

/// Names of weights that layers learn.
fn parameters(graph: &Graph) -> HashSet<&str> {
    let learned = |node: &'_ Node| match node.op {
        Op::Conv { .. } | Op::ConvTranspose { .. } | Op::Gemm { .. } | Op::MatMul => 1..3,
        Op::BatchNorm { .. } | Op::LayerNorm { .. } | Op::InstanceNorm { .. } => 1..3,
        Op::Binary(_) => 0..2,
        _ => 0..0,
    };
    let inputs = graph.nodes.iter().flat_map(|node| {
        let range = learned(node);
        node.inputs.iter().skip(range.start).take(range.len())
    });
    let float =
        |name: &&String| graph.weights.get(*name).is_some_and(|tensor| tensor.as_f32().is_some() && tensor.len() > 1);
    inputs.filter(float).map(String::as_str).collect()
}
