//! <https://onnx.ai/onnx/operators/onnx__Pad.html>: pads and value as attributes before opset 11, as inputs since; axes as
//! an input since opset 18.

use super::Lower;
use crate::formats::{
    graph::{Op, PadMode},
    onnx::{
        call::{Call, normalise},
        lowering::Lowering,
    },
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[("Pad", lower)];

fn lower(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let rank = call.dims(0)?.len();
    let mode = match call.text("mode", "constant")? {
        "constant" => PadMode::Constant,
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        other => return Err(Refusal::unsupported(format!("its mode is \"{other}\""))),
    };
    let (pads, value, axes) = if call.opset < 11 {
        let pads = call.ints("pads")?.map(<[i64]>::to_vec);
        (pads, call.float("value", 0.0)?, None)
    } else {
        (call.int_list(1)?, call.float_scalar(2)?.unwrap_or(0.0), call.int_list(3)?)
    };
    let pads = pads.ok_or("its pads are missing")?;
    let axes = match axes {
        Some(axes) => axes.into_iter().map(|axis| normalise(axis, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(format!("it has {} pads for {} axes", pads.len(), axes.len()).into());
    }
    let (mut begin, mut end) = (vec![0; rank], vec![0; rank]);
    for (index, axis) in axes.iter().enumerate() {
        (begin[*axis], end[*axis]) = (pads[index], pads[index + axes.len()]);
    }
    if begin.iter().chain(&end).all(|pad| *pad == 0) {
        return graph.alias(call, call.input(0)?.clone());
    }
    graph.finish(call, Op::Pad { begin, end, mode, value }, &[Some(call.input(0)?)])
}
