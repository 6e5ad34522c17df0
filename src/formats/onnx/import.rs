//! From the bytes of an ONNX file to a checked graph.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    rc::Rc,
};

use super::{
    call::{Call, Known, Value},
    lowering::{Lowering, check_size},
    metadata,
    model::{self, Model, PortInfo, invalid},
    ops, order,
    proto::{FunctionProto, GraphProto, NodeProto, TensorProto, tensor_proto::DataType},
    tensor,
};
use crate::{
    domain::problem::{Cause, Problem},
    formats::{
        dim::{Dim, show},
        finish,
        free_names::FreeNames,
        graph::Port,
        imported::{ImportOptions, Imported},
        problems::{self, check_finite, not_a_classifier, unsupported},
        refusal::Refusal,
    },
};

/// Reads a classifier.
///
/// # Errors
/// `invalid_model`, `not_a_classifier`, `unsupported_operators` (all of them, with node names), `invalid_weights`, and
/// `invalid_config` where `input_shape` contradicts the file.
pub fn import(bytes: &[u8], options: &ImportOptions) -> Result<Imported, Problem> {
    let Model { mut graph, functions, metadata, opset, input, output } = model::read(bytes)?;
    let order = order::needed(&graph.node, &output.name)?;
    check_operators(&graph.node, &order, &functions)?;
    let shape = input_shape(&input, options.input_shape.as_deref())?;
    let batch = input.shape.as_ref().and_then(|shape| shape.first().copied().flatten());
    let mut lowering = Lowering::new(batch, names(&graph));
    lowering.warnings.extend(differences(&graph, &input, &output));
    let dims: Vec<Dim> = std::iter::once(Dim::N).chain(shape.iter().map(|extent| Dim::fixed(*extent as i64))).collect();
    check_size(&dims).map_err(|refusal| invalid(format!("The input \"{}\": {}.", input.name, refusal.reason())))?;
    lowering.define(&input.name, Value::Runtime { name: input.name.clone(), dims });
    let side_bytes = side_bytes(&graph.initializer, &options.external);
    let sent: usize = options.external.values().map(Vec::len).sum();
    let most = bytes.len().saturating_add(sent).saturating_add(1 << 24);
    define_weights(&mut lowering, &mut graph, &order, (&options.external, most))?;
    lower(&mut lowering, &graph.node, &order, (opset, &output.name))?;
    let classes = classes(&mut lowering, &output)?;
    let ports = (Port { name: input.name, shape }, Port { name: output.name, shape: vec![classes] });
    let (mut graph, mut warnings) = finish::graph(lowering, ports, opset)?;
    let (metadata, left_out) = metadata::kept(metadata);
    graph.metadata = metadata;
    warnings.extend(left_out);
    Ok(Imported { side_bytes, ..Imported::new(graph, warnings) })
}

/// In what the student's file will differ from this one, for those whose programs expect it.
fn differences(graph: &GraphProto, input: &PortInfo, output: &PortInfo) -> Vec<String> {
    let mut differences = Vec::new();
    if graph.output.len() > 1 {
        let (count, name) = (graph.output.len(), &output.name);
        differences.push(format!("The model has {count} outputs; the student has \"{name}\" alone."));
    }
    if let Some(batch) =
        input.shape.as_ref().and_then(|shape| shape.first().copied().flatten()).filter(|batch| *batch > 1)
    {
        differences.push(format!("The file fixes the batch to {batch}; the student takes batches of any size."));
    }
    if input.data_type != DataType::Float {
        let kind = input.data_type.as_str_name().to_lowercase();
        differences
            .push(format!("The input \"{}\" is of type {kind}; the student takes and gives float32.", input.name));
    }
    let traced = |node: &NodeProto| node.metadata_props.iter().any(|entry| entry.key().ends_with("stack_trace"));
    if graph.node.iter().any(traced) {
        differences.push(
            "The file tells paths and source lines of the machine that exported it; the student does not.".into(),
        );
    }
    differences
}

/// The outputs of a node that it needs a rule for: optional ones that nothing reads (a pooling's indices, running statistics)
/// need none.
fn results<'n>(node: &'n NodeProto, read: &HashSet<&str>) -> &'n [String] {
    let outputs = node.output.as_slice();
    // Into how many parts a Split divides follows from how many it has.
    if node.op_type() == "Split" {
        return outputs;
    }
    let last = outputs.iter().rposition(|name| !name.is_empty() && read.contains(name.as_str()));
    &outputs[..outputs.len().min(last.unwrap_or(0) + 1)]
}

