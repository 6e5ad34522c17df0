//! Modules of torch.jit, run on libtorch as graphs, answer as PyTorch did for the same module.

#[path = "fixtures/answers.rs"]
mod answers;
mod fixtures;

use std::path::PathBuf;

use answers::{TOLERANCE, tensor, worst};
use kegd::{
    domain::config::Compression,
    engine::{compress, executor::Executor},
    formats::{
        facts,
        imported::{ImportOptions, Imported},
        sniff::{self, Format, sniff},
        torchscript,
    },
};
use rstest::rstest;
use tch::{Device, Tensor};

/// Reads a fixture; a script does not tell the shape of its input.
fn import(bytes: &[u8], case: &fixtures::Case) -> Imported {
    let options = ImportOptions { input_shape: Some(case.x.shape[1..].to_vec()), ..ImportOptions::default() };
    torchscript::import(bytes, &options).unwrap()
}

#[rstest]
fn outputs_equal_pytorch(#[files("tests/fixtures/torchscript/*.pt")] path: PathBuf) {
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(sniff(&bytes[..bytes.len().min(sniff::HEAD)], bytes.len() as u64).unwrap(), Format::TorchScript);
    let case = fixtures::case(&path);
    let graph = import(&bytes, &case).graph;
    facts::facts(&graph).unwrap();
    let worst = worst(&graph, &case);
    assert!(worst <= TOLERANCE, "differs by {worst}");
}

/// What libtorch itself answers, which loads the student as any user's program does.
fn in_libtorch(bytes: &[u8], x: &fixtures::Array) -> Tensor {
    let module = tch::CModule::load_data(&mut std::io::Cursor::new(bytes)).unwrap();
    tch::no_grad(|| module.forward_ts(&[tensor(x)]).unwrap())
}

#[rstest]
fn what_is_written_answers_alike(#[files("tests/fixtures/torchscript/*.pt")] path: PathBuf) {
    let case = fixtures::case(&path);
    let graph = import(&std::fs::read(&path).unwrap(), &case).graph;
    let bytes = torchscript::export(&graph).unwrap();
    assert_eq!(torchscript::export(&graph).unwrap(), bytes, "the same network is the same bytes");
    assert_eq!(sniff(&bytes[..bytes.len().min(sniff::HEAD)], bytes.len() as u64).unwrap(), Format::TorchScript);
    for (x, y) in [(&case.x, &case.y), (&case.x.twice(), &case.y.twice())] {
        let difference = (in_libtorch(&bytes, x) - tensor(y)).abs().max().double_value(&[]);
        assert!(difference <= TOLERANCE, "libtorch differs by {difference}");
    }
    let again = import(&bytes, &case);
    assert!(again.warnings.is_empty(), "{:?}", again.warnings);
    assert_eq!((&again.graph.input, again.graph.classes()), (&graph.input, graph.classes()));
    let difference = worst(&again.graph, &case);
    assert!(difference <= TOLERANCE, "differs by {difference}");
}

/// Layers that were decomposed have parts whose names are words of the language.
#[rstest]
#[case("lenet5_traced")]
#[case("resnet_scripted")]
#[case("mlp_traced")]
fn compressed_students_run_in_libtorch(#[case] name: &str) {
    let path = PathBuf::from(format!("tests/fixtures/torchscript/{name}.pt"));
    let case = fixtures::case(&path);
    let graph = import(&std::fs::read(&path).unwrap(), &case).graph;
    let half = Compression { ratio: Some(1.5.into()), ..Compression::default() };
    let student = compress::apply(&graph, &compress::plan(&graph, &half).unwrap()).unwrap();
    assert!(student.nodes.len() > graph.nodes.len());
    let wanted = tch::no_grad(|| Executor::new(&student, Device::Cpu).unwrap().forward(&tensor(&case.x)).unwrap());
    let answer = in_libtorch(&torchscript::export(&student).unwrap(), &case.x);
    let difference = (answer - wanted).abs().max().double_value(&[]);
    assert!(difference <= TOLERANCE, "differs by {difference}");
}

#[test]
fn layers_are_called_as_in_the_module() {
    let path = PathBuf::from("tests/fixtures/torchscript/gates_scripted.pt");
    let graph = import(&std::fs::read(&path).unwrap(), &fixtures::case(&path)).graph;
    let (_, layers) = facts::facts(&graph).unwrap();
    let layers: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
    for layer in ["stem", "bn", "reduce", "expand", "project", "head"] {
        assert!(layers.contains(&layer), "{layers:?}");
    }
}
