//! <https://onnx.ai/onnx/operators/onnx__Resize.html> (from opset 10; coordinates and cubic kernels since 11, antialiasing and
//! axes since 18) and Upsample (until opset 9), to extents that are known.

use super::Lower;
use crate::formats::{
    dim::{Dim, show},
    graph::Op,
    interpolation::{Coordinates, Interpolation, Resizing, Rounding, Stretch},
    onnx::{
        call::{Call, normalise},
        lowering::Lowering,
    },
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[("Resize", resize), ("Upsample", upsample)];

fn resize(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    if call.opset < 11 {
        return before_11(graph, call, scales(call, 1, Coordinates::Asymmetric)?);
    }
    if call.text("keep_aspect_ratio_policy", "stretch")? != "stretch" {
        return Err(Refusal::unsupported("it keeps the aspect ratio (keep_aspect_ratio_policy)"));
    }
    let resizing = resizing(call)?;
    let wanted = match call.optional(3) {
        Some(_) => sizes(graph, call)?,
        None => scales(call, 2, resizing.coordinates)?,
    };
    lower(graph, call, wanted, resizing)
}

fn upsample(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let wanted = match call.floats("scales")? {
        Some(scales) => scaled(call, scales, Coordinates::Asymmetric)?,
        None => scales(call, 1, Coordinates::Asymmetric)?,
    };
    before_11(graph, call, wanted)
}

fn lower(graph: &mut Lowering, call: &Call, wanted: Vec<Stretch>, resizing: Resizing) -> Result<(), Refusal> {
    let dims = call.dims(0)?;
    // An extent that stays, and was asked for as an extent, maps onto itself in every mode.
    let stays = |stretch: &Stretch| stretch.scale.is_none() && dims[stretch.axis].extent() == Some(stretch.extent);
    let changed: Vec<Stretch> = wanted.into_iter().filter(|stretch| !stays(stretch)).collect();
    if changed.is_empty() {
        return graph.alias(call, call.input(0)?.clone());
    }
    graph.finish(call, Op::Resize { stretches: changed, resizing }, &[Some(call.input(0)?)])
}

/// Before opset 11. Which neighbour is nearest hangs on whether the axis shrinks, so axes that do are resized by themselves.
fn before_11(graph: &mut Lowering, call: &Call, wanted: Vec<Stretch>) -> Result<(), Refusal> {
    let (shrunk, grown): (Vec<Stretch>, Vec<Stretch>) =
        wanted.into_iter().partition(|stretch| stretch.scale.is_some_and(|scale| scale < 1.0));
    if shrunk.is_empty() {
        return lower(graph, call, grown, old(call, Rounding::Floor)?);
    }
    let shrinking = old(call, Rounding::Ceil)?;
    if grown.is_empty() {
        return lower(graph, call, shrunk, shrinking);
    }
    let growing = Op::Resize { stretches: grown, resizing: old(call, Rounding::Floor)? };
    let x = graph.step(call, growing, &[Some(call.input(0)?)], "grown")?;
    graph.finish(call, Op::Resize { stretches: shrunk, resizing: shrinking }, &[Some(&x)])
}

/// place / scale, which is rounded by `rounding`, or a line between the two neighbours. The text of those opsets leaves open
/// how to round; ONNX's own cases and onnxruntime round up where an axis shrinks.
fn old(call: &Call, rounding: Rounding) -> Result<Resizing, Refusal> {
    let interpolation = match call.text("mode", "nearest")? {
        "nearest" => Interpolation::Nearest(rounding),
        "linear" | "bilinear" => Interpolation::Linear,
        other => return Err(Refusal::unsupported(format!("its mode is \"{other}\""))),
    };
    Ok(Resizing { interpolation, coordinates: Coordinates::Asymmetric, exclude_outside: false, antialias: false })
}

fn resizing(call: &Call) -> Result<Resizing, Refusal> {
    let coordinates = match call.text("coordinate_transformation_mode", "half_pixel")? {
        "half_pixel" => Coordinates::HalfPixel,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        other => return Err(Refusal::unsupported(format!("its coordinates are \"{other}\""))),
    };
    let rounding = match call.text("nearest_mode", "round_prefer_floor")? {
        "round_prefer_floor" => Rounding::PreferFloor,
        "round_prefer_ceil" => Rounding::PreferCeil,
        "floor" => Rounding::Floor,
        "ceil" => Rounding::Ceil,
        other => return Err(format!("its attribute nearest_mode is \"{other}\"").into()),
    };
    let interpolation = match call.text("mode", "nearest")? {
        "nearest" => Interpolation::Nearest(rounding),
        "linear" => Interpolation::Linear,
        "cubic" => Interpolation::Cubic { a: call.float("cubic_coeff_a", -0.75)? },
        other => return Err(format!("its attribute mode is \"{other}\"").into()),
    };
    let flag = |name| Ok::<bool, Refusal>(call.int(name, 0)? != 0);
    Ok(Resizing {
        interpolation,
        coordinates,
        exclude_outside: flag("exclude_outside")?,
        antialias: flag("antialias")?,
    })
}

/// The axes that a list of scales or sizes is for: all of them, unless the node names some.
fn axes(call: &Call, rank: usize, len: usize) -> Result<Vec<usize>, Refusal> {
    let axes = match call.ints("axes")? {
        Some(axes) => axes.iter().map(|axis| normalise(*axis, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    let twice = axes.iter().enumerate().any(|(index, axis)| axes[..index].contains(axis));
    if axes.len() != len || twice {
        return Err(format!("it has {len} sizes or scales for the axes {axes:?}").into());
    }
    Ok(axes)
}

fn scales(call: &Call, index: usize, coordinates: Coordinates) -> Result<Vec<Stretch>, Refusal> {
    let array = call.constant(index)?.ok_or("its scales are missing")?;
    let scales = array.as_f32().ok_or("its scales are not of floats")?;
    scaled(call, scales, coordinates)
}

fn scaled(call: &Call, scales: &[f32], coordinates: Coordinates) -> Result<Vec<Stretch>, Refusal> {
    let dims = call.dims(0)?;
    let mut stretches = Vec::new();
    for (axis, &scale) in axes(call, dims.len(), scales.len())?.into_iter().zip(scales) {
        if !(scale > 0.0 && scale.is_finite()) {
            return Err(format!("it resizes axis {axis} by {scale}").into());
        }
        if scale == 1.0 {
            continue;
        }
        let input = dims[axis].extent().ok_or_else(|| batch(&dims))?;
        // In float32, as runtimes do: 10 times 0.7 is 7 there, and a little less in float64.
        let extent = (input as f32 * scale).floor() as usize;
        // Corners are aligned by the whole lengths, as the text of opsets 11 to 19 and runtimes have it; ONNX's reference
        // implementation multiplies by the scale instead.
        let scale = Some(scale).filter(|_| coordinates != Coordinates::AlignCorners);
        stretches.push(Stretch { axis, extent, scale });
    }
    Ok(stretches)
}

fn sizes(graph: &Lowering, call: &Call) -> Result<Vec<Stretch>, Refusal> {
    let dims = call.dims(0)?;
    let sizes = call.dim_list(3)?.ok_or("its sizes are missing")?;
    let mut stretches = Vec::new();
    for (axis, size) in axes(call, dims.len(), sizes.len())?.into_iter().zip(sizes) {
        let written = graph.batch.and_then(|batch| dims[axis].at(batch)).map(Dim::fixed);
        if size == dims[axis] || (dims[axis].is_batched() && written == Some(size)) {
            continue;
        }
        let extent = size.extent().filter(|_| !dims[axis].is_batched()).ok_or_else(|| batch(&dims))?;
        stretches.push(Stretch { axis, extent, scale: None });
    }
    Ok(stretches)
}

fn batch(dims: &[Dim]) -> Refusal {
    Refusal::unsupported(format!("it resizes {} along the batch", show(dims)))
}
