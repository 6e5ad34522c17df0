//! Arithmetic of two or more operands: <https://onnx.ai/onnx/operators/onnx__Add.html>, Sub, Mul, Div, Pow, Min, Max, Sum.
//! NumPy broadcasting since opset 7. Mod is for shape arithmetic alone.

use super::Lower;
use crate::formats::{
    dim::Dim,
    graph::{Binary, Op},
    onnx::{
        array::{Array, Elements},
        call::Call,
        lowering::Lowering,
    },
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[
    ("Add", |graph, call| two(graph, call, Binary::Add)),
    ("Div", |graph, call| two(graph, call, Binary::Div)),
    ("Max", |graph, call| many(graph, call, Binary::Max)),
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
    let Some((start, middle)) = first.split_first() else { return graph.alias(call, (*last).clone()) };
    let mut result = (*start).clone();
    for operand in middle {
        result = graph.step(call, Op::Binary(kind), &[Some(&result), Some(operand)], "part")?;
    }
    graph.finish(call, Op::Binary(kind), &[Some(&result), Some(last)])
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

/// For integers, the sign follows the divisor unless `fmod` is set.
fn modulo(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let (Some(a), Some(b)) = (call.int_list(0)?, call.int_list(1)?) else { return Err("it lacks an input".into()) };
    let (&[divisor], truncated) = (b.as_slice(), call.int("fmod", 0)? != 0) else {
        return Err(Refusal::unsupported("its divisor is not one number"));
    };
    let one = |value: &i64| {
        let rest = value.checked_rem(divisor)?;
        let adjust = !truncated && rest != 0 && (rest < 0) != (divisor < 0);
        Some(Dim::fixed(if adjust { rest + divisor } else { rest }))
    };
    let rests = a.iter().map(one).collect::<Option<_>>().ok_or("it divides by 0")?;
    let shape = call.constant(0)?.map(|array| array.shape.clone()).unwrap_or_default();
    graph.known(call, Array { shape, elements: Elements::Int(rests) })
}
