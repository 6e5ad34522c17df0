//! Which tasks a job has, and what each weighs in its progress.

use crate::domain::{
    config::{Sampler, Settings},
    job::Phase,
    task::TaskKind,
};

const INSPECT_SHARE: f64 = 0.02;
const EXTRACT_SHARE: f64 = 0.40;

/// How many generators a job trains: none for the baselines, which sample noise.
pub(super) fn generators(settings: &Settings) -> u32 {
    match settings.extraction.sampler {
        Sampler::Kegnet => settings.extraction.generators,
        Sampler::Uniform | Sampler::Gaussian => 0,
    }
}

/// What follows a successful inspection.
pub(super) fn after_inspection(settings: &Settings) -> Vec<TaskKind> {
    match generators(settings) {
        0 => vec![TaskKind::Distill],
        count => (0..count).map(|generator| TaskKind::Extract { generator }).collect(),
    }
}

/// The part of the whole job that one task is. The parts of all tasks of a job add up to 1.
pub(super) fn share(kind: TaskKind, generators: u32) -> f64 {
    let extraction = if generators == 0 { 0.0 } else { EXTRACT_SHARE };
    match kind {
        TaskKind::Inspect => INSPECT_SHARE,
        TaskKind::Extract { .. } => extraction / f64::from(generators.max(1)),
        TaskKind::Distill => 1.0 - INSPECT_SHARE - extraction,
    }
}

/// What a job is doing when a run of that kind begins.
pub(super) fn first_phase(kind: TaskKind) -> Phase {
    match kind {
        TaskKind::Inspect => Phase::Importing,
        TaskKind::Extract { .. } => Phase::Extracting,
        TaskKind::Distill => Phase::Compressing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_all_tasks_are_the_whole_job() {
        for generators in [0, 1, 5] {
            let extraction: f64 =
                (0..generators).map(|generator| share(TaskKind::Extract { generator }, generators)).sum();
            let whole = share(TaskKind::Inspect, generators) + extraction + share(TaskKind::Distill, generators);
            assert!((whole - 1.0).abs() < 1e-12, "{generators} generators: {whole}");
        }
    }
}
