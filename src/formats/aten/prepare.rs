//! Makes each node of a graph one call: what has no operator of its own becomes several nodes that have.

use super::write::Extents;
use crate::formats::{
    free_names::FreeNames,
    graph::{Binary, Data, Graph, Node, Op, PadMode, Tensor, Window},
};

/// The same network, of nodes that are one call each, as far as there are such.
///
/// `extents` are those of the graph's values for one example.
pub fn prepare(graph: &Graph, extents: &Extents) -> Graph {
    let mut ready = Graph { nodes: Vec::with_capacity(graph.nodes.len()), ..graph.clone() };
    let mut writer = Writer { graph: &mut ready, names: graph.names().cloned().collect(), extents };
    for node in &graph.nodes {
        writer.node(node);
    }
    ready
}

struct Writer<'g> {
    graph: &'g mut Graph,
    names: FreeNames,
    extents: &'g Extents,
}

impl Writer<'_> {
    fn node(&mut self, node: &Node) {
        match &node.op {
            Op::Conv { window, groups } if window.pads_begin != window.pads_end => {
                let (x, window) = self.padded(node, window, 0.0);
                self.replaced(node, x, Op::Conv { window, groups: *groups });
            }
            Op::MaxPool { window } if is_wide(window) => {
                let (x, window) = self.padded(node, window, f32::MIN);
                self.replaced(node, x, Op::MaxPool { window });
            }
            Op::AveragePool { window, count_include_pad: true } if is_wide(window) => {
                let (x, window) = self.padded(node, window, 0.0);
                self.replaced(node, x, Op::AveragePool { window, count_include_pad: true });
            }
            Op::AveragePool { window, count_include_pad: false } if is_wide(window) => self.mean_of_real(node, window),
            Op::Gather { axis, indices, shape } if shape.len() == 1 => self.picked(node, *axis, indices),
            Op::Gemm { alpha, beta, trans_b } => self.product(node, (*alpha, *beta), *trans_b),
            Op::Slice { axes, starts, ends, steps } => {
                let cuts = (0..axes.len()).map(|at| (axes[at], starts[at], ends[at], steps[at])).collect();
                self.cuts(node, cuts);
            }
            Op::HardSigmoid { alpha, beta } if *alpha != 1.0 / 6.0 || *beta != 0.5 => {
                let x = self.scaled(node, &node.inputs[0], *alpha);
                let beta = self.number(node, *beta);
                let sum = self.step(node, Op::Binary(Binary::Add), vec![x, beta]);
                self.replaced(node, sum, Op::Clip { min: Some(0.0), max: Some(1.0) });
            }
            Op::PRelu => self.slopes(node),
            _ => self.graph.nodes.push(node.clone()),
        }
    }

    fn fresh(&mut self, node: &Node, what: &str) -> String {
        self.names.give(&format!("{}_{what}", node.outputs.first().map_or("", String::as_str)))
    }

    fn constant(&mut self, node: &Node, what: &str, tensor: Tensor) -> String {
        let name = self.fresh(node, what);
        self.graph.weights.insert(name.clone(), tensor);
        name
    }

    fn number(&mut self, node: &Node, number: f32) -> String {
        self.constant(node, "number", Tensor { shape: vec![], data: Data::F32(vec![number]) })
    }

    /// A node on the way to `node`'s result.
    fn step(&mut self, node: &Node, op: Op, inputs: Vec<String>) -> String {
        let output = self.fresh(node, "part");
        self.graph.nodes.push(Node { name: node.name.clone(), op, inputs, outputs: vec![output.clone()] });
        output
    }

    fn scaled(&mut self, node: &Node, x: &str, factor: f32) -> String {
        if factor == 1.0 {
            return x.to_owned();
        }
        let factor = self.number(node, factor);
        self.step(node, Op::Binary(Binary::Mul), vec![x.to_owned(), factor])
    }

    /// `node` with another operator and first input.
    fn replaced(&mut self, node: &Node, x: String, op: Op) {
        let mut node = Node { op, ..node.clone() };
        node.inputs[0] = x;
        self.graph.nodes.push(node);
    }

    /// The window's padding as a node of its own, and the window without it.
    fn padded(&mut self, node: &Node, window: &Window, value: f32) -> (String, Window) {
        let pads = |pads: &[usize]| [0, 0].into_iter().chain(pads.iter().map(|pad| *pad as i64)).collect();
        let (begin, end) = (pads(&window.pads_begin), pads(&window.pads_end));
        let x = self.step(node, Op::Pad { begin, end, mode: PadMode::Constant, value }, vec![node.inputs[0].clone()]);
        let none = vec![0; window.kernel.len()];
        (x, Window { pads_begin: none.clone(), pads_end: none, ..window.clone() })
    }

    /// PyTorch's `linear` knows no factors, and its `addmm` no transposes.
    fn product(&mut self, node: &Node, (alpha, beta): (f32, f32), trans_b: bool) {
        let bias = node.inputs.get(2).filter(|name| !name.is_empty()).cloned();
        let plain = alpha == 1.0 && (beta == 1.0 || bias.is_none());
        let is_vector = |name: &String| self.graph.weights.get(name).is_some_and(|tensor| tensor.shape.len() == 1);
        if plain && (bias.is_none() || bias.as_ref().is_some_and(is_vector)) {
            self.graph.nodes.push(Node { op: Op::Gemm { alpha, beta: 1.0, trans_b }, ..node.clone() });
            return;
        }
        let mut b = node.inputs[1].clone();
        if trans_b {
            b = self.step(node, Op::Transpose { perm: vec![1, 0] }, vec![b]);
        }
        let Some(bias) = bias else {
            let product = self.step(node, Op::MatMul, vec![node.inputs[0].clone(), b]);
            let factor = self.number(node, alpha);
            let inputs = vec![product, factor];
            self.graph.nodes.push(Node { op: Op::Binary(Binary::Mul), inputs, ..node.clone() });
            return;
        };
        let product = self.step(node, Op::MatMul, vec![node.inputs[0].clone(), b]);
        let (product, bias) = (self.scaled(node, &product, alpha), self.scaled(node, &bias, beta));
        self.graph.nodes.push(Node { op: Op::Binary(Binary::Add), inputs: vec![product, bias], ..node.clone() });
    }

    /// One axis at a time; PyTorch slices forward only, so a slice backward picks elements.
    fn cuts(&mut self, node: &Node, cuts: Vec<(usize, i64, i64, i64)>) {
        let mut x = node.inputs[0].clone();
        let last = cuts.len().saturating_sub(1);
        for (index, (axis, start, end, step)) in cuts.into_iter().enumerate() {
            let op = if step > 0 {
                Op::Slice { axes: vec![axis], starts: vec![start], ends: vec![end], steps: vec![step] }
            } else {
                let next = |at: &i64| at.checked_add(step);
                let indices: Vec<i64> =
                    std::iter::successors(Some(start), next).take_while(|at| *at > end && *at >= 0).collect();
                let output = if index == last { node.outputs.clone() } else { vec![self.fresh(node, "part")] };
                let cut = Node { inputs: vec![x], outputs: output.clone(), ..node.clone() };
                self.picked(&cut, axis, &indices);
                x = output.into_iter().next().unwrap_or_default();
                continue;
            };
            if index == last {
                self.replaced(node, x, op);
                return;
            }
            x = self.step(node, op, vec![x]);
        }
    }

    /// max(x, 0) + slope · min(x, 0): PyTorch's own operator takes its slopes in another shape.
    fn slopes(&mut self, node: &Node) {
        let x = &node.inputs[0];
        let above = self.step(node, Op::Clip { min: Some(0.0), max: None }, vec![x.clone()]);
        let below = self.step(node, Op::Clip { min: None, max: Some(0.0) }, vec![x.clone()]);
        let slope = node.inputs.get(1).cloned().unwrap_or_default();
        let below = self.step(node, Op::Binary(Binary::Mul), vec![below, slope]);
        self.graph.nodes.push(Node { op: Op::Binary(Binary::Add), inputs: vec![above, below], ..node.clone() });
    }

    /// The mean over real elements alone: the mean over all that a window covers, times how many times more those are.
    fn mean_of_real(&mut self, node: &Node, window: &Window) {
        let Some(extents) = self.extents.get(&node.inputs[0]).and_then(|shape| shape.get(2..)) else { return };
        let counts: Vec<Vec<f32>> =
            extents.iter().enumerate().map(|(axis, extent)| shares(window, axis, *extent)).collect();
        let shape: Vec<usize> = [1, 1].into_iter().chain(counts.iter().map(Vec::len)).collect();
        let shares = counts.iter().fold(vec![1.0f32], |outer, inner| {
            outer.iter().flat_map(|left| inner.iter().map(move |right| left * right)).collect()
        });
        let (x, window) = self.padded(node, window, 0.0);
        let mean = self.step(node, Op::AveragePool { window, count_include_pad: true }, vec![x]);
        let shares = self.constant(node, "shares", Tensor { shape, data: Data::F32(shares) });
        self.graph.nodes.push(Node { op: Op::Binary(Binary::Mul), inputs: vec![mean, shares], ..node.clone() });
    }

    /// Elements at regular places are a slice; others are cut out one by one.
    fn picked(&mut self, node: &Node, axis: usize, indices: &[i64]) {
        let slice = |start: i64, end: i64, step: i64| {
            let (axes, starts, ends, steps) = (vec![axis], vec![start], vec![end], vec![step]);
            Op::Slice { axes, starts, ends, steps }
        };
        let step = indices.windows(2).map(|pair| pair[1] - pair[0]).next().unwrap_or(1);
        let regular = step > 0 && indices.windows(2).all(|pair| pair[1] - pair[0] == step);
        if let (true, Some(first), Some(last)) = (regular, indices.first(), indices.last()) {
            return self.replaced(node, node.inputs[0].clone(), slice(*first, last + 1, step));
        }
        let parts: Vec<String> =
            indices.iter().map(|at| self.step(node, slice(*at, at + 1, 1), vec![node.inputs[0].clone()])).collect();
        self.graph.nodes.push(Node { op: Op::Concat { axis }, inputs: parts, ..node.clone() });
    }
}

/// For each step along an axis, how many times more elements the window has than lie within the input.
fn shares(window: &Window, axis: usize, extent: usize) -> Vec<f32> {
    let (kernel, stride, begin) = (window.kernel[axis], window.strides[axis], window.pads_begin[axis]);
    let room = (extent + begin + window.pads_end[axis]).saturating_sub(kernel);
    let real = |start: usize| (start + kernel).min(begin + extent).saturating_sub(start.max(begin));
    (0..=room / stride.max(1)).map(|step| kernel as f32 / real(step * stride).max(1) as f32).collect()
}

/// PyTorch pads pools alike on both sides, and by half a kernel at most.
fn is_wide(window: &Window) -> bool {
    window.pads_begin != window.pads_end
        || window.pads_begin.iter().zip(&window.kernel).any(|(pad, size)| *pad > size / 2)
}
