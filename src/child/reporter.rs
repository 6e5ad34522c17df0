//! The engine's listener in a child: what it hears becomes events, seldom enough for a database and often enough for a bar.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    thread,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use super::{commands::Commands, wire::Wire};
use crate::{
    domain::{
        artifact::hexadecimal,
        job::{Phase, Progress},
        metric::MetricPoint,
        problem::{ErrorCode, Problem},
    },
    engine::observer::{Observer, Stop},
    protocol::{Event, FileRef, Role},
};

const PROGRESS_EVERY: Duration = Duration::from_millis(200);
const METRICS_EVERY: Duration = Duration::from_secs(1);
/// Far below the longest line, whatever the names.
const POINTS_IN_A_LINE: usize = 1000;
const ALIVE_EVERY: Duration = Duration::from_secs(2);

pub(super) struct Reporter {
    wire: Wire,
    commands: Commands,
    directory: PathBuf,
    /// Dropping it ends the heartbeat.
    _alive: Arc<()>,
    phase: Option<Phase>,
    progress: Option<Progress>,
    progress_sent: Option<Instant>,
    metrics: Vec<MetricPoint>,
    metrics_sent: Instant,
    trouble: Option<Problem>,
}

impl Reporter {
    pub(super) fn new(wire: Wire, commands: Commands, directory: &Path) -> Self {
        let alive = Arc::new(());
        beat(wire.clone(), Arc::downgrade(&alive));
        Self {
            wire,
            commands,
            directory: directory.to_owned(),
            _alive: alive,
            phase: None,
            progress: None,
            progress_sent: None,
            metrics: Vec::new(),
            metrics_sent: Instant::now(),
            trouble: None,
        }
    }

    /// Sends what was held back.
    pub(super) fn flush(&mut self) {
        self.send_metrics();
        self.send_progress();
    }

    /// What kept a file from being announced, if anything did.
    pub(super) fn into_trouble(self) -> Option<Problem> {
        self.trouble
    }

    fn send_progress(&mut self) {
        if let Some(progress) = self.progress.take() {
            self.wire.send(&Event::Progress(progress));
            self.progress_sent = Some(Instant::now());
        }
    }

    fn send_metrics(&mut self) {
        let points = std::mem::take(&mut self.metrics);
        for points in points.chunks(POINTS_IN_A_LINE) {
            self.wire.send(&Event::Metrics { points: points.to_vec() });
        }
        self.metrics_sent = Instant::now();
    }

    fn announce(&mut self, file: &Path, event: impl FnOnce(FileRef) -> Event) {
        match refer(&self.directory, file) {
            Ok(file) => self.wire.send(&event(file)),
            Err(error) => {
                let detail = format!("{} cannot be announced: {error}", file.display());
                self.trouble.get_or_insert(Problem::new(ErrorCode::Internal, detail));
            }
        }
    }
}

impl Observer for Reporter {
    fn progress(&mut self, mut progress: Progress) -> Result<(), Stop> {
        if self.commands.stop_asked() {
            return Err(Stop::Canceled);
        }
        if let Some(problem) = &self.trouble {
            return Err(Stop::Failed(problem.clone()));
        }
        let new_phase = self.phase.replace(progress.phase) != Some(progress.phase);
        // JSON has no NaN, and the other side would take it for a broken line.
        progress.fraction = if progress.fraction.is_finite() { progress.fraction } else { 0.0 };
        progress.eta_seconds = progress.eta_seconds.filter(|eta| eta.is_finite());
        self.progress = Some(progress);
        if new_phase || self.progress_sent.is_none_or(|sent| sent.elapsed() >= PROGRESS_EVERY) {
            self.send_progress();
        }
        Ok(())
    }

    fn metrics(&mut self, points: Vec<MetricPoint>) {
        self.metrics.extend(points.into_iter().filter(|point| point.value.is_finite()));
        if self.metrics_sent.elapsed() >= METRICS_EVERY {
            self.send_metrics();
        }
    }

    fn sample(&mut self, file: &Path, generator: u32, epoch: u32, count: u64) {
        self.announce(file, |file| Event::Sample { file, generator, epoch, count });
    }

    fn artifact(&mut self, file: &Path, role: Role) {
        self.announce(file, |file| Event::Artifact { file, role });
    }

    fn checkpoint(&mut self, file: &Path, step: u64) {
        // What it holds was measured before it.
        self.flush();
        match refer(&self.directory, file) {
            Ok(file) => self.wire.send(&Event::Checkpoint { file, step }),
            // The run does not need it.
            Err(error) => eprintln!("{} cannot be announced: {error}", file.display()),
        }
    }

    fn leave_asked(&self) -> bool {
        self.commands.leave_asked()
    }
}

/// Says `alive` from a thread, as long as the run lasts. Whether it gets on is for the supervisor to judge, who need not
/// believe what is said here.
fn beat(wire: Wire, alive: Weak<()>) {
    thread::spawn(move || {
        loop {
            thread::sleep(ALIVE_EVERY);
            if alive.upgrade().is_none() {
                return;
            }
            wire.send(&Event::Alive);
        }
    });
}

/// A file of the run's directory, with its size and hash.
fn refer(directory: &Path, file: &Path) -> io::Result<FileRef> {
    let name =
        file.file_name().and_then(|name| name.to_str()).ok_or_else(|| io::Error::other("it has no plain name"))?;
    let mut hash = Sha256::new();
    let bytes = io::copy(&mut File::open(directory.join(name))?, &mut hash)?;
    Ok(FileRef { name: name.to_owned(), bytes, sha256: hexadecimal(&hash.finalize()) })
}
