//! Models that take images with their channels last, as those of Keras and TensorFlow do. A graph takes (N, C, H, W): what such
//! a file does to its images before it has their channels first is done to turned ones here, and what is written from the graph
//! takes images as the file did.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
};

use super::{
    array::Array,
    fold,
    free_names::FreeNames,
    graph::{Graph, Node, Op, Tensor},
    imported::Imported,
    shapes,
};
use crate::domain::layout::Layout;

/// From (N, H, W, C) to (N, C, H, W).
const TURN: [usize; 4] = [0, 3, 1, 2];
/// How many channels images have: grey, colours, and colours with opacity.
const CHANNELS: [usize; 3] = [1, 3, 4];

/// For a model of which it cannot be seen.
pub const REMEDY: &str = "Export the model with its channels first (tf2onnx: --inputs-as-nchw with the input's name), or so that \
    it begins with a Transpose to (N, C, H, W).";

/// Gives the graph of a file with channels last images (C, H, W), where its nodes show that it has them last: where they put
/// them first, and before that do nothing but what is done to each value alone. Of others that look so, it warns.
pub fn settle(mut imported: Imported) -> Imported {
    if looks_channels_last(&imported.graph) {
        match Beginning::of(&imported.graph) {
            Some(beginning) => beginning.turn(&mut imported.graph),
            None => imported.warnings.extend(doubt(&imported.graph)),
        }
    }
    imported
}

/// What is to be said of a graph that takes images (C, H, W) by what it declares, and more likely takes (H, W, C).
pub fn doubt(graph: &Graph) -> Option<String> {
    let (name, shape) = (&graph.input.name, &graph.input.shape);
    let [channels, height, width] = shape[..] else { return None };
    looks_channels_last(graph).then(|| {
        format!(
            "The input \"{name}\" is {shape:?}, and is taken for {channels} channels of {height} x {width} pixels. If the last \
             axis is that of the channels, what is generated is no image. {REMEDY}"
        )
    })
}

/// The graph with the input that its file declares, to be written.
pub fn as_declared(graph: &Graph) -> Cow<'_, Graph> {
    if graph.layout.is_channels_first() {
        return Cow::Borrowed(graph);
    }
    let mut declared = graph.clone();
    let input = &graph.input.name;
    let turned = graph.names().cloned().collect::<FreeNames>().give(&format!("{input}/channels_first"));
    for name in declared.nodes.iter_mut().flat_map(|node| &mut node.inputs).filter(|name| *name == input) {
        name.clone_from(&turned);
    }
    let (op, inputs) = (Op::Transpose { perm: TURN.to_vec() }, vec![input.clone()]);
    declared.nodes.insert(0, Node { name: turned.clone(), op, inputs, outputs: vec![turned] });
    declared.input.shape = graph.declared_shape();
    declared.layout = Layout::ChannelsFirst;
    Cow::Owned(declared)
}

/// The network as its file declares it where a normalisation has a value for each of the channels that come first there, and
/// not for each of those that were taken for channels: series of one value at a time, (N, C, T, 1), look like grey images.
pub fn by_normalisation(imported: Imported, channels: Option<usize>) -> Imported {
    let graph = &imported.graph;
    let first = |shape: &[usize]| shape.first().copied();
    let is_declared = channels.is_some() && channels == first(&graph.declared_shape());
    if !is_declared || channels == first(&graph.input.shape) {
        return imported;
    }
    Imported { graph: as_declared(graph).into_owned(), ..imported }
}

fn looks_channels_last(graph: &Graph) -> bool {
    // So few pixels are rather a count of channels.
    let is_side = |extent: usize| extent > 4;
    matches!(graph.input.shape[..], [height, width, channels]
        if is_side(height) && is_side(width) && CHANNELS.contains(&channels))
}

/// What a graph does to images (N, H, W, C) until it has them as (N, C, H, W).
#[derive(Default)]
struct Beginning {
    /// The places of the nodes that put the channels first.
    turns: HashSet<usize>,
    /// Nodes before those by their places, as they are for turned images.
    before: HashMap<usize, Op>,
    /// Constants of the nodes before, turned.
    constants: BTreeMap<String, Tensor>,
}

impl Beginning {
    /// `None` where a node needs the channels last.
    fn of(graph: &Graph) -> Option<Self> {
        let shapes = shapes::infer(graph, 1).ok()?;
        let mut found = Self::default();
        let mut images: HashSet<&str> = HashSet::from([graph.input.name.as_str()]);
        for (place, node) in graph.nodes.iter().enumerate() {
            if !node.inputs.iter().any(|name| images.contains(name.as_str())) {
                continue;
            }
            let extents = node.inputs.first().and_then(|name| shapes.get(name)).map_or(&[][..], Vec::as_slice);
            match &node.op {
                op if puts_channels_first(op, extents) => {
                    found.turns.insert(place);
                }
                op if is_for_both(op, extents) => {}
                op => {
                    found.before.insert(place, turned(op)?);
                    for name in node.inputs.iter().filter(|name| !images.contains(name.as_str())) {
                        found.constants.insert(name.clone(), turned_constant(graph.weights.get(name)?)?);
                    }
                    images.extend(node.outputs.iter().map(String::as_str));
                }
            }
        }
        Some(found)
    }

