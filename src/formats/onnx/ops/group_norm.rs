//! <https://onnx.ai/onnx/operators/onnx__GroupNormalization.html> (scale and bias for each group in opset 18, for each
//! channel since 21) and RMSNormalization (from opset 23), in terms of other operators.

use super::Lower;
use crate::formats::{
    graph::{Binary, Op, Reduce, Unary},
    onnx::{
        array::Array,
        call::{Call, Value},
        lowering::{Lowering, groups},
    },
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[("GroupNormalization", group_norm), ("RMSNormalization", rms_norm)];

/// The groups are normalised together; scale and bias follow for each channel.
fn group_norm(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let x = call.input(0)?;
    let rank = x.dims()?.len();
    let (groups, epsilon) = (call.int("num_groups", 0)?, call.float("epsilon", 1e-5)?);
    let (normal, channels) = groups::normalised(graph, call, x, groups, epsilon)?;
    let scale = for_channels(graph, call, 1, (channels, rank))?;
    let bias = for_channels(graph, call, 2, (channels, rank))?;
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
