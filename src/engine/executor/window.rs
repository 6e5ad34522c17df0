//! Operators that slide a window: convolutions and pools, in one or two spatial dimensions.

use tch::{TchError, Tensor};

use crate::formats::graph::Window;

fn wide(extents: &[usize]) -> Vec<i64> {
    extents.iter().map(|&extent| extent as i64).collect()
}

fn too_many(window: &Window) -> TchError {
    TchError::Shape(format!("{} spatial dimensions are more than two", window.kernel.len()))
}

/// The spatial axes of (N, C, spatial…).
pub(super) fn spatial(x: &Tensor) -> Vec<i64> {
    (2..x.dim() as i64).collect()
}

/// Padding that libtorch's own argument can express, after padding explicitly by `value` where begin and end differ.
fn symmetric(x: &Tensor, window: &Window, value: f64) -> Result<(Tensor, Vec<i64>), TchError> {
    if window.pads_begin == window.pads_end {
        return Ok((x.shallow_clone(), wide(&window.pads_begin)));
    }
    Ok((pad(x, window, value)?, vec![0; window.kernel.len()]))
}

fn pad(x: &Tensor, window: &Window, value: f64) -> Result<Tensor, TchError> {
    // libtorch wants the last axis first, as (begin, end) pairs.
    let pairs: Vec<i64> = window
        .pads_begin
        .iter()
        .zip(&window.pads_end)
        .rev()
        .flat_map(|(&begin, &end)| [begin as i64, end as i64])
        .collect();
    x.f_pad(pairs, "constant", value)
}

pub(super) fn conv(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    window: &Window,
    groups: usize,
) -> Result<Tensor, TchError> {
    let (x, padding) = symmetric(x, window, 0.0)?;
    let (strides, dilations) = (wide(&window.strides), wide(&window.dilations));
    match window.kernel.len() {
        1 => x.f_conv1d(weight, bias, strides, padding, dilations, groups as i64),
        2 => x.f_conv2d(weight, bias, strides, padding, dilations, groups as i64),
        _ => Err(too_many(window)),
    }
}

pub(super) fn conv_transpose(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    window: &Window,
    groups: usize,
    output_padding: &[usize],
) -> Result<Tensor, TchError> {
    let (strides, dilations, output_padding) = (wide(&window.strides), wide(&window.dilations), wide(output_padding));
    // libtorch crops as much behind as before: unequal padding is cut off by hand.
    let equal = window.pads_begin == window.pads_end;
    let padding = if equal { wide(&window.pads_begin) } else { vec![0; window.kernel.len()] };
    let y = match window.kernel.len() {
        1 => x.f_conv_transpose1d(weight, bias, strides, padding, output_padding, groups as i64, dilations)?,
        2 => x.f_conv_transpose2d(weight, bias, strides, padding, output_padding, groups as i64, dilations)?,
        _ => return Err(too_many(window)),
    };
    if equal { Ok(y) } else { crop(y, window) }
}

fn crop(mut y: Tensor, window: &Window) -> Result<Tensor, TchError> {
    for (axis, (&begin, &end)) in (2..).zip(window.pads_begin.iter().zip(&window.pads_end)) {
        let extent = y.size()[axis as usize] - (begin + end) as i64;
        y = y.f_narrow(axis, begin as i64, extent)?;
    }
    Ok(y)
}

pub(super) fn max_pool(x: &Tensor, window: &Window) -> Result<Tensor, TchError> {
    let (x, padding) = pool_padding(x, window, f64::NEG_INFINITY)?;
    let (kernel, strides, dilations) = (wide(&window.kernel), wide(&window.strides), wide(&window.dilations));
    match window.kernel.len() {
        1 => x.f_max_pool1d(kernel, strides, padding, dilations, window.ceil),
        2 => x.f_max_pool2d(kernel, strides, padding, dilations, window.ceil),
        _ => Err(too_many(window)),
    }
}

/// libtorch refuses pool padding above half the kernel; such padding is made explicit.
fn pool_padding(x: &Tensor, window: &Window, value: f64) -> Result<(Tensor, Vec<i64>), TchError> {
    if !is_widely_padded(window) {
        return symmetric(x, window, value);
    }
    Ok((pad(x, window, value)?, vec![0; window.kernel.len()]))
}

fn is_widely_padded(window: &Window) -> bool {
    window.pads_begin.iter().zip(&window.kernel).any(|(&pad, &kernel)| pad > kernel / 2)
}

pub(super) fn average_pool(x: &Tensor, window: &Window, count_include_pad: bool) -> Result<Tensor, TchError> {
    if window.dilations.iter().any(|&dilation| dilation != 1) {
        return dilated_average(x, window, count_include_pad);
    }
    if !count_include_pad && (window.pads_begin != window.pads_end || is_widely_padded(window)) {
        // The mean over real elements alone: sums of x over counts of ones.
        let ones = x.f_ones_like()?;
        return average(x, window, true)?.f_div(&average(&ones, window, true)?);
    }
    average(x, window, count_include_pad)
}

fn average(x: &Tensor, window: &Window, count_include_pad: bool) -> Result<Tensor, TchError> {
    let (x, padding) = pool_padding(x, window, 0.0)?;
    let (kernel, strides) = (wide(&window.kernel), wide(&window.strides));
    match window.kernel.len() {
        1 => x.f_avg_pool1d(kernel, strides, padding, window.ceil, count_include_pad),
        2 => x.f_avg_pool2d(kernel, strides, padding, window.ceil, count_include_pad, None::<i64>),
        _ => Err(too_many(window)),
    }
}

/// libtorch's own averages are not dilated: a convolution of each channel with ones.
fn dilated_average(x: &Tensor, window: &Window, count_include_pad: bool) -> Result<Tensor, TchError> {
    let kernel = wide(&window.kernel);
    let total = |x: &Tensor| {
        let channels = x.size()[1];
        let ones = Tensor::f_ones([&[channels, 1], &kernel[..]].concat(), (x.kind(), x.device()))?;
        conv(x, &ones, None, window, channels as usize)
    };
    let taps: i64 = kernel.iter().product();
    if count_include_pad { total(x)?.f_div_scalar(taps as f64) } else { total(x)?.f_div(&total(&x.f_ones_like()?)?) }
}
