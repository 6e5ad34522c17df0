//! Comparisons and choices of shape arithmetic: <https://onnx.ai/onnx/operators/onnx__Equal.html>, Less, Greater, And, Or,
//! Xor, Not, Where. They are decided while importing, so their inputs must be known, whatever the batch is.

use super::Lower;
use crate::formats::{
    dim::Dim,
    onnx::{
        array::{Array, Elements},
        call::Call,
        fold,
        lowering::{Lowering, MAX_INTEGERS, bounded},
    },
    refusal::Refusal,
    shapes,
};

pub const OPERATORS: &[(&str, Lower)] = &[
    ("And", |graph, call| connect(graph, call, |a, b| a && b)),
    ("Equal", |graph, call| compare(graph, call, Dim::equals, |a, b| a == b)),
    ("Greater", |graph, call| compare(graph, call, |a, b| b.less(a), |a, b| a > b)),
    ("GreaterOrEqual", |graph, call| compare(graph, call, |a, b| a.less(b).map(|less| !less), |a, b| a >= b)),
    ("Less", |graph, call| compare(graph, call, Dim::less, |a, b| a < b)),
    ("LessOrEqual", |graph, call| compare(graph, call, |a, b| b.less(a).map(|less| !less), |a, b| a <= b)),
    ("Not", not),
    ("Or", |graph, call| connect(graph, call, |a, b| a || b)),
    ("Where", choose),
    ("Xor", |graph, call| connect(graph, call, |a, b| a != b)),
];

type Integers = fn(Dim, Dim) -> Option<bool>;
type Floats = fn(f32, f32) -> bool;

/// The common shape of two known operands.
fn common(graph: &mut Lowering, a: &Array, b: &Array) -> Result<Vec<usize>, Refusal> {
    let dims = shapes::broadcast(&a.dims(), &b.dims())?;
    let shape = dims.into_iter().map(Dim::extent).collect::<Option<Vec<_>>>().ok_or("its extents are negative")?;
    graph.charge(shape.iter().fold(1, |size, extent| size.saturating_mul(*extent)))?;
    Ok(shape)
}

fn operand<'a>(call: &'a Call, index: usize) -> Result<&'a Array, Refusal> {
    call.constant(index)?.ok_or_else(|| format!("its input {index} is missing").into())
}

fn compare(graph: &mut Lowering, call: &Call, integers: Integers, floats: Floats) -> Result<(), Refusal> {
    let (a, b) = (operand(call, 0)?, operand(call, 1)?);
    let shape = common(graph, a, b)?;
    let (left, right) = fold::plans(a, b, &shape);
    let results: Vec<bool> = match (&a.elements, &b.elements) {
        (Elements::Int(a), Elements::Int(b)) => {
            let decided = left.zip(right).map(|(left, right)| {
                integers(a[left], b[right]).ok_or_else(|| {
                    Refusal::unsupported(format!(
                        "its comparison of {} and {} depends on the batch size N",
                        a[left], b[right]
                    ))
                })
            });
            decided.collect::<Result<_, _>>()?
        }
        (Elements::F32(a), Elements::F32(b)) => {
            left.zip(right).map(|(left, right)| floats(a[left], b[right])).collect()
        }
        (Elements::Bool(a), Elements::Bool(b)) => {
            left.zip(right).map(|(left, right)| floats(f32::from(a[left]), f32::from(b[right]))).collect()
        }
        _ => return Err("its operands differ in type".into()),
    };
    graph.known(call, Array { shape, elements: Elements::Bool(results) })
}

fn connect(graph: &mut Lowering, call: &Call, f: fn(bool, bool) -> bool) -> Result<(), Refusal> {
    let (a, b) = (operand(call, 0)?, operand(call, 1)?);
    let shape = common(graph, a, b)?;
    let (Some(left), Some(right)) = (a.as_bools(), b.as_bools()) else {
        return Err("its operands are not booleans".into());
    };
    let plans = fold::plans(a, b, &shape);
    let results = plans.0.zip(plans.1).map(|(i, j)| f(left[i], right[j])).collect();
    graph.known(call, Array { shape, elements: Elements::Bool(results) })
}

fn not(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let x = operand(call, 0)?;
    let values = x.as_bools().ok_or("its operand is not of booleans")?;
    let elements = Elements::Bool(values.iter().map(|value| !value).collect());
    graph.known(call, Array { shape: x.shape.clone(), elements })
}

fn choose(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let condition = operand(call, 0)?;
    let conditions = condition.as_bools().ok_or("its condition is not of booleans")?;
    // A condition of one answer is no choice: the exporters' guards against unknown shapes are so.
    if let [answer] = conditions {
        let chosen = call.input(if *answer { 1 } else { 2 })?;
        if chosen.dims()? == shapes::broadcast(&call.dims(1)?, &call.dims(2)?)? {
            return graph.alias(call, chosen.clone());
        }
    }
    let (x, y) = (operand(call, 1)?, operand(call, 2)?);
    let shape = common(graph, x, y)?;
    let outline = Array { shape, elements: Elements::Bool(vec![]) };
    let shape = common(graph, condition, &outline)?;
    let (which, from_x) = fold::plans(condition, x, &shape);
    let (_, from_y) = fold::plans(condition, y, &shape);
    let choices = which.zip(from_x).zip(from_y).map(|((which, x), y)| (conditions[which], x, y));
    let elements = match (&x.elements, &y.elements) {
        (Elements::Int(x), Elements::Int(y)) => {
            bounded(&shape, MAX_INTEGERS)?;
            Elements::Int(choices.map(|(c, i, j)| if c { x[i] } else { y[j] }).collect())
        }
        (Elements::F32(x), Elements::F32(y)) => {
            Elements::F32(choices.map(|(c, i, j)| if c { x[i] } else { y[j] }).collect())
        }
        (Elements::Bool(x), Elements::Bool(y)) => {
            Elements::Bool(choices.map(|(c, i, j)| if c { x[i] } else { y[j] }).collect())
        }
        _ => return Err("its operands differ in type".into()),
    };
    graph.known(call, Array { shape, elements })
}
