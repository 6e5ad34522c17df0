//! Windows of pooling whose last step is partial.

use crate::formats::{dim::Dim, graph::Window};

/// Makes the last, partial step of `ceil_mode` an ordinary one by padding behind, where padding has no part in the result:
/// runtimes disagree about `ceil_mode`, and agree about padding.
pub fn pad_last_step(window: &mut Window, x: &[Dim]) {
    for axis in 0..window.kernel.len() {
        let Some(extent) = x[axis + 2].extent() else { return };
        let reach = (window.kernel[axis] - 1) * window.dilations[axis] + 1;
        let before = extent + window.pads_begin[axis];
        let Some(room) = (before + window.pads_end[axis]).checked_sub(reach) else { return };
        let stride = window.strides[axis];
        let missing = room.next_multiple_of(stride) - room;
        // A step that would begin behind the input does not count.
        if missing > 0 && (room / stride + 1) * stride < before {
            window.pads_end[axis] += missing;
        }
    }
    window.ceil = false;
}

/// Rounding up as padding that is not counted, where that says the same: in what they count of a last, partial window, runtimes
/// differ otherwise. Returns whether padding is counted then.
pub fn pad_average(window: &mut Window, count_include_pad: bool, x: &[Dim]) -> bool {
    let is_padded = window.pads_begin.iter().chain(&window.pads_end).any(|pad| *pad > 0);
    let is_counted = count_include_pad && (is_padded || !window.ceil);
    if window.ceil && !is_counted {
        pad_last_step(window, x);
    }
    is_counted
}
