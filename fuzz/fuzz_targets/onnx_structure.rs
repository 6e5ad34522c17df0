//! Valid ONNX files with changes that keep them decodable: nodes, attributes, shapes, weights and where they lie. This
//! reaches further than changed bytes, most of which end in the decoder.

#![no_main]

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use kegd::formats::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, StringStringEntryProto, TensorProto,
    attribute_proto::AttributeType,
    tensor_proto::DataLocation,
    tensor_shape_proto::{Dimension, dimension},
    type_proto,
};
use kegd_fuzz::{digest, options};
use libfuzzer_sys::fuzz_target;
use prost::Message;

/// Small files that between them have most operators.
const MODELS: &[&[u8]] = &[
    include_bytes!("../../tests/fixtures/mlp_legacy14.onnx"),
    include_bytes!("../../tests/fixtures/dense_legacy14.onnx"),
    include_bytes!("../../tests/fixtures/shuffle_legacy14.onnx"),
    include_bytes!("../../tests/fixtures/gates_dynamo20_fixed.onnx"),
    include_bytes!("../../tests/fixtures/softmax_legacy15.onnx"),
    include_bytes!("../../tests/fixtures/patches_legacy14.onnx"),
    include_bytes!("../../tests/fixtures/mobilenet_legacy14.onnx"),
];

const OPERATORS: &[&str] = &[
    "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Constant", "ConstantOfShape", "Conv", "Expand",
    "Flatten", "Gather", "Gemm", "GlobalAveragePool", "Identity", "MatMul", "MaxPool", "Mul", "Pad", "ReduceMean", "Relu",
    "Reshape", "Shape", "Slice", "Softmax", "Split", "Squeeze", "Transpose", "Unsqueeze", "Where",
];

const ATTRIBUTES: &[&str] = &[
    "axis", "axes", "perm", "kernel_shape", "pads", "strides", "dilations", "group", "ceil_mode", "count_include_pad",
    "keepdims", "to", "value", "split", "num_outputs", "transA", "transB", "alpha", "beta", "epsilon", "mode", "start", "end",
    "auto_pad", "allowzero", "noop_with_empty_axes", "exclusive", "largest",
];

#[derive(Arbitrary, Debug)]
struct Input {
    model: u8,
    shape: Option<Vec<u16>>,
    changes: Vec<Change>,
}

/// An integer that files are wrong about.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Number {
    Small(i8),
    Word(i32),
    Any(i64),
    Largest,
    Smallest,
    Power(u8),
}

