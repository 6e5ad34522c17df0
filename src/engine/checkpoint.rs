//! Checkpoints: complete states of a task at the boundaries of its training, from which another run goes on to the bit.
//!
//! Random numbers are no part of the state: every epoch and round is seeded by itself (`seed`), the pool is drawn again from
//! the generators' files, and the compressed network from the upload. What a run holds besides is tensors, and all of them
//! are in the file. A checkpoint that cannot be written, read or used is passed over with a line in the run's log: it costs
//! time, never a job.

mod file;
mod stopwatch;

use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tch::{Tensor, nn};

use self::stopwatch::Stopwatch;
use super::{
    compress::plan::Decision,
    files,
    observer::{Observer, Stop},
    second_game::SecondGame,
    ticker::Ticker,
};
use crate::domain::{
    artifact::FileName,
    ids::JobId,
    problem::{ErrorCode, Problem},
    task::{TaskKind, TaskSpec},
};

/// Raised when the tensors or the header change their meaning: a checkpoint of another format is not used.
const FORMAT: u32 = 1;

/// Writing takes at most this share of a run's time, whatever interval was asked for; none is meant literally.
const MOST_COST: u32 = 20;

/// The tensors of a training by name, as they live: what is written into them changes the training.
pub type State = Vec<(String, Tensor)>;

/// `state` with `prefix` and a dot before every name.
pub fn under(prefix: &str, state: State) -> State {
    state.into_iter().map(|(name, tensor)| (format!("{prefix}.{name}"), tensor)).collect()
}

/// The same tensors once more.
pub fn shared(state: &State) -> State {
    state.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect()
}

/// Weights and running statistics of a network, by name.
pub fn variables(store: &nn::VarStore) -> State {
    let mut all: State = store.variables().into_iter().collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all
}

/// The weights alone: what an optimizer moves.
pub fn trainable(store: &nn::VarStore) -> State {
    variables(store).into_iter().filter(|(_, tensor)| tensor.requires_grad()).collect()
}

/// How far a task has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "stage")]
pub enum Stage {
    /// A generator after so many epochs.
    Extract { epoch: u32 },
    /// A student after so many epochs of the pool.
    Pool { epoch: u32 },
    /// A student after the pool and so many rounds of the game.
    Game { round: u32 },
    /// A student after the game and so many rounds of the second.
    SecondGame {
        round: u32,
        /// How often the second was begun once more. Absent in a checkpoint of a version that never did.
        #[serde(default)]
        again: u8,
    },
    /// A student whose training is over.
    Taught {
        /// Absent in a checkpoint of a version that did not write it.
        #[serde(default)]
        second_game: SecondGame,
    },
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Extract { epoch } => write!(f, "epoch {epoch} of a generator"),
            Self::Pool { epoch } => write!(f, "epoch {epoch}"),
            Self::Game { round } => write!(f, "round {round} of the game"),
            Self::SecondGame { round, .. } => write!(f, "round {round} of the second game"),
            Self::Taught { .. } => write!(f, "the end"),
        }
    }
}

/// Overwrites `weights`, a student's by name, with what they are in the checkpoint `path`, as averages where it keeps some.
/// Returns how far the training was. Of a second game, that is before any of it is taken back.
///
/// # Errors
/// It is no checkpoint of a student with such weights.
pub fn weigh(path: &Path, weights: &State) -> Result<Stage, Stop> {
    let refused = |why: String| {
        Problem::new(ErrorCode::InvalidConfig, format!("{} is no checkpoint of this student: {why}", path.display()))
            .hint("A student and its checkpoints lie in the folder that one `kegd distill --checkpoints` wrote.")
    };
    let (header, tensors) = file::read(path).map_err(refused)?;
    let header: Header = serde_json::from_str(&header).map_err(|error| refused(format!("its header: {error}")))?;
    // What nothing trains, as running statistics, has no average.
    let kept = |name: String| {
        [format!("average.{name}"), format!("student.{name}")].into_iter().find(|name| tensors.has(name))
    };
    let named = |(name, weight): (String, Tensor)| (kept(name.clone()).unwrap_or(name), weight);
    let state: State = shared(weights).into_iter().map(named).collect();
    tensors.hold(&state).map_err(refused)?;
    tensors.write_into(&state)?;
    Ok(header.stage)
}

