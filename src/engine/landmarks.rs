//! Values inside the two networks that mean the same: where a student can learn from the teacher before the logits.
//!
//! Compression replaces layers and keeps everything between them, so that the student has the teacher's values under the
//! teacher's names. Matched there, each block learns from its own error, and not from what is left of it at the output.

use std::collections::BTreeSet;

use super::compress::layer::layers;
use crate::{
    domain::problem::Problem,
    formats::graph::{Graph, Node, Op},
};

/// Names of the values that both graphs compute and that end a block: what becomes of a layer's output through batch norm,
/// activation and sums, until more than one node reads it, or one that is no such thing. The logits are not among them.
///
/// # Errors
/// `invalid_model` where a node's inputs do not fit together.
pub fn landmarks(teacher: &Graph, student: &Graph) -> Result<Vec<String>, Problem> {
    let shared: BTreeSet<&String> = student.nodes.iter().flat_map(|node| &node.outputs).collect();
    let logits = teacher.logits().map_or_else(|| teacher.output.name.clone(), |graph| graph.output.name);
    let mut found: Vec<String> = Vec::new();
    for layer in layers(teacher)? {
        let value = end_of_block(teacher, &teacher.nodes[layer.node].outputs[0]);
        if *value != logits && shared.contains(value) && !found.contains(value) {
            found.push(value.clone());
        }
    }
    Ok(found)
}

fn end_of_block<'a>(graph: &'a Graph, mut value: &'a String) -> &'a String {
    while let [reader] = readers(graph, value)[..]
        && keeps_places(&reader.op)
    {
        value = &reader.outputs[0];
    }
    value
}

fn readers<'a>(graph: &'a Graph, value: &str) -> Vec<&'a Node> {
    graph.nodes.iter().filter(|node| node.inputs.iter().any(|input| input == value)).collect()
}

/// Whether an operator's output has its elements where the input has them.
fn keeps_places(op: &Op) -> bool {
    matches!(
        op,
        Op::BatchNorm { .. }
            | Op::LayerNorm { .. }
            | Op::InstanceNorm { .. }
            | Op::Unary(_)
            | Op::Binary(_)
            | Op::LeakyRelu { .. }
            | Op::Elu { .. }
            | Op::Selu { .. }
            | Op::HardSigmoid { .. }
            | Op::Gelu { .. }
            | Op::PRelu
            | Op::Clip { .. }
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::formats::graph::{Binary, Port, Tensor, Unary};

    fn node(op: Op, inputs: &[&str], output: &str) -> Node {
        Node {
            name: format!("make {output}"),
            op,
            inputs: inputs.iter().map(|&name| name.to_owned()).collect(),
            outputs: vec![output.to_owned()],
        }
    }

    /// x → a → relu → r; r → b; b + r → relu → s; s → logits.
    fn residual() -> Graph {
        let linear = || Op::Gemm { alpha: 1.0, beta: 1.0, trans_b: true };
        let weights = ["wa", "wb", "wc"].map(|name| (name.to_owned(), Tensor::f32(vec![3, 3], vec![1.0; 9])));
        Graph {
            input: Port { name: "x".to_owned(), shape: vec![3] },
            layout: Default::default(),
            output: Port { name: "logits".to_owned(), shape: vec![3] },
            nodes: vec![
                node(linear(), &["x", "wa"], "a"),
                node(Op::Unary(Unary::Relu), &["a"], "r"),
                node(linear(), &["r", "wb"], "b"),
                node(Op::Binary(Binary::Add), &["b", "r"], "sum"),
                node(Op::Unary(Unary::Relu), &["sum"], "s"),
                node(linear(), &["s", "wc"], "logits"),
            ],
            weights: BTreeMap::from(weights),
            opset: 17,
            metadata: [].into(),
        }
    }

    #[test]
    fn blocks_end_where_their_value_branches_or_meets_another_layer() {
        assert_eq!(landmarks(&residual(), &residual()).unwrap(), ["r", "s"]);
    }

    #[test]
    fn logits_before_a_last_softmax_are_none() {
        let mut teacher = residual();
        teacher.nodes.push(node(Op::Softmax { axis: 1 }, &["logits"], "probabilities"));
        teacher.output.name = "probabilities".to_owned();
        assert_eq!(landmarks(&teacher, &teacher).unwrap(), ["r", "s"]);
    }

    #[test]
    fn a_value_that_the_student_lacks_is_none() {
        let mut student = residual();
        student.nodes.retain(|node| node.outputs[0] != "r");
        assert_eq!(landmarks(&residual(), &student).unwrap(), ["s"]);
    }
}
