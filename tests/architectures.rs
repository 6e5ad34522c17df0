//! Whole networks as exporters write them: what `scripts/architectures.py` asks of each file.
//!
//! `KEGD_ARCHITECTURES=FOLDER cargo test --test architectures -- --ignored`: for each model file beside an .npz of its name with
//! an input `x`, the answer `y` of onnxruntime or PyTorch, weights `r` of the scores and PyTorch's gradient `g` of the sum of
//! r · y, writes NAME.json (differences), NAME.student.onnx or what the format is (half the parameters) and NAME.student.npz (its
//! answer). Files that have a report are left alone. They are large, so this is no part of the ordinary tests.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Instant,
};

use kegd::{
    domain::config::Compression,
    engine::{compress, executor::Executor},
    formats::{description::About, file, graph::Graph, imported::ImportOptions},
};
use ndarray::{ArrayD, OwnedRepr};
use ndarray_npy::{NpzReader, NpzWriter};
use serde_json::{Value, json};
use tch::{Device, Tensor, no_grad};

#[test]
#[ignore = "needs exported networks: scripts/architectures.py"]
fn networks_answer_differentiate_and_compress() {
    let folder = PathBuf::from(std::env::var_os("KEGD_ARCHITECTURES").expect("set KEGD_ARCHITECTURES to a folder"));
    let mut models: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let is_teacher =
        |path: &PathBuf| path.with_extension("npz").is_file() && !path.to_string_lossy().contains(".student");
    let is_model =
        |path: &PathBuf| path.extension().is_some_and(|kind| kind == "onnx" || kind == "pt2" || kind == "pt");
    models.retain(|path| is_model(path) && is_teacher(path) && !path.with_extension("json").is_file());
    models.sort();
    for model in models {
        let report = examine(&model).unwrap_or_else(|reason| json!({"error": reason}));
        println!("{}: {report}", model.file_stem().unwrap().to_string_lossy());
        fs::write(model.with_extension("json"), report.to_string()).unwrap();
    }
}

fn examine(path: &Path) -> Result<Value, String> {
    let words = |problem: kegd::domain::problem::Problem| {
        let causes: Vec<String> = problem.errors.into_iter().take(3).map(|cause| cause.detail).collect();
        format!("{} {}", problem.detail, causes.join(" "))
    };
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let shape = array(path, "x").size()[1..].iter().map(|extent| *extent as usize).collect();
    let options = ImportOptions { input_shape: Some(shape), ..ImportOptions::default() };
    let start = Instant::now();
    let (format, imported) = file::read(&bytes, &options).map_err(words)?;
    let seconds = start.elapsed().as_secs_f64();
    let graph = imported.graph;
    let (output, gradient) = answers(&graph, path).map_err(|reason| format!("running it: {reason}"))?;
    let plan = compress::plan(&graph, &half()).map_err(words)?;
    let student = compress::apply(&graph, &plan).map_err(words)?;
    let written = file::write(&student, format, &About::default()).map_err(words)?.remove(0).bytes;
    let suffix = format!("student.{}", format.suffix());
    fs::write(path.with_extension(suffix), &written).map_err(|error| error.to_string())?;
    // What is compared is the file as it was written.
    let again = file::read(&written, &options).map_err(words)?.1.graph;
    let answer = forward(&again, &array(path, "x"))?;
    write(&path.with_extension("student.npz"), &answer).map_err(|error| error.to_string())?;
    Ok(json!({
        "nodes": graph.nodes.len(),
        "parameters": graph.parameters(),
        "output": output,
        "gradient": gradient,
        "student_parameters": student.parameters(),
        "warnings": imported.warnings.len(),
        "seconds": seconds,
    }))
}

fn half() -> Compression {
    Compression { ratio: Some(2.0.into()), ..Compression::default() }
}

/// Differences of the output and of the gradient, as parts of the largest value.
fn answers(graph: &Graph, path: &Path) -> Result<(f64, f64), String> {
    let executor = Executor::new(graph, Device::Cpu).map_err(|problem| problem.detail)?;
    let x = array(path, "x").set_requires_grad(true);
    let y = executor.forward(&x).map_err(|error| error.to_string())?;
    let scalar = (&y * array(path, "r")).sum(tch::Kind::Float);
    let gradient = Tensor::f_run_backward(&[scalar], &[&x], false, false).map_err(|error| error.to_string())?;
    Ok((difference(&y.detach(), &array(path, "y")), difference(&gradient[0], &array(path, "g"))))
}

fn forward(graph: &Graph, x: &Tensor) -> Result<Tensor, String> {
    let executor = Executor::new(graph, Device::Cpu).map_err(|problem| problem.detail)?;
    no_grad(|| executor.forward(x)).map_err(|error| error.to_string())
}

fn write(path: &Path, y: &Tensor) -> Result<(), Box<dyn std::error::Error>> {
    let shape: Vec<usize> = y.size().into_iter().map(|extent| extent as usize).collect();
    let values: Vec<f32> = Vec::try_from(y.flatten(0, -1))?;
    let mut npz = NpzWriter::new(File::create(path)?);
    npz.add_array("y", &ArrayD::from_shape_vec(shape, values)?)?;
    npz.finish()?;
    Ok(())
}

/// NaN where either has a value that is not finite.
fn difference(own: &Tensor, other: &Tensor) -> f64 {
    let largest = other.abs().max().double_value(&[]);
    (own - other).abs().max().double_value(&[]) / largest
}

fn array(path: &Path, name: &str) -> Tensor {
    let mut npz = NpzReader::new(File::open(path.with_extension("npz")).unwrap()).unwrap();
    let array: ndarray::ArrayBase<OwnedRepr<f32>, ndarray::IxDyn> = npz.by_name(name).unwrap();
    let shape: Vec<i64> = array.shape().iter().map(|extent| *extent as i64).collect();
    Tensor::from_slice(array.as_standard_layout().as_slice().unwrap()).view(shape.as_slice())
}
