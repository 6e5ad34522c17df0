//! Batch norm, taken into the layer before it: the same function in one layer less.
//!
//! What a decomposition loses counts by what becomes of it. Batch norm brings channels that answer loudly and ones that answer
//! softly to one size, so that before it the loud ones would take the ranks and the budget of all (Jacob et al., "Quantization
//! and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018, section 3.2, for the formula).

use std::collections::BTreeMap;

use tch::{TchError, Tensor};

use super::{
    algebra::{load, store},
    layer::{drop_unused, uses},
};
use crate::{
    domain::problem::Problem,
    formats::{
        facts::layer_name,
        free_names::FreeNames,
        graph::{self, Graph, Node, Op},
    },
};

/// `graph` without the batch norms that the convolution or linear layer before them can take in: where nothing else reads that
/// layer, nor shares its weight. Layers keep their names and their weights', and every other value its own.
///
/// # Errors
/// `invalid_weights` where one holds NaN or infinity.
pub fn absorb(graph: &Graph) -> Result<Graph, Problem> {
    let uses = uses(graph);
    let mut names: FreeNames = graph.names().cloned().collect();
    let mut absorbed = graph.clone();
    let mut gone: Vec<usize> = Vec::new();
    for (index, norm) in graph.nodes.iter().enumerate() {
        let Some(pair) = Pair::of(graph, norm, &uses) else { continue };
        if let Some(Absorbed { node, weights }) = pair.absorb(graph, &mut names)? {
            absorbed.nodes[pair.layer] = node;
            absorbed.weights.extend(weights);
            gone.push(index);
        }
    }
    for index in gone.into_iter().rev() {
        absorbed.nodes.remove(index);
    }
    drop_unused(&mut absorbed);
    Ok(absorbed)
}

/// A layer as it is afterwards, with its weight and its bias.
struct Absorbed {
    node: Node,
    weights: [(String, graph::Tensor); 2],
}

/// A batch norm, and the layer that it alone reads.
struct Pair<'g> {
    norm: &'g Node,
    epsilon: f64,
    layer: usize,
    /// Axis of the layer's weight that its outputs lie along.
    axis: usize,
    has_own_bias: bool,
}

impl<'g> Pair<'g> {
    fn of(graph: &'g Graph, norm: &'g Node, uses: &BTreeMap<&str, usize>) -> Option<Self> {
        let Op::BatchNorm { epsilon } = norm.op else { return None };
        let once = |name: &String| uses.get(name.as_str()) == Some(&1);
        let read = norm.inputs.first().filter(|&read| once(read) && *read != graph.output.name)?;
        let layer = graph.nodes.iter().position(|node| node.outputs.first() == Some(read))?;
        let node = &graph.nodes[layer];
        let axis = match node.op {
            Op::Conv { .. } | Op::Gemm { trans_b: true, .. } => 0,
            Op::ConvTranspose { groups: 1, .. } | Op::Gemm { trans_b: false, .. } => 1,
            _ => return None,
        };
        let weight = node.inputs.get(1).filter(|&weight| once(weight))?;
        let outputs = *graph.weights.get(weight)?.shape.get(axis)?;
        let of_outputs = |name: &String| graph.weights.get(name).is_some_and(|constant| constant.len() == outputs);
        let fits = norm.inputs.len() == 5 && norm.inputs[1..].iter().chain(node.inputs.get(2)).all(of_outputs);
        let has_own_bias = node.inputs.get(2).is_some_and(once);
        fits.then_some(Self { norm, epsilon: f64::from(epsilon), layer, axis, has_own_bias })
    }

