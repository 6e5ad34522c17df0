//! Attributes of sliding windows, shared by convolutions and pools: kernel, strides, dilations, pads or auto_pad.

use crate::formats::{
    dim::{Dim, show},
    graph::Window,
    onnx::call::Call,
    refusal::Refusal,
};

/// Largest kernel, stride, dilation or padding: far beyond any network, and small enough not to overflow.
const MAX: i64 = 1 << 20;

/// Reads the window that slides over `x`; `kernel` is its size.
pub fn read(call: &Call, x: &[Dim], kernel: Vec<usize>) -> Result<Window, Refusal> {
    let spatial = kernel.len();
    let mut window = explicit(call, x, kernel)?;
    match call.text("auto_pad", "NOTSET")? {
        "NOTSET" => {}
        "VALID" => (window.pads_begin, window.pads_end) = (vec![0; spatial], vec![0; spatial]),
        "SAME_UPPER" => same(&mut window, x, false)?,
        "SAME_LOWER" => same(&mut window, x, true)?,
        other => return Err(format!("its attribute auto_pad is \"{other}\"").into()),
    }
    Ok(window)
}

/// The same, with the padding that is written down.
pub fn explicit(call: &Call, x: &[Dim], kernel: Vec<usize>) -> Result<Window, Refusal> {
    let spatial = kernel.len();
    if x.len() != spatial + 2 {
        return Err(format!("its kernel {kernel:?} does not fit an input of {}", show(x)).into());
    }
    let strides = list(call, "strides", spatial, 1)?;
    let dilations = list(call, "dilations", spatial, 1)?;
    if [&kernel, &strides, &dilations].iter().any(|list| list.contains(&0)) {
        return Err("a kernel, stride or dilation is 0".into());
    }
    let pads = list(call, "pads", 2 * spatial, 0)?;
    let (begin, end) = pads.split_at(spatial);
    let (pads_begin, pads_end) = (begin.to_vec(), end.to_vec());
    Ok(Window { kernel, strides, dilations, pads_begin, pads_end, ceil: false })
}

/// Sizes from an attribute, `default` where it is absent.
pub fn list(call: &Call, name: &str, len: usize, default: usize) -> Result<Vec<usize>, Refusal> {
    let Some(values) = call.ints(name)? else { return Ok(vec![default; len]) };
    if values.len() != len || values.iter().any(|value| !(0..=MAX).contains(value)) {
        return Err(format!("its attribute {name} is {values:?} where {len} sizes are expected").into());
    }
    Ok(values.iter().map(|value| *value as usize).collect())
}

/// Pads so that there are ceil(extent / stride) steps; an odd element goes to the end, or to the beginning if `lower`.
fn same(window: &mut Window, x: &[Dim], lower: bool) -> Result<(), Refusal> {
    for axis in 0..window.kernel.len() {
        let extent = x[axis + 2].extent().ok_or_else(|| Refusal::unsupported("its window slides along the batch"))?;
        let steps = extent.div_ceil(window.strides[axis]);
        let reach = (window.kernel[axis] - 1) * window.dilations[axis] + 1;
        let total = (steps.saturating_sub(1) * window.strides[axis] + reach).saturating_sub(extent);
        let (small, large) = (total / 2, total - total / 2);
        (window.pads_begin[axis], window.pads_end[axis]) = if lower { (large, small) } else { (small, large) };
    }
    Ok(())
}
