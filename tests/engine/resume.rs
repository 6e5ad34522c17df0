//! Going on from a checkpoint: to the bit what the run would have made without a stop, wherever it was stopped.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use kegd::{
    domain::{
        config::{Compression, JobConfig},
        ids::JobId,
        job::{Phase, Progress},
        layer_choice::LayerChoice,
        presets::TeacherKind,
        report::Report,
        task::{TaskKind, TaskSpec},
    },
    engine::{
        self,
        observer::{Observer, Stop},
    },
    protocol::{MetricPoint, Role},
};
use tempfile::TempDir;

use crate::common::{
    engine::{task, turn},
    teacher,
};

/// Several epochs and rounds of everything, each of a few steps.
const SMALL: &str = r#"{
    "input": {"mean": [0.1307], "std": [0.3081]},
    "extraction": {"generators": 1, "epochs": 4, "steps_per_epoch": 3, "batch_size": 16, "beta": 1.0},
    "distillation": {"samples_per_generator": 64, "epochs": 3, "batch_size": 16, "adversarial_steps": 4, "student_steps": 2,
        "rivals": 2, "average_decay": 0.9, "learning_rate": 0.001}
}"#;

/// A supervisor in short: it knows the newest checkpoint, and asks the run to leave when it is told to.
#[derive(Default)]
struct Seen {
    metrics: BTreeMap<(String, u64), f64>,
    phases: Vec<Phase>,
    training: bool,
    checkpoint: Option<(PathBuf, u64)>,
    checkpoints: usize,
    /// Leave from this many checkpoints on.
    leave_after: Option<usize>,
    leave_in: Option<Phase>,
}

impl Observer for Seen {
    fn progress(&mut self, progress: Progress) -> Result<(), Stop> {
        if self.phases.last() != Some(&progress.phase) {
            self.phases.push(progress.phase);
        }
        self.training = progress.step > 0 && matches!(progress.phase, Phase::Extracting | Phase::Distilling);
        Ok(())
    }

    fn metrics(&mut self, points: Vec<MetricPoint>) {
        for point in points {
            let before = self.metrics.insert((point.name.clone(), point.step), point.value);
            assert_eq!(before, None, "{} at {} twice in one run", point.name, point.step);
        }
    }

    fn sample(&mut self, _file: &Path, _generator: u32, _epoch: u32, _count: u64) {}

    fn artifact(&mut self, _file: &Path, _role: Role) {}

    fn checkpoint(&mut self, file: &Path, step: u64) {
        assert!(file.exists());
        let before = self.checkpoint.replace((file.to_owned(), step));
        assert!(before.is_none_or(|(before, at)| before != file && at <= step), "a new name, and no step back");
        self.checkpoints += 1;
    }

    fn leave_asked(&self) -> bool {
        // The checkpoint that is about to be written counts.
        self.leave_after.is_some_and(|most| self.training && self.checkpoints + 1 >= most)
            || self.leave_in.is_some_and(|phase| self.phases.last() == Some(&phase))
    }
}

fn spec(kind: TaskKind) -> TaskSpec {
    let settings = JobConfig::parse(SMALL.as_bytes()).unwrap().resolve(TeacherKind::PlainImage, "small").unwrap();
    let generators = if kind.student().is_some() { vec!["generator-0.safetensors".into()] } else { Vec::new() };
    TaskSpec { generators, checkpoint_seconds: Some(0.0), ..task(kind, settings) }
}

fn directory(files: &[&Path]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("model.onnx"), teacher::small_file()).unwrap();
    for file in files {
        std::fs::copy(file, directory.path().join(file.file_name().unwrap())).unwrap();
    }
    directory
}

/// Runs the task once more, in a directory of its own as a worker would, from `checkpoint` if there is one.
fn run(spec: &TaskSpec, inputs: &[&Path], checkpoint: Option<&Path>, seen: &mut Seen) -> (TempDir, Result<(), Stop>) {
    let files: Vec<&Path> = inputs.iter().copied().chain(checkpoint).collect();
    let directory = directory(&files);
    let resume = checkpoint.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    let spec = TaskSpec { resume, run: spec.run + 1, ..spec.clone() };
    let end = engine::run(&spec, directory.path(), seen);
    (directory, end)
}

