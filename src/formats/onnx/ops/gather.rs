//! <https://onnx.ai/onnx/operators/onnx__Gather.html>, with constant indices.

use super::Lower;
use crate::formats::{
    dim::show,
    graph::Op,
    onnx::{call::Call, lowering::Lowering},
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[("Gather", lower)];

fn lower(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let dims = call.dims(0)?;
    let axis = call.axis(0, dims.len())?;
    let extent =
        dims[axis].number().ok_or_else(|| Refusal::unsupported(format!("it picks examples of {}", show(&dims))))?;
    let shape = call.constant(1)?.ok_or("its indices are missing")?.shape.clone();
    let given = call.int_list(1)?.unwrap_or_default();
    let from_front = |index: &i64| if *index < 0 { index.saturating_add(extent) } else { *index };
    let indices: Vec<i64> = given.iter().map(from_front).collect();
    graph.finish(call, Op::Gather { axis, indices, shape }, &[Some(call.input(0)?)])
}
