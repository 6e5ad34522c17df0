//! Imported graphs, run on libtorch, answer as onnxruntime did for the same file.

mod fixtures;

use kegd::{
    engine::executor::Executor,
    formats::onnx::{ImportOptions, import},
};
use rstest::rstest;
use std::path::PathBuf;
use tch::{Device, Tensor};

/// Largest difference to onnxruntime's outputs.
const TOLERANCE: f64 = 1e-4;

#[rstest]
fn outputs_equal_onnxruntime(#[files("tests/fixtures/**/*.onnx")] path: PathBuf) {
    let imported = import(&std::fs::read(&path).unwrap(), &ImportOptions::default()).unwrap();
    let case = fixtures::case(&path);
    let executor = Executor::new(&imported.graph, Device::Cpu).unwrap();
    let difference = |x: &fixtures::Array, y: &fixtures::Array| {
        let answer = executor.forward(&tensor(x)).unwrap();
        (answer - tensor(y)).abs().max().double_value(&[])
    };
    let worst = difference(&case.x, &case.y);
    assert!(worst <= TOLERANCE, "differs by {worst}");
    // Any batch, also where the file fixed one: the answer to two copies is the answer twice.
    let worst = difference(&case.x.twice(), &case.y.twice());
    assert!(worst <= TOLERANCE, "differs by {worst} for another batch");
}

fn tensor(array: &fixtures::Array) -> Tensor {
    let shape: Vec<i64> = array.shape.iter().map(|extent| *extent as i64).collect();
    Tensor::from_slice(&array.values).view(shape.as_slice())
}
