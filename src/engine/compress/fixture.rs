//! A network for tests with every form of layer: strides, padding on one side, dilation, groups, both ways to store a
//! linear weight, and names as both PyTorch exporters give them.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::algebra;
use crate::formats::graph::{Binary, Graph, Node, Op, Port, Unary, Window};

pub struct Builder {
    graph: Graph,
    value: String,
}

/// Float64 numbers of U(-1, 1). Not from libtorch, whose one generator all test threads share.
pub fn random(seed: u64, shape: &[i64]) -> tch::Tensor {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f64> = (0..shape.iter().product()).map(|_| generator.random_range(-1.0..1.0)).collect();
    tch::Tensor::from_slice(&values).view(shape)
}

fn window(kernel: usize, stride: usize, dilation: usize, pads: [[usize; 2]; 2]) -> Window {
    Window {
        kernel: vec![kernel; 2],
        strides: vec![stride; 2],
        dilations: vec![dilation; 2],
        pads_begin: pads[0].to_vec(),
        pads_end: pads[1].to_vec(),
        ceil: false,
    }
}

impl Builder {
    fn new(shape: &[usize]) -> Self {
        let input = Port { name: "input".to_owned(), shape: shape.to_vec() };
        let output = Port { name: "logits".to_owned(), shape: Vec::new() };
        let graph = Graph {
            input,
            layout: Default::default(),
            output,
            nodes: Vec::new(),
            weights: [].into(),
            opset: 17,
            metadata: [].into(),
        };
        Self { graph, value: "input".to_owned() }
    }

    /// Appends a node that reads the last value and constants of the given names and shapes.
    fn add(mut self, name: &str, op: Op, constants: &[(&str, &[usize])]) -> Self {
        let mut inputs = vec![self.value.clone()];
        for (constant, shape) in constants {
            inputs.push((*constant).to_owned());
            let shape: Vec<i64> = shape.iter().map(|&extent| extent as i64).collect();
            let seed = self.graph.weights.len() as u64;
            let weight = algebra::store(&random(seed, &shape)).unwrap();
            self.graph.weights.entry((*constant).to_owned()).or_insert(weight);
        }
        self.value = format!("{name}_output_0");
        self.graph.nodes.push(Node { name: name.to_owned(), op, inputs, outputs: vec![self.value.clone()] });
        self
    }

    fn relu(self, name: &str) -> Self {
        self.add(name, Op::Unary(Unary::Relu), &[])
    }

    fn finish(mut self, classes: usize) -> Graph {
        self.graph.output = Port { name: self.value, shape: vec![classes] };
        self.graph
    }
}

pub fn network() -> Graph {
    let uneven = window(3, 2, 1, [[1, 0], [1, 2]]);
    let dense = window(3, 1, 2, [[2, 2], [2, 2]]);
    let trained = Op::Gemm { alpha: 0.5, beta: 2.0, trans_b: true };
    let plain = Op::Gemm { alpha: 1.0, beta: 1.0, trans_b: false };
    let pads = [[1, 1], [1, 1]];
    Builder::new(&[3, 12, 10])
        .add(
            "/conv1/Conv",
            Op::Conv { window: uneven, groups: 1 },
            &[("conv1.weight", &[8, 3, 3, 3]), ("conv1.bias", &[8])],
        )
        .relu("/Relu")
        .add("/depth/Conv", Op::Conv { window: window(3, 1, 1, pads), groups: 8 }, &[("onnx::Conv_7", &[8, 1, 3, 3])])
        .add(
            "/point/Conv",
            Op::Conv { window: window(1, 2, 1, [[0, 0], [0, 0]]), groups: 1 },
            &[("onnx::Conv_8", &[12, 8, 1, 1]), ("onnx::Conv_9", &[12])],
        )
        .relu("/Relu_1")
        .add(
            "/conv2/Conv",
            Op::Conv { window: dense, groups: 1 },
            &[("conv2.weight", &[10, 12, 3, 3]), ("conv2.bias", &[10])],
        )
        .add("/pool", Op::GlobalAveragePool, &[])
        .add("/flatten", Op::Reshape { shape: vec![-1, 10] }, &[])
        .add("/fc1/Gemm", trained, &[("fc1.weight", &[14, 10]), ("fc1.bias", &[14])])
        .relu("/Relu_2")
        .add("/fc2/Gemm", plain, &[("fc2.weight", &[14, 9])])
        .relu("/Relu_3")
        .add("/fc3/MatMul", Op::MatMul, &[("onnx::MatMul_31", &[9, 6])])
        .add("/fc3/Add", Op::Binary(Binary::Add), &[("fc3.bias", &[6])])
        .finish(6)
}

/// As torch.export names it: nodes are numbered by operator, from one without a number.
pub fn numbered() -> Graph {
    let gemm = Op::Gemm { alpha: 1.0, beta: 1.0, trans_b: true };
    Builder::new(&[8])
        .add("linear", gemm.clone(), &[("linear_1.weight", &[7, 8])])
        .relu("relu")
        .add("linear_1", gemm.clone(), &[("linear_2.weight", &[6, 7])])
        .relu("relu_1")
        .add("linear_2", gemm, &[("linear_3.weight", &[5, 6])])
        .finish(5)
}

/// The same network with many more nodes, which take their time and have no layer.
pub fn slower(graph: &Graph) -> Graph {
    let mut builder = Builder { graph: graph.clone(), value: graph.output.name.clone() };
    for node in 0..400 {
        builder = builder.relu(&format!("slow{node}"));
    }
    builder.finish(graph.classes())
}

/// Two linear layers that share one weight.
pub fn shared() -> Graph {
    let gemm = Op::Gemm { alpha: 1.0, beta: 1.0, trans_b: true };
    Builder::new(&[6])
        .add("one", gemm.clone(), &[("tied.weight", &[6, 6])])
        .relu("relu")
        .add("two", gemm, &[("tied.weight", &[6, 6])])
        .finish(6)
}

/// One linear layer with far more outputs than inputs.
pub fn tall() -> Graph {
    let gemm = Op::Gemm { alpha: 1.0, beta: 1.0, trans_b: true };
    Builder::new(&[12]).add("head", gemm, &[("head.weight", &[3000, 12])]).finish(3000)
}

/// One large linear layer, in which nearly all of the time goes, and a small one.
pub fn wide() -> Graph {
    let gemm = Op::Gemm { alpha: 1.0, beta: 1.0, trans_b: true };
    Builder::new(&[1024])
        .add("large", gemm.clone(), &[("large.weight", &[1024, 1024])])
        .relu("relu")
        .add("last", gemm, &[("last.weight", &[8, 1024])])
        .finish(8)
}

/// One convolution with 69 billion multiply-accumulates, as wide as memory allows, and a small linear layer: not to be run.
pub fn heavy() -> Graph {
    let gemm = Op::Gemm { alpha: 1.0, beta: 1.0, trans_b: true };
    let point = Op::Conv { window: window(1, 1, 1, [[0, 0], [0, 0]]), groups: 1 };
    Builder::new(&[512, 512, 512])
        .add("body", point, &[("body.weight", &[512, 512, 1, 1])])
        .add("pool", Op::GlobalAveragePool, &[])
        .add("flatten", Op::Reshape { shape: vec![-1, 512] }, &[])
        .add("head", gemm, &[("head.weight", &[8, 512])])
        .finish(8)
}
