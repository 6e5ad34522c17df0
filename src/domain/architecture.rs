//! Architectures that are known by name: what a file of bare weights may be the weights of, and what a student may be.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A network that is built from its name. Weights are called as in the state dict of its PyTorch module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// Three convolutions and two fully connected layers (the KegNet paper's).
    Lenet5,
    /// Residual networks for small images (He et al., 2016, section 4.2; the KegNet paper's), shortcuts without parameters.
    Resnet14,
    Resnet20,
    Resnet32,
    Resnet56,
    /// Ten hidden layers of 100 units with ELU (the KegNet paper's).
    Mlp,
    /// torchvision's `resnet18`.
    Resnet18,
    /// torchvision's `mobilenet_v2`.
    MobilenetV2,
}

impl Architecture {
    pub const ALL: [Self; 8] = [
        Self::Lenet5,
        Self::Resnet14,
        Self::Resnet20,
        Self::Resnet32,
        Self::Resnet56,
        Self::Mlp,
        Self::Resnet18,
        Self::MobilenetV2,
    ];

    /// As it stands in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lenet5 => "lenet5",
            Self::Resnet14 => "resnet14",
            Self::Resnet20 => "resnet20",
            Self::Resnet32 => "resnet32",
            Self::Resnet56 => "resnet56",
            Self::Mlp => "mlp",
            Self::Resnet18 => "resnet18",
            Self::MobilenetV2 => "mobilenet_v2",
        }
    }

    /// What it is, and whose names its weights have, in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Lenet5 => "LeNet5 with ReLU and max pooling: conv1, conv2, conv3, fc1, fc2.",
            Self::Resnet14 | Self::Resnet20 | Self::Resnet32 | Self::Resnet56 => {
                "Residual network for small images: conv1, bn1, layer1 to layer3 of basic blocks, fc. A shortcut that widens \
                 takes every second pixel and adds channels of zeros before and behind."
            }
            Self::Mlp => "Linear layers with ELU, and dropout while training: an nn.Sequential, 0, 3, 6 and so on.",
            Self::Resnet18 => "torchvision.models.resnet18: conv1, bn1, layer1 to layer4 of basic blocks, fc.",
            Self::MobilenetV2 => {
                "torchvision.models.mobilenet_v2, of any width: features.0 to features.18, classifier.1."
            }
        }
    }

    /// The input that it was made for, without the batch. Its channels or features are those of the weights, where there are
    /// weights.
    pub fn input(self) -> &'static [usize] {
        match self {
            Self::Lenet5 => &[1, 32, 32],
            Self::Resnet14 | Self::Resnet20 | Self::Resnet32 | Self::Resnet56 => &[3, 32, 32],
            Self::Mlp => &[784],
            Self::Resnet18 | Self::MobilenetV2 => &[3, 224, 224],
        }
    }

    /// How many classes it was made for.
    pub fn classes(self) -> usize {
        match self {
            Self::Resnet18 | Self::MobilenetV2 => 1000,
            _ => 10,
        }
    }

    /// All names, for messages.
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_a_configuration() {
        for architecture in Architecture::ALL {
            assert_eq!(serde_json::to_value(architecture).unwrap(), architecture.name());
            assert!(Architecture::names().contains(architecture.name()));
        }
    }
}
