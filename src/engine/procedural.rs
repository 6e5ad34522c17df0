//! Images from formulas: smooth random fields, their blobs and their contour lines. Nothing is learned and nothing is
//! looked at, yet they have edges, strokes and empty ground, which noise and the textures of a generator lack (one
//! augmented image teaches a student most of a teacher: Asano and Saeed, ICLR 2023).

use tch::{Device, Kind, TchError, Tensor};

/// Parts that a batch is drawn in, each with its own resolution, form and frame.
const PARTS: i64 = 4;

/// `count` inputs of `shape` (without the batch). Images have zero mean and about unit variance each, which is what a
/// teacher's normalisation makes of its own; feature vectors are standard normal.
///
/// # Errors
/// What libtorch reports.
pub fn draw(shape: &[i64], count: i64, device: Device) -> Result<Tensor, TchError> {
    let [channels, height, width] = *shape else {
        let extents: Vec<i64> = std::iter::once(count).chain(shape.iter().copied()).collect();
        return Tensor::f_randn(extents, (Kind::Float, Device::Cpu))?.f_to_device(device);
    };
    let parts = (0..PARTS)
        .map(|part| (count * (part + 1)) / PARTS - (count * part) / PARTS)
        .filter(|&images| images > 0)
        .map(|images| part([images, channels, height, width]))
        .collect::<Result<Vec<_>, _>>()?;
    Tensor::f_cat(&parts, 0)?.f_to_device(device)
}

/// A random number in `low..high` from libtorch's stream.
fn uniform(low: f64, high: f64) -> Result<f64, TchError> {
    Ok(Tensor::f_rand([1], (Kind::Float, Device::Cpu))?.f_double_value(&[0])? * (high - low) + low)
}

fn part(extents: [i64; 4]) -> Result<Tensor, TchError> {
    let options = (Kind::Float, Device::Cpu);
    let [count, channels, height, width] = extents;
    // From one bend over the whole image to details of a few pixels at 32 x 32.
    let grain = uniform(3.0, 10.0)? as i64;
    let field = Tensor::f_randn([count, channels, grain, grain], options)?
        .f_upsample_bicubic2d([height, width], false, None, None)?
        .f_sub(&Tensor::f_randn([count, 1, 1, 1], options)?.f_mul_scalar(0.5)?)?;
    let image = match uniform(0.0, 3.0)? as i64 {
        0 => field,
        1 => field.f_mul_scalar(6.0)?.f_tanh()?,
        // The band around a level: lines of a random width.
        _ => field.f_div_scalar(uniform(0.15, 0.5)?)?.f_square()?.f_neg()?.f_exp()?,
    };
    let image = if uniform(0.0, 1.0)? < 0.6 { framed(&image, height, width)? } else { image };
    let contrast = uniform(0.7, 1.2)? * if uniform(0.0, 1.0)? < 0.3 { -1.0 } else { 1.0 };
    standardised(&image)?.f_mul_scalar(contrast)
}

/// Fades to the darkest value towards the border: most classifiers look at objects in the middle.
fn framed(image: &Tensor, height: i64, width: i64) -> Result<Tensor, TchError> {
    let options = (Kind::Float, Device::Cpu);
    let rows = Tensor::f_linspace(-1.0, 1.0, height, options)?.f_view([1, 1, height, 1])?;
    let columns = Tensor::f_linspace(-1.0, 1.0, width, options)?.f_view([1, 1, 1, width])?;
    let radius = rows.f_square()?.f_add(&columns.f_square()?)?;
    let mask = radius.f_div_scalar(uniform(0.3, 1.0)?)?.f_square()?.f_neg()?.f_exp()?;
    image.f_sub(&image.f_amin([1i64, 2, 3].as_slice(), true)?)?.f_mul(&mask)
}

fn standardised(image: &Tensor) -> Result<Tensor, TchError> {
    let axes = [2i64, 3];
    let centred = image.f_sub(&image.f_mean_dim(axes.as_slice(), true, Kind::Float)?)?;
    let deviation = centred.f_square()?.f_mean_dim(axes.as_slice(), true, Kind::Float)?.f_sqrt()?;
    centred.f_div(&deviation.f_add_scalar(1e-4)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_the_shape_and_the_scale_of_normalised_ones() {
        tch::manual_seed(4);
        for shape in [vec![1, 32, 32], vec![3, 28, 20], vec![7], vec![2, 9, 9]] {
            let x = draw(&shape, 101, Device::Cpu).unwrap();
            assert_eq!(x.size()[0], 101);
            assert_eq!(x.size()[1..], shape[..]);
            assert!(x.mean(Kind::Float).double_value(&[]).abs() < 0.2, "{shape:?}");
            let deviation = x.std(true).double_value(&[]);
            assert!((0.6..1.4).contains(&deviation), "{shape:?}: {deviation}");
        }
    }
}
