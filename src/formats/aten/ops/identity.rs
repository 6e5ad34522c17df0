//! What changes nothing at inference: `clone`, `contiguous`, `detach`, `dropout` and their like, and changes of type.

use super::Lower;
use crate::formats::{
    aten::{call::Call, lower::Context},
    dim::{Dim, show},
    lowering::cast::{Kind, convert_to},
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[
    ("alias", identity),
    ("alpha_dropout", identity),
    ("as_strided", strided),
    ("contiguous", identity),
    ("detach", identity),
    ("dropout", identity),
    ("feature_alpha_dropout", identity),
    ("feature_dropout", identity),
    ("native_dropout", identity),
    ("to", cast),
];

/// The same values in memory of their own: what is changed in place afterwards, the copy or its source, is not the other.
pub const COPIES: &[(&str, Lower)] = &[("_to_copy", cast), ("clone", identity), ("lift_fresh_copy", identity)];

fn identity(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    if call.flag("train", false)? || call.flag("training", false)? {
        let name = &call.name;
        graph.warnings.push(format!("Dropout \"{name}\" was exported in training mode; the teacher goes without."));
    }
    graph.alias(call, call.x()?.clone())
}

/// Every float is float32 here, so a change of type among floats is none. A known value that becomes one keeps its type:
/// whoever computes with it takes it as floats.
fn cast(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let x = call.x()?;
    match call.arg("dtype").and_then(|_| call.int("dtype", 0).ok()).map(kind) {
        None | Some(Kind::Float) => graph.alias(call, x.clone()),
        Some(kind) => convert_to(&mut graph.lowering, call, x, kind),
    }
}

/// Half, float, double and bfloat16, and booleans, as
/// <https://github.com/pytorch/pytorch/blob/main/torch/_export/serde/schema.py> counts types.
fn kind(number: i64) -> Kind {
    match number {
        6..=8 | 13 => Kind::Float,
        12 => Kind::Bool,
        _ => Kind::Int,
    }
}

/// A view of memory; one that only names the order of axes with one element is the value itself.
fn strided(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let dims = call.x()?.dims()?;
    let (size, stride) = (call.dims("size")?.unwrap_or_default(), call.dims("stride")?.unwrap_or_default());
    let long: Vec<usize> = (0..dims.len()).filter(|axis| dims[*axis] != Dim::ONE).collect();
    let plain = match long.as_slice() {
        [0, axis] => stride.get(*axis) == Some(&Dim::ONE) && stride.first() == dims.get(*axis),
        _ => false,
    };
    if size != dims || stride.len() != dims.len() || !plain || call.int("storage_offset", 0)? != 0 {
        return Err(Refusal::unsupported(format!("it looks at the memory of {} as {}", show(&dims), show(&size))));
    }
    graph.alias(call, call.x()?.clone())
}
