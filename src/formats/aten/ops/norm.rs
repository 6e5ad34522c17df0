//! <https://pytorch.org/docs/stable/generated/torch.nn.functional.batch_norm.html>, `layer_norm`, `instance_norm`,
//! `group_norm`, and what they become. Batch normalisation is always that of inference: a teacher is frozen.

use super::Lower;
use crate::formats::{
    array::Array,
    aten::{call::Call, lower::Context},
    dim::{Dim, product, show},
    graph::{Binary, Op},
    lowering::groups,
    refusal::Refusal,
    value::Value,
};

pub const OPERATORS: &[(&str, Lower)] = &[
    ("_native_batch_norm_legit", batch_norm),
    ("_native_batch_norm_legit_no_training", batch_norm),
    ("batch_norm", batch_norm),
    ("cudnn_batch_norm", batch_norm),
    ("group_norm", group_norm),
    ("instance_norm", instance_norm),
    ("layer_norm", layer_norm),
    ("native_batch_norm", batch_norm),
    ("native_group_norm", group_norm),
    ("native_layer_norm", layer_norm),
];

fn epsilon(call: &Call) -> Result<f32, Refusal> {
    call.attribute(if call.arg("epsilon").is_some() { "epsilon" } else { "eps" }, 1e-5)
}

/// The argument, or the same number for each of `len` channels.
fn or_filled(graph: &mut Context, call: &Call, name: &str, len: usize, value: f32) -> Result<Value, Refusal> {
    match call.optional(name)? {
        Some(given) => Ok(given.clone()),
        None => {
            graph.charge(len)?;
            Ok(graph.constant(call, name, Array::floats(vec![len], vec![value; len])))
        }
    }
}

fn channels(x: &Value) -> Result<usize, Refusal> {
    let dims = x.dims()?;
    dims.get(1).and_then(|dim| dim.extent()).ok_or_else(|| format!("it has no channels in {}", show(&dims)).into())
}

fn batch_norm(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let x = call.x()?;
    let (Some(mean), Some(variance)) = (call.optional("running_mean")?, call.optional("running_var")?) else {
        return Err(Refusal::unsupported("it has no running statistics"));
    };
    if call.flag("training", false)? {
        graph.warnings.push(format!(
            "Batch normalisation \"{}\" was exported in training mode; it is used with its running statistics.",
            call.name
        ));
    }
    let channels = channels(x)?;
    let scale = or_filled(graph, call, "weight", channels, 1.0)?;
    let bias = or_filled(graph, call, "bias", channels, 0.0)?;
    let operands = [Some(x), Some(&scale), Some(&bias), Some(mean), Some(variance)];
    graph.finish(call, Op::BatchNorm { epsilon: epsilon(call)? }, &operands)
}

fn instance_norm(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    if !call.flag("use_input_stats", true)? {
        return batch_norm(graph, call);
    }
    let x = call.x()?;
    let channels = channels(x)?;
    let scale = or_filled(graph, call, "weight", channels, 1.0)?;
    let bias = or_filled(graph, call, "bias", channels, 0.0)?;
    graph.finish(call, Op::InstanceNorm { epsilon: epsilon(call)? }, &[Some(x), Some(&scale), Some(&bias)])
}

fn layer_norm(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let x = call.x()?;
    let dims = x.dims()?;
    let shape = call.ints("normalized_shape")?.ok_or("its argument normalized_shape is missing")?;
    let axis = dims.len().checked_sub(shape.len()).filter(|axis| *axis < dims.len());
    let normalised: Vec<Dim> = shape.iter().copied().map(Dim::fixed).collect();
    let axis = axis.filter(|axis| dims[*axis..] == normalised[..]);
    let axis = axis.ok_or_else(|| format!("it normalises {shape:?} of {}", show(&dims)))?;
    let scale = match call.optional("weight")? {
        Some(scale) => scale.clone(),
        None => {
            let size = product(&normalised).and_then(Dim::extent).ok_or("its extents overflow")?;
            graph.charge(size)?;
            let shape = shape.iter().map(|extent| *extent as usize).collect();
            graph.constant(call, "weight", Array::floats(shape, vec![1.0; size]))
        }
    };
    let mut operands = vec![Some(x), Some(&scale)];
    operands.extend(call.optional("bias")?.map(Some));
    graph.finish(call, Op::LayerNorm { axis, epsilon: epsilon(call)? }, &operands)
}

/// The groups are normalised together; then every channel has its own scale and bias.
fn group_norm(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let x = call.x()?;
    let groups = call.int(if call.arg("group").is_some() { "group" } else { "num_groups" }, 1)?;
    let (mut y, channels) = groups::normalised(&mut graph.lowering, call, x, groups, epsilon(call)?)?;
    let ones = std::iter::repeat_n(Dim::ONE, x.dims()?.len().saturating_sub(2));
    let shape: Vec<Dim> = [Dim::fixed(channels as i64)].into_iter().chain(ones).collect();
    for (name, kind) in [("weight", Binary::Mul), ("bias", Binary::Add)] {
        if let Some(parameter) = call.optional(name)? {
            let parameter = graph.reshaped(call, parameter, &shape, "reshaped")?;
            y = graph.step(call, Op::Binary(kind), &[Some(&y), Some(&parameter)], name)?;
        }
    }
    graph.alias(call, y)
}
