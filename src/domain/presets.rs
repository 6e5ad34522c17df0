//! Presets: from what a client wrote to what a job runs with, and the bounds no request may pass.

use serde::{Deserialize, Serialize};

use super::{
    config::{
        Compression, Distillation, DistillationConfig, Extraction, ExtractionConfig, Form, JobConfig, Preset, Sampler,
        Settings,
    },
    cost::Extent,
    problem::{ErrorCode, Problem},
};

/// What the hyper-parameters of the reference depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TeacherKind {
    /// Images through plain layers: LeNet5, VGG.
    PlainImage,
    /// Images through residual blocks.
    ResidualImage,
    /// A vector of features.
    Tabular,
}

/// What the hyper-parameters of a preset depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    pub kind: TeacherKind,
    /// Whether the upload still has its batch norm, and with it what that recorded of the training data.
    pub batch_norm: bool,
}

impl From<TeacherKind> for Traits {
    fn from(kind: TeacherKind) -> Self {
        Self { kind, batch_norm: false }
    }
}

/// Weight of the distance from what batch norm recorded, where there is some.
const BATCH_NORM: f64 = 1.0;

/// Seed of a job that names none.
const SEED: u64 = 2019;

/// More classes than any classifier names.
const MAX_CLASSES: usize = 100_000;

impl JobConfig {
    /// Fills in every default; `file_stem` names the job where the configuration does not.
    ///
    /// # Errors
    /// `invalid_config` where a value lies outside its bounds.
    pub fn resolve(&self, teacher: impl Into<Traits>, file_stem: &str) -> Result<Settings, Problem> {
        let teacher = teacher.into();
        let student = self.given_student()?;
        let settings = Settings {
            name: self.name.clone().unwrap_or_else(|| file_stem.to_owned()),
            arch: self.arch,
            preset: self.preset,
            input: self.input.clone(),
            classes: self.classes.clone(),
            compression: if student.is_some() {
                Compression::nothing()
            } else {
                Compression::resolve(&self.compression)
            },
            student,
            extraction: self.extraction.over(extraction(self.preset, teacher.kind)),
            distillation: self.distillation.over(distillation(self.preset, teacher, self.extraction.sampler)),
            seed: self.seed.unwrap_or(SEED),
            device: self.device.clone().unwrap_or_else(|| "auto".to_owned()),
            priority: self.priority.unwrap_or(0),
            keep_upload: self.keep_upload.unwrap_or(true),
            from_job: self.from_job,
        };
        check(&settings)?;
        Ok(settings)
    }
}

fn extraction(preset: Preset, teacher: TeacherKind) -> Extraction {
    // The paper's appendix: beta, the decoder's depth and the learning rate are per data set.
    let (beta, decoder_layers, learning_rate) = match teacher {
        TeacherKind::PlainImage => (0.0, 1, 1e-3),
        TeacherKind::ResidualImage => (1.0, 3, 1e-2),
        TeacherKind::Tabular => (0.0, 2, 1e-4),
    };
    let paper = Extraction {
        sampler: Sampler::Kegnet,
        form: Form::Reference,
        generators: 5,
        epochs: 200,
        steps_per_epoch: 100,
        batch_size: 256,
        latent_dim: 10,
        alpha: 1.0,
        beta,
        batch_norm: 0.0,
        decoder_layers,
        learning_rate,
    };
    match preset {
        Preset::Paper => paper,
        Preset::Fast | Preset::Best => Extraction {
            generators: 3,
            epochs: 4,
            steps_per_epoch: 50,
            batch_size: 128,
            learning_rate: if teacher == TeacherKind::Tabular { 1e-3 } else { learning_rate },
            ..paper
        },
    }
}

