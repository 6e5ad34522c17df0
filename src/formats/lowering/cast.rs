//! Changes of type. Every float is float32 here; integers and booleans are known values, of shape arithmetic.

use super::{Lowering, MAX_INTEGERS};
use crate::formats::{
    array::{Array, Elements},
    dim::Dim,
    refusal::Refusal,
    value::{Site, Value},
};

/// What elements are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Float,
    Int,
    Bool,
}

/// `value` with elements of `kind`, as the result of `site`.
///
/// # Errors
/// Computed values as integers or booleans, and numbers that depend on the batch as floats.
pub fn convert_to(graph: &mut Lowering, site: &dyn Site, value: &Value, kind: Kind) -> Result<(), Refusal> {
    match (value, kind) {
        (Value::Known(known), kind) => {
            let elements = convert(&known.array, kind)?;
            let array = Array { shape: known.array.shape.clone(), elements };
            graph.known_maybe_repeated(site, array, known.repeated)
        }
        (value, Kind::Float) => graph.alias(site, value.clone()),
        (_, _) => Err(Refusal::unsupported("it casts a computed value to integers or booleans")),
    }
}

/// The elements of `array`, as elements of `kind`.
///
/// # Errors
/// Numbers that depend on the batch as anything else, and large constants as integers.
pub fn convert(array: &Array, kind: Kind) -> Result<Elements, Refusal> {
    let number =
        |dim: &Dim| dim.number().ok_or_else(|| Refusal::unsupported("it casts a number that depends on the batch"));
    Ok(match (&array.elements, kind) {
        (Elements::F32(_) | Elements::Bool(_), Kind::Int) | (Elements::F32(_), Kind::Bool)
            if array.len() > MAX_INTEGERS =>
        {
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