/// What a checkpoint says of itself, in the metadata of its file.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
    job: JobId,
    task: TaskKind,
    /// Of the settings as resolved: with other settings, going on would mix two trainings.
    settings_sha256: String,
    #[serde(flatten)]
    stage: Stage,
    step: u64,
    /// Wall seconds of the work that it holds, by phase.
    seconds: BTreeMap<String, f64>,
    /// What was decided about the layers, where another run would measure, and decide, otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plan: Option<Vec<Decision>>,
}

/// Writes a run's checkpoints, and takes up the one that it begins with.
pub struct Keeper<'a> {
    spec: &'a TaskSpec,
    dir: &'a Path,
    found: Option<(Header, file::Tensors)>,
    pace: Option<Pace>,
    /// Checkpoints tried so far.
    count: u32,
    plan: Option<Vec<Decision>>,
    /// Wall seconds by phase, those in the checkpoint that the run goes on from among them.
    pub watch: Stopwatch,
}

impl<'a> Keeper<'a> {
    /// Reads the checkpoint that `spec` names, if it names one that can be read and belongs to the task.
    pub fn new(spec: &'a TaskSpec, dir: &'a Path) -> Self {
        let found = spec.resume.as_deref().and_then(|name| match read(spec, &dir.join(name)) {
            Ok(found) => Some(found),
            Err(why) => {
                pass_over(&why);
                None
            }
        });
        let seconds = found.as_ref().map(|(header, _)| header.seconds.clone()).unwrap_or_default();
        let plan = found.as_ref().and_then(|(header, _)| header.plan.clone());
        let pace = spec.checkpoint_seconds.map(Pace::new);
        Self { spec, dir, found, pace, count: 0, plan, watch: Stopwatch::new(seconds) }
    }

    /// What was decided about the layers, if the checkpoint at hand or this run keeps it.
    pub fn plan(&self) -> Option<&[Decision]> {
        self.plan.as_deref()
    }

    /// Keeps what was decided, in every checkpoint from here on.
    pub fn keep_plan(&mut self, plan: Vec<Decision>) {
        self.plan = Some(plan);
    }

    /// Where the checkpoint at hand leads, as long as it was not taken up.
    pub fn stage(&self) -> Option<Stage> {
        self.found.as_ref().map(|(header, _)| header.stage)
    }

    /// Takes up the checkpoint at hand: writes its tensors into `state`, and returns how far that is. Where there is none, or
    /// it does not fit, `state` stays as it is.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn take_up(&mut self, state: &State) -> Result<Option<Stage>, Stop> {
        let Some((header, tensors)) = self.found.take() else { return Ok(None) };
        if let Err(why) = tensors.fit(state) {
            self.watch.forget(&header.seconds);
            pass_over(&why);
            return Ok(None);
        }
        tensors.write_into(state)?;
        eprintln!("going on from a checkpoint: {:?}, step {}", header.stage, header.step);
        Ok(Some(header.stage))
    }

    /// A boundary of the training: writes a checkpoint if it is time for one, or if the run was asked to leave.
    ///
    /// # Errors
    /// [`Stop::Interrupted`] if it was.
    pub fn boundary(
        &mut self,
        ticker: &mut Ticker<'_>,
        stage: Stage,
        state: impl FnOnce() -> State,
    ) -> Result<(), Stop> {
        let leaving = ticker.observer().leave_asked();
        if leaving || self.pace.as_ref().is_some_and(Pace::is_due) {
            let step = ticker.step();
            self.write((stage, step), &state(), ticker.observer());
        }
        if leaving { Err(Stop::Interrupted) } else { Ok(()) }
    }

    /// Writes a checkpoint, where the run keeps any. One that cannot be written is missed, and nothing else.
    pub fn write(&mut self, at: (Stage, u64), state: &State, observer: &mut dyn Observer) {
        let begin = Instant::now();
        let Some(pace) = &mut self.pace else { return };
        self.count += 1;
        let path = self.dir.join(name(self.spec, self.count));
        match write(self.spec, &path, at, (state, self.watch.read(), self.plan.clone())) {
            Ok(()) => observer.checkpoint(&path, at.1),
            Err(why) => eprintln!("no checkpoint at {:?}, step {}: {why}", at.0, at.1),
        }
        pace.written(begin.elapsed());
    }
}

/// How often checkpoints are written.
struct Pace {
    every: Duration,
    last: Instant,
    cost: Duration,
}

impl Pace {
    fn new(seconds: f64) -> Self {
        let every = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        Self { every, last: Instant::now(), cost: Duration::ZERO }
    }

