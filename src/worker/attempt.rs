//! A child under supervision, from its start to its end.

use std::time::Duration;

use tokio::{sync::broadcast, time::Instant};

use super::{
    Shop, WorkerConfig,
    channel::{Events, asked},
    checkpoints::{self, Missed},
    directory::RunDirectory,
    files::{self, SampleOf},
    ladder::Ladder,
    lease::held,
    outcome::{Cause, Ended, LastWord, Outcome, outcome},
    process::{Exit, Process},
    watch::Watch,
};
use crate::{
    domain::{
        artifact::{Artifact, Role},
        job::{Phase, Progress},
    },
    protocol::{Command, Event, FileRef, VERSION},
    queue::{Beat, Claim, Hold, QueueError},
    store::{Signal, StoreError},
};

/// How long the pipe of a child that has ended may stay open: by something that it started.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// A write that takes longer has kept us from listening.
const HELD_UP: Duration = Duration::from_secs(1);
/// Points held back at most; more are written at once.
const MOST_POINTS: usize = 5_000;

/// A child under supervision.
pub(super) struct Attempt<'a> {
    shop: &'a Shop,
    claim: &'a Claim,
    directory: &'a RunDirectory,
    process: Process,
    watch: Watch,
    /// Said, and not yet written down.
    beat: Beat,
    /// When something was last heard.
    heard: Instant,
    /// When the lease was last renewed.
    renewed: Instant,
    /// When the last tick was.
    ticked: Instant,
    greeted: bool,
    phase: Option<Phase>,
    last_word: Option<LastWord>,
    /// Why it is being ended, and how far that is.
    ending: Option<(Cause, Ladder)>,
    made: Vec<Artifact>,
    checkpointed: bool,
}

/// What the supervisor turns to next.
enum Turn {
    Event(Option<Result<Event, String>>),
    Exit(Exit),
    Signal,
    Shutdown,
    Tick,
    Descend,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(shop: &'a Shop, claim: &'a Claim, directory: &'a RunDirectory, process: Process) -> Self {
        let now = Instant::now();
        let WorkerConfig { terms, stall, .. } = &shop.config;
        let watch = Watch::new(process.id(), directory.path(), terms, *stall);
        Self {
            shop,
            claim,
            directory,
            process,
            watch,
            beat: Beat::default(),
            heard: now,
            renewed: now,
            ticked: now,
            greeted: false,
            phase: None,
            last_word: None,
            ending: None,
            made: Vec::new(),
            checkpointed: false,
        }
    }

    /// Listens until the child has ended and its pipe is empty.
    pub(super) async fn supervise(mut self, mut events: Events) -> (Outcome, Vec<Artifact>) {
        let mut signals = self.shop.queue.store().subscribe();
        // What was asked before we listened is told by a look.
        self.write().await;
        let exit = self.until_exit(&mut events, &mut signals).await;
        // What it started, and left behind, must not go on writing, nor keep the pipe open.
        self.process.signal(nix::sys::signal::Signal::SIGKILL);
        while self.last_word.is_none()
            && let Ok(Some(event)) = tokio::time::timeout(LAST_WORDS, events.next()).await
        {
            self.hear(event).await;
        }
        self.write().await;
        let memory = self.watch.close(exit, &self.process.log).await;
        let cause = self.ending.map(|(cause, _)| cause);
        // The child may have heard of the shutdown before we did.
        let cause = cause.or_else(|| self.shop.shutdown.is_cancelled().then_some(Cause::Shutdown));
        let Self { last_word, checkpointed, made, .. } = self;
        (outcome(Ended { cause, last_word, checkpointed, exit, memory }), made)
    }

