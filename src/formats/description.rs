//! A network in words that a program can follow: enough to build it around its weights, as `student.json` and in the metadata
//! of a student's safetensors file. docs/WEIGHTS.md says what each member means.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    graph::{Graph, Node, Op},
    layout,
};
use crate::domain::architecture::Architecture;

/// Raised when a member changes its meaning.
const VERSION: u32 = 1;

/// What the graph does not say of itself.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// The network that it is, or that it was before layers were decomposed.
    pub architecture: Option<Architecture>,
    pub decompositions: Vec<Decomposition>,
}

/// A layer that became two or three, whose names begin with its own.
#[derive(Clone, Debug, Serialize)]
pub struct Decomposition {
    pub layer: String,
    /// `tucker` or `svd`.
    pub action: String,
    /// `[in, out]`, or `[rank]`.
    pub ranks: Vec<usize>,
}

/// Input, output, layers in the order in which they run, and the shapes of the weights.
pub fn describe(graph: &Graph, about: &About) -> Value {
    let graph = &*layout::as_declared(graph);
    let weights: Map<String, Value> =
        graph.weights.iter().map(|(name, tensor)| (name.clone(), json!(tensor.shape))).collect();
    json!({
        "version": VERSION,
        "producer": "kegd",
        "architecture": about.architecture,
        "input": graph.input,
        "output": graph.output,
        "layers": graph.nodes.iter().map(layer).collect::<Vec<_>>(),
        "weights": weights,
        "decompositions": about.decompositions,
    })
}

fn layer(node: &Node) -> Value {
    let (op, attributes) = operator(&node.op);
    json!({ "name": node.name, "op": op, "attributes": attributes, "inputs": node.inputs, "outputs": node.outputs })
}

/// An operator's name and its attributes; those that are one word are under `kind`.
fn operator(op: &Op) -> (String, Value) {
    match serde_json::to_value(op).unwrap_or_default() {
        Value::String(name) => (name, json!({})),
        Value::Object(members) => match members.into_iter().next() {
            Some((name, attributes @ Value::Object(_))) => (name, attributes),
            Some((name, kind)) => (name, json!({ "kind": kind })),
            None => (String::new(), json!({})),
        },
        _ => (String::new(), json!({})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::graph::{Binary, Window};

    #[test]
    fn operators_have_a_name_and_attributes() {
        let window = Window {
            kernel: vec![2, 2],
            strides: vec![2, 2],
            dilations: vec![1, 1],
            pads_begin: vec![0, 0],
            pads_end: vec![0, 0],
            ceil: false,
        };
        assert_eq!(operator(&Op::GlobalAveragePool), ("global_average_pool".to_owned(), json!({})));
        assert_eq!(operator(&Op::Binary(Binary::Add)), ("binary".to_owned(), json!({"kind": "add"})));
        assert_eq!(operator(&Op::Clip { min: Some(0.0), max: None }).1, json!({"min": 0.0, "max": null}));
        let (name, attributes) = operator(&Op::MaxPool { window });
        assert_eq!((name.as_str(), &attributes["window"]["kernel"]), ("max_pool", &json!([2, 2])));
    }
}
