//! From the bytes of an archive to a checked graph.

use std::collections::{HashMap, HashSet};

use super::{
    calls, container,
    schema::{Graph, Node},
    signature::{self, Signature},
    weights::{Tensors, stored},
};
use crate::{
    domain::problem::{Cause, Problem},
    formats::{
        aten::{self, Context},
        dim::Dim,
        finish,
        free_names::FreeNames,
        graph::Port,
        imported::{ImportOptions, Imported},
        lowering::{Lowering, check_size},
        problems::{self, check_finite, invalid, not_a_classifier, unsupported},
        refusal::Refusal,
        value::{Known, Value},
    },
};

/// The opset that a graph is written with as ONNX, which this file does not speak of.
const OPSET: i64 = 18;

const FREE_BATCH: &str = "Export it with a free batch: torch.export.export(model.eval(), (example,), \
    dynamic_shapes=({0: torch.export.Dim(\"batch\")},)), with an example of two inputs.";

/// Reads a classifier.
///
/// # Errors
/// `unsupported_format`, `invalid_model`, `not_a_classifier`, `unsupported_operators` (all of them, with node names),
/// `invalid_weights`, and `invalid_config` where `input_shape` contradicts the file.
pub fn import(bytes: &[u8], options: &ImportOptions) -> Result<Imported, Problem> {
    let container = container::read(bytes)?;
    let signature = signature::read(&container.program)?;
    let graph = &container.program.graph_module.graph;
    check_names(graph, &signature)?;
    let needed = needed(&graph.nodes, signature.output);
    check_operators(&graph.nodes, &needed)?;
    let (shape, batch) = input(graph, &signature, options.input_shape.as_deref())?;
    let mut lowering = Lowering::new(batch, names(graph, &signature));
    lowering.warnings.extend(differences(graph, &signature, batch));
    let dims: Vec<Dim> = std::iter::once(Dim::N).chain(shape.iter().map(|extent| Dim::fixed(*extent as i64))).collect();
    check_size(&dims)
        .map_err(|refusal| invalid(format!("The input \"{}\": {}.", signature.input, refusal.reason())))?;
    lowering.define(signature.input, Value::Runtime { name: signature.input.to_owned(), dims });
    let reads = last_reads(&graph.nodes, &needed, signature.output);
    define_weights(&mut lowering, &signature, &reads, &mut Tensors::new(&container, bytes.len()))?;
    let mut context = Context::new(lowering, reads);
    lower(&mut context, &graph.nodes, &needed)?;
    let (classes, _) = finish::classes(&mut context.lowering, signature.output)?;
    let input = Port { name: signature.input.to_owned(), shape };
    let output = Port { name: signature.output.to_owned(), shape: vec![classes] };
    let (graph, warnings) = finish::graph(context.lowering, (input, output), OPSET)?;
    Ok(Imported::new(graph, warnings))
}

/// In what the student's file will differ from this one, for those whose programs expect it.
fn differences(graph: &Graph, signature: &Signature, batch: Option<i64>) -> Vec<String> {
    const FLOAT: i64 = 7;
    let mut differences = Vec::new();
    if let Some(batch) = batch {
        differences.push(format!("The file fixes the batch to {batch}; the student takes batches of any size."));
    }
    if graph.tensor_values.get(signature.input).is_some_and(|meta| meta.dtype != FLOAT) {
        let input = signature.input;
        differences.push(format!("The input \"{input}\" is not of float32; the student takes and gives float32."));
    }
    if graph.nodes.iter().any(|node| node.metadata.contains_key("stack_trace")) {
        differences.push(
            "The file tells paths and source lines of the machine that exported it; the student does not.".into(),
        );
    }
    differences
}

