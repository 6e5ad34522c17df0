//! Applies graph operators to values that are known while importing, so that no constant arithmetic reaches the graph.

mod product;

pub use product::multiplications;

use super::{
    array::{Array, Elements, Offsets, broadcast_strides, strides},
    dim::Dim,
    graph::{Binary, Op, PadMode, Reduce, Unary},
    interpolation::{self, Resizing, Stretch},
    refusal::Refusal,
    shapes,
};

/// The results of `op` on known inputs.
///
/// # Errors
/// Shapes that do not fit, and operators that have no rule for constants.
pub fn apply(op: &Op, inputs: &[&Array]) -> Result<Vec<Array>, Refusal> {
    let dims: Vec<Vec<Dim>> = inputs.iter().map(|array| array.dims()).collect();
    let views: Vec<Option<&[Dim]>> = dims.iter().map(|dims| Some(dims.as_slice())).collect();
    let mut results = Vec::new();
    for (index, dims) in shapes::outputs(op, &views)?.into_iter().enumerate() {
        let shape = dims.into_iter().map(Dim::extent).collect::<Option<Vec<_>>>().ok_or("its extents are negative")?;
        results.push(one(op, inputs, shape, index)?);
    }
    Ok(results)
}

fn one(op: &Op, inputs: &[&Array], shape: Vec<usize>, index: usize) -> Result<Array, Refusal> {
    let x = *inputs.first().ok_or("it has no input")?;
    match op {
        Op::Unary(kind) => unary(*kind, x),
        Op::Binary(kind) => binary(*kind, x, inputs[1], shape),
        Op::Clip { min, max } => map(x, |value| value.max(min.unwrap_or(f32::MIN)).min(max.unwrap_or(f32::MAX))),
        Op::Reshape { .. } => Ok(Array { shape, elements: x.elements.clone() }),
        Op::Transpose { perm } => {
            let own = strides(&x.shape);
            let moved = perm.iter().map(|axis| own[*axis]).collect();
            Ok(view(x, shape, moved, 0))
        }
        Op::Expand { .. } => {
            let repeated = broadcast_strides(&x.shape, &shape);
            Ok(view(x, shape, repeated, 0))
        }
        Op::Slice { axes, starts, steps, .. } => {
            let mut moved = strides(&x.shape);
            let mut start = 0;
            for ((axis, first), step) in axes.iter().zip(starts).zip(steps) {
                start += moved[*axis] * *first as isize;
                moved[*axis] = moved[*axis].wrapping_mul(*step as isize);
            }
            Ok(view(x, shape, moved, start))
        }
        Op::Split { axis, sizes } => {
            let before: usize = sizes[..index].iter().sum();
            let own = strides(&x.shape);
            let start = own[*axis] * before as isize;
            Ok(view(x, shape, own, start))
        }
        Op::Gather { axis, indices, .. } => Ok(gather(x, *axis, indices, shape)),
        Op::Concat { axis } => concat(inputs, *axis, shape),
        Op::Pad { begin, mode: PadMode::Constant, value, .. } => pad(x, begin, *value, shape),
        Op::Pad { begin, mode, .. } => Ok(mirror(x, begin, *mode, shape)),
        Op::Reduce { kind, axes, .. } => reduce(*kind, x, axes, shape),
        Op::Resize { stretches, resizing } => resize(x, stretches, resizing),
        Op::MatMul => product::mat_mul(x, inputs[1], shape),
        Op::Gemm { alpha, beta, trans_b } => product::gemm((*alpha, *beta, *trans_b), inputs, shape),
        _ => Err(Refusal::unsupported("all its inputs are constants")),
    }
}

fn view(x: &Array, shape: Vec<usize>, strides: Vec<isize>, start: isize) -> Array {
    let plan = Offsets::new(&shape, strides, start);
    x.pick(shape, plan)
}

fn map(x: &Array, f: impl Fn(f32) -> f32) -> Result<Array, Refusal> {
    let values = x.as_f32().ok_or_else(|| Refusal::unsupported("its constant is not of floats"))?;
    Ok(Array::floats(x.shape.clone(), values.iter().map(|value| f(*value)).collect()))
}

