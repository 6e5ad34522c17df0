//! Archives of torch.export, run on libtorch, answer as PyTorch did for the same program; and so does what is written of them.

#[path = "fixtures/answers.rs"]
mod answers;
mod fixtures;

#[path = "fixtures/records.rs"]
mod records;

use std::path::PathBuf;

use answers::{TOLERANCE, worst};
use kegd::formats::{
    facts,
    graph::{Graph, Op},
    imported::{ImportOptions, Imported},
    onnx, pt2,
    sniff::{self, Format, sniff},
};
use records::Records;
use rstest::rstest;

fn load(name: &str) -> Imported {
    let bytes = std::fs::read(format!("tests/fixtures/pt2/{name}.pt2")).unwrap();
    pt2::import(&bytes, &ImportOptions::default()).unwrap()
}

#[rstest]
fn outputs_equal_pytorch(#[files("tests/fixtures/pt2/*.pt2")] path: PathBuf) {
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(sniff(&bytes[..bytes.len().min(sniff::HEAD)], bytes.len() as u64).unwrap(), Format::Pt2);
    let graph = pt2::import(&bytes, &ImportOptions::default()).unwrap().graph;
    let worst = worst(&graph, &fixtures::case(&path));
    assert!(worst <= TOLERANCE, "differs by {worst}");
}

#[rstest]
fn what_is_written_answers_alike(#[files("tests/fixtures/pt2/*.pt2")] path: PathBuf) {
    let graph = pt2::import(&std::fs::read(&path).unwrap(), &ImportOptions::default()).unwrap().graph;
    let bytes = pt2::export(&graph).unwrap();
    assert_eq!(pt2::export(&graph).unwrap(), bytes, "the same network is the same bytes");
    let again = pt2::import(&bytes, &ImportOptions::default()).unwrap();
    assert!(again.warnings.is_empty(), "{:?}", again.warnings);
    assert_eq!((&again.graph.input, &again.graph.output), (&graph.input, &graph.output));
    let case = fixtures::case(&path);
    let difference = worst(&again.graph, &case);
    assert!(difference <= TOLERANCE, "differs by {difference}");
    // And as ONNX.
    let other = onnx::import(&onnx::export(&graph).unwrap(), &ImportOptions::default()).unwrap().graph;
    assert!(worst(&other, &case) <= TOLERANCE);
    facts::facts(&again.graph).unwrap();
}

/// Networks of which every node is one operator of PyTorch's come back as they were.
#[rstest]
#[case("lenet5")]
#[case("resnet")]
#[case("mobilenet")]
#[case("mlp_core")]
#[case("resnet_fixed")]
fn networks_come_back_equal(#[case] name: &str) {
    let graph = load(name).graph;
    let again = pt2::import(&pt2::export(&graph).unwrap(), &ImportOptions::default()).unwrap().graph;
    let ops = |graph: &Graph| graph.nodes.iter().map(|node| node.op.clone()).collect::<Vec<Op>>();
    assert_eq!(ops(&again), ops(&graph));
    assert_eq!(again.parameters(), graph.parameters());
    for (name, weight) in graph.weights.iter().filter(|(name, _)| !name.contains('/')) {
        assert_eq!(again.weights.get(name), Some(weight), "{name}");
    }
}

#[test]
fn layers_are_called_as_in_the_module() {
    for name in ["lenet5", "gates", "gates_core"] {
        let (_, layers) = facts::facts(&load(name).graph).unwrap();
        let layers: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
        let wanted: &[&str] = match name {
            "lenet5" => &["conv1", "conv2", "conv3", "fc1", "fc2"],
            _ => &["stem", "bn", "reduce", "expand", "project", "head"],
        };
        assert!(wanted.iter().all(|layer| layers.contains(layer)), "{name}: {layers:?}");
    }
}

#[test]
fn batch_norm_is_kept_and_a_softmax_noticed() {
    for (name, batch_norm, softmax) in
        [("resnet_core", true, false), ("mlp_core", false, true), ("odds", false, true), ("lenet5", false, false)]
    {
        let imported = load(name);
        assert_eq!((imported.has_batch_norm, imported.ends_in_softmax), (batch_norm, softmax), "{name}");
    }
}

#[test]
fn what_the_student_has_otherwise_is_said() {
    assert!(load("resnet").warnings.is_empty());
    let warnings = load("map").warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("is (N, 4, 1, 1); the student's is (N, 4)"), "{warnings:?}");
    let warnings = load("resnet_fixed").warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("fixes the batch to 2"), "{warnings:?}");
    let traced = Records::of("mlp").program(|program| {
        let node = &mut program["graph_module"]["graph"]["nodes"][0];
        node["metadata"]["stack_trace"] = "File \"/home/me/net.py\", line 3".into();
    });
    let imported = pt2::import(&traced.bytes(), &ImportOptions::default()).unwrap();
    assert!(imported.warnings[0].contains("paths"), "{:?}", imported.warnings);
    let written = pt2::export(&imported.graph).unwrap();
    assert!(!written.windows(7).any(|window| window == b"/home/m"));
}

/// Torch 2.8 named the lists of tensors otherwise, and every version names the folder after the file.
#[test]
fn older_names_are_read() {
    let mut records = Records::of("lenet5");
    for (name, _) in &mut records.0 {
        *name = name
            .replace("model_weights_config", "model_model_param_config")
            .replace("model_constants_config", "model_model_constants_config")
            .replacen("lenet5/", "package/", 1);
    }
    let graph = pt2::import(&records.bytes(), &ImportOptions::default()).unwrap().graph;
    assert_eq!(graph, load("lenet5").graph);
}
