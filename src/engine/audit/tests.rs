//! The audit on a real teacher, with students of which is known how they differ.

use std::sync::{Mutex, PoisonError};

use tch::Device;

use super::*;
use crate::{
    domain::{config::JobConfig, job::Progress, presets::TeacherKind},
    engine::rival,
    formats::{
        graph::{Data, Graph},
        onnx,
    },
    protocol::{MetricPoint, Role},
};

const TEACHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/lenet5-mnist.onnx");

/// Audits are large and take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Counts, and cancels after so many steps.
#[derive(Default)]
struct Steps {
    fractions: Vec<f64>,
    cancel_after: Option<usize>,
}

impl Observer for Steps {
    fn progress(&mut self, progress: Progress) -> Result<(), Stop> {
        self.fractions.push(progress.fraction);
        if self.cancel_after.is_some_and(|most| self.fractions.len() > most) { Err(Stop::Canceled) } else { Ok(()) }
    }

    fn metrics(&mut self, points: Vec<MetricPoint>) {
        panic!("the audit's losses are nobody's: {points:?}");
    }

    fn sample(&mut self, _: &std::path::Path, _: u32, _: u32, _: u64) {}

    fn artifact(&mut self, _: &std::path::Path, _: Role) {}
}

fn teacher() -> Graph {
    onnx::import(&std::fs::read(TEACHER).unwrap(), &onnx::ImportOptions::default()).unwrap().graph
}

/// The teacher, but that the logit of `class` has the other sign.
fn negated(class: usize) -> Graph {
    let mut graph = teacher();
    for constant in graph.weights.values_mut() {
        let Data::F32(values) = &mut constant.data else { continue };
        match constant.shape[..] {
            [10, features] => values[class * features..][..features].iter_mut().for_each(|value| *value = -*value),
            [features, 10] => (0..features).for_each(|row| values[row * 10 + class] *= -1.0),
            [10] => values[class] *= -1.0,
            _ => {}
        }
    }
    assert_ne!(graph.weights, teacher().weights);
    graph
}

fn settings(seed: u64) -> Settings {
    let small = r#"{"extraction": {"generators": 1, "epochs": 2, "steps_per_epoch": 50, "batch_size": 64}}"#;
    let mut config = JobConfig::parse(small.as_bytes()).unwrap();
    config.seed = Some(seed);
    config.resolve(TeacherKind::PlainImage, "lenet5").unwrap()
}

fn audit(student: &Graph, seed: u64, steps: &mut Steps) -> Result<(Agreement, Audit), Stop> {
    audit_by(&settings(seed), student, steps)
}

fn audit_by(settings: &Settings, student: &Graph, steps: &mut Steps) -> Result<(Agreement, Audit), Stop> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let teacher = Teacher::new(teacher(), Device::Cpu)?;
    let student = Executor::new(&student.logits().unwrap_or_else(|| student.clone()), Device::Cpu)?;
    Pair { teacher: &teacher, student: &student, settings }.audit(&[], steps, (0.5, 1.0))
}

#[test]
fn a_student_that_is_the_teacher_agrees_everywhere() {
    let mut steps = Steps::default();
    let (agreement, audit) = audit(&teacher(), 1, &mut steps).unwrap();
    let sources: Vec<InputSource> = audit.sources.iter().map(|found| found.source).collect();
    use InputSource::{HeldOutGenerator, Mixtures, Noise, Procedural, WorstCase};
    assert_eq!(sources, [HeldOutGenerator, Mixtures, Procedural, Noise, WorstCase]);
    for found in &audit.sources {
        assert_eq!((found.agreement.share, found.agreement.n, found.agreement.high), (1.0, 2000, 1.0), "{found:?}");
        assert!(found.agreement.low > 0.998 && found.kl.p99 < 1e-9 && found.logit_difference < 1e-6, "{found:?}");
        assert_eq!(found.confidence.teacher, found.confidence.student);
    }
    assert_eq!((agreement.lowest, audit.coverage.lowest_agreement, audit.weight_error), (1.0, 1.0, 0.0));
    assert!(audit.coverage.hits.share > 0.9 && audit.coverage.effective_classes > 8.0, "{:?}", audit.coverage);
    assert_eq!(audit.coverage.by_class.iter().map(|row| row.answers).sum::<u64>(), 2000);
    assert!(steps.fractions.is_sorted() && *steps.fractions.last().unwrap() == 1.0, "{:?}", steps.fractions.last());
}

#[test]
fn a_class_that_the_student_lost_shows() {
    let (agreement, audit) = audit(&negated(3), 1, &mut Steps::default()).unwrap();
    let of = |source| audit.of(source).unwrap();
    assert!(of(InputSource::WorstCase).agreement.share < 0.2, "{:?}", of(InputSource::WorstCase));
    assert_eq!(audit.coverage.lowest_class.as_deref(), Some("3"));
    assert!(audit.coverage.lowest_agreement < 0.1, "{:?}", audit.coverage);
    let generated = of(InputSource::HeldOutGenerator);
    assert!((0.7..0.95).contains(&generated.agreement.share), "one class of ten: {generated:?}");
    assert!(generated.kl.p95 > 1.0 && generated.kl.p99 >= generated.kl.p95, "{generated:?}");
    assert_eq!(agreement.held_out_generator.top1, generated.agreement.share);
    assert_eq!(agreement.lowest, of(audit.lowest).agreement.share);
    assert!(
        audit
            .sources
            .iter()
            .filter(|found| found.source.is_drawn())
            .all(|found| found.agreement.share >= agreement.lowest)
    );
}

#[test]
fn a_generator_that_diverges_is_trained_calmly_and_costs_no_student() {
    let mut settings = settings(1);
    settings.extraction.learning_rate = 1e38;
    let mut steps = Steps::default();
    let (agreement, audit) = audit_by(&settings, &teacher(), &mut steps).unwrap();
    assert_eq!(agreement.held_out_generator.top1, 1.0);
    assert!(audit.sources.iter().all(|found| found.kl.p99.is_finite()), "{audit:?}");
    // 2,000 inputs of five sources go through both networks in eight pieces each.
    let compared = 5 * 2 * 8 + 2;
    // The epoch that diverged, then both epochs of the calm one, and the search with what is measured before it.
    assert_eq!(steps.fractions.len(), 50 + 100 + search::STEPS as usize + rival::BATCHES as usize + compared);
    assert_eq!(*steps.fractions.last().unwrap(), 1.0);
}

#[test]
fn an_audit_can_be_canceled_while_it_searches() {
    // The generator's training, and a few steps of the search.
    let most = 100 + search::STEPS as usize / 10;
    let mut steps = Steps { cancel_after: Some(most), ..Steps::default() };
    assert!(matches!(audit(&teacher(), 1, &mut steps), Err(Stop::Canceled)));
    assert_eq!(steps.fractions.len(), most + 1);
}

#[test]
fn errors_of_layers_count_by_their_parameters() {
    let row = |parameters_before, error| LayerRow {
        layer: String::new(),
        kind: crate::domain::model::LayerKind::Linear,
        action: "svd".into(),
        ranks: Vec::new(),
        parameters_before,
        parameters_after: 1,
        macs_before: 1,
        macs_after: 1,
        error,
        ms_before: None,
        ms_after: None,
        reason: String::new(),
    };
    assert!((weight_error(&[row(300, 0.2), row(100, 0.6)]) - 0.12f64.sqrt()).abs() < 1e-12);
}
