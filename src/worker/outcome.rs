//! From how a child ended to what it means. One pure function, so that every combination can be read and tested.

use std::time::Duration;

use super::process::Exit;
use crate::{
    domain::problem::{ErrorCode, Problem},
    protocol::exit,
    sandbox::Excess,
};

/// Why the supervisor ended the child.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cause {
    /// The job was canceled, or a sibling failed.
    Asked,
    Shutdown,
    LeaseLost,
    /// Nothing was heard of it for so long.
    Silent,
    /// It said that it lived, but did not get on for so long.
    Stalled(Duration),
    /// It used more than it may.
    Overran(Excess),
    /// It said what is not so, or not in the way that was agreed.
    Misbehaved(String),
    /// Something on this side, which the run has no part in: it may go well another time.
    Trouble(String),
}

/// A child's last word.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum LastWord {
    Done,
    Failed(Problem),
}

/// All that is known of a child that has ended.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) cause: Option<Cause>,
    pub(super) last_word: Option<LastWord>,
    /// Whether it left a checkpoint.
    pub(super) checkpointed: bool,
    pub(super) exit: Exit,
    pub(super) memory: Memory,
}

/// What memory had to do with an end without a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Memory {
    #[default]
    Fine,
    /// It was refused some, and gave up.
    Refused,
    /// The machine had none left, and the kernel killed it.
    Killed,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    Succeeded,
    Failed(Problem),
    Canceled,
    Interrupted,
    /// Why, in words that go on after "the last time, ".
    Lost(String),
    /// What on this side kept it from a result.
    Hindered(String),
    /// Somebody else holds the task: nothing may be written.
    Abandoned,
}

pub(super) fn outcome(ended: Ended) -> Outcome {
    let Ended { cause, last_word, checkpointed, exit, memory } = ended;
    match (cause, last_word) {
        (Some(Cause::LeaseLost), _) => Outcome::Abandoned,
        (Some(Cause::Misbehaved(what)), _) => Outcome::Failed(misbehaved(&what)),
        (Some(Cause::Overran(excess)), _) => Outcome::Failed(overran(excess)),
        (Some(Cause::Trouble(what)), _) => Outcome::Hindered(what),
        // It finished just before it could hear that it should not. The queue knows what an end is worth by now.
        (_, Some(LastWord::Done)) if exit == Exit::Code(exit::DONE) => Outcome::Succeeded,
        (Some(Cause::Asked), _) => Outcome::Canceled,
        (_, Some(LastWord::Failed(problem))) => Outcome::Failed(problem),
        (Some(Cause::Shutdown), _) => Outcome::Interrupted,
        (Some(Cause::Silent), _) => Outcome::Lost("it gave no sign of life, and was killed".to_owned()),
        (Some(Cause::Stalled(time)), _) => {
            Outcome::Lost(format!("it stood still for {} s, and was killed", time.as_secs_f64()))
        }
        (None, Some(LastWord::Done)) => Outcome::Lost(format!("it said that it was done, but {}", how(exit))),
        // Somebody else's SIGTERM. Without a checkpoint it would be back where it began, for ever.
        (None, None) if checkpointed && exit == Exit::Code(exit::INTERRUPTED) => Outcome::Interrupted,
        (None, None) => match memory {
            Memory::Refused => Outcome::Failed(too_much_memory("a part of it was refused more memory".to_owned())),
            Memory::Killed => Outcome::Lost("the kernel killed it, since the machine's memory had run out".to_owned()),
            Memory::Fine => Outcome::Lost(format!("{} without a result", how(exit))),
        },
    }
}

fn misbehaved(what: &str) -> Problem {
    Problem::new(ErrorCode::Internal, format!("the run was stopped: {what}"))
        .hint("This is a fault of the program, or an upload that took it over; the run's log has the details.")
}

