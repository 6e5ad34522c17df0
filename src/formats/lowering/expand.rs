//! Broadcasts to a shape; a constant that gets the batch is the same for every example.

use std::rc::Rc;

use super::{Lowering, as_known};
use crate::formats::{
    dim::{Dim, product, show},
    graph::Op,
    refusal::Refusal,
    shapes,
    value::{Known, Site, Value},
};

/// Broadcasts `x` and `target` to each other, as the result of `site`.
///
/// # Errors
/// Shapes that do not fit, and a computed value repeated along the batch.
pub fn expand(graph: &mut Lowering, site: &dyn Site, x: &Value, target: Vec<Dim>) -> Result<(), Refusal> {
    let dims = x.dims()?;
    let target = free_batch(&dims, target, graph.batch);
    if let Some(known) = as_known(x) {
        return constant(graph, site, known, &target);
    }
    let shape = shapes::broadcast(&dims, &target)?;
    if shape == dims {
        return graph.alias(site, x.clone());
    }
    let added = shape.len() - dims.len();
    let kept = |axis: usize| axis >= added && shape[axis] == dims[axis - added];
    let shape = (0..shape.len()).map(|axis| if kept(axis) { Some(-1) } else { shape[axis].number() });
    let shape = shape.collect::<Option<_>>().ok_or_else(|| {
        Refusal::unsupported(format!("it repeats {} along the batch, to {}", show(&dims), show(&target)))
    })?;
    graph.finish(site, Op::Expand { shape }, &[Some(x)])
}

/// A batch that the file wrote down, where the value has the free one, is the free one.
fn free_batch(dims: &[Dim], mut target: Vec<Dim>, batch: Option<i64>) -> Vec<Dim> {
    let offset = target.len().checked_sub(dims.len());
    for (axis, dim) in dims.iter().enumerate().filter(|(_, dim)| dim.is_batched()) {
        if let Some(entry) = offset.and_then(|offset| target.get_mut(axis + offset))
            && let Some(batch) = batch
            && entry.number() == dim.at(batch)
        {
            *entry = *dim;
        }
    }
    target
}

/// A constant whose first axis becomes the batch is the same for every example; everything else is folded.
fn constant(graph: &mut Lowering, site: &dyn Site, known: &Known, target: &[Dim]) -> Result<(), Refusal> {
    let repeated = known.repeated || target.first() == Some(&Dim::N);
    let own: Vec<Dim> = target.iter().map(|dim| if *dim == Dim::N { Dim::ONE } else { *dim }).collect();
    let shape = shapes::broadcast(&known.array.dims(), &own)?;
    if repeated && (shape.first() != Some(&Dim::ONE) || target.iter().skip(1).any(|dim| dim.is_batched())) {
        return Err(Refusal::unsupported(format!("it repeats a constant along the batch, to {}", show(target))));
    }
    let numbers = shape.iter().map(|dim| dim.number()).collect::<Option<Vec<_>>>();
    let numbers = numbers.ok_or_else(|| Refusal::unsupported(format!("it expands a constant to {}", show(target))))?;
    let whole = Value::Known(Known { repeated: false, ..known.clone() });
    if product(&shape) == product(&known.array.dims()) && shape.len() == known.array.shape.len() {
        let same = Known { repeated, array: Rc::clone(&known.array), name: known.name.clone() };
        return graph.alias(site, Value::Known(same));
    }
    let expanded = graph.step(site, Op::Expand { shape: numbers }, &[Some(&whole)], "expanded")?;
    match expanded {
        Value::Known(expanded) => graph.alias(site, Value::Known(Known { repeated, ..expanded })),
        other => graph.alias(site, other),
    }
}
