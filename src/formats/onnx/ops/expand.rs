//! <https://onnx.ai/onnx/operators/onnx__Expand.html>: broadcasts to a shape, which may also be the smaller one.

use super::Lower;
use crate::formats::{
    lowering::expand,
    onnx::{call::Call, lowering::Lowering},
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[("Expand", lower)];

fn lower(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let (x, target) = (call.input(0)?, call.dim_list(1)?.ok_or("its shape is missing")?);
    expand::expand(graph, call, x, target)
}
