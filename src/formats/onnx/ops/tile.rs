//! <https://onnx.ai/onnx/operators/onnx__Tile.html>: as many repeats as axes.

use super::Lower;
use crate::formats::{
    lowering,
    onnx::{call::Call, lowering::Lowering},
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[("Tile", tile)];

fn tile(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let repeats = call.dim_list(1)?.ok_or("its repeats are missing")?;
    if repeats.len() != call.dims(0)?.len() {
        return Err(format!("it has {} repeats for {} axes", repeats.len(), call.dims(0)?.len()).into());
    }
    lowering::tile::tile(graph, call, call.input(0)?, &repeats)
}
