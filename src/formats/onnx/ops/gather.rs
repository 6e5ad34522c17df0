//! <https://onnx.ai/onnx/operators/onnx__Gather.html> and GatherND (from opset 11), with constant indices.

use super::Lower;
use crate::formats::{
    dim::{Dim, product, show},
    graph::Op,
    lowering::indices,
    onnx::{
        call::{Call, Value},
        lowering::{Lowering, MAX_INTEGERS, bounded},
    },
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[("Gather", lower), ("GatherND", gather_nd)];

fn lower(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let dims = call.dims(0)?;
    let axis = call.axis(0, dims.len())?;
    let places = match (call.input(1)?, dims.as_slice()) {
        (Value::Indices(places), _) => Some(places.clone()),
        (Value::Known(known), [row]) if row.is_batched() => indices::written(&known.array, graph.batch, row.batch),
        _ => None,
    };
    if let (Some(places), 0) = (places, axis) {
        return indices::gather(graph, call, call.input(0)?, &places);
    }
    let extent =
        dims[axis].number().ok_or_else(|| Refusal::unsupported(format!("it picks examples of {}", show(&dims))))?;
    let shape = call.constant(1)?.ok_or("its indices are missing")?.shape.clone();
    let given = call.int_list(1)?.unwrap_or_default();
    let from_front = |index: &i64| if *index < 0 { index.saturating_add(extent) } else { *index };
    let indices: Vec<i64> = given.iter().map(from_front).collect();
    graph.finish(call, Op::Gather { axis, indices, shape }, &[Some(call.input(0)?)])
}

/// The last axis of the indices points into the first axes of the data, which become one.
fn gather_nd(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    if call.int("batch_dims", 0)? != 0 {
        return Err(Refusal::unsupported("its indices differ along the batch (batch_dims)"));
    }
    let dims = call.dims(0)?;
    let indices = call.constant(1)?.ok_or("its indices are missing")?;
    bounded(&indices.shape, MAX_INTEGERS)?;
    let Some((&depth, shape)) = indices.shape.split_last() else { return Err("its indices have no axes".into()) };
    let extents: Option<Vec<i64>> = dims.get(..depth).and_then(|first| first.iter().map(|dim| dim.number()).collect());
    let extents = extents.filter(|extents| !extents.is_empty());
    let extents =
        extents.ok_or_else(|| Refusal::unsupported(format!("it picks by {depth} indices from {}", show(&dims))))?;
    let given = call.int_list(1)?.unwrap_or_default();
    let places: Option<Vec<i64>> = given.chunks_exact(depth).map(|point| place(point, &extents)).collect();
    let indices = places.ok_or_else(|| format!("an index lies outside of {}", show(&dims)))?;
    let count = product(&dims[..depth]).ok_or("its extents overflow")?;
    let rows: Vec<Dim> = std::iter::once(count).chain(dims[depth..].iter().copied()).collect();
    let rows = graph.reshaped(call, call.input(0)?, &rows, "rows")?;
    graph.finish(call, Op::Gather { axis: 0, indices, shape: shape.to_vec() }, &[Some(&rows)])
}

/// Where a point lies in row-major order.
fn place(point: &[i64], extents: &[i64]) -> Option<i64> {
    point.iter().zip(extents).try_fold(0i64, |place, (index, extent)| {
        let index = if *index < 0 { index.checked_add(*extent)? } else { *index };
        (0..*extent).contains(&index).then_some(())?;
        place.checked_mul(*extent)?.checked_add(index)
    })
}
