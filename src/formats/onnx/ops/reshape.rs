//! <https://onnx.ai/onnx/operators/onnx__Reshape.html>, Flatten, Squeeze and Unsqueeze (axes as attribute before opset 13,
//! as input since), all as one operator of the graph. The batch stays free, also where the file fixes it.

use super::Lower;
use crate::formats::{
    dim::{Dim, product, show},
    lowering::reshape::resolve,
    onnx::{
        call::{Call, normalise},
        lowering::{Lowering, MAX_RANK},
    },
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] =
    &[("Flatten", flatten), ("Reshape", reshape), ("Squeeze", squeeze), ("Unsqueeze", unsqueeze)];

fn reshape(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let dims = call.dims(0)?;
    let mut target = call.dim_list(1)?.ok_or("its target shape is missing")?;
    if call.int("allowzero", 0)? == 0 {
        for (axis, entry) in target.iter_mut().enumerate().filter(|(_, entry)| **entry == Dim::fixed(0)) {
            *entry = *dims.get(axis).ok_or_else(|| format!("it copies axis {axis} of {}", show(&dims)))?;
        }
    }
    let target = resolve(&dims, &target, graph.batch).ok_or_else(|| {
        Refusal::Invalid(format!(
            "it reshapes {} to {}, which has another number of elements",
            show(&dims),
            show(&target)
        ))
    })?;
    graph.reshape(call, call.input(0)?, &target)
}

fn flatten(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let dims = call.dims(0)?;
    let axis = match call.int("axis", 1)? {
        axis if axis == dims.len() as i64 => dims.len(),
        axis => normalise(axis, dims.len())?,
    };
    let (before, after) = dims.split_at(axis);
    let target = [before, after].map(product);
    let [Some(before), Some(after)] = target else { return Err("its extents overflow".into()) };
    graph.reshape(call, call.input(0)?, &[before, after])
}

fn squeeze(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let dims = call.dims(0)?;
    let axes = match call.axes(1, dims.len())? {
        Some(axes) => axes,
        None => (0..dims.len()).filter(|axis| dims[*axis] == Dim::ONE).collect(),
    };
    if let Some(axis) = axes.iter().find(|axis| dims[**axis] != Dim::ONE) {
        return Err(format!("it drops axis {axis} of {}", show(&dims)).into());
    }
    let target: Vec<Dim> =
        dims.iter().enumerate().filter(|(axis, _)| !axes.contains(axis)).map(|(_, dim)| *dim).collect();
    graph.reshape(call, call.input(0)?, &target)
}

fn unsqueeze(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let dims = call.dims(0)?;
    let count = match call.ints("axes")? {
        Some(axes) => axes.len(),
        None => call.int_list(1)?.ok_or("its axes are missing")?.len(),
    };
    let rank = dims.len() + count;
    if rank > MAX_RANK {
        return Err(format!("it makes {rank} axes").into());
    }
    let axes = call.axes(1, rank)?.unwrap_or_default();
    if (0..rank).filter(|axis| axes.contains(axis)).count() != count {
        return Err(format!("it adds the axes {axes:?}, some of them twice").into());
    }
    let mut own = dims.into_iter();
    let target: Vec<Dim> =
        (0..rank).map(|axis| if axes.contains(&axis) { Dim::ONE } else { own.next().unwrap_or(Dim::ONE) }).collect();
    graph.reshape(call, call.input(0)?, &target)
}
