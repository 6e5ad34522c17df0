//! The one intermediate representation of every format: nodes in topological order over named values.
//!
//! The batch stays free; every other extent is a number. Shape arithmetic and constants are folded by the importer, so
//! that every operator here has static, typed attributes and can run on tensors with gradients.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use serde::Serialize;

use super::{
    interpolation::{Resizing, Stretch},
    shapes,
};
use crate::domain::layout::Layout;

/// A dense constant, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub data: Data,
}

/// Elements of a constant. Float16, bfloat16 and double become `F32`; every integer becomes `I64`.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    F32(Vec<f32>),
    I64(Vec<i64>),
    Bool(Vec<bool>),
}

impl Tensor {
    pub fn f32(shape: Vec<usize>, data: Vec<f32>) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), data.len());
        Self { shape, data: Data::F32(data) }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            Data::F32(values) => Some(values),
            _ => None,
        }
    }

    pub fn as_i64(&self) -> Option<&[i64]> {
        match &self.data {
            Data::I64(values) => Some(values),
            _ => None,
        }
    }
}

/// The one input or the one output. `shape` is without the batch, which is axis 0 and free.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Port {
    pub name: String,
    pub shape: Vec<usize>,
}

/// Sliding-window geometry in one or two spatial dimensions (`kernel.len()`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Window {
    pub kernel: Vec<usize>,
    pub strides: Vec<usize>,
    pub dilations: Vec<usize>,
    /// Padding before, for each spatial axis.
    pub pads_begin: Vec<usize>,
    /// Padding after, for each spatial axis.
    pub pads_end: Vec<usize>,
    /// Round output extents up (average pooling that counts its padding only; the importer turns others into padding).
    pub ceil: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PadMode {
    Constant,
    Reflect,
    Edge,
}

impl PadMode {
    /// Pairs of begin and end as PyTorch takes them: the last axis first, leading axes without padding left out. Of images,
    /// reflect and edge want both of the last two axes at least.
    pub fn pairs(self, begin: &[i64], end: &[i64]) -> Vec<i64> {
        let rank = begin.len();
        let first = begin.iter().zip(end).position(|pair| pair != (&0, &0)).unwrap_or(rank);
        let first = if self != Self::Constant && first < rank && rank > 3 { first.min(rank - 2) } else { first };
        (first..rank).rev().flat_map(|axis| [begin[axis], end[axis]]).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unary {
    Relu,
    Sigmoid,
    Tanh,
    HardSwish,
    Erf,
    Exp,
    Log,
    Sqrt,
    Reciprocal,
    Abs,
    Neg,
    Softplus,
    Floor,
    Ceil,
    Cos,
    Sin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Min,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduce {
    Mean,
    Sum,
    Product,
    Max,
    Min,
}

/// An operator with static attributes. Comments give its inputs, in order; axes count the batch as axis 0 and are never
/// negative.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// x (N, C, spatial…), weight (out, in / groups, kernel…), bias (out)?
    Conv { window: Window, groups: usize },
    /// x, weight (in, out / groups, kernel…), bias?
    ConvTranspose { window: Window, groups: usize, output_padding: Vec<usize> },
    /// x
    MaxPool { window: Window },
    /// x
    AveragePool { window: Window, count_include_pad: bool },
    /// x; keeps the spatial axes with extent 1.
    GlobalAveragePool,
    /// x; keeps the spatial axes with extent 1.
    GlobalMaxPool,
    /// a (N, K), b (K, M) or (M, K) where `trans_b`, c?: alpha · a · b + beta · c. `a` is never transposed.
    Gemm { alpha: f32, beta: f32, trans_b: bool },
    /// a, b
    MatMul,
    /// x, scale, bias, mean, variance: always inference.
    BatchNorm { epsilon: f32 },
    /// x, scale, bias?
    LayerNorm { axis: usize, epsilon: f32 },
    /// x, scale, bias
    InstanceNorm { epsilon: f32 },
    /// x
    Unary(Unary),
    /// a, b, broadcast as in NumPy.
    Binary(Binary),
    /// x
    LeakyRelu { alpha: f32 },
    /// x
    Elu { alpha: f32 },
    /// x
    Selu { alpha: f32, gamma: f32 },
    /// x
    HardSigmoid { alpha: f32, beta: f32 },
    /// x
    Gelu { tanh: bool },
    /// x, slope
    PRelu,
    /// x
    Clip { min: Option<f32>, max: Option<f32> },
    /// x
    Softmax { axis: usize },
    /// x
    LogSoftmax { axis: usize },
    /// x. One entry is -1, the free batch, or none is.
    Reshape { shape: Vec<i64> },
    /// x
    Transpose { perm: Vec<usize> },
    /// x…
    Concat { axis: usize },
    /// x; `starts`/`ends` clamped to the extent, `steps` not 0. With a negative step, an end of -1 is before the first
    /// element.
    Slice { axes: Vec<usize>, starts: Vec<i64>, ends: Vec<i64>, steps: Vec<i64> },
    /// x, to as many outputs as `sizes`.
    Split { axis: usize, sizes: Vec<usize> },
    /// x; `indices` are constant and not negative; `shape` is theirs (empty: a scalar, which drops the axis).
    Gather { axis: usize, indices: Vec<i64>, shape: Vec<usize> },
    /// x; `begin` and `end` for every axis, the batch's being 0.
    Pad { begin: Vec<i64>, end: Vec<i64>, mode: PadMode, value: f32 },
    /// x
    Reduce { kind: Reduce, axes: Vec<usize>, keep_dims: bool },
    /// x; -1 keeps the extent, which is what the free batch has.
    Expand { shape: Vec<i64> },
    /// x; axes that are not named stay.
    Resize { stretches: Vec<Stretch>, resizing: Resizing },
    /// x: a teacher that is asked and not understood.
    Opaque(Opaque),
}

/// A TorchScript module with operators that have no rule here: it can answer, and nothing in it can be compressed.
#[derive(Clone, PartialEq, Serialize)]
pub struct Opaque {
    /// The archive, as it was uploaded.
    #[serde(skip)]
    pub archive: Arc<[u8]>,
    pub classes: usize,
    /// Elements of its parameters, as far as it says.
    pub parameters: u64,
}

impl fmt::Debug for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opaque({} bytes, {} classes)", self.archive.len(), self.classes)
    }
}

