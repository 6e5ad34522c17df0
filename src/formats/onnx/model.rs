//! The file's outer structure: that it decodes, which opset it is of, its one input and one output, and its names.

use std::collections::HashSet;

use prost::Message;

use super::{
    proto::{
        FunctionProto, GraphProto, ModelProto, NodeProto, StringStringEntryProto, ValueInfoProto,
        tensor_proto::DataType, tensor_shape_proto, type_proto,
    },
    wire::{self, MAX_FIELDS},
};
pub use crate::formats::problems::invalid;

use crate::domain::problem::{ErrorCode, Problem};

/// Opset versions of the default domain that the operators are implemented for.
pub const OPSETS: std::ops::RangeInclusive<i64> = 7..=23;
/// What scikit-learn's converter puts around probabilities, unless it is told not to.
const ZIPMAP: &str =
    "Convert it with probabilities as one matrix: skl2onnx.to_onnx(model, X, options={'zipmap': False}).";
/// More nodes than any classifier has: a bound for time and memory.
const MAX_NODES: usize = 100_000;

/// A decoded file whose outer structure is sound.
pub struct Model {
    pub graph: GraphProto,
    /// Operators that the file defines itself.
    pub functions: Vec<FunctionProto>,
    pub metadata: Vec<StringStringEntryProto>,
    pub opset: i64,
    pub input: PortInfo,
    pub output: PortInfo,
}

/// An input or output as the file declares it.
#[derive(Clone, Debug)]
pub struct PortInfo {
    pub name: String,
    pub data_type: DataType,
    /// Extents; `None` where they are symbolic. The whole is `None` where no shape is declared.
    pub shape: Option<Vec<Option<i64>>>,
}

/// Decodes and checks.
///
/// # Errors
/// `invalid_model`, or `not_a_classifier` where there is not one input and one output of scores.
pub fn read(bytes: &[u8]) -> Result<Model, Problem> {
    if wire::fields(bytes) > MAX_FIELDS {
        return Err(invalid(format!("The file has more than {MAX_FIELDS} names, numbers and other parts.")).hint(
            "No classifier has as many. Export it without what is noted beside its nodes: doc_string, metadata_props.",
        ));
    }
    let model = ModelProto::decode(bytes).map_err(|error| {
        invalid(format!("The file does not decode as ONNX: {error}.")).hint(
            "The file may be cut short: compare its size with the original, and try onnx.checker.check_model on it.",
        )
    })?;
    let opset = opset(&model)?;
    let graph = model.graph.ok_or_else(|| {
        invalid("The file has no graph in it.").hint("Save the whole model: onnx.save(model, \"model.onnx\").")
    })?;
    if graph.node.len() > MAX_NODES {
        return Err(invalid(format!("The graph has {} nodes; the limit is {MAX_NODES}.", graph.node.len())));
    }
    check_names(&graph)?;
    let constants = constants(&graph);
    let inputs: Vec<PortInfo> =
        graph.input.iter().filter(|input| !constants.contains(input.name())).map(PortInfo::of).collect();
    let outputs: Vec<PortInfo> = graph.output.iter().map(PortInfo::of).collect();
    let input = only(&inputs, "input", "inputs")?.clone();
    let output = scores(&outputs, &graph.node)?.clone();
    drop(constants);
    Ok(Model { graph, functions: model.functions, metadata: model.metadata_props, opset, input, output })
}

/// The one output, or the one matrix of floats beside labels, as of scikit-learn's classifiers.
fn scores<'a>(outputs: &'a [PortInfo], nodes: &[NodeProto]) -> Result<&'a PortInfo, Problem> {
    let (floats, others): (Vec<&PortInfo>, Vec<&PortInfo>) = outputs.iter().partition(|output| output.is_of_floats());
    if let [scores] = floats.as_slice()
        && scores.shape.as_ref().is_some_and(|shape| shape.len() == 2)
        && others.iter().all(|output| output.is_of_labels())
    {
        return Ok(scores);
    }
    only(outputs, "output", "outputs").map_err(|problem| {
        if nodes.iter().any(|node| node.op_type() == "ZipMap") { problem.hint(ZIPMAP) } else { problem }
    })
}

