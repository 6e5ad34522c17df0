//! <https://pytorch.org/docs/stable/generated/torch.mean.html>, `sum`, `amax`, `amin`.

use super::Lower;
use crate::formats::{
    aten::{call::Call, lower::Context},
    graph::{Op, Reduce},
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[
    ("amax", |graph, call| reduce(graph, call, Reduce::Max)),
    ("amin", |graph, call| reduce(graph, call, Reduce::Min)),
    ("mean", |graph, call| reduce(graph, call, Reduce::Mean)),
    ("sum", |graph, call| reduce(graph, call, Reduce::Sum)),
];

fn reduce(graph: &mut Context, call: &Call, kind: Reduce) -> Result<(), Refusal> {
    let x = call.x()?;
    let axes = call.axes("dim", x.dims()?.len())?;
    let op = Op::Reduce { kind, axes, keep_dims: call.flag("keepdim", false)? };
    graph.finish(call, op, &[Some(x)])
}
