//! <https://onnx.ai/onnx/operators/onnx__Slice.html>: everything as attributes before opset 10, as inputs since.

use super::Lower;
use crate::formats::{
    dim::{Dim, show},
    graph::Op,
    onnx::{
        call::{Call, normalise},
        lowering::Lowering,
    },
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[("Slice", lower)];

fn lower(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let dims = call.dims(0)?;
    let ranges = ranges(call, &dims)?;
    let cuts: Vec<&Range> = ranges.iter().filter(|range| !range.is_whole(&dims)).collect();
    if cuts.is_empty() {
        return graph.alias(call, call.input(0)?.clone());
    }
    let op = Op::Slice {
        axes: cuts.iter().map(|range| range.axis).collect(),
        starts: cuts.iter().map(|range| range.start).collect(),
        ends: cuts.iter().map(|range| range.end).collect(),
        steps: cuts.iter().map(|range| range.step).collect(),
    };
    graph.finish(call, op, &[Some(call.input(0)?)])
}

struct Range {
    axis: usize,
    start: i64,
    end: i64,
    step: i64,
}

impl Range {
    /// Takes all of its axis, in order; so does every slice of the batch that we can follow.
    fn is_whole(&self, dims: &[Dim]) -> bool {
        self.step == 1 && self.start == 0 && dims[self.axis].number().is_none_or(|extent| self.end == extent)
    }
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

/// Clamps one range to its extent, as the specification has it.
fn range(axis: usize, dims: &[Dim], (start, end): (Dim, Dim), step: i64) -> Result<Range, Refusal> {
    let Some(extent) = dims[axis].number() else {
        // Along the batch, only "all of it" has a meaning for every batch.
        let whole =
            start == Dim::fixed(0) && step == 1 && (end == dims[axis] || end.number() >= Some(i64::from(i32::MAX)));
        return if whole {
            Ok(Range { axis, start: 0, end: 0, step: 1 })
        } else {
            Err(Refusal::unsupported(format!("it takes some of the examples of {}", show(dims))))
        };
    };
    let (Some(start), Some(end)) = (start.number(), end.number()) else {
        return Err(Refusal::unsupported(format!("it cuts {start} to {end}, which depends on the batch size N")));
    };
    let from_front = |at: i64| if at < 0 { at.saturating_add(extent) } else { at };
    let (start, end) = (from_front(start), from_front(end));
    match step {
        0 => Err("its step is 0".into()),
        1.. => {
            let start = start.clamp(0, extent);
            Ok(Range { axis, start, end: end.clamp(start, extent), step })
        }
        _ => {
            let start = start.clamp(-1, extent - 1);
            Ok(Range { axis, start, end: end.clamp(-1, start), step })
        }
    }
}