/// What the task makes without a stop, and with one after each of `stops` checkpoints; and the metrics of both.
fn whole_and_resumed(spec: &TaskSpec, inputs: &[&Path], result: &str, stops: &[usize]) -> Seen {
    let kind = spec.kind;
    let mut whole = Seen::default();
    let (made, end) = run(spec, inputs, None, &mut whole);
    end.unwrap();
    let expected = std::fs::read(made.path().join(result)).unwrap();

    for &stop in stops {
        let mut first = Seen { leave_after: Some(stop), ..Seen::default() };
        let (left, end) = run(spec, inputs, None, &mut first);
        assert!(matches!(end, Err(Stop::Interrupted)), "{kind:?} after {stop}: {end:?}");
        assert!(!left.path().join(result).exists());
        let (checkpoint, step) = first.checkpoint.clone().unwrap();
        assert_eq!(first.checkpoints, stop);
        let mut second = Seen::default();
        let (resumed, end) = run(spec, inputs, Some(&checkpoint), &mut second);
        end.unwrap();
        let found = std::fs::read(resumed.path().join(result)).unwrap();
        assert!(found == expected, "{kind:?}: stopped after {stop} checkpoints, it made something else");

        assert!(first.metrics.keys().all(|(_, at)| *at <= step), "measured before it was written");
        assert!(second.metrics.keys().all(|(_, at)| *at > step), "nothing twice");
        let both: BTreeMap<_, _> = first.metrics.into_iter().chain(second.metrics).collect();
        assert_eq!(both, whole.metrics, "{kind:?} after {stop}");
    }
    whole
}

/// A trained generator for `distill`.
fn generator() -> (TempDir, PathBuf) {
    let (made, end) = run(&spec(TaskKind::Extract { generator: 0 }), &[], None, &mut Seen::default());
    end.unwrap();
    let path = made.path().join("generator-0.safetensors");
    (made, path)
}

#[test]
fn a_generator_goes_on_from_every_epoch() {
    let _turn = turn();
    whole_and_resumed(&spec(TaskKind::Extract { generator: 0 }), &[], "generator-0.safetensors", &[1, 2, 3]);
}

#[test]
fn a_student_goes_on_from_the_pool_and_from_the_game() {
    let _turn = turn();
    let (_made, generator) = generator();
    // Three epochs of the pool, then four rounds of the game.
    let spec = spec(TaskKind::Distill { target: 0 });
    let whole = whole_and_resumed(&spec, &[&generator], "student.safetensors", &[1, 3, 4, 6]);
    assert_eq!(rounds(&whole), 4);
}

#[test]
fn a_student_goes_on_with_the_plan_that_a_trial_chose() {
    let _turn = turn();
    let (_made, generator) = generator();
    let mut spec = spec(TaskKind::Distill { target: 0 });
    spec.settings.compression = Compression { ratio: Some(2.0.into()), ..Compression::default() };
    spec.settings.distillation.trial_steps = 2;
    let whole = whole_and_resumed(&spec, &[&generator], "student.safetensors", &[2]);
    assert_eq!(rounds(&whole), 4, "what was only tried is not measured");
}

/// With three rounds of a second game, in steps as large as `rate`, for a student whose first linear layer has `rank` of its 32
/// directions.
fn further_of(rank: usize, rate: f64) -> TaskSpec {
    let mut spec = spec(TaskKind::Distill { target: 0 });
    let distillation = &mut spec.settings.distillation;
    (distillation.epochs, distillation.further_steps, distillation.learning_rate) = (0, 3, rate);
    distillation.student_steps = 6;
    let layers = BTreeMap::from([("fc1".to_owned(), LayerChoice::Ranks { ranks: vec![rank] })]);
    spec.settings.compression = Compression { layers: Some(layers), ..Compression::default() };
    spec
}

