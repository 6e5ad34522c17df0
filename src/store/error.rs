//! What can go wrong in the store.

use crate::domain::problem::{ErrorCode, Problem};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The caller's mistake, said in the caller's words.
    #[error(transparent)]
    Problem(#[from] Problem),
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    #[error("database schema: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A row that this version did not write, or that was changed by hand.
    #[error("database: `{column}` holds something that is not its type: {cause}")]
    Corrupt { column: &'static str, cause: String },
}

/// SQLite's result code for a full disk.
const SQLITE_FULL: &str = "13";

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Problem(problem) => problem,
            StoreError::Database(sqlx::Error::Database(cause)) if cause.code().as_deref() == Some(SQLITE_FULL) => {
                Self::new(ErrorCode::DiskFull, "the disk that holds the database is full")
                    .hint("Free some space; nothing that was accepted is lost.")
            }
            // The cause may name files and statements: it belongs in the log, not in an answer.
            _ => {
                Self::new(ErrorCode::Internal, "the database did not do what it should; the server's log has the cause")
            }
        }
    }
}
