//! Layers with PyTorch's default initialisation, which the reference hyper-parameters assume and tch's own differs from.

use tch::nn::{self, Init, Path};

/// U(-1/√fan_in, 1/√fan_in), for weight and bias alike.
fn uniform(fan_in: i64) -> Init {
    let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
    Init::Uniform { lo: -bound, up: bound }
}

pub(super) fn linear(path: Path, inputs: i64, outputs: i64) -> nn::Linear {
    let init = uniform(inputs);
    nn::linear(path, inputs, outputs, nn::LinearConfig { ws_init: init, bs_init: Some(init), bias: true })
}

/// A 3x3 convolution that keeps the extent, from `channels.0` to `channels.1`.
pub(super) fn conv(path: Path, channels: (i64, i64)) -> Conv {
    let init = uniform(channels.0 * 9);
    Conv {
        weight: path.var("weight", &[channels.1, channels.0, 3, 3], init),
        bias: path.var("bias", &[channels.1], init),
    }
}

#[derive(Debug)]
pub(super) struct Conv {
    weight: tch::Tensor,
    bias: tch::Tensor,
}

impl Conv {
    /// `x` (N, in, h, w) to (N, out, h, w).
    pub(super) fn forward(&self, x: &tch::Tensor) -> Result<tch::Tensor, tch::TchError> {
        x.f_conv2d(&self.weight, Some(&self.bias), 1, 1, 1, 1)
    }
}

/// A transposed convolution (kernel `kernel`, equal stride and padding on both axes).
pub(super) fn deconv(path: Path, channels: (i64, i64), kernel: [i64; 2], stride: i64, padding: i64) -> Deconv {
    // PyTorch computes the fan of a transposed convolution from its second axis: outputs x kernel.
    let init = uniform(channels.1 * kernel[0] * kernel[1]);
    Deconv {
        weight: path.var("weight", &[channels.0, channels.1, kernel[0], kernel[1]], init),
        bias: path.var("bias", &[channels.1], init),
        stride,
        padding,
    }
}

#[derive(Debug)]
pub(super) struct Deconv {
    weight: tch::Tensor,
    bias: tch::Tensor,
    stride: i64,
    padding: i64,
}

impl Deconv {
    /// `x` (N, in, h, w) to (N, out, …).
    pub(super) fn forward(&self, x: &tch::Tensor) -> Result<tch::Tensor, tch::TchError> {
        let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
        x.f_conv_transpose2d(&self.weight, Some(&self.bias), stride, padding, [0, 0], 1, [1, 1])
    }
}

/// Batch normalisation over axis 1; `affine` adds scale and shift.
#[derive(Debug)]
pub(super) struct Norm {
    affine: Option<(tch::Tensor, tch::Tensor)>,
    mean: tch::Tensor,
    variance: tch::Tensor,
}

impl Norm {
    pub(super) fn new(path: Path, channels: i64, affine: bool) -> Self {
        Self {
            affine: affine.then(|| (path.ones("weight", &[channels]), path.zeros("bias", &[channels]))),
            mean: path.zeros_no_train("running_mean", &[channels]),
            variance: path.ones_no_train("running_var", &[channels]),
        }
    }

    /// Batch statistics in training, running ones else.
    pub(super) fn forward(&self, x: &tch::Tensor, train: bool) -> Result<tch::Tensor, tch::TchError> {
        let (scale, shift) = match &self.affine {
            Some((scale, shift)) => (Some(scale), Some(shift)),
            None => (None, None),
        };
        x.f_batch_norm(scale, shift, Some(&self.mean), Some(&self.variance), train, 0.1, 1e-5, true)
    }
}
