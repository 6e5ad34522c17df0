//! Arguments of sliding windows, shared by convolutions and pools: one number stands for one on each axis.

use crate::formats::{aten::call::Call, graph::Window, refusal::Refusal};

/// Largest kernel, stride, dilation or padding: far beyond any network, and small enough not to overflow.
const MAX: i64 = 1 << 20;

/// Sizes from an argument; absent or empty where it is left to its default.
pub fn list(call: &Call, name: &str, spatial: usize) -> Result<Option<Vec<usize>>, Refusal> {
    let Some(values) = call.ints(name)?.filter(|values| !values.is_empty()) else { return Ok(None) };
    if ![1, spatial].contains(&values.len()) || values.iter().any(|value| !(0..=MAX).contains(value)) {
        return Err(format!("its argument {name} is {values:?} where {spatial} sizes are expected").into());
    }
    Ok(Some((0..spatial).map(|axis| values[axis % values.len()] as usize).collect()))
}

/// A window of `kernel` with the arguments `stride`, `padding` and `dilation`; without a stride, it is `default_stride`.
pub fn read(call: &Call, kernel: Vec<usize>, default_stride: Vec<usize>) -> Result<Window, Refusal> {
    let spatial = kernel.len();
    let strides = list(call, "stride", spatial)?.unwrap_or(default_stride);
    let dilations = list(call, "dilation", spatial)?.unwrap_or_else(|| vec![1; spatial]);
    let pads = list(call, "padding", spatial)?.unwrap_or_else(|| vec![0; spatial]);
    if [&kernel, &strides, &dilations].iter().any(|list| list.contains(&0)) {
        return Err("a kernel, stride or dilation is 0".into());
    }
    let ceil = call.flag("ceil_mode", false)?;
    Ok(Window { kernel, strides, dilations, pads_begin: pads.clone(), pads_end: pads, ceil })
}
