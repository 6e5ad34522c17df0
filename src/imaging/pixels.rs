//! From the numbers a teacher takes to colours: one generated input becomes one small picture.

/// A colour, 8 bits for red, green and blue.
pub type Rgb = [u8; 3];

/// The extents of one input, without the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputShape {
    /// Channels first. One and three channels are shown as they are; of other counts, the first channel.
    Image { channels: usize, height: usize, width: usize },
    /// A vector, shown as a strip of coloured fields.
    Features { count: usize },
}

/// Fields of a strip that stand side by side, and the pixels each is high: wide vectors continue below.
const STRIP_WIDTH: usize = 64;
const STRIP_HEIGHT: usize = 4;

impl InputShape {
    /// From a row's extents: (C, H, W), (H, W) or (F); `None` for others, and where one is 0.
    pub fn new(extents: &[usize]) -> Option<Self> {
        if extents.contains(&0) {
            return None;
        }
        match *extents {
            [channels, height, width] => Some(Self::Image { channels, height, width }),
            [height, width] => Some(Self::Image { channels: 1, height, width }),
            [count] => Some(Self::Features { count }),
            _ => None,
        }
    }

    /// Pixels of the picture: (width, height).
    pub fn picture(self) -> (usize, usize) {
        match self {
            Self::Image { height, width, .. } => (width, height),
            Self::Features { count } => (count.min(STRIP_WIDTH), count.div_ceil(STRIP_WIDTH) * STRIP_HEIGHT),
        }
    }
}

/// How an image's values are brought back to 0..1.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    /// x · std + mean, for each channel: the teacher's own normalisation undone.
    Normalisation { mean: Vec<f64>, std: Vec<f64> },
    /// Each image's least value becomes black, its greatest white.
    MinMax,
}

impl Scaling {
    /// Undoes a normalisation that fits the channels; without one, spreads each image over the whole range.
    pub fn new(mean: Option<&[f64]>, std: Option<&[f64]>, channels: usize) -> Self {
        match (mean, std) {
            (Some(mean), Some(std)) if mean.len() == channels && std.len() == channels => {
                Self::Normalisation { mean: mean.to_vec(), std: std.to_vec() }
            }
            _ => Self::MinMax,
        }
    }
}

/// The picture of one input, row by row from the top left. `values` has as many elements as `shape`.
pub fn picture(values: &[f32], shape: InputShape, scaling: &Scaling) -> Vec<Rgb> {
    match shape {
        InputShape::Image { channels, height, width } => image(values, channels, height * width, scaling),
        InputShape::Features { count } => strip(values, count),
    }
}

fn image(values: &[f32], channels: usize, area: usize, scaling: &Scaling) -> Vec<Rgb> {
    let shown = if channels == 3 { values } else { &values[..area] };
    let (low, high) = range(shown);
    let span = (f64::from(high) - f64::from(low)).max(f64::MIN_POSITIVE);
    let level = |channel: usize, pixel: usize| {
        let value = f64::from(values[channel * area + pixel]);
        let unit = match scaling {
            Scaling::Normalisation { mean, std } => value * std[channel] + mean[channel],
            Scaling::MinMax => (value - f64::from(low)) / span,
        };
        byte(unit)
    };
    (0..area)
        .map(
            |pixel| {
                if channels == 3 { [level(0, pixel), level(1, pixel), level(2, pixel)] } else { [level(0, pixel); 3] }
            },
        )
        .collect()
}

/// Negative values blue, positive ones red, zero white, relative to the input's own largest magnitude.
fn strip(values: &[f32], count: usize) -> Vec<Rgb> {
    let (width, height) = InputShape::Features { count }.picture();
    let (low, high) = range(values);
    let magnitude = f64::from(low.abs().max(high.abs())).max(f64::MIN_POSITIVE);
    let field = |index: usize| match values.get(index) {
        None => [255; 3],
        Some(&value) => {
            let fade = byte(1.0 - f64::from(value).abs() / magnitude);
            if value < 0.0 { [fade, fade, 255] } else { [255, fade, fade] }
        }
    };
    (0..height).flat_map(|y| (0..width).map(move |x| (y / STRIP_HEIGHT) * STRIP_WIDTH + x)).map(field).collect()
}

/// Least and greatest finite value; (0, 0) where there is none.
fn range(values: &[f32]) -> (f32, f32) {
    let finite = values.iter().copied().filter(|value| value.is_finite());
    finite
        .fold(None, |range, value| match range {
            None => Some((value, value)),
            Some((low, high)) => Some((value.min(low), value.max(high))),
        })
        .unwrap_or((0.0, 0.0))
}

/// 0..1 to 0..255; what lies outside is cut off, and NaN is black.
fn byte(unit: f64) -> u8 {
    (unit.clamp(0.0, 1.0) * 255.0).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREY: InputShape = InputShape::Image { channels: 1, height: 1, width: 3 };

    #[test]
    fn a_normalisation_is_undone() {
        let scaling = Scaling::new(Some(&[0.5]), Some(&[0.25]), 1);
        assert_eq!(picture(&[-2.0, 0.0, 9.0], GREY, &scaling), [[0; 3], [128; 3], [255; 3]]);
    }

    #[test]
    fn without_one_each_image_spans_black_to_white() {
        assert_eq!(picture(&[3.0, 4.0, 5.0], GREY, &Scaling::new(None, None, 1)), [[0; 3], [128; 3], [255; 3]]);
    }

    #[test]
    fn a_normalisation_of_other_channels_is_not_used() {
        assert_eq!(Scaling::new(Some(&[0.5]), Some(&[0.25]), 3), Scaling::MinMax);
    }

    #[test]
    fn three_channels_are_colours_and_two_show_the_first() {
        let scaling = Scaling::Normalisation { mean: vec![0.0; 3], std: vec![1.0; 3] };
        let shape = InputShape::Image { channels: 3, height: 1, width: 1 };
        assert_eq!(picture(&[1.0, 0.0, 0.5], shape, &scaling), [[255, 0, 128]]);
        let shape = InputShape::Image { channels: 2, height: 1, width: 1 };
        assert_eq!(picture(&[1.0, 0.0], shape, &scaling), [[255; 3]]);
    }

    #[test]
    fn flat_and_unusable_images_are_drawn_all_the_same() {
        assert_eq!(picture(&[2.0; 3], GREY, &Scaling::MinMax), [[0; 3]; 3]);
        assert_eq!(picture(&[f32::NAN, f32::INFINITY, 0.0], GREY, &Scaling::MinMax).len(), 3);
    }

    #[test]
    fn features_are_red_above_zero_and_blue_below() {
        let shape = InputShape::new(&[3]).unwrap();
        let strip = picture(&[-2.0, 0.0, 1.0], shape, &Scaling::MinMax);
        assert_eq!(shape.picture(), (3, STRIP_HEIGHT));
        assert_eq!(strip[..3], [[0, 0, 255], [255, 255, 255], [255, 128, 128]]);
        assert_eq!(strip.len(), 3 * STRIP_HEIGHT);
    }

    #[test]
    fn a_wide_vector_continues_below() {
        let shape = InputShape::new(&[100]).unwrap();
        assert_eq!(shape.picture(), (STRIP_WIDTH, 2 * STRIP_HEIGHT));
        assert_eq!(picture(&[1.0; 100], shape, &Scaling::MinMax).len(), STRIP_WIDTH * 2 * STRIP_HEIGHT);
    }
}
