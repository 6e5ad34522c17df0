//! Draws inputs with labels: from a trained generator, or from plain noise.

use std::{collections::HashMap, path::Path};

use tch::{Device, Kind, TchError, Tensor, nn, no_grad};

use super::error::first_line;
use crate::{
    domain::{
        config::{Form, InputConfig, Sampler, Settings},
        problem::{ErrorCode, Problem},
    },
    formats::graph::Graph,
    nets::{
        generator::{Generator, Shape},
        pixels::Pixels,
    },
};

/// What generators of this job make, and from what.
pub fn shape(graph: &Graph, settings: &Settings) -> Shape {
    Shape {
        classes: graph.classes() as i64,
        latent: i64::from(settings.extraction.latent_dim),
        output: graph.input.shape.iter().map(|&extent| extent as i64).collect(),
        pixels: pixels(&settings.input, &graph.input.shape),
    }
}

/// What an upload says of its images, which have three axes. Features are no pixels, and there may be thousands of them, each
/// with a mean and a deviation of its own.
pub fn pixels(input: &InputConfig, shape: &[usize]) -> Pixels {
    match (&input.mean, &input.std) {
        (Some(mean), Some(std)) if shape.len() == 3 => Pixels::declared(mean, std),
        _ => Pixels::Standardised,
    }
}

/// Labels and latent vectors of one batch.
pub struct Draw {
    /// One-hot, (N, classes).
    pub labels: Tensor,
    /// (N, latent).
    pub z: Tensor,
}

impl Draw {
    /// Uniform classes and standard normal z.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn random(shape: &Shape, count: i64, device: Device) -> Result<Self, TchError> {
        let classes = Tensor::f_randint(shape.classes, [count], (Kind::Int64, Device::Cpu))?;
        Self::of_classes(&classes, shape, device)
    }

    /// The classes in turn: as balanced as `count` allows.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn balanced(shape: &Shape, count: i64, device: Device) -> Result<Self, TchError> {
        Self::balanced_part(shape, count, (0, 1), device)
    }

    /// As [`Self::balanced`], the `part`th of `parts` such draws: where each has fewer inputs than there are classes, they
    /// share these out.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn balanced_part(
        shape: &Shape,
        count: i64,
        (part, parts): (i64, i64),
        device: Device,
    ) -> Result<Self, TchError> {
        let classes: Vec<i64> = (0..count).map(|index| class(index, count, (part, parts), shape.classes)).collect();
        Self::of_classes(&Tensor::f_from_slice(&classes)?, shape, device)
    }

    fn of_classes(classes: &Tensor, shape: &Shape, device: Device) -> Result<Self, TchError> {
        let labels = classes.f_one_hot(shape.classes)?.f_to_kind(Kind::Float)?.f_to_device(device)?;
        // Drawn on the CPU whatever the device: the stream of numbers is then the same on both.
        let z = Tensor::f_randn([classes.size()[0], shape.latent], (Kind::Float, Device::Cpu))?.f_to_device(device)?;
        Ok(Self { labels, z })
    }
}

/// The class of input `index` of `count`. Fewer inputs than classes are spread over all of them: neighbours are often of one
/// kind, as the animals of ImageNet are.
fn class(index: i64, count: i64, (part, parts): (i64, i64), classes: i64) -> i64 {
    if count >= classes { index % classes } else { (index * parts + part) * classes / (count * parts) }
}

/// Elements that a layer of a generator may read and make of one piece (2 GiB of float32).
const ELEMENTS: i64 = 1 << 29;

/// Inputs that a generator makes at once: of 32 x 32 pixels more than 8,000.
fn at_once(shape: &Shape) -> i64 {
    (ELEMENTS / shape.widest()).max(1)
}

/// A trained generator with the store that owns its weights.
pub struct Trained {
    pub store: nn::VarStore,
    pub net: Generator,
    pub shape: Shape,
}

impl Trained {
    /// A fresh generator, initialised from libtorch's random state.
    pub fn fresh(shape: Shape, form: Form, device: Device) -> Self {
        let store = nn::VarStore::new(device);
        let net = Generator::new(&store.root(), &shape, form);
        Self { store, net, shape }
    }

    /// A generator from a `.safetensors` file that [`Trained::save`] wrote.
    ///
    /// # Errors
    /// Where the file does not hold such a generator.
    pub fn load(path: &Path, shape: Shape, form: Form, device: Device) -> Result<Self, Problem> {
        let trained = Self::fresh(shape, form, device);
        trained.take(path).map_err(|error| {
            Problem::new(ErrorCode::InvalidConfig, format!("{} holds no generator of this job: {error}", path.display()))
                .param("config.extraction")
                .hint(
                    "A generator fits teachers of its own input shape and number of classes, with the extraction.latent_dim and \
                     extraction.form that it was trained with, in the version of kegd that trained it. Extract anew.",
                )
        })?;
        Ok(trained)
    }

