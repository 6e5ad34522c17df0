//! From the progress of tasks to the progress of their job.

use super::plan::{first_phase, generators, share};
use crate::{
    domain::{
        config::Settings,
        job::{Phase, Progress},
        task::{TaskKind, TaskStatus},
    },
    store::TaskRow,
};

/// How far a job is, seen from the run that just reported `current`. Never less than `floor`: a run that starts again does
/// not take back what the client was shown.
pub(super) fn job_progress(
    tasks: &[TaskRow],
    settings: &Settings,
    (kind, current): (TaskKind, &Progress),
    floor: f64,
) -> Progress {
    let done: f64 = tasks.iter().map(|task| share(task.kind, settings) * fraction(task)).sum();
    let fraction = done.max(floor).clamp(0.0, 1.0);
    let siblings = match kind {
        TaskKind::Extract { .. } => generators(settings),
        TaskKind::Inspect => 1,
        TaskKind::Distill { .. } => settings.compression.students(),
    };
    let (step, steps) =
        if siblings > 1 { steps(tasks, kind, current, siblings) } else { (current.step, current.steps) };
    Progress { fraction, phase: phase(tasks, current), step, steps, eta_seconds: eta(tasks, settings, fraction) }
}

/// That of the run which has come least far: runs side by side would otherwise take the job back and forth.
fn phase(tasks: &[TaskRow], current: &Progress) -> Phase {
    let running = tasks.iter().filter(|task| task.status == TaskStatus::Running);
    let phases = running.map(|task| task.progress.as_ref().map_or(first_phase(task.kind), |progress| progress.phase));
    phases.min().unwrap_or(current.phase)
}

fn fraction(task: &TaskRow) -> f64 {
    match (task.status, &task.progress) {
        (TaskStatus::Succeeded, _) => 1.0,
        (_, Some(progress)) => progress.fraction.clamp(0.0, 1.0),
        (_, None) => 0.0,
    }
}

/// Steps over all tasks of a kind: each has as many as the one that reports.
fn steps(tasks: &[TaskRow], kind: TaskKind, current: &Progress, count: u32) -> (u64, u64) {
    let of = |task: &TaskRow| match (task.status, &task.progress) {
        _ if task.kind.name() != kind.name() => 0,
        (TaskStatus::Succeeded, _) => current.steps,
        (_, Some(progress)) => progress.step.min(current.steps),
        _ => 0,
    };
    (tasks.iter().map(of).sum(), current.steps.saturating_mul(u64::from(count)))
}

/// Seconds left, if the job goes on as fast as its running tasks together do now, each in shares of the job per second.
fn eta(tasks: &[TaskRow], settings: &Settings, fraction: f64) -> Option<f64> {
    let speed = |task: &TaskRow| {
        let progress = task.progress.as_ref()?;
        let left = progress.eta_seconds.filter(|eta| *eta > 0.0)?;
        Some(share(task.kind, settings) * (1.0 - progress.fraction) / left)
    };
    let running = tasks.iter().filter(|task| task.status == TaskStatus::Running);
    let total: f64 = running.filter_map(speed).sum();
    (total > 0.0).then(|| (1.0 - fraction) / total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        config::JobConfig,
        ids::{JobId, TaskId},
        presets::TeacherKind,
    };

    fn task(kind: TaskKind, status: TaskStatus, progress: Option<Progress>) -> TaskRow {
        let (id, job) = (TaskId::new(), JobId::new());
        TaskRow {
            id,
            job,
            kind,
            status,
            run: 1,
            losses: 0,
            run_after: 0,
            queued_at: 0,
            cancel_requested: false,
            progress,
        }
    }

    fn at(fraction: f64, eta_seconds: Option<f64>) -> Progress {
        Progress { fraction, phase: Phase::Extracting, step: (fraction * 200.0) as u64, steps: 200, eta_seconds }
    }

    /// Two generators, the first at `fraction`, the second waiting.
    fn job(fraction: f64, eta: Option<f64>, floor: f64) -> Progress {
        let mut settings = JobConfig::default().resolve(TeacherKind::PlainImage, "m").unwrap();
        settings.extraction.generators = 2;
        let current = at(fraction, eta);
        let first = TaskKind::Extract { generator: 0 };
        let tasks = [
            task(TaskKind::Inspect, TaskStatus::Succeeded, None),
            task(first, TaskStatus::Running, Some(current.clone())),
            task(TaskKind::Extract { generator: 1 }, TaskStatus::Queued, None),
        ];
        job_progress(&tasks, &settings, (first, &current), floor)
    }

    #[test]
    fn a_generator_counts_for_its_share() {
        let progress = job(0.5, None, 0.0);
        assert!((progress.fraction - (0.02 + 0.5 * 0.2)).abs() < 1e-12);
        assert_eq!((progress.step, progress.steps, progress.eta_seconds), (100, 400, None));
    }

    #[test]
    fn a_sweep_is_in_the_phase_of_its_slowest_student() {
        let config = JobConfig::parse(br#"{"compression": {"ratio": [2, 4]}}"#).unwrap();
        let settings = config.resolve(TeacherKind::PlainImage, "m").unwrap();
        let in_phase = |phase, fraction| Progress { phase, ..at(fraction, None) };
        let first = TaskKind::Distill { target: 0 };
        let ahead = in_phase(Phase::Evaluating, 0.9);
        let behind = |progress| {
            let tasks = [
                task(first, TaskStatus::Running, Some(ahead.clone())),
                task(TaskKind::Distill { target: 1 }, TaskStatus::Running, progress),
            ];
            job_progress(&tasks, &settings, (first, &ahead), 0.0)
        };
        assert_eq!(behind(None).phase, Phase::Compressing);
        let both = behind(Some(in_phase(Phase::Distilling, 0.5)));
        assert_eq!((both.phase, both.step, both.steps), (Phase::Distilling, 280, 400));
        assert!((both.fraction - 0.58 / 2.0 * 1.4).abs() < 1e-12, "{}", both.fraction);
    }

    #[test]
    fn a_restart_takes_nothing_back() {
        assert_eq!(job(0.0, None, 0.3).fraction, 0.3);
    }

    #[test]
    fn time_left_is_that_of_the_whole_job() {
        // Half of a fifth of the job takes 10 s, so the 88 % that are left take 88 s.
        let eta = job(0.5, Some(10.0), 0.0).eta_seconds.unwrap();
        assert!((eta - 88.0).abs() < 1e-9, "{eta}");
    }
}
