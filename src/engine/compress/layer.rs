//! The layers of a graph that carry a weight: their extents, their cost, and what keeps one from being decomposed.

use std::collections::{BTreeMap, BTreeSet};

use tch::Tensor;

use super::algebra;
use crate::{
    domain::{
        model::LayerKind,
        problem::{ErrorCode, Problem},
    },
    formats::{
        facts,
        graph::{Graph, Node, Op},
        shapes,
    },
};

/// Parameters, and multiply-accumulates for one input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub parameters: u64,
    pub macs: u64,
}

/// A node with a constant weight.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The weight's name without `.weight` where it ends so, as in a PyTorch state dict; the node's name elsewhere.
    pub name: String,
    /// Index of the node in the graph.
    pub node: usize,
    node_name: String,
    pub weight: String,
    pub kind: LayerKind,
    /// Output channels or features.
    pub outputs: usize,
    /// Input channels (of one group) or features.
    pub inputs: usize,
    /// Spatial extents of the kernel; empty for a linear layer.
    pub kernel: Vec<usize>,
    pub bias: usize,
    /// Places at which the layer is applied: pixels, or rows of a batched product, at its input and at its output.
    pub positions_in: u64,
    pub positions_out: u64,
    /// Why the layer cannot be decomposed, in words.
    pub obstacle: Option<String>,
}

impl Layer {
    fn is_called(&self, name: &str) -> bool {
        name == self.name || self.weight.strip_suffix(".weight") == Some(name)
    }

    /// Whether it is this node, of a graph in which the layer may have another place.
    pub fn is(&self, node: &Node) -> bool {
        node.name == self.node_name && node.inputs.get(1) == Some(&self.weight)
    }

    /// The same layer, of a graph in which it is another node.
    pub fn at(&self, node: usize) -> Self {
        Self { node, ..self.clone() }
    }

    /// Elements of the kernel at one pair of channels.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Whether the kernel is a matrix: two layers by singular value decomposition then beat three.
    pub fn is_matrix(&self) -> bool {
        self.taps() == 1
    }

    pub fn cost(&self) -> Cost {
        let weight = (self.outputs * self.inputs * self.taps()) as u64;
        // A transposed convolution scatters from each input position.
        let positions = if self.kind == LayerKind::ConvTranspose { self.positions_in } else { self.positions_out };
        Cost { parameters: weight + self.bias as u64, macs: weight * positions }
    }

    /// The weight in float64 as (out, in, kernel…), however the graph stores it.
    ///
    /// # Errors
    /// `invalid_weights` where it holds NaN or infinity.
    pub fn load(&self, graph: &Graph) -> Result<Tensor, Problem> {
        let constant = graph.weights.get(&self.weight).ok_or_else(|| {
            Problem::new(ErrorCode::Internal, format!("layer `{}` lost its weight `{}`", self.name, self.weight))
        })?;
        let weight = algebra::load(&self.weight, constant)?;
        let transposed = self.kind == LayerKind::Linear && stores_inputs_first(&graph.nodes[self.node].op);
        Ok(if transposed { weight.f_tr()?.f_contiguous()? } else { weight })
    }
}

/// Whether the weight of a linear layer is stored as (in, out).
fn stores_inputs_first(op: &Op) -> bool {
    !matches!(op, Op::Gemm { trans_b: true, .. })
}

/// Every convolution and linear layer of the graph, in the graph's order.
///
/// # Errors
/// `invalid_model` where a node's inputs do not fit together.
pub fn layers(graph: &Graph) -> Result<Vec<Layer>, Problem> {
    let uses = uses(graph);
    let shapes = shapes::infer(graph, 1)?;
    let mut layers: Vec<Layer> = (0..graph.nodes.len()).filter_map(|index| layer(graph, index, &uses)).collect();
    for layer in &mut layers {
        let node = &graph.nodes[layer.node];
        layer.positions_in = positions(shapes.get(&node.inputs[0]), layer.kind);
        layer.positions_out = positions(shapes.get(&node.outputs[0]), layer.kind);
    }
    Ok(layers)
}

/// Which layers a configuration means by `name`: those that are called so and, where none is, those whose node is. Exporters
/// number nodes on their own: torch.export calls the node of `linear_2` `linear_1`.
pub fn meant(layers: &[Layer], name: &str) -> Vec<bool> {
    let called: Vec<bool> = layers.iter().map(|layer| layer.is_called(name)).collect();
    if called.contains(&true) { called } else { layers.iter().map(|layer| layer.node_name == name).collect() }
}

/// How many inputs of nodes name each value.
pub(super) fn uses(graph: &Graph) -> BTreeMap<&str, usize> {
    let mut uses = BTreeMap::new();
    for name in graph.nodes.iter().flat_map(|node| &node.inputs) {
        *uses.entry(name.as_str()).or_default() += 1;
    }
    uses
}