fn distillation(preset: Preset, teacher: Traits, sampler: Option<Sampler>) -> Distillation {
    let noise = matches!(sampler, Some(Sampler::Uniform | Sampler::Gaussian));
    let learning_rate = match (teacher.kind, noise) {
        (TeacherKind::PlainImage, false) => 1e-5,
        (TeacherKind::PlainImage, true) => 1e-6,
        _ => 1e-4,
    };
    let paper = Distillation {
        samples_per_generator: 6400,
        epochs: if noise { 1000 } else { 400 },
        batch_size: 64,
        learning_rate,
        trial_steps: 0,
        adversarial_steps: 0,
        further_steps: 0,
        student_steps: 5,
        rivals: 1,
        batch_norm: 0.0,
        average_decay: 0.0,
    };
    match preset {
        Preset::Paper => paper,
        Preset::Fast | Preset::Best => Distillation {
            samples_per_generator: 2000,
            epochs: 0,
            batch_size: 192,
            learning_rate: 1.5e-3,
            trial_steps: if preset == Preset::Best { 15 } else { 0 },
            adversarial_steps: 60,
            further_steps: if preset == Preset::Best { 160 } else { 0 },
            student_steps: 10,
            rivals: 3,
            batch_norm: if teacher.batch_norm { BATCH_NORM } else { 0.0 },
            average_decay: 0.995,
        },
    }
}

impl ExtractionConfig {
    fn over(&self, preset: Extraction) -> Extraction {
        Extraction {
            sampler: self.sampler.unwrap_or(preset.sampler),
            form: self.form.unwrap_or(preset.form),
            generators: self.generators.unwrap_or(preset.generators),
            epochs: self.epochs.unwrap_or(preset.epochs),
            steps_per_epoch: self.steps_per_epoch.unwrap_or(preset.steps_per_epoch),
            batch_size: self.batch_size.unwrap_or(preset.batch_size),
            latent_dim: self.latent_dim.unwrap_or(preset.latent_dim),
            alpha: self.alpha.unwrap_or(preset.alpha),
            beta: self.beta.unwrap_or(preset.beta),
            batch_norm: self.batch_norm.unwrap_or(preset.batch_norm),
            decoder_layers: self.decoder_layers.unwrap_or(preset.decoder_layers),
            learning_rate: self.learning_rate.unwrap_or(preset.learning_rate),
        }
    }
}

impl DistillationConfig {
    fn over(&self, preset: Distillation) -> Distillation {
        Distillation {
            samples_per_generator: self.samples_per_generator.unwrap_or(preset.samples_per_generator),
            epochs: self.epochs.unwrap_or(preset.epochs),
            batch_size: self.batch_size.unwrap_or(preset.batch_size),
            learning_rate: self.learning_rate.unwrap_or(preset.learning_rate),
            trial_steps: self.trial_steps.unwrap_or(preset.trial_steps),
            further_steps: self.further_steps.unwrap_or(preset.further_steps),
            adversarial_steps: self.adversarial_steps.unwrap_or(preset.adversarial_steps),
            student_steps: self.student_steps.unwrap_or(preset.student_steps),
            rivals: self.rivals.unwrap_or(preset.rivals),
            batch_norm: self.batch_norm.unwrap_or(preset.batch_norm),
            average_decay: self.average_decay.unwrap_or(preset.average_decay),
        }
    }
}

