//! Facts about a graph: its cost, its layers, and what kind of teacher it is.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    graph::{Binary, Graph, Node, Op},
    shapes,
};
use crate::domain::{
    model::{LayerFacts, LayerKind},
    presets::TeacherKind,
    problem::Problem,
};

/// Multiply-accumulates of one forward pass of one input, and the layers that carry parameters, in order.
///
/// Convolutions and matrix products count; what is elementwise, pooled or normalised does not. Weights that several nodes
/// share are counted where they are first used, so that the layers' parameters add up to those of the graph, less single
/// numbers such as the 6 of a ReLU6.
///
/// # Errors
/// `invalid_model` where shapes do not fit.
pub fn facts(graph: &Graph) -> Result<(u64, Vec<LayerFacts>), Problem> {
    let extents = shapes::infer(graph, 1)?;
    let mut counted: BTreeSet<&str> = BTreeSet::new();
    let mut layers = Vec::new();
    let mut total = 0u64;
    for node in &graph.nodes {
        let macs = macs(graph, node, &extents);
        total = total.saturating_add(macs);
        layers.extend(layer(graph, node, macs, &mut counted));
    }
    Ok((total, layers))
}

/// Where the hyper-parameters of the reference differ.
pub fn kind(graph: &Graph) -> TeacherKind {
    let is_computed = |name: &String| !name.is_empty() && !graph.weights.contains_key(name);
    let is_residual = |node: &Node| {
        node.op == Op::Binary(Binary::Add) && node.inputs.iter().filter(|name| is_computed(name)).count() == 2
    };
    match graph.input.shape.len() {
        1 => TeacherKind::Tabular,
        _ if graph.nodes.iter().any(is_residual) => TeacherKind::ResidualImage,
        _ => TeacherKind::PlainImage,
    }
}

fn macs(graph: &Graph, node: &Node, extents: &BTreeMap<String, Vec<usize>>) -> u64 {
    let shape = |index: usize| -> &[usize] {
        let name = node.inputs.get(index).map_or("", String::as_str);
        extents.get(name).or_else(|| graph.weights.get(name).map(|tensor| &tensor.shape)).map_or(&[], Vec::as_slice)
    };
    let output = node.outputs.first().and_then(|name| extents.get(name)).map_or(&[][..], Vec::as_slice);
    let size = |shape: &[usize]| shape.iter().fold(1u64, |size, extent| size.saturating_mul(*extent as u64));
    match &node.op {
        // Every output element sums over the kernel and the input channels of its group.
        Op::Conv { .. } => size(output).saturating_mul(size(shape(1).get(1..).unwrap_or_default())),
        // Every input element is scattered over the kernel and the output channels of its group.
        Op::ConvTranspose { .. } => size(shape(0)).saturating_mul(size(shape(1).get(1..).unwrap_or_default())),
        Op::Gemm { .. } | Op::MatMul => size(output).saturating_mul(shape(0).last().copied().unwrap_or(0) as u64),
        _ => 0,
    }
}

/// The node as a layer, if it carries float parameters of more than one element.
fn layer<'g>(graph: &'g Graph, node: &'g Node, macs: u64, counted: &mut BTreeSet<&'g str>) -> Option<LayerFacts> {
    let constants = node.inputs.iter().filter_map(|name| graph.weights.get_key_value(name.as_str()));
    let parameters: Vec<_> = constants.filter(|(_, tensor)| tensor.as_f32().is_some() && tensor.len() > 1).collect();
    let (weight, tensor) = parameters.first()?;
    let mut shape = tensor.shape.clone();
    match node.op {
        Op::Gemm { trans_b: false, .. } | Op::MatMul if shape.len() == 2 => shape.swap(0, 1),
        Op::ConvTranspose { .. } => shape.swap(0, 1),
        _ => {}
    }
    let own = parameters.iter().filter(|(name, _)| counted.insert(name)).map(|(_, tensor)| tensor.len() as u64).sum();
    Some(LayerFacts {
        name: layer_name(node, weight),
        weight: (*weight).clone(),
        kind: layer_kind(&node.op, &tensor.shape),
        shape,
        parameters: own,
        macs,
    })
}

/// A layer's name: its weight's without `.weight`, as in a PyTorch state dict; the node's where the weight is called
/// otherwise, as the legacy exporter does when it folds batch norm (`onnx::Conv_42`).
pub fn layer_name(node: &Node, weight: &str) -> String {
    match weight.strip_suffix(".weight") {
        Some(name) => name.to_owned(),
        None if node.name.is_empty() => weight.to_owned(),
        None => node.name.clone(),
    }
}

fn layer_kind(op: &Op, weight: &[usize]) -> LayerKind {
    match op {
        Op::Conv { groups: 1, .. } => LayerKind::Conv,
        Op::Conv { .. } if weight.get(1) == Some(&1) => LayerKind::DepthwiseConv,
        Op::Conv { .. } => LayerKind::GroupedConv,
        Op::ConvTranspose { .. } => LayerKind::ConvTranspose,
        Op::Gemm { .. } => LayerKind::Linear,
        Op::MatMul if weight.len() == 2 => LayerKind::Linear,
        Op::BatchNorm { .. } => LayerKind::BatchNorm,
        _ => LayerKind::Other,
    }
}
