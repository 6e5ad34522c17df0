//! Resizing along one axis: which elements of the input make one of the output, and with which weights.
//!
//! <https://onnx.ai/onnx/operators/onnx__Resize.html>

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

impl Stretch {
    fn scale(&self, input: usize) -> f64 {
        self.scale.map_or(self.extent as f64 / input as f64, f64::from)
    }
}

/// The input's elements that make each of the output's, with their weights; for an input of `input` elements, at least one.
pub fn rows(resizing: &Resizing, stretch: &Stretch, input: usize) -> Vec<Vec<(usize, f64)>> {
    (0..stretch.extent).map(|place| row(resizing, stretch, input, place)).collect()
}

fn row(resizing: &Resizing, stretch: &Stretch, input: usize, place: usize) -> Vec<(usize, f64)> {
    let scale = stretch.scale(input);
    let at = coordinate(resizing.coordinates, (place as f64, scale), input as f64, stretch.extent as f64);
    let within = |index: f64| index.clamp(0.0, input as f64 - 1.0) as usize;
    let (radius, kernel): (f64, &dyn Fn(f64) -> f64) = match resizing.interpolation {
        Interpolation::Nearest(rounding) => return vec![(within(nearest(rounding, at)), 1.0)],
        Interpolation::Linear => (1.0, &|x: f64| (1.0 - x.abs()).max(0.0)),
        Interpolation::Cubic { a } => (2.0, &move |x| cubic(f64::from(a), x.abs())),
    };
    // Squeezed for a smaller output, so that every element of the input has a part in it.
    let squeeze = if resizing.antialias { scale.min(1.0) } else { 1.0 };
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

fn coordinate(coordinates: Coordinates, (place, scale): (f64, f64), input: f64, extent: f64) -> f64 {
    let half = (place + 0.5) / scale - 0.5;
    // Not rounded, where the scale was given.
    let output = scale * input;
    match coordinates {
        Coordinates::HalfPixel => half,
        Coordinates::HalfPixelSymmetric => input / 2.0 * (1.0 - extent / output) + half,
        Coordinates::PytorchHalfPixel if extent == 1.0 => -0.5,
        Coordinates::PytorchHalfPixel => half,
        Coordinates::AlignCorners if extent == 1.0 => 0.0,
        Coordinates::AlignCorners => place * (input - 1.0) / (output - 1.0),
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
