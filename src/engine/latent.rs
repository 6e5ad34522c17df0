//! Latent rows: what one generator makes of a class when z varies, or moves from one point to another.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, TchError, Tensor};

use super::{
    npz,
    observer::Stop,
    sampler::{Draw, Trained},
    seed::{Stream, seed},
};
use crate::nets::generator::Shape;

/// Images in one row.
const COLUMNS: i64 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Every image has its own z.
    Vary,
    /// Each row moves from one z to another.
    Interpolate,
}

/// What to draw, from which generator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LatentRequest {
    pub generator: PathBuf,
    pub classes: usize,
    pub latent_dim: usize,
    /// One input of the teacher, without the batch.
    pub shape: Vec<usize>,
    /// One class for every row; without it each row has the next class.
    pub class: Option<usize>,
    pub mode: Mode,
    pub rows: usize,
    pub seed: u64,
    /// Where the `.npz` goes: `x` (rows · 10, …) row by row, `y` the classes.
    pub output: PathBuf,
}

/// Writes the rows that `request` asks for.
///
/// # Errors
/// Where the generator does not fit, and what libtorch or the file system reports.
pub fn render(request: &LatentRequest) -> Result<(), Stop> {
    let shape = Shape {
        classes: request.classes as i64,
        latent: request.latent_dim as i64,
        output: request.shape.iter().map(|&extent| extent as i64).collect(),
    };
    let generator = Trained::load(&request.generator, shape.clone(), Device::Cpu)?;
    seed(request.seed, Stream::Latent);
    let rows = request.rows as i64;
    let classes = match request.class {
        Some(class) => Tensor::f_full([rows], class as i64, (Kind::Int64, Device::Cpu))?,
        None => Tensor::f_arange(rows, (Kind::Int64, Device::Cpu))?.f_remainder(shape.classes)?,
    };
    let y = classes.f_repeat_interleave_self_int(COLUMNS, 0, None::<i64>)?;
    let z = latent(request.mode, rows, shape.latent)?;
    let labels = y.f_one_hot(shape.classes)?.f_to_kind(Kind::Float)?;
    let x = generator.sample(&Draw { labels, z })?;
    npz::write(&request.output, &[("x", &x), ("y", &y)])
}

/// (rows · columns, latent).
fn latent(mode: Mode, rows: i64, latent: i64) -> Result<Tensor, TchError> {
    let options = (Kind::Float, Device::Cpu);
    if mode == Mode::Vary {
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
        let z = latent(Mode::Interpolate, 2, 3).unwrap().view([2, COLUMNS, 3]);
        let middle = (z.select(1, 0) + z.select(1, COLUMNS - 1)) / 2.0;
        let found = (z.select(1, 4) + z.select(1, 5)) / 2.0;
        assert!((middle - found).abs().max().double_value(&[]) < 1e-6);
    }
}
