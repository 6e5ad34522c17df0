//! Activations: <https://pytorch.org/docs/stable/nn.functional.html#non-linear-activation-functions>, and elementwise
//! functions without arguments.

use super::Lower;
use crate::formats::{
    array::Array,
    aten::{call::Call, lower::Context},
    dim::Dim,
    graph::{Binary, Op, Unary},
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[
    ("abs", |graph, call| unary(graph, call, Unary::Abs)),
    ("ceil", |graph, call| unary(graph, call, Unary::Ceil)),
    ("clamp", clamp),
    ("clamp_max", clamp),
    ("clamp_min", clamp),
    ("clip", clamp),
    ("elu", elu),
    ("erf", |graph, call| unary(graph, call, Unary::Erf)),
    ("exp", |graph, call| unary(graph, call, Unary::Exp)),
    ("floor", |graph, call| unary(graph, call, Unary::Floor)),
    ("gelu", gelu),
    ("hardsigmoid", hard_sigmoid),
    ("hardswish", |graph, call| unary(graph, call, Unary::HardSwish)),
    ("hardtanh", hardtanh),
    ("leaky_relu", leaky_relu),
    ("log", |graph, call| unary(graph, call, Unary::Log)),
    ("mish", mish),
    ("neg", |graph, call| unary(graph, call, Unary::Neg)),
    ("prelu", prelu),
    ("_prelu_kernel", prelu),
    ("reciprocal", |graph, call| unary(graph, call, Unary::Reciprocal)),
    ("relu", |graph, call| unary(graph, call, Unary::Relu)),
    ("relu6", |graph, call| graph.finish(call, Op::Clip { min: Some(0.0), max: Some(6.0) }, &[Some(call.x()?)])),
    ("rsqrt", rsqrt),
    ("selu", selu),
    ("sigmoid", |graph, call| unary(graph, call, Unary::Sigmoid)),
    ("silu", silu),
    ("softplus", softplus),
    ("softsign", softsign),
    ("sqrt", |graph, call| unary(graph, call, Unary::Sqrt)),
    ("tanh", |graph, call| unary(graph, call, Unary::Tanh)),
];

/// Of `selu`, as PyTorch has them.
const SELU: (f32, f32) = (1.673_263_2, 1.050_701);

fn unary(graph: &mut Context, call: &Call, kind: Unary) -> Result<(), Refusal> {
    graph.finish(call, Op::Unary(kind), &[Some(call.x()?)])
}

fn clamp(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let bound = |name| call.arg(name).map(|_| call.float(name, 0.0)).transpose();
    let (min, max) = (bound("min")?, bound("max")?);
    if min.into_iter().chain(max).any(f64::is_nan) {
        return Err("a bound is not a number".into());
    }
    let (min, max) = (min.filter(|min| min.is_finite()), max.filter(|max| max.is_finite()));
    graph.finish(call, Op::Clip { min: min.map(|min| min as f32), max: max.map(|max| max as f32) }, &[Some(call.x()?)])
}

fn hardtanh(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let (min, max) = (call.attribute("min_val", -1.0)?, call.attribute("max_val", 1.0)?);
    graph.finish(call, Op::Clip { min: Some(min), max: Some(max) }, &[Some(call.x()?)])
}

fn elu(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    call.only("input_scale", 1.0)?;
    let (alpha, gamma) = (call.attribute("alpha", 1.0)?, call.attribute("scale", 1.0)?);
    let op = if gamma == 1.0 { Op::Elu { alpha } } else { Op::Selu { alpha, gamma } };
    graph.finish(call, op, &[Some(call.x()?)])
}

fn selu(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    graph.finish(call, Op::Selu { alpha: SELU.0, gamma: SELU.1 }, &[Some(call.x()?)])
}

fn gelu(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let tanh = match call.text("approximate", "none")? {
        "none" => false,
        "tanh" => true,
        other => return Err(format!("its argument approximate is \"{other}\"").into()),
    };
    graph.finish(call, Op::Gelu { tanh }, &[Some(call.x()?)])
}

/// relu6(x + 3) / 6
fn hard_sigmoid(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    graph.finish(call, Op::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }, &[Some(call.x()?)])
}

fn leaky_relu(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let op = Op::LeakyRelu { alpha: call.attribute("negative_slope", 0.01)? };
    graph.finish(call, op, &[Some(call.x()?)])
}

/// x · tanh(softplus(x))
fn mish(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let x = call.x()?;
    let softplus = graph.step(call, Op::Unary(Unary::Softplus), &[Some(x)], "softplus")?;
    let tanh = graph.step(call, Op::Unary(Unary::Tanh), &[Some(&softplus)], "tanh")?;
    graph.finish(call, Op::Binary(Binary::Mul), &[Some(x), Some(&tanh)])
}

/// One slope, or one for each channel, which is axis 1; the graph's operator broadcasts it from the right.
fn prelu(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let (x, slope) = (call.x()?, call.tensor("weight")?);
    let rank = x.dims()?.len();
    let dims = slope.dims()?;
    let [channels] = dims.as_slice() else { return graph.finish(call, Op::PRelu, &[Some(x), Some(slope)]) };
    if *channels == Dim::ONE || rank < 3 {
        return graph.finish(call, Op::PRelu, &[Some(x), Some(slope)]);
    }
    let shape: Vec<Dim> = std::iter::once(*channels).chain(std::iter::repeat_n(Dim::ONE, rank - 2)).collect();
    let slope = graph.reshaped(call, slope, &shape, "reshaped")?;
    graph.finish(call, Op::PRelu, &[Some(x), Some(&slope)])
}

fn rsqrt(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let root = graph.step(call, Op::Unary(Unary::Sqrt), &[Some(call.x()?)], "root")?;
    graph.finish(call, Op::Unary(Unary::Reciprocal), &[Some(&root)])
}

/// x · sigmoid(x)
fn silu(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let x = call.x()?;
    let gate = graph.step(call, Op::Unary(Unary::Sigmoid), &[Some(x)], "gate")?;
    graph.finish(call, Op::Binary(Binary::Mul), &[Some(x), Some(&gate)])
}

/// Beyond the threshold the function is the identity, to the precision of a float.
fn softplus(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    call.only("beta", 1.0)?;
    call.only("threshold", 20.0)?;
    unary(graph, call, Unary::Softplus)
}

/// x / (1 + |x|)
fn softsign(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let x = call.x()?;
    let size = graph.step(call, Op::Unary(Unary::Abs), &[Some(x)], "abs")?;
    let one = graph.constant(call, "one", Array::floats(vec![], vec![1.0]));
    let below = graph.step(call, Op::Binary(Binary::Add), &[Some(&size), Some(&one)], "below")?;
    graph.finish(call, Op::Binary(Binary::Div), &[Some(x), Some(&below)])
}
