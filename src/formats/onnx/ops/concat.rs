//! <https://onnx.ai/onnx/operators/onnx__Concat.html>.

use super::Lower;
use crate::formats::{
    lowering::concat,
    onnx::{
        call::{Call, Value},
        lowering::Lowering,
    },
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[("Concat", lower)];

fn lower(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let parts: Vec<&Value> = call.present().collect();
    let rank = parts.first().ok_or("it has no input")?.dims()?.len();
    let axis = call.axis(1, rank)?;
    concat::join(graph, call, &parts, axis)
}
