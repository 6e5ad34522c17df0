//! Files that are small as they come and huge, or endless, when they are read: refused, quickly, and with little memory.

use kegd::{
    domain::problem::{ErrorCode, Problem},
    formats::onnx::{
        ImportOptions, import,
        proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, tensor_proto::DataType},
    },
};
use prost::Message;
use rstest::rstest;

const SEED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/mlp_legacy14.onnx");

fn seed() -> ModelProto {
    ModelProto::decode(&std::fs::read(SEED).unwrap()[..]).unwrap()
}

fn refused(bytes: &[u8]) -> Problem {
    match import(bytes, &ImportOptions::default()) {
        Err(problem) => problem,
        Ok(_) => panic!("it was imported"),
    }
}

/// A field of wire type 2 around `content`.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut bytes);
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.extend(content);
    bytes
}

/// graph → node → attribute → graph …, as often as asked.
fn nested(depth: usize) -> Vec<u8> {
    let mut graph = Vec::new();
    for _ in 0..depth {
        graph = field(1, &field(5, &field(6, &graph)));
    }
    field(7, &graph)
}

#[rstest]
#[case::a_little(20)]
#[case::beyond_the_stack(20_000)]
fn graphs_within_graphs(#[case] depth: usize) {
    // The thread has a small stack: recursion without a bound would end the process.
    let read = std::thread::Builder::new().stack_size(512 << 10).spawn(move || refused(&nested(depth))).unwrap();
    assert_eq!(read.join().unwrap().code, ErrorCode::InvalidModel);
}

#[rstest]
#[case::overflow(&[1 << 62, 8])]
#[case::huge(&[1 << 40])]
#[case::most(&[i64::MAX])]
#[case::negative(&[-1, 3])]
#[case::large(&[1 << 20, 1 << 20])]
#[case::hidden_by_a_zero(&[1 << 40, 1 << 40, 0])]
fn tensors_that_claim_more_than_they_have(#[case] dims: &[i64]) {
    for with_data in [true, false] {
        let mut model = seed();
        let tensor = &mut model.graph.as_mut().unwrap().initializer[0];
        tensor.dims = dims.to_vec();
        if !with_data {
            tensor.raw_data = None;
            tensor.float_data.clear();
        }
        let problem = refused(&model.encode_to_vec());
        assert!(problem.status == 422, "{problem:?}");
    }
}

#[test]
fn constants_that_are_made_large_by_an_operator() {
    let mut model = seed();
    let graph: &mut GraphProto = model.graph.as_mut().unwrap();
    let shape = TensorProto {
        name: Some("bomb_shape".into()),
        dims: vec![2],
        data_type: Some(DataType::Int64 as i32),
        int64_data: vec![1 << 30, 1 << 30],
        ..TensorProto::default()
    };
    graph.initializer.push(shape);
    let node = NodeProto {
        op_type: Some("ConstantOfShape".into()),
        input: vec!["bomb_shape".into()],
        output: vec!["bomb".into()],
        ..NodeProto::default()
    };
    graph.node.insert(0, node);
    // Used, so that it is not left out.
    let output = graph.node.last().unwrap().output[0].clone();
    let add = NodeProto {
        op_type: Some("Add".into()),
        input: vec![output, "bomb".into()],
        output: vec!["sum".into()],
        ..NodeProto::default()
    };
    graph.node.push(add);
    graph.output[0].name = Some("sum".into());
    assert_eq!(refused(&model.encode_to_vec()).status, 422);
}

#[test]
fn more_nodes_than_any_network_has() {
    let mut model = seed();
    let graph = model.graph.as_mut().unwrap();
    graph.node.extend(std::iter::repeat_n(NodeProto::default(), 150_000));
    let problem = refused(&model.encode_to_vec());
    assert_eq!(problem.code, ErrorCode::InvalidModel);
    assert!(problem.detail.contains("nodes"), "{problem}");
}

#[test]
fn a_field_that_claims_to_be_longer_than_the_file() {
    let mut bytes = Vec::new();
    prost::encoding::encode_key(7, prost::encoding::WireType::LengthDelimited, &mut bytes);
    prost::encoding::encode_varint(u64::MAX >> 1, &mut bytes);
    assert_eq!(refused(&bytes).code, ErrorCode::InvalidModel);
    // The same where the field is a list of packed numbers, for which a decoder might make room in advance.
    let mut tensor = field(1, &[1]);
    prost::encoding::encode_key(7, prost::encoding::WireType::LengthDelimited, &mut tensor);
    prost::encoding::encode_varint(1 << 40, &mut tensor);
    assert_eq!(refused(&field(7, &field(5, &tensor))).code, ErrorCode::InvalidModel);
}

#[test]
fn an_attribute_of_very_many_numbers() {
    let mut model = seed();
    let node = &mut model.graph.as_mut().unwrap().node[0];
    node.attribute.push(AttributeProto {
        name: Some("axes".into()),
        ints: vec![7; 5_000_000],
        ..AttributeProto::default()
    });
    // Whether it is refused or ignored is the operator's business; it must come to an end.
    let _ = import(&model.encode_to_vec(), &ImportOptions::default());
}