    /// Overwrites its weights and statistics with those in the file, which are the same by name and shape: libtorch would
    /// stretch those of one channel over three.
    fn take(&self, path: &Path) -> Result<(), String> {
        let said = |error: TchError| first_line(&error.to_string()).to_owned();
        let found: HashMap<String, Tensor> = Tensor::read_safetensors(path).map_err(said)?.into_iter().collect();
        let own = self.store.variables();
        if found.len() != own.len() {
            return Err(format!("it has {} tensors, and should have {}", found.len(), own.len()));
        }
        for (name, mut tensor) in own {
            let kept = found.get(&name).ok_or_else(|| format!("it has no `{name}`"))?;
            if kept.size() != tensor.size() {
                return Err(format!("`{name}` is {:?}, and should be {:?}", kept.size(), tensor.size()));
            }
            no_grad(|| tensor.f_copy_(kept)).map_err(said)?;
        }
        Ok(())
    }

    /// # Errors
    /// What libtorch or the file system reports.
    pub fn save(&self, path: &Path) -> Result<(), TchError> {
        self.store.save(path)
    }

    /// Inputs for `draw`, without gradients and with running statistics.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn sample(&self, draw: &Draw) -> Result<Tensor, TchError> {
        self.sample_in(draw, at_once(&self.shape))
    }

    /// As [`Self::sample`], so many inputs at a time.
    fn sample_in(&self, draw: &Draw, piece: i64) -> Result<Tensor, TchError> {
        let drawn = draw.labels.f_split(piece, 0)?.into_iter().zip(draw.z.f_split(piece, 0)?);
        let made = drawn.map(|(labels, z)| no_grad(|| self.net.forward(&labels, &z, false)));
        match &made.collect::<Result<Vec<_>, _>>()?[..] {
            [all] => Ok(all.shallow_clone()),
            pieces => Tensor::f_cat(pieces, 0),
        }
    }
}

/// `count` inputs of plain noise; `None` for [`Sampler::Kegnet`], which is no noise.
///
/// # Errors
/// What libtorch reports.
pub fn noise(sampler: Sampler, shape: &Shape, count: i64, device: Device) -> Result<Option<Tensor>, TchError> {
    let extents: Vec<i64> = std::iter::once(count).chain(shape.output.iter().copied()).collect();
    let options = (Kind::Float, Device::Cpu);
    let x = match sampler {
        Sampler::Kegnet => return Ok(None),
        Sampler::Uniform => Tensor::f_rand(extents, options)?.f_mul_scalar(2.0)?.f_sub_scalar(1.0)?,
        Sampler::Gaussian => Tensor::f_randn(extents, options)?,
    };
    Ok(Some(x.f_to_device(device)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(count: i64, part: (i64, i64), of: i64) -> Vec<i64> {
        (0..count).map(|index| class(index, count, part, of)).collect()
    }

    #[test]
    fn classes_are_in_turn_where_there_are_inputs_for_each() {
        assert_eq!(classes(5, (1, 2), 2), [0, 1, 0, 1, 0]);
        assert_eq!(classes(3, (0, 1), 3), [0, 1, 2]);
    }

    #[test]
    fn fewer_inputs_than_classes_are_spread_and_parts_share_them_out() {
        assert_eq!(classes(4, (0, 1), 10), [0, 2, 5, 7]);
        let mut all: Vec<i64> = (0..3).flat_map(|part| classes(4, (part, 3), 10)).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
    }

    fn of(output: &[i64]) -> Shape {
        Shape { classes: 5, latent: 3, output: output.to_vec(), pixels: Pixels::Standardised }
    }

    #[test]
    fn pieces_make_what_one_pass_makes() {
        let cases: [(&[i64], Form); 3] =
            [(&[3, 16, 16], Form::Smooth), (&[1, 12, 12], Form::Reference), (&[9], Form::Smooth)];
        for (output, form) in cases {
            let generator = Trained::fresh(of(output), form, Device::Cpu);
            let draw = Draw::balanced(&generator.shape, 7, Device::Cpu).unwrap();
            let (pieces, whole) = (generator.sample_in(&draw, 3).unwrap(), generator.sample_in(&draw, 7).unwrap());
            assert_eq!(pieces.size(), whole.size());
            assert!((pieces - whole).abs().max().double_value(&[]) < 1e-4, "{output:?}");
        }
    }

    #[test]
    fn large_images_are_made_a_few_hundred_at_a_time_and_small_ones_all_at_once() {
        assert!(at_once(&of(&[3, 32, 32])) >= 6400 && at_once(&of(&[1000])) >= 6400);
        assert!((100..200).contains(&at_once(&of(&[3, 224, 224]))));
    }

    #[test]
    fn a_generator_for_another_number_of_channels_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("generator-0.safetensors");
        let load = |output: &[i64]| Trained::load(&path, of(output), Form::Reference, Device::Cpu).map(|_| ());
        let saved = Trained::fresh(of(&[1, 32, 32]), Form::Reference, Device::Cpu);
        saved.save(&path).unwrap();
        load(&[1, 32, 32]).unwrap();
        for other in [&[3, 32, 32][..], &[1, 64, 64], &[1024]] {
            let problem = load(other).unwrap_err();
            assert_eq!(problem.code, ErrorCode::InvalidConfig);
            assert!(problem.hint.unwrap().contains("input shape"), "{other:?}");
        }
        let loaded = Trained::load(&path, of(&[1, 32, 32]), Form::Reference, Device::Cpu).unwrap();
        for (name, tensor) in saved.store.variables() {
            assert_eq!(loaded.store.variables()[&name], tensor, "{name}");
        }
    }
}
