//! A value once more behind itself along each axis, as often as asked.

use super::Lowering;
use crate::formats::{
    dim::{Dim, show},
    graph::Op,
    refusal::Refusal,
    value::{Known, Site, Value},
};

/// Repeats `x` along its axes, as the result of `site`; `repeats` may have more axes than `x`, in front. A constant that is
/// repeated along the batch is the same for every example.
///
/// # Errors
/// Repeats that do not fit, and a computed value repeated along the batch.
pub fn tile(graph: &mut Lowering, site: &dyn Site, x: &Value, repeats: &[Dim]) -> Result<(), Refusal> {
    let own = x.dims()?;
    let misfit = || format!("it repeats {} by {}", show(&own), show(repeats));
    let added = repeats.len().checked_sub(own.len()).ok_or_else(misfit)?;
    let mut value = x.clone();
    if added > 0 {
        let longer = [vec![Dim::ONE; added], own.clone()].concat();
        value = graph.reshaped(site, &value, &longer, "longer")?;
    }
    let for_each = repeats.first() == Some(&Dim::N);
    if for_each && !matches!(&value, Value::Known(known) if known.array.shape.first() == Some(&1)) {
        return Err(Refusal::unsupported(misfit()));
    }
    for (axis, times) in repeats.iter().enumerate().skip(usize::from(for_each)) {
        let times = times.number().filter(|times| *times >= 1).ok_or_else(misfit)?;
        if times > 1 {
            value = along(graph, site, &value, (axis, times))?;
        }
    }
    match value {
        Value::Known(known) if for_each => graph.alias(site, Value::Known(Known { repeated: true, ..known })),
        value => graph.alias(site, value),
    }
}

/// (…, d, …) → (…, 1, d, …) → (…, times, d, …) → (…, times · d, …)
fn along(graph: &mut Lowering, site: &dyn Site, value: &Value, (axis, times): (usize, i64)) -> Result<Value, Refusal> {
    let dims = value.dims()?;
    let length = dims[axis].number().and_then(|extent| extent.checked_mul(times));
    let length = length.ok_or_else(|| Refusal::unsupported(format!("it repeats the examples of {}", show(&dims))))?;
    let mut apart = dims.clone();
    apart.insert(axis, Dim::ONE);
    let mut together = dims;
    together[axis] = Dim::fixed(length);
    let apart = graph.reshaped(site, value, &apart, "apart")?;
    let repeated = repeat(graph, site, &apart, (axis, times))?;
    graph.reshaped(site, &repeated, &together, "together")
}

/// Repeats along an axis whose extent is 1.
///
/// # Errors
/// A constant whose extents depend on the batch.
pub fn repeat(
    graph: &mut Lowering,
    site: &dyn Site,
    value: &Value,
    (axis, times): (usize, i64),
) -> Result<Value, Refusal> {
    let dims = value.dims()?;
    let extent = |(at, dim): (usize, &Dim)| match value {
        _ if at == axis => Some(times),
        // A constant has no batch to keep: every extent is named.
        Value::Known(_) => dim.number(),
        _ => Some(-1),
    };
    let shape = dims.iter().enumerate().map(extent).collect::<Option<_>>().ok_or("its extents depend on the batch")?;
    graph.step(site, Op::Expand { shape }, &[Some(value)], "repeated")
}