fn opset(model: &ModelProto) -> Result<i64, Problem> {
    let default = model.opset_import.iter().find(|import| matches!(import.domain(), "" | "ai.onnx"));
    let version = default.ok_or_else(|| {
        invalid("The file does not say which opset it uses.").hint("Files of ONNX 1.2 and later do; export it again.")
    })?;
    let version = version.version();
    if !OPSETS.contains(&version) {
        let (low, high) = (OPSETS.start(), OPSETS.end());
        return Err(invalid(format!("The model uses opset {version}; {low} to {high} are read."))
            .hint("Export it with opset_version=17, or use onnx.version_converter."));
    }
    Ok(version)
}

/// Names of initialisers. Until IR version 3, the graph's inputs list them too; they are no inputs all the same.
fn constants(graph: &GraphProto) -> HashSet<&str> {
    let sparse = graph.sparse_initializer.iter().filter_map(|tensor| tensor.values.as_ref());
    graph.initializer.iter().chain(sparse).map(|tensor| tensor.name()).collect()
}

/// Every value is made once, or the graph has no meaning.
fn check_names(graph: &GraphProto) -> Result<(), Problem> {
    let mut made: HashSet<&str> = HashSet::new();
    for tensor in &graph.initializer {
        if tensor.name().is_empty() || !made.insert(tensor.name()) {
            return Err(invalid(format!("Two initialisers are named \"{}\", or one has no name.", tensor.name())));
        }
    }
    for input in &graph.input {
        made.insert(input.name());
    }
    for node in &graph.node {
        for output in node.output.iter().filter(|output| !output.is_empty()) {
            if !made.insert(output) {
                return Err(invalid(format!("Two values are named \"{output}\".")));
            }
        }
    }
    Ok(())
}

fn only<'a>(ports: &'a [PortInfo], one: &str, many: &str) -> Result<&'a PortInfo, Problem> {
    if let [port] = ports {
        return Ok(port);
    }
    let shown: Vec<String> = ports.iter().take(12).map(PortInfo::show).collect();
    let found = match ports.len() {
        0 => format!("The model has no {one}."),
        count => format!("The model has {count} {many}: {}{}.", shown.join(", "), if count > 12 { ", …" } else { "" }),
    };
    Err(Problem::new(ErrorCode::NotAClassifier, found).param("model").hint(format!(
        "A classifier has one {one}; detection heads, auxiliary outputs and further inputs must be left out of the export."
    )))
}

impl PortInfo {
    fn of(info: &ValueInfoProto) -> Self {
        let tensor = info.r#type.as_ref().and_then(|kind| match &kind.value {
            Some(type_proto::Value::TensorType(tensor)) => Some(tensor),
            _ => None,
        });
        let extent = |dim: &tensor_shape_proto::Dimension| match &dim.value {
            // Some exporters write 0 or -1 for "any".
            Some(tensor_shape_proto::dimension::Value::DimValue(value)) if *value > 0 => Some(*value),
            _ => None,
        };
        Self {
            name: info.name().to_owned(),
            data_type: tensor.map_or(DataType::Undefined, |tensor| {
                DataType::try_from(tensor.elem_type()).unwrap_or(DataType::Undefined)
            }),
            shape: tensor.and_then(|tensor| Some(tensor.shape.as_ref()?.dim.iter().map(extent).collect())),
        }
    }

    pub fn is_of_floats(&self) -> bool {
        use DataType::{Bfloat16, Double, Float, Float16};
        matches!(self.data_type, Float | Float16 | Double | Bfloat16)
    }

    fn is_of_labels(&self) -> bool {
        use DataType::{Int8, Int16, Int32, Int64, String, Uint8, Uint16, Uint32, Uint64};
        matches!(self.data_type, Int8 | Int16 | Int32 | Int64 | Uint8 | Uint16 | Uint32 | Uint64 | String)
    }

    /// In words: `images (?, 3, 224, 224)`.
    pub fn show(&self) -> String {
        let Some(shape) = &self.shape else { return format!("{} of unknown shape", self.name) };
        let extents: Vec<String> =
            shape.iter().map(|extent| extent.map_or_else(|| "?".to_owned(), |extent| extent.to_string())).collect();
        format!("{} ({})", self.name, extents.join(", "))
    }
}
