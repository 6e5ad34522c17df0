//! What can go wrong in the store.

use std::path::PathBuf;

use sqlx::migrate::MigrateError;

use crate::domain::problem::{ErrorCode, Problem};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The caller's mistake, said in the caller's words.
    #[error(transparent)]
    Problem(#[from] Problem),
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    #[error("database schema: {0}")]
    Migration(MigrateError),
    #[error(
        "the database was written by a newer version of kegd (its schema is number {found}, and this version knows {known}): \
         start that version, or choose another directory"
    )]
    Newer { found: i64, known: i64 },
    #[error(
        "the database was written by an older version of kegd (its schema is number {found}, and this version has {known}): \
         stop that version if it runs, and start `kegd serve` of this one, which brings the database up to date"
    )]
    Older { found: i64, known: i64 },
    /// A file that is no database, or no longer one.
    #[error(
        "{at} is damaged, or is no database of kegd: remove {at}-wal and {at}-shm, which SQLite would write over whatever comes in \
         its place, and put a backup there; or move it away, and the files of jobs with it, to begin anew ({cause})",
        at = path.display()
    )]
    Damaged { path: PathBuf, cause: sqlx::Error },
    /// A new database would make files of no job of what lies beside it.
    #[error(
        "there are files of jobs, but no database: put {at} back, or a backup of it once {at}-wal and {at}-shm are removed; or \
         move the folder artifacts away to begin anew",
        at = .0.display()
    )]
    Absent(PathBuf),
    /// What is written now would be lost with the process.
    #[error("{} was deleted or replaced while it was in use", .0.display())]
    Gone(PathBuf),
    /// A row that this version did not write, or that was changed by hand.
    #[error("database: `{column}` holds something that is not its type: {cause}")]
    Corrupt { column: &'static str, cause: String },
}

/// What SQLite complains about, where that means something to a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// Another process holds the lock, or so many writes wait that ours did not get its turn.
    Locked,
    Full,
    /// The file cannot be opened, read or written.
    Unreachable,
    Damaged,
}

impl Trouble {
    /// From SQLite's result codes: <https://www.sqlite.org/rescode.html>.
    fn of(error: &sqlx::Error) -> Option<Self> {
        /// Not even the index of the log fits the disk.
        const IOERR_SHMSIZE: u32 = 4874;
        if matches!(error, sqlx::Error::PoolTimedOut) {
            return Some(Self::Locked);
        }
        let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
        // The low byte is the kind; the rest says more about it.
        match (code, code & 0xff) {
            (IOERR_SHMSIZE, _) | (_, 13) => Some(Self::Full),
            (_, 5 | 6) => Some(Self::Locked),
            (_, 8 | 10 | 14) => Some(Self::Unreachable),
            (_, 11 | 26) => Some(Self::Damaged),
            _ => None,
        }
    }
}

impl StoreError {
    /// A failure to open the database at `path`.
    pub(super) fn at_open(path: PathBuf, cause: sqlx::Error) -> Self {
        match Trouble::of(&cause) {
            Some(Trouble::Damaged) => Self::Damaged { path, cause },
            _ => Self::Database(cause),
        }
    }

    /// A failure to bring the schema to number `known`.
    pub(super) fn at_migration(path: PathBuf, known: i64, error: MigrateError) -> Self {
        match error {
            MigrateError::VersionMissing(found) if found > known => Self::Newer { found, known },
            MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => Self::at_open(path, cause),
            error => Self::Migration(error),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        // The cause may name files and statements: it belongs in the log, not in an answer.
        match &error {
            StoreError::Problem(problem) => return problem.clone(),
            StoreError::Gone(_) => {
                return Self::new(ErrorCode::Unavailable, "The server's data directory was deleted or replaced.")
                    .hint("Whoever runs the server has to start it again; what it kept is where the directory went.");
            }
            StoreError::Database(cause) => match Trouble::of(cause) {
                Some(Trouble::Full) => {
                    return Self::new(ErrorCode::DiskFull, "the disk that holds the database is full")
                        .hint("Free some space; nothing that was accepted is lost.");
                }
                Some(Trouble::Locked) => {
                    return Self::new(ErrorCode::Unavailable, "The database is busy; nothing was changed.")
                        .hint("Try again in a moment.");
                }
                Some(Trouble::Unreachable) => {
                    return Self::new(ErrorCode::Unavailable, "The database cannot be read or written.").hint(
                        "Whoever runs the server finds the cause in its log; nothing that was accepted is lost.",
                    );
                }
                Some(Trouble::Damaged) | None => {}
            },
            StoreError::Corrupt { .. } => {
                return Self::new(
                    ErrorCode::Internal,
                    "What the database keeps of this was written by another version of kegd, or changed by hand: this version cannot read it.",
                )
                .hint("The version that wrote it can; whoever runs the server finds the column in its log. A job can still be deleted.");
            }
            _ => {}
        }
        Self::new(ErrorCode::Internal, "the database did not do what it should; the server's log has the cause")
    }
}
