//! One graph operator as one ONNX node: the reverse of `ops`, for opset 17 and later.

use super::proto::{AttributeProto, NodeProto, attribute_proto::AttributeType};
use crate::formats::{
    free_names::FreeNames,
    graph::{Binary, Data, Graph, Node, Op, PadMode, Reduce, Tensor, Unary, Window},
    interpolation::{Coordinates, Interpolation, Resizing, Rounding, Stretch},
};

/// What writing one file needs: its opset, and the constants that attributes of ours are inputs of in ONNX.
pub struct Writer {
    opset: i64,
    names: FreeNames,
    constants: Vec<(String, Tensor)>,
}

impl Writer {
    pub fn new(graph: &Graph, opset: i64) -> Self {
        Self { opset, names: graph.names().cloned().collect(), constants: Vec::new() }
    }

    /// The constants that were made on the way, by name.
    pub fn constants(&self) -> &[(String, Tensor)] {
        &self.constants
    }

    fn constant(&mut self, node: &Node, what: &str, tensor: Tensor) -> String {
        let base = format!("{}/{what}", node.outputs.first().map_or("", String::as_str));
        let name = self.names.give(&base);
        self.constants.push((name.clone(), tensor));
        name
    }

    fn ints(&mut self, node: &Node, what: &str, values: impl IntoIterator<Item = i64>) -> String {
        let values: Vec<i64> = values.into_iter().collect();
        self.constant(node, what, Tensor { shape: vec![values.len()], data: Data::I64(values) })
    }

    fn scalar(&mut self, node: &Node, what: &str, value: f32) -> String {
        self.constant(node, what, Tensor { shape: vec![], data: Data::F32(vec![value]) })
    }
}

/// An operator's name, attributes, and the inputs that follow the node's own.
struct Written {
    op_type: &'static str,
    attributes: Vec<AttributeProto>,
    further: Vec<String>,
}

impl Written {
    fn plain(op_type: &'static str) -> Self {
        Self { op_type, attributes: Vec::new(), further: Vec::new() }
    }

    fn with(op_type: &'static str, attributes: Vec<AttributeProto>) -> Self {
        Self { op_type, attributes, further: Vec::new() }
    }

    fn taking(op_type: &'static str, further: Vec<String>) -> Self {
        Self { op_type, attributes: Vec::new(), further }
    }
}

/// Writes one node.
pub fn node(writer: &mut Writer, node: &Node) -> NodeProto {
    let Written { op_type, attributes, further } = operator(writer, node);
    NodeProto {
        op_type: Some(op_type.to_owned()),
        name: (!node.name.is_empty()).then(|| node.name.clone()),
        input: node.inputs.iter().cloned().chain(further).collect(),
        output: node.outputs.clone(),
        attribute: attributes,
        ..NodeProto::default()
    }
}

fn operator(writer: &mut Writer, node: &Node) -> Written {
    match &node.op {
        Op::Conv { window, groups } => Written::with("Conv", convolution(window, *groups)),
        Op::ConvTranspose { window, groups, output_padding } => {
            let padding = ints("output_padding", sizes(output_padding));
            Written::with("ConvTranspose", [convolution(window, *groups), vec![padding]].concat())
        }
        Op::MaxPool { window } => Written::with("MaxPool", [pooling(window), dilated(window)].concat()),
        Op::AveragePool { window, count_include_pad } => {
            let counted = int("count_include_pad", i64::from(*count_include_pad));
            let is_dilated = window.dilations.iter().any(|dilation| *dilation != 1);
            let dilated = if is_dilated { dilated(window) } else { vec![] };
            Written::with("AveragePool", [pooling(window), dilated, vec![counted]].concat())
        }
        Op::GlobalAveragePool => Written::plain("GlobalAveragePool"),
        Op::GlobalMaxPool => Written::plain("GlobalMaxPool"),
        Op::Gemm { alpha, beta, trans_b } => {
            let attributes = [float("alpha", *alpha), float("beta", *beta), int("transB", i64::from(*trans_b))];
            Written::with("Gemm", attributes.to_vec())
        }
        Op::MatMul => Written::plain("MatMul"),
        Op::BatchNorm { epsilon } => Written::with("BatchNormalization", vec![float("epsilon", *epsilon)]),
        Op::LayerNorm { axis, epsilon } => {
            Written::with("LayerNormalization", vec![int("axis", *axis as i64), float("epsilon", *epsilon)])
        }
        Op::InstanceNorm { epsilon } => Written::with("InstanceNormalization", vec![float("epsilon", *epsilon)]),
        Op::Softmax { axis } => Written::with("Softmax", vec![int("axis", *axis as i64)]),
        Op::LogSoftmax { axis } => Written::with("LogSoftmax", vec![int("axis", *axis as i64)]),
        Op::Unary(_) | Op::Binary(_) => Written::plain(elementwise(&node.op)),
        Op::LeakyRelu { .. }
        | Op::Elu { .. }
        | Op::Selu { .. }
        | Op::HardSigmoid { .. }
        | Op::Gelu { .. }
        | Op::PRelu
        | Op::Clip { .. } => activation(writer, node),
        _ => movement(writer, node),
    }
}

