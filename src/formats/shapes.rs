//! Shapes of the values of a graph: one set of rules, for a batch that is a number and for one that is free.

mod layers;
mod moves;

pub use moves::broadcast;

use std::collections::BTreeMap;

use super::{
    dim::{Dim, show},
    graph::{Graph, Node, Op},
    refusal::Refusal,
};
use crate::domain::problem::{ErrorCode, Problem};

/// The shape of the graph's input and of every node's output, for a batch of `batch`.
///
/// # Errors
/// `invalid_model`, naming the node whose inputs do not fit together.
pub fn infer(graph: &Graph, batch: usize) -> Result<BTreeMap<String, Vec<usize>>, Problem> {
    let mut shapes: BTreeMap<&str, Vec<Dim>> = BTreeMap::new();
    let input = std::iter::once(&batch).chain(&graph.input.shape).map(|extent| from_usize(*extent));
    shapes.insert(&graph.input.name, input.collect::<Option<_>>().ok_or_else(|| too_large(&graph.input.name))?);
    for (name, tensor) in &graph.weights {
        let shape = tensor.shape.iter().map(|extent| from_usize(*extent)).collect::<Option<_>>();
        shapes.insert(name, shape.ok_or_else(|| too_large(name))?);
    }
    for node in &graph.nodes {
        let outputs = of_node(node, &shapes).map_err(|refusal| {
            Problem::new(ErrorCode::InvalidModel, format!("{}: {}.", describe(node), refusal.reason())).param("model")
        })?;
        shapes.extend(node.outputs.iter().map(String::as_str).zip(outputs));
    }
    let computed = shapes.into_iter().filter(|(name, _)| !graph.weights.contains_key(*name));
    let numbers = computed.map(|(name, dims)| {
        let extents = dims.into_iter().map(Dim::extent).collect::<Option<Vec<usize>>>();
        Ok((name.to_owned(), extents.ok_or_else(|| too_large(name))?))
    });
    numbers.collect()
}

fn of_node(node: &Node, shapes: &BTreeMap<&str, Vec<Dim>>) -> Result<Vec<Vec<Dim>>, Refusal> {
    let mut inputs = Vec::with_capacity(node.inputs.len());
    for name in &node.inputs {
        inputs.push(match name.as_str() {
            "" => None,
            name => Some(
                shapes.get(name).ok_or_else(|| format!("its input \"{name}\" is not defined before it"))?.as_slice(),
            ),
        });
    }
    let outputs = outputs(&node.op, &inputs)?;
    outputs.iter().try_for_each(|shape| nonempty(shape))?;
    Ok(outputs)
}

/// A node in words: its name, or what it makes.
pub fn describe(node: &Node) -> String {
    match (node.name.as_str(), node.outputs.first()) {
        ("", Some(output)) => format!("the node that makes \"{output}\""),
        (name, _) => format!("node \"{name}\""),
    }
}

fn from_usize(extent: usize) -> Option<Dim> {
    i64::try_from(extent).ok().map(Dim::fixed)
}

fn too_large(name: &str) -> Problem {
    Problem::new(ErrorCode::InvalidModel, format!("The extents of \"{name}\" are too large.")).param("model")
}

/// The shapes of what `op` makes of inputs of these shapes; an absent optional input is `None`.
///
/// # Errors
/// Why the inputs do not fit, in words without the node's name.
pub fn outputs(op: &Op, inputs: &[Option<&[Dim]>]) -> Result<Vec<Vec<Dim>>, Refusal> {
    let inputs = Inputs(inputs);
    if let Op::Split { axis, sizes } = op {
        return moves::split(inputs.get(0)?, *axis, sizes);
    }
    let shape = match op {
        Op::Conv { window, groups } => layers::conv(inputs, window, *groups),
        Op::ConvTranspose { window, groups, output_padding } => {
            layers::conv_transpose(inputs, window, *groups, output_padding)
        }
        Op::MaxPool { window } | Op::AveragePool { window, .. } => layers::pool(inputs.get(0)?, window),
        Op::GlobalAveragePool | Op::GlobalMaxPool => layers::global_pool(inputs.get(0)?),
        Op::Gemm { trans_b, .. } => layers::gemm(inputs, *trans_b),
        Op::MatMul => layers::mat_mul(inputs),
        Op::BatchNorm { .. } => layers::channel_norm(inputs, 4),
        Op::InstanceNorm { .. } => layers::channel_norm(inputs, 2),
        Op::LayerNorm { axis, .. } => layers::layer_norm(inputs, *axis),
        Op::PRelu => layers::prelu(inputs),
        Op::Unary(_)
        | Op::LeakyRelu { .. }
        | Op::Elu { .. }
        | Op::Selu { .. }
        | Op::HardSigmoid { .. }
        | Op::Gelu { .. }
        | Op::Clip { .. } => Ok(inputs.get(0)?.to_vec()),
        Op::Binary(_) => moves::broadcast(inputs.get(0)?, inputs.get(1)?),
        Op::Softmax { axis } | Op::LogSoftmax { axis } => {
            within_example(inputs.get(0)?, *axis)?;
            Ok(inputs.get(0)?.to_vec())
        }
        Op::Reshape { shape } => moves::reshape(inputs.get(0)?, shape),
        Op::Transpose { perm } => moves::transpose(inputs.get(0)?, perm),
        Op::Concat { axis } => moves::concat(inputs, *axis),
        Op::Slice { axes, starts, ends, steps } => moves::slice(inputs.get(0)?, axes, starts, ends, steps),
        Op::Gather { axis, indices, shape } => moves::gather(inputs.get(0)?, *axis, indices, shape),
        Op::Pad { begin, end, mode, .. } => moves::pad(inputs.get(0)?, begin, end, *mode),
        Op::Reduce { axes, keep_dims, .. } => moves::reduce(inputs.get(0)?, axes, *keep_dims),
        Op::Expand { shape } => moves::expand(inputs.get(0)?, shape),
        Op::Resize { stretches, .. } => moves::resize(inputs.get(0)?, stretches),
        Op::Opaque(module) => layers::opaque(inputs.get(0)?, module.classes),
        Op::Split { .. } => unreachable!("handled above: it is the one operator with several outputs"),
    }?;
    Ok(vec![shape])
}

/// Refuses a shape without elements, for one batch or for every batch.
///
/// # Errors
/// The shape, in words.
pub fn nonempty(shape: &[Dim]) -> Result<(), Refusal> {
    match shape.iter().find(|dim| dim.at(1).is_none_or(|extent| extent < 1) || dim.batch < 0) {
        Some(_) => Err(format!("it makes the empty shape {}", show(shape)).into()),
        None => Ok(()),
    }
}

/// The input shapes of one node.
#[derive(Clone, Copy)]
struct Inputs<'a>(&'a [Option<&'a [Dim]>]);

impl<'a> Inputs<'a> {
    fn get(self, index: usize) -> Result<&'a [Dim], Refusal> {
        self.optional(index).ok_or_else(|| format!("its input {index} is missing").into())
    }

    fn optional(self, index: usize) -> Option<&'a [Dim]> {
        self.0.get(index).copied().flatten()
    }
}

/// The extent of `axis`, which must be a number: an operation along the batch would mix examples.
fn within_example(dims: &[Dim], axis: usize) -> Result<i64, Refusal> {
    let dim = dims.get(axis).ok_or_else(|| format!("it has no axis {axis} in {}", show(dims)))?;
    dim.number().ok_or_else(|| Refusal::Unsupported(format!("it works along the batch, axis {axis} of {}", show(dims))))
}