/// Every value is made once, or the program has no meaning.
fn check_names(graph: &Graph, signature: &Signature) -> Result<(), Problem> {
    let mut made: HashSet<String> = signature.tensors.keys().map(|name| (*name).to_owned()).collect();
    made.insert(signature.input.to_owned());
    for node in &graph.nodes {
        for name in calls::outputs(node).into_iter().filter(|name| !name.is_empty()) {
            if let Some(twice) = made.replace(name) {
                return Err(invalid(format!("The value \"{twice}\" is made twice.")));
            }
        }
    }
    Ok(())
}

fn names(graph: &Graph, signature: &Signature) -> FreeNames {
    let made = graph.nodes.iter().flat_map(calls::outputs);
    let tensors = signature.tensors.iter().flat_map(|(value, tensor)| [*value, *tensor]);
    made.chain(tensors.map(str::to_owned)).chain([signature.input.to_owned()]).collect()
}

/// Whether the node changes its first tensor.
fn in_place(node: &Node) -> bool {
    calls::operator(&node.target).is_some_and(aten::is_in_place)
}

fn reads(node: &Node) -> impl Iterator<Item = &str> {
    node.inputs.iter().flat_map(|input| calls::names(&input.arg))
}

/// The value whose memory each value may share, where it is not its own.
fn memory(nodes: &[Node]) -> HashMap<&str, &str> {
    let mut memory: HashMap<&str, &str> = HashMap::new();
    for node in nodes {
        let shares = in_place(node) || calls::operator(&node.target).is_some_and(aten::is_view);
        if let (true, Some(source)) = (shares, calls::source(node)) {
            let root = memory.get(source).copied().unwrap_or(source);
            memory.extend(node.outputs.iter().flat_map(calls::names).map(|name| (name, root)));
        }
    }
    memory
}

/// Which nodes the output depends on: a node that changes memory that is read later is one of them.
fn needed(nodes: &[Node], output: &str) -> Vec<bool> {
    let memory = memory(nodes);
    let root = |name: &str| -> String { memory.get(name).copied().unwrap_or(name).to_owned() };
    let mut wanted: HashSet<&str> = HashSet::from([output]);
    let mut remembered: HashSet<String> = HashSet::from([root(output)]);
    let mut needed = vec![false; nodes.len()];
    for (index, node) in nodes.iter().enumerate().rev() {
        let changes = in_place(node) && calls::source(node).is_some_and(|source| remembered.contains(&root(source)));
        let makes = node.outputs.iter().flat_map(calls::names).any(|name| wanted.contains(name));
        if changes || makes {
            needed[index] = true;
            for name in reads(node) {
                wanted.insert(name);
                remembered.insert(root(name));
            }
        }
    }
    needed
}

/// The number of the last needed node that reads each value; the output is read after all of them.
fn last_reads(nodes: &[Node], needed: &[bool], output: &str) -> HashMap<String, usize> {
    let mut last = HashMap::new();
    for (index, node) in nodes.iter().enumerate().filter(|(index, _)| needed[*index]) {
        last.extend(reads(node).map(|name| (name.to_owned(), index)));
    }
    last.insert(output.to_owned(), nodes.len());
    last
}

fn label(node: &Node) -> &str {
    node.target.strip_prefix("torch.ops.").unwrap_or(&node.target)
}

fn describe(node: &Node) -> String {
    let name = node.name.clone().or_else(|| calls::outputs(node).into_iter().next()).unwrap_or_default();
    format!("{} node \"{name}\"", label(node))
}

fn cause(node: &Node, reason: &str) -> (String, Cause) {
    let operator = label(node).to_owned();
    let param = node.name.clone().or_else(|| calls::outputs(node).into_iter().next());
    (operator.clone(), Cause { detail: format!("{}: {reason}.", describe(node)), param, operator: Some(operator) })
}

/// Operators that have no rule at all, before any work is done.
fn check_operators(nodes: &[Node], needed: &[bool]) -> Result<(), Problem> {
    let unknown = nodes.iter().zip(needed).filter(|(_, needed)| **needed).filter_map(|(node, _)| {
        let known = calls::operator(&node.target).is_some_and(aten::is_known);
        (!known).then(|| cause(node, "the operator is not known"))
    });
    let unknown: Vec<(String, Cause)> = unknown.collect();
    if unknown.is_empty() { Ok(()) } else { Err(unsupported(unknown)) }
}

