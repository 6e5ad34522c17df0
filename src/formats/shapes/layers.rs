//! Shape rules of operators that compute: convolutions, pooling, products, normalisations.

use super::{Inputs, moves::broadcast, within_example};
use crate::formats::{
    dim::{Dim, show},
    graph::Window,
    refusal::Refusal,
};

type Shape = Result<Vec<Dim>, Refusal>;

/// x (N, C, spatial…), weight (out, in / groups, kernel…), bias (out)?
pub fn conv(inputs: Inputs, window: &Window, groups: usize) -> Shape {
    let (x, weight) = (inputs.get(0)?, inputs.get(1)?);
    let channels = spatial_input(x, window)?;
    kernel_fits(weight, window)?;
    let (out, per_group, groups) = (within_example(weight, 0)?, within_example(weight, 1)?, groups as i64);
    if groups < 1 || per_group.checked_mul(groups) != Some(channels) || out % groups != 0 {
        return Err(
            format!("a weight of {} in {groups} groups does not fit an input of {}", show(weight), show(x)).into()
        );
    }
    vector(inputs.optional(2), out, "bias")?;
    let mut shape = vec![x[0], Dim::fixed(out)];
    for axis in 0..window.kernel.len() {
        shape.push(slide(within_example(x, axis + 2)?, window, axis)?);
    }
    Ok(shape)
}

/// x, weight (in, out / groups, kernel…), bias?
pub fn conv_transpose(inputs: Inputs, window: &Window, groups: usize, output_padding: &[usize]) -> Shape {
    let (x, weight) = (inputs.get(0)?, inputs.get(1)?);
    let channels = spatial_input(x, window)?;
    kernel_fits(weight, window)?;
    let (from, per_group, groups) = (within_example(weight, 0)?, within_example(weight, 1)?, groups as i64);
    if groups < 1 || from != channels || from % groups != 0 || output_padding.len() != window.kernel.len() {
        return Err(
            format!("a weight of {} in {groups} groups does not fit an input of {}", show(weight), show(x)).into()
        );
    }
    let out = per_group.checked_mul(groups).ok_or("its channels overflow")?;
    vector(inputs.optional(2), out, "bias")?;
    let mut shape = vec![x[0], Dim::fixed(out)];
    for (axis, extra) in output_padding.iter().enumerate() {
        let stretched = (within_example(x, axis + 2)? - 1).checked_mul(window.strides[axis] as i64);
        let extent = stretched
            .and_then(|extent| extent.checked_add(reach(window, axis)?)?.checked_add(*extra as i64))
            .and_then(|extent| extent.checked_sub(padding(window, axis)?));
        shape.push(Dim::fixed(extent.ok_or("its extents overflow")?));
    }
    Ok(shape)
}

/// Scores for each example.
pub fn opaque(x: &[Dim], classes: usize) -> Shape {
    let batch = x.first().ok_or("its input has no axes")?;
    Ok(vec![*batch, Dim::fixed(i64::try_from(classes).map_err(|_| "it has too many classes")?)])
}

pub fn pool(x: &[Dim], window: &Window) -> Shape {
    spatial_input(x, window)?;
    let mut shape = x[..2].to_vec();
    for axis in 0..window.kernel.len() {
        shape.push(slide(within_example(x, axis + 2)?, window, axis)?);
    }
    Ok(shape)
}

pub fn global_pool(x: &[Dim]) -> Shape {
    if x.len() < 3 {
        return Err(format!("{} has no spatial axes", show(x)).into());
    }
    for axis in 1..x.len() {
        within_example(x, axis)?;
    }
    Ok(x[..2].iter().copied().chain(std::iter::repeat_n(Dim::ONE, x.len() - 2)).collect())
}

/// a (N, K), b (K, M) or (M, K), c that broadcasts to (N, M).
pub fn gemm(inputs: Inputs, trans_b: bool) -> Shape {
    let (a, b) = (inputs.get(0)?, inputs.get(1)?);
    let (&[rows, inner], &[b0, b1]) = (a, b) else {
        return Err(format!("it multiplies {} by {}, which are not two matrices", show(a), show(b)).into());
    };
    let (needed, columns) = if trans_b { (b1, b0) } else { (b0, b1) };
    if inner != needed {
        return Err(
            format!("it multiplies {} by {}{}", show(a), show(b), if trans_b { " transposed" } else { "" }).into()
        );
    }
    let shape = vec![rows, columns];
    match inputs.optional(2) {
        Some(c) if broadcast(&shape, c)? != shape => {
            Err(format!("a bias of {} does not fit {}", show(c), show(&shape)).into())
        }
        _ => Ok(shape),
    }
}

