//! <https://onnx.ai/onnx/operators/onnx__Gemm.html> (C is optional since opset 11) and MatMul.

use super::Lower;
use crate::formats::{
    graph::Op,
    onnx::{
        call::{Call, Value},
        lowering::Lowering,
    },
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[("Gemm", gemm), ("MatMul", mat_mul)];

fn gemm(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let op = Op::Gemm {
        alpha: call.float("alpha", 1.0)?,
        beta: call.float("beta", 1.0)?,
        trans_b: call.int("transB", 0)? != 0,
    };
    let turned = if call.int("transA", 0)? == 0 {
        None
    } else {
        Some(graph.step(call, Op::Transpose { perm: vec![1, 0] }, &[Some(call.input(0)?)], "transposed")?)
    };
    let a = match &turned {
        Some(turned) => turned,
        None => call.input(0)?,
    };
    let mut operands = vec![Some(a), Some(call.input(1)?)];
    operands.extend(call.optional(2).map(Some));
    graph.finish(call, op, &operands)
}

/// A matrix times a constant matrix is a linear layer, whichever operator the exporter chose.
fn mat_mul(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    let linear = a.dims()?.len() == 2 && b.dims()?.len() == 2 && matches!(b, Value::Known(_));
    let op = if linear { Op::Gemm { alpha: 1.0, beta: 1.0, trans_b: false } } else { Op::MatMul };
    graph.finish(call, op, &[Some(a), Some(b)])
}