fn elementwise(op: &Op) -> &'static str {
    match op {
        Op::Unary(Unary::Relu) => "Relu",
        Op::Unary(Unary::Sigmoid) => "Sigmoid",
        Op::Unary(Unary::Tanh) => "Tanh",
        Op::Unary(Unary::HardSwish) => "HardSwish",
        Op::Unary(Unary::Erf) => "Erf",
        Op::Unary(Unary::Exp) => "Exp",
        Op::Unary(Unary::Log) => "Log",
        Op::Unary(Unary::Sqrt) => "Sqrt",
        Op::Unary(Unary::Reciprocal) => "Reciprocal",
        Op::Unary(Unary::Abs) => "Abs",
        Op::Unary(Unary::Neg) => "Neg",
        Op::Unary(Unary::Softplus) => "Softplus",
        Op::Unary(Unary::Floor) => "Floor",
        Op::Unary(Unary::Ceil) => "Ceil",
        Op::Unary(Unary::Cos) => "Cos",
        Op::Unary(Unary::Sin) => "Sin",
        Op::Binary(Binary::Add) => "Add",
        Op::Binary(Binary::Sub) => "Sub",
        Op::Binary(Binary::Mul) => "Mul",
        Op::Binary(Binary::Div) => "Div",
        Op::Binary(Binary::Pow) => "Pow",
        Op::Binary(Binary::Min) => "Min",
        Op::Binary(Binary::Max) => "Max",
        _ => "Identity",
    }
}

fn activation(writer: &mut Writer, node: &Node) -> Written {
    match &node.op {
        Op::LeakyRelu { alpha } => Written::with("LeakyRelu", vec![float("alpha", *alpha)]),
        Op::Elu { alpha } => Written::with("Elu", vec![float("alpha", *alpha)]),
        Op::Selu { alpha, gamma } => Written::with("Selu", vec![float("alpha", *alpha), float("gamma", *gamma)]),
        Op::HardSigmoid { alpha, beta } => {
            Written::with("HardSigmoid", vec![float("alpha", *alpha), float("beta", *beta)])
        }
        Op::Gelu { tanh } => Written::with("Gelu", vec![text("approximate", if *tanh { "tanh" } else { "none" })]),
        Op::Clip { min, max } => {
            let mut bound =
                |what, value: &Option<f32>| value.map_or_else(String::new, |value| writer.scalar(node, what, value));
            let mut bounds = vec![bound("min", min), bound("max", max)];
            // An absent last input is left out; one before a present input is the empty name.
            while bounds.last().is_some_and(String::is_empty) {
                bounds.pop();
            }
            Written::taking("Clip", bounds)
        }
        _ => Written::plain("PRelu"),
    }
}

fn movement(writer: &mut Writer, node: &Node) -> Written {
    match &node.op {
        Op::Reshape { shape } => Written::taking("Reshape", vec![writer.ints(node, "shape", shape.iter().copied())]),
        Op::Transpose { perm } => Written::with("Transpose", vec![ints("perm", sizes(perm))]),
        Op::Concat { axis } => Written::with("Concat", vec![int("axis", *axis as i64)]),
        Op::Slice { axes, starts, ends, steps } => {
            // Before the first element: -1 would be the last one.
            let ends = ends.iter().zip(steps).map(|(end, step)| if *step < 0 && *end < 0 { i64::MIN } else { *end });
            Written::taking(
                "Slice",
                vec![
                    writer.ints(node, "starts", starts.iter().copied()),
                    writer.ints(node, "ends", ends),
                    writer.ints(node, "axes", sizes(axes)),
                    writer.ints(node, "steps", steps.iter().copied()),
                ],
            )
        }
        Op::Split { axis, sizes: parts } => Written {
            op_type: "Split",
            attributes: vec![int("axis", *axis as i64)],
            further: vec![writer.ints(node, "split", sizes(parts))],
        },
        Op::Gather { axis, indices, shape } => {
            let tensor = Tensor { shape: shape.clone(), data: Data::I64(indices.clone()) };
            let further = vec![writer.constant(node, "indices", tensor)];
            Written { op_type: "Gather", attributes: vec![int("axis", *axis as i64)], further }
        }
        Op::Pad { begin, end, mode, value } => {
            let mode = match mode {
                PadMode::Constant => "constant",
                PadMode::Reflect => "reflect",
                PadMode::Edge => "edge",
            };
            let further =
                vec![writer.ints(node, "pads", begin.iter().chain(end).copied()), writer.scalar(node, "value", *value)];
            Written { op_type: "Pad", attributes: vec![text("mode", mode)], further }
        }
        Op::Reduce { kind, axes, keep_dims } => reduce(writer, node, *kind, axes, *keep_dims),
        Op::Expand { shape } => {
            // Broadcasting by 1 keeps an extent, the free batch's too.
            let shape = shape.iter().map(|extent| if *extent == -1 { 1 } else { *extent });
            Written::taking("Expand", vec![writer.ints(node, "shape", shape)])
        }
        Op::Resize { stretches, resizing } => resize(writer, node, stretches, resizing),
        _ => Written::plain("Identity"),
    }
}

