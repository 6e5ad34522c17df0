//! <https://onnx.ai/onnx/operators/onnx__Transpose.html>: reverses the axes where it has no `perm`.

use super::Lower;
use crate::formats::{
    graph::Op,
    onnx::{
        call::{Call, normalise},
        lowering::Lowering,
    },
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[("Transpose", lower)];

fn lower(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let rank = call.dims(0)?.len();
    let perm = match call.ints("perm")? {
        Some(perm) => perm.iter().map(|axis| normalise(*axis, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).rev().collect(),
    };
    graph.finish(call, Op::Transpose { perm }, &[Some(call.input(0)?)])
}