fn overran(excess: Excess) -> Problem {
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    match excess {
        Excess::Memory { used, limit } => {
            too_much_memory(format!("it used {} of memory, and may use {}", mib(used), mib(limit)))
        }
        Excess::Disk { used, limit } => {
            let detail = format!("the run filled {} of disk, and may fill {}", mib(used), mib(limit));
            Problem::new(ErrorCode::DiskFull, detail)
                .hint("Lower distillation.samples_per_generator, or run the service with a larger --child-disk.")
        }
        Excess::Files(count) => misbehaved(&format!("it made more than {} files", count - 1)),
        Excess::Threads(count) => misbehaved(&format!("it had {count} threads")),
        Excess::Hidden => misbehaved("it hid which files it has open"),
    }
}

fn too_much_memory(what: String) -> Problem {
    Problem::new(ErrorCode::OutOfMemory, format!("the run was ended: {what}")).hint(
        "Lower extraction.batch_size and distillation.batch_size, or run the service with a larger --child-memory.",
    )
}

pub(super) fn how(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("it exited with code {code}"),
        Exit::Signal(libc::SIGKILL) => "it was killed by SIGKILL, as the system does when memory runs out,".to_owned(),
        Exit::Signal(number) => match nix::sys::signal::Signal::try_from(number) {
            Ok(signal) => format!("it was killed by {signal}"),
            Err(_) => format!("it was killed by signal {number}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const CRASH: Exit = Exit::Signal(libc::SIGSEGV);
    const KILLED: Exit = Exit::Signal(libc::SIGKILL);

    fn failed() -> Option<LastWord> {
        Some(LastWord::Failed(problem()))
    }

    fn problem() -> Problem {
        Problem::new(ErrorCode::TrainingDiverged, "the loss is not finite")
    }

    fn lost(why: &str) -> Outcome {
        Outcome::Lost(why.to_owned())
    }

    #[rstest]
    // What it says counts, where it ends accordingly.
    #[case(None, Some(LastWord::Done), Exit::Code(0), Outcome::Succeeded)]
    #[case(None, failed(), Exit::Code(1), Outcome::Failed(problem()))]
    #[case(None, failed(), CRASH, Outcome::Failed(problem()))]
    #[case(None, Some(LastWord::Done), Exit::Code(1), lost("it said that it was done, but it exited with code 1"))]
    #[case(None, Some(LastWord::Done), CRASH, lost("it said that it was done, but it was killed by SIGSEGV"))]
    // An end without a word is a loss, whatever the code.
    #[case(None, None, Exit::Code(0), lost("it exited with code 0 without a result"))]
    #[case(None, None, Exit::Code(exit::INTERRUPTED), lost("it exited with code 4 without a result"))]
    #[case(None, None, Exit::Code(3), lost("it exited with code 3 without a result"))]
    #[case(None, None, CRASH, lost("it was killed by SIGSEGV without a result"))]
    #[case(None, None, Exit::Signal(99), lost("it was killed by signal 99 without a result"))]
    // Ended by us: the reason decides, not how many rungs it took.
    #[case(Some(Cause::Asked), None, Exit::Code(3), Outcome::Canceled)]
    #[case(Some(Cause::Asked), None, KILLED, Outcome::Canceled)]
    #[case(Some(Cause::Asked), failed(), Exit::Code(1), Outcome::Canceled)]
    #[case(Some(Cause::Asked), Some(LastWord::Done), Exit::Code(0), Outcome::Succeeded)]
    #[case(Some(Cause::Shutdown), None, Exit::Code(exit::INTERRUPTED), Outcome::Interrupted)]
    #[case(Some(Cause::Shutdown), None, KILLED, Outcome::Interrupted)]
    #[case(Some(Cause::Shutdown), Some(LastWord::Done), Exit::Code(0), Outcome::Succeeded)]
    #[case(Some(Cause::Shutdown), Some(LastWord::Done), KILLED, Outcome::Interrupted)]
    #[case(Some(Cause::Shutdown), failed(), Exit::Code(1), Outcome::Failed(problem()))]
    #[case(Some(Cause::Silent), None, KILLED, lost("it gave no sign of life, and was killed"))]
    #[case(
        Some(Cause::Stalled(Duration::from_secs(600))),
        None,
        KILLED,
        lost("it stood still for 600 s, and was killed")
    )]
    #[case(
        Some(Cause::Overran(Excess::Files(6))),
        None,
        KILLED,
        Outcome::Failed(misbehaved("it made more than 5 files"))
    )]
    #[case(Some(Cause::Trouble("the disk is full".into())), None, KILLED, Outcome::Hindered("the disk is full".into()))]
    #[case(Some(Cause::Misbehaved("x".into())), Some(LastWord::Done), Exit::Code(0), Outcome::Failed(misbehaved("x")))]
    #[case(Some(Cause::LeaseLost), Some(LastWord::Done), Exit::Code(0), Outcome::Abandoned)]
    #[case(Some(Cause::LeaseLost), None, KILLED, Outcome::Abandoned)]
    fn an_end_has_one_meaning(
        #[case] cause: Option<Cause>,
        #[case] last_word: Option<LastWord>,
        #[case] exit: Exit,
        #[case] expected: Outcome,
    ) {
        assert_eq!(outcome(Ended { cause, last_word, checkpointed: false, exit, memory: Memory::Fine }), expected);
    }

    #[rstest]
    #[case(Excess::Memory { used: 5 << 20, limit: 4 << 20 }, ErrorCode::OutOfMemory, "5 MiB")]
    #[case(Excess::Disk { used: 5 << 20, limit: 4 << 20 }, ErrorCode::DiskFull, "4 MiB")]
    #[case(Excess::Threads(9), ErrorCode::Internal, "9 threads")]
    #[case(Excess::Hidden, ErrorCode::Internal, "it hid")]
    fn what_is_too_much_has_its_code(#[case] excess: Excess, #[case] code: ErrorCode, #[case] said: &str) {
        let cause = Some(Cause::Overran(excess));
        // It may have said before that it was done.
        for last_word in [None, Some(LastWord::Done)] {
            let ended =
                Ended { cause: cause.clone(), last_word, checkpointed: false, exit: KILLED, memory: Memory::Fine };
            let Outcome::Failed(problem) = outcome(ended) else { panic!("{excess:?} fails") };
            assert!(problem.code == code && problem.detail.contains(said), "{problem:?}");
        }
    }

    #[test]
    fn memory_is_told_where_nothing_else_was() {
        let end =
            |memory, last_word, exit| outcome(Ended { cause: None, last_word, checkpointed: false, exit, memory });
        let Outcome::Failed(refused) = end(Memory::Refused, None, Exit::Signal(libc::SIGABRT)) else {
            panic!("another attempt would be refused too");
        };
        assert_eq!(refused.code, ErrorCode::OutOfMemory);
        assert!(matches!(end(Memory::Killed, None, KILLED), Outcome::Lost(why) if why.contains("memory had run out")));
        assert_eq!(end(Memory::Killed, failed(), Exit::Code(1)), Outcome::Failed(problem()));
    }

    #[rstest]
    #[case(None, Exit::Code(exit::INTERRUPTED), Outcome::Interrupted)]
    #[case(Some(Cause::Shutdown), Exit::Code(exit::INTERRUPTED), Outcome::Interrupted)]
    #[case(Some(Cause::Asked), Exit::Code(exit::INTERRUPTED), Outcome::Canceled)]
    #[case(Some(Cause::LeaseLost), Exit::Code(exit::INTERRUPTED), Outcome::Abandoned)]
    // A checkpoint is no result, and excuses nothing.
    #[case(None, Exit::Code(0), lost("it exited with code 0 without a result"))]
    #[case(None, CRASH, lost("it was killed by SIGSEGV without a result"))]
    fn a_run_that_left_a_checkpoint_may_leave(
        #[case] cause: Option<Cause>,
        #[case] exit: Exit,
        #[case] expected: Outcome,
    ) {
        assert_eq!(outcome(Ended { cause, last_word: None, checkpointed: true, exit, memory: Memory::Fine }), expected);
    }
}
