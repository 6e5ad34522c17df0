//! The graph as calls of operators, one for each node of a graph that [`super::prepare`] made ready.

use std::collections::BTreeMap;

use crate::formats::graph::{Binary, Node, Op, PadMode, Reduce, Unary, Window};

/// An argument of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Written {
    None,
    Value(String),
    Values(Vec<String>),
    Int(i64),
    Ints(Vec<i64>),
    Float(f64),
    Bool(bool),
    Text(&'static str),
}

/// An operator with its overload, and the arguments by their names. Those of `keywords` are given by name alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    pub operator: &'static str,
    pub args: Vec<(&'static str, Written)>,
    pub keywords: Vec<(&'static str, Written)>,
}

/// Extents of values for one example; those of weights among them.
pub type Extents = BTreeMap<String, Vec<usize>>;

/// The call that a node is; `None` where the node is not one call.
pub fn operation(node: &Node, extents: &Extents) -> Option<Operation> {
    let x = node.inputs.first()?;
    let rank = extents.get(x).map_or(0, Vec::len);
    match &node.op {
        Op::Conv { window, groups } => convolution(node, window, *groups),
        Op::ConvTranspose { window, groups, output_padding } => transposed(node, window, *groups, output_padding),
        Op::MaxPool { window } | Op::AveragePool { window, .. } => pool(node, window),
        Op::GlobalAveragePool if rank == 4 => {
            call("adaptive_avg_pool2d.default", [("self", value(x)), ("output_size", Written::Ints(vec![1, 1]))])
        }
        Op::GlobalAveragePool if rank == 3 => {
            call("adaptive_avg_pool1d.default", [("self", value(x)), ("output_size", Written::Ints(vec![1]))])
        }
        Op::GlobalMaxPool => {
            let axes = Written::Ints((2..rank as i64).collect());
            call("amax.default", [("self", value(x)), ("dim", axes), ("keepdim", Written::Bool(true))])
        }
        Op::Gemm { .. } => linear(node),
        Op::MatMul => call("matmul.default", [("self", value(x)), ("other", value(node.inputs.get(1)?))]),
        Op::BatchNorm { .. } | Op::LayerNorm { .. } | Op::InstanceNorm { .. } => norm(node, extents),
        Op::Binary(kind) => binary(*kind, x, node.inputs.get(1)?),
        Op::Unary(_)
        | Op::LeakyRelu { .. }
        | Op::Elu { .. }
        | Op::Selu { .. }
        | Op::HardSigmoid { .. }
        | Op::Gelu { .. }
        | Op::Clip { .. } => activation(node),
        Op::Softmax { axis } => call("softmax.int", [("self", value(x)), ("dim", int(*axis))]),
        Op::LogSoftmax { axis } => call("log_softmax.int", [("self", value(x)), ("dim", int(*axis))]),
        _ => movement(node, extents),
    }
}

fn call<const N: usize>(operator: &'static str, args: [(&'static str, Written); N]) -> Option<Operation> {
    Some(Operation { operator, args: args.to_vec(), keywords: Vec::new() })
}

fn value(name: &str) -> Written {
    if name.is_empty() { Written::None } else { Written::Value(name.to_owned()) }
}

fn int(number: usize) -> Written {
    Written::Int(number as i64)
}

fn ints(numbers: &[usize]) -> Written {
    Written::Ints(numbers.iter().map(|number| *number as i64).collect())
}

/// The shortest decimal that is this float32: 1e-5 and not 9.999999747378752e-6. That of the largest ones is beyond them as a
/// double, which PyTorch refuses.
fn float(number: f32) -> Written {
    let exact = f64::from(number);
    let short: f64 = number.to_string().parse().unwrap_or(exact);
    Written::Float(if short.abs() > f64::from(f32::MAX) && number.is_finite() { exact } else { short })
}

fn optional(node: &Node, index: usize) -> Written {
    node.inputs.get(index).map_or(Written::None, |name| value(name))
}

fn convolution(node: &Node, window: &Window, groups: usize) -> Option<Operation> {
    let operator = if window.kernel.len() == 1 { "conv1d.default" } else { "conv2d.default" };
    let args = [
        ("input", value(&node.inputs[0])),
        ("weight", optional(node, 1)),
        ("bias", optional(node, 2)),
        ("stride", ints(&window.strides)),
        ("padding", ints(&window.pads_begin)),
        ("dilation", ints(&window.dilations)),
        ("groups", int(groups)),
    ];
    if window.pads_begin == window.pads_end { call(operator, args) } else { None }
}

fn transposed(node: &Node, window: &Window, groups: usize, output_padding: &[usize]) -> Option<Operation> {
    let operator = if window.kernel.len() == 1 { "conv_transpose1d.default" } else { "conv_transpose2d.input" };
    let args = [
        ("input", value(&node.inputs[0])),
        ("weight", optional(node, 1)),
        ("bias", optional(node, 2)),
        ("stride", ints(&window.strides)),
        ("padding", ints(&window.pads_begin)),
        ("output_padding", ints(output_padding)),
        ("groups", int(groups)),
        ("dilation", ints(&window.dilations)),
    ];
    if window.pads_begin == window.pads_end { call(operator, args) } else { None }
}