/// A student that learns the first game.
fn further(rate: f64) -> TaskSpec {
    further_of(31, rate)
}

/// Rounds of both games.
fn rounds(seen: &Seen) -> usize {
    seen.metrics.keys().filter(|(name, _)| name == "student_distance").count()
}

/// Before both games, between them, and at the end.
fn divergences(seen: &Seen) -> Vec<f64> {
    let of = |((name, _), value): (&(String, u64), &f64)| (name == "pool_divergence").then_some(*value);
    seen.metrics.iter().filter_map(of).collect()
}

fn report(directory: &TempDir) -> Report {
    serde_json::from_slice(&std::fs::read(directory.path().join("report.json")).unwrap()).unwrap()
}

/// What the report says of the second game.
fn note(report: &Report) -> Option<&str> {
    report.notes.iter().map(String::as_str).find(|note| note.contains("second game"))
}

/// Plays the two games of `spec`, stopped at the end of the first, where the second begins anew, inside the second, and at its
/// end; `again` rounds of that are played before it begins once more. Returns whether the student is that of the first game
/// alone, what was measured, and what the report says.
fn plays_two_games(spec: &TaskSpec, again: usize) -> (bool, Vec<f64>, String) {
    let (_made, generator) = generator();
    let mut stops = vec![4, 5, 7 + again];
    stops.extend((again > 0).then_some(5 + again));
    let whole = whole_and_resumed(spec, &[&generator], "student.safetensors", &stops);
    assert_eq!(rounds(&whole), 4 + again + 3);
    let student = |spec: &TaskSpec| {
        let (made, end) = run(spec, &[&generator], None, &mut Seen::default());
        end.unwrap();
        (std::fs::read(made.path().join("student.safetensors")).unwrap(), report(&made))
    };
    let mut alone = spec.clone();
    alone.settings.distillation.further_steps = 0;
    let ((both, of_both), (first, of_first)) = (student(spec), student(&alone));
    assert_eq!(note(&of_first), None);
    (both == first, divergences(&whole), note(&of_both).unwrap().to_owned())
}

#[test]
fn a_student_that_came_nearer_in_the_second_game_is_what_that_taught() {
    let _turn = turn();
    let (first_alone, divergences, note) = plays_two_games(&further(0.001), 0);
    assert!(divergences[2] < divergences[1], "{divergences:?}");
    assert!(!first_alone, "{divergences:?}");
    assert!(note.contains("counts in full"), "{note}");
}

#[test]
fn a_student_that_lost_in_the_second_game_is_what_the_first_taught() {
    let _turn = turn();
    let (first_alone, divergences, note) = plays_two_games(&further(0.003), 0);
    assert!(divergences[2] > divergences[1], "{divergences:?}");
    assert!(first_alone, "{divergences:?}");
    assert!(note.starts_with("Nothing of the second game counts"), "{note}");
}

#[test]
fn a_student_that_the_second_game_ruins_plays_it_in_smaller_steps() {
    let _turn = turn();
    let mut spec = further(0.003);
    // An average that forgets sooner sees the ruin sooner.
    spec.settings.distillation.average_decay = 0.5;
    let (first_alone, divergences, note) = plays_two_games(&spec, 1);
    assert!(note.contains("in steps a quarter as large"), "{note}");
    assert_eq!(first_alone, note.starts_with("Nothing"), "{divergences:?}: {note}");
}

#[test]
fn a_student_that_has_not_learned_the_first_game_plays_no_second() {
    let _turn = turn();
    let (_made, generator) = generator();
    let whole = whole_and_resumed(&further_of(1, 0.001), &[&generator], "student.safetensors", &[4]);
    assert_eq!(rounds(&whole), 4);
    assert_eq!(divergences(&whole).len(), 2);
}

