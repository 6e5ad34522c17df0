//! Groups of channels that are normalised together.

use crate::formats::{
    array::Array,
    dim::{Dim, product, show},
    graph::Op,
    lowering::Lowering,
    refusal::Refusal,
    value::{Site, Value},
};

/// `x` with every group of its channels at mean 0 and variance 1, and the number of channels: each group is one long channel of
/// an instance normalisation.
pub fn normalised(
    graph: &mut Lowering,
    site: &dyn Site,
    x: &Value,
    groups: i64,
    epsilon: f32,
) -> Result<(Value, usize), Refusal> {
    let dims = x.dims()?;
    let channels =
        dims.get(1).and_then(|dim| dim.extent()).ok_or_else(|| format!("{} has no channels", show(&dims)))?;
    let count = usize::try_from(groups).ok().filter(|groups| *groups > 0 && channels.is_multiple_of(*groups));
    let count = count.ok_or_else(|| format!("{channels} channels do not fall into {groups} groups"))?;
    let size = product(&dims[1..]).and_then(Dim::extent).ok_or("its extents overflow")?;
    let rows = [dims[0], Dim::fixed(count as i64), Dim::fixed((size / count) as i64)];
    let rows = graph.reshaped(site, x, &rows, "groups")?;
    graph.charge(2 * count)?;
    let ones = graph.constant(site, "ones", Array::floats(vec![count], vec![1.0; count]));
    let zeros = graph.constant(site, "zeros", Array::floats(vec![count], vec![0.0; count]));
    let op = Op::InstanceNorm { epsilon };
    let normal = graph.step(site, op, &[Some(&rows), Some(&ones), Some(&zeros)], "normal")?;
    Ok((graph.reshaped(site, &normal, &dims, "channels")?, channels))
}
