//! The first weights of a student that is initialised anew: He's (Delving Deep into Rectifiers, ICCV 2015) for convolutions
//! and linear layers, 1 and 0 for norms, 0 for biases.

use std::collections::{BTreeMap, BTreeSet};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::{
    learned,
    seed::{Stream, number},
};
use crate::formats::{
    free_names::FreeNames,
    graph::{Binary, Data, Graph, Node, Op, Tensor},
};

/// What a weight begins with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum First {
    /// N(0, 2 / `fan_in`): the variance of what passes stays, where half of it is cut off.
    He {
        fan_in: usize,
    },
    Constant(f32),
}

/// PyTorch's slope of a PReLU.
const SLOPE: f32 = 0.25;

/// Overwrites every weight that a layer learns, and the statistics of batch norm. Constants that the network computes with
/// stay.
pub fn initialise(graph: &mut Graph, job_seed: u64) {
    unshare(graph);
    let mut numbers = ChaCha8Rng::seed_from_u64(number(job_seed, Stream::Student));
    let mut done: BTreeSet<String> = BTreeSet::new();
    for node in &graph.nodes {
        for (input, first) in firsts(node, &graph.weights) {
            let name = &node.inputs[input];
            if done.insert(name.clone())
                && let Some(constant) = graph.weights.get_mut(name)
                && let Data::F32(values) = &mut constant.data
            {
                match first {
                    First::Constant(value) => values.fill(value),
                    First::He { fan_in } => draw(values, fan_in, &mut numbers),
                }
            }
        }
    }
}

/// Gives what begins with one number a constant of its own wherever it is read. Exporters store equal constants once, and
/// those of a network that nobody has trained are equal: scales would be variances too, and move with them.
fn unshare(graph: &mut Graph) {
    let mut names: FreeNames = graph.names().cloned().collect();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for node in &mut graph.nodes {
        for (input, first) in firsts(node, &graph.weights) {
            let name = &mut node.inputs[input];
            let is_shared = matches!(first, First::Constant(_)) && !seen.insert(name.clone());
            if let Some(constant) = graph.weights.get(name).filter(|_| is_shared).cloned() {
                *name = names.give(name);
                graph.weights.insert(name.clone(), constant);
            }
        }
    }
}

/// The inputs of a node that are weights, and what each begins with.
fn firsts(node: &Node, weights: &BTreeMap<String, Tensor>) -> Vec<(usize, First)> {
    let shape = |index: usize| -> &[usize] {
        node.inputs.get(index).and_then(|name| weights.get(name)).map_or(&[], |tensor| &tensor.shape)
    };
    let weight = shape(1);
    let he = |fan_in: usize| First::He { fan_in: fan_in.max(1) };
    let zero = First::Constant(0.0);
    let one = First::Constant(1.0);
    let product = |extents: Option<&[usize]>| extents.unwrap_or_default().iter().product::<usize>();
    let is_bias = |index: &usize| {
        let values = node.inputs.get(*index).and_then(|name| weights.get(name)?.as_f32()).unwrap_or_default();
        let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        learned::is_parameter(&node.op, values.len(), f64::from(largest))
    };
    let by_input: Vec<(usize, First)> = match &node.op {
        Op::Conv { .. } => vec![(1, he(product(weight.get(1..)))), (2, zero)],
        Op::ConvTranspose { groups, .. } => {
            let from = weight.first().copied().unwrap_or(1) / groups.max(&1);
            vec![(1, he(from * product(weight.get(2..)))), (2, zero)]
        }
        Op::Gemm { trans_b: true, .. } => vec![(1, he(product(weight.get(1..)))), (2, zero)],
        Op::Gemm { .. } => vec![(1, he(weight.iter().rev().nth(1).copied().unwrap_or(1))), (2, zero)],
        // A weight stands on either side.
        Op::MatMul => {
            let rows = weight.iter().rev().nth(1).copied().unwrap_or(1);
            vec![(0, he(shape(0).last().copied().unwrap_or(1))), (1, he(rows))]
        }
        Op::BatchNorm { .. } => vec![(1, one), (2, zero), (3, zero), (4, one)],
        Op::LayerNorm { .. } | Op::InstanceNorm { .. } => vec![(1, one), (2, zero)],
        Op::PRelu => vec![(1, First::Constant(SLOPE))],
        // A bias that stands alone.
        Op::Binary(Binary::Add) => (0..2).filter(is_bias).map(|index| (index, zero)).collect(),
        _ => Vec::new(),
    };
    by_input.into_iter().filter(|(input, _)| *input < node.inputs.len()).collect()
}

