//! <https://onnx.ai/onnx/operators/onnx__Softmax.html> and LogSoftmax. Before opset 13 the axis (then 1 by default) splits
//! the shape into a matrix, whose rows are normalised; since then (-1 by default) it is the one axis normalised.

use super::Lower;
use crate::formats::{
    dim::Dim,
    graph::Op,
    onnx::{call::Call, lowering::Lowering},
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[("LogSoftmax", log_softmax), ("Softmax", softmax)];

fn softmax(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let axis = axis(call)?;
    graph.finish(call, Op::Softmax { axis }, &[Some(call.input(0)?)])
}

fn log_softmax(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let axis = axis(call)?;
    graph.finish(call, Op::LogSoftmax { axis }, &[Some(call.input(0)?)])
}

fn axis(call: &Call) -> Result<usize, Refusal> {
    let dims = call.dims(0)?;
    if call.opset >= 13 {
        return call.axis(-1, dims.len());
    }
    let axis = call.axis(1, dims.len())?;
    if dims[axis + 1..].iter().any(|dim| *dim != Dim::ONE) {
        return Err(Refusal::unsupported("it normalises several axes at once, as opsets before 13 do"));
    }
    Ok(axis)
}
