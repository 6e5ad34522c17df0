//! <https://onnx.ai/onnx/operators/onnx__BatchNormalization.html>, LayerNormalization (from opset 17),
//! InstanceNormalization. Batch normalisation is always that of inference: a teacher is frozen.

use super::Lower;
use crate::formats::{
    graph::Op,
    onnx::{call::Call, lowering::Lowering},
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] =
    &[("BatchNormalization", batch_norm), ("InstanceNormalization", instance_norm), ("LayerNormalization", layer_norm)];

fn batch_norm(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    if call.int("spatial", 1)? == 0 {
        return Err(Refusal::unsupported("it normalises every element by its own statistics (spatial = 0)"));
    }
    // Before opset 14, outputs beside the first one said so.
    let has_statistics = call.node.output.iter().skip(1).any(|name| !name.is_empty());
    if call.int("training_mode", 0)? != 0 || (call.opset < 14 && has_statistics) {
        graph.warnings.push(format!(
            "Batch normalisation \"{}\" was exported in training mode; it is used with its running statistics.",
            call.node.name()
        ));
    }
    let op = Op::BatchNorm { epsilon: call.float("epsilon", 1e-5)? };
    let inputs = (0..5).map(|index| call.input(index).map(Some)).collect::<Result<Vec<_>, _>>()?;
    graph.finish(call, op, &inputs)
}

fn layer_norm(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let axis = call.axis(-1, call.dims(0)?.len())?;
    let mut inputs = vec![Some(call.input(0)?), Some(call.input(1)?)];
    inputs.extend(call.optional(2).map(Some));
    graph.finish(call, Op::LayerNorm { axis, epsilon: call.float("epsilon", 1e-5)? }, &inputs)
}

fn instance_norm(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let op = Op::InstanceNorm { epsilon: call.float("epsilon", 1e-5)? };
    graph.finish(call, op, &[Some(call.input(0)?), Some(call.input(1)?), Some(call.input(2)?)])
}