pub(super) fn names(graph: &GraphProto) -> FreeNames {
    let values = graph.node.iter().flat_map(|node| node.output.iter().chain(&node.input)).cloned();
    let ports = graph.input.iter().chain(&graph.output).map(|port| port.name().to_owned());
    values.chain(ports).chain(graph.initializer.iter().map(|tensor| tensor.name().to_owned())).collect()
}

const FREE_BATCH: &str = "Export it with a free batch, and an example of two inputs: torch.onnx.export(model.eval(), (example,), \
    file, dynamic_shapes=({0: torch.export.Dim(\"batch\")},)), or with dynamic_axes={\"input\": {0: \"batch\"}} where \
    dynamo=False.";

/// A node in words.
fn describe(node: &NodeProto) -> String {
    match (node.name(), node.output.first()) {
        ("", Some(output)) => format!("the {} node that makes \"{output}\"", node.op_type()),
        (name, _) => format!("{} node \"{name}\"", node.op_type()),
    }
}

fn cause(node: &NodeProto, reason: &str) -> (String, Cause) {
    let detail = format!("{}: {reason}.", describe(node));
    let operator = Some(node.op_type().to_owned());
    (node.op_type().to_owned(), Cause { detail, param: Some(node.name().to_owned()), operator })
}

const INLINE: &str = "The file defines operators of its own, as functions. Put these in line, and send it again: \
    import onnx.inliner; onnx.save(onnx.inliner.inline_local_functions(onnx.load(\"model.onnx\")), \"model.onnx\").";

/// Operators that have no rule at all, before any work is done.
pub(super) fn check_operators(
    nodes: &[NodeProto],
    order: &[usize],
    functions: &[FunctionProto],
) -> Result<(), Problem> {
    let unknown = order.iter().map(|index| &nodes[*index]).filter_map(|node| {
        if !matches!(node.domain(), "" | "ai.onnx") {
            let reason = format!("operators of the domain \"{}\" are not known", node.domain());
            return Some((node, cause(node, &reason)));
        }
        ops::find(node.op_type()).is_none().then(|| (node, cause(node, "the operator is not known")))
    });
    let (unknown, causes): (Vec<&NodeProto>, Vec<(String, Cause)>) = unknown.unzip();
    if unknown.is_empty() {
        return Ok(());
    }
    let defined: HashSet<_> = functions.iter().map(|function| (function.domain(), function.name())).collect();
    let is_defined = unknown.iter().any(|node| defined.contains(&(node.domain(), node.op_type())));
    let problem = unsupported(causes);
    Err(if is_defined { problem.hint(INLINE) } else { problem })
}

/// The input's shape without the batch, from the file and what the client says.
fn input_shape(input: &PortInfo, given: Option<&[usize]>) -> Result<Vec<usize>, Problem> {
    if !input.is_of_floats() {
        let kind = input.data_type.as_str_name().to_lowercase();
        return Err(not_a_classifier(format!("The input \"{}\" is of type {kind}, not of floats.", input.name))
            .hint("Export the network without the steps that turn bytes or tokens into floats."));
    }
    let declared: Option<Vec<Option<usize>>> = input.shape.as_ref().map(|shape| {
        shape.iter().skip(1).map(|extent| extent.and_then(|extent| usize::try_from(extent).ok())).collect()
    });
    problems::input_shape(&input.show(), declared, given)
}

/// Reads the initialisers that needed nodes read: `most` elements together, since each takes at least a byte of a file, but
/// places in side files may repeat.
pub(super) fn define_weights(
    lowering: &mut Lowering,
    graph: &mut GraphProto,
    order: &[usize],
    (files, most): (&BTreeMap<String, Vec<u8>>, usize),
) -> Result<(), Problem> {
    let read: HashSet<&str> =
        order.iter().flat_map(|index| graph.node[*index].input.iter().map(String::as_str)).collect();
    let (needed, _): (Vec<TensorProto>, Vec<TensorProto>) =
        std::mem::take(&mut graph.initializer).into_iter().partition(|tensor| read.contains(tensor.name()));
    check_side_files(&needed, files)?;
    let (mut not_finite, mut left) = (Vec::new(), most);
    for tensor in needed {
        let array = charge(&tensor, &mut left)
            .and_then(|()| tensor::read_with(&tensor, files))
            .map_err(|refusal| invalid(format!("Initialiser \"{}\": {}.", tensor.name(), refusal.reason())))?;
        if array.as_f32().is_some_and(|values| values.iter().any(|value| !value.is_finite())) {
            not_finite.push(tensor.name().to_owned());
        }
        let known = Known { name: tensor.name().to_owned(), array: Rc::new(array), repeated: false };
        lowering.define(tensor.name(), Value::Known(known));
    }
    check_finite(&not_finite)
}

