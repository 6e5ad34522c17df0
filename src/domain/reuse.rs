//! `from_job`: what a job takes over from the one whose generators it uses again.

use super::{
    config::{JobConfig, Sampler, Settings},
    ids::JobId,
    problem::{Cause, ErrorCode, Problem},
};

impl Settings {
    /// With what decided over the generators of `source`, whose settings were resolved when they were trained.
    pub fn reusing(self, source: &Self) -> Self {
        if self.from_job.is_none() {
            return self;
        }
        let arch = self.arch.or(source.arch);
        Self { arch, extraction: source.extraction.clone(), input: source.input.clone(), ..self }
    }
}

impl JobConfig {
    /// Refuses what is said of generators and was otherwise when those of `source` were trained.
    ///
    /// # Errors
    /// `invalid_config`, naming every member that differs.
    pub fn check_reuse(&self, source: &Settings) -> Result<(), Problem> {
        if source.extraction.sampler != Sampler::Kegnet {
            return Err(refused("it learned from noise, and has no generators".to_owned())
                .hint("Name a job whose sampler is kegnet, or leave `from_job` out."));
        }
        let extraction = differences("extraction", &self.extraction, &source.extraction);
        let causes: Vec<Cause> =
            extraction.into_iter().chain(differences("input", &self.input, &source.input)).collect();
        if causes.is_empty() {
            return Ok(());
        }
        let details: Vec<&str> = causes.iter().map(|cause| cause.detail.as_str()).collect();
        Err(refused(format!("its generators were trained with other settings: {}", details.join("; ")))
            .hint("Leave these members out, to take them from that job; or leave `from_job` out, to train anew.")
            .errors(causes))
    }
}

/// Members that `given` has, and `trained` has otherwise.
fn differences(section: &str, given: &impl serde::Serialize, trained: &impl serde::Serialize) -> Vec<Cause> {
    let members = |value: serde_json::Value| match value {
        serde_json::Value::Object(members) => members,
        _ => serde_json::Map::new(),
    };
    let trained = members(serde_json::to_value(trained).unwrap_or_default());
    let given = members(serde_json::to_value(given).unwrap_or_default());
    let differs = given.into_iter().filter(|(name, value)| !value.is_null() && trained.get(name) != Some(value));
    let cause = |(name, value): (String, serde_json::Value)| {
        let before = trained.get(&name).map_or("nothing".to_owned(), ToString::to_string);
        Cause {
            detail: format!("`{section}.{name}` is {value} here, and was {before}"),
            param: Some(format!("config.{section}.{name}")),
            operator: None,
        }
    };
    differs.map(cause).collect()
}

/// Why the generators of a job cannot be used.
pub fn refused(why: String) -> Problem {
    Problem::new(ErrorCode::InvalidConfig, format!("config.from_job: {why}")).param("config.from_job")
}

/// There is no such job; nor, for this caller, where it is somebody else's.
pub fn unknown(job: JobId) -> Problem {
    refused(format!("you have no job {job}")).hint("GET /jobs lists the jobs; `owner` says whose each is.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::presets::TeacherKind;

    fn config(json: &str) -> JobConfig {
        JobConfig::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn generators_keep_the_settings_that_they_were_trained_with() {
        let source =
            config(r#"{"preset": "paper", "input": {"mean": [0.1], "std": [0.3]}, "extraction": {"epochs": 7}}"#)
                .resolve(TeacherKind::ResidualImage, "m")
                .unwrap();
        let id = JobId::new();
        let plain = config(&format!(r#"{{"from_job": "{id}", "extraction": {{"epochs": 7, "alpha": 1.0}}}}"#));
        plain.check_reuse(&source).unwrap();
        let settings = plain.resolve(TeacherKind::PlainImage, "m").unwrap().reusing(&source);
        assert_eq!(
            (settings.from_job, &settings.extraction, &settings.input),
            (Some(id), &source.extraction, &source.input)
        );
        let other = config(r#"{"extraction": {"epochs": 8, "generators": 2}, "input": {"mean": [0.1], "std": [0.4]}}"#);
        let problem = other.check_reuse(&source).unwrap_err();
        let members: Vec<&str> = problem.errors.iter().map(|cause| cause.param.as_deref().unwrap()).collect();
        assert_eq!(members, ["config.extraction.generators", "config.extraction.epochs", "config.input.std"]);
        assert!(problem.detail.contains("`extraction.epochs` is 8 here, and was 7"), "{problem}");
        let noise = config(r#"{"extraction": {"sampler": "uniform"}}"#).resolve(TeacherKind::PlainImage, "m").unwrap();
        assert!(plain.check_reuse(&noise).unwrap_err().detail.contains("noise"));
    }
}
