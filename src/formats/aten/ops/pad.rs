//! <https://pytorch.org/docs/stable/generated/torch.nn.functional.pad.html>: pairs of begin and end, the last axis first.

use super::Lower;
use crate::formats::{
    aten::{call::Call, lower::Context},
    graph::{Op, PadMode},
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[
    ("constant_pad_nd", |graph, call| lower(graph, call, "constant", "pad")),
    ("pad", |graph, call| {
        let mode = call.text("mode", "constant")?.to_owned();
        lower(graph, call, &mode, "pad")
    }),
    ("reflection_pad1d", |graph, call| lower(graph, call, "reflect", "padding")),
    ("reflection_pad2d", |graph, call| lower(graph, call, "reflect", "padding")),
    ("replication_pad1d", |graph, call| lower(graph, call, "replicate", "padding")),
    ("replication_pad2d", |graph, call| lower(graph, call, "replicate", "padding")),
];

fn lower(graph: &mut Context, call: &Call, mode: &str, name: &str) -> Result<(), Refusal> {
    let x = call.x()?;
    let rank = x.dims()?.len();
    let mode = match mode {
        "constant" => PadMode::Constant,
        "reflect" => PadMode::Reflect,
        "replicate" => PadMode::Edge,
        other => return Err(Refusal::unsupported(format!("its mode is \"{other}\""))),
    };
    let pairs = call.ints(name)?.ok_or("its padding is missing")?;
    if !pairs.len().is_multiple_of(2) || pairs.len() / 2 > rank {
        return Err(format!("it has {} paddings for {rank} axes", pairs.len()).into());
    }
    let (mut begin, mut end) = (vec![0; rank], vec![0; rank]);
    for (index, pair) in pairs.chunks_exact(2).enumerate() {
        (begin[rank - 1 - index], end[rank - 1 - index]) = (pair[0], pair[1]);
    }
    if begin.iter().chain(&end).all(|pad| *pad == 0) {
        return graph.alias(call, x.clone());
    }
    let value = call.attribute("value", 0.0)?;
    graph.finish(call, Op::Pad { begin, end, mode, value }, &[Some(x)])
}
