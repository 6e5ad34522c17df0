//! The generators of KegNet, for images and for feature vectors of any size: (y, z) -> x.

use tch::{TchError, Tensor, nn};

use super::{
    layers::{Deconv, Norm, deconv, linear},
    pixels::{Pixels, each_image},
    smooth::{self, SmoothGenerator},
};
use crate::domain::config::Form;

/// What a generator makes, and from what.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Classes of the one-hot label y.
    pub classes: i64,
    /// Dimensions of z.
    pub latent: i64,
    /// One input of the teacher, without the batch.
    pub output: Vec<i64>,
    /// What the smooth form's images are made of.
    pub pixels: Pixels,
}

impl Shape {
    /// Values of one input.
    pub fn elements(&self) -> i64 {
        self.output.iter().product::<i64>().max(1)
    }

    /// Values that a layer of the widest generator reads and makes for one input, about.
    pub fn widest(&self) -> i64 {
        let planes = match self.output[..] {
            [_, height, width] => 2 * smooth::CHANNELS * height * width,
            _ => 0,
        };
        planes.max(2 * self.elements())
    }
}

/// A generator that fits the teacher's input.
#[derive(Debug)]
pub enum Generator {
    Image(ImageGenerator),
    Smooth(SmoothGenerator),
    Vector(VectorGenerator),
}

impl Generator {
    /// Images for an output (C, H, W), feature vectors for everything else: also for one pixel, whose deviation within its image
    /// and channel, to which images are brought, is none.
    pub fn new(path: &nn::Path, shape: &Shape, form: Form) -> Self {
        match (&shape.output[..], form) {
            (&[_, 1, 1], _) => Self::Vector(VectorGenerator::new(path, shape)),
            (&[channels, height, width], Form::Reference) => {
                Self::Image(ImageGenerator::new(path, shape, [channels, height, width]))
            }
            (&[channels, height, width], Form::Smooth) => {
                Self::Smooth(SmoothGenerator::new(path, shape, [channels, height, width]))
            }
            _ => Self::Vector(VectorGenerator::new(path, shape)),
        }
    }

    /// `labels` (N, classes) and `z` (N, latent) to inputs (N, …) of the teacher.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn forward(&self, labels: &Tensor, z: &Tensor, train: bool) -> Result<Tensor, TchError> {
        let joined = Tensor::f_cat(&[z, labels], 1)?;
        match self {
            Self::Image(generator) => generator.forward(&joined, train),
            Self::Smooth(generator) => generator.forward(&joined, train),
            Self::Vector(generator) => generator.forward(&joined, train),
        }
    }
}

/// Fully connected 256 and 128, then transposed convolutions that double the extent, tanh, and each image
/// and channel brought to zero mean and unit variance.
#[derive(Debug)]
pub struct ImageGenerator {
    stem: Vec<(nn::Linear, Norm)>,
    /// Each with the norm that follows it; the last has none.
    deconvs: Vec<(Deconv, Option<Norm>)>,
    extent: [i64; 2],
}

/// Channels between the doublings, from the smallest image to the full one (the reference's at 32 x 32).
const CHANNELS: [i64; 3] = [64, 16, 4];

impl ImageGenerator {
    fn new(path: &nn::Path, shape: &Shape, image: [i64; 3]) -> Self {
        let [channels, height, width] = image;
        let stem = [(shape.latent + shape.classes, 256), (256, 128)]
            .into_iter()
            .enumerate()
            .map(|(index, (inputs, outputs))| {
                let path = path / format!("stem{index}");
                (linear(&path / "linear", inputs, outputs), Norm::new(&path / "norm", outputs, true))
            })
            .collect();
        let doublings = doublings(height.min(width));
        let widths = widths(doublings);
        let start = [height, width].map(|extent| (extent as u64).div_ceil(1 << doublings) as i64);
        let mut deconvs = Vec::new();
        for index in 0..=doublings {
            let path = path / format!("deconv{index}");
            let inputs = if index == 0 { 128 } else { widths[index - 1] };
            let outputs = if index == doublings { channels } else { widths[index] };
            // From 1 x 1 to the starting extent in one step, then 4 x 4 with stride 2: exact doublings.
            let (kernel, stride, padding) = if index == 0 { (start, 2, 0) } else { ([4, 4], 2, 1) };
            let layer = deconv(path.clone() / "conv", (inputs, outputs), kernel, stride, padding);
            let norm = (index < doublings).then(|| Norm::new(path / "norm", outputs, true));
            deconvs.push((layer, norm));
        }
        Self { stem, deconvs, extent: [height, width] }
    }