impl Number {
    fn value(self) -> i64 {
        match self {
            Self::Small(value) => value.into(),
            Self::Word(value) => value.into(),
            Self::Any(value) => value,
            Self::Largest => i64::MAX,
            Self::Smallest => i64::MIN,
            Self::Power(exponent) => 1 << (exponent % 63),
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Change {
    /// One of all integers of attributes, constants and shapes.
    Integer { which: u16, value: Number },
    Attribute { node: u8, name: u8, value: Value },
    DropAttribute { node: u8, which: u8 },
    Operator { node: u8, operator: u8 },
    /// One node reads what another one does.
    Wires { node: u8, from: u8 },
    Input { node: u8, at: u8, from: u8, output: u8 },
    DropInput { node: u8, at: u8 },
    Output { node: u8, at: u8, from: u8 },
    DropNode { node: u8 },
    RepeatNode { node: u8, at: u8 },
    MoveNode { node: u8, at: u8 },
    Type { tensor: u8, data_type: i8 },
    Rank { tensor: u8, dims: Vec<Number> },
    Cut { tensor: u8, bytes: u16 },
    /// The weights of a tensor lie in a side file.
    External { tensor: u8, offset: Option<Number>, length: Option<Number>, name: u8 },
    InputShape { dims: Vec<Option<Number>> },
    OutputShape { dims: Vec<Option<Number>> },
    Opset { version: Number },
    Subgraph { node: u8, from: u8 },
}

#[derive(Arbitrary, Debug)]
enum Value {
    Int(Number),
    Ints(Vec<Number>),
    Float(f32),
    Floats(Vec<f32>),
    String(u8),
    Tensor(u8),
}

fn at<T>(list: &mut [T], which: impl Into<usize>) -> Option<&mut T> {
    let count = list.len().max(1);
    list.get_mut(which.into() % count)
}

fn change(graph: &mut GraphProto, files: &mut BTreeMap<String, Vec<u8>>, change: &Change) -> Option<()> {
    let nodes = graph.node.len();
    if nodes == 0 {
        return None;
    }
    match change {
        Change::Integer { which, value } => {
            let mut found = integers(graph);
            **at(&mut found, *which)? = value.value();
        }
        Change::Attribute { node, name, value } => {
            let tensors = graph.initializer.clone();
            let attribute = attribute(ATTRIBUTES[usize::from(*name) % ATTRIBUTES.len()], value, &tensors);
            let node = at(&mut graph.node, *node)?;
            node.attribute.retain(|own| own.name() != attribute.name());
            node.attribute.push(attribute);
        }
        Change::DropAttribute { node, which } => {
            let attributes = &mut at(&mut graph.node, *node)?.attribute;
            let count = attributes.len().max(1);
            (!attributes.is_empty()).then(|| attributes.remove(usize::from(*which) % count))?;
        }
        Change::Operator { node, operator } => {
            let operator = OPERATORS[usize::from(*operator) % OPERATORS.len()];
            at(&mut graph.node, *node)?.op_type = Some(operator.to_owned());
        }
        Change::Wires { node, from } => {
            let inputs = at(&mut graph.node, *from)?.input.clone();
            at(&mut graph.node, *node)?.input = inputs;
        }
        Change::Input { node, at: place, from, output } => {
            let name = at(&mut at(&mut graph.node, *from)?.output, *output)?.clone();
            let inputs = &mut at(&mut graph.node, *node)?.input;
            match inputs.get_mut(usize::from(*place) % 6) {
                Some(input) => *input = name,
                None => inputs.push(name),
            }
        }
        Change::DropInput { node, at: place } => at(&mut at(&mut graph.node, *node)?.input, *place)?.clear(),
        Change::Output { node, at: place, from } => {
            let name = at(&mut graph.node, *from)?.output.first()?.clone();
            *at(&mut at(&mut graph.node, *node)?.output, *place)? = name;
        }
        Change::DropNode { node } => drop(graph.node.remove(usize::from(*node) % nodes)),
        Change::RepeatNode { node, at: place } => {
            let node = at(&mut graph.node, *node)?.clone();
            graph.node.insert(usize::from(*place) % nodes, node);
        }
        Change::MoveNode { node, at: place } => {
            let node = graph.node.remove(usize::from(*node) % nodes);
            graph.node.insert(usize::from(*place) % nodes, node);
        }
        Change::Type { tensor, data_type } => at(&mut graph.initializer, *tensor)?.data_type = Some((*data_type).into()),
        Change::Rank { tensor, dims } => {
            at(&mut graph.initializer, *tensor)?.dims = dims.iter().map(|number| number.value()).collect();
        }
        Change::Cut { tensor, bytes } => at(&mut graph.initializer, *tensor)?.raw_data.as_mut()?.truncate((*bytes).into()),
        Change::External { tensor, offset, length, name } => {
            external(at(&mut graph.initializer, *tensor)?, files, (*offset, *length), *name);
        }
        Change::InputShape { dims } => shape(graph.input.first_mut()?, dims)?,
        Change::OutputShape { dims } => shape(graph.output.first_mut()?, dims)?,
        Change::Subgraph { node, from } => {
            let inner = GraphProto { node: vec![at(&mut graph.node, *from)?.clone()], ..Default::default() };
            let attribute = AttributeProto {
                name: Some("then_branch".to_owned()),
                r#type: Some(AttributeType::Graph.into()),
                g: Some(inner),
                ..Default::default()
            };
            at(&mut graph.node, *node)?.attribute.push(attribute);
        }
        Change::Opset { .. } => {}
    }
    Some(())
}

fn attribute(name: &str, value: &Value, tensors: &[TensorProto]) -> AttributeProto {
    let mut attribute = AttributeProto { name: Some(name.to_owned()), ..Default::default() };
    let kind = match value {
        Value::Int(number) => {
            attribute.i = Some(number.value());
            AttributeType::Int
        }
        Value::Ints(numbers) => {
            attribute.ints = numbers.iter().map(|number| number.value()).collect();
            AttributeType::Ints
        }
        Value::Float(number) => {
            attribute.f = Some(*number);
            AttributeType::Float
        }
        Value::Floats(numbers) => {
            attribute.floats.clone_from(numbers);
            AttributeType::Floats
        }
        Value::String(which) => {
            let words = ["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET", "constant", "reflect", "edge", "wrap"];
            attribute.s = Some(words[usize::from(*which) % words.len()].as_bytes().to_vec());
            AttributeType::String
        }
        Value::Tensor(which) => {
            attribute.t = tensors.get(usize::from(*which) % tensors.len().max(1)).cloned();
            AttributeType::Tensor
        }
    };
    attribute.r#type = Some(kind.into());
    attribute
}

fn external(
    tensor: &mut TensorProto,
    files: &mut BTreeMap<String, Vec<u8>>,
    (offset, length): (Option<Number>, Option<Number>),
    name: u8,
) {
    let names = ["weights.bin", "./weights.bin", "../weights.bin", "/etc/passwd", "", "weights.bin\0"];
    let name = names[usize::from(name) % names.len()];
    let bytes = tensor.raw_data.take().unwrap_or_default();
    let file = files.entry("weights.bin".to_owned()).or_default();
    let start = file.len() as i64;
    file.extend(&bytes);
    let entry = |key: &str, value: String| StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) };
    tensor.data_location = Some(DataLocation::External.into());
    tensor.external_data = vec![
        entry("location", name.to_owned()),
        entry("offset", offset.map_or(start, Number::value).to_string()),
        entry("length", length.map_or(bytes.len() as i64, Number::value).to_string()),
    ];
}

fn shape(port: &mut kegd::formats::onnx::proto::ValueInfoProto, dims: &[Option<Number>]) -> Option<()> {
    let Some(type_proto::Value::TensorType(tensor)) = port.r#type.as_mut()?.value.as_mut() else { return None };
    let dim = |number: &Option<Number>| Dimension {
        value: Some(match number {
            Some(number) => dimension::Value::DimValue(number.value()),
            None => dimension::Value::DimParam("n".to_owned()),
        }),
        ..Default::default()
    };
    tensor.shape.as_mut()?.dim = dims.iter().take(8).map(dim).collect();
    Some(())
}

/// Every integer that says how a node works, or how large something is.
fn integers(graph: &mut GraphProto) -> Vec<&mut i64> {
    let mut found: Vec<&mut i64> = Vec::new();
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        found.extend(attribute.i.as_mut());
        found.extend(&mut attribute.ints);
        found.extend(attribute.t.iter_mut().flat_map(|tensor| tensor.dims.iter_mut().chain(&mut tensor.int64_data)));
    }
    for tensor in &mut graph.initializer {
        found.extend(tensor.dims.iter_mut().chain(&mut tensor.int64_data));
    }
    found
}

/// Constants as lists of numbers instead of raw bytes, so that they can be changed one by one.
fn unpack(graph: &mut GraphProto) {
    let attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute).filter_map(|one| one.t.as_mut());
    for tensor in attributes.chain(&mut graph.initializer).filter(|tensor| tensor.data_type == Some(7)) {
        if let Some(bytes) = tensor.raw_data.take() {
            tensor.int64_data = bytes.as_chunks::<8>().0.iter().copied().map(i64::from_le_bytes).collect();
        }
    }
}

fuzz_target!(|input: Input| {
    let mut model = ModelProto::decode(MODELS[usize::from(input.model) % MODELS.len()]).expect("a fixture");
    let mut files = BTreeMap::new();
    let Some(graph) = model.graph.as_mut() else { return };
    unpack(graph);
    for one in input.changes.iter().take(12) {
        let _ = change(graph, &mut files, one);
    }
    for one in &input.changes {
        if let (Change::Opset { version }, Some(opset)) = (one, model.opset_import.first_mut()) {
            opset.version = Some(version.value());
        }
    }
    let shape = input.shape.as_deref().map(|shape| &shape[..shape.len().min(4)]);
    digest(&model.encode_to_vec(), &options(shape, files));
});
