//! Shape rules of operators that move, select, join and broadcast.

use super::{Inputs, within_example};
use crate::formats::{
    dim::{Dim, product, show},
    graph::PadMode,
    interpolation::Stretch,
    refusal::Refusal,
};

type Shape = Result<Vec<Dim>, Refusal>;

/// The common shape of two operands, as in NumPy.
pub fn broadcast(a: &[Dim], b: &[Dim]) -> Shape {
    let rank = a.len().max(b.len());
    let at = |dims: &[Dim], axis: usize| (axis + dims.len()).checked_sub(rank).map_or(Dim::ONE, |index| dims[index]);
    let one = |axis| match (at(a, axis), at(b, axis)) {
        (left, right) if left == right || right == Dim::ONE => Ok(left),
        (Dim::ONE, right) => Ok(right),
        _ => Err(format!("shapes {} and {} do not broadcast", show(a), show(b)).into()),
    };
    (0..rank).map(one).collect()
}

/// One entry of `target` may be -1: what is left over.
pub fn reshape(x: &[Dim], target: &[i64]) -> Shape {
    let misfit = || format!("{} does not become {target:?}", show(x));
    let count = product(x).ok_or_else(misfit)?;
    if target.iter().filter(|entry| **entry == -1).count() > 1 || target.iter().any(|entry| *entry < -1) {
        return Err(misfit().into());
    }
    let mut known = target.iter().filter(|entry| **entry != -1);
    let known = known.try_fold(1i64, |product, entry| product.checked_mul(*entry)).ok_or_else(misfit)?;
    let rest = count.over(Dim::fixed(known)).filter(|rest| rest.times(Dim::fixed(known)) == Some(count));
    let rest = rest.ok_or_else(misfit)?;
    if !target.contains(&-1) && rest != Dim::ONE {
        return Err(misfit().into());
    }
    Ok(target.iter().map(|entry| if *entry == -1 { rest } else { Dim::fixed(*entry) }).collect())
}

pub fn transpose(x: &[Dim], perm: &[usize]) -> Shape {
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    if sorted.len() != x.len() || sorted.iter().enumerate().any(|(axis, entry)| axis != *entry) {
        return Err(format!("{perm:?} does not permute the axes of {}", show(x)).into());
    }
    Ok(perm.iter().map(|axis| x[*axis]).collect())
}

pub fn concat(inputs: Inputs, axis: usize) -> Shape {
    let first = inputs.get(0)?;
    let mut length = 0i64;
    for index in 0..inputs.0.len() {
        let x = inputs.get(index)?;
        let others = |dims: &[Dim]| -> Vec<Dim> {
            dims.iter().enumerate().filter(|(at, _)| *at != axis).map(|(_, dim)| *dim).collect()
        };
        let added = within_example(x, axis)?;
        if x.len() != first.len() || others(x) != others(first) {
            return Err(format!("{} and {} do not join along axis {axis}", show(first), show(x)).into());
        }
        length = length.checked_add(added).ok_or("its extents overflow")?;
    }
    let mut shape = first.to_vec();
    shape[axis] = Dim::fixed(length);
    Ok(shape)
}

/// `starts` and `ends` lie within the extent; for a negative step `ends` may be -1, before the first element.
pub fn slice(x: &[Dim], axes: &[usize], starts: &[i64], ends: &[i64], steps: &[i64]) -> Shape {
    if [starts.len(), ends.len(), steps.len()] != [axes.len(); 3] {
        return Err("its starts, ends, axes and steps differ in length".into());
    }
    let mut shape = x.to_vec();
    for (index, &axis) in axes.iter().enumerate() {
        let extent = within_example(x, axis)?;
        let (start, end, step) = (starts[index], ends[index], steps[index]);
        let valid = if step > 0 { 0 <= start && end <= extent } else { start < extent && -1 <= end };
        if step == 0 || !valid {
            return Err(format!("it takes {start}..{end} by {step} of axis {axis} of {}", show(x)).into());
        }
        let span = if step > 0 { end.saturating_sub(start) } else { start.saturating_sub(end) };
        shape[axis] = Dim::fixed(u64::try_from(span).unwrap_or(0).div_ceil(step.unsigned_abs()) as i64);
    }
    Ok(shape)
}

