//! Latent rows: what one generator makes of a class when z varies, or moves from one point to another.

use std::path::Path;

use tch::{Device, Kind, TchError, Tensor};

use super::{
    axes, npz,
    observer::Stop,
    sampler::{Draw, Trained, pixels},
    seed::{Stream, seed},
};
use crate::{
    domain::latent::{LatentMode, LatentRequest},
    nets::generator::Shape,
};

/// Images in one row.
const COLUMNS: i64 = 10;

/// Writes the rows that `request` asks for as `latent.npz` into `dir`, where the generator lies: `x` (rows · 10, …) row by
/// row, `y` (rows · 10) the classes.
///
/// # Errors
/// Where the generator does not fit, and what libtorch or the file system reports.
pub fn render(request: &LatentRequest, dir: &Path) -> Result<(), Stop> {
    let shape = Shape {
        classes: request.classes as i64,
        latent: request.latent_dim as i64,
        output: request.shape.iter().map(|&extent| extent as i64).collect(),
        pixels: pixels(&request.input, &request.shape),
    };
    let generator = Trained::load(&dir.join(&request.generator), shape.clone(), request.form, Device::Cpu)?;
    seed(request.seed, Stream::Latent);
    let rows = request.rows as i64;
    let classes = match request.class {
        Some(class) => Tensor::f_full([rows], class as i64, (Kind::Int64, Device::Cpu))?,
        None => Tensor::f_arange(rows, (Kind::Int64, Device::Cpu))?.f_remainder(shape.classes)?,
    };
    let y = classes.f_repeat_interleave_self_int(COLUMNS, 0, None::<i64>)?;
    let z = latent(request.mode, rows, shape.latent)?;
    let labels = y.f_one_hot(shape.classes)?.f_to_kind(Kind::Float)?;
    let x = axes::outside(&generator.sample(&Draw { labels, z })?, request.layout)?;
    npz::write(&dir.join("latent.npz"), &[("x", &x), ("y", &y)])
}

/// (rows · columns, latent).
fn latent(mode: LatentMode, rows: i64, latent: i64) -> Result<Tensor, TchError> {
    let options = (Kind::Float, Device::Cpu);
    if mode == LatentMode::Vary {
        return Tensor::f_randn([rows * COLUMNS, latent], options);
    }
    let from = Tensor::f_randn([rows, 1, latent], options)?;
    let to = Tensor::f_randn([rows, 1, latent], options)?;
    let way = Tensor::f_linspace(0.0, 1.0, COLUMNS, options)?.f_view([1, COLUMNS, 1])?;
    from.f_add(&to.f_sub(&from)?.f_mul(&way)?)?.f_view([rows * COLUMNS, latent])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpolation_starts_and_ends_at_its_points_and_keeps_its_row() {
        tch::manual_seed(5);
        let z = latent(LatentMode::Interpolate, 2, 3).unwrap().view([2, COLUMNS, 3]);
        let middle = (z.select(1, 0) + z.select(1, COLUMNS - 1)) / 2.0;
        let found = (z.select(1, 4) + z.select(1, 5)) / 2.0;
        assert!((middle - found).abs().max().double_value(&[]) < 1e-6);
    }
}
