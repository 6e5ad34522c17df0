//! Products of constant matrices, as of position biases that a small network of their own makes.

use super::view;
use crate::formats::{
    array::{Array, Offsets, broadcast_strides, strides},
    graph::Op,
    refusal::Refusal,
};

/// How many multiplications an `op` of constants takes whose result has `size` elements: 0 where it is no product.
pub fn multiplications(op: &Op, inputs: &[&Array], size: usize) -> usize {
    let inner = inputs.first().and_then(|a| a.shape.last()).copied().unwrap_or(0);
    if matches!(op, Op::MatMul | Op::Gemm { .. }) { size.saturating_mul(inner) } else { 0 }
}

/// a (…, rows, inner) times b (…, inner, columns), broadcast over the axes in front; `shape` is the result's.
pub fn mat_mul(a: &Array, b: &Array, shape: Vec<usize>) -> Result<Array, Refusal> {
    let products = products(a, b, &shape)?;
    Ok(Array::floats(shape, products))
}

/// alpha · a · b + beta · c, b perhaps transposed and c perhaps absent.
pub fn gemm((alpha, beta, trans_b): (f32, f32, bool), inputs: &[&Array], shape: Vec<usize>) -> Result<Array, Refusal> {
    let transposed = trans_b.then(|| {
        let (extents, steps) = (inputs[1].shape.iter().rev(), strides(&inputs[1].shape).into_iter().rev());
        view(inputs[1], extents.copied().collect(), steps.collect(), 0)
    });
    let mut sums = products(inputs[0], transposed.as_ref().unwrap_or(inputs[1]), &shape)?;
    sums.iter_mut().for_each(|sum| *sum *= alpha);
    if let Some(c) = inputs.get(2) {
        let places = Offsets::new(&shape, broadcast_strides(&c.shape, &shape), 0);
        let values = floats(c)?;
        sums.iter_mut().zip(places).for_each(|(sum, place)| *sum += beta * values[place]);
    }
    Ok(Array::floats(shape, sums))
}

fn products(a: &Array, b: &Array, shape: &[usize]) -> Result<Vec<f32>, Refusal> {
    let (left, right) = (floats(a)?, floats(b)?);
    let (Some((stack, &[rows, columns])), Some((a_stack, &[_, inner])), Some((b_stack, _))) =
        (shape.split_last_chunk::<2>(), a.shape.split_last_chunk::<2>(), b.shape.split_last_chunk::<2>())
    else {
        return Err("it multiplies what are not two matrices".into());
    };
    let mut sums = vec![0.0; shape.iter().product()];
    let places = |own: &[usize]| Offsets::new(stack, broadcast_strides(own, stack), 0);
    let matrices = sums.chunks_exact_mut((rows * columns).max(1));
    for (sums, (i, j)) in matrices.zip(places(a_stack).zip(places(b_stack))) {
        let (a, b) = (&left[i * rows * inner..][..rows * inner], &right[j * inner * columns..][..inner * columns]);
        multiply(a, b, (inner, columns), sums);
    }
    Ok(sums)
}

/// Adds a (rows, inner) times b (inner, columns), neither of them empty, to `sums` (rows, columns).
fn multiply(a: &[f32], b: &[f32], (inner, columns): (usize, usize), sums: &mut [f32]) {
    // An axis without elements leaves nothing to add.
    for (row, sums) in a.chunks_exact(inner.max(1)).zip(sums.chunks_exact_mut(columns.max(1))) {
        for (factor, values) in row.iter().zip(b.chunks_exact(columns.max(1))) {
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * value);
        }
    }
}

fn floats(array: &Array) -> Result<&[f32], Refusal> {
    array.as_f32().ok_or_else(|| Refusal::unsupported("its constant is not of floats"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::fold::apply;

    fn counted(shape: &[usize]) -> Array {
        Array::floats(shape.to_vec(), (0..shape.iter().product::<usize>()).map(|value| value as f32).collect())
    }

    fn answer(op: &Op, inputs: &[&Array]) -> (Vec<usize>, Vec<f32>) {
        let array = apply(op, inputs).unwrap().remove(0);
        (array.shape.clone(), array.as_f32().unwrap().to_vec())
    }

    #[test]
    fn products_are_those_of_numpy() {
        let (a, b) = (counted(&[2, 3]), counted(&[3, 2]));
        assert_eq!(answer(&Op::MatMul, &[&a, &b]), (vec![2, 2], vec![10., 13., 28., 40.]));
        // A stack of two times a stack of one.
        let (a, b) = (counted(&[2, 1, 2]), counted(&[1, 2, 2]));
        assert_eq!(answer(&Op::MatMul, &[&a, &b]), (vec![2, 1, 2], vec![2., 3., 6., 11.]));
        let nothing = answer(&Op::MatMul, &[&counted(&[2, 0]), &counted(&[0, 3])]);
        assert_eq!(nothing, (vec![2, 3], vec![0.0; 6]));
    }

    #[test]
    fn a_linear_layer_of_constants() {
        let (a, b, c) = (counted(&[2, 3]), counted(&[2, 3]), counted(&[2]));
        let op = Op::Gemm { alpha: 2.0, beta: 10.0, trans_b: true };
        assert_eq!(answer(&op, &[&a, &b]), (vec![2, 2], vec![10., 28., 28., 100.]));
        assert_eq!(answer(&op, &[&a, &b, &c]), (vec![2, 2], vec![10., 38., 28., 110.]));
    }

    #[test]
    fn products_are_counted() {
        let (a, b) = (counted(&[2, 3]), counted(&[3, 2]));
        assert_eq!(multiplications(&Op::MatMul, &[&a, &b], 4), 12);
        assert_eq!(multiplications(&Op::Transpose { perm: vec![1, 0] }, &[&a], 6), 0);
        assert_eq!(multiplications(&Op::MatMul, &[&a, &b], usize::MAX), usize::MAX);
    }

    #[test]
    fn whole_numbers_are_not_multiplied() {
        let whole = Array { shape: vec![1, 1], ..Array::ints(vec![crate::formats::dim::Dim::ONE]) };
        assert!(apply(&Op::MatMul, &[&whole, &counted(&[1, 1])]).unwrap_err().reason().contains("not of floats"));
    }
}
