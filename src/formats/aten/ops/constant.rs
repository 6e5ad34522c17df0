//! Values that are known at once: `zeros`, `ones`, `full` and their like, and `scalar_tensor`.

use super::Lower;
use crate::formats::{
    array::{Array, Elements},
    aten::{
        call::{Arg, Call},
        lower::Context,
    },
    dim::Dim,
    lowering::{MAX_ELEMENTS, bounded},
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[
    ("full", |graph, call| sized(graph, call, call.float("fill_value", 0.0)?)),
    ("full_like", |graph, call| like(graph, call, call.float("fill_value", 0.0)?)),
    ("new_full", |graph, call| sized(graph, call, call.float("fill_value", 0.0)?)),
    ("new_ones", |graph, call| sized(graph, call, 1.0)),
    ("new_zeros", |graph, call| sized(graph, call, 0.0)),
    ("ones", |graph, call| sized(graph, call, 1.0)),
    ("ones_like", |graph, call| like(graph, call, 1.0)),
    ("scalar_tensor", number),
    ("zeros", |graph, call| sized(graph, call, 0.0)),
    ("zeros_like", |graph, call| like(graph, call, 0.0)),
];

fn sized(graph: &mut Context, call: &Call, value: f64) -> Result<(), Refusal> {
    let dims = call.dims("size")?.ok_or("its size is missing")?;
    filled(graph, call, &dims, value)
}

fn like(graph: &mut Context, call: &Call, value: f64) -> Result<(), Refusal> {
    let dims = call.x()?.dims()?;
    filled(graph, call, &dims, value)
}

/// A first axis that is the batch means the same for every example.
fn filled(graph: &mut Context, call: &Call, dims: &[Dim], value: f64) -> Result<(), Refusal> {
    if matches!(call.arg("fill_value"), Some(Arg::Bool(_))) {
        return Err(Refusal::unsupported("it makes truths"));
    }
    let repeated = dims.first() == Some(&Dim::N);
    let extents = dims.iter().enumerate().map(|(axis, dim)| if repeated && axis == 0 { Some(1) } else { dim.extent() });
    let shape = extents.collect::<Option<Vec<usize>>>();
    let shape = shape.ok_or_else(|| Refusal::unsupported("its shape depends on the batch, or is negative"))?;
    let size = bounded(&shape, MAX_ELEMENTS as usize)?;
    // What is known is charged for before it is allocated.
    graph.charge(size)?;
    let array = Array { shape, elements: Elements::F32(vec![value as f32; size]) };
    graph.known_maybe_repeated(call, array, repeated)
}

fn number(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let value = call.float("s", 0.0)?;
    graph.known(call, Array::floats(vec![], vec![value as f32]))
}
