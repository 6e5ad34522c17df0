//! The suite's nine whole models, whose weights are `ConstantOfShape` nodes, with the published output to one input.

use std::{fs, path::Path};

use kegd::{
    engine::executor::Executor,
    formats::onnx::{ImportOptions, import, piece, proto::TensorProto},
};
use prost::Message;
use tch::{Device, Kind, no_grad};

use crate::{arrays, cases};

/// Names in alphabetical order, each with why it fails.
pub fn verdicts() -> Vec<(String, Result<(), String>)> {
    let files = fs::read_dir(cases::root().join("light")).unwrap().map(|entry| entry.unwrap().path());
    let mut models: Vec<_> = files.filter(|path| path.extension().is_some_and(|kind| kind == "onnx")).collect();
    models.sort();
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    models.iter().map(|path| (name(path), answers(path))).collect()
}

/// The input of the suite's runner: 0, 1, 2 … over the number of elements.
fn answers(path: &Path) -> Result<(), String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let graph = import(&bytes, &ImportOptions::default()).map_err(|problem| format!("{problem:?}"))?.graph;
    let output = path.with_file_name(format!("{}_output_0.pb", path.file_stem().unwrap().to_str().unwrap()));
    let proto = TensorProto::decode(&fs::read(output).unwrap()[..]).unwrap();
    let expected = piece::constant(&proto).map_err(|problem| problem.detail)?;
    let shape: Vec<i64> = std::iter::once(1).chain(graph.input.shape.iter().map(|extent| *extent as i64)).collect();
    let count: i64 = shape.iter().product();
    let x = tch::Tensor::arange(count, (Kind::Float, Device::Cpu)).view(shape.as_slice()) / count as f64;
    let executor = Executor::new(&graph, Device::Cpu).map_err(|problem| problem.detail)?;
    let y = no_grad(|| executor.forward(&x)).map_err(|error| error.to_string())?;
    let mut own = arrays::from_torch(&y);
    // Some declare (1, classes, 1, 1), which is no other answer.
    if own.len() == expected.len() {
        own.shape.clone_from(&expected.shape);
    }
    arrays::difference(&own, &expected).map_or(Ok(()), Err)
}
