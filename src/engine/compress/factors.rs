//! What a layer is taken apart into, and the operators that take its place.

use tch::{Device, Kind, TchError, Tensor};

use super::{action::Action, layer::Layer, svd, tucker};
use crate::{
    domain::problem::Problem,
    formats::graph::{Op, Window},
};

/// The factors of a kernel, whatever decomposition they come from; a side that is absent keeps its full rank.
pub(super) struct Factors {
    /// (rank in, in)
    input: Option<Tensor>,
    /// (rank out, rank in, kernel…)
    core: Tensor,
    /// (out, rank out)
    output: Option<Tensor>,
    /// The end of the core's name: `core` between two factors, `in` where it is the first of two.
    core_suffix: &'static str,
}

impl Factors {
    /// By the decomposition that the action names.
    ///
    /// # Errors
    /// `internal` where libtorch fails.
    pub(super) fn new(kernel: &Tensor, action: Action) -> Result<Self, Problem> {
        match action {
            Action::Keep => Ok(Self { input: None, core: kernel.shallow_clone(), output: None, core_suffix: "core" }),
            Action::Svd { rank } => {
                let svd = svd::decompose(&kernel.f_flatten(1, -1)?, rank)?;
                let mut shape = kernel.size();
                shape[0] = rank as i64;
                Ok(Self {
                    input: None,
                    core: svd.first.f_reshape(&shape)?,
                    output: Some(svd.second),
                    core_suffix: "in",
                })
            }
            Action::Tucker(ranks) => {
                let tucker = tucker::decompose(kernel, ranks)?;
                let input = tucker.factor_in.map(|factor| factor.f_tr()).transpose()?;
                Ok(Self { input, core: tucker.core, output: tucker.factor_out, core_suffix: "core" })
            }
        }
    }

    /// Factors of the action's shapes, all of one number.
    ///
    /// # Errors
    /// What libtorch reports.
    pub(super) fn made_up(layer: &Layer, action: Action) -> Result<Self, TchError> {
        let (low_in, low_out, core_suffix) = match action {
            Action::Keep => (layer.inputs, layer.outputs, "core"),
            Action::Svd { rank } => (layer.inputs, rank, "in"),
            Action::Tucker(ranks) => (ranks.input, ranks.output, "core"),
        };
        let full = |shape: &[usize]| {
            let shape: Vec<i64> = shape.iter().map(|&extent| extent as i64).collect();
            Tensor::f_full(shape, 0.01, (Kind::Double, Device::Cpu))
        };
        let svd = matches!(action, Action::Svd { .. });
        Ok(Self {
            input: (low_in < layer.inputs).then(|| full(&[low_in, layer.inputs])).transpose()?,
            core: full(&[&[low_out, low_in], &layer.kernel[..]].concat())?,
            output: (svd || low_out < layer.outputs).then(|| full(&[layer.outputs, low_out])).transpose()?,
            core_suffix,
        })
    }

    /// The nodes that take the place of an operator, in order.
    ///
    /// # Errors
    /// What libtorch reports.
    pub(super) fn stages(&self, op: &Op) -> Result<Vec<Stage>, TchError> {
        let mut stages = Vec::with_capacity(3);
        if let Some(factor) = &self.input {
            stages.push(Stage { suffix: "in", op: pointwise(op), weight: matrix_for(op, factor)? });
        }
        stages.push(Stage { suffix: self.core_suffix, op: bare(op), weight: core_for(op, &self.core)? });
        if let Some(factor) = &self.output {
            stages.push(Stage { suffix: "out", op: pointwise(op), weight: matrix_for(op, factor)? });
        }
        // The last stage carries the bias, and with it what scales product and bias.
        if let (Some(last), Op::Gemm { alpha, beta, .. }) = (stages.last_mut(), op) {
            last.op = Op::Gemm { alpha: *alpha, beta: *beta, trans_b: true };
        }
        Ok(stages)
    }
}

/// One of the nodes that replace a layer.
pub(super) struct Stage {
    /// The end of its name.
    pub(super) suffix: &'static str,
    pub(super) op: Op,
    /// As the operator stores it.
    pub(super) weight: Tensor,
}

/// The operator that applies a matrix to the channels.
fn pointwise(op: &Op) -> Op {
    match op {
        Op::Conv { window, .. } => {
            let axes = window.kernel.len();
            let window = Window {
                kernel: vec![1; axes],
                strides: vec![1; axes],
                dilations: vec![1; axes],
                pads_begin: vec![0; axes],
                pads_end: vec![0; axes],
                ceil: false,
            };
            Op::Conv { window, groups: 1 }
        }
        _ => bare(op),
    }
}

/// The operator itself, without what belongs to the last stage. Zero padding may stay with the core alone, because the
/// stage before it has no bias: it maps zeros to zeros.
fn bare(op: &Op) -> Op {
    match op {
        Op::Gemm { .. } => Op::Gemm { alpha: 1.0, beta: 1.0, trans_b: true },
        _ => op.clone(),
    }
}

/// A matrix (out, in) as the pointwise operator stores it.
fn matrix_for(op: &Op, matrix: &Tensor) -> Result<Tensor, TchError> {
    match op {
        Op::Conv { window, .. } => {
            let mut shape = matrix.size();
            shape.extend(vec![1; window.kernel.len()]);
            matrix.f_reshape(&shape)
        }
        _ => core_for(op, matrix),
    }
}

fn core_for(op: &Op, core: &Tensor) -> Result<Tensor, TchError> {
    if *op == Op::MatMul { core.f_tr() } else { Ok(core.shallow_clone()) }
}