    /// None where float32 has no such weights: of a channel that hardly varied while the network was trained.
    fn absorb(&self, graph: &Graph, names: &mut FreeNames) -> Result<Option<Absorbed>, Problem> {
        let node = &graph.nodes[self.layer];
        let constant = |name: &String| load(name, &graph.weights[name]);
        let [scale, shift, mean, variance] = [1, 2, 3, 4].map(|input| constant(&self.norm.inputs[input]));
        let scale = scale?.f_div(&variance?.f_add_scalar(self.epsilon)?.f_sqrt()?)?;
        let shift = shift?.f_sub(&mean?.f_mul(&scale)?)?;
        let (op, share) = with_whole_bias(&node.op);
        let bias = match node.inputs.get(2) {
            Some(bias) => shift.f_add(&constant(bias)?.f_flatten(0, -1)?.f_mul(&scale)?.f_mul_scalar(share)?)?,
            None => shift,
        };
        let weight = along(&scale, self.axis, &constant(&node.inputs[1])?)?;
        let (weight, bias) = (store(&weight)?, store(&bias)?);
        if !(is_finite(&weight) && is_finite(&bias)) {
            return Ok(None);
        }
        let weight_name = node.inputs[1].clone();
        let bias_name = match node.inputs.get(2).filter(|_| self.has_own_bias) {
            Some(bias) => bias.clone(),
            None => names.give(&format!("{}.bias", layer_name(node, &weight_name))),
        };
        let inputs = vec![node.inputs[0].clone(), weight_name.clone(), bias_name.clone()];
        let node = Node { name: node.name.clone(), op, inputs, outputs: self.norm.outputs.clone() };
        Ok(Some(Absorbed { node, weights: [(weight_name, weight), (bias_name, bias)] }))
    }
}

/// The operator that adds its bias as it is, and how often it was added before.
fn with_whole_bias(op: &Op) -> (Op, f64) {
    match *op {
        Op::Gemm { alpha, beta, trans_b } => (Op::Gemm { alpha, beta: 1.0, trans_b }, f64::from(beta)),
        ref op => (op.clone(), 1.0),
    }
}

/// `weight` times `scale` (outputs), which lies along `axis`.
fn along(scale: &Tensor, axis: usize, weight: &Tensor) -> Result<Tensor, TchError> {
    let mut shape = vec![1; weight.dim()];
    shape[axis] = -1;
    weight.f_mul(&scale.f_reshape(&shape)?)
}

