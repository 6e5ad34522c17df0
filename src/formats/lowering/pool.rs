//! Windows of pooling whose last step is partial.

use crate::formats::{dim::Dim, graph::Window};

/// What a window's whole steps along one axis leave behind them.
struct Rest {
    /// Elements, padding included.
    elements: usize,
    stride: usize,
    /// Whether a last, partial step takes them: one that would begin behind the input does not count.
    counts: bool,
}

/// None where the extent is not known, or the window does not fit.
fn rest(window: &Window, x: &[Dim], axis: usize) -> Option<Rest> {
    let reach = (window.kernel[axis] - 1) * window.dilations[axis] + 1;
    let before = x[axis + 2].extent()? + window.pads_begin[axis];
    let room = (before + window.pads_end[axis]).checked_sub(reach)?;
    let stride = window.strides[axis];
    Some(Rest { elements: room % stride, stride, counts: (room / stride + 1) * stride < before })
}

/// Makes the last, partial step of `ceil_mode` an ordinary one by padding behind, where padding has no part in the result:
/// runtimes disagree about `ceil_mode`, and agree about padding.
pub fn pad_last_step(window: &mut Window, x: &[Dim]) {
    for axis in 0..window.kernel.len() {
        let Some(Rest { elements, stride, counts }) = rest(window, x, axis) else { return };
        if elements > 0 && counts {
            window.pads_end[axis] += stride - elements;
        }
    }
    window.ceil = false;
}

/// Rounding up as padding that is not counted, where that says the same: in what they count of a last, partial window, runtimes
/// differ otherwise. Returns whether padding is counted then.
pub fn pad_average(window: &mut Window, count_include_pad: bool, x: &[Dim]) -> bool {
    let is_padded = window.pads_begin.iter().chain(&window.pads_end).any(|pad| *pad > 0);
    let is_counted = count_include_pad && (is_padded || !window.ceil);
    settle_last_step(window, is_counted, x);
    is_counted
}

/// Makes of a last, partial step of an average what every runtime takes alike.
pub fn settle_last_step(window: &mut Window, is_counted: bool, x: &[Dim]) {
    match (window.ceil, is_counted) {
        (true, true) => cut_unreached_padding(window, x),
        (true, false) => pad_last_step(window, x),
        (false, _) => {}
    }
}

/// Takes away the padding behind that only a last, partial step would reach which does not count, because it would begin there.
/// Whoever pads by itself, and then lets a window without padding slide, would count that step.
fn cut_unreached_padding(window: &mut Window, x: &[Dim]) {
    for axis in 0..window.kernel.len() {
        let Some(Rest { elements, counts, .. }) = rest(window, x, axis) else { return };
        if !counts {
            window.pads_end[axis] = window.pads_end[axis].saturating_sub(elements);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::{graph::Op, shapes};

    fn window(pads_begin: usize, pads_end: usize) -> Window {
        Window {
            kernel: vec![3],
            strides: vec![2],
            dilations: vec![1],
            pads_begin: vec![pads_begin],
            pads_end: vec![pads_end],
            ceil: true,
        }
    }

    fn steps(window: &Window, extent: usize) -> usize {
        let x = [Dim::N, Dim::ONE, Dim::fixed(extent as i64)];
        let op = Op::AveragePool { window: window.clone(), count_include_pad: true };
        shapes::outputs(&op, &[Some(&x)]).unwrap()[0][2].extent().unwrap()
    }

    /// The same steps are taken whether the padding is the window's own or was put around the input before.
    #[test]
    fn padding_may_be_put_around_the_input() {
        for (begin, end, extent) in (0..4).flat_map(|b| (0..4).flat_map(move |e| (3..9).map(move |x| (b, e, x)))) {
            let x = [Dim::N, Dim::ONE, Dim::fixed(extent as i64)];
            let (given, mut cut) = (window(begin, end), window(begin, end));
            pad_average(&mut cut, true, &x);
            let around = extent + cut.pads_begin[0] + cut.pads_end[0];
            let bare = Window { ceil: cut.ceil, ..window(0, 0) };
            let wanted = steps(&given, extent);
            assert_eq!((steps(&cut, extent), steps(&bare, around)), (wanted, wanted), "{begin} {extent} {end}");
        }
    }
}
