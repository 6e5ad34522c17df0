//! <https://pytorch.org/docs/stable/generated/torch.nn.functional.max_pool2d.html>, `avg_pool2d`, their relatives of one
//! dimension, and adaptive pools.

use super::{Lower, window};
use crate::formats::{
    aten::{call::Call, lower::Context},
    dim::{Dim, show},
    graph::{Op, Reduce, Window},
    lowering::pool::{pad_last_step, settle_last_step},
    refusal::Refusal,
    value::Value,
};

pub const OPERATORS: &[(&str, Lower)] = &[
    ("_adaptive_avg_pool2d", |graph, call| adaptive(graph, call, Reduce::Mean)),
    ("adaptive_avg_pool1d", |graph, call| adaptive(graph, call, Reduce::Mean)),
    ("adaptive_avg_pool2d", |graph, call| adaptive(graph, call, Reduce::Mean)),
    ("adaptive_max_pool1d", |graph, call| adaptive(graph, call, Reduce::Max)),
    ("adaptive_max_pool2d", |graph, call| adaptive(graph, call, Reduce::Max)),
    ("avg_pool1d", average_pool),
    ("avg_pool2d", average_pool),
    ("max_pool1d", max_pool),
    ("max_pool1d_with_indices", max_pool),
    ("max_pool2d", max_pool),
    ("max_pool2d_with_indices", max_pool),
];

/// Most windows along one axis that are taken one by one, where they differ in size.
const MAX_WINDOWS: usize = 64;

/// Without a stride, the window steps by its own size.
fn read(call: &Call) -> Result<Window, Refusal> {
    let dims = call.x()?.dims()?;
    let spatial = dims.len().checked_sub(2).filter(|spatial| *spatial > 0);
    let spatial = spatial.ok_or_else(|| Refusal::unsupported(format!("it pools {}", show(&dims))))?;
    let kernel = window::list(call, "kernel_size", spatial)?.ok_or("its argument kernel_size is missing")?;
    window::read(call, kernel.clone(), kernel)
}

fn max_pool(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let mut window = read(call)?;
    if window.ceil {
        pad_last_step(&mut window, &call.x()?.dims()?);
    }
    graph.finish(call, Op::MaxPool { window }, &[Some(call.x()?)])
}

fn average_pool(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    if call.arg("divisor_override").is_some() {
        return Err(Refusal::unsupported("it divides by a number of its own"));
    }
    let mut window = read(call)?;
    let count_include_pad = call.flag("count_include_pad", true)?;
    settle_last_step(&mut window, count_include_pad, &call.x()?.dims()?);
    graph.finish(call, Op::AveragePool { window, count_include_pad }, &[Some(call.x()?)])
}

/// Window i of n over an extent e reaches from ⌊i·e/n⌋ to ⌈(i+1)·e/n⌉.
fn adaptive(graph: &mut Context, call: &Call, kind: Reduce) -> Result<(), Refusal> {
    let x = call.x()?;
    let dims = x.dims()?;
    let extents = dims.iter().skip(2).map(|dim| dim.extent()).collect::<Option<Vec<_>>>();
    let extents = extents.filter(|extents| (1..=2).contains(&extents.len()));
    let extents = extents.ok_or_else(|| Refusal::unsupported(format!("it pools {}", show(&dims))))?;
    let wanted = window::list(call, "output_size", extents.len())?.ok_or("its argument output_size is missing")?;
    if wanted.contains(&0) {
        return Err("it makes an empty shape".into());
    }
    if wanted == extents {
        return graph.alias(call, x.clone());
    }
    if wanted.iter().all(|count| *count == 1) {
        let op = if kind == Reduce::Mean { Op::GlobalAveragePool } else { Op::GlobalMaxPool };
        return graph.finish(call, op, &[Some(x)]);
    }
    if extents.iter().zip(&wanted).any(|(extent, count)| extent % count != 0) {
        return unequal(graph, call, kind, &wanted);
    }
    let kernel: Vec<usize> = extents.iter().zip(&wanted).map(|(extent, count)| extent / count).collect();
    let zeros = vec![0; kernel.len()];
    let window = Window {
        strides: kernel.clone(),
        dilations: vec![1; kernel.len()],
        kernel,
        pads_begin: zeros.clone(),
        pads_end: zeros,
        ceil: false,
    };
    let op = match kind {
        Reduce::Mean => Op::AveragePool { window, count_include_pad: false },
        _ => Op::MaxPool { window },
    };
    graph.finish(call, op, &[Some(x)])
}

/// Windows that differ in size, axis by axis: each is cut out, reduced, and joined to the others.
fn unequal(graph: &mut Context, call: &Call, kind: Reduce, wanted: &[usize]) -> Result<(), Refusal> {
    let mut value = call.x()?.clone();
    for (index, &count) in wanted.iter().enumerate() {
        let axis = index + 2;
        let extent = value.dims()?[axis].extent().ok_or("its extents are negative")?;
        if count > MAX_WINDOWS {
            return Err(Refusal::unsupported(format!("it takes {count} windows of unequal size")));
        }
        if extent == count {
            continue;
        }
        let mut parts = Vec::with_capacity(count);
        for window in 0..count {
            let (start, end) = (window * extent / count, ((window + 1) * extent).div_ceil(count));
            let (axes, steps) = (vec![axis], vec![1]);
            let op = Op::Slice { axes, starts: vec![start as i64], ends: vec![end as i64], steps };
            let part = graph.step(call, op, &[Some(&value)], "window")?;
            let op = Op::Reduce { kind, axes: vec![axis], keep_dims: true };
            parts.push(graph.step(call, op, &[Some(&part)], "reduced")?);
        }
        let parts: Vec<Option<&Value>> = parts.iter().map(Some).collect();
        value = match parts.as_slice() {
            [Some(only)] => (*only).clone(),
            _ => graph.step(call, Op::Concat { axis }, &parts, "pooled")?,
        };
    }
    debug_assert!(
        value
            .dims()
            .is_ok_and(|dims| dims[2..] == wanted.iter().map(|n| Dim::fixed(*n as i64)).collect::<Vec<_>>()[..])
    );
    graph.alias(call, value)
}