/// By scales where all were given so, and by sizes otherwise.
fn resize(writer: &mut Writer, node: &Node, stretches: &[Stretch], resizing: &Resizing) -> Written {
    let coordinates = match resizing.coordinates {
        Coordinates::HalfPixel => "half_pixel",
        Coordinates::HalfPixelSymmetric => "half_pixel_symmetric",
        Coordinates::PytorchHalfPixel => "pytorch_half_pixel",
        Coordinates::AlignCorners => "align_corners",
        Coordinates::Asymmetric => "asymmetric",
    };
    let mut attributes = vec![
        text("coordinate_transformation_mode", coordinates),
        int("exclude_outside", i64::from(resizing.exclude_outside)),
        int("antialias", i64::from(resizing.antialias)),
        ints("axes", stretches.iter().map(|stretch| stretch.axis as i64)),
    ];
    match resizing.interpolation {
        Interpolation::Nearest(rounding) => {
            let rounding = match rounding {
                Rounding::PreferFloor => "round_prefer_floor",
                Rounding::PreferCeil => "round_prefer_ceil",
                Rounding::Floor => "floor",
                Rounding::Ceil => "ceil",
            };
            attributes.extend([text("mode", "nearest"), text("nearest_mode", rounding)]);
        }
        Interpolation::Linear => attributes.push(text("mode", "linear")),
        Interpolation::Cubic { a } => attributes.extend([text("mode", "cubic"), float("cubic_coeff_a", a)]),
    }
    let scales: Option<Vec<f32>> = stretches.iter().map(|stretch| stretch.scale).collect();
    let further = match scales {
        Some(scales) => {
            let tensor = Tensor { shape: vec![scales.len()], data: Data::F32(scales) };
            vec![String::new(), writer.constant(node, "scales", tensor)]
        }
        None => {
            let sizes = stretches.iter().map(|stretch| stretch.extent as i64);
            vec![String::new(), String::new(), writer.ints(node, "sizes", sizes)]
        }
    };
    Written { op_type: "Resize", attributes, further }
}

/// The axes are an input of ReduceSum at every opset that is written, and of the others since opset 18.
fn reduce(writer: &mut Writer, node: &Node, kind: Reduce, axes: &[usize], keep_dims: bool) -> Written {
    let op_type = match kind {
        Reduce::Mean => "ReduceMean",
        Reduce::Sum => "ReduceSum",
        Reduce::Product => "ReduceProd",
        Reduce::Max => "ReduceMax",
        Reduce::Min => "ReduceMin",
    };
    let keep = int("keepdims", i64::from(keep_dims));
    if kind == Reduce::Sum || writer.opset >= 18 {
        return Written { op_type, attributes: vec![keep], further: vec![writer.ints(node, "axes", sizes(axes))] };
    }
    Written::with(op_type, vec![ints("axes", sizes(axes)), keep])
}

fn convolution(window: &Window, groups: usize) -> Vec<AttributeProto> {
    [sliding(window), dilated(window), vec![int("group", groups as i64)]].concat()
}

fn pooling(window: &Window) -> Vec<AttributeProto> {
    [sliding(window), vec![int("ceil_mode", i64::from(window.ceil))]].concat()
}

fn dilated(window: &Window) -> Vec<AttributeProto> {
    vec![ints("dilations", sizes(&window.dilations))]
}

fn sliding(window: &Window) -> Vec<AttributeProto> {
    let pads = window.pads_begin.iter().chain(&window.pads_end).map(|pad| *pad as i64);
    vec![ints("kernel_shape", sizes(&window.kernel)), ints("strides", sizes(&window.strides)), ints("pads", pads)]
}

fn sizes(values: &[usize]) -> impl Iterator<Item = i64> {
    values.iter().map(|value| *value as i64)
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(kind as i32), ..AttributeProto::default() }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, AttributeType::Float) }
}

fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: Some(value.as_bytes().to_vec()), ..attribute(name, AttributeType::String) }
}

fn ints(name: &str, values: impl IntoIterator<Item = i64>) -> AttributeProto {
    AttributeProto { ints: values.into_iter().collect(), ..attribute(name, AttributeType::Ints) }
}