fn pool(node: &Node, window: &Window) -> Option<Operation> {
    if window.pads_begin != window.pads_end {
        return None;
    }
    let flat = window.kernel.len() == 1;
    let mut args = vec![
        ("self", value(&node.inputs[0])),
        ("kernel_size", ints(&window.kernel)),
        ("stride", ints(&window.strides)),
        ("padding", ints(&window.pads_begin)),
    ];
    let ceil = ("ceil_mode", Written::Bool(window.ceil));
    let operator = match &node.op {
        // PyTorch has no such pool.
        Op::AveragePool { .. } if window.dilations.iter().any(|dilation| *dilation != 1) => return None,
        Op::AveragePool { count_include_pad, .. } => {
            args.extend([ceil, ("count_include_pad", Written::Bool(*count_include_pad))]);
            if flat { "avg_pool1d.default" } else { "avg_pool2d.default" }
        }
        _ => {
            args.extend([("dilation", ints(&window.dilations)), ceil]);
            if flat { "max_pool1d.default" } else { "max_pool2d.default" }
        }
    };
    Some(Operation { operator, args, keywords: Vec::new() })
}

fn linear(node: &Node) -> Option<Operation> {
    let (x, weight, bias) = (value(&node.inputs[0]), optional(node, 1), optional(node, 2));
    match node.op {
        Op::Gemm { trans_b: true, alpha: 1.0, beta: 1.0 } => {
            call("linear.default", [("input", x), ("weight", weight), ("bias", bias)])
        }
        Op::Gemm { trans_b: false, alpha, beta } if bias != Written::None => {
            let args = vec![("self", bias), ("mat1", x), ("mat2", weight)];
            let keywords = vec![("beta", float(beta)), ("alpha", float(alpha))];
            Some(Operation { operator: "addmm.default", args, keywords })
        }
        Op::Gemm { trans_b: false, alpha: 1.0, .. } => call("mm.default", [("self", x), ("mat2", weight)]),
        _ => None,
    }
}

fn norm(node: &Node, extents: &Extents) -> Option<Operation> {
    let (x, scale, bias) = (value(&node.inputs[0]), optional(node, 1), optional(node, 2));
    // cuDNN may be used where it is there.
    let (momentum, cudnn) = (Written::Float(0.1), Written::Bool(true));
    match &node.op {
        Op::BatchNorm { epsilon } => call(
            "batch_norm.default",
            [
                ("input", x),
                ("weight", scale),
                ("bias", bias),
                ("running_mean", optional(node, 3)),
                ("running_var", optional(node, 4)),
                ("training", Written::Bool(false)),
                ("momentum", momentum),
                ("eps", float(*epsilon)),
                ("cudnn_enabled", cudnn),
            ],
        ),
        Op::InstanceNorm { epsilon } => call(
            "instance_norm.default",
            [
                ("input", x),
                ("weight", scale),
                ("bias", bias),
                ("running_mean", Written::None),
                ("running_var", Written::None),
                ("use_input_stats", Written::Bool(true)),
                ("momentum", momentum),
                ("eps", float(*epsilon)),
                ("cudnn_enabled", cudnn),
            ],
        ),
        Op::LayerNorm { axis, epsilon } => {
            let shape = extents.get(&node.inputs[0])?.get(*axis..)?;
            let fits = node.inputs.iter().skip(1).all(|name| extents.get(name).is_some_and(|own| own == shape));
            let args = [
                ("input", x),
                ("normalized_shape", ints(shape)),
                ("weight", scale),
                ("bias", bias),
                ("eps", float(*epsilon)),
            ];
            if fits { call("layer_norm.default", args) } else { None }
        }
        _ => None,
    }
}

fn binary(kind: Binary, a: &str, b: &str) -> Option<Operation> {
    let (a, b) = (value(a), value(b));
    match kind {
        Binary::Add => call("add.Tensor", [("self", a), ("other", b)]),
        Binary::Sub => call("sub.Tensor", [("self", a), ("other", b)]),
        Binary::Mul => call("mul.Tensor", [("self", a), ("other", b)]),
        Binary::Div => call("div.Tensor", [("self", a), ("other", b)]),
        Binary::Pow => call("pow.Tensor_Tensor", [("self", a), ("exponent", b)]),
        Binary::Min => call("minimum.default", [("self", a), ("other", b)]),
        Binary::Max => call("maximum.default", [("self", a), ("other", b)]),
    }
}

