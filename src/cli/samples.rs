//! `kegd samples`: pictures of what generators make, as the service draws them.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::Deserialize;

use super::{extract::Extraction, generators, quiet_threads};
use crate::{
    domain::{
        config::Settings,
        latent::{LatentMode, LatentRequest},
        model::ModelFacts,
        problem::{ErrorCode, Problem},
    },
    engine::{self, observer::Stop},
    imaging::sheet::{self, Contents},
};

/// Draw the generated inputs in a folder that `kegd distill` or `kegd extract` wrote, as a PNG.
///
/// A row for each class, or, with --latent, rows of one class with the latent vector z varied.
#[derive(clap::Args, Debug)]
pub struct Samples {
    /// The folder.
    from: PathBuf,

    /// The picture.
    #[arg(long, short, value_name = "FILE", default_value = "samples.png")]
    out: PathBuf,

    /// What z does: rows of one class of one generator, another z in each place.
    #[arg(long)]
    latent: bool,

    /// With --latent: each row moves from one z to another.
    #[arg(long, requires = "latent")]
    interpolate: bool,

    /// Only this class, from 0.
    #[arg(long, value_name = "N")]
    class: Option<usize>,

    /// Only this generator, from 0; with --latent the first, otherwise all of them in turns.
    #[arg(long, value_name = "N")]
    generator: Option<u32>,

    /// Samples in each row; with --latent, rows.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=100))]
    count: u16,

    /// Pixels for each value.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=32))]
    scale: u8,
}

/// What the folder says of itself: of a report or an extraction, the part that both have.
#[derive(Deserialize)]
struct Facts {
    model: ModelFacts,
    settings: Settings,
}

impl Samples {
    pub fn run(self) -> anyhow::Result<()> {
        quiet_threads::ensure()?;
        let facts = facts(&self.from)?;
        let picture = if self.latent { self.latent_rows(&facts)? } else { self.sheet(&facts)? };
        fs::write(&self.out, picture).with_context(|| format!("{} cannot be written", self.out.display()))
    }

    fn contents(&self, facts: &Facts) -> anyhow::Result<Contents> {
        let classes = facts.model.classes;
        if let Some(class) = self.class.filter(|&class| class >= classes) {
            anyhow::bail!("there is no class {class}: the model has {classes}, counted from 0");
        }
        let classes = self.class.map_or((0..classes as i64).collect(), |class| vec![class as i64]);
        let (mean, std) = (facts.settings.input.mean.clone(), facts.settings.input.std.clone());
        let (per_class, scale) = (usize::from(self.count), usize::from(self.scale));
        let channels_last = !facts.model.input.layout.is_channels_first();
        Ok(Contents { classes, per_class, scale, channels_last, mean, std })
    }

    fn sheet(&self, facts: &Facts) -> anyhow::Result<Vec<u8>> {
        let mut files = Vec::new();
        for path in newest_samples(&self.from, self.generator)? {
            files.push(File::open(&path).with_context(|| format!("{} cannot be read", path.display()))?);
        }
        Ok(sheet::by_class(files, &self.contents(facts)?)?)
    }

    fn latent_rows(&self, facts: &Facts) -> anyhow::Result<Vec<u8>> {
        let number = self.generator.unwrap_or(0) as usize;
        let rows = usize::from(self.count);
        let generator = generator(&self.from, number)?;
        let scratch = tempfile::tempdir()?;
        fs::copy(&generator, scratch.path().join(generators::name(number)))
            .with_context(|| format!("{} cannot be read", generator.display()))?;
        let request = LatentRequest {
            generator: generators::name(number),
            form: facts.settings.extraction.form,
            input: facts.settings.input.clone(),
            classes: facts.model.classes,
            latent_dim: facts.settings.extraction.latent_dim as usize,
            shape: facts.model.input.inside(),
            layout: facts.model.input.layout,
            class: self.class,
            mode: if self.interpolate { LatentMode::Interpolate } else { LatentMode::Vary },
            rows,
            seed: facts.settings.seed,
        };
        engine::latent::render(&request, scratch.path()).map_err(|stop| match stop {
            Stop::Failed(problem) => problem,
            Stop::Canceled | Stop::Interrupted => Problem::new(ErrorCode::Internal, "The drawing was stopped."),
        })?;
        let answer = File::open(scratch.path().join("latent.npz"))?;
        Ok(sheet::by_position(answer, rows, &self.contents(facts)?)?)
    }
}

