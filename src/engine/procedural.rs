//! Images from formulas: smooth random fields, their blobs and their contour lines. Nothing is learned and nothing is
//! looked at, yet they have edges, strokes and empty ground, which noise and the textures of a generator lack (one
//! augmented image teaches a student most of a teacher: Asano and Saeed, ICLR 2023).

use tch::{Device, Kind, TchError, Tensor};

use crate::nets::pixels::{Pixels, each_image};

/// Parts that a batch is drawn in, each with its own resolution, form and frame.
const PARTS: i64 = 8;

/// `count` inputs of `shape` (without the batch). Images have the pixels that the upload speaks of; feature vectors are
/// standard normal, and so are the channels of images of one pixel, which have no form.
///
/// # Errors
/// What libtorch reports.
pub fn draw(shape: &[i64], pixels: &Pixels, count: i64, device: Device) -> Result<Tensor, TchError> {
    let [channels, height, width] = *shape else {
        return normal(shape, count, device);
    };
    if height * width == 1 {
        return pixels.of(&normal(shape, count, device)?);
    }
    let parts = (0..PARTS)
        .map(|part| (count * (part + 1)) / PARTS - (count * part) / PARTS)
        .filter(|&images| images > 0)
        .map(|images| part([images, channels, height, width]))
        .collect::<Result<Vec<_>, _>>()?;
    pixels.of(&Tensor::f_cat(&parts, 0)?.f_to_device(device)?)
}

fn normal(shape: &[i64], count: i64, device: Device) -> Result<Tensor, TchError> {
    let extents: Vec<i64> = std::iter::once(count).chain(shape.iter().copied()).collect();
    Tensor::f_randn(extents, (Kind::Float, Device::Cpu))?.f_to_device(device)
}

/// A random number in `low..high` from libtorch's stream.
fn uniform(low: f64, high: f64) -> Result<f64, TchError> {
    Ok(Tensor::f_rand([1], (Kind::Float, Device::Cpu))?.f_double_value(&[0])? * (high - low) + low)
}

fn part([count, channels, height, width]: [i64; 4]) -> Result<Tensor, TchError> {
    // From one bend over the whole image to details of a few pixels at 32 x 32.
    let field = field([count, channels, height, width], uniform(3.0, 12.0)? as i64)?;
    let level = Tensor::f_randn([count, 1, 1, 1], (Kind::Float, Device::Cpu))?.f_mul_scalar(0.5)?;
    let image = match uniform(0.0, 4.0)? as i64 {
        0 => field,
        // Surfaces with edges.
        1 => field.f_sub(&level)?.f_mul_scalar(6.0)?.f_tanh()?,
        // The band around a level: lines of a random width.
        2 => field.f_sub(&level)?.f_div_scalar(uniform(0.15, 0.5)?)?.f_square()?.f_neg()?.f_exp()?,
        // Surfaces of which some have a texture.
        _ => {
            let surface = self::field([count, channels, height, width], 3)?;
            field.f_mul(&surface.f_mul_scalar(4.0)?.f_sigmoid()?)?.f_add(&surface.f_mul_scalar(2.0)?)?
        }
    };
    let image = if uniform(0.0, 1.0)? < 0.6 { framed(&image, height, width)? } else { image };
    let sign = if uniform(0.0, 1.0)? < 0.3 { -1.0 } else { 1.0 };
    each_image(&image.f_mul_scalar(sign)?, 1e-6)
}

/// A smooth random field with about `grain` bends along each side.
fn field([count, channels, height, width]: [i64; 4], grain: i64) -> Result<Tensor, TchError> {
    Tensor::f_randn([count, channels, grain, grain], (Kind::Float, Device::Cpu))?.f_upsample_bicubic2d(
        [height, width],
        false,
        None,
        None,
    )
}

/// Falls to the darkest value towards the border: most classifiers look at objects in the middle.
fn framed(image: &Tensor, height: i64, width: i64) -> Result<Tensor, TchError> {
    let options = (Kind::Float, Device::Cpu);
    let rows = Tensor::f_linspace(-1.0, 1.0, height, options)?.f_view([1, 1, height, 1])?;
    let columns = Tensor::f_linspace(-1.0, 1.0, width, options)?.f_view([1, 1, 1, width])?;
    let power = |line: &Tensor, radius: f64| line.f_div_scalar(radius)?.f_pow_tensor_scalar(4);
    let radius = power(&rows, uniform(0.5, 1.0)?)?.f_add(&power(&columns, uniform(0.5, 1.0)?)?)?;
    let mask = radius.f_sub_scalar(1.0)?.f_mul_scalar(-10.0)?.f_sigmoid()?;
    let darkest = image.f_amin([2i64, 3].as_slice(), true)?;
    image.f_sub(&darkest)?.f_mul(&mask)?.f_add(&darkest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_the_shape_and_the_scale_of_normalised_ones() {
        tch::manual_seed(4);
        for shape in [vec![1, 32, 32], vec![3, 28, 20], vec![7], vec![2, 9, 9], vec![2, 1, 1]] {
            for pixels in [Pixels::Standardised, Pixels::declared(&[0.3; 3][..shape[0].min(3) as usize], &[0.3; 3])] {
                let x = draw(&shape, &pixels, 101, Device::Cpu).unwrap();
                assert_eq!(x.size()[0], 101);
                assert_eq!(x.size()[1..], shape[..]);
                assert!(x.mean(Kind::Float).double_value(&[]).abs() < 0.25, "{shape:?}");
                let deviation = x.std(true).double_value(&[]);
                assert!((0.6..1.4).contains(&deviation), "{shape:?}: {deviation}");
            }
        }
    }
}