/// One application of an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub name: String,
    pub op: Op,
    /// Names of values; an optional input that is absent before a present one is the empty string.
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
}

/// A checked classifier: one float input, one output (N, classes), every name defined before it is used.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// Of images (C, H, W), in whichever layout the file has them.
    pub input: Port,
    /// How the file takes images, and what is written of this graph.
    pub layout: Layout,
    pub output: Port,
    pub nodes: Vec<Node>,
    /// Constants by name: the weights, and folded values.
    pub weights: BTreeMap<String, Tensor>,
    /// The uploaded file's opset of the default domain; what is written back has the same or a higher one.
    pub opset: i64,
    /// What an ONNX file says of itself, by key, such as the names of its classes. It is carried along, and means nothing here.
    pub metadata: BTreeMap<String, String>,
}

impl Graph {
    /// Shape of one input as the file declares it, without the batch.
    pub fn declared_shape(&self) -> Vec<usize> {
        self.layout.outside(&self.input.shape)
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.output.shape.first().copied().unwrap_or(0)
    }

    /// Number of float parameters that the graph uses.
    pub fn parameters(&self) -> u64 {
        let used: BTreeSet<&str> = self.nodes.iter().flat_map(|node| node.inputs.iter().map(String::as_str)).collect();
        let weights = self
            .weights
            .iter()
            .filter(|(name, tensor)| used.contains(name.as_str()) && tensor.as_f32().is_some())
            .map(|(_, tensor)| tensor.len() as u64);
        let opaque =
            self.nodes.iter().map(|node| if let Op::Opaque(module) = &node.op { module.parameters } else { 0 });
        weights.chain(opaque).sum()
    }

    /// Whether it can but be asked.
    pub fn is_opaque(&self) -> bool {
        self.nodes.iter().any(|node| matches!(node.op, Op::Opaque(_)))
    }