/// The input's shape without the batch, and the batch where the file fixes it.
fn input(graph: &Graph, signature: &Signature, given: Option<&[usize]>) -> Result<(Vec<usize>, Option<i64>), Problem> {
    let name = signature.input;
    let meta = graph.tensor_values.get(name);
    let meta = meta.ok_or_else(|| invalid(format!("The program does not tell the shape of its input \"{name}\".")))?;
    if !stored(meta.dtype).is_ok_and(|stored| stored.is_float()) {
        return Err(not_a_classifier(format!("The input \"{name}\" is not of floats."))
            .hint("Export the network without the steps that turn bytes or tokens into floats."));
    }
    let extents = meta.sizes.iter().skip(1).map(|size| size.number().and_then(|size| usize::try_from(size).ok()));
    let shape = problems::input_shape(&signature::show(name, meta), Some(extents.collect()), given)?;
    // An example without rows fixes nothing.
    Ok((shape, meta.sizes.first().and_then(|size| size.number()).filter(|batch| *batch > 0)))
}

/// Reads the tensors that needed nodes read, under their names in a state dictionary.
fn define_weights<'c>(
    lowering: &mut Lowering,
    signature: &Signature<'c>,
    reads: &HashMap<String, usize>,
    tensors: &mut Tensors<'c, '_>,
) -> Result<(), Problem> {
    let mut values: Vec<(&str, &'c str)> = signature.tensors.iter().map(|(value, tensor)| (*value, *tensor)).collect();
    values.retain(|(value, _)| reads.contains_key(*value));
    values.sort_unstable();
    let mut not_finite = Vec::new();
    for (value, tensor) in values {
        let array = tensors.get(tensor)?;
        if array.as_f32().is_some_and(|values| values.iter().any(|value| !value.is_finite())) {
            not_finite.push(tensor.to_owned());
        }
        // A tensor may be called as a value of the program is.
        let name = if reads.contains_key(tensor) || tensor == signature.output { value } else { tensor };
        let known = Known { name: name.to_owned(), array, repeated: false };
        lowering.define(value, Value::Known(known));
    }
    check_finite(&not_finite)
}

fn lower(context: &mut Context, nodes: &[Node], needed: &[bool]) -> Result<(), Problem> {
    let mut causes = Vec::new();
    for (index, node) in nodes.iter().enumerate().filter(|(index, _)| needed[*index]) {
        let Some(operator) = calls::operator(&node.target) else { continue };
        let all = calls::outputs(node);
        let mut outputs = all.clone();
        while outputs.len() > 1 && outputs.last().is_some_and(|name| !context.is_read(name)) {
            outputs.pop();
        }
        let call = calls::call(context, node, operator, outputs).map_err(|name| {
            invalid(format!("{} reads \"{name}\", which nothing before it makes.", describe(node)))
                .hint("Was the file edited? Save it anew with torch.export.save.")
        })?;
        match aten::lower(context, &call, index, calls::source(node)) {
            Ok(()) => {}
            Err(Refusal::Unsupported(reason)) => causes.push(cause(node, &reason)),
            Err(Refusal::Invalid(reason)) => {
                let problem = invalid(format!("{}: {reason}.", describe(node)));
                // What a file with a fixed batch computes with it cannot always be told from other numbers.
                return Err(if context.batch.is_some() { problem.hint(FREE_BATCH) } else { problem });
            }
        }
        for output in all.iter().filter(|name| !name.is_empty()) {
            if context.value(output).is_none() {
                context.define(output, Value::Lost);
            }
        }
    }
    if causes.is_empty() { Ok(()) } else { Err(unsupported(causes)) }
}
