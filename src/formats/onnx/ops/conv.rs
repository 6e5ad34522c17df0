//! <https://onnx.ai/onnx/operators/onnx__Conv.html> and ConvTranspose.

use super::{Lower, window};
use crate::formats::{
    dim::{Dim, show},
    graph::Op,
    onnx::{
        call::{Call, Value},
        lowering::Lowering,
    },
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[("Conv", conv), ("ConvTranspose", conv_transpose)];

fn conv(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let window = window::read(call, &call.dims(0)?, kernel(call)?)?;
    let op = Op::Conv { window, groups: groups(call)? };
    graph.finish(call, op, &operands(call)?)
}

fn conv_transpose(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    if call.has("output_shape") || !matches!(call.text("auto_pad", "NOTSET")?, "NOTSET" | "VALID") {
        return Err(Refusal::unsupported("its padding follows from an output shape"));
    }
    let kernel = kernel(call)?;
    let output_padding = window::list(call, "output_padding", kernel.len(), 0)?;
    let window = window::read(call, &call.dims(0)?, kernel)?;
    if window.pads_begin != window.pads_end {
        return Err(Refusal::unsupported("its padding differs between begin and end"));
    }
    let op = Op::ConvTranspose { window, groups: groups(call)?, output_padding };
    graph.finish(call, op, &operands(call)?)
}

fn operands<'a>(call: &'a Call) -> Result<Vec<Option<&'a Value>>, Refusal> {
    let mut operands = vec![Some(call.input(0)?), Some(call.input(1)?)];
    operands.extend(call.optional(2).map(Some));
    Ok(operands)
}

/// The weight's own extents; the attribute may only repeat them.
fn kernel(call: &Call) -> Result<Vec<usize>, Refusal> {
    let weight = call.dims(1)?;
    let kernel = weight.get(2..).unwrap_or_default().iter().map(|dim| Dim::extent(*dim)).collect::<Option<Vec<_>>>();
    let kernel = kernel.ok_or_else(|| format!("its weight has the shape {}", show(&weight)))?;
    match call.ints("kernel_shape")? {
        Some(given) if !given.iter().copied().eq(kernel.iter().map(|extent| *extent as i64)) => {
            Err(format!("its attribute kernel_shape is {given:?}, but its weight has the shape {}", show(&weight))
                .into())
        }
        _ => Ok(kernel),
    }
}

fn groups(call: &Call) -> Result<usize, Refusal> {
    let groups = call.int("group", 1)?;
    usize::try_from(groups).ok().filter(|groups| *groups > 0).ok_or_else(|| format!("it has {groups} groups").into())
}
