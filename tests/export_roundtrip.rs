//! Exported files, run by an independent runtime, answer as onnxruntime did for the original, and come back as the same graph.

mod fixtures;

use std::path::{Path, PathBuf};

use kegd::{
    domain::config::Compression,
    engine::compress,
    formats::{
        description::About,
        facts, file,
        graph::Graph,
        onnx::{
            ImportOptions, export, import,
            proto::{ModelProto, StringStringEntryProto},
        },
        safetensors,
        sniff::Format,
    },
};
use prost::Message;
use rstest::rstest;
use tract_onnx::prelude::*;

const TOLERANCE: f32 = 1e-4;

fn load(path: &Path) -> Graph {
    import(&std::fs::read(path).unwrap(), &ImportOptions::default()).unwrap().graph
}

// What is left out tract cannot run (Gelu) or answers otherwise than onnxruntime does, for the original too.
#[rstest]
fn an_independent_runtime_agrees(
    #[files("tests/fixtures/**/*.onnx")]
    #[exclude(
        "(convnext|gates|patches)_dynamo20|gelu|expand_computed|instancenorm|maxpool_dilated|pad_(crops|edge|reflect)"
    )]
    path: PathBuf,
) {
    let bytes = export(&load(&path)).unwrap();
    let case = fixtures::case(&path);
    // Twice the rows: the file's batch, where it had one, must be gone.
    for (x, y) in [(case.x.twice(), case.y.twice()), (case.x, case.y)] {
        let fact = f32::fact(x.shape.as_slice()).into();
        let model = tract_onnx::onnx().model_for_read(&mut &bytes[..]).unwrap().with_input_fact(0, fact).unwrap();
        let runnable = model.into_optimized().unwrap().into_runnable().unwrap();
        let input = tract_ndarray::ArrayD::from_shape_vec(x.shape, x.values).unwrap();
        let answer = runnable.run(tvec!(input.into_tensor().into())).unwrap();
        let answer = answer[0].to_array_view::<f32>().unwrap();
        assert_eq!(answer.shape(), y.shape);
        let worst = answer.iter().zip(&y.values).map(|(own, other)| (own - other).abs()).fold(0.0, f32::max);
        assert!(worst <= TOLERANCE, "differs by {worst}");
    }
}

#[rstest]
fn an_exported_graph_comes_back_equal(#[files("tests/fixtures/**/*.onnx")] path: PathBuf) {
    let graph = load(&path);
    let bytes = export(&graph).unwrap();
    let again = import(&bytes, &ImportOptions::default()).unwrap().graph;
    assert!(again.opset >= graph.opset);
    assert_eq!(Graph { opset: graph.opset, ..again }, graph);
}

#[rstest]
fn nothing_of_the_exporter_remains(#[files("tests/fixtures/*.onnx")] path: PathBuf) {
    let bytes = export(&load(&path)).unwrap();
    let holds = |needle: &str| bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
    assert!(holds("kegd") && holds("input") && holds("output") && holds("batch"));
    for word in ["pytorch", "pkg.torch", ".py"] {
        assert!(!holds(word), "{word} remains");
    }
}

#[rstest]
fn layers_account_for_every_parameter(#[files("tests/fixtures/*.onnx")] path: PathBuf) {
    let graph = load(&path);
    let (macs, layers) = facts::facts(&graph).unwrap();
    assert_eq!(macs, layers.iter().map(|layer| layer.macs).sum::<u64>() + attention(&graph));
    let single = graph.weights.values().filter(|tensor| tensor.as_f32().is_some() && tensor.len() == 1).count();
    assert_eq!(graph.parameters(), layers.iter().map(|layer| layer.parameters).sum::<u64>() + single as u64);
}

/// Products of two computed values, which belong to no layer: queries by keys, and attention by values, of two heads of
/// eight over 17 places.
fn attention(graph: &Graph) -> u64 {
    let products = graph.nodes.iter().filter(|node| node.op == kegd::formats::graph::Op::MatMul);
    products.filter(|node| node.inputs.iter().all(|name| !graph.weights.contains_key(name))).count() as u64
        * 2
        * 17
        * 17
        * 8
}

