//! Resizing along one axis: which elements of the input make one of the output, and with which weights.
//!
//! <https://onnx.ai/onnx/operators/onnx__Resize.html>

use std::ops::{Add, Div, Mul, Sub};

use serde::Serialize;

/// From the place of an output element to a coordinate of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    PreferFloor,
    PreferCeil,
    Floor,
    Ceil,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    Nearest(Rounding),
    Linear,
    /// Keys' kernel with the coefficient a.
    Cubic {
        a: f32,
    },
}

/// How all axes of one operator are resized.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Resizing {
    pub interpolation: Interpolation,
    pub coordinates: Coordinates,
    /// Elements outside the input weigh nothing, instead of being the outermost one.
    pub exclude_outside: bool,
    /// Where the output is smaller, the kernel is as wide as the step.
    pub antialias: bool,
}

/// One axis: its new extent, and the scale where that, and not the extents' quotient, was given.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Stretch {
    pub axis: usize,
    pub extent: usize,
    pub scale: Option<f32>,
}

/// What coordinates are computed with.
trait Number:
    Copy + PartialEq + From<f32> + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    fn of(extent: usize) -> Self;
}

impl Number for f32 {
    fn of(extent: usize) -> Self {
        extent as Self
    }
}

impl Number for f64 {
    fn of(extent: usize) -> Self {
        extent as Self
    }
}

impl Stretch {
    fn scale<F: Number>(&self, input: usize) -> F {
        self.scale.map_or_else(|| F::of(self.extent) / F::of(input), F::from)
    }
}

/// The input's elements that make each of the output's, with their weights; for an input of `input` elements, at least one.
pub fn rows(resizing: &Resizing, stretch: &Stretch, input: usize) -> Vec<Vec<(usize, f64)>> {
    (0..stretch.extent).map(|place| row(resizing, stretch, input, place)).collect()
}

fn row(resizing: &Resizing, stretch: &Stretch, input: usize, place: usize) -> Vec<(usize, f64)> {
    let within = |index: f64| index.clamp(0.0, input as f64 - 1.0) as usize;
    let (radius, kernel): (f64, &dyn Fn(f64) -> f64) = match resizing.interpolation {
        Interpolation::Nearest(rounding) => {
            // In float32, as runtimes do: which neighbour is taken hangs on the last bit. (For the symmetric mode, onnxruntime
            // mixes float32 and float64, and one place in five hundred may differ.)
            let at: f32 = coordinate(resizing.coordinates, stretch, input, place);
            return vec![(within(nearest(rounding, at.into())), 1.0)];
        }
        Interpolation::Linear => (1.0, &|x: f64| (1.0 - x.abs()).max(0.0)),
        Interpolation::Cubic { a } => (2.0, &move |x| cubic(f64::from(a), x.abs())),
    };
    let at: f64 = coordinate(resizing.coordinates, stretch, input, place);
    // Squeezed for a smaller output, so that every element of the input has a part in it.
    let squeeze = if resizing.antialias { stretch.scale::<f64>(input).min(1.0) } else { 1.0 };
    let reach = radius / squeeze;
    let first = (at - reach).floor().max(-reach - 1.0) as i64;
    let last = (at + reach).ceil().min(input as f64 + reach) as i64;
    let outside = |index: i64| index < 0 || index >= input as i64;
    let taps = (first..=last).filter(|index| !(resizing.exclude_outside && outside(*index)));
    let taps: Vec<(usize, f64)> =
        taps.map(|index| (within(index as f64), kernel(squeeze * (index as f64 - at)))).collect();
    let total: f64 = taps.iter().map(|(_, weight)| weight).sum();
    let total = if (resizing.antialias || resizing.exclude_outside) && total != 0.0 { total } else { 1.0 };
    taps.into_iter().filter(|(_, weight)| *weight != 0.0).map(|(index, weight)| (index, weight / total)).collect()
}

/// Where the element `place` of the output lies on the axis of the input.
fn coordinate<F: Number>(coordinates: Coordinates, stretch: &Stretch, input: usize, place: usize) -> F {
    let scale: F = stretch.scale(input);
    let [zero, half, one, two] = [0.0, 0.5, 1.0, 2.0].map(F::from);
    let (place, input, extent) = (F::of(place), F::of(input), F::of(stretch.extent));
    let centre = (place + half) / scale - half;
    match coordinates {
        Coordinates::HalfPixel => centre,
        // The length by which the halves differ is not rounded, where the scale was given.
        Coordinates::HalfPixelSymmetric => input / two * (one - extent / (scale * input)) + centre,
        Coordinates::PytorchHalfPixel if extent == one => zero - half,
        Coordinates::PytorchHalfPixel => centre,
        Coordinates::AlignCorners if extent == one => zero,
        // By the whole lengths, as runtimes do also where a scale was given.
        Coordinates::AlignCorners => place * (input - one) / (extent - one),
        Coordinates::Asymmetric => place / scale,
    }
}

fn nearest(rounding: Rounding, at: f64) -> f64 {
    match rounding {
        Rounding::PreferFloor => (at - 0.5).ceil(),
        Rounding::PreferCeil => (at + 0.5).floor(),
        Rounding::Floor => at.floor(),
        Rounding::Ceil => at.ceil(),
    }
}

/// Keys, "Cubic convolution interpolation for digital image processing", IEEE Trans. ASSP 29 (1981); `x` is not negative.
fn cubic(a: f64, x: f64) -> f64 {
    match x {
        x if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        x if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
        _ => 0.0,
    }
}

/// One axis of a dense row-major array resized by `rows`.
pub fn along(values: &[f32], shape: &[usize], axis: usize, rows: &[Vec<(usize, f64)>]) -> Vec<f32> {
    let (outer, inner): (usize, usize) = (shape[..axis].iter().product(), shape[axis + 1..].iter().product());
    let mut resized = Vec::with_capacity(outer * rows.len() * inner);
    for block in 0..outer {
        for row in rows {
            let at = |index: usize, offset: usize| f64::from(values[(block * shape[axis] + index) * inner + offset]);
            resized.extend(
                (0..inner)
                    .map(|offset| row.iter().map(|(index, weight)| at(*index, offset) * weight).sum::<f64>() as f32),
            );
        }
    }
    resized
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nearest_of(stretch: Stretch, input: usize) -> Vec<usize> {
        let resizing = Resizing {
            interpolation: Interpolation::Nearest(Rounding::Floor),
            coordinates: Coordinates::Asymmetric,
            exclude_outside: false,
            antialias: false,
        };
        rows(&resizing, &stretch, input).into_iter().map(|row| row[0].0).collect()
    }

    /// In float64, both scales would give one element less at these places.
    #[test]
    fn neighbours_are_those_of_float32() {
        let by_scale = nearest_of(Stretch { axis: 0, extent: 37, scale: Some(4.0 / 3.0) }, 28);
        assert_eq!((by_scale[4], by_scale[8], by_scale[36]), (3, 6, 27));
        let by_sizes = nearest_of(Stretch { axis: 0, extent: 18, scale: None }, 14);
        assert_eq!((by_sizes[9], by_sizes[17]), (7, 13));
    }
}
