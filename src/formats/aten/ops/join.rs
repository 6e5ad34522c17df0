//! <https://pytorch.org/docs/stable/generated/torch.cat.html>, `stack` and `repeat`.

use super::Lower;
use crate::formats::{
    aten::{call::Call, lower::Context},
    dim::Dim,
    lowering::{concat, tile},
    refusal::Refusal,
    value::{Value, normalise},
};

pub const OPERATORS: &[(&str, Lower)] =
    &[("cat", cat), ("concat", cat), ("concatenate", cat), ("repeat", repeat), ("stack", stack)];

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
