//! Imported graphs, run on libtorch, answer as onnxruntime did for the same file.

#[path = "fixtures/build.rs"]
mod build;
mod fixtures;

use build::{Model, int, ints, text};
use kegd::{
    engine::executor::Executor,
    formats::{
        description::About,
        file::{self, write},
        graph::Graph,
        onnx::{
            ImportOptions, import,
            proto::{TensorProto, tensor_proto::DataType},
        },
        sniff::Format,
    },
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

/// What a node answers to 0, 1, … of the shape (1, 1, rows, columns), flattened; the same from every file that is written.
#[track_caller]
fn answers(opset: i64, (rows, columns): (i64, i64), node: impl FnOnce(Model) -> Model, wanted: &[f32]) {
    let model = Model { opset: vec![("", opset)], ..Model::empty() };
    let model = node(model.input("x", &[-1, 1, rows, columns])).output("y", &[-1, wanted.len() as i64]);
    let bytes = model.node("flat", "Flatten", &["h"], &["y"]).bytes();
    let graph = import(&bytes, &ImportOptions::default()).unwrap().graph;
    let x: Vec<f32> = (0..rows * columns).map(|value| value as f32).collect();
    let x = Tensor::from_slice(&x).view([1, 1, rows, columns]);
    let near = |graph: &Graph| {
        let answer = Executor::new(graph, Device::Cpu).unwrap().forward(&x).unwrap();
        assert_eq!(answer.size(), [1, wanted.len() as i64]);
        let worst = (answer - Tensor::from_slice(wanted)).abs().max().double_value(&[]);
        assert!(worst <= TOLERANCE, "differs by {worst}");
    };
    near(&graph);
    for uploaded in [Format::Onnx, Format::Pt2, Format::TorchScript] {
        // Not every operator can be written in every format.
        let Ok(files) = write(&graph, uploaded, &About::default()) else { continue };
        let options = ImportOptions { input_shape: Some(graph.declared_shape()), ..Default::default() };
        near(&file::read(&files[0].bytes, &options).unwrap().1.graph);
    }
}

/// A last step of a pool that would begin in the padding behind does not count, as in onnxruntime.
#[test]
fn pools_stop_before_the_padding_behind() {
    let attributes = vec![
        ints("kernel_shape", &[3, 3]),
        ints("strides", &[2, 2]),
        ints("pads", &[0, 0, 2, 2]),
        int("ceil_mode", 1),
        int("count_include_pad", 1),
    ];
    let pool = |model: Model| model.node_with("pool", "AveragePool", &["x"], &["h"], attributes);
    answers(19, (4, 4), pool, &[45.0 / 9.0, 39.0 / 9.0, 66.0 / 9.0, 50.0 / 9.0]);
}

fn resized(model: Model, scales: &[f32], inputs: &[&str], attributes: &[(&str, &str)]) -> Model {
    let attributes = attributes.iter().map(|(name, value)| text(name, value)).collect();
    model.weight("scales", &[4], scales).node_with("resize", "Resize", inputs, &["h"], attributes)
}

/// Corners lie on corners, whatever is lost where a length is rounded, as in onnxruntime and PyTorch.
#[test]
fn corners_stay_corners_where_a_scale_is_given() {
    let corners = |model| {
        let attributes = [("mode", "linear"), ("coordinate_transformation_mode", "align_corners")];
        resized(model, &[1.0, 1.0, 1.0, 0.6], &["x", "", "scales"], &attributes)
    };
    answers(13, (1, 4), corners, &[0.0, 3.0]);
}

/// ONNX's own case of that opset, `test_resize_downsample_nearest`, and one whose axes go both ways.
#[test]
fn the_nearest_of_opset_10_lies_above_where_an_axis_shrinks() {
    let nearest = |scales: [f32; 4]| move |model| resized(model, &scales, &["x", "scales"], &[("mode", "nearest")]);
    answers(10, (1, 4), nearest([1.0, 1.0, 1.0, 0.6]), &[0.0, 2.0]);
    answers(10, (1, 4), nearest([1.0, 1.0, 1.0, 1.5]), &[0.0, 0.0, 1.0, 2.0, 2.0, 3.0]);
    answers(10, (2, 4), nearest([1.0, 1.0, 1.5, 0.6]), &[0.0, 2.0, 0.0, 2.0, 4.0, 6.0]);
}

/// 0, 1, 2, 3 and what a node makes of constants.
#[track_caller]
fn added(made: impl FnOnce(Model) -> Model, wanted: [f32; 4]) {
    let wanted: Vec<f32> = wanted.iter().enumerate().map(|(index, value)| index as f32 + value).collect();
    answers(17, (2, 2), |model| made(model).node("add", "Add", &["x", "c"], &["h"]), &wanted);
}

#[test]
fn products_of_constants_are_constants() {
    let operands = |model: Model| model.weight("a", &[2, 1], &[2.0, 3.0]).weight("b", &[1, 2], &[5.0, 7.0]);
    added(|model| operands(model).node("product", "MatMul", &["a", "b"], &["c"]), [10.0, 14.0, 15.0, 21.0]);
    let gemm = |model| {
        let biased = operands(model).weight("bias", &[2], &[1.0, -1.0]);
        biased.node_with("product", "Gemm", &["b", "a", "bias"], &["c"], vec![int("transA", 1), int("transB", 1)])
    };
    added(gemm, [11.0, 14.0, 15.0, 20.0]);
}

/// As the masks of shifted windows are made.
#[test]
fn constants_are_put_into_constants() {
    let scattered = |of: &'static [i64], places: &'static [i64], at: &'static [i64], values: &'static [f32]| {
        move |mut model: Model| {
            let data_type = Some(DataType::Int64 as i32);
            let places = TensorProto { int64_data: places.to_vec(), data_type, ..build::tensor("places", of) };
            model.graph.initializer.push(places);
            let model = model.weight("zeros", &[2, 2], &[0.0; 4]).weight("values", at, values);
            model.node("scatter", "ScatterND", &["zeros", "places", "values"], &["c"])
        }
    };
    added(scattered(&[2, 2], &[0, 1, -1, 0], &[2], &[5.0, 7.0]), [0.0, 5.0, 7.0, 0.0]);
    added(scattered(&[1, 1], &[1], &[1, 2], &[5.0, 7.0]), [0.0, 0.0, 5.0, 7.0]);
    // Of two values at one place, the later.
    added(scattered(&[2, 2], &[0, 0, 0, 0], &[2], &[5.0, 7.0]), [7.0, 0.0, 0.0, 0.0]);
}