fn is_finite(constant: &graph::Tensor) -> bool {
    constant.as_f32().is_some_and(|values| values.iter().all(|value| value.is_finite()))
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::{
        domain::architecture::Architecture,
        engine::{
            compress::{fixture::random, layer::layers},
            executor::Executor,
            initial::initialise,
        },
        formats::{
            architectures::{Shapes, Sizes, blueprint},
            graph::Port,
        },
    };

    /// A trained network's: of a fresh one, batch norm does nothing.
    fn trained_norms(graph: &mut Graph) {
        let norms = graph.nodes.iter().filter(|node| matches!(node.op, Op::BatchNorm { .. }));
        let constants: Vec<String> = norms.flat_map(|norm| norm.inputs[1..].to_vec()).collect();
        for (seed, name) in constants.into_iter().enumerate() {
            let extent = graph.weights[&name].len() as i64;
            // Variances are positive, and the rest may be.
            let values = random(seed as u64, &[extent]).abs() + 0.1;
            graph.weights.insert(name, store(&values).unwrap());
        }
    }

    fn answer(graph: &Graph) -> Tensor {
        let shape: Vec<i64> = [3].into_iter().chain(graph.input.shape.iter().map(|&extent| extent as i64)).collect();
        Executor::new(graph, Device::Cpu).unwrap().forward(&random(9, &shape).to_kind(Kind::Float)).unwrap()
    }

    fn is_same_function(one: &Graph, other: &Graph) {
        let (one, other) = (answer(one), answer(other));
        let apart = (&one - &other).abs().max().double_value(&[]) / one.abs().max().double_value(&[]);
        assert!(apart < 1e-5, "{apart}");
    }

    fn norms(graph: &Graph) -> usize {
        graph.nodes.iter().filter(|node| matches!(node.op, Op::BatchNorm { .. })).count()
    }

    #[test]
    fn a_residual_network_is_the_same_function_without_a_norm_and_keeps_its_layers() {
        let sizes = Sizes { input: &[3, 8, 8], classes: 10, found: &Shapes::new() };
        let mut graph = blueprint(Architecture::Resnet14, sizes).unwrap().blank().unwrap();
        initialise(&mut graph, 1);
        trained_norms(&mut graph);
        let absorbed = absorb(&graph).unwrap();
        is_same_function(&graph, &absorbed);
        assert_eq!((norms(&graph) > 0, norms(&absorbed)), (true, 0));
        let names = |graph: &Graph| layers(graph).unwrap().into_iter().map(|layer| layer.name).collect::<Vec<_>>();
        assert_eq!(names(&graph), names(&absorbed));
        assert!(absorbed.parameters() < graph.parameters());
    }

    /// x (N, 4) → layer → norm → logits (N, 4), with a bias where `constants` name one.
    fn pair(op: Op, constants: &[&str]) -> Graph {
        let norm = ["h", "scale", "shift", "mean", "variance"];
        let node = |op, inputs: Vec<&str>, output: &str| Node {
            name: String::new(),
            op,
            inputs: inputs.into_iter().map(str::to_owned).collect(),
            outputs: vec![output.to_owned()],
        };
        let port = |name: &str| Port { name: name.to_owned(), shape: vec![4] };
        let layer = node(op, [&["x"], constants].concat(), "h");
        let nodes = vec![layer, node(Op::BatchNorm { epsilon: 1e-3 }, norm.to_vec(), "logits")];
        let weight = |(seed, name): (usize, &&str)| {
            let shape: &[i64] = if *name == "weight" { &[4, 4] } else { &[4] };
            ((*name).to_owned(), store(&random(seed as u64, shape)).unwrap())
        };
        let weights = constants.iter().chain(&norm[1..]).enumerate().map(weight).collect();
        let mut graph = Graph {
            input: port("x"),
            layout: Default::default(),
            output: port("logits"),
            nodes,
            weights,
            opset: 17,
            metadata: [].into(),
        };
        trained_norms(&mut graph);
        graph
    }

    #[test]
    fn linear_layers_take_it_in_however_they_store_their_weight_and_scale_their_bias() {
        for trans_b in [true, false] {
            for constants in [&["weight"][..], &["weight", "bias"]] {
                let graph = pair(Op::Gemm { alpha: 0.5, beta: 3.0, trans_b }, constants);
                let absorbed = absorb(&graph).unwrap();
                is_same_function(&graph, &absorbed);
                assert_eq!((absorbed.nodes.len(), absorbed.weights.len()), (1, 2));
            }
        }
    }

    #[test]
    fn a_bias_that_another_layer_reads_stays_as_it_is() {
        let mut graph = pair(Op::Gemm { alpha: 1.0, beta: 1.0, trans_b: true }, &["weight", "bias"]);
        let last = Node {
            name: "last".to_owned(),
            op: Op::Gemm { alpha: 1.0, beta: 1.0, trans_b: true },
            inputs: ["logits", "last", "bias"].map(str::to_owned).to_vec(),
            outputs: vec!["y".to_owned()],
        };
        graph.nodes.push(last);
        graph.output.name = "y".to_owned();
        graph.weights.insert("last".to_owned(), store(&random(7, &[4, 4])).unwrap());
        let absorbed = absorb(&graph).unwrap();
        is_same_function(&graph, &absorbed);
        assert_eq!((norms(&absorbed), &absorbed.weights["bias"]), (0, &graph.weights["bias"]));
    }

    #[test]
    fn a_layer_that_something_else_reads_keeps_its_norm() {
        let mut graph = pair(Op::Gemm { alpha: 1.0, beta: 1.0, trans_b: true }, &["weight"]);
        let sum = Node {
            name: "sum".to_owned(),
            op: Op::Binary(graph::Binary::Add),
            inputs: ["h", "logits"].map(str::to_owned).to_vec(),
            outputs: vec!["y".to_owned()],
        };
        graph.nodes.push(sum);
        graph.output.name = "y".to_owned();
        assert_eq!(absorb(&graph).unwrap(), graph);
    }
}
