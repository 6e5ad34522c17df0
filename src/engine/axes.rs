//! Images of models that take them with their channels last: turned where they come in and where they go out. Between the two
//! every tensor of images is (N, C, H, W).

use tch::{TchError, Tensor};

use crate::domain::layout::Layout;

/// Inputs as the graph takes them, from how the model does.
///
/// # Errors
/// What libtorch reports.
pub fn inside(x: &Tensor, layout: Layout) -> Result<Tensor, TchError> {
    turned(x, layout, [0, 3, 1, 2])
}

/// Inputs as the model takes them, from how its graph does.
///
/// # Errors
/// What libtorch reports.
pub fn outside(x: &Tensor, layout: Layout) -> Result<Tensor, TchError> {
    turned(x, layout, [0, 2, 3, 1])
}

fn turned(x: &Tensor, layout: Layout, axes: [i64; 4]) -> Result<Tensor, TchError> {
    match layout {
        Layout::ChannelsLast if x.dim() == axes.len() => x.f_permute(axes),
        _ => Ok(x.shallow_clone()),
    }
}
