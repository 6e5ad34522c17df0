//! A job that is struck at every moment.

use crate::{common::wait::until, made::undisturbed, rig::Rig};

/// Small steps, but enough of each kind to strike between the first and the last.
pub const JOB: &str = r#"{
    "name": "struck",
    "input": {"mean": [0.1307], "std": [0.3081]},
    "extraction": {"generators": 2, "epochs": 12, "steps_per_epoch": 10, "batch_size": 16},
    "distillation": {"samples_per_generator": 128, "epochs": 24, "batch_size": 16, "adversarial_steps": 24, "student_steps": 5}
}"#;
const POOL_STEPS: u64 = 24 * 256 / 16;
const ALL_STEPS: u64 = POOL_STEPS + 24 * (1 + 5);

/// When a job is struck.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    Extracting,
    Pool,
    Game,
    Evaluating,
}

const MOMENTS: [Moment; 4] = [Moment::Extracting, Moment::Pool, Moment::Game, Moment::Evaluating];

impl Rig {
    /// Waits until a job of the moment is under way, with a checkpoint behind it.
    async fn reach(&self, id: &str, moment: Moment) {
        until(&format!("{moment:?}"), async || {
            let job = self.json(&format!("/jobs/{id}")).await;
            assert!(job["status"] != "failed" && job["status"] != "succeeded", "{moment:?} was missed: {job:#}");
            let points = |name: &'static str| {
                let path = format!("/jobs/{id}/metrics?names={name}");
                async move {
                    let series = self.json(&path).await;
                    let series = series["series"].as_array().unwrap().clone();
                    series.iter().map(|series| series["points"].as_array().unwrap().len()).collect::<Vec<_>>()
                }
            };
            // Of every series: whichever generator is struck has a checkpoint.
            let all = |points: Vec<usize>, series: usize, least: usize| {
                points.len() == series && points.iter().all(|&points| points >= least)
            };
            match moment {
                Moment::Extracting => all(points("classifier_loss").await, 2, 2),
                Moment::Pool => all(points("distillation_loss").await, 1, 3),
                Moment::Game => all(points("adversarial_distance").await, 1, 2),
                Moment::Evaluating => job["phase"] == "evaluating",
            }
            .then_some(())
        })
        .await;
    }
}

/// Strikes a job at every moment, and compares what comes out.
pub async fn struck(separate: bool, mut strike: impl AsyncFnMut(&mut Rig)) -> (Rig, String) {
    let mut rig = Rig::start(separate);
    let id = rig.submit(JOB).await;
    for moment in MOMENTS {
        rig.reach(&id, moment).await;
        strike(&mut rig).await;
    }
    rig.succeeded(&id).await;
    let (made, expected) = (rig.made(&id).await, undisturbed().await);
    assert_eq!(made.files, expected.files);
    assert_eq!(made.metrics, expected.metrics, "no gap, nothing twice, and the same values");
    assert_eq!((made.samples, made.agreement), (expected.samples.clone(), expected.agreement.clone()));
    (rig, id)
}

/// Each strike hit the stretch that it was meant for: that is where another run went on.
pub async fn went_on_everywhere(rig: &Rig, id: &str) {
    let (resumed, _) = rig.runs(id).await;
    let from = |kind: &str, steps: std::ops::RangeInclusive<u64>| {
        resumed.iter().any(|(of, step)| of == kind && steps.contains(step))
    };
    assert!(from("extract", 1..=119), "{resumed:?}");
    assert!(from("distill", 1..=POOL_STEPS - 1), "{resumed:?}");
    assert!(from("distill", POOL_STEPS + 1..=ALL_STEPS - 1), "{resumed:?}");
    assert!(from("distill", ALL_STEPS..=ALL_STEPS), "{resumed:?}");
}

pub async fn outcomes(rig: &Rig, id: &str, of: &str) -> usize {
    rig.runs(id).await.1.iter().filter(|(_, outcome)| outcome == of).count()
}