#[test]
fn safetensors_hold_every_weight() {
    let graph = load(Path::new("tests/fixtures/lenet5_dynamo18.onnx"));
    let bytes = safetensors::export(&graph).unwrap();
    let (_, metadata) = ::safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = metadata.metadata().clone().unwrap();
    assert_eq!(metadata["input"], "input [1, 32, 32]");
    assert!(metadata["layers"].contains("Conv("));
    let file = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.len(), graph.weights.len());
    for (name, tensor) in &graph.weights {
        let view = file.tensor(name).unwrap();
        assert_eq!(view.shape(), tensor.shape);
        let values: Vec<f32> = view.data().as_chunks::<4>().0.iter().copied().map(f32::from_le_bytes).collect();
        assert_eq!(values, tensor.as_f32().unwrap());
    }
}

#[test]
fn costs_are_those_of_the_published_network() {
    let graph = load(Path::new("tests/fixtures/lenet5_legacy13.onnx"));
    let (macs, layers) = facts::facts(&graph).unwrap();
    let per_layer: Vec<(&str, u64, u64)> =
        layers.iter().map(|layer| (layer.name.as_str(), layer.parameters, layer.macs)).collect();
    // out · in · kernel + bias, and out · in · kernel · output pixels.
    let expected = [
        ("conv1", 156, 6 * 25 * 28 * 28),
        ("conv2", 2416, 16 * 6 * 25 * 10 * 10),
        ("conv3", 40 * 16 * 25 + 40, 40 * 16 * 25),
        ("fc1", 40 * 32 + 32, 40 * 32),
        ("fc2", 330, 320),
    ];
    assert_eq!(per_layer, expected);
    assert_eq!(macs, expected.iter().map(|(_, _, macs)| macs).sum::<u64>());
    assert_eq!(layers[1].shape, [16, 6, 5, 5]);
    assert_eq!(layers[3].shape, [32, 40]);
}

#[rstest]
#[case("mlp_legacy14", "tabular")]
#[case("vgg_dynamo18", "plain_image")]
#[case("lenet5_legacy13", "plain_image")]
#[case("resnet_legacy14", "residual_image")]
#[case("resnet14_slice_dynamo18", "residual_image")]
#[case("mobilenet_dynamo18", "residual_image")]
fn teachers_are_told_apart(#[case] name: &str, #[case] kind: &str) {
    let graph = load(&Path::new("tests/fixtures").join(name).with_extension("onnx"));
    assert_eq!(serde_json::to_value(facts::kind(&graph)).unwrap(), kind);
}

#[rstest]
#[case("softmax_legacy15", true, false)]
#[case("logsoftmax_dynamo19", true, false)]
#[case("mlp_legacy14", false, false)]
#[case("resnet_legacy14", false, false)]
#[case("resnet_batchnorm_legacy17", false, true)]
#[case("dense_legacy14", false, true)]
fn softmax_and_batch_norm_are_noticed(#[case] name: &str, #[case] softmax: bool, #[case] batch_norm: bool) {
    let path = Path::new("tests/fixtures").join(name).with_extension("onnx");
    let imported = import(&std::fs::read(path).unwrap(), &ImportOptions::default()).unwrap();
    assert_eq!((imported.ends_in_softmax, imported.has_batch_norm), (softmax, batch_norm));
}

/// Class names and the like, which a program beside the model reads; what nodes note of where they come from stays behind.
#[test]
fn a_compressed_student_says_what_the_file_said_of_itself() {
    let entry = |key: &str, value: &str| StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) };
    let mut model = ModelProto::decode(&std::fs::read("tests/fixtures/lenet5_legacy13.onnx").unwrap()[..]).unwrap();
    model.metadata_props = vec![entry("names", "{0: 'zero', 1: 'one'}"), entry("task", "classify")];
    let wanted = model.metadata_props.clone();
    model.graph.as_mut().unwrap().node[0].metadata_props = vec![entry("source", "/home/ada/secret")];
    let imported = import(&model.encode_to_vec(), &ImportOptions::default()).unwrap();
    assert_eq!(imported.warnings, [""; 0]);
    let half = Compression { ratio: Some(2.0.into()), ..Compression::default() };
    let plan = compress::plan(&imported.graph, &half).unwrap();
    let student = compress::apply(&imported.graph, &plan).unwrap();
    let written = file::write(&student, Format::Onnx, &About::default()).unwrap();
    let written = ModelProto::decode(&written[0].bytes[..]).unwrap();
    assert_eq!(written.metadata_props, wanted);
    assert!(written.graph.unwrap().node.iter().all(|node| node.metadata_props.is_empty()));
}
