//! <https://onnx.ai/onnx/operators/onnx__Identity.html>, Dropout (nothing at inference), Cast and CastLike.

use super::Lower;
use crate::formats::{
    dim::Dim,
    onnx::{
        array::{Array, Elements},
        call::{Call, Value},
        lowering::{Lowering, MAX_INTEGERS},
        proto::tensor_proto::DataType,
    },
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] =
    &[("Cast", cast), ("CastLike", cast_like), ("Dropout", identity), ("Identity", identity)];

fn identity(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    graph.alias(call, call.input(0)?.clone())
}

/// Every float is float32 here; integers and booleans are known values, of shape arithmetic.
fn cast(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let to = call.int("to", 0)?;
    let to = i32::try_from(to)
        .ok()
        .and_then(|to| DataType::try_from(to).ok())
        .ok_or_else(|| format!("it casts to type {to}"))?;
    convert_to(graph, call, Kind::of(to)?)
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
    convert_to(graph, call, kind)
}

fn convert_to(graph: &mut Lowering, call: &Call, kind: Kind) -> Result<(), Refusal> {
    match (call.input(0)?, kind) {
        (Value::Known(known), kind) => {
            let elements = convert(&known.array, kind)?;
            let array = Array { shape: known.array.shape.clone(), elements };
            graph.known_maybe_repeated(call, array, known.repeated)
        }
        (value, Kind::Float) => graph.alias(call, value.clone()),
        (_, _) => Err(Refusal::unsupported("it casts a computed value to integers or booleans")),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Float,
    Int,
    Bool,
}

impl Kind {
    fn of(data_type: DataType) -> Result<Self, Refusal> {
        match data_type {
            DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16 => Ok(Self::Float),
            DataType::Int64 | DataType::Int32 => Ok(Self::Int),
            DataType::Bool => Ok(Self::Bool),
            other => Err(Refusal::unsupported(format!("it casts to {}", other.as_str_name()))),
        }
    }
}

fn convert(array: &Array, kind: Kind) -> Result<Elements, Refusal> {
    let number =
        |dim: &Dim| dim.number().ok_or_else(|| Refusal::unsupported("it casts a number that depends on the batch"));
    Ok(match (&array.elements, kind) {
        (Elements::F32(_), Kind::Int | Kind::Bool) if array.len() > MAX_INTEGERS => {
            return Err(Refusal::unsupported("it casts a large constant to integers"));
        }
        (Elements::F32(values), Kind::Int) => {
            Elements::Int(values.iter().map(|value| Dim::fixed(*value as i64)).collect())
        }
        (Elements::F32(values), Kind::Bool) => Elements::Bool(values.iter().map(|value| *value != 0.0).collect()),
        (Elements::Int(values), Kind::Float) => {
            Elements::F32(values.iter().map(|dim| Ok(number(dim)? as f32)).collect::<Result<_, Refusal>>()?)
        }
        (Elements::Int(values), Kind::Bool) => {
            Elements::Bool(values.iter().map(|dim| Ok(number(dim)? != 0)).collect::<Result<_, Refusal>>()?)
        }
        (Elements::Bool(values), Kind::Float) => Elements::F32(values.iter().map(|value| f32::from(*value)).collect()),
        (Elements::Bool(values), Kind::Int) => {
            Elements::Int(values.iter().map(|value| Dim::fixed(i64::from(*value))).collect())
        }
        (same, _) => same.clone(),
    })
}
