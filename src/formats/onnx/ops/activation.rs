//! Activations with attributes or of several steps: <https://onnx.ai/onnx/operators/onnx__LeakyRelu.html>, Elu, Selu,
//! HardSigmoid, Gelu (from opset 20), PRelu, Mish (from opset 18), Softsign.

use super::Lower;
use crate::formats::{
    graph::{Binary, Op, Unary},
    onnx::{array::Array, call::Call, lowering::Lowering},
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[
    ("Elu", elu),
    ("Gelu", gelu),
    ("HardSigmoid", hard_sigmoid),
    ("LeakyRelu", leaky_relu),
    ("Mish", mish),
    ("PRelu", prelu),
    ("Selu", selu),
    ("Softsign", softsign),
];

fn elu(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let op = Op::Elu { alpha: call.float("alpha", 1.0)? };
    graph.finish(call, op, &[Some(call.input(0)?)])
}

fn gelu(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let tanh = match call.text("approximate", "none")? {
        "none" => false,
        "tanh" => true,
        other => return Err(format!("its attribute approximate is \"{other}\"").into()),
    };
    graph.finish(call, Op::Gelu { tanh }, &[Some(call.input(0)?)])
}

fn hard_sigmoid(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let op = Op::HardSigmoid { alpha: call.float("alpha", 0.2)?, beta: call.float("beta", 0.5)? };
    graph.finish(call, op, &[Some(call.input(0)?)])
}

fn leaky_relu(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let op = Op::LeakyRelu { alpha: call.float("alpha", 0.01)? };
    graph.finish(call, op, &[Some(call.input(0)?)])
}

/// x · tanh(softplus(x))
fn mish(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let x = call.input(0)?;
    let softplus = graph.step(call, Op::Unary(Unary::Softplus), &[Some(x)], "softplus")?;
    let tanh = graph.step(call, Op::Unary(Unary::Tanh), &[Some(&softplus)], "tanh")?;
    graph.finish(call, Op::Binary(Binary::Mul), &[Some(x), Some(&tanh)])
}

fn prelu(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    graph.finish(call, Op::PRelu, &[Some(call.input(0)?), Some(call.input(1)?)])
}

/// The defaults are the constants of the specification, rounded to float32.
fn selu(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let op = Op::Selu { alpha: call.float("alpha", 1.673_263_2)?, gamma: call.float("gamma", 1.050_701)? };
    graph.finish(call, op, &[Some(call.input(0)?)])
}

/// x / (1 + |x|)
fn softsign(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let x = call.input(0)?;
    let size = graph.step(call, Op::Unary(Unary::Abs), &[Some(x)], "abs")?;
    let one = graph.constant(call, "one", Array::floats(vec![], vec![1.0]));
    let below = graph.step(call, Op::Binary(Binary::Add), &[Some(&size), Some(&one)], "below")?;
    graph.finish(call, Op::Binary(Binary::Div), &[Some(x), Some(&below)])
}
