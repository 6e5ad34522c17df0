//! <https://pytorch.org/docs/stable/generated/torch.Tensor.view.html>, `flatten`, `squeeze` and their like as one operator of
//! the graph; `permute` and its relatives; `expand`. The batch stays free, also where the file fixes it.

use std::rc::Rc;

use super::Lower;
use crate::formats::{
    aten::{call::Call, lower::Context},
    dim::{Dim, product, show},
    graph::Op,
    lowering::{self, MAX_RANK, reshape::resolve},
    refusal::Refusal,
    value::{Known, Value, normalise},
};

pub const OPERATORS: &[(&str, Lower)] = &[
    ("_unsafe_view", view),
    ("expand", expand),
    ("expand_as", expand_as),
    ("flatten", flatten),
    ("numpy_T", reversed),
    ("permute", permute),
    ("reshape", view),
    ("reshape_as", view_as),
    ("squeeze", squeeze),
    ("swapaxes", |graph, call| swap(graph, call, ("axis0", "axis1"))),
    ("swapdims", |graph, call| swap(graph, call, ("dim0", "dim1"))),
    ("t", reversed),
    ("transpose", |graph, call| swap(graph, call, ("dim0", "dim1"))),
    ("unflatten", unflatten),
    ("unsqueeze", unsqueeze),
    ("view", view),
    ("view_as", view_as),
];

fn view(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let name = if call.arg("size").is_some() { "size" } else { "shape" };
    let target = call.dims(name)?.ok_or("its target shape is missing")?;
    to(graph, call, &target)
}

fn view_as(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let target = call.tensor("other")?.dims()?;
    to(graph, call, &target)
}

fn to(graph: &mut Context, call: &Call, target: &[Dim]) -> Result<(), Refusal> {
    if let Value::Known(known) = call.x()?
        && let Some((_, repeated)) = graph.repeated.get(&known.name)
    {
        return match repeated == target {
            true => graph.alias(call, call.x()?.clone()),
            false => Err(Refusal::unsupported("it reshapes a weight that is repeated")),
        };
    }
    let dims = call.x()?.dims()?;
    if target.len() > MAX_RANK {
        return Err(format!("it makes {} axes", target.len()).into());
    }
    let resolved = resolve(&dims, target, graph.batch).ok_or_else(|| {
        let (from, to) = (show(&dims), show(target));
        Refusal::Invalid(format!("it reshapes {from} to {to}, which has another number of elements"))
    })?;
    graph.lowering.reshape(call, call.x()?, &resolved)
}

/// Joins the axes from `start_dim` to `end_dim`.
fn flatten(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let dims = call.x()?.dims()?;
    let (start, end) = (call.axis("start_dim", 0, dims.len())?, call.axis("end_dim", -1, dims.len())?);
    if end < start {
        return Err(format!("it flattens axes {start} to {end}").into());
    }
    let joined = product(&dims[start..=end]).ok_or("its extents overflow")?;
    let target: Vec<Dim> =
        dims[..start].iter().copied().chain([joined]).chain(dims[end + 1..].iter().copied()).collect();
    graph.lowering.reshape(call, call.x()?, &target)
}

fn unflatten(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let dims = call.x()?.dims()?;
    let axis = call.axis("dim", 0, dims.len())?;
    let sizes = call.dims("sizes")?.ok_or("its sizes are missing")?;
    let inner = resolve(&dims[axis..=axis], &sizes, graph.batch).ok_or("its sizes do not fit the axis")?;
    let target: Vec<Dim> = dims[..axis].iter().copied().chain(inner).chain(dims[axis + 1..].iter().copied()).collect();
    graph.lowering.reshape(call, call.x()?, &target)
}

/// Drops axes of one element; axes of more are left alone.
fn squeeze(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let dims = call.x()?.dims()?;
    let axes = call.axes("dim", dims.len())?;
    let target: Vec<Dim> = (0..dims.len())
        .filter(|axis| !(axes.contains(axis) && dims[*axis] == Dim::ONE))
        .map(|axis| dims[axis])
        .collect();
    graph.lowering.reshape(call, call.x()?, &target)
}

fn unsqueeze(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let mut target = call.x()?.dims()?;
    let axis = call.axis("dim", 0, target.len() + 1)?;
    if target.len() >= MAX_RANK {
        return Err(format!("it makes {} axes", target.len() + 1).into());
    }
    target.insert(axis, Dim::ONE);
    graph.lowering.reshape(call, call.x()?, &target)
}

fn permute(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let rank = call.x()?.dims()?.len();
    let perm = call.ints("dims")?.ok_or("its axes are missing")?;
    transpose(graph, call, perm.into_iter().map(|axis| normalise(axis, rank)).collect::<Result<_, _>>()?)
}

fn swap(graph: &mut Context, call: &Call, names: (&str, &str)) -> Result<(), Refusal> {
    let rank = call.x()?.dims()?.len();
    let (a, b) = (call.axis(names.0, 0, rank)?, call.axis(names.1, 0, rank)?);
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(a, b);
    transpose(graph, call, perm)
}

fn reversed(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let rank = call.x()?.dims()?.len();
    transpose(graph, call, (0..rank).rev().collect())
}

/// The transpose of a matrix of weights is remembered as such, so that a layer has its weight as the file has it.
fn transpose(graph: &mut Context, call: &Call, perm: Vec<usize>) -> Result<(), Refusal> {
    let x = call.x()?.clone();
    let is_transpose = perm == [1, 0];
    graph.finish(call, Op::Transpose { perm }, &[Some(&x)])?;
    let result = call.outputs.first().and_then(|name| graph.value(name));
    if let (true, Value::Known(_), Some(Value::Known(result))) = (is_transpose, &x, result) {
        let name = result.name.clone();
        graph.transposed.insert(name, x);
    }
    Ok(())
}

/// -1 keeps an extent.
fn expand(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let x = call.x()?;
    let dims = x.dims()?;
    let mut target = call.dims("size")?.ok_or("its size is missing")?;
    let added = target.len().checked_sub(dims.len()).ok_or("its size has fewer axes than its input")?;
    for (entry, dim) in target.iter_mut().skip(added).zip(&dims) {
        if *entry == Dim::fixed(-1) {
            *entry = *dim;
        }
    }
    if let Value::Known(known) = x
        && graph.transposed.contains_key(&known.name)
        && let ([rows, columns], [count, target_rows, target_columns]) = (dims.as_slice(), target.as_slice())
        && (rows, columns) == (target_rows, target_columns)
        && *count != Dim::ONE
    {
        return for_each(graph, call, known, target);
    }
    lowering::expand::expand(&mut graph.lowering, call, x, target)
}

/// A matrix of weights for each row of a batched product, which is how products of more axes are decomposed: it is not
/// written out.
fn for_each(graph: &mut Context, call: &Call, known: &Known, target: Vec<Dim>) -> Result<(), Refusal> {
    let name = call.outputs.first().ok_or("it has no output")?;
    let one = Known { name: name.clone(), array: Rc::clone(&known.array), repeated: false };
    graph.repeated.insert(name.clone(), (Value::Known(known.clone()), target));
    graph.alias(call, Value::Known(one))
}

fn expand_as(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let target = call.tensor("other")?.dims()?;
    lowering::expand::expand(&mut graph.lowering, call, call.x()?, target)
}