/// The file of this generator, which is missing where the run was given others' generators.
fn generator(folder: &Path, number: usize) -> anyhow::Result<PathBuf> {
    let path = folder.join(generators::name(number));
    if !path.is_file() {
        anyhow::bail!(
            "{} holds no generator {number}: name the folder of the run that trained it (one with `--generators` trains none)",
            folder.display()
        );
    }
    Ok(path)
}

fn facts(folder: &Path) -> anyhow::Result<Facts> {
    let names = ["report.json", Extraction::FILE].map(|name| folder.join(name));
    let found = names.into_iter().chain(report_of_sweep(folder)).filter(|path| path.is_file());
    // The newest: an earlier run in this folder may have been told otherwise.
    let written = |path: &PathBuf| path.metadata().and_then(|facts| facts.modified()).ok();
    let Some(path) = found.max_by_key(written) else {
        anyhow::bail!("{} was written by neither `kegd distill` nor `kegd extract`", folder.display());
    };
    let json = fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    serde_json::from_slice(&json).with_context(|| format!("{} cannot be read", path.display()))
}

/// A report of a sweep, which has one for each student: what is read of it is the same in all.
fn report_of_sweep(folder: &Path) -> Option<PathBuf> {
    let reports = fs::read_dir(folder).ok()?.filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = path.file_name()?.to_str()?;
        (name.starts_with("report-") && path.extension()? == "json").then_some(path)
    });
    reports.min()
}

/// The last file of samples of each generator, or of one; where none was trained for this folder, those of `bank.npz`.
fn newest_samples(folder: &Path, only: Option<u32>) -> anyhow::Result<Vec<PathBuf>> {
    let mut newest = std::collections::BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| format!("{} cannot be listed", folder.display()))? {
        let path = entry?.path();
        let Some((generator, epoch)) = path.file_name().and_then(|name| generators::of_samples(name.to_str()?)) else {
            continue;
        };
        if only.is_some_and(|only| only != generator) {
            continue;
        }
        let kept = newest.entry(generator).or_insert((epoch, path.clone()));
        if kept.0 < epoch {
            *kept = (epoch, path);
        }
    }
    let bank = folder.join("bank.npz");
    if newest.is_empty() && only.is_none() && bank.is_file() {
        return Ok(vec![bank]);
    }
    if newest.is_empty() {
        anyhow::bail!("{} holds no such samples", folder.display());
    }
    Ok(newest.into_values().map(|(_, path)| path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_samples_of_each_generator_are_drawn() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["samples-g0-e0002.npz", "samples-g0-e0010.npz", "samples-g1-e0001.npz", "bank.npz"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let names = |only| -> Vec<String> {
            let found = newest_samples(folder.path(), only).unwrap();
            found.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(names(None), ["samples-g0-e0010.npz", "samples-g1-e0001.npz"]);
        assert_eq!(names(Some(1)), ["samples-g1-e0001.npz"]);
        assert!(newest_samples(folder.path(), Some(2)).is_err());
    }

    #[test]
    fn a_generator_that_was_trained_elsewhere_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("generator-1.safetensors"), "").unwrap();
        assert_eq!(generator(folder.path(), 1).unwrap(), folder.path().join("generator-1.safetensors"));
        let error = generator(folder.path(), 0).unwrap_err().to_string();
        assert!(error.contains("no generator 0") && error.contains("--generators"), "{error}");
    }

    #[test]
    fn a_sweep_has_reports_of_other_names() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("report.txt"), "").unwrap();
        fs::write(folder.path().join("student-ratio-4.json"), "").unwrap();
        assert_eq!(report_of_sweep(folder.path()), None);
        for name in ["report-ratio-4.json", "report-ratio-2.5.json"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(report_of_sweep(folder.path()), Some(folder.path().join("report-ratio-2.5.json")));
        assert_eq!(report_of_sweep(&folder.path().join("absent")), None);
    }
}
