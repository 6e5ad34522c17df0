//! Shape arithmetic, which is followed while importing: `sym_size`, and Python's operators on whole numbers.

use super::Lower;
use crate::formats::{
    aten::{
        call::{Arg, Call, scalar},
        lower::Context,
    },
    dim::{Dim, product},
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[
    ("_operator.add", |graph, call| two(graph, call, Dim::plus)),
    ("_operator.floordiv", |graph, call| two(graph, call, quotient)),
    ("_operator.mul", |graph, call| two(graph, call, Dim::times)),
    ("_operator.neg", |graph, call| {
        let dim = Dim::fixed(0).minus(number(call, 0)?).ok_or("it overflows")?;
        graph.known(call, scalar(dim))
    }),
    ("_operator.sub", |graph, call| two(graph, call, Dim::minus)),
    ("sym_numel", size_of_all),
    ("sym_size", size),
];

fn size(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let dims = call.x()?.dims()?;
    let axis = call.axis("dim", 0, dims.len())?;
    graph.known(call, scalar(dims[axis]))
}

fn size_of_all(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let count = product(&call.x()?.dims()?).ok_or("its extents overflow")?;
    graph.known(call, scalar(count))
}

/// An operand, by its place: Python's operators have no names for theirs.
fn number(call: &Call, index: usize) -> Result<Dim, Refusal> {
    match call.args.get(index) {
        Some((_, Arg::Int(dim))) => Ok(*dim),
        _ => Err(Refusal::unsupported("it computes with something else than whole numbers")),
    }
}

/// Python rounds down, as long as nothing is negative: extents are not.
fn quotient(a: Dim, b: Dim) -> Option<Dim> {
    let negative = |dim: Dim| dim.number().is_some_and(|number| number < 0);
    if negative(a) || negative(b) { None } else { a.over(b) }
}

fn two(graph: &mut Context, call: &Call, f: fn(Dim, Dim) -> Option<Dim>) -> Result<(), Refusal> {
    let (a, b) = (number(call, 0)?, number(call, 1)?);
    let result = f(a, b).ok_or_else(|| {
        Refusal::unsupported(format!("its result for {a} and {b} is not linear in the batch size N, or overflows"))
    })?;
    graph.known(call, scalar(result))
}
