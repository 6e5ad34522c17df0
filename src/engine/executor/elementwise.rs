//! Operators that act on each element, and the softmaxes.

use tch::{Kind, TchError, Tensor};

use crate::formats::graph::{Binary, Op, Unary};

pub(super) fn binary(kind: Binary, a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    match kind {
        Binary::Add => a.f_add(b),
        Binary::Sub => a.f_sub(b),
        Binary::Mul => a.f_mul(b),
        Binary::Div => a.f_div(b),
        Binary::Pow => a.f_pow(b),
        Binary::Min => a.f_minimum(b),
        Binary::Max => a.f_maximum(b),
    }
}

/// `slope` broadcasts to `x` from the right, as in ONNX; libtorch's own prelu wants one slope for each channel.
pub(super) fn prelu(x: &Tensor, slope: &Tensor) -> Result<Tensor, TchError> {
    x.f_clamp_min(0.0)?.f_add(&x.f_clamp_max(0.0)?.f_mul(slope)?)
}

/// The result, or `None` where `op` is no operator of this file.
pub(super) fn unary(op: &Op, x: &Tensor) -> Result<Option<Tensor>, TchError> {
    let y = match op {
        Op::Unary(kind) => simple(*kind, x)?,
        Op::LeakyRelu { alpha } => leaky(x, *alpha)?,
        Op::Elu { alpha } => elu(x, *alpha)?,
        Op::Selu { alpha, gamma } => elu(x, *alpha)?.f_mul_scalar(f64::from(*gamma))?,
        Op::HardSigmoid { alpha, beta } => {
            x.f_mul_scalar(f64::from(*alpha))?.f_add_scalar(f64::from(*beta))?.f_clamp(0.0, 1.0)?
        }
        Op::Gelu { tanh } => x.f_gelu(if *tanh { "tanh" } else { "none" })?,
        Op::Clip { min, max } => clip(x, *min, *max)?,
        Op::Softmax { axis } => x.f_softmax(*axis as i64, Kind::Float)?,
        Op::LogSoftmax { axis } => x.f_log_softmax(*axis as i64, Kind::Float)?,
        _ => return Ok(None),
    };
    Ok(Some(y))
}

fn simple(kind: Unary, x: &Tensor) -> Result<Tensor, TchError> {
    match kind {
        Unary::Relu => x.f_relu(),
        Unary::Sigmoid => x.f_sigmoid(),
        Unary::Tanh => x.f_tanh(),
        Unary::HardSwish => x.f_hardswish(),
        Unary::Erf => x.f_erf(),
        Unary::Exp => x.f_exp(),
        Unary::Log => x.f_log(),
        Unary::Sqrt => x.f_sqrt(),
        Unary::Reciprocal => x.f_reciprocal(),
        Unary::Abs => x.f_abs(),
        Unary::Neg => x.f_neg(),
        Unary::Softplus => x.f_softplus(),
        Unary::Floor => x.f_floor(),
        Unary::Ceil => x.f_ceil(),
        Unary::Cos => x.f_cos(),
        Unary::Sin => x.f_sin(),
    }
}

fn leaky(x: &Tensor, alpha: f32) -> Result<Tensor, TchError> {
    x.f_clamp_min(0.0)?.f_add(&x.f_clamp_max(0.0)?.f_mul_scalar(f64::from(alpha))?)
}

fn elu(x: &Tensor, alpha: f32) -> Result<Tensor, TchError> {
    if alpha == 1.0 {
        return x.f_elu();
    }
    // exp only of what is not positive: the other branch would overflow and poison the gradient.
    let negative = x.f_clamp_max(0.0)?.f_expm1()?.f_mul_scalar(f64::from(alpha))?;
    x.f_clamp_min(0.0)?.f_add(&negative)
}

fn clip(x: &Tensor, min: Option<f32>, max: Option<f32>) -> Result<Tensor, TchError> {
    match (min, max) {
        (Some(min), Some(max)) => x.f_clamp(f64::from(min), f64::from(max)),
        (Some(min), None) => x.f_clamp_min(f64::from(min)),
        (None, Some(max)) => x.f_clamp_max(f64::from(max)),
        (None, None) => Ok(x.shallow_clone()),
    }
}
