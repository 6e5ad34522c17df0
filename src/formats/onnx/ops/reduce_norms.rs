//! Reductions in terms of others: <https://onnx.ai/onnx/operators/onnx__ReduceL2.html>, ReduceL1, ReduceSumSquare,
//! ReduceLogSum, ReduceLogSumExp. Axes as attribute, and as input since opset 18.

use super::{Lower, reduce::axes};
use crate::formats::{
    graph::{Binary, Op, Reduce, Unary},
    onnx::{
        call::{Call, Value},
        lowering::Lowering,
    },
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[
    ("ReduceL1", l1),
    ("ReduceL2", l2),
    ("ReduceLogSum", log_sum),
    ("ReduceLogSumExp", log_sum_exp),
    ("ReduceSumSquare", sum_square),
];

fn reduce(kind: Reduce, call: &Call) -> Result<Op, Refusal> {
    Ok(Op::Reduce { kind, axes: some_axes(call)?, keep_dims: call.int("keepdims", 1)? != 0 })
}

fn some_axes(call: &Call) -> Result<Vec<usize>, Refusal> {
    axes(call)?.ok_or_else(|| Refusal::unsupported("it reduces no axis"))
}

fn square(graph: &mut Lowering, call: &Call) -> Result<Value, Refusal> {
    let x = call.input(0)?;
    graph.step(call, Op::Binary(Binary::Mul), &[Some(x), Some(x)], "square")
}

fn unary(graph: &mut Lowering, call: &Call, kind: Unary, suffix: &str) -> Result<Value, Refusal> {
    graph.step(call, Op::Unary(kind), &[Some(call.input(0)?)], suffix)
}

fn l1(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let size = unary(graph, call, Unary::Abs, "abs")?;
    graph.finish(call, reduce(Reduce::Sum, call)?, &[Some(&size)])
}

fn l2(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let square = square(graph, call)?;
    let sum = graph.step(call, reduce(Reduce::Sum, call)?, &[Some(&square)], "sum")?;
    graph.finish(call, Op::Unary(Unary::Sqrt), &[Some(&sum)])
}

fn sum_square(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let square = square(graph, call)?;
    graph.finish(call, reduce(Reduce::Sum, call)?, &[Some(&square)])
}

fn log_sum(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let sum = graph.step(call, reduce(Reduce::Sum, call)?, &[Some(call.input(0)?)], "sum")?;
    graph.finish(call, Op::Unary(Unary::Log), &[Some(&sum)])
}

/// With the largest taken out first, so that no exponential overflows.
fn log_sum_exp(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let x = call.input(0)?;
    let axes = some_axes(call)?;
    let keep_dims = call.int("keepdims", 1)? != 0;
    let reduce = |kind, keep_dims| Op::Reduce { kind, axes: axes.clone(), keep_dims };
    let largest = graph.step(call, reduce(Reduce::Max, true), &[Some(x)], "largest")?;
    let rest = graph.step(call, Op::Binary(Binary::Sub), &[Some(x), Some(&largest)], "rest")?;
    let powers = graph.step(call, Op::Unary(Unary::Exp), &[Some(&rest)], "exp")?;
    let sum = graph.step(call, reduce(Reduce::Sum, keep_dims), &[Some(&powers)], "sum")?;
    let log = graph.step(call, Op::Unary(Unary::Log), &[Some(&sum)], "log")?;
    let largest = match keep_dims {
        true => largest,
        false => graph.step(call, reduce(Reduce::Max, false), &[Some(x)], "largest")?,
    };
    graph.finish(call, Op::Binary(Binary::Add), &[Some(&log), Some(&largest)])
}
