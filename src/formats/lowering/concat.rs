//! Joins values along an axis, among them constants, which have no batch.

use super::{Lowering, as_known, check_size};
use crate::formats::{
    array::Array,
    dim::{Dim, show},
    fold,
    graph::{Binary, Op, PadMode},
    refusal::Refusal,
    value::{Site, Value},
};

/// Joins `parts`, of which there is one at least, along `axis` as the results of `site`.
///
/// # Errors
/// Shapes that do not fit, and constants that cannot be placed.
pub fn join(graph: &mut Lowering, site: &dyn Site, parts: &[&Value], axis: usize) -> Result<(), Refusal> {
    if let [only] = parts {
        return graph.alias(site, (*only).clone());
    }
    let is_known = |part: &&Value| as_known(part).is_some();
    if axis > 0 && parts.iter().any(is_known) && !parts.iter().all(is_known) {
        return beside_constants(graph, site, parts, axis);
    }
    let inputs: Vec<Option<&Value>> = parts.iter().copied().map(Some).collect();
    graph.finish(site, Op::Concat { axis }, &inputs)
}

/// Joins computed values and constants that are the same for every example (zeros that widen a shortcut, a class token).
///
/// A constant has no batch, and the graph has no operator to repeat it along one. So the computed values are joined and
/// padded with zeros to the full length, and the constants, placed beside zeros, are added. Where they are zeros
/// themselves, padding is all.
fn beside_constants(graph: &mut Lowering, site: &dyn Site, parts: &[&Value], axis: usize) -> Result<(), Refusal> {
    let computed = |part: &&Value| as_known(part).is_none();
    let (Some(first), Some(last)) = (parts.iter().position(computed), parts.iter().rposition(computed)) else {
        return Err("it has no input".into());
    };
    let inputs: Vec<Option<&Value>> = parts[first..=last].iter().copied().map(Some).collect();
    let joined = match inputs.as_slice() {
        [Some(only)] => (*only).clone(),
        _ if parts[first..=last].iter().all(computed) => graph.step(site, Op::Concat { axis }, &inputs, "joined")?,
        _ => return Err(Refusal::unsupported("it joins a constant between two computed values")),
    };
    let dims = joined.dims()?;
    let (before, after) = (
        constants(&parts[..first], (&dims, axis), graph.batch)?,
        constants(&parts[last + 1..], (&dims, axis), graph.batch)?,
    );
    let length = |arrays: &[Array]| arrays.iter().map(|array| array.shape[axis] as i64).sum();
    let (mut begin, mut end) = (vec![0; dims.len()], vec![0; dims.len()]);
    (begin[axis], end[axis]) = (length(&before), length(&after));
    let pad = Op::Pad { begin, end, mode: PadMode::Constant, value: 0.0 };
    let is_zero = |array: &Array| array.as_f32().is_some_and(|values| values.iter().all(|value| *value == 0.0));
    if before.iter().chain(&after).all(is_zero) {
        return graph.finish(site, pad, &[Some(&joined)]);
    }
    let zeros = zeros_for_one(&dims)?;
    let all: Vec<&Array> = before.iter().chain([&zeros]).chain(&after).collect();
    let placed = fold::apply(&Op::Concat { axis }, &all)?.into_iter().next().ok_or("it makes nothing")?;
    graph.charge(placed.len())?;
    let placed = graph.constant(site, "constants", placed);
    let padded = graph.step(site, pad, &[Some(&joined)], "padded")?;
    graph.finish(site, Op::Binary(Binary::Add), &[Some(&padded), Some(&placed)])
}

/// The known ones among `parts`, each with extent 1 where `dims` has the batch, and fitting beside it.
fn constants(parts: &[&Value], (dims, axis): (&[Dim], usize), batch: Option<i64>) -> Result<Vec<Array>, Refusal> {
    let fits = |array: &Array| {
        let like = |(at, own): (usize, &usize)| match dims[at] {
            _ if at == axis => true,
            dim if dim.is_batched() => *own == 1,
            dim => dim.extent() == Some(*own),
        };
        array.as_f32().is_some() && array.shape.len() == dims.len() && array.shape.iter().enumerate().all(like)
    };
    let arrays = parts.iter().filter_map(|part| as_known(part)).map(|known| {
        let array = for_one_example(&known.array, dims, batch);
        let misfit = || format!("it joins a constant of {:?} to {}", known.array.shape, show(dims));
        array.filter(fits).ok_or_else(|| Refusal::unsupported(misfit()))
    });
    arrays.collect()
}

/// One example of a constant that was written down for the whole batch that the file fixes, if all are alike.
fn for_one_example(array: &Array, dims: &[Dim], batch: Option<i64>) -> Option<Array> {
    let rows = *array.shape.first()?;
    if rows == 1 || batch != Some(rows as i64) || dims.first() != Some(&Dim::N) {
        return Some(array.clone());
    }
    let values = array.as_f32()?;
    let (first, _) = values.split_at_checked(values.len() / rows)?;
    let alike = !first.is_empty() && values.chunks_exact(first.len()).all(|row| row == first);
    let shape = std::iter::once(1).chain(array.shape[1..].iter().copied()).collect();
    alike.then(|| Array::floats(shape, first.to_vec()))
}

/// Zeros of one example's shape, with extent 1 for the batch.
fn zeros_for_one(dims: &[Dim]) -> Result<Array, Refusal> {
    check_size(dims)?;
    let extents = dims.iter().map(|dim| if dim.is_batched() { Some(1) } else { dim.extent() });
    let shape = extents.collect::<Option<Vec<usize>>>().ok_or("its extents are negative")?;
    let size = shape.iter().product();
    Ok(Array::floats(shape, vec![0.0; size]))
}