fn unary(kind: Unary) -> &'static str {
    match kind {
        Unary::Relu => "relu.default",
        Unary::Sigmoid => "sigmoid.default",
        Unary::Tanh => "tanh.default",
        Unary::HardSwish => "hardswish.default",
        Unary::Erf => "erf.default",
        Unary::Exp => "exp.default",
        Unary::Log => "log.default",
        Unary::Sqrt => "sqrt.default",
        Unary::Reciprocal => "reciprocal.default",
        Unary::Abs => "abs.default",
        Unary::Neg => "neg.default",
        Unary::Softplus => "softplus.default",
        Unary::Floor => "floor.default",
        Unary::Ceil => "ceil.default",
        Unary::Cos => "cos.default",
        Unary::Sin => "sin.default",
    }
}

fn activation(node: &Node) -> Option<Operation> {
    let x = value(&node.inputs[0]);
    match &node.op {
        Op::Unary(kind) => call(unary(*kind), [("self", x)]),
        Op::LeakyRelu { alpha } => call("leaky_relu.default", [("self", x), ("negative_slope", float(*alpha))]),
        Op::Elu { alpha } => call("elu.default", [("self", x), ("alpha", float(*alpha))]),
        Op::Selu { alpha, gamma } => {
            call("elu.default", [("self", x), ("alpha", float(*alpha)), ("scale", float(*gamma))])
        }
        Op::HardSigmoid { alpha, beta } if *alpha == 1.0 / 6.0 && *beta == 0.5 => {
            call("hardsigmoid.default", [("self", x)])
        }
        Op::Gelu { tanh } => {
            let approximate = Written::Text(if *tanh { "tanh" } else { "none" });
            let keywords = vec![("approximate", approximate)];
            Some(Operation { operator: "gelu.default", args: vec![("self", x)], keywords })
        }
        Op::Clip { min, max } => {
            let bound = |bound: &Option<f32>| bound.map_or(Written::None, float);
            call("clamp.default", [("self", x), ("min", bound(min)), ("max", bound(max))])
        }
        _ => None,
    }
}

fn movement(node: &Node, extents: &Extents) -> Option<Operation> {
    let x = value(&node.inputs[0]);
    match &node.op {
        Op::Reshape { shape } => call("reshape.default", [("self", x), ("shape", Written::Ints(shape.clone()))]),
        Op::Transpose { perm } => call("permute.default", [("self", x), ("dims", ints(perm))]),
        Op::Concat { axis } => {
            call("cat.default", [("tensors", Written::Values(node.inputs.clone())), ("dim", int(*axis))])
        }
        Op::Slice { axes, starts, ends, steps } => {
            match (axes.as_slice(), starts.as_slice(), ends.as_slice(), steps.as_slice()) {
                ([axis], [start], [end], [step]) if *step > 0 => call(
                    "slice.Tensor",
                    [
                        ("self", x),
                        ("dim", int(*axis)),
                        ("start", Written::Int(*start)),
                        ("end", Written::Int(*end)),
                        ("step", Written::Int(*step)),
                    ],
                ),
                _ => None,
            }
        }
        Op::Split { axis, sizes } => {
            call("split_with_sizes.default", [("self", x), ("split_sizes", ints(sizes)), ("dim", int(*axis))])
        }
        Op::Gather { axis, indices, shape } => match (indices.as_slice(), shape.is_empty()) {
            ([index], true) => call("select.int", [("self", x), ("dim", int(*axis)), ("index", Written::Int(*index))]),
            _ => None,
        },
        Op::Pad { begin, end, mode, value } => pad(node, begin, end, *mode, *value),
        Op::Reduce { kind, axes, keep_dims } => {
            let operator = match kind {
                // Of one axis at a time, and nothing that an exporter leaves of a classifier.
                Reduce::Product => return None,
                Reduce::Mean => "mean.dim",
                Reduce::Sum => "sum.dim_IntList",
                Reduce::Max => "amax.default",
                Reduce::Min => "amin.default",
            };
            call(operator, [("self", x), ("dim", ints(axes)), ("keepdim", Written::Bool(*keep_dims))])
        }
        Op::Expand { shape } => {
            extents.get(&node.inputs[0]).filter(|own| own.len() <= shape.len())?;
            call("expand.default", [("self", x), ("size", Written::Ints(shape.clone()))])
        }
        _ => None,
    }
}

fn pad(node: &Node, begin: &[i64], end: &[i64], mode: PadMode, filler: f32) -> Option<Operation> {
    let (x, pairs) = (value(&node.inputs[0]), Written::Ints(mode.pairs(begin, end)));
    match mode {
        PadMode::Constant => call("constant_pad_nd.default", [("self", x), ("pad", pairs), ("value", float(filler))]),
        PadMode::Reflect => call("pad.default", [("self", x), ("pad", pairs), ("mode", Written::Text("reflect"))]),
        PadMode::Edge => call("pad.default", [("self", x), ("pad", pairs), ("mode", Written::Text("replicate"))]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_stay_within_float32() {
        assert_eq!(float(1e-5), Written::Float(1e-5));
        assert_eq!(float(f32::MIN), Written::Float(f64::from(f32::MIN)));
    }
}
