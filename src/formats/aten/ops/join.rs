//! <https://pytorch.org/docs/stable/generated/torch.cat.html>, `stack`, `repeat` and `roll`.

use super::Lower;
use crate::formats::{
    aten::{call::Call, lower::Context},
    dim::Dim,
    graph::Op,
    lowering::{concat, tile},
    refusal::Refusal,
    value::{Value, normalise},
};

pub const OPERATORS: &[(&str, Lower)] =
    &[("cat", cat), ("concat", cat), ("concatenate", cat), ("repeat", repeat), ("roll", roll), ("stack", stack)];

fn cat(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let parts = call.tensors("tensors")?;
    let rank = parts.first().ok_or("it has no input")?.dims()?.len();
    let axis = call.axis("dim", 0, rank)?;
    concat::join(&mut graph.lowering, call, &parts, axis)
}

fn repeat(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let repeats = call.dims("repeats")?.ok_or("its repeats are missing")?;
    tile::tile(&mut graph.lowering, call, call.x()?, &repeats)
}

/// What is shifted out at one end comes in at the other.
fn roll(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let mut value = call.x()?.clone();
    let dims = value.dims()?;
    let shifts = call.dims("shifts")?.ok_or("its shifts are missing")?;
    let axes = call.dims("dims")?.unwrap_or_default();
    if axes.len() != shifts.len() {
        return Err(Refusal::unsupported("it shifts all values as one row"));
    }
    for (axis, shift) in axes.iter().zip(&shifts) {
        let axis = normalise(axis.number().ok_or("its axes depend on the batch")?, dims.len())?;
        let (Some(extent), Some(shift)) = (dims[axis].number(), shift.number()) else {
            return Err(Refusal::unsupported("it shifts examples"));
        };
        let cut = extent - shift.rem_euclid(extent.max(1));
        if cut == extent {
            continue;
        }
        let part =
            |start: i64, end: i64| Op::Slice { axes: vec![axis], starts: vec![start], ends: vec![end], steps: vec![1] };
        let last = graph.step(call, part(cut, extent), &[Some(&value)], "last")?;
        let first = graph.step(call, part(0, cut), &[Some(&value)], "first")?;
        value = graph.step(call, Op::Concat { axis }, &[Some(&last), Some(&first)], "rolled")?;
    }
    graph.alias(call, value)
}

fn stack(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let parts = call.tensors("tensors")?;
    let dims = parts.first().ok_or("it has no input")?.dims()?;
    let axis = normalise(call.int("dim", 0)?, dims.len() + 1)?;
    let mut wider = Vec::with_capacity(parts.len());
    for part in parts {
        let mut target = part.dims()?;
        target.insert(axis.min(target.len()), Dim::ONE);
        wider.push(graph.reshaped(call, part, &target, "part")?);
    }
    let parts: Vec<&Value> = wider.iter().collect();
    concat::join(&mut graph.lowering, call, &parts, axis)
}
