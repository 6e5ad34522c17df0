//! Checked facts about an uploaded teacher and its layers.

use serde::{Deserialize, Serialize};

/// The input of a model as a client sees it; `null` in `shape` is the free batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct InputFacts {
    pub name: String,
    pub shape: Vec<Option<usize>>,
    pub dtype: String,
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
