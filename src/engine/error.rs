//! What libtorch reports, as planned failures.

use tch::TchError;

use super::observer::Stop;
use crate::domain::problem::{ErrorCode, Problem};

/// What libtorch says when memory is short: of a GPU, and of the machine.
const OUT_OF_MEMORY: [&str; 4] = ["out of memory", "can't allocate memory", "not enough memory", "bad_alloc"];

/// Of what libtorch says: the rest is its own call stack, which the log has.
pub fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The failure that `text` of libtorch tells of, if it is a lack of memory.
pub fn out_of_memory(text: &str) -> Option<Problem> {
    let told = OUT_OF_MEMORY.iter().any(|sign| text.contains(sign));
    let detail = || format!("libtorch could not get the memory it needs: {}", first_line(text));
    told.then(|| {
        Problem::new(ErrorCode::OutOfMemory, detail())
            .hint("Lower extraction.batch_size and distillation.batch_size, run on a device with more memory, or let runs use more (--child-memory).")
    })
}

impl From<TchError> for Problem {
    fn from(error: TchError) -> Self {
        let text = error.to_string();
        out_of_memory(&text).unwrap_or_else(|| {
            Self::new(ErrorCode::Internal, format!("libtorch refused an operation: {}", first_line(&text)))
        })
    }
}

impl From<TchError> for Stop {
    fn from(error: TchError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let full = matches!(error.kind(), StorageFull | FileTooLarge | QuotaExceeded);
        let code = if full { ErrorCode::DiskFull } else { ErrorCode::Internal };
        let problem = Problem::new(code, format!("reading or writing a file of the run failed: {error}"));
        Self::Failed(match full {
            true => problem.hint("Free some disk, or let runs use more of it (--child-disk)."),
            false => problem,
        })
    }
}
