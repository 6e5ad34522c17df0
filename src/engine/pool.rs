//! The synthetic data set of a job: inputs of every generator with the teacher's logits.

use std::path::Path;

use tch::{Device, Kind, TchError, Tensor};

use super::{
    axes, npz,
    observer::{Observer, Stop},
    sampler::{Draw, Trained, noise, shape},
    samples::MOST_ELEMENTS,
    seed::{Stream, seed},
    teacher::{Teacher, answer_paced, pieces},
    ticker::Ticker,
};
use crate::{
    domain::{config::Settings, job::Phase, layout::Layout},
    protocol::Role,
};

/// Elements that the pool may hold (2 GiB of float32): larger inputs get fewer samples.
const POOL_ELEMENTS: i64 = 512 << 20;

/// Samples that `bank.npz` keeps for other tools.
const BANK: i64 = 2000;

pub struct Pool {
    /// (N, …), as the teacher's graph takes it.
    pub x: Tensor,
    /// (N, classes).
    pub logits: Tensor,
    /// Generators, or 1 for noise: each gave as many inputs, one after the other.
    sources: i64,
    /// How the teacher's file has images.
    layout: Layout,
}

impl Pool {
    /// Draws `distillation.samples_per_generator` inputs from each generator, or as many of plain noise in all; `share` of the
    /// run's progress is this.
    ///
    /// # Errors
    /// What libtorch reports, and generator files that do not fit.
    pub fn draw(
        teacher: &Teacher,
        settings: &Settings,
        generators: &[std::path::PathBuf],
        (observer, share): (&mut dyn Observer, (f64, f64)),
    ) -> Result<Self, Stop> {
        let shape = shape(&teacher.graph, settings);
        let elements = shape.elements();
        let sources = generators.len().max(1) as i64;
        let wanted = i64::from(settings.distillation.samples_per_generator);
        let each = wanted.min(POOL_ELEMENTS / elements / sources).max(2);
        let device = teacher.device();
        let mut parts = Vec::new();
        seed(settings.seed, Stream::Pool { index: 0 });
        if let Some(x) = noise(settings.extraction.sampler, &shape, each, device)? {
            parts.push(x);
        } else {
            for (index, path) in generators.iter().enumerate() {
                seed(settings.seed, Stream::Pool { index: index as u32 });
                let generator = Trained::load(path, shape.clone(), settings.extraction.form, device)?;
                parts.push(generator.sample(&Draw::balanced_part(&shape, each, (index as i64, sources), device)?)?);
            }
        }
        let x = Tensor::f_cat(&parts, 0)?;
        // Checkpoints lie ahead: a run that is asked to leave goes on to one.
        let mut ticker =
            Ticker::new(observer, Phase::Distilling, share, pieces(teacher.executor(), &x)).with_checkpoints(0);
        let logits = answer_paced(teacher.executor(), &x, || ticker.tick())?;
        Ok(Self { x, logits, sources, layout: teacher.graph.layout })
    }

    pub fn len(&self) -> i64 {
        self.x.size()[0]
    }

    /// `logits` (N, classes) that a student gave for the pool and the teacher's own, of each source apart.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn by_source(&self, logits: &Tensor) -> Result<Vec<(Tensor, Tensor)>, TchError> {
        Ok(logits.f_chunk(self.sources, 0)?.into_iter().zip(self.logits.f_chunk(self.sources, 0)?).collect())
    }

    /// Batches of a fresh random order; the last, smaller one is left out where there are others.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn batches(&self, batch: i64) -> Result<Vec<Tensor>, TchError> {
        let order = Tensor::f_randperm(self.len(), (Kind::Int64, Device::Cpu))?.f_to_device(self.x.device())?;
        let mut batches = order.f_split(batch, 0)?;
        if batches.len() > 1 && batches.last().is_some_and(|last| last.size()[0] < batch) {
            batches.pop();
        }
        Ok(batches)
    }

    /// Inputs and logits at `indices`.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn pick(&self, indices: &Tensor) -> Result<(Tensor, Tensor), TchError> {
        Ok((self.x.f_index_select(0, indices)?, self.logits.f_index_select(0, indices)?))
    }

    /// Writes `bank.npz`: an even choice of the pool, as the teacher's file takes it, with the teacher's classes and logits.
    ///
    /// # Errors
    /// What libtorch or the file system reports.
    pub fn write_bank(&self, dir: &Path, observer: &mut dyn Observer) -> Result<(), Stop> {
        let elements = (self.x.numel() as i64 / self.len()).max(1);
        let count = BANK.min(self.len()).min(MOST_ELEMENTS / elements).max(1);
        let indices = Tensor::f_arange(count, (Kind::Int64, self.x.device()))?
            .f_mul_scalar(self.len())?
            .f_div_scalar_mode(count, "floor")?;
        let (x, logits) = self.pick(&indices)?;
        let x = axes::outside(&x, self.layout)?;
        let path = dir.join("bank.npz");
        npz::write(&path, &[("x", &x), ("y", &logits.f_argmax(-1, false)?), ("teacher_logits", &logits)])?;
        observer.artifact(&path, Role::Bank);
        Ok(())
    }
}
