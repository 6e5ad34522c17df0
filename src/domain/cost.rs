//! What a configuration comes to as a whole: members that are each within their bounds can still multiply to more than any
//! machine has. Estimates from below: what is refused here cannot run, or not within years.

use super::{
    config::{Sampler, Settings},
    model::ModelFacts,
    presets::invalid,
    problem::Problem,
};

/// What is known of a teacher; 1 where nothing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Elements of one input.
    pub elements: u64,
    pub classes: u64,
}

/// Float32 values of one batch of inputs: 2 GiB, and a network's own activations are several times more.
const MAX_BATCH: u64 = 1 << 29;

/// Weights of the decoder's first layer: 1 GiB, four times with its gradient and Adam's moments.
const MAX_DECODER: u64 = 1 << 28;
/// Units of the decoder's hidden layers.
const DECODER_UNITS: u64 = 120;

/// Inputs that the student learns from, all generators together, and the teacher's answers to them: 1 GiB.
const MAX_SAMPLES: u64 = 1 << 22;
const MAX_ANSWERS: u64 = 1 << 28;

/// Steps of one generator, and of a student; hundreds of times what the published method takes.
const MAX_STEPS: u64 = 10_000_000;

/// Float32 values that all generators make while they train: the published method on 224 x 224 images makes 4e12.
const MAX_GENERATED: u64 = 1_000_000_000_000_000;

impl Extent {
    /// What the configuration itself says.
    pub fn configured(settings: &Settings) -> Self {
        let elements =
            settings.input.shape.iter().flatten().fold(1, |product: u64, &size| product.saturating_mul(size as u64));
        Self { elements, classes: settings.classes.as_ref().map_or(1, |names| names.len() as u64) }
    }

    /// What the model has.
    pub fn of(model: &ModelFacts) -> Self {
        let one = model.input.shape.iter().skip(1).flatten();
        Self {
            elements: one.fold(1, |product: u64, &size| product.saturating_mul(size as u64)),
            classes: model.classes as u64,
        }
    }

    /// Refuses what does not fit any machine.
    ///
    /// # Errors
    /// `invalid_config`, naming the member to lower.
    pub fn check(self, settings: &Settings) -> Result<(), Problem> {
        self.check_memory(settings)?;
        self.check_time(settings)
    }

    fn check_memory(self, settings: &Settings) -> Result<(), Problem> {
        let (extraction, distillation) = (&settings.extraction, &settings.distillation);
        // Whatever the student learns from, the audit trains a generator.
        if self.elements.saturating_mul(DECODER_UNITS) > MAX_DECODER {
            let most = MAX_DECODER / DECODER_UNITS;
            return Err(invalid(
                "input.shape",
                &format!("an input of {} elements is too large for the decoder; the most are {most}", self.elements),
                "Give the model's smaller input size.",
            ));
        }
        for (member, batch) in
            [("extraction.batch_size", extraction.batch_size), ("distillation.batch_size", distillation.batch_size)]
        {
            let needed = u64::from(batch).saturating_mul(self.elements);
            if needed > MAX_BATCH {
                return Err(invalid(
                    member,
                    &format!(
                        "{batch} inputs of {} elements are {needed} values at once; the most are {MAX_BATCH}",
                        self.elements
                    ),
                    &format!("Give at most {}.", (MAX_BATCH / self.elements).max(2)),
                ));
            }
        }
        let sources = if extraction.sampler == Sampler::Kegnet { u64::from(extraction.generators) } else { 1 };
        let samples = sources.saturating_mul(distillation.samples_per_generator.into());
        let most = MAX_SAMPLES.min(MAX_ANSWERS / self.classes.max(1));
        if samples > most {
            return Err(invalid(
                "distillation.samples_per_generator",
                &format!(
                    "{samples} samples of {sources} generators, {} classes each; the most are {most}",
                    self.classes
                ),
                &format!("Give at most {}, or fewer extraction.generators.", most / sources.max(1)),
            ));
        }
        Ok(())
    }

    fn check_time(self, settings: &Settings) -> Result<(), Problem> {
        let (extraction, distillation) = (&settings.extraction, &settings.distillation);
        let trains = extraction.sampler == Sampler::Kegnet;
        let sources = if trains { u64::from(extraction.generators) } else { 1 };
        if trains {
            let steps = u64::from(extraction.epochs) * u64::from(extraction.steps_per_epoch);
            bounded("extraction.epochs", "steps of a generator", steps, MAX_STEPS)?;
            let made = [u64::from(extraction.batch_size), sources, self.elements]
                .iter()
                .fold(steps, |product, &factor| product.saturating_mul(factor));
            bounded("extraction.epochs", "generated values", made, MAX_GENERATED)?;
        }
        let samples = sources * u64::from(distillation.samples_per_generator);
        let batches = samples / u64::from(distillation.batch_size.max(1)) + 1;
        bounded("distillation.epochs", "steps of the student", batches * u64::from(distillation.epochs), MAX_STEPS)?;
        for (member, rounds) in [
            ("distillation.trial_steps", distillation.trial_steps),
            ("distillation.adversarial_steps", distillation.adversarial_steps),
            ("distillation.further_steps", distillation.further_steps),
        ] {
            let lessons = u64::from(rounds) * u64::from(distillation.student_steps);
            bounded(member, "steps of the student", lessons, MAX_STEPS)?;
        }
        Ok(())
    }
}

