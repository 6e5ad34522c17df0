//! <https://onnx.ai/onnx/operators/onnx__Tile.html>: the value once more behind itself along each axis, as often as asked.

use super::Lower;
use crate::formats::{
    dim::{Dim, show},
    graph::Op,
    onnx::{
        call::{Call, Value},
        lowering::Lowering,
    },
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[("Tile", lower)];

fn lower(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let mut value = call.input(0)?.clone();
    let rank = value.dims()?.len();
    let repeats = call.int_list(1)?.ok_or("its repeats are missing")?;
    if repeats.len() != rank || repeats.iter().any(|times| *times < 1) {
        return Err(format!("it repeats {} by {repeats:?}", show(&value.dims()?)).into());
    }
    for (axis, times) in repeats.into_iter().enumerate().filter(|(_, times)| *times > 1) {
        value = along(graph, call, &value, (axis, times))?;
    }
    graph.alias(call, value)
}

/// (…, d, …) → (…, 1, d, …) → (…, times, d, …) → (…, times · d, …)
fn along(graph: &mut Lowering, call: &Call, value: &Value, (axis, times): (usize, i64)) -> Result<Value, Refusal> {
    let dims = value.dims()?;
    let length = dims[axis].number().and_then(|extent| extent.checked_mul(times));
    let length = length.ok_or_else(|| Refusal::unsupported(format!("it repeats the examples of {}", show(&dims))))?;
    let mut apart = dims.clone();
    apart.insert(axis, Dim::ONE);
    let mut together = dims;
    together[axis] = Dim::fixed(length);
    let apart = graph.reshaped(call, value, &apart, "apart")?;
    let repeated = repeat(graph, call, &apart, (axis, times))?;
    graph.reshaped(call, &repeated, &together, "together")
}

/// Repeats along an axis whose extent is 1.
pub fn repeat(graph: &mut Lowering, call: &Call, value: &Value, (axis, times): (usize, i64)) -> Result<Value, Refusal> {
    let dims = value.dims()?;
    let extent = |(at, dim): (usize, &Dim)| match value {
        _ if at == axis => Some(times),
        // A constant has no batch to keep: every extent is named.
        Value::Known(_) => dim.number(),
        _ => Some(-1),
    };
    let shape = dims.iter().enumerate().map(extent).collect::<Option<_>>().ok_or("its extents depend on the batch")?;
    graph.step(call, Op::Expand { shape }, &[Some(value)], "repeated")
}
