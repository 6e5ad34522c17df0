//! Whole numbers that count along the batch.
//!
//! PyTorch's exporter writes a tensor with other strides as one flat row of numbers, of all examples together, from which
//! computed places are picked: those of the first example, and for each further one as much more as an example has numbers.

use super::Lowering;
use crate::formats::{
    array::{Array, Elements},
    dim::{Dim, show},
    graph::{Binary, Op},
    refusal::Refusal,
    value::{Indices, Known, Site, Value},
};

/// 0, 1, … N - 1.
pub fn count() -> Value {
    Value::Indices(Indices { first: Array::ints(vec![Dim::fixed(0)]), step: 1 })
}

/// The same where the file fixes its batch and wrote down the places of every example.
pub fn written(places: &Array, batch: Option<i64>, step: i64) -> Option<Indices> {
    let numbers = places.as_ints()?.iter().map(|place| place.number()).collect::<Option<Vec<_>>>()?;
    let (examples, rest) = places.shape.split_first()?;
    if batch != i64::try_from(*examples).ok() || numbers.is_empty() {
        return None;
    }
    let (first, others) = numbers.split_at(numbers.len() / examples);
    let follows = |(example, places): (i64, &[i64])| {
        let moved = first.iter().map(|place| place.checked_add(example.checked_mul(step)?));
        moved.eq(places.iter().copied().map(Some))
    };
    let shape = [&[1], rest].concat();
    let elements = Elements::Int(first.iter().copied().map(Dim::fixed).collect());
    (1..)
        .zip(others.chunks_exact(first.len()))
        .all(follows)
        .then_some(Indices { first: Array { shape, elements }, step })
}

/// The result of `op`, of whose inputs one counts along the batch.
///
/// # Errors
/// All but sums, differences and products with constants, and reshapes that leave the batch in front.
pub fn apply(graph: &mut Lowering, op: &Op, inputs: &[Option<&Value>]) -> Result<Value, Refusal> {
    let indices = match (op, inputs) {
        (Op::Reshape { shape }, [Some(Value::Indices(indices))]) => reshape(indices, shape)?,
        (Op::Binary(kind), [Some(Value::Indices(indices)), Some(Value::Known(known))]) => {
            let step = match kind {
                Binary::Mul => scaled(indices, known),
                Binary::Add | Binary::Sub => Some(indices.step),
                _ => None,
            };
            Indices {
                first: graph.folded(op, &[&indices.first, &known.array])?.remove(0),
                step: step.ok_or_else(other)?,
            }
        }
        (Op::Binary(kind @ (Binary::Mul | Binary::Add)), [Some(Value::Known(_)), Some(Value::Indices(_))]) => {
            return apply(graph, &Op::Binary(*kind), &[inputs[1], inputs[0]]);
        }
        _ => return Err(other()),
    };
    let is_counted = inputs.iter().flatten().all(|value| match value {
        Value::Known(known) => !known.repeated && known.array.shape.len() <= indices.first.shape.len(),
        _ => true,
    });
    if !is_counted || indices.first.shape.first() != Some(&1) {
        return Err(other());
    }
    Ok(Value::Indices(indices))
}

fn reshape(indices: &Indices, shape: &[i64]) -> Result<Indices, Refusal> {
    let [-1, rest @ ..] = shape else { return Err(other()) };
    let shape = std::iter::once(Ok(1)).chain(rest.iter().map(|extent| usize::try_from(*extent)));
    let shape: Vec<usize> = shape.collect::<Result<_, _>>().map_err(|_| other())?;
    let elements = indices.first.elements.clone();
    let fits = shape.iter().try_fold(1usize, |count, extent| count.checked_mul(*extent)) == Some(indices.first.len());
    if fits { Ok(Indices { first: Array { shape, elements }, step: indices.step }) } else { Err(other()) }
}

/// The step after a product with one number.
fn scaled(indices: &Indices, known: &Known) -> Option<i64> {
    match known.array.as_ints()? {
        [factor] => indices.step.checked_mul(factor.number()?),
        _ => None,
    }
}

fn other() -> Refusal {
    Refusal::unsupported("it computes with numbers that count along the batch")
}

/// What `indices` pick from `data`, as the result of `site`: each example's from its own part.
///
/// # Errors
/// Data that is not one row of N parts of `step` numbers, and places outside of an example's part.
pub fn gather(graph: &mut Lowering, site: &dyn Site, data: &Value, indices: &Indices) -> Result<(), Refusal> {
    let dims = data.dims()?;
    let part = Dim { batch: indices.step, fixed: 0 };
    if dims != [part] || indices.step < 1 {
        return Err(Refusal::unsupported(format!(
            "it picks by numbers that count along the batch from {}",
            show(&dims)
        )));
    }
    let places = indices.first.as_ints().unwrap_or_default().iter().map(|place| place.number());
    let places: Option<Vec<i64>> =
        places.map(|place| place.filter(|place| (0..indices.step).contains(place))).collect();
    let places = places.ok_or_else(|| Refusal::unsupported("it picks from another example"))?;
    let shape = indices.first.shape.get(1..).unwrap_or_default().to_vec();
    if places.iter().copied().eq(0..indices.step) {
        let extents = shape.iter().map(|extent| Dim::fixed(*extent as i64));
        return graph.reshape(site, data, &std::iter::once(Dim::N).chain(extents).collect::<Vec<_>>());
    }
    let parts = graph.reshaped(site, data, &[Dim::N, Dim::fixed(indices.step)], "parts")?;
    graph.finish(site, Op::Gather { axis: 1, indices: places, shape }, &[Some(&parts)])
}
