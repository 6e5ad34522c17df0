//! <https://onnx.ai/onnx/operators/onnx__Split.html>: sizes as attribute before opset 13, as input since; `num_outputs`
//! since opset 18; equal parts otherwise.

use super::Lower;
use crate::formats::{
    graph::Op,
    onnx::{call::Call, lowering::Lowering},
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[("Split", lower)];

fn lower(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let dims = call.dims(0)?;
    let axis = call.axis(0, dims.len())?;
    let extent = dims[axis].extent().ok_or_else(|| Refusal::unsupported("it splits the batch"))?;
    let given = match call.ints("split")? {
        Some(sizes) => Some(sizes.to_vec()),
        None => call.int_list(1)?,
    };
    let sizes = match given {
        Some(sizes) => sizes.iter().map(|size| usize::try_from(*size).ok()).collect::<Option<_>>(),
        None => Some(equal_parts(
            extent,
            usize::try_from(call.int("num_outputs", call.outputs().count() as i64)?).unwrap_or(0),
        )),
    };
    let sizes: Vec<usize> = sizes.ok_or("a size is negative")?;
    if sizes.is_empty() || sizes.len() < call.outputs().count() {
        return Err(format!("it splits into {sizes:?}, but has {} outputs", call.outputs().count()).into());
    }
    graph.finish(call, Op::Split { axis, sizes }, &[Some(call.input(0)?)])
}

/// Equal parts, the last one smaller where they do not come out even.
fn equal_parts(extent: usize, parts: usize) -> Vec<usize> {
    if parts == 0 || parts > extent {
        return Vec::new();
    }
    let size = extent.div_ceil(parts);
    (0..parts).map(|part| size.min(extent.saturating_sub(part * size))).collect()
}