/// Takes a tensor's elements from those that may still be read.
fn charge(tensor: &TensorProto, left: &mut usize) -> Result<(), Refusal> {
    let (_, count) = tensor::size(tensor)?;
    *left = left
        .checked_sub(count)
        .ok_or("with it, the initialisers have more elements than the file and its side files have bytes")?;
    Ok(())
}

fn side_bytes(tensors: &[TensorProto], files: &BTreeMap<String, Vec<u8>>) -> u64 {
    let places: Vec<_> = tensors.iter().filter_map(tensor::external).collect();
    // By where they lie in memory: one file may be named in several ways.
    let found: BTreeMap<*const u8, usize> =
        places.iter().filter_map(|place| place.find(files)).map(|file| (file.as_ptr(), file.len())).collect();
    found.into_values().map(|bytes| bytes as u64).sum()
}

fn check_side_files(tensors: &[TensorProto], files: &BTreeMap<String, Vec<u8>>) -> Result<(), Problem> {
    let places = tensors.iter().filter_map(tensor::external).filter(|place| place.find(files).is_none());
    let missing: HashSet<&str> = places.map(|place| place.file).collect();
    let mut missing: Vec<&str> = missing.into_iter().take(12).collect();
    missing.sort_unstable();
    let Some(first) = missing.first() else { return Ok(()) };
    let detail = format!("The weights lie in a side file that was not sent: {}.", missing.join(", "));
    Err(invalid(detail).param("external_data").hint(format!(
        "Send it along (curl -F external_data=@{first}; on the command line --external-data {first}), or export one file: \
         torch.onnx.export(…, external_data=False)."
    )))
}

pub(super) fn lower(
    lowering: &mut Lowering,
    nodes: &[NodeProto],
    order: &[usize],
    (opset, output): (i64, &str),
) -> Result<(), Problem> {
    let inputs = order.iter().flat_map(|index| &nodes[*index].input);
    let read: HashSet<&str> = inputs.map(String::as_str).chain([output]).collect();
    let mut causes = Vec::new();
    for node in order.iter().map(|index| &nodes[*index]) {
        let Some(rule) = ops::find(node.op_type()) else { continue };
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            inputs.push(match name.as_str() {
                "" => None,
                name => Some(lowering.value(name).cloned().ok_or_else(|| {
                    invalid(format!("{} reads \"{name}\", which nothing makes.", describe(node)))
                        .hint("An initialiser may be missing: was the file edited, or saved without its weights?")
                })?),
            });
        }
        let call = Call { node, opset, inputs, results: results(node, &read) };
        let lost = call.present().any(|value| matches!(value, Value::Lost));
        let result = if lost { Ok(()) } else { rule(lowering, &call) };
        match result {
            Ok(()) => {}
            Err(Refusal::Unsupported(reason)) => causes.push(cause(node, &reason)),
            Err(Refusal::Invalid(reason)) => {
                let problem = invalid(format!("{}: {reason}.", describe(node)));
                // What a file with a fixed batch computes with it cannot always be told from other numbers.
                return Err(if lowering.batch.is_some() { problem.hint(FREE_BATCH) } else { problem });
            }
        }
        for output in call.outputs().filter(|name| !name.is_empty()) {
            if lowering.value(output).is_none() {
                lowering.define(output, Value::Lost);
            }
        }
    }
    if causes.is_empty() { Ok(()) } else { Err(unsupported(causes)) }
}

/// Checks that the output is (N, classes), or that with axes of extent 1 behind, which go; and that the file does not declare
/// otherwise.
fn classes(lowering: &mut Lowering, output: &PortInfo) -> Result<usize, Problem> {
    let (classes, dims) = finish::classes(lowering, &output.name)?;
    let declared: HashMap<usize, i64> =
        output.shape.iter().flatten().enumerate().filter_map(|(axis, extent)| Some((axis, (*extent)?))).collect();
    let rank = output.shape.as_ref().map_or(dims.len(), Vec::len);
    let contradicts = |(axis, own): (usize, &Dim)| declared.get(&axis).is_some_and(|said| Some(*said) != own.number());
    if rank != dims.len() || dims.iter().enumerate().skip(1).any(contradicts) {
        return Err(invalid(format!(
            "The file declares the output {}, but its nodes make {}.",
            output.show(),
            show(&dims)
        )));
    }
    Ok(classes)
}