fn unary(kind: Unary, x: &Array) -> Result<Array, Refusal> {
    if let (Unary::Neg, Some(values)) = (kind, x.as_ints()) {
        let negated =
            values.iter().map(|value| Dim::fixed(0).minus(*value)).collect::<Option<_>>().ok_or("it overflows")?;
        return Ok(Array { shape: x.shape.clone(), elements: Elements::Int(negated) });
    }
    match kind {
        Unary::Relu => map(x, |v| v.max(0.0)),
        Unary::Sigmoid => map(x, |v| 1.0 / (1.0 + (-v).exp())),
        Unary::Tanh => map(x, f32::tanh),
        Unary::HardSwish => map(x, |v| v * (v / 6.0 + 0.5).clamp(0.0, 1.0)),
        Unary::Exp => map(x, f32::exp),
        Unary::Log => map(x, f32::ln),
        Unary::Sqrt => map(x, f32::sqrt),
        Unary::Reciprocal => map(x, f32::recip),
        Unary::Abs => map(x, f32::abs),
        Unary::Neg => map(x, |v| -v),
        Unary::Softplus => map(x, |v| v.max(0.0) + (-v.abs()).exp().ln_1p()),
        Unary::Floor => map(x, f32::floor),
        Unary::Ceil => map(x, f32::ceil),
        Unary::Cos => map(x, f32::cos),
        Unary::Sin => map(x, f32::sin),
        Unary::Erf => Err(Refusal::unsupported("its input is a constant")),
    }
}

/// Pairs of elements of two operands broadcast to `shape`.
fn pairs<'a, T: Copy>(a: &'a [T], b: &'a [T], plans: (Offsets, Offsets)) -> impl Iterator<Item = (T, T)> + 'a {
    plans.0.zip(plans.1).map(|(left, right)| (a[left], b[right]))
}

/// Where each of two operands is read when broadcast to `shape`.
pub fn plans(a: &Array, b: &Array, shape: &[usize]) -> (Offsets, Offsets) {
    let plan = |x: &Array| Offsets::new(shape, broadcast_strides(&x.shape, shape), 0);
    (plan(a), plan(b))
}

fn binary(kind: Binary, a: &Array, b: &Array, shape: Vec<usize>) -> Result<Array, Refusal> {
    let plans = plans(a, b, &shape);
    let elements = match (&a.elements, &b.elements) {
        (Elements::F32(a), Elements::F32(b)) => {
            Elements::F32(pairs(a, b, plans).map(|(a, b)| float(kind, a, b)).collect())
        }
        (Elements::Int(a), Elements::Int(b)) => {
            let results = pairs(a, b, plans).map(|(a, b)| {
                integer(kind, a, b).ok_or_else(|| {
                    Refusal::unsupported(format!(
                        "{kind:?} of {a} and {b} is not linear in the batch size N, or overflows"
                    ))
                })
            });
            Elements::Int(results.collect::<Result<_, _>>()?)
        }
        _ => return Err("its operands differ in type".into()),
    };
    Ok(Array { shape, elements })
}

fn float(kind: Binary, a: f32, b: f32) -> f32 {
    match kind {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Pow => a.powf(b),
        Binary::Min => a.min(b),
        Binary::Max => a.max(b),
    }
}

fn integer(kind: Binary, a: Dim, b: Dim) -> Option<Dim> {
    match kind {
        Binary::Add => a.plus(b),
        Binary::Sub => a.minus(b),
        Binary::Mul => a.times(b),
        Binary::Div => a.over(b),
        Binary::Pow => a.number()?.checked_pow(u32::try_from(b.number()?).ok()?).map(Dim::fixed),
        Binary::Min => Some(if a == b || a.less(b)? { a } else { b }),
        Binary::Max => Some(if a == b || a.less(b)? { b } else { a }),
    }
}

fn gather(x: &Array, axis: usize, indices: &[i64], shape: Vec<usize>) -> Array {
    let inner: usize = x.shape[axis + 1..].iter().product();
    let outer: usize = x.shape[..axis].iter().product();
    let extent = x.shape[axis];
    let rows = (0..outer).flat_map(move |row| indices.iter().map(move |index| row * extent + *index as usize));
    let plan = rows.flat_map(move |row| row * inner..(row + 1) * inner);
    x.pick(shape, plan)
}

