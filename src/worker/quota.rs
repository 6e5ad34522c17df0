//! How much a run may say. All of it is read by the server and most of it is kept, so none of it may be without end.

use std::{collections::HashSet, time::Duration};

use tokio::time::Instant;

use super::outcome::Cause;
use crate::{protocol::Event, sandbox::Excess};

/// Events in a second: ours sends some twenty.
const MOST_EVENTS: u64 = 10_000;
/// Points of all series together: some hundred times what the longest preset measures.
const MOST_POINTS: u64 = 2_000_000;
/// Series, each of which is on the row of the job.
const MOST_SERIES: usize = 1_000;
/// Bytes of a series' name.
const LONGEST_NAME: usize = 200;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Quota {
    /// Bytes that may be kept of its files.
    disk: u64,
    kept: u64,
    events: u64,
    /// Since when events are counted.
    since: Instant,
    points: u64,
    series: HashSet<String>,
}

impl Quota {
    pub(super) fn new(disk: u64) -> Self {
        Self { disk, kept: 0, events: 0, since: Instant::now(), points: 0, series: HashSet::new() }
    }

    /// Takes account of an event; what is too much, if something is.
    pub(super) fn takes(&mut self, event: &Event, now: Instant) -> Option<Cause> {
        if now.duration_since(self.since) > SECOND {
            (self.events, self.since) = (0, now);
        }
        self.events += 1;
        if self.events > MOST_EVENTS {
            return Some(said("more events than anybody can read"));
        }
        match event {
            // Checkpoints replace each other; these stay, also when the run has removed its own copy.
            Event::Artifact { file, .. } | Event::Sample { file, .. } => {
                self.kept = self.kept.saturating_add(file.bytes);
                let excess = Excess::Disk { used: self.kept, limit: self.disk };
                (self.kept > self.disk).then_some(Cause::Overran(excess))
            }
            Event::Metrics { points } => {
                self.points += points.len() as u64;
                for point in points.iter().filter(|point| !self.series.contains(&point.name)).collect::<Vec<_>>() {
                    if point.name.len() > LONGEST_NAME {
                        return Some(said("a metric whose name is too long"));
                    }
                    self.series.insert(point.name.clone());
                }
                let over = self.points > MOST_POINTS || self.series.len() > MOST_SERIES;
                over.then(|| said("more metrics than can be kept"))
            }
            _ => None,
        }
    }
}

fn said(what: &str) -> Cause {
    Cause::Misbehaved(format!("it sent {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{artifact::Role, metric::MetricPoint},
        protocol::FileRef,
    };

    fn metrics(names: impl Iterator<Item = String>) -> Event {
        Event::Metrics { points: names.map(|name| MetricPoint { name, step: 1, value: 0.0 }).collect() }
    }

    #[test]
    fn what_is_said_has_an_end() {
        let now = Instant::now();
        let mut quota = Quota::new(100);
        assert_eq!(quota.takes(&metrics((0..1000).map(|series| format!("s{series}"))), now), None);
        assert_eq!(quota.takes(&metrics((0..1000).map(|series| format!("s{series}"))), now), None, "the same ones");
        assert!(quota.takes(&metrics(std::iter::once("another".to_owned())), now).is_some());
        assert!(Quota::new(0).takes(&metrics(std::iter::once("x".repeat(201))), now).is_some());

        let file = |bytes| FileRef { name: "f".into(), bytes, sha256: String::new() };
        let artifact = |bytes| Event::Artifact { file: file(bytes), role: Role::Report };
        assert_eq!(quota.takes(&artifact(60), now), None);
        assert_eq!(quota.takes(&artifact(60), now), Some(Cause::Overran(Excess::Disk { used: 120, limit: 100 })));
        assert!(matches!(
            quota.takes(&artifact(u64::MAX), now),
            Some(Cause::Overran(Excess::Disk { used: u64::MAX, .. }))
        ));

        let mut quota = Quota::new(0);
        assert!((0..MOST_EVENTS).all(|_| quota.takes(&Event::Alive, now).is_none()));
        assert!(quota.takes(&Event::Alive, now).is_some());
        assert_eq!(quota.takes(&Event::Alive, now + 2 * SECOND), None);
    }
}