/// Bounds that keep one request from exhausting the machine.
fn check(settings: &Settings) -> Result<(), Problem> {
    let extraction = &settings.extraction;
    let distillation = &settings.distillation;
    bounded("extraction.generators", f64::from(extraction.generators), 1.0, 32.0)?;
    bounded("extraction.epochs", f64::from(extraction.epochs), 1.0, 10_000.0)?;
    bounded("extraction.steps_per_epoch", f64::from(extraction.steps_per_epoch), 1.0, 10_000.0)?;
    bounded("extraction.batch_size", f64::from(extraction.batch_size), 2.0, 4096.0)?;
    bounded("extraction.latent_dim", f64::from(extraction.latent_dim), 1.0, 4096.0)?;
    bounded("extraction.alpha", extraction.alpha, 0.0, 1e6)?;
    bounded("extraction.beta", extraction.beta, 0.0, 1e6)?;
    bounded("extraction.batch_norm", extraction.batch_norm, 0.0, 1e6)?;
    bounded("extraction.decoder_layers", f64::from(extraction.decoder_layers), 0.0, 32.0)?;
    bounded("extraction.learning_rate", extraction.learning_rate, 1e-9, 10.0)?;
    bounded("distillation.samples_per_generator", f64::from(distillation.samples_per_generator), 2.0, 1e6)?;
    bounded("distillation.epochs", f64::from(distillation.epochs), 0.0, 10_000.0)?;
    bounded("distillation.batch_size", f64::from(distillation.batch_size), 2.0, 4096.0)?;
    bounded("distillation.learning_rate", distillation.learning_rate, 1e-9, 10.0)?;
    bounded("distillation.trial_steps", f64::from(distillation.trial_steps), 0.0, 1e6)?;
    bounded("distillation.adversarial_steps", f64::from(distillation.adversarial_steps), 0.0, 1e6)?;
    bounded("distillation.further_steps", f64::from(distillation.further_steps), 0.0, 1e6)?;
    bounded("distillation.student_steps", f64::from(distillation.student_steps), 1.0, 1000.0)?;
    bounded("distillation.rivals", f64::from(distillation.rivals), 1.0, 32.0)?;
    bounded("distillation.batch_norm", distillation.batch_norm, 0.0, 1e6)?;
    bounded("distillation.average_decay", distillation.average_decay, 0.0, 0.999_999)?;
    bounded("priority", f64::from(settings.priority), -100.0, 100.0)?;
    settings.compression.check()?;
    check_second_game(distillation)?;
    check_input(settings)?;
    check_names(settings)?;
    Extent::configured(settings).check(settings)
}

/// What comes of the second game is judged by the job's samples. A student that learned from these is judged by nothing.
fn check_second_game(distillation: &Distillation) -> Result<(), Problem> {
    // Without a first game there is no second.
    if [distillation.epochs, distillation.further_steps, distillation.adversarial_steps].contains(&0) {
        return Ok(());
    }
    Err(invalid(
        "distillation",
        "`epochs` learn from the samples by which the second game of `further_steps` is judged",
        "Set epochs to 0 for the second game, or further_steps to 0 to learn from the samples.",
    ))
}

fn check_input(settings: &Settings) -> Result<(), Problem> {
    let input = &settings.input;
    if let Some(shape) = &input.shape
        && (shape.is_empty() || shape.len() > 3 || shape.iter().any(|&size| size == 0 || size > 4096))
    {
        return Err(invalid(
            "input.shape",
            &format!("{shape:?} is no shape of one input"),
            "Give one input as the model takes it, [channels, height, width] or [features], each from 1 to 4096, without \
             the batch.",
        ));
    }
    match (&input.mean, &input.std) {
        (None, None) => Ok(()),
        (Some(mean), Some(std)) if mean.len() == std.len() && !mean.is_empty() => {
            if std.iter().any(|&value| !(value.is_finite() && value > 0.0))
                || mean.iter().any(|value| !value.is_finite())
            {
                return Err(invalid("input.std", "every value must be a finite number above 0", "Correct the values."));
            }
            Ok(())
        }
        _ => Err(invalid(
            "input.mean",
            "`mean` and `std` must be given together, one value for each channel",
            "Give both, or neither.",
        )),
    }
}

