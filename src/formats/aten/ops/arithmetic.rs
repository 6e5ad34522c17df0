//! Arithmetic of two operands, of which the second may be a number: `add`, `sub`, `mul`, `div`, `pow`, `minimum`, `maximum`.
//! NumPy broadcasting.

use super::Lower;
use crate::formats::{
    array::{Array, Elements},
    aten::{
        call::{Arg, Call},
        lower::Context,
    },
    graph::{Binary, Op},
    lowering::cast::{Kind, convert},
    refusal::Refusal,
    value::{Known, Value},
};

pub const OPERATORS: &[(&str, Lower)] = &[
    ("add", |graph, call| scaled(graph, call, Binary::Add)),
    ("div", divide),
    ("true_divide", divide),
    ("maximum", |graph, call| two(graph, call, Binary::Max)),
    ("minimum", |graph, call| two(graph, call, Binary::Min)),
    ("mul", |graph, call| two(graph, call, Binary::Mul)),
    ("multiply", |graph, call| two(graph, call, Binary::Mul)),
    ("pow", power),
    ("rsub", reversed),
    ("square", square),
    ("sub", |graph, call| scaled(graph, call, Binary::Sub)),
];

/// An operand as a value of floats: a tensor, or a number.
pub fn operand(graph: &mut Context, call: &Call, name: &str) -> Result<Value, Refusal> {
    let number = match call.arg(name) {
        Some(Arg::Tensor(value)) => return floats(graph, call, name, value),
        Some(Arg::Float(_) | Arg::Int(_) | Arg::Bool(_)) => call.attribute(name, 0.0)?,
        _ => return Err(format!("its argument {name} is missing").into()),
    };
    Ok(graph.constant(call, name, Array::floats(vec![], vec![number])))
}

/// Known integers and truths take part in arithmetic of floats as floats do.
fn floats(graph: &mut Context, call: &Call, name: &str, value: &Value) -> Result<Value, Refusal> {
    let Value::Known(Known { array, repeated, .. }) = value else { return Ok(value.clone()) };
    if matches!(array.elements, Elements::F32(_)) {
        return Ok(value.clone());
    }
    let array = Array { shape: array.shape.clone(), elements: convert(array, Kind::Float)? };
    Ok(match graph.constant(call, name, array) {
        Value::Known(known) => Value::Known(Known { repeated: *repeated, ..known }),
        other => other,
    })
}

fn two(graph: &mut Context, call: &Call, kind: Binary) -> Result<(), Refusal> {
    let (a, b) = (operand(graph, call, "self")?, operand(graph, call, "other")?);
    graph.finish(call, Op::Binary(kind), &[Some(&a), Some(&b)])
}

/// `other` may come with a factor.
fn scaled(graph: &mut Context, call: &Call, kind: Binary) -> Result<(), Refusal> {
    let factor = call.attribute("alpha", 1.0)?;
    if factor == 1.0 {
        return two(graph, call, kind);
    }
    let (a, b) = (operand(graph, call, "self")?, operand(graph, call, "other")?);
    let factor = graph.constant(call, "alpha", Array::floats(vec![], vec![factor]));
    let b = graph.step(call, Op::Binary(Binary::Mul), &[Some(&b), Some(&factor)], "scaled")?;
    graph.finish(call, Op::Binary(kind), &[Some(&a), Some(&b)])
}

fn reversed(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    call.only("alpha", 1.0)?;
    let (a, b) = (operand(graph, call, "self")?, operand(graph, call, "other")?);
    graph.finish(call, Op::Binary(Binary::Sub), &[Some(&b), Some(&a)])
}

fn divide(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    match call.text("rounding_mode", "")? {
        "" => two(graph, call, Binary::Div),
        mode => Err(Refusal::unsupported(format!("it rounds quotients ({mode})"))),
    }
}

fn power(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let (base, exponent) = (operand(graph, call, "self")?, operand(graph, call, "exponent")?);
    graph.finish(call, Op::Binary(Binary::Pow), &[Some(&base), Some(&exponent)])
}

fn square(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    graph.finish(call, Op::Binary(Binary::Mul), &[Some(call.x()?), Some(call.x()?)])
}
