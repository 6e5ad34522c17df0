//! What to draw of a generator's latent space.

use serde::{Deserialize, Serialize};

use super::{
    config::{Form, InputConfig},
    layout::Layout,
};

/// How the latent vector z changes along a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LatentMode {
    /// Every image has its own z.
    #[default]
    Vary,
    /// Each row moves from one z to another.
    Interpolate,
}

/// What to draw, from which generator. File names are plain: the files lie beside the request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatentRequest {
    pub generator: String,
    pub form: Form,
    /// As the job declared it.
    pub input: InputConfig,
    pub classes: usize,
    pub latent_dim: usize,
    /// One input of the teacher, without the batch, of images (C, H, W).
    pub shape: Vec<usize>,
    /// How the teacher takes images, and the file of the answer has them.
    pub layout: Layout,
    /// One class for every row; without it each row has the next class.
    pub class: Option<usize>,
    pub mode: LatentMode,
    pub rows: usize,
    pub seed: u64,
}
