//! <https://onnx.ai/onnx/operators/onnx__MaxPool.html>, AveragePool, GlobalAveragePool, GlobalMaxPool.
//! `dilations` came to AveragePool in opset 19; `ceil_mode` to both in opset 10.

use super::{Lower, window};
use crate::formats::{
    graph::{Op, Window},
    lowering::pool::{pad_average, pad_last_step},
    onnx::{call::Call, lowering::Lowering},
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[
    ("AveragePool", average_pool),
    ("GlobalAveragePool", |graph, call| graph.finish(call, Op::GlobalAveragePool, &[Some(call.input(0)?)])),
    ("GlobalMaxPool", |graph, call| graph.finish(call, Op::GlobalMaxPool, &[Some(call.input(0)?)])),
    ("MaxPool", max_pool),
];

fn max_pool(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let mut window = read(call)?;
    if window.ceil {
        pad_last_step(&mut window, &call.dims(0)?);
    }
    graph.finish(call, Op::MaxPool { window }, &[Some(call.input(0)?)])
}

fn average_pool(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let mut window = read(call)?;
    let count_include_pad = call.int("count_include_pad", 0)? != 0;
    let count_include_pad = pad_average(&mut window, count_include_pad, &call.dims(0)?);
    if window.ceil && window.dilations.iter().any(|dilation| *dilation != 1) {
        return Err(Refusal::unsupported("it counts the padding of a dilated window in its last, partial step"));
    }
    graph.finish(call, Op::AveragePool { window, count_include_pad }, &[Some(call.input(0)?)])
}

fn read(call: &Call) -> Result<Window, Refusal> {
    let rank = call.dims(0)?.len();
    let len = call.ints("kernel_shape")?.map(<[i64]>::len).filter(|len| len + 2 == rank);
    let kernel =
        window::list(call, "kernel_shape", len.ok_or("its attribute kernel_shape does not fit its input")?, 1)?;
    let mut window = window::read(call, &call.dims(0)?, kernel)?;
    window.ceil = call.int("ceil_mode", 0)? != 0;
    Ok(window)
}
