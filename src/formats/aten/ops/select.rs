//! <https://pytorch.org/docs/stable/generated/torch.select.html>, slices, and values cut into several.

use super::Lower;
use crate::formats::{
    aten::{
        call::{Arg, Call, known_ints},
        lower::Context,
    },
    dim::{Dim, show},
    graph::Op,
    lowering::slice::{cut, range},
    refusal::Refusal,
    value::Value,
};

pub const OPERATORS: &[(&str, Lower)] = &[
    ("chunk", chunk),
    ("index", index),
    ("index_select", index_select),
    ("narrow", narrow),
    ("select", select),
    ("slice", slice),
    ("split", split),
    ("split_with_sizes", split),
    ("unbind", unbind),
];

/// Most parts that one call cuts a value into.
const MAX_PARTS: usize = 1 << 16;

fn extent(dims: &[Dim], axis: usize) -> Result<i64, Refusal> {
    dims[axis].number().ok_or_else(|| Refusal::unsupported(format!("it takes some of the examples of {}", show(dims))))
}

fn slice(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let x = call.x()?;
    let dims = x.dims()?;
    let axis = call.axis("dim", 0, dims.len())?;
    let (start, end) = (call.dim("start")?.unwrap_or(Dim::fixed(0)), call.dim("end")?.unwrap_or(Dim::fixed(i64::MAX)));
    // A batch that the file fixes is written down where all of it is taken.
    let whole = dims[axis].is_batched() && graph.batch.is_some_and(|batch| dims[axis].at(batch) == end.number());
    let end = if whole { dims[axis] } else { end };
    let range = range(axis, &dims, (start, end), call.int("step", 1)?)?;
    cut(&mut graph.lowering, call, x, &[range])
}

fn narrow(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let x = call.x()?;
    let dims = x.dims()?;
    let axis = call.axis("dim", 0, dims.len())?;
    let start = call.dim("start")?.unwrap_or(Dim::fixed(0));
    let end = call.dim("length")?.and_then(|length| start.plus(length)).ok_or("its length is missing")?;
    let range = range(axis, &dims, (start, end), 1)?;
    cut(&mut graph.lowering, call, x, &[range])
}

/// An index that may count from the end.
fn position(index: i64, extent: i64) -> Result<i64, Refusal> {
    let from_front = if index < 0 { index.checked_add(extent) } else { Some(index) };
    let position = from_front.filter(|index| (0..extent).contains(index));
    position.ok_or_else(|| format!("it takes element {index} of {extent}").into())
}

fn select(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let x = call.x()?;
    let dims = x.dims()?;
    let axis = call.axis("dim", 0, dims.len())?;
    let index = position(call.int("index", 0)?, extent(&dims, axis)?)?;
    graph.finish(call, Op::Gather { axis, indices: vec![index], shape: vec![] }, &[Some(x)])
}

fn index_select(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let x = call.x()?;
    let dims = x.dims()?;
    let axis = call.axis("dim", 0, dims.len())?;
    let extent = extent(&dims, axis)?;
    let indices = positions(call.tensor("index")?, extent)?;
    let shape = vec![indices.len()];
    graph.finish(call, Op::Gather { axis, indices, shape }, &[Some(x)])
}

/// Known places along an axis.
fn positions(index: &Value, extent: i64) -> Result<Vec<i64>, Refusal> {
    let indices = known_ints(index).ok_or_else(|| Refusal::unsupported("its index is computed, or a mask"))?;
    if indices.len() > MAX_PARTS {
        return Err(Refusal::unsupported(format!("it takes {} elements, one by one", indices.len())));
    }
    indices.iter().map(|index| position(index.number().unwrap_or(extent), extent)).collect()
}

