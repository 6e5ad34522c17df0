//! Which constants of a network are parameters, which training moves, and which only belong to its formulas.

use crate::formats::graph::{Binary, Op};

/// What is added and as large as this in any place is a mask of attention, no bias: networks with windows mask with -100, and
/// exporters write minus infinity as anything from -1e4 to the least float.
const MASK: f64 = 100.0;

/// The inputs of a node with `op` that are parameters where they are constants.
pub fn inputs(op: &Op) -> &'static [usize] {
    match op {
        Op::Conv { .. } | Op::ConvTranspose { .. } | Op::Gemm { .. } => &[1, 2],
        Op::LayerNorm { .. } | Op::InstanceNorm { .. } | Op::BatchNorm { .. } => &[1, 2],
        Op::PRelu => &[1],
        Op::MatMul | Op::Binary(Binary::Add) => &[0, 1],
        _ => &[],
    }
}

/// Whether a constant of `count` values, the `largest` by its size, is a parameter of `op`. A single number that is added is
/// none: the ε of a norm that was written out, or the shift in an activation, and a network breaks if they move.
pub fn is_parameter(op: &Op, count: usize, largest: f64) -> bool {
    match op {
        Op::Binary(_) => count > 1 && largest < MASK,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::{
        engine::{executor::Executor, initial},
        formats::graph::{Graph, Node, Port, Tensor},
    };

    /// x + bias, + ε, + mask, and a PReLU: of a value with four features.
    fn network() -> Graph {
        let port = |name: &str| Port { name: name.to_owned(), shape: vec![4] };
        let add = |from: &str, constant: &str, to: &str| Node {
            name: format!("/{to}"),
            op: Op::Binary(Binary::Add),
            inputs: vec![from.to_owned(), constant.to_owned()],
            outputs: vec![to.to_owned()],
        };
        let slope = Node { name: "/prelu".to_owned(), op: Op::PRelu, ..add("c", "slope", "logits") };
        let constant = |values: &[f32]| Tensor::f32(vec![values.len()], values.to_vec());
        Graph {
            input: port("x"),
            layout: Default::default(),
            output: port("logits"),
            nodes: vec![add("x", "bias", "a"), add("a", "epsilon", "b"), add("b", "mask", "c"), slope],
            weights: [
                ("bias".to_owned(), constant(&[1.0, 2.0, 3.0, 4.0])),
                ("epsilon".to_owned(), constant(&[1e-5])),
                ("mask".to_owned(), constant(&[0.0, -1e9, 0.0, f32::MIN])),
                ("slope".to_owned(), constant(&[0.1])),
            ]
            .into(),
            opset: 17,
            metadata: [].into(),
        }
    }

    #[test]
    fn biases_and_slopes_are_trained_and_what_formulas_add_is_not() {
        let trained = Executor::new(&network(), Device::Cpu).unwrap().train().unwrap();
        assert_eq!(trained.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["bias", "slope"]);
    }

    #[test]
    fn a_mask_of_windows_is_one_too() {
        let add = Op::Binary(Binary::Add);
        assert!(is_parameter(&add, 4, 99.0) && !is_parameter(&add, 4, 100.0));
    }

    #[test]
    fn biases_and_slopes_begin_anew_and_what_formulas_add_stays() {
        let (before, mut after) = (network(), network());
        initial::initialise(&mut after, 1);
        let of = |graph: &Graph, name: &str| graph.weights[name].as_f32().unwrap().to_vec();
        assert_eq!((of(&after, "bias"), of(&after, "slope")), (vec![0.0; 4], vec![0.25]));
        for name in ["epsilon", "mask"] {
            assert_eq!(of(&after, name), of(&before, name), "{name}");
        }
    }
}
