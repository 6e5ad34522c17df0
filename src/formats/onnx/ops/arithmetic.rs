//! Arithmetic of two or more operands: <https://onnx.ai/onnx/operators/onnx__Add.html>, Sub, Mul, Div, Pow, Min, Max, Sum,
//! Mean. NumPy broadcasting since opset 7. Mod is for constants alone.

use super::Lower;
use crate::formats::{
    dim::Dim,
    graph::{Binary, Op},
    onnx::{
        array::{Array, Elements},
        call::{Call, Value},
        fold,
        lowering::{Lowering, MAX_INTEGERS, bounded},
    },
    refusal::Refusal,
    shapes,
};

pub const OPERATORS: &[(&str, Lower)] = &[
    ("Add", |graph, call| two(graph, call, Binary::Add)),
    ("Div", |graph, call| two(graph, call, Binary::Div)),
    ("Max", |graph, call| many(graph, call, Binary::Max)),
    ("Mean", mean),
    ("Min", |graph, call| many(graph, call, Binary::Min)),
    ("Mod", modulo),
    ("Mul", |graph, call| two(graph, call, Binary::Mul)),
    ("Pow", power),
    ("Sub", |graph, call| two(graph, call, Binary::Sub)),
    ("Sum", |graph, call| many(graph, call, Binary::Add)),
];

fn two(graph: &mut Lowering, call: &Call, kind: Binary) -> Result<(), Refusal> {
    graph.finish(call, Op::Binary(kind), &[Some(call.input(0)?), Some(call.input(1)?)])
}

/// Any number of operands, from the left.
fn many(graph: &mut Lowering, call: &Call, kind: Binary) -> Result<(), Refusal> {
    let operands: Vec<_> = call.present().collect();
    let Some((last, first)) = operands.split_last() else { return Err("it has no input".into()) };
    let Some(result) = joined(graph, call, kind, first)? else { return graph.alias(call, (*last).clone()) };
    graph.finish(call, Op::Binary(kind), &[Some(&result), Some(last)])
}

fn joined(graph: &mut Lowering, call: &Call, kind: Binary, operands: &[&Value]) -> Result<Option<Value>, Refusal> {
    let Some((start, others)) = operands.split_first() else { return Ok(None) };
    let mut result = (*start).clone();
    for operand in others {
        result = graph.step(call, Op::Binary(kind), &[Some(&result), Some(operand)], "part")?;
    }
    Ok(Some(result))
}

fn mean(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let operands: Vec<_> = call.present().collect();
    let sum = joined(graph, call, Binary::Add, &operands)?.ok_or("it has no input")?;
    let count = graph.constant(call, "count", Array::floats(vec![], vec![operands.len() as f32]));
    graph.finish(call, Op::Binary(Binary::Div), &[Some(&sum), Some(&count)])
}

/// The exponent may be an integer where the base is a float.
fn power(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let exponent = call.input(1)?;
    let base_is_float = call.constant(0).map_or(true, |base| base.is_some_and(|base| base.as_f32().is_some()));
    let numbers = call.constant(1).ok().flatten().and_then(|array| {
        let ints = array.as_ints()?;
        let floats = ints.iter().map(|dim| dim.number().map(|number| number as f32)).collect::<Option<_>>()?;
        Some(Array::floats(array.shape.clone(), floats))
    });
    let converted = numbers.filter(|_| base_is_float).map(|floats| graph.constant(call, "exponent", floats));
    let exponent = converted.as_ref().unwrap_or(exponent);
    graph.finish(call, Op::Binary(Binary::Pow), &[Some(call.input(0)?), Some(exponent)])
}

/// For integers, the sign follows the divisor unless `fmod` is set, which floats demand.
fn modulo(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let (Some(a), Some(b)) = (call.constant(0)?, call.constant(1)?) else { return Err("it lacks an input".into()) };
    let dims = shapes::broadcast(&a.dims(), &b.dims())?;
    let shape = dims.into_iter().map(Dim::extent).collect::<Option<Vec<_>>>().ok_or("its extents are negative")?;
    graph.charge(bounded(&shape, MAX_INTEGERS)?)?;
    let truncated = call.int("fmod", 0)? != 0;
    let places = fold::plans(a, b, &shape);
    let places = places.0.zip(places.1);
    let elements = match (&a.elements, &b.elements) {
        (Elements::Int(a), Elements::Int(b)) => {
            let rests = places.map(|(i, j)| rest(a[i].number()?, b[j].number()?, truncated).map(Dim::fixed));
            let rests = rests.collect::<Option<_>>();
            Elements::Int(rests.ok_or_else(|| Refusal::unsupported("it divides by 0, or what depends on the batch"))?)
        }
        (Elements::F32(a), Elements::F32(b)) if truncated => Elements::F32(places.map(|(i, j)| a[i] % b[j]).collect()),
        _ => return Err("its operands are neither integers nor floats with fmod".into()),
    };
    graph.known(call, Array { shape, elements })
}

fn rest(value: i64, divisor: i64, truncated: bool) -> Option<i64> {
    let rest = value.checked_rem(divisor)?;
    let adjust = !truncated && rest != 0 && (rest < 0) != (divisor < 0);
    Some(if adjust { rest + divisor } else { rest })
}
