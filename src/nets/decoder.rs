//! The decoder of KegNet: recovers the latent vector that an input was made from.

use tch::{TchError, Tensor, nn};

use super::layers::{Norm, linear};

/// Width of every hidden layer (the reference's).
const UNITS: i64 = 120;

/// An MLP x -> z: hidden layers of 120 units with ELU and batch norm, and a linear output.
#[derive(Debug)]
pub struct Decoder {
    hidden: Vec<(nn::Linear, Norm)>,
    output: nn::Linear,
}

impl Decoder {
    /// `features` elements of one input, and `layers` hidden layers after the first.
    pub fn new(path: &nn::Path, features: i64, latent: i64, layers: u32) -> Self {
        let hidden = (0..=layers)
            .map(|index| {
                let inputs = if index == 0 { features } else { UNITS };
                let path = path / format!("hidden{index}");
                (linear(&path / "linear", inputs, UNITS), Norm::new(&path / "norm", UNITS, true))
            })
            .collect();
        Self { hidden, output: linear(path / "output", UNITS, latent) }
    }

    /// `x` (N, …) to (N, latent), with batch statistics: a decoder is only ever used while it trains.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let mut x = x.f_flatten(1, -1)?;
        for (layer, norm) in &self.hidden {
            x = norm.forward(&x.f_linear(&layer.ws, layer.bs.as_ref())?.f_elu()?, true)?;
        }
        x.f_linear(&self.output.ws, self.output.bs.as_ref())
    }
}
