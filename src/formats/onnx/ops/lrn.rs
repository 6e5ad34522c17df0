//! <https://onnx.ai/onnx/operators/onnx__LRN.html>: x / (bias + alpha / size · Σ x²)^beta, the sum over `size` neighbouring
//! channels, of which the odd one out of an even size lies behind. The mean of squares is an average pool along the channels.

use super::Lower;
use crate::formats::{
    dim::{Dim, product, show},
    graph::{Binary, Op, Window},
    onnx::{array::Array, call::Call, lowering::Lowering},
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[("LRN", lower)];

/// More neighbours than any network looks at.
const MOST: i64 = 1 << 16;

fn lower(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let x = call.input(0)?;
    let dims = x.dims()?;
    let size = call.int("size", 0)?;
    let (&[batch, channels, ref places @ ..], 1..=MOST) = (dims.as_slice(), size) else {
        return Err(format!("it looks at {size} channels of {}", show(&dims)).into());
    };
    let places = product(places).filter(|places| !places.is_batched()).ok_or("its extents overflow")?;
    let squares = graph.step(call, Op::Binary(Binary::Mul), &[Some(x), Some(x)], "squares")?;
    let squares = graph.reshaped(call, &squares, &[batch, Dim::ONE, channels, places], "rows")?;
    let mean = graph.step(call, neighbours(size as usize), &[Some(&squares)], "mean")?;
    let mut value = graph.reshaped(call, &mean, &dims, "mean_square")?;
    let steps = [
        (Binary::Mul, "alpha", call.float("alpha", 1e-4)?),
        (Binary::Add, "bias", call.float("bias", 1.0)?),
        (Binary::Pow, "beta", call.float("beta", 0.75)?),
    ];
    for (kind, name, number) in steps {
        let number = graph.constant(call, name, Array::floats(vec![], vec![number]));
        value = graph.step(call, Op::Binary(kind), &[Some(&value), Some(&number)], &format!("by_{name}"))?;
    }
    graph.finish(call, Op::Binary(Binary::Div), &[Some(x), Some(&value)])
}

/// What lies outside counts as zeros, and the divisor is `size` everywhere.
fn neighbours(size: usize) -> Op {
    let window = Window {
        kernel: vec![size, 1],
        strides: vec![1, 1],
        dilations: vec![1, 1],
        pads_begin: vec![(size - 1) / 2, 0],
        pads_end: vec![size / 2, 0],
        ceil: false,
    };
    Op::AveragePool { window, count_include_pad: true }
}
