//! Where images have their channels.

use serde::{Deserialize, Serialize};

/// The order of the axes in which a model takes images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// (N, C, H, W), as in PyTorch; what is no image counts as this.
    #[default]
    ChannelsFirst,
    /// (N, H, W, C), as in Keras and TensorFlow.
    ChannelsLast,
}

impl Layout {
    pub fn is_channels_first(&self) -> bool {
        *self == Self::ChannelsFirst
    }

    pub fn other(self) -> Self {
        match self {
            Self::ChannelsFirst => Self::ChannelsLast,
            Self::ChannelsLast => Self::ChannelsFirst,
        }
    }

    /// One input as the model takes it, from (C, H, W); what is no image stays as it is.
    pub fn outside<T: Copy>(self, inside: &[T]) -> Vec<T> {
        match (self, inside) {
            (Self::ChannelsLast, &[channels, height, width]) => vec![height, width, channels],
            _ => inside.to_vec(),
        }
    }

    /// One input as (C, H, W), from how the model takes it; what is no image stays as it is.
    pub fn inside<T: Copy>(self, outside: &[T]) -> Vec<T> {
        match (self, outside) {
            (Self::ChannelsLast, &[height, width, channels]) => vec![channels, height, width],
            _ => outside.to_vec(),
        }
    }
}
