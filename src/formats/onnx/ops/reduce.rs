//! <https://onnx.ai/onnx/operators/onnx__ReduceMean.html>, ReduceSum, ReduceMax, ReduceMin,
//! ReduceProd: axes as attribute, and as input since opset 13 (ReduceSum) or 18.

use super::Lower;
use crate::formats::{
    dim::product,
    graph::{Op, Reduce},
    onnx::{
        array::{Array, Elements},
        call::{Call, Value},
        lowering::Lowering,
    },
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[
    ("ReduceMax", |graph, call| reduce(graph, call, Reduce::Max)),
    ("ReduceMean", |graph, call| reduce(graph, call, Reduce::Mean)),
    ("ReduceMin", |graph, call| reduce(graph, call, Reduce::Min)),
    ("ReduceProd", reduce_product),
    ("ReduceSum", |graph, call| reduce(graph, call, Reduce::Sum)),
];

fn reduce(graph: &mut Lowering, call: &Call, kind: Reduce) -> Result<(), Refusal> {
    let Some(axes) = axes(call)? else { return graph.alias(call, call.input(0)?.clone()) };
    let op = Op::Reduce { kind, axes, keep_dims: call.int("keepdims", 1)? != 0 };
    graph.finish(call, op, &[Some(call.input(0)?)])
}

/// The axes that are reduced, in order: all where none is named, or none (and nothing is done) where the node says so.
pub fn axes(call: &Call) -> Result<Option<Vec<usize>>, Refusal> {
    let rank = call.dims(0)?.len();
    let mut axes = call.axes(1, rank)?.unwrap_or_default();
    if axes.is_empty() {
        if call.int("noop_with_empty_axes", 0)? != 0 {
            return Ok(None);
        }
        axes = (0..rank).collect();
    }
    axes.sort_unstable();
    axes.dedup();
    Ok(Some(axes))
}

/// Of integers: the number of elements that a shape has.
fn reduce_product(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    if !matches!(call.input(0)?, Value::Known(known) if known.array.as_ints().is_some()) {
        return reduce(graph, call, Reduce::Product);
    }
    let values = call.dim_list(0)?.ok_or("its input is missing")?;
    let rank = call.dims(0)?.len();
    if rank > 1 || call.axes(1, rank)?.is_some_and(|axes| axes.is_empty()) {
        return Err(Refusal::unsupported("it multiplies more than a list of numbers"));
    }
    let result =
        product(&values).ok_or_else(|| Refusal::unsupported("its product is not linear in the batch size N"))?;
    let shape = if call.int("keepdims", 1)? == 0 { vec![] } else { vec![1] };
    graph.known(call, Array { shape, elements: Elements::Int(vec![result]) })
}
