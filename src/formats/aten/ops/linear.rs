//! <https://pytorch.org/docs/stable/generated/torch.nn.functional.linear.html>, `addmm`, `mm`, `bmm` and `matmul`.

use super::Lower;
use crate::formats::{
    aten::{call::Call, lower::Context},
    dim::{Dim, product, show},
    graph::Op,
    refusal::Refusal,
    value::Value,
};

pub const OPERATORS: &[(&str, Lower)] = &[
    ("addmm", addmm),
    ("bmm", |graph, call| matmul(graph, call, ("self", "mat2"))),
    ("linear", linear),
    ("matmul", |graph, call| matmul(graph, call, ("self", "other"))),
    ("mm", |graph, call| matmul(graph, call, ("self", "mat2"))),
];

/// x · weightᵀ + bias, over the last axis.
fn linear(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let (x, weight, bias) = (call.tensor("input")?, call.tensor("weight")?, call.optional("bias")?);
    rows(graph, call, x, (weight, true), bias)
}

/// A product over the last axis of `x`; the axes before it are rows of one matrix.
fn rows(
    graph: &mut Context,
    call: &Call,
    x: &Value,
    (weight, trans_b): (&Value, bool),
    bias: Option<&Value>,
) -> Result<(), Refusal> {
    let dims = x.dims()?;
    let op = Op::Gemm { alpha: 1.0, beta: 1.0, trans_b };
    if dims.len() == 2 {
        let operands: Vec<Option<&Value>> = [Some(x), Some(weight)].into_iter().chain(bias.map(Some)).collect();
        return graph.finish(call, op, &operands);
    }
    let weight_dims = weight.dims()?;
    let (Some((inner, before)), [first, second]) = (dims.split_last(), weight_dims.as_slice()) else {
        return Err(format!("it multiplies {} by {}", show(&dims), show(&weight_dims)).into());
    };
    let count = product(before).ok_or("its extents overflow")?;
    let matrix = graph.reshaped(call, x, &[count, *inner], "rows")?;
    let operands: Vec<Option<&Value>> = [Some(&matrix), Some(weight)].into_iter().chain(bias.map(Some)).collect();
    let y = graph.step(call, op, &operands, "product")?;
    let outer = if trans_b { first } else { second };
    let target: Vec<Dim> = before.iter().chain([outer]).copied().collect();
    graph.lowering.reshape(call, &y, &target)
}

/// beta · self + alpha · mat1 · mat2
fn addmm(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let (alpha, beta) = (call.attribute("alpha", 1.0)?, call.attribute("beta", 1.0)?);
    let (bias, a, b) = (call.tensor("self")?, call.tensor("mat1")?, call.tensor("mat2")?);
    let (b, trans_b) = graph.untransposed(b);
    graph.finish(call, Op::Gemm { alpha, beta, trans_b }, &[Some(a), Some(&b), Some(bias)])
}

/// A product of which the second operand is a weight is a layer; of others, it is that of two computed values.
fn matmul(graph: &mut Context, call: &Call, names: (&str, &str)) -> Result<(), Refusal> {
    let (a, b) = (call.tensor(names.0)?, call.tensor(names.1)?);
    if let Some(matrix) = graph.one_of_all(b) {
        let (matrix, trans_b) = graph.untransposed(&matrix);
        return self::rows(graph, call, a, (&matrix, trans_b), None);
    }
    let (rows, columns) = (a.dims()?.len(), b.dims()?.len());
    if rows == 2 && columns == 2 && matches!(b, Value::Known(_)) && !matches!(a, Value::Known(_)) {
        let (b, trans_b) = graph.untransposed(b);
        let op = Op::Gemm { alpha: 1.0, beta: 1.0, trans_b };
        return graph.finish(call, op, &[Some(a), Some(&b)]);
    }
    if rows < 2 || columns < 2 {
        return Err(Refusal::unsupported("it multiplies by a vector"));
    }
    graph.finish(call, Op::MatMul, &[Some(a), Some(b)])
}

impl Context {
    /// The matrix that `value` repeats, where it repeats one.
    fn one_of_all(&self, value: &Value) -> Option<Value> {
        match value {
            Value::Known(known) => self.repeated.get(&known.name).map(|(matrix, _)| matrix.clone()),
            _ => None,
        }
    }

    /// The weight whose transpose `value` is, and whether it is one.
    fn untransposed(&self, value: &Value) -> (Value, bool) {
        let original = match value {
            Value::Known(known) => self.transposed.get(&known.name),
            _ => None,
        };
        original.map_or_else(|| (value.clone(), false), |original| (original.clone(), true))
    }
}
