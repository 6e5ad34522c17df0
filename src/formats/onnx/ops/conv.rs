//! <https://onnx.ai/onnx/operators/onnx__Conv.html> and ConvTranspose.

use super::{Lower, window};
use crate::formats::{
    dim::{Dim, show},
    graph::{Op, Window},
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
    let (dims, kernel) = (call.dims(0)?, kernel(call)?);
    let mut output_padding = window::list(call, "output_padding", kernel.len(), 0)?;
    let mut window = window::explicit(call, &dims, kernel)?;
    let upper = call.text("auto_pad", "NOTSET")? == "SAME_UPPER";
    for axis in 0..output_padding.len() {
        if let Some(wanted) = output_extent(call, &dims, &window, axis)? {
            settle(&mut window, &mut output_padding, (axis, upper), (dims[axis + 2], wanted))?;
        }
        // What no stride reaches is no part of the result, and libtorch refuses it.
        if output_padding[axis] > 0 && output_padding[axis] >= window.strides[axis].max(window.dilations[axis]) {
            return Err(Refusal::unsupported("its output padding is not below its stride"));
        }
    }
    let op = Op::ConvTranspose { window, groups: groups(call)?, output_padding };
    graph.finish(call, op, &operands(call)?)
}

/// The extent that an attribute asks for, from which padding follows; `None` where padding is given.
fn output_extent(call: &Call, x: &[Dim], window: &Window, axis: usize) -> Result<Option<i64>, Refusal> {
    if let Some(shape) = call.ints("output_shape")? {
        // Older files name batch and channels too.
        let spatial = &shape[shape.len().saturating_sub(window.kernel.len())..];
        let wanted = spatial.get(axis).filter(|extent| (1..=i64::from(u32::MAX)).contains(*extent));
        return wanted.map(|extent| Some(*extent)).ok_or_else(|| format!("its output shape is {shape:?}").into());
    }
    match call.text("auto_pad", "NOTSET")? {
        "NOTSET" | "VALID" => Ok(None),
        "SAME_UPPER" | "SAME_LOWER" => {
            let extent = x[axis + 2].number().and_then(|extent| extent.checked_mul(window.strides[axis] as i64));
            extent.map(Some).ok_or_else(|| "its extents overflow".into())
        }
        other => Err(format!("its attribute auto_pad is \"{other}\"").into()),
    }
}

/// Pads one axis so that `wanted` elements come out, as the specification shares the padding between both ends.
fn settle(
    window: &mut Window,
    output_padding: &mut [usize],
    (axis, upper): (usize, bool),
    (extent, wanted): (Dim, i64),
) -> Result<(), Refusal> {
    let reach = (window.kernel[axis] as i64 - 1) * window.dilations[axis] as i64 + 1;
    let stretched = extent.number().and_then(|extent| (extent - 1).checked_mul(window.strides[axis] as i64));
    let full = stretched.and_then(|extent| extent.checked_add(reach + output_padding[axis] as i64));
    let total = full.ok_or("its extents overflow")? - wanted;
    output_padding[axis] += usize::try_from(-total).unwrap_or(0);
    let total = usize::try_from(total).unwrap_or(0);
    let (small, large) = (total / 2, total - total / 2);
    (window.pads_begin[axis], window.pads_end[axis]) = if upper { (small, large) } else { (large, small) };
    Ok(())
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