    fn forward(&self, joined: &Tensor, train: bool) -> Result<Tensor, TchError> {
        let mut x = joined.shallow_clone();
        for (layer, norm) in &self.stem {
            x = norm.forward(&x.f_linear(&layer.ws, layer.bs.as_ref())?, train)?.f_relu()?;
        }
        x = x.f_unsqueeze(-1)?.f_unsqueeze(-1)?;
        for (layer, norm) in &self.deconvs {
            x = layer.forward(&x)?;
            if let Some(norm) = norm {
                x = norm.forward(&x, train)?.f_relu()?;
            }
        }
        let [height, width] = self.extent;
        each_image(&crop(&crop(&x, 2, height)?, 3, width)?.f_tanh()?, 1e-8)
    }
}

/// How often the starting extent, about 4, is doubled.
fn doublings(extent: i64) -> usize {
    (extent as f64 / 4.0).log2().round().max(0.0) as usize
}

/// Channels after each step but the last: the reference's three at 32 x 32, spread out geometrically for larger images.
fn widths(doublings: usize) -> Vec<i64> {
    if doublings <= CHANNELS.len() {
        return CHANNELS[..doublings].to_vec();
    }
    (0..doublings)
        .map(|index| {
            let position = index as f64 / (doublings - 1) as f64;
            (64.0 * (4.0_f64 / 64.0).powf(position)).round() as i64
        })
        .collect()
}

fn crop(x: &Tensor, axis: i64, extent: i64) -> Result<Tensor, TchError> {
    let excess = x.size()[axis as usize] - extent;
    if excess == 0 { Ok(x.shallow_clone()) } else { x.f_narrow(axis, excess / 2, extent) }
}

/// Two hidden layers of 120 units with ELU and batch norm, and a non-affine batch norm on the output.
#[derive(Debug)]
pub struct VectorGenerator {
    hidden: Vec<(nn::Linear, Norm)>,
    output: nn::Linear,
    norm: Norm,
    shape: Vec<i64>,
}

impl VectorGenerator {
    fn new(path: &nn::Path, shape: &Shape) -> Self {
        const UNITS: i64 = 120;
        let features = shape.elements();
        let hidden = [shape.latent + shape.classes, UNITS]
            .into_iter()
            .enumerate()
            .map(|(index, inputs)| {
                let path = path / format!("hidden{index}");
                (linear(&path / "linear", inputs, UNITS), Norm::new(&path / "norm", UNITS, true))
            })
            .collect();
        let output = linear(path / "output", UNITS, features);
        let norm = Norm::new(path / "output_norm", features, false);
        let shape = std::iter::once(-1).chain(shape.output.iter().copied()).collect();
        Self { hidden, output, norm, shape }
    }

    fn forward(&self, joined: &Tensor, train: bool) -> Result<Tensor, TchError> {
        let mut x = joined.shallow_clone();
        for (layer, norm) in &self.hidden {
            x = norm.forward(&x.f_linear(&layer.ws, layer.bs.as_ref())?.f_elu()?, train)?;
        }
        let x = x.f_linear(&self.output.ws, self.output.bs.as_ref())?;
        self.norm.forward(&x, train)?.f_view(self.shape.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn every_extent_is_hit_exactly() {
        for output in
            [vec![1, 32, 32], vec![3, 28, 28], vec![3, 7, 9], vec![1, 100, 61], vec![2, 1, 1], vec![16], vec![4, 50]]
        {
            for form in [Form::Reference, Form::Smooth] {
                let store = nn::VarStore::new(Device::Cpu);
                let pixels = Pixels::declared(&vec![0.3; output[0] as usize], &vec![0.2; output[0] as usize]);
                let shape = Shape { classes: 5, latent: 3, output: output.clone(), pixels };
                let generator = Generator::new(&store.root(), &shape, form);
                let (y, z) =
                    (Tensor::eye(5, (Kind::Float, Device::Cpu)), Tensor::zeros([5, 3], (Kind::Float, Device::Cpu)));
                let x = generator.forward(&y, &z, true).unwrap();
                assert_eq!(x.size()[1..], output[..]);
                assert!(bool::try_from(x.isfinite().all()).unwrap());
                assert!(
                    (x.get(0) - x.get(1)).abs().max().double_value(&[]) > 1e-3,
                    "{output:?}: one input for all classes"
                );
            }
        }
    }

    #[test]
    fn the_reference_image_generator_has_its_layers() {
        let store = nn::VarStore::new(Device::Cpu);
        let shape = Shape { classes: 10, latent: 10, output: vec![1, 32, 32], pixels: Pixels::Standardised };
        Generator::new(&store.root(), &shape, Form::Reference);
        let mut kernels: Vec<Vec<i64>> = store
            .variables()
            .into_iter()
            .filter(|(name, _)| name.ends_with("conv|weight") || name.ends_with("conv.weight"))
            .map(|(_, w)| w.size())
            .collect();
        kernels.sort();
        assert_eq!(kernels, [vec![4, 1, 4, 4], vec![16, 4, 4, 4], vec![64, 16, 4, 4], vec![128, 64, 4, 4]]);
    }
}
