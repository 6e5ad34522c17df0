//! <https://onnx.ai/onnx/operators/onnx__ScatterND.html> (from opset 11), of constants: masks are made so.

use super::Lower;
use crate::formats::{
    array::{Array, Elements, strides},
    onnx::{
        call::Call,
        lowering::{Lowering, MAX_INTEGERS, bounded},
    },
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[("ScatterND", scatter_nd)];

fn scatter_nd(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let reduction = call.text("reduction", "none")?;
    if reduction != "none" {
        return Err(Refusal::unsupported(format!("it joins old and new values (reduction {reduction})")));
    }
    let missing = || Refusal::from("it lacks an input");
    let data = call.constant(0)?.ok_or_else(missing)?;
    let (indices, updates) = (call.constant(1)?.ok_or_else(missing)?, call.constant(2)?.ok_or_else(missing)?);
    bounded(&indices.shape, MAX_INTEGERS)?;
    let fits = |(depth, points): (&usize, &[usize])| {
        let slice = data.shape.get(*depth..).filter(|_| *depth > 0)?;
        ([points, slice].concat() == updates.shape).then_some((*depth, slice.iter().product()))
    };
    let (depth, size) = indices.shape.split_last().and_then(fits).ok_or_else(|| {
        format!("values of {:?} at indices of {:?} do not fit {:?}", updates.shape, indices.shape, data.shape)
    })?;
    let starts = starts(&call.int_list(1)?.unwrap_or_default(), depth, &data.shape)?;
    let elements = match (&data.elements, &updates.elements) {
        (Elements::F32(data), Elements::F32(updates)) => Elements::F32(put(data, updates, &starts, size)),
        (Elements::Int(data), Elements::Int(updates)) => Elements::Int(put(data, updates, &starts, size)),
        (Elements::Bool(data), Elements::Bool(updates)) => Elements::Bool(put(data, updates, &starts, size)),
        _ => return Err("its inputs differ in type".into()),
    };
    graph.known(call, Array { shape: data.shape.clone(), elements })
}

/// Where the slice begins that each point leads to: a point has an index for each of the first `depth` axes of `shape`.
fn starts(points: &[i64], depth: usize, shape: &[usize]) -> Result<Vec<usize>, Refusal> {
    let strides = strides(shape);
    let along = |((index, extent), stride): ((&i64, &usize), &isize)| {
        let from_front = if *index < 0 { index.checked_add(*extent as i64)? } else { *index };
        let inside = usize::try_from(from_front).ok().filter(|index| index < extent)?;
        Some(inside * *stride as usize)
    };
    let start = |point: &[i64]| point.iter().zip(shape).zip(&strides).map(along).sum::<Option<usize>>();
    let starts = points.chunks_exact(depth).map(start);
    starts.collect::<Option<_>>().ok_or_else(|| format!("an index lies outside of {shape:?}").into())
}

/// A copy of `data` with the slices of `updates`, of `size` elements each, at `starts`; of two at one place, the later.
fn put<T: Copy>(data: &[T], updates: &[T], starts: &[usize], size: usize) -> Vec<T> {
    let mut data = data.to_vec();
    for (start, update) in starts.iter().zip(updates.chunks_exact(size.max(1))) {
        data[*start..][..size].copy_from_slice(update);
    }
    data
}
