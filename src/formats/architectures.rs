//! Architectures that are known by name, as graphs whose weights are called as in a PyTorch state dict.

mod blueprint;
mod builder;
mod lenet5;
mod mlp;
mod mobilenet_v2;
mod residual;
mod resnet18;

use std::collections::BTreeMap;

pub use self::blueprint::Blueprint;
use self::builder::Builder;
use crate::domain::{architecture::Architecture, problem::Problem};

/// Shapes of tensors by name.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// What an architecture leaves open.
#[derive(Clone, Copy, Debug)]
pub struct Sizes<'a> {
    /// Of one input, without the batch.
    pub input: &'a [usize],
    pub classes: usize,
    /// Widths of layers are those of the weights that are here; of the others, those that the architecture was made with.
    pub found: &'a Shapes,
}

/// The network, without values of its weights.
///
/// # Errors
/// `invalid_config` where it does not take such an input, or no network of it has such widths.
pub fn blueprint(architecture: Architecture, sizes: Sizes<'_>) -> Result<Blueprint, Problem> {
    let (mut builder, x) = Builder::new(architecture, sizes)?;
    let classes = sizes.classes;
    let logits = match architecture {
        Architecture::Lenet5 => lenet5::build(&mut builder, x, classes)?,
        Architecture::Resnet14 => residual::build(&mut builder, x, 2, classes)?,
        Architecture::Resnet20 => residual::build(&mut builder, x, 3, classes)?,
        Architecture::Resnet32 => residual::build(&mut builder, x, 5, classes)?,
        Architecture::Resnet56 => residual::build(&mut builder, x, 9, classes)?,
        Architecture::Mlp => mlp::build(&mut builder, x, classes)?,
        Architecture::Resnet18 => resnet18::build(&mut builder, x, classes)?,
        Architecture::MobilenetV2 => mobilenet_v2::build(&mut builder, x, classes)?,
    };
    Ok(builder.finish(logits))
}

/// The weight that meets the input: its second axis is the channels or features.
fn first_weight(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Mlp => "0.weight",
        Architecture::MobilenetV2 => "features.0.0.weight",
        _ => "conv1.weight",
    }
}

/// The input that weights of these shapes take: the architecture's own, with the channels or features of the weights.
pub fn input_of(architecture: Architecture, found: &Shapes) -> Vec<usize> {
    let mut input = architecture.input().to_vec();
    if let Some(channels) = channels_of(architecture, found) {
        input[0] = channels;
    }
    input
}

/// Channels or features that weights of these shapes take, where they tell.
pub fn channels_of(architecture: Architecture, found: &Shapes) -> Option<usize> {
    found.get(first_weight(architecture))?.get(1).copied().filter(|channels| *channels > 0)
}

#[cfg(test)]
mod tests;
