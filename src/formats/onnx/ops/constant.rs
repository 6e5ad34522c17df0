//! <https://onnx.ai/onnx/operators/onnx__Constant.html>, ConstantOfShape and Range: values that are known at once.

use super::Lower;
use crate::formats::{
    dim::Dim,
    lowering::indices,
    onnx::{
        array::{Array, Elements},
        call::Call,
        lowering::{Lowering, MAX_ELEMENTS, MAX_INTEGERS, bounded},
        tensor,
    },
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] =
    &[("Constant", constant), ("ConstantOfShape", constant_of_shape), ("Range", range)];

fn constant(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let array = if let Some(value) = call.tensor("value")? {
        tensor::read(value)?
    } else if call.has("value_float") {
        Array::floats(vec![], vec![call.float("value_float", 0.0)?])
    } else if let Some(values) = call.floats("value_floats")? {
        Array::floats(vec![values.len()], values.to_vec())
    } else if call.has("value_int") {
        Array { shape: vec![], elements: Elements::Int(vec![Dim::fixed(call.int("value_int", 0)?)]) }
    } else if let Some(values) = call.ints("value_ints")? {
        Array::ints(values.iter().copied().map(Dim::fixed).collect())
    } else {
        return Err(Refusal::unsupported("its value is neither a tensor nor a list of numbers"));
    };
    graph.known(call, array)
}

/// Models without weights of their own are shipped so, too: every weight is one value repeated.
fn constant_of_shape(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let dims = call.dim_list(0)?.ok_or("its shape is missing")?;
    let repeated = dims.first() == Some(&Dim::N);
    let extents = dims.iter().enumerate().map(|(axis, dim)| if repeated && axis == 0 { Some(1) } else { dim.extent() });
    let shape = extents.collect::<Option<Vec<usize>>>();
    let shape = shape.ok_or_else(|| Refusal::unsupported("its shape depends on the batch, or is negative"))?;
    let value = match call.tensor("value")? {
        Some(value) => tensor::read(value)?,
        None => Array::floats(vec![1], vec![0.0]),
    };
    let elements = match &value.elements {
        Elements::F32(values) if values.len() == 1 => {
            let size = bounded(&shape, MAX_ELEMENTS as usize)?;
            graph.charge(size)?;
            Elements::F32(vec![values[0]; size])
        }
        Elements::Int(values) if values.len() == 1 => Elements::Int(vec![values[0]; bounded(&shape, MAX_INTEGERS)?]),
        Elements::Bool(values) if values.len() == 1 => Elements::Bool(vec![values[0]; bounded(&shape, MAX_INTEGERS)?]),
        _ => return Err("its value is not one number".into()),
    };
    graph.known_maybe_repeated(call, Array { shape, elements }, repeated)
}

/// start, start + delta, … before limit.
fn range(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    if call.constant(0)?.is_some_and(|start| start.as_f32().is_some()) {
        return float_range(graph, call);
    }
    let is = |index: usize, dim: Dim| Ok::<_, Refusal>(call.dim_list(index)?.as_deref() == Some([dim].as_slice()));
    if is(0, Dim::fixed(0))? && is(1, Dim::N)? && is(2, Dim::ONE)? {
        return graph.alias(call, indices::count());
    }
    let mut numbers = [0i64; 3];
    for (index, number) in numbers.iter_mut().enumerate() {
        *number = match call.int_list(index)?.as_deref() {
            Some([value]) => *value,
            _ => return Err(format!("its input {index} is not one number").into()),
        };
    }
    let [start, limit, delta] = numbers;
    let span = if delta > 0 { i128::from(limit) - i128::from(start) } else { i128::from(start) - i128::from(limit) };
    let steps = u128::try_from(span).unwrap_or(0).div_ceil(u128::from(delta.unsigned_abs().max(1)));
    if delta == 0 || steps > MAX_INTEGERS as u128 {
        return Err(format!("it counts from {start} to {limit} by {delta}").into());
    }
    let values = (0..steps as i64).map(|step| Dim::fixed(start + step * delta));
    graph.known(call, Array::ints(values.collect()))
}

/// max(⌈(limit - start) / delta⌉, 0) numbers.
fn float_range(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let mut numbers = [0.0; 3];
    for (index, number) in numbers.iter_mut().enumerate() {
        *number = f64::from(call.float_scalar(index)?.ok_or_else(|| format!("its input {index} is missing"))?);
    }
    let [start, limit, delta] = numbers;
    let steps = ((limit - start) / delta).ceil();
    if steps.is_nan() || steps > MAX_INTEGERS as f64 {
        return Err(format!("it counts from {start} to {limit} by {delta}").into());
    }
    let values: Vec<f32> = (0..steps.max(0.0) as usize).map(|step| (start + step as f64 * delta) as f32).collect();
    graph.known(call, Array::floats(vec![values.len()], values))
}
