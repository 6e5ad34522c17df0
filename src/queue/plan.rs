//! Which tasks a job has, and what each weighs in its progress.

use crate::domain::{
    config::{Sampler, Settings},
    job::Phase,
    task::TaskKind,
};

const INSPECT_SHARE: f64 = 0.02;
const EXTRACT_SHARE: f64 = 0.40;

/// How many generators a job trains: none for the baselines, which sample noise, and none where it uses another job's.
pub(super) fn generators(settings: &Settings) -> u32 {
    match settings.extraction.sampler {
        // Those of another job are there already.
        Sampler::Kegnet if settings.from_job.is_some() => 0,
        Sampler::Kegnet => settings.extraction.generators,
        Sampler::Uniform | Sampler::Gaussian => 0,
    }
}

/// One task for each student, once there are generators.
pub(super) fn after_extraction(settings: &Settings) -> Vec<TaskKind> {
    (0..settings.compression.students()).map(|target| TaskKind::Distill { target }).collect()
}

/// What follows a successful inspection.
pub(super) fn after_inspection(settings: &Settings) -> Vec<TaskKind> {
    match generators(settings) {
        0 => after_extraction(settings),
        count => (0..count).map(|generator| TaskKind::Extract { generator }).collect(),
    }
}

/// The part of the whole job that one task is. The parts of all tasks of a job add up to 1.
pub(super) fn share(kind: TaskKind, settings: &Settings) -> f64 {
    let (generators, students) = (generators(settings), settings.compression.students());
    let extraction = if generators == 0 { 0.0 } else { EXTRACT_SHARE };
    match kind {
        TaskKind::Inspect => INSPECT_SHARE,
        TaskKind::Extract { .. } => extraction / f64::from(generators.max(1)),
        TaskKind::Distill { .. } => (1.0 - INSPECT_SHARE - extraction) / f64::from(students),
    }
}

/// What a job is doing when a run of that kind begins.
pub(super) fn first_phase(kind: TaskKind) -> Phase {
    match kind {
        TaskKind::Inspect => Phase::Importing,
        TaskKind::Extract { .. } => Phase::Extracting,
        TaskKind::Distill { .. } => Phase::Compressing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{config::JobConfig, presets::TeacherKind};

    #[test]
    fn the_shares_of_all_tasks_are_the_whole_job() {
        for config in [
            "{}",
            r#"{"extraction": {"generators": 1}}"#,
            r#"{"extraction": {"sampler": "uniform"}, "compression": {"ratio": [2, 4, 8]}}"#,
            r#"{"from_job": "01939b5a-0000-7000-8000-000000000000", "compression": {"macs": [2, 4]}}"#,
        ] {
            let settings = JobConfig::parse(config.as_bytes()).unwrap().resolve(TeacherKind::PlainImage, "m").unwrap();
            let mut tasks = vec![TaskKind::Inspect];
            tasks.extend(after_inspection(&settings));
            if generators(&settings) > 0 {
                tasks.extend(after_extraction(&settings));
            }
            let whole: f64 = tasks.iter().map(|&task| share(task, &settings)).sum();
            assert!((whole - 1.0).abs() < 1e-12, "{config}: {whole}");
        }
    }
}
