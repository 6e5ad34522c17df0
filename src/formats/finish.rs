//! The end of an import: names are settled, what the output does not need is left out, weights are checked.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    rc::Rc,
};

use super::{
    array::Array,
    dim::{Dim, show},
    graph::{Graph, Node, Op, Port, Tensor},
    lowering::Lowering,
    problems::{check_finite, invalid, not_a_classifier},
    value::Value,
};
use crate::domain::{layout::Layout, problem::Problem};

/// The number of classes, and the shape that the value named `output` has in the file: (N, classes), or that with axes of
/// extent 1 behind, which are taken away here.
///
/// # Errors
/// `not_a_classifier`, and `invalid_model` where nothing makes it.
pub fn classes(lowering: &mut Lowering, output: &str) -> Result<(usize, Vec<Dim>), Problem> {
    const WANTED: &str = "A classifier answers with one row of two or more class scores for each input: (N, classes).";
    const ONE_SCORE: &str = "A classifier answers with two or more scores for each input. Is it one score z for two classes? Export \
        both: torch.cat([torch.zeros_like(z), z], 1), with z (N, 1) before any sigmoid. Regression is not supported.";
    let refuse = |detail: String| not_a_classifier(detail).hint(WANTED);
    let dims = match lowering.value(output) {
        Some(Value::Runtime { dims, .. }) => dims.clone(),
        Some(_) => return Err(refuse(format!("The output \"{output}\" does not depend on the input."))),
        None => return Err(invalid(format!("No node makes the output \"{output}\"."))),
    };
    let classes = match dims.as_slice() {
        [batch, classes, ones @ ..] if *batch == Dim::N && ones.iter().all(|dim| *dim == Dim::ONE) => classes.extent(),
        _ => None,
    };
    let classes = classes.filter(|classes| *classes >= 2);
    let classes = classes.ok_or_else(|| {
        let refused = refuse(format!("The output \"{output}\" has the shape {}.", show(&dims)));
        let is_one_score = dims.first() == Some(&Dim::N) && dims[1..].iter().all(|dim| *dim == Dim::ONE);
        if is_one_score { refused.hint(ONE_SCORE) } else { refused }
    })?;
    if dims.len() > 2 {
        lowering.warnings.push(format!(
            "The output \"{output}\" is {}; the student's is (N, {classes}), without the axes of extent 1.",
            show(&dims)
        ));
        flatten_output(lowering, output, classes);
    }
    Ok((classes, dims))
}

/// Makes the graph of a finished lowering, and gives its warnings.
///
/// # Errors
/// `invalid_weights` where a folded constant is not finite.
pub fn graph(
    mut lowering: Lowering,
    (input, output): (Port, Port),
    opset: i64,
) -> Result<(Graph, Vec<String>), Problem> {
    let Some(Value::Runtime { name: made, .. }) = lowering.value(&output.name).cloned() else {
        return Err(invalid(format!("No node makes the output \"{}\".", output.name)));
    };
    if made == input.name {
        let detail = format!("The output \"{}\" is the input, unchanged.", output.name);
        return Err(not_a_classifier(detail).hint("The network has no layers."));
    }
    let mut nodes = needed(std::mem::take(&mut lowering.nodes), &made);
    rename(&mut nodes, &made, &output.name);
    settle_node_names(&mut nodes);
    let read: HashSet<&str> = nodes.iter().flat_map(|node| node.inputs.iter().map(String::as_str)).collect();
    let used = std::mem::take(&mut lowering.weights).into_iter().filter(|(name, _)| read.contains(name.as_str()));
    let used: Vec<(String, Rc<Array>)> = used.collect();
    let warnings = std::mem::take(&mut lowering.warnings);
    // The table of values holds every array a second time; without it, the weights are moved and not copied.
    drop(lowering);
    let mut weights: BTreeMap<String, Tensor> = BTreeMap::new();
    for (name, array) in used {
        let array = Rc::try_unwrap(array).unwrap_or_else(|shared| shared.as_ref().clone());
        let tensor = array.into_tensor();
        let tensor =
            tensor.ok_or_else(|| invalid(format!("\"{name}\" depends on the batch, and a layer reads it.")))?;
        weights.insert(name, tensor);
    }
    let not_finite =
        |tensor: &Tensor| tensor.as_f32().is_some_and(|values| values.iter().any(|value| !value.is_finite()));
    let broken: Vec<String> =
        weights.iter().filter(|(_, tensor)| not_finite(tensor)).map(|(name, _)| name.clone()).collect();
    check_finite(&broken)?;
    Ok((Graph { input, layout: Layout::default(), output, nodes, weights, opset, metadata: [].into() }, warnings))
}

/// Puts a Reshape to (N, classes) behind the value `output`.
fn flatten_output(lowering: &mut Lowering, output: &str, classes: usize) {
    let Some(Value::Runtime { name, .. }) = lowering.value(output).cloned() else { return };
    // The name stays the result's; what had it so far gets another.
    let from = if name == output {
        let own = lowering.unused(&format!("{output}/unflattened"));
        rename(&mut lowering.nodes, &name, &own);
        own
    } else {
        name
    };
    let flat = lowering.unused(&format!("{output}/flat"));
    let op = Op::Reshape { shape: vec![-1, classes as i64] };
    lowering.nodes.push(Node { name: String::new(), op, inputs: vec![from], outputs: vec![flat.clone()] });
    let dims = vec![Dim::N, Dim::fixed(classes as i64)];
    lowering.define(output, Value::Runtime { name: flat, dims });
}

/// Without the nodes whose results nobody reads: those of values that were wanted for their shape alone.
fn needed(nodes: Vec<Node>, output: &str) -> Vec<Node> {
    let mut wanted: HashSet<String> = HashSet::from([output.to_owned()]);
    let mut kept: Vec<Node> = Vec::with_capacity(nodes.len());
    for node in nodes.into_iter().rev() {
        if node.outputs.iter().any(|name| wanted.contains(name)) {
            wanted.extend(node.inputs.iter().cloned());
            kept.push(node);
        }
    }
    kept.reverse();
    kept
}

/// Gives the value that is the output the output's name, which a dropped Identity may have had.
fn rename(nodes: &mut [Node], from: &str, to: &str) {
    if from == to {
        return;
    }
    for name in nodes.iter_mut().flat_map(|node| node.inputs.iter_mut().chain(&mut node.outputs)) {
        if name == from {
            to.clone_into(name);
        }
    }
}

/// Layers are chosen by name: where several nodes share one, all but the first get a number.
fn settle_node_names(nodes: &mut [Node]) {
    let mut taken: HashSet<String> = nodes.iter().map(|node| node.name.clone()).collect();
    let mut seen: HashMap<String, u32> = HashMap::new();
    for node in nodes.iter_mut().filter(|node| !node.name.is_empty()) {
        let count = seen.entry(node.name.clone()).or_insert(0);
        *count += 1;
        if *count == 1 {
            continue;
        }
        loop {
            let name = format!("{}_{count}", node.name);
            if taken.insert(name.clone()) {
                node.name = name;
                break;
            }
            *count += 1;
        }
    }
}
