//! Operators that move, cut or reduce axes.

use tch::{Kind, TchError, Tensor};

use crate::formats::{
    graph::{Op, PadMode, Reduce},
    interpolation::{self, Interpolation, Resizing, Stretch},
};

pub(super) fn reshape(op: &Op, x: &Tensor) -> Result<Tensor, TchError> {
    match op {
        Op::Reshape { shape } => x.f_reshape(shape.as_slice()),
        Op::Transpose { perm } => x.f_permute(wide(perm)),
        Op::Slice { axes, starts, ends, steps } => slice(x, axes, starts, ends, steps),
        Op::Gather { axis, indices, shape } => gather(x, *axis, indices, shape),
        Op::Pad { begin, end, mode, value } => pad(x, begin, end, *mode, *value),
        Op::Reduce { kind, axes, keep_dims } => reduce(*kind, x, wide(axes), *keep_dims),
        Op::Expand { shape } => x.f_expand(shape.as_slice(), false),
        Op::Resize { stretches, resizing } => {
            stretches.iter().try_fold(x.shallow_clone(), |x, stretch| resize(&x, stretch, resizing))
        }
        other => Err(TchError::Shape(format!("{other:?} has no rule here"))),
    }
}

fn wide(axes: &[usize]) -> Vec<i64> {
    axes.iter().map(|&axis| axis as i64).collect()
}

fn reduce(kind: Reduce, x: &Tensor, axes: Vec<i64>, keep: bool) -> Result<Tensor, TchError> {
    match kind {
        Reduce::Mean => x.f_mean_dim(axes, keep, Kind::Float),
        Reduce::Sum => x.f_sum_dim_intlist(axes, keep, Kind::Float),
        Reduce::Product => {
            // One axis at a time, from the last, so that the numbers of the others hold when one goes.
            axes.iter().rev().try_fold(x.shallow_clone(), |x, &axis| x.f_prod_dim_int(axis, keep, Kind::Float))
        }
        Reduce::Max => x.f_amax(axes, keep),
        Reduce::Min => x.f_amin(axes, keep),
    }
}

fn slice(x: &Tensor, axes: &[usize], starts: &[i64], ends: &[i64], steps: &[i64]) -> Result<Tensor, TchError> {
    let mut y = x.shallow_clone();
    for (((&axis, &start), &end), &step) in axes.iter().zip(starts).zip(ends).zip(steps) {
        let axis = axis as i64;
        y = if step > 0 {
            y.f_slice(axis, start, end, step)?
        } else {
            // libtorch slices forward only: pick what start, start + step, … (end excluded) would.
            let indices: Vec<i64> = std::iter::successors(Some(start), |at| Some(at + step))
                .take_while(|&at| at > end && at >= 0)
                .collect();
            y.f_index_select(axis, &Tensor::f_from_slice(&indices)?.f_to_device(y.device())?)?
        };
    }
    Ok(y)
}

fn gather(x: &Tensor, axis: usize, indices: &[i64], shape: &[usize]) -> Result<Tensor, TchError> {
    let picked = x.f_index_select(axis as i64, &Tensor::f_from_slice(indices)?.f_to_device(x.device())?)?;
    let mut target = x.size();
    target.splice(axis..=axis, shape.iter().map(|&extent| extent as i64));
    picked.f_reshape(target)
}

fn pad(x: &Tensor, begin: &[i64], end: &[i64], mode: PadMode, value: f32) -> Result<Tensor, TchError> {
    let pairs = mode.pairs(begin, end);
    match mode {
        _ if pairs.is_empty() => Ok(x.shallow_clone()),
        PadMode::Constant => x.f_pad(pairs, "constant", f64::from(value)),
        PadMode::Reflect => x.f_pad(pairs, "reflect", None),
        PadMode::Edge => x.f_pad(pairs, "replicate", None),
    }
}

/// One axis: elements picked, or the product with a matrix of weights.
fn resize(x: &Tensor, stretch: &Stretch, resizing: &Resizing) -> Result<Tensor, TchError> {
    let axis = stretch.axis as i64;
    let input = x.size().get(stretch.axis).copied().unwrap_or(0) as usize;
    if input == 0 {
        return Err(TchError::Shape(format!("there is nothing to resize on axis {axis}")));
    }
    let rows = interpolation::rows(resizing, stretch, input);
    if let Interpolation::Nearest(_) = resizing.interpolation {
        let indices: Vec<i64> = rows.iter().flatten().map(|(index, _)| *index as i64).collect();
        return x.f_index_select(axis, &Tensor::f_from_slice(&indices)?.f_to_device(x.device())?);
    }
    let mut weights = vec![0.0f32; input * rows.len()];
    for (row, weights) in rows.iter().zip(weights.chunks_exact_mut(input)) {
        for (index, weight) in row {
            weights[*index] += *weight as f32;
        }
    }
    let weights = Tensor::f_from_slice(&weights)?.f_view([rows.len() as i64, input as i64])?.f_to_device(x.device())?;
    x.f_movedim_int(axis, -1)?.f_matmul(&weights.f_tr()?)?.f_movedim_int(-1, axis)
}