    async fn until_exit(&mut self, events: &mut Events, signals: &mut broadcast::Receiver<Signal>) -> Exit {
        let mut tick = tokio::time::interval(self.shop.config.write_every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut open = true;
        loop {
            match self.turn(events, open, signals, &mut tick).await {
                Turn::Exit(exit) => return exit,
                Turn::Event(Some(event)) => self.hear(event).await,
                Turn::Event(None) => open = false,
                Turn::Signal => self.write().await,
                Turn::Shutdown => self.end(Cause::Shutdown).await,
                Turn::Tick => self.tick().await,
                Turn::Descend => {
                    if let Some((_, ladder)) = &mut self.ending {
                        ladder.descend(&self.process);
                    }
                }
            }
        }
    }

    async fn turn(
        &mut self,
        events: &mut Events,
        open: bool,
        signals: &mut broadcast::Receiver<Signal>,
        tick: &mut tokio::time::Interval,
    ) -> Turn {
        let job = self.claim.fence().job;
        let shutdown = &self.shop.shutdown;
        let ending = self.ending.as_ref().map(|(_, ladder)| ladder);
        let patience = async {
            match ending {
                Some(ladder) => ladder.patience().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = events.next(), if open => Turn::Event(event),
            exit = self.process.ended() => Turn::Exit(exit.unwrap_or(Exit::Code(-1))),
            () = asked(signals, job) => Turn::Signal,
            () = shutdown.cancelled(), if ending.is_none() => Turn::Shutdown,
            () = patience => Turn::Descend,
            _ = tick.tick() => Turn::Tick,
        }
    }

    /// Writes down what was said, renews the lease of a child that moves, and ends one that does not.
    async fn tick(&mut self) {
        self.pardon();
        let lease = self.shop.queue.config().lease;
        if self.heard.elapsed() > lease {
            return self.end(Cause::Silent).await;
        }
        if let Some(cause) = self.watch.look(Instant::now()) {
            return self.end(cause).await;
        }
        let news = self.beat.progress.is_some() || !self.beat.metrics.is_empty();
        if news || (self.heard > self.renewed && self.renewed.elapsed() > lease / 4) {
            self.write().await;
        }
    }

    /// Takes in one event, or what came instead of one.
    async fn hear(&mut self, event: Result<Event, String>) {
        // Of a child that is being ended for a fault, and after its last word, nothing more is believed.
        if self.last_word.is_some() || self.ending.as_ref().is_some_and(|(cause, _)| !is_polite(cause)) {
            return;
        }
        let event = match event {
            Ok(event) => event,
            Err(what) => return self.end(Cause::Misbehaved(what)).await,
        };
        self.heard = Instant::now();
        if let Some(cause) = self.watch.hears(&event, self.heard) {
            return self.end(cause).await;
        }
        match event {
            Event::Hello { version, .. } => self.greet(version).await,
            // Also instead of a greeting: a task that cannot be read, a process that cannot be isolated.
            Event::Failed { problem } => self.last_word = Some(LastWord::Failed(problem)),
            _ if !self.greeted => self.end(Cause::Misbehaved("it did not say hello".to_owned())).await,
            Event::Alive => {}
            Event::Checkpoint { file, step } => self.keep_checkpoint(file, step).await,
            Event::Progress(progress) => self.move_on(progress).await,
            Event::Metrics { points } => {
                self.beat.metrics.extend(points);
                if self.beat.metrics.len() > MOST_POINTS {
                    self.write().await;
                }
            }
            Event::Sample { generator, .. } if generator >= self.claim.settings.extraction.generators.max(1) => {
                self.end(Cause::Misbehaved(format!(
                    "it sent samples of generator {generator}, which there is none of"
                )))
                .await;
            }
            Event::Sample { file, generator, epoch, count } => {
                let sample = SampleOf { generator, epoch, count };
                self.adopt(file, Role::Samples, Some(sample)).await;
            }
            Event::Artifact { file, role } => self.adopt(file, role, None).await,
            Event::Done => self.last_word = Some(LastWord::Done),
        }
    }

    async fn greet(&mut self, version: u32) {
        if version == VERSION {
            self.greeted = true;
            return;
        }
        // The program on the disk was replaced while this one ran: a restart, and the next attempt goes well.
        let what = format!("the child speaks version {version} of the protocol, and this worker version {VERSION}");
        self.end(Cause::Trouble(what)).await;
    }

    /// Progress waits for the next tick; the beginning of a phase does not, unless it had been passed before.
    async fn move_on(&mut self, progress: Progress) {
        let phase = progress.phase;
        self.beat.progress = Some(progress);
        if self.phase.is_none_or(|before| phase > before) {
            self.phase = Some(phase);
            self.write().await;
        }
    }

    async fn adopt(&mut self, file: FileRef, role: Role, sample: Option<SampleOf>) {
        // In the order in which it was said: a bar that is behind its files would look wrong.
        self.write().await;
        let adoption = files::adopt(self.shop, self.claim, self.directory.path(), (file, role, sample));
        let adopted = held(self.shop, self.claim, adoption).await;
        self.excuse();
        match adopted {
            Ok((artifact, hold)) => {
                self.made.push(artifact);
                self.obey(hold).await;
            }
            Err(cause) => self.end(cause).await,
        }
    }

    async fn keep_checkpoint(&mut self, file: FileRef, step: u64) {
        // What was measured on the way comes first: the run that goes on from here will not measure it again.
        self.write().await;
        let kept = if self.beat.metrics.is_empty() {
            let keeping = checkpoints::keep(self.shop, self.claim, self.directory.path(), (file, step));
            held(self.shop, self.claim, keeping).await
        } else {
            Err(Missed::Unkept("what came before it cannot be recorded".to_owned()))
        };
        self.excuse();
        match kept {
            Ok(hold) => {
                self.checkpointed = true;
                self.obey(hold).await;
            }
            Err(Missed::Ends(cause)) => self.end(cause).await,
            Err(Missed::Unkept(why)) => {
                tracing::warn!(step, why, "a checkpoint is not kept; the run goes on");
            }
        }
    }

    /// After what may have taken long: who could not be heard meanwhile was not silent, and did not stand still.
    fn excuse(&mut self) {
        self.heard = Instant::now();
        self.watch.excuse(self.heard);
    }

    /// Of the time since the last tick no more counts than two of them may be apart: if we did not tick (a stopped process, a
    /// paused container), we did not listen either, and what was said meanwhile may come after this tick.
    fn pardon(&mut self) {
        let now = Instant::now();
        let passed = now.duration_since(std::mem::replace(&mut self.ticked, now));
        let unheard = passed.saturating_sub(2 * self.shop.config.write_every);
        self.heard = now.min(self.heard + unheard);
        self.watch.pardon(unheard, now);
    }

    /// Writes down what was said, and asks whether to go on.
    async fn write(&mut self) {
        let beat = std::mem::take(&mut self.beat);
        let begun = Instant::now();
        let recorded = self.shop.queue.record(self.claim, &beat).await;
        // The database is locked: while it is, a tick that waits for it may come before the events that wait for us.
        if begun.elapsed() > HELD_UP {
            self.excuse();
        }
        match recorded {
            Ok(hold) => {
                self.renewed = Instant::now();
                self.obey(hold).await;
            }
            Err(QueueError::LeaseLost) => self.end(Cause::LeaseLost).await,
            // A number that no column can hold.
            Err(QueueError::Store(error @ StoreError::Corrupt { .. })) => {
                self.end(Cause::Misbehaved(format!("it sent what cannot be kept: {error}"))).await;
            }
            Err(error) => {
                tracing::error!(%error, "what a run said cannot be recorded");
                self.hold_back(beat);
            }
        }
    }

    /// Keeps what could not be written for the next time.
    fn hold_back(&mut self, beat: Beat) {
        self.beat.progress = self.beat.progress.take().or(beat.progress);
        let newer = std::mem::replace(&mut self.beat.metrics, beat.metrics);
        self.beat.metrics.extend(newer);
        self.beat.metrics.truncate(MOST_POINTS);
    }

    async fn obey(&mut self, hold: Hold) {
        if hold == Hold::Stop {
            self.end(Cause::Asked).await;
        }
    }

    /// Begins to end the child, unless that has begun. Who lost the lease, or lied, is killed at once.
    async fn end(&mut self, cause: Cause) {
        let outranked = self.ending.as_ref().is_some_and(|(earlier, _)| !is_polite(earlier) || is_polite(&cause));
        if outranked {
            return;
        }
        tracing::info!(?cause, "run is ended");
        let config = &self.shop.config;
        let ladder = match cause {
            Cause::Asked => Ladder::ask(&mut self.process, Command::Cancel, config.grace).await,
            Cause::Shutdown => Ladder::ask(&mut self.process, Command::CheckpointAndExit, config.drain).await,
            _ => Ladder::kill(&self.process),
        };
        self.ending = Some((cause, ladder));
    }
}

/// Whether a child that is ended for this may finish its step.
fn is_polite(cause: &Cause) -> bool {
    matches!(cause, Cause::Asked | Cause::Shutdown)
}
