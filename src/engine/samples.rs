//! The generated inputs that people look at: the same latent vectors at every kept epoch.

use std::path::Path;

use super::{
    axes, npz,
    observer::{Observer, Stop},
    sampler::{Draw, Trained},
    seed::{Stream, seed},
    teacher::Teacher,
};
use crate::domain::{config::Settings, layout::Layout};

/// Samples of each class at one epoch, where the inputs are small enough.
const PER_CLASS: i64 = 10;

/// Elements that one file may hold (64 MiB of float32).
pub const MOST_ELEMENTS: i64 = 16 << 20;

/// The draw that is shown again and again, so that the eye can follow one image through training.
pub struct Shown {
    draw: Draw,
    index: u32,
    layout: Layout,
}

impl Shown {
    /// # Errors
    /// What libtorch reports.
    pub fn new(teacher: &Teacher, settings: &Settings, index: u32) -> Result<Self, Stop> {
        let shape = super::sampler::shape(&teacher.graph, settings);
        // Labels are one-hot: of many classes they are larger than the inputs.
        let elements = shape.elements().max(shape.classes);
        let count = (shape.classes * PER_CLASS).min(MOST_ELEMENTS / elements).max(1);
        seed(settings.seed, Stream::Pool { index: u32::MAX - index });
        Ok(Self { draw: Draw::balanced(&shape, count, teacher.device())?, index, layout: teacher.graph.layout })
    }

    /// Writes `samples-g<generator>-e<epoch>.npz` (`x`, as the model takes it, and `y`) and tells the observer.
    ///
    /// # Errors
    /// What libtorch or the file system reports.
    pub fn write(&self, generator: &Trained, epoch: u32, dir: &Path, observer: &mut dyn Observer) -> Result<(), Stop> {
        let x = axes::outside(&generator.sample(&self.draw)?, self.layout)?;
        let y = self.draw.labels.f_argmax(-1, false)?;
        let path = dir.join(format!("samples-g{}-e{epoch:04}.npz", self.index));
        npz::write(&path, &[("x", &x), ("y", &y)])?;
        observer.sample(&path, self.index, epoch, x.size()[0] as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::{domain::config::Form, nets::generator::Shape};

    struct Silent;

    impl Observer for Silent {
        fn progress(&mut self, _: crate::domain::job::Progress) -> Result<(), Stop> {
            Ok(())
        }

        fn metrics(&mut self, _: Vec<crate::protocol::MetricPoint>) {}

        fn sample(&mut self, _: &Path, _: u32, _: u32, _: u64) {}

        fn artifact(&mut self, _: &Path, _: crate::protocol::Role) {}
    }

    /// With fewer inputs than classes these do not come in turns.
    #[test]
    fn a_file_says_which_class_was_asked_for() {
        let shape =
            Shape { classes: 10, latent: 3, output: vec![4], pixels: crate::nets::pixels::Pixels::Standardised };
        let draw = Draw::balanced(&shape, 4, Device::Cpu).unwrap();
        let asked: Vec<i64> = draw.labels.argmax(-1, false).try_into().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let generator = Trained::fresh(shape, Form::default(), Device::Cpu);
        Shown { draw, index: 0, layout: Layout::default() }.write(&generator, 1, folder.path(), &mut Silent).unwrap();
        let file = std::fs::File::open(folder.path().join("samples-g0-e0001.npz")).unwrap();
        let said: ndarray::Array1<i64> = ndarray_npy::NpzReader::new(file).unwrap().by_name("y").unwrap();
        assert_eq!((said.to_vec(), asked.len()), (asked, 4));
    }
}