/// As `numpy.matmul`, for two operands of rank 2 or more.
pub fn mat_mul(inputs: Inputs) -> Shape {
    let (a, b) = (inputs.get(0)?, inputs.get(1)?);
    let (Some((a_stack, &[rows, inner])), Some((b_stack, &[needed, columns]))) =
        (a.split_last_chunk::<2>(), b.split_last_chunk::<2>())
    else {
        return Err(format!("it multiplies {} by {}, which are not two matrices", show(a), show(b)).into());
    };
    if inner != needed || inner.is_batched() {
        return Err(format!("it multiplies {} by {}", show(a), show(b)).into());
    }
    let mut shape = broadcast(a_stack, b_stack)?;
    shape.extend([rows, columns]);
    Ok(shape)
}

/// x (N, C, …) and `vectors` parameters of shape (C).
pub fn channel_norm(inputs: Inputs, vectors: usize) -> Shape {
    let x = inputs.get(0)?;
    let channels = within_example(x, 1)?;
    for index in 1..=vectors {
        vector(Some(inputs.get(index)?), channels, "parameter")?;
    }
    Ok(x.to_vec())
}

/// x, scale and bias? over the axes from `axis` on.
pub fn layer_norm(inputs: Inputs, axis: usize) -> Shape {
    let x = inputs.get(0)?;
    let normalised = x.get(axis..).filter(|rest| !rest.is_empty()).ok_or_else(|| format!("it has no axis {axis}"))?;
    if normalised.iter().any(|dim| dim.is_batched()) {
        return Err(Refusal::Unsupported(format!("it normalises along the batch of {}", show(x))));
    }
    for parameter in [Some(inputs.get(1)?), inputs.optional(2)].into_iter().flatten() {
        if broadcast(normalised, parameter)? != normalised {
            return Err(format!("a parameter of {} does not fit {}", show(parameter), show(normalised)).into());
        }
    }
    Ok(x.to_vec())
}

pub fn prelu(inputs: Inputs) -> Shape {
    let (x, slope) = (inputs.get(0)?, inputs.get(1)?);
    if broadcast(x, slope)? != x {
        return Err(format!("a slope of {} does not fit {}", show(slope), show(x)).into());
    }
    Ok(x.to_vec())
}

/// Checks a window's own lists and the rank of its input; gives the channels.
fn spatial_input(x: &[Dim], window: &Window) -> Result<i64, Refusal> {
    let spatial = window.kernel.len();
    let lists = [&window.strides, &window.dilations, &window.pads_begin, &window.pads_end];
    if !(1..=2).contains(&spatial) || lists.iter().any(|list| list.len() != spatial) {
        return Err(Refusal::Unsupported(format!("it slides over {spatial} axes, not 1 or 2")));
    }
    if x.len() != spatial + 2 {
        return Err(format!("it slides over {spatial} axes of an input of {}", show(x)).into());
    }
    let positive = [&window.kernel, &window.strides, &window.dilations];
    if positive.iter().any(|list| list.contains(&0)) {
        return Err("a kernel, stride or dilation is 0".into());
    }
    within_example(x, 1)
}

fn kernel_fits(weight: &[Dim], window: &Window) -> Result<(), Refusal> {
    let kernel = weight.get(2..).unwrap_or_default();
    let equal = kernel.len() == window.kernel.len()
        && kernel.iter().zip(&window.kernel).all(|(dim, size)| dim.extent() == Some(*size));
    if equal {
        Ok(())
    } else {
        Err(format!("a weight of {} does not have the kernel {:?}", show(weight), window.kernel).into())
    }
}

fn vector(dims: Option<&[Dim]>, len: i64, what: &str) -> Result<(), Refusal> {
    match dims {
        Some(dims) if dims != [Dim::fixed(len)] => {
            Err(format!("a {what} of {} should have {len} elements", show(dims)).into())
        }
        _ => Ok(()),
    }
}

/// How far a window reaches: dilation · (kernel - 1) + 1.
fn reach(window: &Window, axis: usize) -> Option<i64> {
    (window.dilations[axis] as i64).checked_mul(window.kernel[axis] as i64 - 1)?.checked_add(1)
}

fn padding(window: &Window, axis: usize) -> Option<i64> {
    (window.pads_begin[axis] as i64).checked_add(window.pads_end[axis] as i64)
}

/// How many steps a window takes over `extent`.
fn slide(extent: i64, window: &Window, axis: usize) -> Result<Dim, Refusal> {
    let overflow = "its extents overflow";
    let padded = padding(window, axis).and_then(|padding| padding.checked_add(extent)).ok_or(overflow)?;
    let room = reach(window, axis).and_then(|reach| padded.checked_sub(reach)).ok_or(overflow)?;
    if room < 0 {
        return Err(format!(
            "a window of {:?} is larger than its input of {extent} on axis {}",
            window.kernel,
            axis + 2
        )
        .into());
    }
    let stride = window.strides[axis] as i64;
    let mut steps = room / stride + 1;
    if window.ceil && room % stride != 0 {
        // A last window that would begin in the padding behind the input does not count.
        let begins = steps.checked_mul(stride).ok_or(overflow)?;
        steps += i64::from(begins < extent + window.pads_begin[axis] as i64);
    }
    Ok(Dim::fixed(steps))
}
