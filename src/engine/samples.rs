//! The generated inputs that people look at: the same latent vectors at every kept epoch.

use std::path::Path;

use tch::{Kind, Tensor};

use super::{
    npz,
    observer::{Observer, Stop},
    sampler::{Draw, Trained},
    seed::{Stream, seed},
    teacher::Teacher,
};
use crate::domain::config::Settings;

/// Samples of each class at one epoch, where the inputs are small enough.
const PER_CLASS: i64 = 10;

/// Elements that one file may hold (64 MiB of float32).
pub const MOST_ELEMENTS: i64 = 16 << 20;

/// The draw that is shown again and again, so that the eye can follow one image through training.
pub struct Shown {
    draw: Draw,
    index: u32,
    classes: i64,
}

impl Shown {
    /// # Errors
    /// What libtorch reports.
    pub fn new(teacher: &Teacher, settings: &Settings, index: u32) -> Result<Self, Stop> {
        let shape = super::sampler::shape(&teacher.graph, settings);
        let elements = shape.elements();
        let count = (shape.classes * PER_CLASS).min(MOST_ELEMENTS / elements).max(1);
        seed(settings.seed, Stream::Pool { index: u32::MAX - index });
        Ok(Self { draw: Draw::balanced(&shape, count, teacher.device())?, index, classes: shape.classes })
    }

    /// Writes `samples-g<generator>-e<epoch>.npz` (`x`, `y`) and tells the observer.
    ///
    /// # Errors
    /// What libtorch or the file system reports.
    pub fn write(&self, generator: &Trained, epoch: u32, dir: &Path, observer: &mut dyn Observer) -> Result<(), Stop> {
        let x = generator.sample(&self.draw)?;
        let y = Tensor::f_arange(x.size()[0], (Kind::Int64, x.device()))?.f_remainder(self.classes)?;
        let path = dir.join(format!("samples-g{}-e{epoch:04}.npz", self.index));
        npz::write(&path, &[("x", &x), ("y", &y)])?;
        observer.sample(&path, self.index, epoch, x.size()[0] as u64);
        Ok(())
    }
}
