//! From a graph to the bytes of an ONNX file: the names it came with, a free batch, and nothing of the exporter's own.

use std::{borrow::Cow, collections::BTreeMap};

use prost::Message;

use super::{
    metadata,
    proto::{
        GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
        ValueInfoProto,
        tensor_proto::DataType,
        tensor_shape_proto::{Dimension, dimension},
        type_proto,
    },
    write::{Writer, node},
};
use crate::{
    domain::problem::{ErrorCode, Problem},
    formats::{
        dim::Dim,
        graph::{Data, Graph, Op, Port, Tensor},
        layout,
        lowering::pool::pad_average,
        safetensors::to_bytes,
        shapes,
    },
};

/// The oldest opset that is written: operators below have other forms before.
const OLDEST: i64 = 17;
/// Most bytes that the weights of a file may have: libraries read no message of 2 GiB, and names and nodes have their part.
const MOST_BYTES: u64 = i32::MAX as u64 - (1 << 20);
/// `Gelu` is an operator since this opset.
const GELU: i64 = 20;
/// `Resize` names its axes since this opset.
const RESIZE: i64 = 18;
/// `AveragePool` has dilations since this opset, and runtimes count the last, partial window right.
const PRECISE_AVERAGE: i64 = 19;

/// Writes a graph, with opset 17, the original's or the one its operators need, whichever is highest.
///
/// # Errors
/// `invalid_model` where the shapes of the graph do not fit together, `invalid_compression` where no runtime would open the file.
pub fn export(graph: &Graph) -> Result<Vec<u8>, Problem> {
    check_bytes(graph.weights.values().map(bytes).sum())?;
    let graph = &*layout::as_declared(graph);
    let extents = shapes::infer(graph, 1)?;
    let graph = &without_partial_windows(graph, &extents);
    let opset = opset(graph);
    let mut writer = Writer::new(graph, opset);
    let nodes: Vec<NodeProto> = graph.nodes.iter().map(|one| node(&mut writer, one)).collect();
    let mut initializer: Vec<TensorProto> = graph.weights.iter().map(|(name, weight)| tensor(name, weight)).collect();
    initializer.extend(writer.constants().iter().map(|(name, constant)| tensor(name, constant)));
    let model = ModelProto {
        ir_version: Some(ir_version(opset)),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(opset) }],
        producer_name: Some("kegd".into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        graph: Some(GraphProto {
            name: Some("classifier".into()),
            node: nodes,
            initializer,
            input: vec![port(&graph.input)],
            output: vec![port(&graph.output)],
            ..GraphProto::default()
        }),
        metadata_props: metadata::entries(&graph.metadata),
        ..ModelProto::default()
    };
    Ok(model.encode_to_vec())
}

/// Whether one file can hold a student that is planned with that many parameters, of four bytes each.
///
/// # Errors
/// `invalid_compression` where no runtime would open the file.
pub fn check_parameters(parameters: u64) -> Result<(), Problem> {
    check_bytes(parameters.saturating_mul(size_of::<f32>() as u64))
}

fn bytes(tensor: &Tensor) -> u64 {
    let each = match tensor.data {
        Data::F32(_) => size_of::<f32>(),
        Data::I64(_) => size_of::<i64>(),
        Data::Bool(_) => size_of::<bool>(),
    };
    (tensor.len() * each) as u64
}

/// Refuses weights of that many bytes where they are too many for one file.
fn check_bytes(bytes: u64) -> Result<(), Problem> {
    if bytes <= MOST_BYTES {
        return Ok(());
    }
    let detail = format!("The student's weights have {bytes} bytes; one ONNX file holds {MOST_BYTES}.");
    Err(Problem::new(ErrorCode::InvalidCompression, detail)
        .param("config.compression")
        .hint("Ask for a smaller student: {\"compression\": {\"bytes\": 1000000000}}."))
}

/// The graph as ONNX tells it best: see [`pad_average`].
fn without_partial_windows<'g>(graph: &'g Graph, extents: &BTreeMap<String, Vec<usize>>) -> Cow<'g, Graph> {
    let mut graph = Cow::Borrowed(graph);
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let Op::AveragePool { window, count_include_pad } = &node.op else { continue };
        let Some(x) = extents.get(&node.inputs[0]).filter(|_| window.ceil) else { continue };
        let x: Vec<Dim> = x.iter().map(|extent| Dim::fixed(*extent as i64)).collect();
        let (mut window, counted) = (window.clone(), *count_include_pad);
        let count_include_pad = pad_average(&mut window, counted, &x);
        graph.to_mut().nodes[index].op = Op::AveragePool { window, count_include_pad };
    }
    graph
}

fn opset(graph: &Graph) -> i64 {
    let needed = graph.nodes.iter().map(|node| match &node.op {
        Op::Gelu { .. } => GELU,
        Op::Resize { .. } => RESIZE,
        Op::AveragePool { window, .. } if window.ceil || window.dilations.iter().any(|dilation| *dilation != 1) => {
            PRECISE_AVERAGE
        }
        _ => OLDEST,
    });
    needed.fold(graph.opset.max(OLDEST), i64::max)
}

/// The IR version that an opset came with: <https://onnx.ai/onnx/repo-docs/Versioning.html#released-versions>.
fn ir_version(opset: i64) -> i64 {
    match opset {
        ..=18 => 8,
        19 | 20 => 9,
        21 | 22 => 10,
        _ => 11,
    }
}

fn port(port: &Port) -> ValueInfoProto {
    let batch = Dimension { value: Some(dimension::Value::DimParam("batch".into())), denotation: None };
    let extents = port
        .shape
        .iter()
        .map(|extent| Dimension { value: Some(dimension::Value::DimValue(*extent as i64)), denotation: None });
    let shape = TensorShapeProto { dim: std::iter::once(batch).chain(extents).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(DataType::Float as i32), shape: Some(shape) };
    ValueInfoProto {
        name: Some(port.name.clone()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), denotation: None }),
        ..ValueInfoProto::default()
    }
}

fn tensor(name: &str, tensor: &Tensor) -> TensorProto {
    let data_type = match tensor.data {
        Data::F32(_) => DataType::Float,
        Data::I64(_) => DataType::Int64,
        Data::Bool(_) => DataType::Bool,
    };
    TensorProto {
        dims: tensor.shape.iter().map(|extent| *extent as i64).collect(),
        data_type: Some(data_type as i32),
        name: Some(name.to_owned()),
        raw_data: Some(to_bytes(tensor)),
        ..TensorProto::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_that_no_runtime_would_open_are_refused() {
        check_bytes(MOST_BYTES).unwrap();
        let problem = check_bytes(MOST_BYTES + 1).unwrap_err();
        assert_eq!(problem.code, ErrorCode::InvalidCompression);
        assert!(problem.detail.contains("2146435072 bytes; one ONNX file holds 2146435071"), "{problem}");
        assert!(problem.hint.unwrap().contains("smaller student"));
    }

    #[test]
    fn a_student_is_refused_by_its_plan_already() {
        check_parameters(MOST_BYTES / 4).unwrap();
        for parameters in [MOST_BYTES / 4 + 1, u64::MAX] {
            assert_eq!(check_parameters(parameters).unwrap_err().code, ErrorCode::InvalidCompression);
        }
    }

    #[test]
    fn weights_are_counted_by_their_type() {
        let of = |data| bytes(&Tensor { shape: vec![3], data });
        let counted = [of(Data::F32(vec![0.0; 3])), of(Data::I64(vec![0; 3])), of(Data::Bool(vec![false; 3]))];
        assert_eq!(counted, [12, 24, 3]);
    }
}
