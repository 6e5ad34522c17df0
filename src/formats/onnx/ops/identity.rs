//! <https://onnx.ai/onnx/operators/onnx__Identity.html>, Dropout (nothing at inference), Cast and CastLike.

use super::Lower;
use crate::formats::{
    lowering::cast::{Kind, convert_to},
    onnx::{
        array::{Array, Elements},
        call::{Call, Value},
        lowering::Lowering,
        proto::tensor_proto::DataType,
    },
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] =
    &[("Cast", cast), ("CastLike", cast_like), ("Dropout", dropout), ("Identity", identity)];

fn identity(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    graph.alias(call, call.input(0)?.clone())
}

/// Since opset 12, the third input says whether it was exported in training mode.
fn dropout(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    if call.constant(2)?.and_then(Array::as_bools) == Some(&[true]) {
        let name = call.node.name();
        graph.warnings.push(format!("Dropout \"{name}\" was exported in training mode; the teacher goes without."));
    }
    identity(graph, call)
}

/// Every float is float32 here; integers and booleans are known values, of shape arithmetic.
fn cast(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let to = call.int("to", 0)?;
    let to = i32::try_from(to)
        .ok()
        .and_then(|to| DataType::try_from(to).ok())
        .ok_or_else(|| format!("it casts to type {to}"))?;
    convert_to(graph, call, call.input(0)?, kind_of(to)?)
}

fn cast_like(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let kind = match call.input(1)? {
        Value::Known(known) => match known.array.elements {
            Elements::F32(_) => Kind::Float,
            Elements::Int(_) => Kind::Int,
            Elements::Bool(_) => Kind::Bool,
        },
        _ => Kind::Float,
    };
    convert_to(graph, call, call.input(0)?, kind)
}

fn kind_of(data_type: DataType) -> Result<Kind, Refusal> {
    match data_type {
        DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16 => Ok(Kind::Float),
        DataType::Int64 | DataType::Int32 => Ok(Kind::Int),
        DataType::Bool => Ok(Kind::Bool),
        other => Err(Refusal::unsupported(format!("it casts to {}", other.as_str_name()))),
    }
}
