//! Elementwise functions without attributes, one specification page each, such as
//! <https://onnx.ai/onnx/operators/onnx__Relu.html>. Their meaning is the same in every opset.

use super::Lower;
use crate::formats::{
    graph::{Op, Unary},
    onnx::{call::Call, lowering::Lowering},
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[
    ("Abs", lower),
    ("Ceil", lower),
    ("Cos", lower),
    ("Erf", lower),
    ("Exp", lower),
    ("Floor", lower),
    ("HardSwish", lower),
    ("Log", lower),
    ("Neg", lower),
    ("Reciprocal", lower),
    ("Relu", lower),
    ("Sigmoid", lower),
    ("Sin", lower),
    ("Softplus", lower),
    ("Sqrt", lower),
    ("Tanh", lower),
];

fn lower(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let kind = match call.node.op_type() {
        "Abs" => Unary::Abs,
        "Ceil" => Unary::Ceil,
        "Cos" => Unary::Cos,
        "Erf" => Unary::Erf,
        "Exp" => Unary::Exp,
        "Floor" => Unary::Floor,
        "HardSwish" => Unary::HardSwish,
        "Log" => Unary::Log,
        "Neg" => Unary::Neg,
        "Reciprocal" => Unary::Reciprocal,
        "Relu" => Unary::Relu,
        "Sigmoid" => Unary::Sigmoid,
        "Sin" => Unary::Sin,
        "Softplus" => Unary::Softplus,
        "Sqrt" => Unary::Sqrt,
        _ => Unary::Tanh,
    };
    graph.finish(call, Op::Unary(kind), &[Some(call.input(0)?)])
}