    fn turn(self, graph: &mut Graph) {
        let Self { turns, mut before, constants } = self;
        let renamed = place_constants(graph, &before, constants);
        let mut sources: HashMap<String, String> = HashMap::new();
        let mut kept = Vec::with_capacity(graph.nodes.len());
        for (place, mut node) in std::mem::take(&mut graph.nodes).into_iter().enumerate() {
            if turns.contains(&place) {
                sources.extend(node.outputs.into_iter().zip(node.inputs));
                continue;
            }
            let op = before.remove(&place);
            let constants = op.as_ref().map(|_| &renamed);
            for name in &mut node.inputs {
                if let Some(other) = sources.get(name).or_else(|| constants?.get(name)) {
                    name.clone_from(other);
                }
            }
            node.op = op.unwrap_or(node.op);
            kept.push(node);
        }
        graph.nodes = kept;
        graph.layout = Layout::ChannelsLast;
        graph.input.shape = graph.layout.inside(&graph.input.shape);
    }
}

/// Puts turned constants in the places of the others; under other names, which it gives, where other nodes read those too.
fn place_constants(
    graph: &mut Graph,
    before: &HashMap<usize, Op>,
    constants: BTreeMap<String, Tensor>,
) -> HashMap<String, String> {
    let mut names: FreeNames = graph.names().cloned().collect();
    let others = graph.nodes.iter().enumerate().filter(|(place, _)| !before.contains_key(place));
    let elsewhere: HashSet<String> = others.flat_map(|(_, node)| node.inputs.iter().cloned()).collect();
    let mut renamed = HashMap::new();
    for (name, tensor) in constants {
        if !elsewhere.contains(&name) {
            graph.weights.insert(name, tensor);
            continue;
        }
        let other = names.give(&format!("{name}/channels_first"));
        graph.weights.insert(other.clone(), tensor);
        renamed.insert(name, other);
    }
    renamed
}

/// Whether an operator makes (N, C, H, W) of images (N, H, W, C), whose extents are these.
fn puts_channels_first(op: &Op, images: &[usize]) -> bool {
    match (op, images) {
        (Op::Transpose { perm }, _) => perm[..] == TURN,
        (Op::Reshape { shape }, &[_, height, width, 1]) => shape[..] == [-1, 1, height as i64, width as i64],
        _ => false,
    }
}

/// Whether an operator makes the same of (N, H, W, C) and of (N, C, H, W): rows of the pixels of grey images.
fn is_for_both(op: &Op, images: &[usize]) -> bool {
    matches!((op, images), (Op::Reshape { shape }, &[.., 1]) if matches!(shape[..], [-1, _]))
}

/// An operator on images (N, H, W, C), as it is on (N, C, H, W); `None` for one that does more than move pixels and compute
/// with each value alone.
fn turned(op: &Op) -> Option<Op> {
    match op {
        Op::Unary(_) | Op::Binary(_) | Op::Clip { .. } => Some(op.clone()),
        Op::Pad { begin, end, mode, value } if (begin[3], end[3]) == (0, 0) => {
            let turn = |pads: &[i64]| TURN.map(|axis| pads[axis]).to_vec();
            Some(Op::Pad { begin: turn(begin), end: turn(end), mode: *mode, value: *value })
        }
        Op::Slice { axes, starts, ends, steps } => {
            let axes = axes.iter().map(|axis| TURN.iter().position(|turned| turned == axis)).collect::<Option<_>>()?;
            Some(Op::Slice { axes, starts: starts.clone(), ends: ends.clone(), steps: steps.clone() })
        }
        _ => None,
    }
}

/// A constant that is broadcast to images (N, H, W, C), for (N, C, H, W).
fn turned_constant(tensor: &Tensor) -> Option<Tensor> {
    let values = tensor.as_f32()?;
    let missing = TURN.len().checked_sub(tensor.shape.len())?;
    if values.len() == 1 {
        return Some(tensor.clone());
    }
    let shape = std::iter::repeat_n(1, missing).chain(tensor.shape.iter().copied()).collect();
    let array = Array::floats(shape, values.to_vec());
    let turned = fold::apply(&Op::Transpose { perm: TURN.to_vec() }, &[&array]).ok()?;
    turned.into_iter().next()?.into_tensor()
}
