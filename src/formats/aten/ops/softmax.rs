//! <https://pytorch.org/docs/stable/generated/torch.nn.functional.softmax.html> and `log_softmax`.

use super::Lower;
use crate::formats::{
    aten::{call::Call, lower::Context},
    graph::Op,
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[
    ("_log_softmax", log_softmax),
    ("_safe_softmax", softmax),
    ("_softmax", softmax),
    ("log_softmax", log_softmax),
    ("softmax", softmax),
];

fn softmax(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let axis = call.axis("dim", -1, call.x()?.dims()?.len())?;
    graph.finish(call, Op::Softmax { axis }, &[Some(call.x()?)])
}

fn log_softmax(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let axis = call.axis("dim", -1, call.x()?.dims()?.len())?;
    graph.finish(call, Op::LogSoftmax { axis }, &[Some(call.x()?)])
}
