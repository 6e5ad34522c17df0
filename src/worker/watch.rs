//! What the supervisor sees of a run by itself, whatever the child says: whether it moves, and what it uses.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    log::RunLog,
    outcome::{Cause, Memory, how},
    process::Exit,
    quota::Quota,
};
use crate::{
    domain::job::Phase,
    protocol::Event,
    sandbox::{Terms, field},
};

/// A child under observation.
#[derive(Debug)]
pub(super) struct Watch {
    pid: u32,
    directory: PathBuf,
    terms: Terms,
    quota: Quota,
    patience: Duration,
    /// When it last got on.
    moved: Instant,
    at: Option<(Phase, u64, f64)>,
    measured: Option<(String, u64)>,
    peak: u64,
    /// How many processes the kernel had killed for memory when it began.
    killings: u64,
}

impl Watch {
    pub(super) fn new(pid: u32, directory: &Path, terms: &Terms, patience: Duration) -> Self {
        Self {
            pid,
            directory: directory.to_owned(),
            terms: terms.clone(),
            quota: Quota::new(terms.disk),
            patience,
            moved: Instant::now(),
            at: None,
            measured: None,
            peak: 0,
            killings: killings(),
        }
    }

    /// Takes note of an event. That it lives is no news, for a thread of its own says so; that it is at another step, or further in
    /// one, has measured something further on, or has made a file, is. Returns why it has to end, if it has.
    pub(super) fn hears(&mut self, event: &Event, now: Instant) -> Option<Cause> {
        let news = match event {
            Event::Alive => false,
            Event::Progress(progress) => {
                let at = Some((progress.phase, progress.step, progress.fraction));
                std::mem::replace(&mut self.at, at) != at
            }
            Event::Metrics { points } => points.last().is_some_and(|point| {
                let measured = Some((point.name.clone(), point.step));
                let news = self.measured != measured;
                self.measured = measured;
                news
            }),
            _ => true,
        };
        if news {
            self.moved = now;
        }
        self.quota.takes(event, now)
    }

    /// Nobody listened until now: that it did not move meanwhile cannot be said.
    pub(super) fn excuse(&mut self, now: Instant) {
        self.moved = now;
    }

    /// Nobody listened for as long as `unheard`: that much does not count.
    pub(super) fn pardon(&mut self, unheard: Duration, now: Instant) {
        self.moved = now.min(self.moved + unheard);
    }

    /// Why it has to end, if it has.
    pub(super) fn look(&mut self, now: Instant) -> Option<Cause> {
        if now.duration_since(self.moved) > self.patience {
            return Some(Cause::Stalled(self.patience));
        }
        let look = self.terms.look(self.pid, &self.directory);
        self.peak = self.peak.max(look.memory);
        look.excess.map(Cause::Overran)
    }

    /// Closes the log of a child that has ended, and tells what memory had to do with that.
    pub(super) async fn close(&self, exit: Exit, log: &RunLog) -> Memory {
        log.ended().await;
        log.note(&format!("{}; most memory seen: {} MiB", how(exit), self.peak >> 20));
        match exit {
            Exit::Signal(libc::SIGKILL) if killings() > self.killings => Memory::Killed,
            Exit::Signal(libc::SIGABRT) if log.tells_of_memory() => Memory::Refused,
            _ => Memory::Fine,
        }
    }
}

/// How many processes the kernel has killed for memory, on this machine, since it started.
fn killings() -> u64 {
    field(&fs::read_to_string("/proc/vmstat").unwrap_or_default(), "oom_kill ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{job::Progress, metric::MetricPoint},
        protocol::FileRef,
        sandbox::Excess,
    };

    fn watch(directory: &Path) -> Watch {
        Watch::new(std::process::id(), directory, &Terms::default(), Duration::from_secs(600))
    }

    #[test]
    fn only_what_gets_on_counts() {
        let directory = tempfile::tempdir().unwrap();
        let mut watch = watch(directory.path());
        let mut now = Instant::now();
        let within = |step, fraction| {
            Event::Progress(Progress { fraction, phase: Phase::Extracting, step, steps: 9, eta_seconds: None })
        };
        let progress = |step| within(step, 0.5);
        let loss = |step| Event::Metrics { points: vec![MetricPoint { name: "loss".into(), step, value: 1.0 }] };
        let file = FileRef { name: "a".into(), bytes: 1, sha256: "00".into() };
        let made = Event::Sample { file, generator: 0, epoch: 0, count: 1 };
        let turns = [
            (progress(1), true),
            (progress(1), false),
            (Event::Alive, false),
            (progress(2), true),
            (within(2, 0.55), true),
            (within(2, 0.55), false),
            (loss(1), true),
            (loss(1), false),
            (loss(2), true),
            (made, true),
        ];
        for (event, moves) in turns {
            now += Duration::from_secs(1);
            assert_eq!(watch.hears(&event, now), None);
            assert_eq!(watch.moved == now, moves, "{event:?}");
        }
        assert_eq!(watch.look(now), None);
        now += Duration::from_secs(601);
        assert_eq!(watch.hears(&Event::Alive, now), None);
        assert_eq!(watch.look(now), Some(Cause::Stalled(Duration::from_secs(600))));
        watch.pardon(Duration::from_secs(2), now);
        assert_eq!(watch.look(now), None, "of the 601 s, nobody listened for 2");
        watch.pardon(Duration::from_secs(1000), now);
        assert_eq!(watch.moved, now, "but it has not moved in the future");
    }

    #[test]
    fn what_is_used_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let mut watch = watch(directory.path());
        assert_eq!(watch.look(Instant::now()), None);
        assert!(watch.peak > 1 << 16, "this process uses some: {}", watch.peak);
        fs::write(directory.path().join("f"), vec![1; 1 << 20]).unwrap();
        watch.terms.disk = 1 << 19;
        assert!(
            matches!(watch.look(Instant::now()), Some(Cause::Overran(Excess::Disk { used, .. })) if used >= 1 << 20)
        );
        watch.terms.memory = 1;
        assert!(matches!(watch.look(Instant::now()), Some(Cause::Overran(Excess::Memory { limit: 1, .. }))));
    }
}