fn concat(inputs: &[&Array], axis: usize, shape: Vec<usize>) -> Result<Array, Refusal> {
    fn join<'a, T: Copy + 'a>(parts: &[(&'a [T], usize)], outer: usize) -> Vec<T> {
        let row = |row| parts.iter().flat_map(move |(values, run)| values[row * run..(row + 1) * run].iter().copied());
        (0..outer).flat_map(row).collect()
    }
    /// The slices of all arrays, each with its run along the axis; `None` where they differ in type.
    fn slices<'a, T>(
        inputs: &[&'a Array],
        axis: usize,
        cast: impl Fn(&'a Array) -> Option<&'a [T]>,
    ) -> Option<Vec<(&'a [T], usize)>> {
        inputs.iter().map(|array| Some((cast(array)?, array.shape[axis..].iter().product()))).collect()
    }
    let outer = shape[..axis].iter().product();
    let elements = if let Some(parts) = slices(inputs, axis, Array::as_f32) {
        Elements::F32(join(&parts, outer))
    } else if let Some(parts) = slices(inputs, axis, Array::as_ints) {
        Elements::Int(join(&parts, outer))
    } else if let Some(parts) = slices(inputs, axis, Array::as_bools) {
        Elements::Bool(join(&parts, outer))
    } else {
        return Err("its inputs differ in type".into());
    };
    Ok(Array { shape, elements })
}

fn pad(x: &Array, begin: &[i64], value: f32, shape: Vec<usize>) -> Result<Array, Refusal> {
    let values = x.as_f32().ok_or_else(|| Refusal::unsupported("its constant is not of floats"))?;
    if begin.iter().any(|before| *before < 0) || shape.iter().zip(&x.shape).any(|(out, own)| out < own) {
        return Err(Refusal::unsupported("it crops a constant"));
    }
    let own = strides(&shape);
    let start: isize = own.iter().zip(begin).map(|(stride, before)| stride * *before as isize).sum();
    let mut padded = vec![value; shape.iter().product()];
    for (target, value) in Offsets::new(&x.shape, own, start).zip(values) {
        padded[target] = *value;
    }
    Ok(Array::floats(shape, padded))
}

/// Padding by the array's own elements. The shape rule has seen that a reflection does not reach beyond the other end.
fn mirror(x: &Array, begin: &[i64], mode: PadMode, shape: Vec<usize>) -> Array {
    let own = strides(&x.shape);
    let source = |axis: usize, at: usize| {
        let (at, last) = (at as i64 - begin[axis], x.shape[axis] as i64 - 1);
        match mode {
            PadMode::Reflect if at < 0 => -at,
            PadMode::Reflect if at > last => 2 * last - at,
            _ => at.clamp(0, last),
        }
    };
    let dense = strides(&shape);
    let count: usize = shape.iter().product();
    let offset = |index: usize| -> usize {
        let places = (0..shape.len()).map(|axis| (axis, index / dense[axis] as usize % shape[axis]));
        places.map(|(axis, at)| source(axis, at) as usize * own[axis] as usize).sum()
    };
    let plan: Vec<usize> = (0..count).map(offset).collect();
    x.pick(shape, plan.into_iter())
}

fn reduce(kind: Reduce, x: &Array, axes: &[usize], shape: Vec<usize>) -> Result<Array, Refusal> {
    let values = x.as_f32().ok_or_else(|| Refusal::unsupported("its constant is not of floats"))?;
    let kept: Vec<usize> =
        x.shape.iter().enumerate().map(|(axis, e)| if axes.contains(&axis) { 1 } else { *e }).collect();
    let start = match kind {
        Reduce::Mean | Reduce::Sum => 0.0,
        Reduce::Product => 1.0,
        Reduce::Max => f32::NEG_INFINITY,
        Reduce::Min => f32::INFINITY,
    };
    let mut totals = vec![start; kept.iter().product()];
    for (target, value) in Offsets::new(&x.shape, broadcast_strides(&kept, &x.shape), 0).zip(values) {
        totals[target] = match kind {
            Reduce::Mean | Reduce::Sum => totals[target] + value,
            Reduce::Product => totals[target] * value,
            Reduce::Max => totals[target].max(*value),
            Reduce::Min => totals[target].min(*value),
        };
    }
    if kind == Reduce::Mean {
        if values.is_empty() {
            return Err(Refusal::unsupported("it takes the mean of a constant without elements"));
        }
        let each = values.len() / totals.len();
        totals.iter_mut().for_each(|total| *total /= each as f32);
    }
    Ok(Array::floats(shape, totals))
}

fn resize(x: &Array, stretches: &[Stretch], resizing: &Resizing) -> Result<Array, Refusal> {
    let mut values = x.as_f32().ok_or_else(|| Refusal::unsupported("its constant is not of floats"))?.to_vec();
    let mut shape = x.shape.clone();
    for stretch in stretches {
        let rows = interpolation::rows(resizing, stretch, shape[stretch.axis]);
        values = interpolation::along(&values, &shape, stretch.axis, &rows);
        shape[stretch.axis] = stretch.extent;
    }
    Ok(Array::floats(shape, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(shape: &[usize]) -> Array {
        let values = (0..shape.iter().product::<usize>()).map(|value| value as f32).collect();
        Array::floats(shape.to_vec(), values)
    }

    fn values(op: &Op, inputs: &[&Array]) -> Vec<f32> {
        apply(op, inputs).unwrap()[0].as_f32().unwrap().to_vec()
    }

    #[test]
    fn movements_agree_with_numpy() {
        let x = counted(&[2, 3]);
        assert_eq!(values(&Op::Transpose { perm: vec![1, 0] }, &[&x]), [0., 3., 1., 4., 2., 5.]);
        let back = Op::Slice { axes: vec![1], starts: vec![2], ends: vec![-1], steps: vec![-2] };
        assert_eq!(values(&back, &[&x]), [2., 0., 5., 3.]);
        assert_eq!(values(&Op::Gather { axis: 1, indices: vec![2, 2], shape: vec![2] }, &[&x]), [2., 2., 5., 5.]);
        assert_eq!(values(&Op::Concat { axis: 1 }, &[&x, &counted(&[2, 1])]), [0., 1., 2., 0., 3., 4., 5., 1.]);
        assert_eq!(values(&Op::Expand { shape: vec![2, 2] }, &[&counted(&[2, 1])]), [0., 0., 1., 1.]);
        let pad = Op::Pad { begin: vec![0, 1], end: vec![0, 0], mode: PadMode::Constant, value: 9. };
        assert_eq!(values(&pad, &[&x]), [9., 0., 1., 2., 9., 3., 4., 5.]);
        let split = apply(&Op::Split { axis: 1, sizes: vec![1, 2] }, &[&x]).unwrap();
        assert_eq!(split[1].as_f32().unwrap(), [1., 2., 4., 5.]);
    }

    #[test]
    fn arithmetic_broadcasts() {
        let (row, column) = (counted(&[1, 3]), counted(&[2, 1]));
        assert_eq!(values(&Op::Binary(Binary::Sub), &[&row, &column]), [0., 1., 2., -1., 0., 1.]);
        let mean = Op::Reduce { kind: Reduce::Mean, axes: vec![0], keep_dims: false };
        assert_eq!(values(&mean, &[&counted(&[2, 3])]), [1.5, 2.5, 3.5]);
    }

    #[test]
    fn nothing_has_no_mean() {
        let nothing = Array::floats(vec![0], vec![]);
        for axes in [vec![], vec![0]] {
            let mean = Op::Reduce { kind: Reduce::Mean, axes, keep_dims: true };
            assert!(apply(&mean, &[&nothing]).unwrap_err().reason().contains("without elements"));
        }
    }

    #[test]
    fn shape_arithmetic_keeps_the_batch() {
        let shape = Array::ints(vec![Dim::N, Dim::fixed(16)]);
        let product = apply(&Op::Binary(Binary::Mul), &[&shape, &Array::ints(vec![Dim::fixed(4)])]).unwrap();
        assert_eq!(product[0].as_ints().unwrap(), [Dim { batch: 4, fixed: 0 }, Dim::fixed(64)]);
        let square = apply(&Op::Binary(Binary::Mul), &[&shape, &shape]).unwrap_err();
        assert!(square.reason().contains("not linear in the batch"), "{square:?}");
    }
}
