//! <https://onnx.ai/onnx/operators/onnx__GroupNormalization.html> (scale and bias for each group in opset 18, for each
//! channel since 21) and RMSNormalization (from opset 23), in terms of other operators.

use super::Lower;
use crate::formats::{
    dim::{Dim, product, show},
    graph::{Binary, Op, Reduce, Unary},
    onnx::{
        array::Array,
        call::{Call, Value},
        lowering::Lowering,
    },
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[("GroupNormalization", group_norm), ("RMSNormalization", rms_norm)];

/// Each group is one long channel of an instance normalisation; scale and bias follow for each channel.
fn group_norm(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let x = call.input(0)?;
    let dims = x.dims()?;
    let channels =
        dims.get(1).and_then(|dim| dim.extent()).ok_or_else(|| format!("{} has no channels", show(&dims)))?;
    let groups = usize::try_from(call.int("num_groups", 0)?).unwrap_or(0);
    if groups == 0 || channels % groups != 0 {
        return Err(format!("{channels} channels do not fall into {groups} groups").into());
    }
    let size = product(&dims[1..]).and_then(Dim::extent).ok_or("its extents overflow")?;
    let rows = [dims[0], Dim::fixed(groups as i64), Dim::fixed((size / groups) as i64)];
    let rows = graph.reshaped(call, x, &rows, "groups")?;
    graph.charge(2 * groups)?;
    let ones = graph.constant(call, "ones", Array::floats(vec![groups], vec![1.0; groups]));
    let zeros = graph.constant(call, "zeros", Array::floats(vec![groups], vec![0.0; groups]));
    let op = Op::InstanceNorm { epsilon: call.float("epsilon", 1e-5)? };
    let normal = graph.step(call, op, &[Some(&rows), Some(&ones), Some(&zeros)], "normal")?;
    let normal = graph.reshaped(call, &normal, &dims, "channels")?;
    let scale = for_channels(graph, call, 1, (channels, dims.len()))?;
    let bias = for_channels(graph, call, 2, (channels, dims.len()))?;
    let scaled = graph.step(call, Op::Binary(Binary::Mul), &[Some(&normal), Some(&scale)], "scaled")?;
    graph.finish(call, Op::Binary(Binary::Add), &[Some(&scaled), Some(&bias)])
}

/// A constant of one number for each channel or each group, as (channels, 1, 1…).
fn for_channels(
    graph: &mut Lowering,
    call: &Call,
    index: usize,
    (channels, rank): (usize, usize),
) -> Result<Value, Refusal> {
    let constant = call.constant(index)?.ok_or_else(|| format!("its input {index} is missing"))?;
    let values = constant.as_f32().ok_or_else(|| format!("its input {index} is not of floats"))?;
    let each = channels.checked_div(values.len()).filter(|each| each * values.len() == channels);
    let each =
        each.ok_or_else(|| format!("its input {index} has {} elements for {channels} channels", values.len()))?;
    let values: Vec<f32> = values.iter().flat_map(|value| std::iter::repeat_n(*value, each)).collect();
    let shape = std::iter::once(channels).chain(std::iter::repeat_n(1, rank.saturating_sub(2))).collect();
    graph.charge(channels)?;
    Ok(graph.constant(call, if index == 1 { "scale" } else { "bias" }, Array::floats(shape, values)))
}

/// x / √(mean(x²) + epsilon) · scale, the mean over the axes from `axis` on.
fn rms_norm(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let (x, rank) = (call.input(0)?, call.dims(0)?.len());
    let axes = (call.axis(-1, rank)?..rank).collect();
    let squares = graph.step(call, Op::Binary(Binary::Mul), &[Some(x), Some(x)], "squares")?;
    let mean = Op::Reduce { kind: Reduce::Mean, axes, keep_dims: true };
    let mean = graph.step(call, mean, &[Some(&squares)], "mean")?;
    let epsilon = graph.constant(call, "epsilon", Array::floats(vec![], vec![call.float("epsilon", 1e-5)?]));
    let shifted = graph.step(call, Op::Binary(Binary::Add), &[Some(&mean), Some(&epsilon)], "shifted")?;
    let root = graph.step(call, Op::Unary(Unary::Sqrt), &[Some(&shifted)], "root")?;
    let normal = graph.step(call, Op::Binary(Binary::Div), &[Some(x), Some(&root)], "normal")?;
    graph.finish(call, Op::Binary(Binary::Mul), &[Some(&normal), Some(call.input(1)?)])
}