fn check_names(settings: &Settings) -> Result<(), Problem> {
    if settings.name.is_empty() || settings.name.len() > 200 || settings.name.chars().any(char::is_control) {
        return Err(invalid("name", "a name has 1 to 200 bytes and no control characters", "Choose another name."));
    }
    let classes = settings.classes.iter().flatten();
    if settings.classes.as_ref().is_some_and(|names| names.len() > MAX_CLASSES)
        || classes.into_iter().any(|name| name.len() > 200 || name.chars().any(char::is_control))
    {
        return Err(invalid(
            "classes",
            &format!("there are at most {MAX_CLASSES} names, of at most 200 bytes and without control characters"),
            "Shorten the names, or leave them out.",
        ));
    }
    let device = settings.device.as_str();
    let known = matches!(device, "auto" | "cpu" | "cuda")
        || device.strip_prefix("cuda:").is_some_and(|index| index.parse::<u8>().is_ok());
    if !known {
        return Err(invalid("device", &format!("`{device}` is no device"), "Use auto, cpu, cuda or cuda:N."));
    }
    Ok(())
}

pub(super) fn bounded(member: &str, value: f64, low: f64, high: f64) -> Result<(), Problem> {
    if value.is_finite() && (low..=high).contains(&value) {
        return Ok(());
    }
    Err(invalid(
        member,
        &format!("{value} lies outside {low} to {high}"),
        &format!("Give a value from {low} to {high}."),
    ))
}

pub(super) fn invalid(member: &str, detail: &str, hint: &str) -> Problem {
    let param = format!("config.{member}");
    Problem::new(ErrorCode::InvalidConfig, format!("{param}: {detail}")).param(param).hint(hint)
}

#[cfg(test)]
mod reference;

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn settings(config: &str, batch_norm: bool) -> Settings {
        let teacher = Traits { kind: TeacherKind::ResidualImage, batch_norm };
        JobConfig::parse(config.as_bytes()).unwrap().resolve(teacher, "m").unwrap()
    }

    #[rstest]
    #[case::fast(r#"{"preset": "fast"}"#, true, BATCH_NORM)]
    #[case::best(r#"{"preset": "best"}"#, true, BATCH_NORM)]
    #[case::nothing_recorded(r#"{"preset": "best"}"#, false, 0.0)]
    #[case::the_method_alone(r#"{"preset": "paper"}"#, true, 0.0)]
    fn the_game_keeps_to_what_batch_norm_recorded(#[case] config: &str, #[case] recorded: bool, #[case] expected: f64) {
        let Settings { extraction, distillation, .. } = settings(config, recorded);
        assert_eq!(distillation.batch_norm, expected);
        // Students of any ratio agree on what such generators make: nothing could be judged on it.
        assert_eq!((extraction.form, extraction.batch_norm), (Form::Reference, 0.0));
    }

    #[test]
    fn a_second_game_is_not_judged_by_what_the_student_learned_from() {
        let both = JobConfig::parse(br#"{"preset": "best", "distillation": {"epochs": 50}}"#).unwrap();
        let problem = both.resolve(TeacherKind::PlainImage, "m").unwrap_err();
        assert!(problem.detail.contains("by which the second game") && problem.hint.is_some(), "{problem}");
        let alone = r#"{"preset": "best", "distillation": {"epochs": 50, "further_steps": 0}}"#;
        assert_eq!(settings(alone, false).distillation.epochs, 50);
        let no_game = r#"{"preset": "best", "distillation": {"epochs": 50, "adversarial_steps": 0}}"#;
        assert_eq!(settings(no_game, false).distillation.epochs, 50);
    }

    #[test]
    fn a_given_weight_is_taken() {
        let config = r#"{"extraction": {"batch_norm": 1.0, "form": "smooth"}, "distillation": {"batch_norm": 3.0}}"#;
        let Settings { extraction, distillation, .. } = settings(config, true);
        assert_eq!((extraction.batch_norm, distillation.batch_norm), (1.0, 3.0));
        assert_eq!(extraction.form, Form::Smooth);
        let refused = JobConfig::parse(br#"{"extraction": {"batch_norm": -1.0}}"#).unwrap();
        let problem = refused.resolve(TeacherKind::PlainImage, "m").unwrap_err();
        assert_eq!(problem.param.as_deref(), Some("config.extraction.batch_norm"));
    }
}
