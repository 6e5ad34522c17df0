//! The values that pixels of generated images take: those of an image, as the teacher's normalisation leaves them.
//!
//! Whoever normalises by mean and standard deviation has told how bright and how rich in contrast the images are: pixels lie
//! in 0..1 with just these moments. An image of unbounded, bell-shaped values is none of them, and a student that learns on
//! such images learns the teacher where no input of its users lies.

use tch::{Kind, TchError, Tensor};

/// How standardised values become inputs of the teacher.
#[derive(Clone, Debug, PartialEq)]
pub enum Pixels {
    /// Nothing is declared: they stay as they are.
    Standardised,
    /// As declared for each channel.
    Declared(Vec<Channel>),
}

/// u ~ N(0, 1) becomes the pixel σ(gain · u + shift), and that the input (pixel − mean) / std.
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    gain: f64,
    shift: f64,
    mean: f64,
    std: f64,
}

/// Mean and standard deviation of the pixels of photographs, about those of ImageNet: for a normalisation that can be no
/// statistic of pixels, such as (0.5, 0.5), which maps 0..1 to -1..1.
const PHOTOGRAPHS: (f64, f64) = (0.45, 0.25);

/// The largest share of the variance that black and white alone would have, mean · (1 − mean), that is taken for a statistic.
const MOST_VARIANCE: f64 = 0.9;

impl Pixels {
    /// For channels normalised by `mean` and `std`, in units of pixels from 0 to 1.
    pub fn declared(mean: &[f64], std: &[f64]) -> Self {
        Self::Declared(mean.iter().zip(std).map(|(&mean, &std)| Channel::new(mean, std)).collect())
    }

    /// Inputs (N, C, H, W) from values of zero mean and unit variance.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn of(&self, standardised: &Tensor) -> Result<Tensor, TchError> {
        let Self::Declared(channels) = self else { return Ok(standardised.shallow_clone()) };
        let column = |of: fn(&Channel) -> f64| {
            let values: Vec<f32> = channels.iter().map(|channel| of(channel) as f32).collect();
            Tensor::f_from_slice(&values)?.f_view([1, -1, 1, 1])?.f_to_device(standardised.device())
        };
        let pixels = standardised.f_mul(&column(|channel| channel.gain)?)?.f_add(&column(|channel| channel.shift)?)?;
        pixels.f_sigmoid()?.f_sub(&column(|channel| channel.mean)?)?.f_div(&column(|channel| channel.std)?)
    }
}

impl Channel {
    fn new(mean: f64, std: f64) -> Self {
        let statistic = std * std <= MOST_VARIANCE * mean * (1.0 - mean);
        let (gain, shift) = if statistic { fit(mean, std) } else { fit(PHOTOGRAPHS.0, PHOTOGRAPHS.1) };
        Self { gain, shift, mean, std }
    }
}

/// Gain and shift for which σ(gain · u + shift) has these moments. The mean grows with the shift, and at a fixed mean the
/// deviation grows with the gain, so that two nested bisections find both.
fn fit(mean: f64, std: f64) -> (f64, f64) {
    let gain = bisect(-7.0, 7.0, |log| moments(log.exp(), shift(log.exp(), mean)).1 < std).exp();
    (gain, shift(gain, mean))
}

fn shift(gain: f64, mean: f64) -> f64 {
    let reach = 20.0 + 6.0 * gain;
    bisect(-reach, reach, |shift| moments(gain, shift).0 < mean)
}

/// Mean and standard deviation of σ(gain · u + shift) for u ~ N(0, 1), by the trapezoidal rule.
fn moments(gain: f64, shift: f64) -> (f64, f64) {
    const POINTS: i32 = 120;
    let (mut weights, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for point in -POINTS..=POINTS {
        let u = 5.0 * f64::from(point) / f64::from(POINTS);
        let (weight, pixel) = ((-0.5 * u * u).exp(), 1.0 / (1.0 + (-(gain * u + shift)).exp()));
        weights += weight;
        sum += weight * pixel;
        squares += weight * pixel * pixel;
    }
    let mean = sum / weights;
    (mean, (squares / weights - mean * mean).max(0.0).sqrt())
}

/// Where `below` turns from true to false between `low` and `high`.
fn bisect(mut low: f64, mut high: f64, below: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        if below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// Zero mean and unit variance for each image and channel of `x` (N, C, H, W).
///
/// # Errors
/// What libtorch reports.
pub fn each_image(x: &Tensor, epsilon: f64) -> Result<Tensor, TchError> {
    let mean = x.f_mean_dim([2i64, 3].as_slice(), true, Kind::Float)?;
    let centred = x.f_sub(&mean)?;
    let variance = centred.f_square()?.f_mean_dim([2i64, 3].as_slice(), true, Kind::Float)?;
    centred.f_div(&variance.f_add_scalar(epsilon)?.f_sqrt()?)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn inputs_have_the_declared_moments_and_pixels_stay_in_their_range() {
        tch::manual_seed(2);
        let (mean, std) = ([0.1307, 0.4914, 0.2856], [0.3081, 0.247, 0.3385]);
        let u = Tensor::randn([50, 3, 40, 40], (Kind::Float, Device::Cpu));
        let x = Pixels::declared(&mean, &std).of(&u).unwrap();
        for (channel, (mean, std)) in mean.into_iter().zip(std).enumerate() {
            let inputs = x.select(1, channel as i64);
            assert!(inputs.mean(Kind::Double).double_value(&[]).abs() < 0.02);
            assert!((inputs.std(true).double_value(&[]) - 1.0).abs() < 0.02);
            let pixels = inputs * std + mean;
            assert!(pixels.min().double_value(&[]) > -1e-4 && pixels.max().double_value(&[]) < 1.0 + 1e-4);
        }
    }

    #[test]
    fn a_mere_scaling_is_taken_for_photographs() {
        tch::manual_seed(2);
        let u = Tensor::randn([50, 1, 40, 40], (Kind::Float, Device::Cpu));
        for (mean, std) in [(0.5, 0.5), (0.0, 1.0), (0.0, 1.0 / 255.0)] {
            let pixels = Pixels::declared(&[mean], &[std]).of(&u).unwrap() * std + mean;
            assert!((pixels.mean(Kind::Double).double_value(&[]) - PHOTOGRAPHS.0).abs() < 0.01);
            assert!((pixels.std(true).double_value(&[]) - PHOTOGRAPHS.1).abs() < 0.01);
        }
    }

    #[test]
    fn what_nobody_declared_stays_as_it_is() {
        let u = Tensor::randn([2, 3, 4, 4], (Kind::Float, Device::Cpu));
        assert_eq!(Pixels::Standardised.of(&u).unwrap(), u);
    }
}