fn draw(values: &mut [f32], fan_in: usize, numbers: &mut ChaCha8Rng) {
    let deviation = (2.0 / fan_in as f32).sqrt();
    for value in values {
        let normal: f32 = StandardNormal.sample(numbers);
        *value = normal * deviation;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::architecture::Architecture,
        formats::{
            architectures::{Shapes, Sizes, blueprint},
            graph::Port,
        },
    };

    fn resnet(seed: u64) -> Graph {
        let sizes = Sizes { input: &[3, 32, 32], classes: 10, found: &Shapes::new() };
        let mut graph = blueprint(Architecture::Resnet14, sizes).unwrap().blank().unwrap();
        initialise(&mut graph, seed);
        graph
    }

    #[test]
    fn variances_are_hes_and_norms_do_nothing() {
        let graph = resnet(1);
        let of = |name: &str| graph.weights[name].as_f32().unwrap().to_vec();
        let weights = of("layer3.1.conv2.weight");
        let square = weights.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / weights.len() as f64;
        assert!((square * 64.0 * 9.0 / 2.0 - 1.0).abs() < 0.03, "{square}");
        assert!(of("fc.weight").iter().all(|value| *value != 0.0) && of("fc.bias").iter().all(|value| *value == 0.0));
        for (part, value) in [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)] {
            assert!(of(&format!("layer2.0.bn1.{part}")).iter().all(|other| *other == value), "{part}");
        }
    }

    #[test]
    fn what_an_exporter_stored_once_is_the_weight_of_each_layer_again() {
        let alone = resnet(1);
        let mut graph = alone.clone();
        let norms = graph.nodes.iter_mut().filter(|node| matches!(node.op, Op::BatchNorm { .. }));
        for norm in norms.take(3) {
            norm.inputs[1..].clone_from_slice(&["bn1.weight", "bn1.bias", "bn1.bias", "bn1.weight"].map(str::to_owned));
        }
        initialise(&mut graph, 1);
        let constants = |graph: &Graph| -> Vec<(String, Tensor)> {
            let norms = graph.nodes.iter().filter(|node| matches!(node.op, Op::BatchNorm { .. }));
            let names = norms.flat_map(|norm| norm.inputs[1..].to_vec());
            names.map(|name| (name.clone(), graph.weights[&name].clone())).collect()
        };
        let names: BTreeSet<String> = constants(&graph).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), constants(&graph).len(), "some norms still share a constant");
        let values = |graph: &Graph| constants(graph).into_iter().map(|(_, constant)| constant).collect::<Vec<_>>();
        assert_eq!(values(&graph), values(&alone));
    }

    /// As networks have it that mix tokens.
    #[test]
    fn a_weight_on_the_left_of_a_product_is_one() {
        let port = |name: &str| Port { name: name.to_owned(), shape: vec![200, 3] };
        let (inputs, outputs) = (vec!["left".to_owned(), "x".to_owned()], vec!["y".to_owned()]);
        let weights = [("left".to_owned(), Tensor::f32(vec![50, 200], vec![0.0; 10_000]))].into();
        let nodes = vec![Node { name: "mix".to_owned(), op: Op::MatMul, inputs, outputs }];
        let mut graph = Graph {
            input: port("x"),
            layout: Default::default(),
            output: port("y"),
            nodes,
            weights,
            opset: 17,
            metadata: [].into(),
        };
        initialise(&mut graph, 1);
        let values = graph.weights["left"].as_f32().unwrap();
        let square = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / values.len() as f64;
        assert!((square * 100.0 - 1.0).abs() < 0.1, "{square}");
    }

    #[test]
    fn the_seed_decides() {
        assert_eq!(resnet(7), resnet(7));
        assert_ne!(resnet(7).weights, resnet(8).weights);
    }
}
