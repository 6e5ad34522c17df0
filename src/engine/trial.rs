//! Which of two students is worth training: each learns for a few rounds, and the one that comes nearer to the teacher is
//! taken. How near they are before that says little: what is lost most is often what is learned again first.

use super::{
    compress::{self, plan::Plan},
    game::{Game, Leg},
    observer::Stop,
    rival::{BATCHES, apart},
    student::Student,
    teacher::Teacher,
    ticker::Ticker,
};
use crate::{
    domain::config::{Distillation, Settings},
    formats::graph::Graph,
};

/// Of the ticker, for both students.
pub fn steps(distillation: &Distillation) -> u64 {
    2 * u64::from(distillation.trial_steps) * (1 + u64::from(distillation.student_steps))
}

/// The plan of `whole` whose student is nearer after `distillation.trial_steps` rounds, by the distance of the logits on images from
/// formulas.
///
/// # Errors
/// As compressing and playing.
pub fn nearer(
    (teacher, whole): (&Teacher, &Graph),
    settings: &Settings,
    (one, other): (Plan, Plan),
    ticker: &mut Ticker<'_>,
) -> Result<Plan, Stop> {
    let mut after = |plan| distance((teacher, whole), settings, plan, ticker);
    let (near, far) = (after(&one)?, after(&other)?);
    // Next to what is no number, anything is nearer.
    Ok(if far < near || near.is_nan() { other } else { one })
}

fn distance(
    (teacher, whole): (&Teacher, &Graph),
    settings: &Settings,
    plan: &Plan,
    ticker: &mut Ticker<'_>,
) -> Result<f64, Stop> {
    let graph = compress::apply_paced(whole, plan, &mut || ticker.tick())?;
    let rounds = settings.distillation.trial_steps;
    // A whole game in short: the steps end small, so that no average is needed.
    let distillation = Distillation { adversarial_steps: rounds, ..settings.distillation.clone() };
    let settings = &Settings { distillation, ..settings.clone() };
    let mut student = Student::new(graph, teacher.device(), 0.0)?;
    let game = Game::new(teacher, &student, settings, ticker.parts(BATCHES))?;
    let mut rivals = game.rivals(Leg::First)?;
    for round in 1..=rounds {
        game.play((Leg::First, round), &mut student, &mut rivals, || ticker.tick())?;
    }
    Ok(apart(teacher, &student.executor, settings, ticker.parts(BATCHES))?.distance)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use tch::Device;

    use super::*;
    use crate::{
        domain::{
            config::{Compression, JobConfig},
            job::{Phase, Progress},
            layer_choice::LayerChoice,
            presets::TeacherKind,
        },
        engine::{
            compress::{fixture, plan},
            observer::Observer,
        },
        protocol::{MetricPoint, Role},
    };

    /// Counts steps.
    #[derive(Default)]
    struct Steps(u64);

    impl Observer for Steps {
        fn progress(&mut self, progress: Progress) -> Result<(), Stop> {
            self.0 = progress.step;
            Ok(())
        }

        fn metrics(&mut self, _points: Vec<MetricPoint>) {
            panic!("what is only tried must not be mistaken for training");
        }

        fn sample(&mut self, _file: &Path, _generator: u32, _epoch: u32, _count: u64) {}

        fn artifact(&mut self, _file: &Path, _role: Role) {}
    }

    #[test]
    fn the_nearer_one_is_taken_wherever_it_stands() {
        let config = br#"{"distillation": {"trial_steps": 2, "student_steps": 3, "batch_size": 16}}"#;
        let settings = JobConfig::parse(config).unwrap().resolve(TeacherKind::PlainImage, "m").unwrap();
        let teacher = Teacher::new(fixture::network(), Device::Cpu).unwrap();
        let of = |rank: usize| {
            let layers = BTreeMap::from([("fc1".to_owned(), LayerChoice::Ranks { ranks: vec![rank] })]);
            plan(&teacher.graph, &Compression { layers: Some(layers), ..Compression::default() }).unwrap()
        };
        for (one, other) in [(1, 9), (9, 1)] {
            let mut steps = Steps::default();
            let mut ticker = Ticker::new(&mut steps, Phase::Compressing, (0.0, 1.0), 1000);
            let taken = nearer((&teacher, &teacher.graph), &settings, (of(one), of(other)), &mut ticker).unwrap();
            assert_eq!(taken.rows(), of(9).rows(), "{one} and {other}");
            assert!(steps.0 >= super::steps(&settings.distillation), "{} steps", steps.0);
        }
    }
}
