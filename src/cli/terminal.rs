//! Progress for whoever watches: one line that is drawn over and over, or, where nobody does, a line now and then.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write},
    os::fd::AsFd,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use terminal_size::Width;

use crate::{
    domain::{job::Phase, job::Progress},
    engine::observer::{Observer, Stop},
    protocol::{MetricPoint, Role},
};

const BAR: usize = 24;

/// Between two drawings on a terminal, and between two lines in a log.
const REDRAW: Duration = Duration::from_millis(100);
const LOG_EVERY: Duration = Duration::from_secs(10);

/// The observer of a run on the command line. It writes to standard error: standard output belongs to results.
pub struct Terminal {
    title: String,
    progress: Option<Progress>,
    /// Newest value of each series.
    metrics: BTreeMap<String, f64>,
    files: Vec<(String, Role)>,
    drawn: Option<(Instant, Phase)>,
    is_terminal: bool,
    quiet: bool,
    stop: Arc<AtomicBool>,
    /// Of so many checkpoints one is kept; 0 keeps none.
    keep_every: u32,
    checkpoints: u32,
}

impl Terminal {
    /// `stop` ends the run at its next sign of life.
    pub fn new(quiet: bool, stop: Arc<AtomicBool>) -> Self {
        Self {
            title: String::new(),
            progress: None,
            metrics: BTreeMap::new(),
            files: Vec::new(),
            drawn: None,
            is_terminal: std::io::stderr().is_terminal(),
            quiet,
            stop,
            keep_every: 0,
            checkpoints: 0,
        }
    }

    /// Of `every` checkpoints of the student keeps one; 0, as without this, keeps none.
    pub fn keep_checkpoints(self, every: u32) -> Self {
        Self { keep_every: every, ..self }
    }

    pub fn keeps_checkpoints(&self) -> bool {
        self.keep_every > 0
    }

    /// A task begins.
    pub fn begin(&mut self, title: &str) {
        title.clone_into(&mut self.title);
        self.progress = None;
        self.metrics.clear();
        self.drawn = None;
    }

    /// The task has ended: what was drawn last stays.
    pub fn end(&mut self) {
        self.draw();
        if self.is_terminal && !self.quiet && self.progress.is_some() {
            eprintln!();
        }
    }

    /// Names of the files that the runs made, in order.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(name, _)| name.as_str())
    }

    pub fn files_of(&self, role: Role) -> Vec<String> {
        self.files.iter().filter(|(_, of)| *of == role).map(|(name, _)| name.clone()).collect()
    }

    fn note(&mut self, file: &Path, role: Role) {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !self.files.iter().any(|(known, _)| *known == name) {
            self.files.push((name, role));
        }
    }

    fn draw_if_due(&mut self) {
        let pause = if self.is_terminal { REDRAW } else { LOG_EVERY };
        let phase = self.progress.as_ref().map(|progress| progress.phase);
        let due = self.drawn.is_none_or(|(when, drawn)| when.elapsed() >= pause || Some(drawn) != phase);
        if due {
            self.draw();
        }
    }

    fn draw(&mut self) {
        let Some(progress) = &self.progress else { return };
        self.drawn = Some((Instant::now(), progress.phase));
        if self.quiet {
            return;
        }
        let line = line(&self.title, progress, &self.metrics);
        let mut stderr = std::io::stderr().lock();
        // Nobody is served by a training that ends because the terminal is gone.
        let _ = match self.is_terminal {
            true => write!(stderr, "\r\x1b[2K{}", cut(&line, columns(&stderr))),
            false => writeln!(stderr, "{line}"),
        };
        let _ = stderr.flush();
    }
}

/// `generator 1 of 3  extracting  [######..................]  25 %  12 s left  total 1.32`
fn line(title: &str, progress: &Progress, metrics: &BTreeMap<String, f64>) -> String {
    let fraction = progress.fraction.clamp(0.0, 1.0);
    let filled = (fraction * BAR as f64).round() as usize;
    let bar: String = (0..BAR).map(|place| if place < filled { '#' } else { '.' }).collect();
    let mut line = format!("{title}  {}  [{bar}] {:3.0} %", progress.phase, 100.0 * fraction);
    if let Some(seconds) = progress.eta_seconds {
        line.push_str(&format!("  {}", left(seconds)));
    }
    for (name, value) in metrics {
        line.push_str(&format!("  {} {value:.3}", name.rsplit('.').next().unwrap_or(name)));
    }
    line
}

/// Columns of a line on this terminal.
fn columns(terminal: impl AsFd) -> usize {
    terminal_size::terminal_size_of(terminal).map_or(80, |(Width(columns), _)| columns.into())
}

/// What fits into one line: a longer one wraps, and of what has wrapped only the last part is drawn over.
fn cut(line: &str, columns: usize) -> &str {
    line.char_indices().nth(columns.saturating_sub(1)).map_or(line, |(end, _)| &line[..end])
}

fn left(seconds: f64) -> String {
    match seconds.max(0.0).round() as u64 {
        seconds if seconds >= 3600 => format!("{} h {} min left", seconds / 3600, seconds % 3600 / 60),
        seconds if seconds >= 60 => format!("{} min {} s left", seconds / 60, seconds % 60),
        seconds => format!("{seconds} s left"),
    }
}

impl Observer for Terminal {
    fn progress(&mut self, progress: Progress) -> Result<(), Stop> {
        self.progress = Some(progress);
        self.draw_if_due();
        if self.stop.load(Ordering::Relaxed) { Err(Stop::Canceled) } else { Ok(()) }
    }

    fn metrics(&mut self, points: Vec<MetricPoint>) {
        self.metrics.extend(points.into_iter().map(|point| (point.name, point.value)));
        self.draw_if_due();
    }

    fn sample(&mut self, file: &Path, _generator: u32, _epoch: u32, _count: u64) {
        self.note(file, Role::Samples);
    }

    fn artifact(&mut self, file: &Path, role: Role) {
        self.note(file, role);
    }

    fn checkpoint(&mut self, file: &Path, _step: u64) {
        self.checkpoints += 1;
        if self.keep_every > 0 && self.checkpoints.is_multiple_of(self.keep_every) {
            self.note(file, Role::Checkpoint);
        } else {
            // One that stays takes space until the end, and nothing else.
            let _ = std::fs::remove_file(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_how_far_and_how_long() {
        let progress =
            Progress { fraction: 0.25, phase: Phase::Extracting, step: 1, steps: 4, eta_seconds: Some(75.4) };
        let metrics = BTreeMap::from([("extract.total".to_owned(), 1.3204)]);
        assert_eq!(
            line("generator 1 of 3", &progress, &metrics),
            "generator 1 of 3  extracting  [######..................]  25 %  1 min 15 s left  total 1.320"
        );
    }

    #[test]
    fn a_line_fits_the_terminal() {
        assert_eq!((cut("student", 8), cut("student", 7), cut("größer", 4)), ("student", "studen", "grö"));
        assert_eq!((cut("student", 1), cut("student", 0), cut("", 0)), ("", "", ""));
    }

    #[test]
    fn a_stop_reaches_the_run() {
        let stop = Arc::new(AtomicBool::new(false));
        let mut terminal = Terminal::new(true, Arc::clone(&stop));
        let progress = Progress { fraction: 0.0, phase: Phase::Importing, step: 0, steps: 1, eta_seconds: None };
        assert!(terminal.progress(progress.clone()).is_ok());
        stop.store(true, Ordering::Relaxed);
        assert!(matches!(terminal.progress(progress), Err(Stop::Canceled)));
    }
}
