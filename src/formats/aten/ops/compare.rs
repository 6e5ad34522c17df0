//! Comparisons and choices that are decided while importing: `eq` with infinity, which no finite network makes, and what a
//! softmax that guards against rows of minus infinity does with the answer.

use super::Lower;
use crate::formats::{
    array::{Array, Elements},
    aten::{call::Call, lower::Context},
    refusal::Refusal,
    shapes,
    value::{Known, Value},
};

pub const OPERATORS: &[(&str, Lower)] = &[("any", any), ("eq", equal), ("logical_not", not), ("where", choose)];

/// One truth for every element. Its shape does not matter: it broadcasts to any.
fn uniform(graph: &mut Context, call: &Call, truth: bool) -> Result<(), Refusal> {
    graph.known(call, Array { shape: vec![], elements: Elements::Bool(vec![truth]) })
}

fn truth(value: &Value) -> Result<bool, Refusal> {
    if let Value::Known(Known { array, .. }) = value
        && let Some([truth]) = array.as_bools()
    {
        return Ok(*truth);
    }
    Err(Refusal::unsupported("it depends on a condition that inputs decide"))
}

fn equal(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    if matches!(call.x()?, Value::Runtime { .. }) && call.float("other", 0.0)?.is_infinite() {
        return uniform(graph, call, false);
    }
    Err(Refusal::unsupported("it compares computed values"))
}

fn not(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let answer = !truth(call.x()?)?;
    uniform(graph, call, answer)
}

fn any(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let answer = truth(call.x()?)?;
    uniform(graph, call, answer)
}

fn choose(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let answer = truth(call.tensor("condition")?)?;
    let (x, y) = (call.tensor("self")?, call.tensor("other")?);
    let chosen = if answer { x } else { y };
    if chosen.dims()? != shapes::broadcast(&x.dims()?, &y.dims()?)? {
        return Err(Refusal::unsupported("what it chooses is broadcast"));
    }
    graph.alias(call, chosen.clone())
}
