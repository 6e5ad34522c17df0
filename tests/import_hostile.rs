//! Whatever the bytes are, importing ends with an answer: never a panic, an overflow or an endless loop.

use kegd::formats::{
    facts,
    onnx::{ImportOptions, export, import},
    safetensors, shapes,
    sniff::{self, sniff},
};
use proptest::prelude::*;

/// Small files that between them have most operators.
const SEEDS: &[&str] = &[
    "shuffle_legacy14",
    "gates_dynamo20_fixed",
    "mlp_legacy14",
    "patches_legacy14",
    "dense_legacy14",
    "softmax_legacy15",
];

/// `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

/// Reads the bytes, and does with the graph, if there is one, everything that this module can.
fn digest(bytes: &[u8]) {
    let _ = sniff(&bytes[..bytes.len().min(sniff::HEAD)], bytes.len() as u64);
    let Ok(imported) = import(bytes, &ImportOptions::default()) else { return };
    let graph = &imported.graph;
    let _ = facts::kind(graph);
    facts::facts(graph).expect("an imported graph has shapes");
    shapes::infer(graph, 5).expect("for any batch");
    let exported = export(graph).expect("and can be written");
    let again = import(&exported, &ImportOptions::default()).expect("and read again").graph;
    assert_eq!(again.nodes.len(), graph.nodes.len());
    safetensors::export(graph).expect("and its weights can");
}

fn seed(index: usize) -> Vec<u8> {
    std::fs::read(format!("tests/fixtures/{}.onnx", SEEDS[index % SEEDS.len()])).unwrap()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        digest(&bytes);
    }

    #[test]
    fn bytes_changed(which in 0..SEEDS.len(), changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = seed(which);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        digest(&bytes);
    }

    #[test]
    fn bytes_moved(which in 0..SEEDS.len(), from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(), len in 1..64usize) {
        let mut bytes = seed(which);
        let from = from.index(bytes.len());
        let part: Vec<u8> = bytes.drain(from..(from + len).min(bytes.len())).collect();
        let to = to.index(bytes.len() + 1);
        bytes.splice(to..to, part);
        digest(&bytes);
    }
}

/// Numbers in a file that still decodes: this reaches further than changed bytes, most of which break the protobuf.
mod numbers {
    use kegd::formats::onnx::proto::{ModelProto, tensor_shape_proto::dimension, type_proto};
    use proptest::prelude::*;
    use prost::Message;

    const EDGES: &[i64] = &[
        i64::MIN,
        i64::MIN + 1,
        -(1 << 40),
        -3,
        -2,
        -1,
        0,
        1,
        2,
        3,
        7,
        64,
        1 << 20,
        1 << 31,
        1 << 40,
        1 << 62,
        i64::MAX,
    ];

    /// Every integer that says how a node works, or how large something is.
    fn integers(model: &mut ModelProto) -> Vec<&mut i64> {
        let graph = model.graph.as_mut().unwrap();
        let mut found: Vec<&mut i64> = Vec::new();
        for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
            found.extend(attribute.i.as_mut());
            found.extend(&mut attribute.ints);
            found
                .extend(attribute.t.iter_mut().flat_map(|tensor| tensor.dims.iter_mut().chain(&mut tensor.int64_data)));
        }
        for tensor in &mut graph.initializer {
            found.extend(tensor.dims.iter_mut().chain(&mut tensor.int64_data));
        }
        for port in &mut graph.input {
            let kind = port.r#type.as_mut().and_then(|kind| kind.value.as_mut());
            let Some(type_proto::Value::TensorType(tensor)) = kind else { continue };
            for dim in tensor.shape.iter_mut().flat_map(|shape| &mut shape.dim) {
                if let Some(dimension::Value::DimValue(value)) = &mut dim.value {
                    found.push(value);
                }
            }
        }
        found
    }

    /// Constants as lists of numbers instead of raw bytes, so that they can be changed one by one.
    fn unpack(model: &mut ModelProto) {
        let graph = model.graph.as_mut().unwrap();
        let attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute).filter_map(|one| one.t.as_mut());
        for tensor in attributes.chain(&mut graph.initializer).filter(|tensor| tensor.data_type == Some(7)) {
            if let Some(bytes) = tensor.raw_data.take() {
                tensor.int64_data = bytes.as_chunks::<8>().0.iter().copied().map(i64::from_le_bytes).collect();
            }
        }
    }

    proptest! {
        #![proptest_config(super::config())]

        #[test]
        fn numbers_changed(
            which in 0..super::SEEDS.len(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), prop::sample::select(EDGES)), 1..4),
        ) {
            let mut model = ModelProto::decode(&super::seed(which)[..]).unwrap();
            unpack(&mut model);
            let mut numbers = integers(&mut model);
            for (at, value) in changes {
                let at = at.index(numbers.len());
                *numbers[at] = value;
            }
            super::digest(&model.encode_to_vec());
        }

        #[test]
        fn wires_changed(
            which in 0..super::SEEDS.len(),
            swaps in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..3),
        ) {
            let mut model = ModelProto::decode(&super::seed(which)[..]).unwrap();
            let nodes = &mut model.graph.as_mut().unwrap().node;
            for (one, other) in swaps {
                let (one, other) = (one.index(nodes.len()), other.index(nodes.len()));
                let inputs = nodes[other].input.clone();
                nodes[one].input = inputs;
            }
            super::digest(&model.encode_to_vec());
        }
    }
}