    /// Names of all its values and weights, some more than once.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        let values = self.nodes.iter().flat_map(|node| node.inputs.iter().chain(&node.outputs));
        values.chain(self.weights.keys()).chain([&self.input.name, &self.output.name])
    }

    /// The graph without a last softmax (or log-softmax), whose output is then the logits; `None` where it has none.
    pub fn logits(&self) -> Option<Self> {
        let Last { softmax, reader } = self.last_softmax()?;
        let input = &self.nodes[softmax].inputs[0];
        let mut graph = self.clone();
        match reader {
            Some(reader) => graph.nodes[reader].inputs[0].clone_from(input),
            None => graph.output.name.clone_from(input),
        }
        graph.nodes.remove(softmax);
        Some(graph)
    }

    /// The last softmax of logits (N, classes), where the network ends in one of whatever shape.
    pub fn softmax(&self) -> Option<Op> {
        match self.nodes[self.last_softmax()?.softmax].op {
            Op::LogSoftmax { .. } => Some(Op::LogSoftmax { axis: 1 }),
            _ => Some(Op::Softmax { axis: 1 }),
        }
    }

    fn last_softmax(&self) -> Option<Last> {
        let makes = |name: &String| self.nodes.iter().rposition(|node| node.outputs.contains(name));
        let (mut softmax, mut reader) = (makes(&self.output.name)?, None);
        while let Op::Reshape { .. } = self.nodes[softmax].op {
            reader = Some(softmax);
            softmax = makes(&self.nodes[softmax].inputs[0])?;
        }
        let node = &self.nodes[softmax];
        let (Op::Softmax { axis } | Op::LogSoftmax { axis }) = node.op else { return None };
        (reader.is_none() || self.is_over_classes(axis, &node.outputs[0])).then_some(Last { softmax, reader })
    }

    /// Whether `axis` of a value that one node reads has the classes, and its other axes nothing.
    fn is_over_classes(&self, axis: usize, value: &str) -> bool {
        let reads = self.nodes.iter().flat_map(|node| &node.inputs).filter(|input| *input == value).count();
        let extents = shapes::infer(self, 1).ok().and_then(|mut shapes| shapes.remove(value)).unwrap_or_default();
        let classes = self.classes();
        reads == 1 && extents.get(axis) == Some(&classes) && extents.iter().product::<usize>() == classes
    }
}

/// Numbers of nodes: of the last softmax, and of the first of the reshapes behind it, as of (N, C, 1, 1) to (N, C).
struct Last {
    softmax: usize,
    reader: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// x (N, 6) → reshape to `shape` → softmax over `axis` → reshape to the output (N, 6).
    fn ends_in(shape: &[i64], axis: usize) -> Graph {
        let node = |op, input: &str, output: &str| Node {
            name: output.to_owned(),
            op,
            inputs: vec![input.to_owned()],
            outputs: vec![output.to_owned()],
        };
        let port = |name: &str| Port { name: name.to_owned(), shape: vec![6] };
        let nodes = vec![
            node(Op::Reshape { shape: shape.to_vec() }, "x", "scores"),
            node(Op::Softmax { axis }, "scores", "shares"),
            node(Op::Reshape { shape: vec![-1, 6] }, "shares", "y"),
        ];
        Graph {
            input: port("x"),
            layout: Layout::default(),
            output: port("y"),
            nodes,
            weights: BTreeMap::new(),
            opset: 17,
            metadata: BTreeMap::new(),
        }
    }

    #[test]
    fn a_reshape_may_follow_the_softmax_over_the_classes() {
        let logits = ends_in(&[-1, 6, 1, 1], 1).logits().unwrap();
        assert_eq!(logits.output.name, "y");
        assert_eq!(logits.nodes.iter().map(|node| node.inputs[0].as_str()).collect::<Vec<_>>(), ["x", "scores"]);
        assert_eq!(ends_in(&[-1, 1, 6], 2).softmax(), Some(Op::Softmax { axis: 1 }));
    }

    #[test]
    fn a_softmax_over_anything_else_is_part_of_the_network() {
        for (shape, axis) in [(&[-1, 3, 2][..], 1), (&[-1, 3, 2], 2), (&[-1, 6, 1], 2)] {
            assert_eq!(ends_in(shape, axis).logits(), None, "{shape:?}, axis {axis}");
        }
        let mut read_twice = ends_in(&[-1, 6, 1], 1);
        read_twice.nodes[2].inputs.push("shares".to_owned());
        assert_eq!(read_twice.logits(), None);
    }
}
