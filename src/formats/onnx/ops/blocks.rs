//! <https://onnx.ai/onnx/operators/onnx__DepthToSpace.html> (`mode` since opset 11) and SpaceToDepth: blocks of pixels become
//! channels, or the reverse, by moving alone.

use super::Lower;
use crate::formats::{
    dim::{Dim, show},
    graph::Op,
    onnx::{call::Call, lowering::Lowering},
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[("DepthToSpace", depth_to_space), ("SpaceToDepth", space_to_depth)];

/// (N, C, H, W) and the size of a block.
fn operand(call: &Call) -> Result<(Dim, [i64; 3], i64), Refusal> {
    let dims = call.dims(0)?;
    let block = call.int("blocksize", 0)?;
    let extents: Option<Vec<i64>> = dims.iter().skip(1).map(|dim| dim.number()).collect();
    match (dims.as_slice(), extents.as_deref(), block) {
        (&[batch, ..], Some(&[channels, height, width]), 1..=65536) => Ok((batch, [channels, height, width], block)),
        _ => Err(format!("it takes blocks of {block} from {}", show(&dims)).into()),
    }
}

fn depth_to_space(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let (batch, [channels, height, width], block) = operand(call)?;
    let rest = channels / (block * block);
    if rest * block * block != channels {
        return Err(format!("{channels} channels are not blocks of {block} by {block}").into());
    }
    // The places of one block vary slowest among the channels, or fastest.
    let (apart, perm) = match call.text("mode", "DCR")? {
        "DCR" => ([block, block, rest], vec![0, 3, 4, 1, 5, 2]),
        "CRD" => ([rest, block, block], vec![0, 1, 4, 2, 5, 3]),
        other => return Err(format!("its attribute mode is \"{other}\"").into()),
    };
    let apart = [&apart[..], &[height, width]].concat();
    moved(graph, call, (batch, apart, perm), [rest, height * block, width * block])
}

fn space_to_depth(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let (batch, [channels, height, width], block) = operand(call)?;
    let (rows, columns) = (height / block, width / block);
    if rows * block != height || columns * block != width {
        return Err(format!("{height} by {width} pixels are not blocks of {block} by {block}").into());
    }
    let apart = vec![channels, rows, block, columns, block];
    let channels = channels.checked_mul(block * block).ok_or("its extents overflow")?;
    moved(graph, call, (batch, apart, vec![0, 3, 5, 1, 2, 4]), [channels, rows, columns])
}

/// Reshapes to (N, apart…), permutes, and reshapes to (N, together…).
fn moved(
    graph: &mut Lowering,
    call: &Call,
    (batch, apart, perm): (Dim, Vec<i64>, Vec<usize>),
    together: [i64; 3],
) -> Result<(), Refusal> {
    let with_batch = |extents: &[i64]| -> Vec<Dim> {
        std::iter::once(batch).chain(extents.iter().copied().map(Dim::fixed)).collect()
    };
    let apart = graph.reshaped(call, call.input(0)?, &with_batch(&apart), "apart")?;
    let turned = graph.step(call, Op::Transpose { perm }, &[Some(&apart)], "turned")?;
    graph.reshape(call, &turned, &with_batch(&together))
}