/// Leaves out the constants that no node names.
pub(super) fn drop_unused(graph: &mut Graph) {
    let used: BTreeSet<String> = uses(graph).into_keys().map(str::to_owned).collect();
    graph.weights.retain(|name, _| used.contains(name));
}

fn layer(graph: &Graph, index: usize, uses: &BTreeMap<&str, usize>) -> Option<Layer> {
    let node = &graph.nodes[index];
    let weight = node.inputs.get(1)?;
    let constant = graph.weights.get(weight)?;
    constant.as_f32()?;
    let shape = &constant.shape;
    let (kind, outputs, inputs) = match &node.op {
        Op::Conv { groups, .. } => (conv_kind(*groups, *shape.get(1)?), *shape.first()?, *shape.get(1)?),
        Op::ConvTranspose { .. } => (LayerKind::ConvTranspose, *shape.get(1)?, *shape.first()?),
        Op::Gemm { trans_b: true, .. } => (LayerKind::Linear, *shape.first()?, *shape.get(1)?),
        Op::Gemm { .. } | Op::MatMul if shape.len() == 2 => (LayerKind::Linear, shape[1], shape[0]),
        _ => return None,
    };
    let bias = node.inputs.get(2).and_then(|name| graph.weights.get(name)).map_or(0, |bias| bias.len());
    Some(Layer {
        name: facts::layer_name(node, weight),
        node: index,
        node_name: node.name.clone(),
        weight: weight.clone(),
        kind,
        outputs,
        inputs,
        kernel: shape[2..].to_vec(),
        bias,
        positions_in: 0,
        positions_out: 0,
        obstacle: obstacle(kind, uses.get(weight.as_str()).copied().unwrap_or(0)),
    })
}

fn conv_kind(groups: usize, inputs_of_group: usize) -> LayerKind {
    match (groups, inputs_of_group) {
        (1, _) => LayerKind::Conv,
        (_, 1) => LayerKind::DepthwiseConv,
        _ => LayerKind::GroupedConv,
    }
}

fn obstacle(kind: LayerKind, uses: usize) -> Option<String> {
    let words = match kind {
        LayerKind::DepthwiseConv => "a depthwise convolution mixes no channels, so there is no channel rank to lower",
        LayerKind::GroupedConv => "a grouped convolution is not decomposed: its groups share no channel subspace",
        LayerKind::ConvTranspose => "a transposed convolution is not decomposed",
        _ if uses > 1 => "its weight is shared with another layer",
        _ => return None,
    };
    Some(words.to_owned())
}

/// Places at which a layer is applied to a value of this shape: pixels of (N, C, spatial…) for a convolution, rows of
/// (…, features) for a linear layer. N is 1, and some formats fold the axes between into it: (N · rows, features).
fn positions(shape: Option<&Vec<usize>>, kind: LayerKind) -> u64 {
    let shape = shape.map_or(&[][..], Vec::as_slice);
    let axes = match kind {
        LayerKind::Linear => shape.get(..shape.len().saturating_sub(1)),
        _ => shape.get(2..),
    };
    axes.unwrap_or_default().iter().product::<usize>() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::graph::{Port, Tensor as Constant};

    /// x (N, 3, 2) → rows (N · 3, 2) → linear → (N, 12): as the PyTorch formats write a linear layer of a sequence.
    #[test]
    fn a_linear_layer_on_folded_rows_is_applied_to_each() {
        let node = |op, inputs: &[&str], output: &str| Node {
            name: output.to_owned(),
            op,
            inputs: inputs.iter().map(|&name| name.to_owned()).collect(),
            outputs: vec![output.to_owned()],
        };
        let nodes = vec![
            node(Op::Reshape { shape: vec![-1, 2] }, &["x"], "rows"),
            node(Op::Gemm { alpha: 1.0, beta: 1.0, trans_b: true }, &["rows", "fc.weight"], "h"),
            node(Op::Reshape { shape: vec![-1, 12] }, &["h"], "y"),
        ];
        let port = |name: &str, shape: &[usize]| Port { name: name.to_owned(), shape: shape.to_vec() };
        let weights = [("fc.weight".to_owned(), Constant::f32(vec![4, 2], vec![1.0; 8]))].into();
        let graph = Graph {
            input: port("x", &[3, 2]),
            layout: Default::default(),
            output: port("y", &[12]),
            nodes,
            weights,
            opset: 17,
            metadata: [].into(),
        };
        let layer = &layers(&graph).unwrap()[0];
        assert_eq!((layer.positions_in, layer.positions_out, layer.cost().macs), (3, 3, 24));
        assert_eq!(facts::facts(&graph).unwrap().0, 24);
    }
}