/// `x[:, places]`: the places may have axes of their own, which take the place of the one that is picked from.
fn index(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let x = call.x()?;
    let dims = x.dims()?;
    let given: Vec<(usize, &Value)> = match call.arg("indices") {
        Some(Arg::Optional(picks)) => {
            picks.iter().enumerate().filter_map(|(axis, pick)| Some((axis, pick.as_ref()?))).collect()
        }
        Some(Arg::Tensors(picks)) => picks.iter().enumerate().collect(),
        _ => return Err("its indices are missing".into()),
    };
    let [(axis, places)] = given[..] else {
        return Err(Refusal::unsupported("it picks along several axes at once"));
    };
    if axis >= dims.len() {
        return Err(format!("it picks along axis {axis} of {}", show(&dims)).into());
    }
    let own = places.dims()?;
    let indices = positions(places, extent(&dims, axis)?)?;
    // A row of places first: formats differ in what more they can say.
    let op = Op::Gather { axis, shape: vec![indices.len()], indices };
    let picked = graph.lowering.step(call, op, &[Some(x)], "picked")?;
    let target = dims[..axis].iter().chain(&own).chain(&dims[axis + 1..]).copied();
    graph.lowering.reshape(call, &picked, &target.collect::<Vec<_>>())
}

/// Sizes of parts of `size`, the last one smaller where they do not come out even.
fn parts(extent: i64, size: i64) -> Result<Vec<usize>, Refusal> {
    if size < 1 || extent / size >= MAX_PARTS as i64 {
        return Err(format!("it splits {extent} into parts of {size}").into());
    }
    Ok((0..extent).step_by(size as usize).map(|start| size.min(extent - start) as usize).collect())
}

fn split(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let (axis, sizes) = split_sizes(call)?;
    into_parts(graph, call, axis, sizes)
}

fn split_sizes(call: &Call) -> Result<(usize, Vec<usize>), Refusal> {
    let dims = call.x()?.dims()?;
    let axis = call.axis("dim", 0, dims.len())?;
    let extent = extent(&dims, axis)?;
    let given = match call.arg("split_size") {
        Some(Arg::Ints(_)) => call.ints("split_size")?,
        _ => call.ints("split_sizes")?,
    };
    let sizes = match given {
        Some(sizes) => {
            sizes.iter().map(|size| usize::try_from(*size).ok()).collect::<Option<_>>().ok_or("a size is negative")?
        }
        None => parts(extent, call.int("split_size", 0)?)?,
    };
    Ok((axis, sizes))
}

fn chunk(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let (axis, sizes) = chunk_sizes(call)?;
    into_parts(graph, call, axis, sizes)
}

fn chunk_sizes(call: &Call) -> Result<(usize, Vec<usize>), Refusal> {
    let dims = call.x()?.dims()?;
    let axis = call.axis("dim", 0, dims.len())?;
    let (extent, count) = (extent(&dims, axis)?, call.int("chunks", 1)?);
    if count < 1 {
        return Err(format!("it makes {count} parts").into());
    }
    Ok((axis, parts(extent, extent.saturating_add(count - 1) / count)?))
}

/// How many values a call gives as a list; `None` where it gives no list.
pub fn list_length(call: &Call) -> Result<Option<usize>, Refusal> {
    Ok(Some(match call.operator.as_str() {
        "split" | "split_with_sizes" => split_sizes(call)?.1.len(),
        "chunk" => chunk_sizes(call)?.1.len(),
        "unbind" => {
            let dims = call.x()?.dims()?;
            let count = extent(&dims, call.axis("dim", 0, dims.len())?)?;
            usize::try_from(count).ok().filter(|count| *count <= MAX_PARTS).ok_or("it makes too many parts")?
        }
        _ => return Ok(None),
    }))
}

fn into_parts(graph: &mut Context, call: &Call, axis: usize, sizes: Vec<usize>) -> Result<(), Refusal> {
    let x = call.x()?;
    if sizes.len() == 1 {
        return graph.alias(call, x.clone());
    }
    if sizes.len() < call.outputs.len() {
        return Err(format!("it splits into {sizes:?}, but has {} outputs", call.outputs.len()).into());
    }
    graph.finish(call, Op::Split { axis, sizes }, &[Some(x)])
}

/// One value for each element along an axis, without the axis.
fn unbind(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let x = call.x()?;
    let dims = x.dims()?;
    let axis = call.axis("dim", 0, dims.len())?;
    let extent = extent(&dims, axis)?;
    for (index, output) in call.outputs.iter().enumerate().filter(|(_, output)| !output.is_empty()) {
        let index = position(index as i64, extent)?;
        let op = Op::Gather { axis, indices: vec![index], shape: vec![] };
        let value: Value = graph.step(call, op, &[Some(x)], "element")?;
        graph.define(output, value);
    }
    Ok(())
}
