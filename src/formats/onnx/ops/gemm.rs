//! <https://onnx.ai/onnx/operators/onnx__Gemm.html> (C is optional since opset 11) and MatMul.

use super::Lower;
use crate::formats::{
    dim::Dim,
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

/// A matrix times a constant matrix is a linear layer, whichever operator the exporter chose. A vector is a matrix of one row
/// on the left, of one column on the right, and that axis is none of the result's.
fn mat_mul(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    let (left, right) = (a.dims()?, b.dims()?);
    if left.len() != 1 && right.len() != 1 {
        let linear = left.len() == 2 && right.len() == 2 && matches!(b, Value::Known(_));
        let op = if linear { Op::Gemm { alpha: 1.0, beta: 1.0, trans_b: false } } else { Op::MatMul };
        return graph.finish(call, op, &[Some(a), Some(b)]);
    }
    let a = if let &[width] = left.as_slice() { &graph.reshaped(call, a, &[Dim::ONE, width], "row")? } else { a };
    let b = if let &[width] = right.as_slice() { &graph.reshaped(call, b, &[width, Dim::ONE], "column")? } else { b };
    let product = graph.step(call, Op::MatMul, &[Some(a), Some(b)], "product")?;
    let mut dims = product.dims()?;
    if right.len() == 1 {
        dims.pop();
    }
    if left.len() == 1 {
        dims.remove(dims.len() - usize::from(right.len() != 1) - 1);
    }
    graph.reshape(call, &product, &dims)
}
