//! A generator of smooth images, for the game against the student: bilinear doublings with convolutions between them.
//!
//! Transposed convolutions, as the reference has them, leave checkerboards. They fool a teacher just as well, but a student
//! that learns what the teacher says of checkerboards forgets what it says of strokes and surfaces.

use tch::{TchError, Tensor, nn};

use super::{
    generator::Shape,
    layers::{Conv, Norm, conv, linear},
    pixels::Pixels,
};

/// Channels on the way, and before the last convolution.
pub(super) const CHANNELS: i64 = 32;
const LAST_CHANNELS: i64 = 16;

/// The largest extent that the first layer draws at once.
const START: i64 = 8;

/// Fully connected to a small image, then doublings, each with a 3x3 convolution, batch norm and leaky ReLU; a batch norm
/// without scale and shift, so that images keep their own brightness and contrast (as the generators of Chen et al.,
/// "Data-Free Learning of Student Networks", ICCV 2019); and the pixels that the teacher's normalisation speaks of.
#[derive(Debug)]
pub struct SmoothGenerator {
    stem: nn::Linear,
    stem_norm: Norm,
    steps: Vec<(Conv, Norm)>,
    last: Conv,
    output_norm: Norm,
    pixels: Pixels,
    /// (height, width) from the smallest to the full one: one more than there are steps.
    extents: Vec<[i64; 2]>,
}

impl SmoothGenerator {
    pub(super) fn new(path: &nn::Path, shape: &Shape, [channels, height, width]: [i64; 3]) -> Self {
        let extents = extents([height, width]);
        let [first_height, first_width] = extents[0];
        let doublings = extents.len() - 1;
        let inputs = shape.latent + shape.classes;
        let steps = (0..doublings)
            .map(|index| {
                let path = path / format!("step{index}");
                let outputs = if index + 1 == doublings { LAST_CHANNELS } else { CHANNELS };
                (conv(&path / "conv", (CHANNELS, outputs)), Norm::new(&path / "norm", outputs, true))
            })
            .collect();
        Self {
            stem: linear(path / "stem", inputs, CHANNELS * first_height * first_width),
            stem_norm: Norm::new(path / "stem_norm", CHANNELS, true),
            steps,
            last: conv(path / "last", (if doublings == 0 { CHANNELS } else { LAST_CHANNELS }, channels)),
            output_norm: Norm::new(path / "output_norm", channels, false),
            pixels: shape.pixels.clone(),
            extents,
        }
    }

    /// `joined` (N, latent + classes) to images (N, channels, height, width).
    pub(super) fn forward(&self, joined: &Tensor, train: bool) -> Result<Tensor, TchError> {
        let [height, width] = self.extents[0];
        let x = joined.f_linear(&self.stem.ws, self.stem.bs.as_ref())?.f_view([-1, CHANNELS, height, width])?;
        let mut x = self.stem_norm.forward(&x, train)?;
        for ((conv, norm), extent) in self.steps.iter().zip(&self.extents[1..]) {
            x = conv.forward(&x.f_upsample_bilinear2d(extent, false, None, None)?)?;
            x = leaky_relu(&norm.forward(&x, train)?)?;
        }
        self.pixels.of(&self.output_norm.forward(&self.last.forward(&x)?, train)?)
    }
}

/// Slope 0.2 below zero; libtorch's own function fixes it at 0.01.
fn leaky_relu(x: &Tensor) -> Result<Tensor, TchError> {
    x.f_maximum(&x.f_mul_scalar(0.2)?)
}

/// The full extent, halved until the shorter side is small enough.
fn extents(full: [i64; 2]) -> Vec<[i64; 2]> {
    let mut extents = vec![full];
    while let Some(&[height, width]) = extents.last()
        && height.min(width) > START
    {
        extents.push([height, width].map(|extent| (extent + 1) / 2));
    }
    extents.reverse();
    extents
}

#[cfg(test)]
mod tests {
    use super::extents;

    #[test]
    fn extents_double_up_to_the_full_one() {
        assert_eq!(extents([32, 32]), [[8, 8], [16, 16], [32, 32]]);
        assert_eq!(extents([28, 28]), [[7, 7], [14, 14], [28, 28]]);
        assert_eq!(extents([9, 200]), [[5, 100], [9, 200]]);
        assert_eq!(extents([3, 3]), [[3, 3]]);
    }
}
