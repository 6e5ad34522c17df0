//! A graph's weights as safetensors: <https://huggingface.co/docs/safetensors>.

use std::collections::{BTreeMap, HashMap};

use safetensors::{Dtype, SafeTensors, serialize, tensor::TensorView};

use super::{
    description::{About, describe as describe_as_json},
    graph::{Data, Graph, Tensor},
    layout,
    shapes::describe,
};
use crate::domain::problem::{ErrorCode, Problem};

/// The weights by name, float32 (folded integers int64), little-endian; the metadata says what the network is made of.
///
/// # Errors
/// `internal` where the weights cannot be laid out.
pub fn export(graph: &Graph) -> Result<Vec<u8>, Problem> {
    export_about(graph, &About::default())
}

/// As [`export`], with what the graph does not say of itself.
///
/// # Errors
/// As [`export`].
pub fn export_about(graph: &Graph, about: &About) -> Result<Vec<u8>, Problem> {
    let graph = &*layout::as_declared(graph);
    let bytes: Vec<(&String, &Tensor, Vec<u8>)> =
        graph.weights.iter().map(|(name, tensor)| (name, tensor, to_bytes(tensor))).collect();
    let views = bytes.iter().map(|(name, tensor, bytes)| {
        let view = TensorView::new(dtype(tensor), tensor.shape.clone(), bytes);
        view.map(|view| (name.as_str(), view))
    });
    let views = views.collect::<Result<Vec<_>, _>>().map_err(internal)?;
    in_order(&serialize(views, Some(metadata(graph, about))).map_err(internal)?)
}

/// Bytes of the number in front, the header's length.
const LENGTH: usize = 8;

/// The same file with its header in the order of its names. A map of metadata comes out in another order every time, and the
/// same network must be the same bytes: whoever compares hashes relies on it.
fn in_order(file: &[u8]) -> Result<Vec<u8>, Problem> {
    let (length, _) = SafeTensors::read_metadata(file).map_err(internal)?;
    let (header, data) = file[LENGTH..].split_at(length);
    let header: BTreeMap<String, BTreeMap<String, serde_json::Value>> =
        serde_json::from_slice(header).map_err(internal)?;
    let mut header = serde_json::to_vec(&header).map_err(internal)?;
    // The data begins at a multiple of its alignment.
    header.resize(header.len().next_multiple_of(LENGTH), b' ');
    let length = (header.len() as u64).to_le_bytes();
    Ok([&length, header.as_slice(), data].concat())
}

fn internal(error: impl std::fmt::Display) -> Problem {
    Problem::new(ErrorCode::Internal, format!("The weights cannot be written as safetensors: {error}."))
}

fn dtype(tensor: &Tensor) -> Dtype {
    match tensor.data {
        Data::F32(_) => Dtype::F32,
        Data::I64(_) => Dtype::I64,
        Data::Bool(_) => Dtype::BOOL,
    }
}

/// Elements in little-endian order, as both safetensors and ONNX store them.
pub fn to_bytes(tensor: &Tensor) -> Vec<u8> {
    match &tensor.data {
        Data::F32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Data::I64(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Data::Bool(values) => values.iter().map(|value| u8::from(*value)).collect(),
    }
}

/// One line for each node in `layers`, the names of input and output, and in `graph` all of it as JSON (`description`).
fn metadata(graph: &Graph, about: &About) -> HashMap<String, String> {
    let line = |node| {
        let node: &super::graph::Node = node;
        let kind = format!("{:?}", node.op);
        let kind = kind.split([' ', '(', '{']).next().unwrap_or_default().to_owned();
        format!("{}: {kind}({}) -> {}", describe(node), node.inputs.join(", "), node.outputs.join(", "))
    };
    let layers: Vec<String> = graph.nodes.iter().map(line).collect();
    HashMap::from([
        ("format".to_owned(), "pt".to_owned()),
        ("producer".to_owned(), "kegd".to_owned()),
        ("input".to_owned(), format!("{} {:?}", graph.input.name, graph.input.shape)),
        ("output".to_owned(), format!("{} {:?}", graph.output.name, graph.output.shape)),
        ("layers".to_owned(), layers.join("\n")),
        ("graph".to_owned(), describe_as_json(graph, about).to_string()),
    ])
}
