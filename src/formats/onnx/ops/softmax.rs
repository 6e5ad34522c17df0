//! <https://onnx.ai/onnx/operators/onnx__Softmax.html> and LogSoftmax. Before opset 13 the axis (then 1 by default) splits
//! the shape into a matrix, whose rows are normalised; since then (-1 by default) it is the one axis normalised.

use super::Lower;
use crate::formats::{
    dim::{Dim, product},
    graph::Op,
    onnx::{call::Call, lowering::Lowering},
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[("LogSoftmax", log_softmax), ("Softmax", softmax)];

fn softmax(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    lower(graph, call, |axis| Op::Softmax { axis })
}

fn log_softmax(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    lower(graph, call, |axis| Op::LogSoftmax { axis })
}

fn lower(graph: &mut Lowering, call: &Call, op: fn(usize) -> Op) -> Result<(), Refusal> {
    let (x, dims) = (call.input(0)?, call.dims(0)?);
    if call.opset >= 13 {
        return graph.finish(call, op(call.axis(-1, dims.len())?), &[Some(x)]);
    }
    let axis = call.axis(1, dims.len())?;
    if dims[axis + 1..].iter().all(|dim| *dim == Dim::ONE) {
        return graph.finish(call, op(axis), &[Some(x)]);
    }
    let (before, after) = dims.split_at(axis);
    let (Some(rows), Some(row)) = (product(before), product(after)) else { return Err("its extents overflow".into()) };
    let matrix = graph.reshaped(call, x, &[rows, row], "matrix")?;
    let normal = graph.step(call, op(1), &[Some(&matrix)], "normal")?;
    graph.reshape(call, &normal, &dims)
}