    fn is_due(&self) -> bool {
        self.every.is_zero() || self.last.elapsed() >= self.every.max(self.cost.saturating_mul(MOST_COST))
    }

    fn written(&mut self, cost: Duration) {
        (self.last, self.cost) = (Instant::now(), cost);
    }
}

fn pass_over(why: &str) {
    eprintln!("warning: the checkpoint is not used, and the run starts from nothing: {why}");
}

fn settings_sha256(spec: &TaskSpec) -> Result<String, String> {
    Ok(files::sha256(&serde_json::to_vec(&spec.settings).map_err(|error| error.to_string())?))
}

fn read(spec: &TaskSpec, path: &Path) -> Result<(Header, file::Tensors), String> {
    let (header, tensors) = file::read(path)?;
    let header: Header = serde_json::from_str(&header).map_err(|error| format!("its header: {error}"))?;
    if header.format != FORMAT {
        return Err(format!("it has format {}, and not {FORMAT}", header.format));
    }
    if (header.job, header.task) != (spec.job, spec.kind) {
        return Err("it belongs to another task".to_owned());
    }
    if header.settings_sha256 != settings_sha256(spec)? {
        return Err("it was made with other settings".to_owned());
    }
    Ok((header, tensors))
}

fn write(
    spec: &TaskSpec,
    path: &Path,
    (stage, step): (Stage, u64),
    (state, seconds, plan): (&State, BTreeMap<String, f64>, Option<Vec<Decision>>),
) -> Result<(), String> {
    let settings_sha256 = settings_sha256(spec)?;
    let header = Header { format: FORMAT, job: spec.job, task: spec.kind, settings_sha256, stage, step, seconds, plan };
    let header = serde_json::to_string(&header).map_err(|error| error.to_string())?;
    file::write(path, header, state)
}

/// A name for each: its reader may be behind, and must not find another file under the name that it was told.
fn name(spec: &TaskSpec, count: u32) -> String {
    format!("{}-run{}-{count}{}", spec.kind.label(&spec.settings), spec.run, FileName::CHECKPOINT_SUFFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_the_interval_or_what_writing_costs() {
        let pace = |seconds, cost| Pace { cost: Duration::from_secs(cost), ..Pace::new(seconds) };
        assert!(pace(0.0, 1000).is_due(), "every boundary, whatever it costs");
        assert!(!pace(1000.0, 0).is_due());
        assert!(!pace(1e-9, 1000).is_due(), "writing has its share, and no more");
        assert!(!pace(f64::MAX, 0).is_due());
    }

    #[test]
    fn a_student_is_weighed_by_its_averages_and_what_has_none_by_itself() {
        let of = |names: &[(&str, f32)]| -> State {
            names.iter().map(|(name, value)| ((*name).to_owned(), Tensor::from_slice(&[*value]))).collect()
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.checkpoint");
        let header = Header {
            format: FORMAT,
            job: JobId::new(),
            task: TaskKind::Distill { target: 0 },
            settings_sha256: String::new(),
            stage: Stage::Game { round: 3 },
            step: 9,
            seconds: BTreeMap::new(),
            plan: None,
        };
        let state = of(&[("student.w", 1.0), ("student.mean", 2.0), ("average.w", 3.0), ("learned.w", 4.0)]);
        file::write(&path, serde_json::to_string(&header).unwrap(), &state).unwrap();
        let weights = of(&[("w", 0.0), ("mean", 0.0)]);
        assert_eq!(weigh(&path, &weights).unwrap(), Stage::Game { round: 3 });
        assert_eq!(weights, of(&[("w", 3.0), ("mean", 2.0)]));
        let Err(Stop::Failed(problem)) = weigh(&path, &of(&[("other", 0.0)])) else { panic!("it was taken") };
        assert!(problem.detail.contains("no `other`"), "{}", problem.detail);
    }

    #[test]
    fn the_end_of_training_says_what_became_of_the_second_game() {
        for second_game in
            [SecondGame::None, SecondGame::Refused { agreed: 3 }, SecondGame::Counts { percent: 75, again: 1 }]
        {
            let written = serde_json::to_string(&Stage::Taught { second_game }).unwrap();
            assert_eq!(serde_json::from_str::<Stage>(&written).unwrap(), Stage::Taught { second_game });
        }
        let older = serde_json::from_str::<Stage>(r#"{"stage": "taught"}"#).unwrap();
        assert_eq!(older, Stage::Taught { second_game: SecondGame::None });
    }
}