#[test]
fn evaluation_is_repeated_alone() {
    let _turn = turn();
    let (_made, generator) = generator();
    let spec = further(0.001);
    let mut first = Seen { leave_in: Some(Phase::Evaluating), ..Seen::default() };
    let (left, end) = run(&spec, &[&generator], None, &mut first);
    assert!(matches!(end, Err(Stop::Interrupted)), "{end:?}");
    let (checkpoint, _) = first.checkpoint.clone().unwrap();
    // The student is in the checkpoint, so the generator is not even looked at.
    std::fs::write(left.path().join("generator-0.safetensors"), b"").unwrap();
    let mut second = Seen::default();
    let empty = left.path().join("generator-0.safetensors");
    let (resumed, end) = run(&spec, &[&empty], Some(&checkpoint), &mut second);
    end.unwrap();
    assert!(second.metrics.is_empty() && second.checkpoints == 0, "nothing was trained");
    let repeated = report(&resumed);
    assert!(
        repeated.result.seconds["distilling"] > 0.0,
        "time that the earlier run took: {:?}",
        repeated.result.seconds
    );
    let (whole, end) = run(&spec, &[&generator], None, &mut Seen::default());
    end.unwrap();
    let student = |directory: &TempDir| std::fs::read(directory.path().join("student.safetensors")).unwrap();
    assert!(student(&resumed) == student(&whole), "another student");
    let whole = report(&whole);
    assert_eq!(repeated.result.agreement, whole.result.agreement);
    assert_eq!(repeated.result.audit, whole.result.audit);
    assert!(note(&repeated).is_some(), "{:?}", repeated.notes);
    assert_eq!(repeated.notes, whole.notes);
}

#[test]
fn a_checkpoint_that_is_of_no_use_is_passed_over() {
    let _turn = turn();
    let spec = spec(TaskKind::Extract { generator: 0 });
    let mut first = Seen { leave_after: Some(2), ..Seen::default() };
    let (_left, _) = run(&spec, &[], None, &mut first);
    let (good, _) = first.checkpoint.clone().unwrap();
    let bytes = std::fs::read(&good).unwrap();
    let place = tempfile::tempdir().unwrap();
    let bad = |name: &str, bytes: &[u8]| {
        let path = place.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let mut whole = Seen::default();
    let (made, _) = run(&spec, &[], None, &mut whole);
    let generator = std::fs::read(made.path().join("generator-0.safetensors")).unwrap();
    let other_job = TaskSpec { job: JobId::new(), ..spec.clone() };
    let mut other_settings = spec.clone();
    other_settings.settings.extraction.alpha = 0.5;
    let cases = [
        ("empty", &spec, bad("empty", b"")),
        ("cut off", &spec, bad("cut", &bytes[..bytes.len() / 2])),
        ("no checkpoint", &spec, bad("other", b"\x08\0\0\0\0\0\0\0{}      ")),
        ("another job's", &other_job, good.clone()),
        ("of other settings", &other_settings, good.clone()),
    ];
    for (what, spec, checkpoint) in cases {
        let mut seen = Seen::default();
        let (resumed, end) = run(spec, &[], Some(&checkpoint), &mut seen);
        end.unwrap_or_else(|stop| panic!("{what}: {stop}"));
        assert_eq!(seen.metrics.len(), whole.metrics.len(), "{what}: it starts from nothing");
        let made = std::fs::read(resumed.path().join("generator-0.safetensors")).unwrap();
        assert_eq!(made == generator, what != "of other settings", "{what}");
    }
    // A file that is not there at all.
    let missing = TaskSpec { resume: Some("missing.checkpoint".into()), ..spec.clone() };
    let directory = directory(&[]);
    engine::run(&missing, directory.path(), &mut Seen::default()).unwrap();
}

#[test]
fn who_takes_no_checkpoints_gets_none() {
    let _turn = turn();
    let mut seen = Seen::default();
    let spec = TaskSpec { checkpoint_seconds: None, ..spec(TaskKind::Extract { generator: 0 }) };
    let (_made, end) = run(&spec, &[], None, &mut seen);
    end.unwrap();
    assert_eq!(seen.checkpoints, 0);
}
