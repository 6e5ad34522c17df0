//! Files that are small as they come and huge, or endless, when they are read: refused, quickly, and with little memory.

#[path = "fixtures/build.rs"]
mod build;

use build::{Model, int, ints};
use kegd::{
    domain::problem::{ErrorCode, Problem},
    formats::onnx::{
        ImportOptions, import,
        proto::{
            AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, attribute_proto::AttributeType,
            tensor_proto::DataType,
        },
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

/// Two bytes each, and structures of some hundred bytes once they are decoded.
#[test]
fn more_parts_than_any_file_has() {
    let dims = field(2, &[0x0a, 0].repeat((1 << 21) + 1));
    let tensor_type = field(1, &dims);
    let of_a_map = field(5, &field(2, &tensor_type));
    for kind in [tensor_type, of_a_map] {
        let problem = refused(&[seed().encode_to_vec(), field(7, &field(13, &field(2, &kind)))].concat());
        assert!(problem.detail.contains("more than 2097152") && problem.detail.contains("parts"), "{problem}");
    }
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

/// An operator between the input (N, 4) of a linear layer's file and its output, with constants of its own.
#[track_caller]
fn refused_quickly(model: &Model, node: &str) {
    let started = std::time::Instant::now();
    let problem = refused(&model.bytes());
    let causes: Vec<&str> = problem.errors.iter().map(|cause| cause.detail.as_str()).collect();
    let text = format!("{} {}", problem.detail, causes.join(" "));
    assert!(problem.status == 422 && text.contains(node), "{text}");
    assert!(started.elapsed() < std::time::Duration::from_secs(2), "took {:?}", started.elapsed());
}

#[rstest]
#[case::many_times(&[1, 1 << 40])]
#[case::overflow(&[1, i64::MAX])]
#[case::the_batch(&[2, 1])]
#[case::never(&[1, 0])]
#[case::backwards(&[1, -3])]
#[case::too_few(&[3])]
fn tiles(#[case] repeats: &[i64]) {
    let model = Model::linear().output("z", &[-1, 3]).ints("r", repeats).node("bomb", "Tile", &["y", "r"], &["z"]);
    refused_quickly(&model, "\"bomb\"");
    let constant = Model::linear()
        .output("z", &[-1, 3])
        .weight("one", &[1, 1], &[1.0])
        .ints("r", &[1 << 20, 1 << 20])
        .node("bomb", "Tile", &["one", "r"], &["t"])
        .node("add", "Add", &["y", "t"], &["z"]);
    refused_quickly(&constant, "\"bomb\"");
}

/// Integers of shape arithmetic take four times the room of floats.
#[test]
fn integers_of_constants() {
    let added = |model: Model| {
        model.output("z", &[-1, 3]).node_with("floats", "Cast", &["b"], &["f"], vec![int("to", 1)]).node(
            "add",
            "Add",
            &["y", "f"],
            &["z"],
        )
    };
    let expanded =
        Model::linear().ints("one", &[1]).ints("r", &[1 << 28]).node("bomb", "Expand", &["one", "r"], &["b"]);
    refused_quickly(&added(expanded), "\"bomb\"");
    let side = 1 << 11;
    let chosen = Model::linear()
        .weight("column", &[side, 1], &vec![0.0; side as usize])
        .weight("row", &[1, side], &vec![0.0; side as usize])
        .ints("one", &[1])
        .node("equal", "Equal", &["column", "row"], &["c"])
        .node("bomb", "Where", &["c", "one", "one"], &["b"]);
    refused_quickly(&added(chosen), "\"bomb\"");
    let cast = Model::linear()
        .weight("column", &[side, 1], &vec![0.0; side as usize])
        .weight("row", &[1, side], &vec![0.0; side as usize])
        .node("equal", "Equal", &["column", "row"], &["c"])
        .node_with("bomb", "Cast", &["c"], &["b"], vec![int("to", 7)]);
    refused_quickly(&added(cast), "\"bomb\"");
}

#[rstest]
#[case::huge(&[1.0, 1e18])]
#[case::to_nothing(&[1.0, 1e-9])]
#[case::negative(&[1.0, -2.0])]
#[case::the_batch(&[2.0, 1.0])]
#[case::too_few(&[2.0])]
fn resizes(#[case] scales: &[f32]) {
    for mode in ["nearest", "linear", "cubic"] {
        let mode = AttributeProto {
            name: Some("mode".into()),
            r#type: Some(AttributeType::String as i32),
            s: Some(mode.into()),
            ..AttributeProto::default()
        };
        let model = Model::linear().output("z", &[-1, 3]).weight("s", &[scales.len() as i64], scales).node_with(
            "bomb",
            "Resize",
            &["y", "", "s"],
            &["z"],
            vec![mode],
        );
        refused_quickly(&model, "\"bomb\"");
    }
}

#[test]
fn resizes_to_huge_sizes() {
    let model = Model::linear().output("z", &[-1, 3]).ints("s", &[1 << 27]).node_with(
        "bomb",
        "Resize",
        &["y", "", "", "s"],
        &["z"],
        vec![ints("axes", &[1])],
    );
    refused_quickly(&model, "\"bomb\"");
    let lying = Model::linear().output("z", &[-1, 3]).ints("s", &[6]).node_with(
        "bomb",
        "Resize",
        &["y", "", "", "s"],
        &["z"],
        vec![ints("axes", &[7])],
    );
    refused_quickly(&lying, "\"bomb\"");
}

#[rstest]
#[case(0.0, f32::MAX, 1e-30)]
#[case(0.0, 1.0, 0.0)]
#[case(0.0, f32::NAN, 1.0)]
#[case(0.0, f32::INFINITY, 1.0)]
fn float_ranges(#[case] start: f32, #[case] limit: f32, #[case] delta: f32) {
    let model = Model::linear()
        .output("z", &[-1, 3])
        .node_with("start", "Constant", &[], &["a"], vec![number(start)])
        .node_with("limit", "ConstantOfShape", &["none"], &["b"], vec![scalar(limit)])
        .node_with("delta", "Constant", &[], &["c"], vec![number(delta)])
        .ints("none", &[])
        .node("bomb", "Range", &["a", "b", "c"], &["r"])
        .node("add", "Add", &["y", "r"], &["z"]);
    refused_quickly(&model, "\"bomb\"");
}

fn number(value: f32) -> AttributeProto {
    AttributeProto {
        name: Some("value_float".into()),
        r#type: Some(AttributeType::Float as i32),
        f: Some(value),
        ..AttributeProto::default()
    }
}

fn scalar(value: f32) -> AttributeProto {
    let one = TensorProto {
        dims: vec![1],
        data_type: Some(DataType::Float as i32),
        float_data: vec![value],
        ..TensorProto::default()
    };
    AttributeProto {
        name: Some("value".into()),
        r#type: Some(AttributeType::Tensor as i32),
        t: Some(one),
        ..AttributeProto::default()
    }
}

#[rstest]
#[case::no_block(0)]
#[case::negative(-2)]
#[case::overflow(1 << 40)]
#[case::uneven(3)]
fn blocks(#[case] block: i64) {
    for op in ["DepthToSpace", "SpaceToDepth"] {
        let model = Model::empty()
            .input("x", &[-1, 4, 4, 4])
            .node_with("bomb", op, &["x"], &["h"], vec![int("blocksize", block)])
            .node("flat", "Flatten", &["h"], &["y"]);
        refused_quickly(&model, "\"bomb\"");
    }
}

#[test]
fn attention_over_more_than_there_is_memory_for() {
    // 2²⁰ places: the scores are a square of them.
    let long = Model::empty()
        .input("x", &[-1, 1 << 20, 2])
        .node_with(
            "bomb",
            "Attention",
            &["x", "x", "x"],
            &["h"],
            vec![int("q_num_heads", 1), int("kv_num_heads", 1), int("is_causal", 1)],
        )
        .node("flat", "Flatten", &["h"], &["y"]);
    refused_quickly(&long, "\"bomb\"");
    for heads in [0, -1, 3, i64::MAX] {
        let uneven = Model::empty()
            .input("x", &[-1, 5, 4])
            .node_with(
                "bomb",
                "Attention",
                &["x", "x", "x"],
                &["h"],
                vec![int("q_num_heads", heads), int("kv_num_heads", 2)],
            )
            .node("flat", "Flatten", &["h"], &["y"]);
        refused_quickly(&uneven, "\"bomb\"");
    }
}

#[rstest]
#[case::no_groups("GroupNormalization", "num_groups", 0)]
#[case::uneven_groups("GroupNormalization", "num_groups", 3)]
#[case::negative_groups("GroupNormalization", "num_groups", -4)]
#[case::no_neighbours("LRN", "size", 0)]
#[case::too_many_neighbours("LRN", "size", i64::MAX)]
fn normalisations(#[case] op: &str, #[case] attribute: &str, #[case] value: i64) {
    let model = Model::empty()
        .input("x", &[-1, 4, 2, 2])
        .weight("s", &[4], &[1.0; 4])
        .node_with("bomb", op, &["x", "s", "s"], &["h"], vec![int(attribute, value)])
        .node("flat", "Flatten", &["h"], &["y"]);
    refused_quickly(&model, "\"bomb\"");
}

#[rstest]
#[case::larger_than_there_is_memory_for(&[1 << 19, 1 << 19])]
#[case::nothing(&[0, 4])]
#[case::negative(&[-1, 4])]
fn transposed_convolutions(#[case] shape: &[i64]) {
    let model = Model::empty()
        .input("x", &[-1, 2, 4, 4])
        .weight("w", &[2, 3, 3, 3], &[0.5; 54])
        .node_with("bomb", "ConvTranspose", &["x", "w"], &["h"], vec![ints("output_shape", shape)])
        .node("flat", "Flatten", &["h"], &["y"]);
    refused_quickly(&model, "\"bomb\"");
}

/// Little to store, and very much to compute.
#[rstest]
#[case::long(&[1 << 10, 1 << 10], &[1 << 10, 1 << 10])]
#[case::wide(&[1 << 20, 1], &[1, 1 << 20])]
#[case::a_stack(&[1 << 10, 1, 1 << 10], &[1, 1 << 10, 1 << 10])]
fn products_of_constants(#[case] left: &[i64], #[case] right: &[i64]) {
    let model = Model::linear()
        .output("z", &[-1, 3])
        .ints("left", left)
        .ints("right", right)
        .node_with("a", "ConstantOfShape", &["left"], &["a"], vec![scalar(1.0)])
        .node_with("b", "ConstantOfShape", &["right"], &["b"], vec![scalar(1.0)])
        .node("bomb", "MatMul", &["a", "b"], &["m"])
        .node_with("sum", "ReduceSum", &["m"], &["s"], vec![int("keepdims", 0)])
        .node("add", "Add", &["y", "s"], &["z"]);
    refused_quickly(&model, "\"bomb\"");
}

#[rstest]
#[case::behind_the_end(&[1, 2], &[0, 2], &[1])]
#[case::before_the_start(&[1, 2], &[-3, 0], &[1])]
#[case::overflow(&[1, 2], &[i64::MIN, i64::MAX], &[1])]
#[case::deeper_than_the_data(&[1, 3], &[0, 0, 0], &[1])]
#[case::nowhere(&[0], &[], &[2, 2])]
#[case::too_few_values(&[2, 1], &[0, 1], &[2])]
fn scatters(#[case] of: &[i64], #[case] places: &[i64], #[case] values: &[i64]) {
    let mut model = Model::linear()
        .output("z", &[-1, 3])
        .weight("data", &[2, 2], &[0.0; 4])
        .weight("values", values, &vec![1.0; values.iter().product::<i64>() as usize])
        .node("bomb", "ScatterND", &["data", "places", "values"], &["m"])
        .node_with("sum", "ReduceSum", &["m"], &["s"], vec![int("keepdims", 0)])
        .node("add", "Add", &["y", "s"], &["z"]);
    model.graph.initializer.push(TensorProto {
        int64_data: places.to_vec(),
        data_type: Some(DataType::Int64 as i32),
        ..build::tensor("places", of)
    });
    refused_quickly(&model, "\"bomb\"");
}