fn bounded(member: &str, what: &str, value: u64, most: u64) -> Result<(), Problem> {
    if value <= most {
        return Ok(());
    }
    let (detail, hint) = (
        format!("it comes to {value} {what}; the most are {most}"),
        format!("Lower it by a factor of {} or more.", value.div_ceil(most)),
    );
    Err(invalid(member, &detail, &hint))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::domain::{config::JobConfig, presets::TeacherKind};

    fn settings(config: &str) -> Result<Settings, Problem> {
        JobConfig::parse(config.as_bytes()).unwrap().resolve(TeacherKind::ResidualImage, "m")
    }

    #[rstest]
    #[case::batch(r#"{"extraction": {"batch_size": 4096}}"#, "extraction.batch_size")]
    #[case::student_batch(r#"{"distillation": {"batch_size": 4096}}"#, "distillation.batch_size")]
    #[case::samples(
        r#"{"extraction": {"generators": 32}, "distillation": {"samples_per_generator": 100000}}"#,
        "distillation.samples_per_generator"
    )]
    #[case::steps(r#"{"extraction": {"epochs": 10000, "steps_per_epoch": 10000}}"#, "extraction.epochs")]
    #[case::values(
        r#"{"extraction": {"epochs": 10000, "steps_per_epoch": 1000, "batch_size": 256}}"#,
        "extraction.epochs"
    )]
    #[case::student_steps(
        r#"{"distillation": {"epochs": 10000, "samples_per_generator": 80000, "batch_size": 2}}"#,
        "distillation.epochs"
    )]
    #[case::lessons(
        r#"{"distillation": {"adversarial_steps": 1000000, "student_steps": 1000}}"#,
        "distillation.adversarial_steps"
    )]
    #[case::trial(r#"{"distillation": {"trial_steps": 1000000, "student_steps": 1000}}"#, "distillation.trial_steps")]
    #[case::further_lessons(
        r#"{"distillation": {"further_steps": 1000000, "student_steps": 1000}}"#,
        "distillation.further_steps"
    )]
    fn products_are_bounded(#[case] config: &str, #[case] member: &str) {
        let large = Extent { elements: 3 * 512 * 512, classes: 1000 };
        let problem = settings(config).and_then(|settings| large.check(&settings)).unwrap_err();
        assert_eq!(problem.param.as_deref(), Some(&*format!("config.{member}")), "{problem}");
        assert!(problem.hint.is_some());
    }

    #[test]
    fn an_input_that_is_too_large_for_the_decoder() {
        let huge = Extent { elements: 3 * 4096 * 4096, classes: 10 };
        let problem = huge.check(&settings("{}").unwrap()).unwrap_err();
        assert_eq!(problem.param.as_deref(), Some("config.input.shape"));
        let noise = settings(r#"{"extraction": {"sampler": "uniform"}, "distillation": {"batch_size": 8}}"#).unwrap();
        assert!(huge.check(&noise).is_err(), "the audit needs a decoder too");
    }

    #[test]
    fn what_the_configuration_says_is_checked_before_the_model_is_known() {
        let problem = settings(r#"{"input": {"shape": [3, 4096, 4096]}}"#).unwrap_err();
        assert_eq!(problem.param.as_deref(), Some("config.input.shape"));
        settings(r#"{"input": {"shape": [3, 224, 224]}}"#).unwrap();
    }

    #[rstest]
    #[case("fast")]
    #[case("paper")]
    #[case("best")]
    fn the_presets_fit_large_images(#[case] preset: &str) {
        let settings = settings(&format!(r#"{{"preset": "{preset}"}}"#)).unwrap();
        Extent { elements: 3 * 384 * 384, classes: 1000 }.check(&settings).unwrap();
    }

    #[test]
    fn no_combination_within_the_bounds_overflows() {
        let most = Extent { elements: u64::MAX, classes: u64::MAX };
        let config = r#"{"extraction": {"sampler": "uniform", "generators": 32}, "distillation": {"samples_per_generator": 1000000, "epochs": 10000, "batch_size": 2}}"#;
        let settings = JobConfig::parse(config.as_bytes()).unwrap();
        assert!(settings.resolve(TeacherKind::Tabular, "m").is_err());
        let plain = JobConfig::default().resolve(TeacherKind::Tabular, "m").unwrap();
        assert!(most.check(&plain).is_err());
    }
}
