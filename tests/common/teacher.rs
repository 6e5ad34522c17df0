//! Teachers whose weights a formula makes. Every job ends with an audit, and what that costs grows with the teacher's
//! images: where any teacher will do, the small one does.

use kegd::domain::architecture::Architecture;
use kegd::formats::{
    architectures::{Shapes, Sizes, blueprint},
    graph::{Graph, Node, Op, Port, Unary, Window},
    onnx,
};

#[path = "../fixtures/formula.rs"]
mod formula;

/// A network that is known by its name.
pub fn named(arch: Architecture, input: &[usize], classes: usize) -> Graph {
    let found = Shapes::new();
    let blueprint = blueprint(arch, Sizes { input, classes, found: &found }).unwrap();
    let weights = blueprint.parameters.iter().map(|(name, shape)| (name.clone(), formula::weight(name, shape)));
    let weights = weights.collect();
    blueprint.with(weights)
}

/// The ONNX file of [`small`].
pub fn small_file() -> Vec<u8> {
    onnx::export(&small()).unwrap()
}

/// Images (1, 12, 12) in ten classes: two convolutions and two linear layers, of all of which there is something to take
/// away. 9,106 parameters and 29,984 multiply-accumulates.
pub fn small() -> Graph {
    let shapes: [(&str, &[usize]); 8] = [
        ("conv1.weight", &[8, 1, 3, 3]),
        ("conv1.bias", &[8]),
        ("conv2.weight", &[24, 8, 3, 3]),
        ("conv2.bias", &[24]),
        ("fc1.weight", &[32, 216]),
        ("fc1.bias", &[32]),
        ("fc2.weight", &[10, 32]),
        ("fc2.bias", &[10]),
    ];
    let conv = || Op::Conv { window: square(3, 1), groups: 1 };
    let gemm = || Op::Gemm { alpha: 1.0, beta: 1.0, trans_b: true };
    let relu = || Op::Unary(Unary::Relu);
    let layers = [
        ("conv1", conv()),
        ("relu1", relu()),
        ("pool1", Op::MaxPool { window: square(2, 2) }),
        ("conv2", conv()),
        ("relu2", relu()),
        ("flatten", Op::Reshape { shape: vec![-1, 216] }),
        ("fc1", gemm()),
        ("relu3", relu()),
        ("fc2", gemm()),
    ];
    let mut nodes: Vec<Node> = Vec::new();
    for (name, op) in layers {
        let before = nodes.last().map_or("input", |node| &node.outputs[0]).to_owned();
        let weights = ["weight", "bias"].map(|part| format!("{name}.{part}"));
        let weights = weights.into_iter().filter(|weight| shapes.iter().any(|(known, _)| known == weight));
        let inputs = std::iter::once(before).chain(weights).collect();
        nodes.push(Node { name: name.into(), op, inputs, outputs: vec![format!("{name}.out")] });
    }
    Graph {
        input: Port { name: "input".into(), shape: vec![1, 12, 12] },
        layout: Default::default(),
        output: Port { name: "fc2.out".into(), shape: vec![10] },
        nodes,
        weights: shapes.iter().map(|(name, shape)| ((*name).to_owned(), formula::weight(name, shape))).collect(),
        opset: 17,
        metadata: [].into(),
    }
}

fn square(extent: usize, stride: usize) -> Window {
    Window {
        kernel: vec![extent; 2],
        strides: vec![stride; 2],
        dilations: vec![1; 2],
        pads_begin: vec![0; 2],
        pads_end: vec![0; 2],
        ceil: false,
    }
}
