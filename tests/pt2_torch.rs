//! PyTorch itself reads what is written. Needs Python with torch 2.9 or later, named by KEGD_PYTHON:
//! `KEGD_PYTHON=python3 cargo test --test pt2_torch -- --ignored`.

mod fixtures;

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use kegd::{
    domain::config::Compression,
    engine::{compress, executor::Executor},
    formats::{graph::Graph, imported::ImportOptions, pt2},
};
use ndarray::ArrayD;
use ndarray_npy::NpzWriter;
use tch::{Device, Tensor, no_grad};

/// Writes the graph compressed, beside its answers; nothing where it cannot be made so much smaller.
fn compressed(graph: &Graph, x: &fixtures::Array, written: &Path) -> Vec<PathBuf> {
    let smaller = Compression { ratio: Some(1.3.into()), ..Compression::default() };
    let Ok(plan) = compress::plan(graph, &smaller) else { return Vec::new() };
    let student = compress::apply(graph, &plan).unwrap();
    std::fs::write(written, pt2::export(&student).unwrap()).unwrap();
    let shape: Vec<i64> = x.shape.iter().map(|extent| *extent as i64).collect();
    let input = Tensor::from_slice(&x.values).view(shape.as_slice());
    let y = no_grad(|| Executor::new(&student, Device::Cpu).unwrap().forward(&input).unwrap());
    let rows = y.size().into_iter().map(|extent| extent as usize).collect::<Vec<_>>();
    let case = written.with_extension("npz");
    let mut npz = NpzWriter::new(File::create(&case).unwrap());
    npz.add_array("x", &ArrayD::from_shape_vec(x.shape.clone(), x.values.clone()).unwrap()).unwrap();
    npz.add_array("y", &ArrayD::from_shape_vec(rows, Vec::<f32>::try_from(y.flatten(0, -1)).unwrap()).unwrap())
        .unwrap();
    npz.finish().unwrap();
    vec![written.to_owned(), case]
}

#[test]
#[ignore = "needs PyTorch; KEGD_PYTHON names the Python that has it"]
fn torch_loads_and_runs_what_is_written() {
    let python = std::env::var("KEGD_PYTHON").expect("KEGD_PYTHON names a Python with torch");
    let directory = tempfile::tempdir().unwrap();
    let mut pairs: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir("tests/fixtures/pt2").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "pt2") {
            continue;
        }
        let graph = pt2::import(&std::fs::read(&path).unwrap(), &ImportOptions::default()).unwrap().graph;
        let written = directory.path().join(path.file_name().unwrap());
        std::fs::write(&written, pt2::export(&graph).unwrap()).unwrap();
        pairs.extend(compressed(&graph, &fixtures::case(&path).x, &written.with_extension("small.pt2")));
        pairs.extend([written, path.with_extension("npz")]);
    }
    assert!(pairs.len() > 60, "compressed ones among them: {}", pairs.len());
    let output = Command::new(python).arg("scripts/pt2.py").args(&pairs).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}
