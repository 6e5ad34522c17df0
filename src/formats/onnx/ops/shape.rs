//! <https://onnx.ai/onnx/operators/onnx__Shape.html> (`start` and `end` since opset 15) and Size: known as soon as the
//! shape is, with the batch as a symbol.

use super::Lower;
use crate::formats::{
    dim::product,
    onnx::{
        array::{Array, Elements},
        call::Call,
        lowering::Lowering,
    },
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[("Shape", shape), ("Size", size)];

fn shape(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let dims = call.dims(0)?;
    let rank = dims.len() as i64;
    let clamp = |axis: i64| (if axis < 0 { axis.saturating_add(rank) } else { axis }).clamp(0, rank) as usize;
    let (start, end) = (clamp(call.int("start", 0)?), clamp(call.int("end", rank)?));
    graph.known(call, Array::ints(dims.get(start..end).unwrap_or_default().to_vec()))
}

fn size(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let size = product(&call.dims(0)?).ok_or("its extents overflow")?;
    graph.known(call, Array { shape: vec![], elements: Elements::Int(vec![size]) })
}
