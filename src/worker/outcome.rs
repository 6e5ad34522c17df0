//! From how a child ended to what it means. One pure function, so that every combination can be read and tested.

use super::process::Exit;
use crate::{
    domain::problem::{ErrorCode, Problem},
    protocol::exit,
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
    /// It said what is not so, or not in the way that was agreed.
    Misbehaved(String),
    /// Something on this side: the run may go well another time.
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
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    Succeeded,
    Failed(Problem),
    Canceled,
    Interrupted,
    /// Why, in words that go on after "the last time, ".
    Lost(String),
    /// Somebody else holds the task: nothing may be written.
    Abandoned,
}

pub(super) fn outcome(ended: Ended) -> Outcome {
    let Ended { cause, last_word, checkpointed, exit } = ended;
    match (cause, last_word) {
        (Some(Cause::LeaseLost), _) => Outcome::Abandoned,
        (Some(Cause::Misbehaved(what)), _) => Outcome::Failed(misbehaved(&what)),
        (Some(Cause::Trouble(what)), _) => Outcome::Lost(what),
        // It finished just before it could hear that it should not. The queue knows what an end is worth by now.
        (_, Some(LastWord::Done)) if exit == Exit::Code(exit::DONE) => Outcome::Succeeded,
        (Some(Cause::Asked), _) => Outcome::Canceled,
        (_, Some(LastWord::Failed(problem))) => Outcome::Failed(problem),
        (Some(Cause::Shutdown), _) => Outcome::Interrupted,
        (Some(Cause::Silent), _) => Outcome::Lost("it gave no sign of life, and was killed".to_owned()),
        (None, Some(LastWord::Done)) => Outcome::Lost(format!("it said that it was done, but {}", how(exit))),
        // Somebody else's SIGTERM. Without a checkpoint it would be back where it began, for ever.
        (None, None) if checkpointed && exit == Exit::Code(exit::INTERRUPTED) => Outcome::Interrupted,
        (None, None) => Outcome::Lost(format!("{} without a result", how(exit))),
    }
}

fn misbehaved(what: &str) -> Problem {
    Problem::new(ErrorCode::Internal, format!("the run was stopped: {what}"))
        .hint("This is a fault of the program, or an upload that took it over; the job's log artifact has the details.")
}

fn how(exit: Exit) -> String {
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
    #[case(Some(Cause::Trouble("the disk is full".into())), None, KILLED, lost("the disk is full"))]
    #[case(Some(Cause::Misbehaved("x".into())), Some(LastWord::Done), Exit::Code(0), Outcome::Failed(misbehaved("x")))]
    #[case(Some(Cause::LeaseLost), Some(LastWord::Done), Exit::Code(0), Outcome::Abandoned)]
    #[case(Some(Cause::LeaseLost), None, KILLED, Outcome::Abandoned)]
    fn an_end_has_one_meaning(
        #[case] cause: Option<Cause>,
        #[case] last_word: Option<LastWord>,
        #[case] exit: Exit,
        #[case] expected: Outcome,
    ) {
        assert_eq!(outcome(Ended { cause, last_word, checkpointed: false, exit }), expected);
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
        assert_eq!(outcome(Ended { cause, last_word: None, checkpointed: true, exit }), expected);
    }
}