pub fn split(x: &[Dim], axis: usize, sizes: &[usize]) -> Result<Vec<Vec<Dim>>, Refusal> {
    let extent = within_example(x, axis)?;
    let sum = sizes.iter().try_fold(0usize, |sum, size| sum.checked_add(*size));
    if sum.map(|sum| sum as i64) != Some(extent) || sizes.contains(&0) {
        return Err(format!("it splits axis {axis} of {} into {sizes:?}", show(x)).into());
    }
    let part = |size: &usize| {
        let mut shape = x.to_vec();
        shape[axis] = Dim::fixed(*size as i64);
        shape
    };
    Ok(sizes.iter().map(part).collect())
}

pub fn gather(x: &[Dim], axis: usize, indices: &[i64], shape: &[usize]) -> Shape {
    let extent = within_example(x, axis)?;
    if let Some(index) = indices.iter().find(|index| !(0..extent).contains(*index)) {
        return Err(format!("it takes element {index} of axis {axis} of {}", show(x)).into());
    }
    let chosen = shape.iter().map(|extent| Dim::fixed(*extent as i64));
    Ok(x[..axis].iter().copied().chain(chosen).chain(x[axis + 1..].iter().copied()).collect())
}

pub fn pad(x: &[Dim], begin: &[i64], end: &[i64], mode: PadMode) -> Shape {
    if begin.len() != x.len() || end.len() != x.len() {
        return Err(format!("it has {} and {} paddings for {}", begin.len(), end.len(), show(x)).into());
    }
    let one = |(axis, dim): (usize, &Dim)| {
        let (before, after) = (begin[axis], end[axis]);
        if before == 0 && after == 0 {
            return Ok(*dim);
        }
        let extent = within_example(x, axis)?;
        if mode != PadMode::Constant && extent < 1 {
            return Err("it has nothing to pad with".into());
        }
        if mode == PadMode::Reflect && before.max(after) >= extent {
            return Err(format!("it reflects {before} and {after} elements of an axis of {extent}").into());
        }
        let padded = extent.checked_add(before).and_then(|sum| sum.checked_add(after));
        padded.map(Dim::fixed).ok_or_else(|| Refusal::from("its extents overflow"))
    };
    x.iter().enumerate().map(one).collect()
}

pub fn reduce(x: &[Dim], axes: &[usize], keep_dims: bool) -> Shape {
    for axis in axes {
        within_example(x, *axis)?;
    }
    let kept = x.iter().enumerate().filter_map(|(axis, dim)| match (axes.contains(&axis), keep_dims) {
        (false, _) => Some(*dim),
        (true, true) => Some(Dim::ONE),
        (true, false) => None,
    });
    Ok(kept.collect())
}

/// -1 keeps the extent.
pub fn expand(x: &[Dim], target: &[i64]) -> Shape {
    let misfit = || format!("{} does not expand to {target:?}", show(x));
    let added = target.len().checked_sub(x.len()).ok_or_else(misfit)?;
    let one = |(axis, entry): (usize, &i64)| match (axis.checked_sub(added).map(|index| x[index]), *entry) {
        (Some(dim), -1) => Ok(dim),
        (None | Some(Dim::ONE), extent) if extent >= 1 => Ok(Dim::fixed(extent)),
        (Some(dim), extent) if dim == Dim::fixed(extent) => Ok(dim),
        _ => Err(misfit().into()),
    };
    target.iter().enumerate().map(one).collect()
}

/// Largest product of an axis' extents before and after it is resized: that many weights are computed.
const MOST_WEIGHTS: i64 = 1 << 24;

pub fn resize(x: &[Dim], stretches: &[Stretch]) -> Shape {
    let mut shape = x.to_vec();
    for stretch in stretches {
        let input = within_example(x, stretch.axis)?;
        let extent = i64::try_from(stretch.extent).unwrap_or(i64::MAX);
        if extent < 1 || input < 1 || input.checked_mul(extent).is_none_or(|weights| weights > MOST_WEIGHTS) {
            return Err(format!("it resizes axis {} of {} to {extent}", stretch.axis, show(x)).into());
        }
        shape[stretch.axis] = Dim::fixed(extent);
    }
    Ok(shape)
}
