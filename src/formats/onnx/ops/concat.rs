//! <https://onnx.ai/onnx/operators/onnx__Concat.html>.

use super::Lower;
use crate::formats::{
    dim::{Dim, show},
    graph::{Binary, Op, PadMode},
    onnx::{
        array::Array,
        call::{Call, Value},
        fold,
        lowering::{Lowering, as_known, check_size},
    },
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[("Concat", lower)];

fn lower(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let parts: Vec<&Value> = call.present().collect();
    let rank = parts.first().ok_or("it has no input")?.dims()?.len();
    let axis = call.axis(1, rank)?;
    if let [only] = parts.as_slice() {
        return graph.alias(call, (*only).clone());
    }
    let is_known = |part: &&Value| as_known(part).is_some();
    if axis > 0 && parts.iter().any(is_known) && !parts.iter().all(is_known) {
        return beside_constants(graph, call, &parts, axis);
    }
    let inputs: Vec<Option<&Value>> = parts.into_iter().map(Some).collect();
    graph.finish(call, Op::Concat { axis }, &inputs)
}

/// Joins computed values and constants that are the same for every example (zeros that widen a shortcut, a class token).
///
/// A constant has no batch, and the graph has no operator to repeat it along one. So the computed values are joined and
/// padded with zeros to the full length, and the constants, placed beside zeros, are added. Where they are zeros
/// themselves, padding is all.
fn beside_constants(graph: &mut Lowering, call: &Call, parts: &[&Value], axis: usize) -> Result<(), Refusal> {
    let computed = |part: &&Value| as_known(part).is_none();
    let (Some(first), Some(last)) = (parts.iter().position(computed), parts.iter().rposition(computed)) else {
        return Err("it has no input".into());
    };
    let inputs: Vec<Option<&Value>> = parts[first..=last].iter().copied().map(Some).collect();
    let joined = match inputs.as_slice() {
        [Some(only)] => (*only).clone(),
        _ if parts[first..=last].iter().all(computed) => graph.step(call, Op::Concat { axis }, &inputs, "joined")?,
        _ => return Err(Refusal::unsupported("it joins a constant between two computed values")),
    };
    let dims = joined.dims()?;
    let (before, after) = (constants(&parts[..first], &dims, axis)?, constants(&parts[last + 1..], &dims, axis)?);
    let length = |arrays: &[&Array]| arrays.iter().map(|array| array.shape[axis] as i64).sum();
    let (mut begin, mut end) = (vec![0; dims.len()], vec![0; dims.len()]);
    (begin[axis], end[axis]) = (length(&before), length(&after));
    let pad = Op::Pad { begin, end, mode: PadMode::Constant, value: 0.0 };
    let is_zero = |array: &&Array| array.as_f32().is_some_and(|values| values.iter().all(|value| *value == 0.0));
    if before.iter().chain(&after).all(is_zero) {
        return graph.finish(call, pad, &[Some(&joined)]);
    }
    let zeros = zeros_for_one(&dims)?;
    let all: Vec<&Array> = before.into_iter().chain([&zeros]).chain(after).collect();
    let placed = fold::apply(&Op::Concat { axis }, &all)?.into_iter().next().ok_or("it makes nothing")?;
    graph.charge(placed.len())?;
    let placed = graph.constant(call, "constants", placed);
    let padded = graph.step(call, pad, &[Some(&joined)], "padded")?;
    graph.finish(call, Op::Binary(Binary::Add), &[Some(&padded), Some(&placed)])
}

/// The known ones among `parts`, each of which has extent 1 where `dims` has the batch, and fits beside it.
fn constants<'a>(parts: &[&'a Value], dims: &[Dim], axis: usize) -> Result<Vec<&'a Array>, Refusal> {
    let fits = |array: &Array| {
        let like = |(at, own): (usize, &usize)| match dims[at] {
            _ if at == axis => true,
            dim if dim.is_batched() => *own == 1,
            dim => dim.extent() == Some(*own),
        };
        array.as_f32().is_some() && array.shape.len() == dims.len() && array.shape.iter().enumerate().all(like)
    };
    let arrays = parts.iter().filter_map(|part| as_known(part)).map(|known| {
        let array: &Array = &known.array;
        let misfit = || format!("it joins a constant of {:?} to {}", array.shape, show(dims));
        if fits(array) { Ok(array) } else { Err(Refusal::unsupported(misfit())) }
    });
    arrays.collect()
}

/// Zeros of one example's shape, with extent 1 for the batch.
fn zeros_for_one(dims: &[Dim]) -> Result<Array, Refusal> {
    check_size(dims)?;
    let extents = dims.iter().map(|dim| if dim.is_batched() { Some(1) } else { dim.extent() });
    let shape = extents.collect::<Option<Vec<usize>>>().ok_or("its extents are negative")?;
    let size = shape.iter().product();
    Ok(Array::floats(shape, vec![0.0; size]))
}
