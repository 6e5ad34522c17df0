//! <https://onnx.ai/onnx/operators/onnx__Clip.html>: bounds as attributes before opset 11, as inputs since.

use super::Lower;
use crate::formats::{
    graph::{Binary, Op},
    onnx::{
        array::{Array, Elements},
        call::{Call, Value},
        lowering::Lowering,
    },
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[("Clip", lower)];

fn lower(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let x = call.input(0)?;
    if let Value::Known(known) = x
        && let Elements::Int(_) = known.array.elements
    {
        return integers(graph, call, x);
    }
    let (min, max) = if call.opset < 11 {
        let bound = |name| call.has(name).then(|| call.float(name, 0.0)).transpose();
        (bound("min")?, bound("max")?)
    } else {
        (call.float_scalar(1)?, call.float_scalar(2)?)
    };
    if min.into_iter().chain(max).any(f32::is_nan) {
        return Err("a bound is not a number".into());
    }
    // Exporters write the type's own limits where there is no bound.
    let (min, max) = (min.filter(|bound| *bound > f32::MIN), max.filter(|bound| *bound < f32::MAX));
    graph.finish(call, Op::Clip { min, max }, &[Some(x)])
}

fn integers(graph: &mut Lowering, call: &Call, x: &Value) -> Result<(), Refusal> {
    let mut value = x.clone();
    for (index, kind) in [(1, Binary::Max), (2, Binary::Min)] {
        if let Some(bound) = call.dim_list(index)? {
            let bound = graph.constant(call, "bound", Array::ints(bound));
            value = graph.step(call, Op::Binary(kind), &[Some(&value), Some(&bound)], "bounded")?;
        }
    }
    graph.alias(call, value)
}
