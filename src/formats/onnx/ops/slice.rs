//! <https://onnx.ai/onnx/operators/onnx__Slice.html>: everything as attributes before opset 10, as inputs since.

use super::Lower;
use crate::formats::{
    dim::Dim,
    lowering::slice::{Range, cut, range},
    onnx::{
        call::{Call, normalise},
        lowering::Lowering,
    },
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[("Slice", lower)];

fn lower(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let ranges = ranges(call, &call.dims(0)?)?;
    cut(graph, call, call.input(0)?, &ranges)
}

fn ranges(call: &Call, dims: &[Dim]) -> Result<Vec<Range>, Refusal> {
    let fixed = |values: &[i64]| values.iter().copied().map(Dim::fixed).collect::<Vec<_>>();
    let (starts, ends, axes, steps) = if call.opset < 10 {
        let bounds = |name| call.ints(name)?.map(fixed).ok_or_else(|| Refusal::from(format!("it has no {name}")));
        (bounds("starts")?, bounds("ends")?, call.ints("axes")?.map(<[i64]>::to_vec), None)
    } else {
        let bounds = |index| call.dim_list(index)?.ok_or_else(|| Refusal::from("it has no starts or ends"));
        (bounds(1)?, bounds(2)?, call.int_list(3)?, call.int_list(4)?)
    };
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err("its starts, ends, axes and steps differ in length".into());
    }
    let mut ranges: Vec<Range> = Vec::with_capacity(axes.len());
    for index in 0..axes.len() {
        let axis = normalise(axes[index], dims.len())?;
        if ranges.iter().any(|range| range.axis == axis) {
            return Err(format!("it cuts axis {axis} twice").into());
        }
        ranges.push(range(axis, dims, (starts[index], ends[index]), steps[index])?);
    }
    Ok(ranges)
}
