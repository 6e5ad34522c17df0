//! What libtorch reports, as planned failures.

use tch::TchError;

use super::observer::Stop;
use crate::domain::problem::{ErrorCode, Problem};

impl From<TchError> for Problem {
    fn from(error: TchError) -> Self {
        let text = error.to_string();
        // libtorch appends a C++ stack to its first line.
        let line = text.lines().next().unwrap_or_default().to_owned();
        let memory = ["out of memory", "can't allocate memory", "not enough memory", "bad_alloc"];
        if memory.iter().any(|words| text.contains(words)) {
            return Self::new(ErrorCode::OutOfMemory, format!("libtorch could not get the memory it needs: {line}"))
                .hint("Lower extraction.batch_size and distillation.batch_size, run on a device with more memory, or let runs use more (--child-memory).");
        }
        Self::new(ErrorCode::Internal, format!("libtorch refused an operation: {line}"))
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
