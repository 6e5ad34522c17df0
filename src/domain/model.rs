//! Checked facts about an uploaded teacher and its layers.

use serde::{Deserialize, Serialize};

use super::layout::Layout;

/// The input of a model as a client sees it; `null` in `shape` is the free batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct InputFacts {
    pub name: String,
    /// As the file declares it: an evaluation set, generated samples and the student's own inputs are of this shape.
    pub shape: Vec<Option<usize>>,
    pub dtype: String,
    /// Of images: `channels_last` where `shape` is (N, H, W, C). Absent where it is (N, C, H, W).
    #[serde(default, skip_serializing_if = "Layout::is_channels_first")]
    pub layout: Layout,
}

impl InputFacts {
    /// One input without the batch, of images (C, H, W).
    pub fn inside(&self) -> Vec<usize> {
        let declared: Vec<usize> = self.shape.iter().skip(1).copied().flatten().collect();
        self.layout.inside(&declared)
    }
}

/// What the importer found out about a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ModelFacts {
    /// `onnx`, `torchscript`, `pt2` or `safetensors`.
    pub format: String,
    pub bytes: u64,
    pub sha256: String,
    pub parameters: u64,
    /// Multiply-accumulates of one forward pass of one input.
    pub macs: u64,
    pub input: InputFacts,
    pub classes: usize,
    pub has_batch_norm: bool,
    /// The model ends in softmax: it is distilled on its logits.
    #[serde(default)]
    pub ends_in_softmax: bool,
}

/// What the importer found out about a student that was given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StudentFacts {
    /// The format of its file; null where it is built from its name.
    pub format: Option<String>,
    pub parameters: u64,
    /// Multiply-accumulates of one forward pass of one input.
    pub macs: u64,
}

/// What kind of layer a weight belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LayerKind {
    Conv,
    DepthwiseConv,
    GroupedConv,
    ConvTranspose,
    Linear,
    BatchNorm,
    Other,
}

/// One layer that carries parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LayerFacts {
    /// The weight's name without `.weight` where it ends so, as in a PyTorch state dict; the node's name elsewhere.
    pub name: String,
    /// The weight initialiser's name.
    pub weight: String,
    pub kind: LayerKind,
    /// The weight's shape, `[out, in, kh, kw]` for a convolution, `[out, in]` for a linear layer.
    pub shape: Vec<usize>,
    pub parameters: u64,
    pub macs: u64,
}
