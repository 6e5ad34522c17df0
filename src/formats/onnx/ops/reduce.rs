//! <https://onnx.ai/onnx/operators/onnx__ReduceMean.html>, ReduceSum, ReduceMax, ReduceMin: axes as attribute, and as input
//! since opset 13 (ReduceSum) or 18. ReduceProd is for shape arithmetic alone.

use super::Lower;
use crate::formats::{
    dim::product,
    graph::{Op, Reduce},
    onnx::{
        array::{Array, Elements},
        call::Call,
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
    let rank = call.dims(0)?.len();
    let mut axes = call.axes(1, rank)?.unwrap_or_default();
    if axes.is_empty() {
        if call.int("noop_with_empty_axes", 0)? != 0 {
            return graph.alias(call, call.input(0)?.clone());
        }
        axes = (0..rank).collect();
    }
    axes.sort_unstable();
    axes.dedup();
    let op = Op::Reduce { kind, axes, keep_dims: call.int("keepdims", 1)? != 0 };
    graph.finish(call, op, &[Some(call.input(0)?)])
}

/// The number of elements that a shape has.
fn reduce_product(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
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
