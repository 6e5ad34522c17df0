//! The connections to one database: one that writes, and some that read.

use std::{path::Path, time::Duration};

use sqlx::{
    SqliteConnection, SqlitePool, TransactionManager,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous, SqliteTransactionManager},
};

/// How long a statement waits for another process's write lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a write waits for its turn: for a few before it that each wait for another process.
const TURN_TIMEOUT: Duration = Duration::from_secs(25);
const READERS: u32 = 4;

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // A job that was accepted survives a power cut.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
}

pub(super) async fn writer(path: &Path) -> Result<SqlitePool, sqlx::Error> {
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(TURN_TIMEOUT)
        .before_acquire(|connection, _| Box::pin(async { Ok(is_fresh(connection)) }))
        .connect_with(options(path).create_if_missing(true))
        .await?;
    // Connections come and go: a later one must not make a new database where this one was moved away.
    pool.set_connect_options(options(path));
    Ok(pool)
}

pub(super) async fn readers(path: &Path) -> Result<SqlitePool, sqlx::Error> {
    let pool = SqlitePoolOptions::new().max_connections(READERS);
    pool.connect_with(options(path).pragma("query_only", "1")).await
}

/// Whether no transaction is open, as far as sqlx knows. Where the disk is full or fails, SQLite has rolled back by itself;
/// sqlx's own rollback fails then, and it takes the transaction for open for as long as the connection lives: no write would
/// ever begin again.
fn is_fresh(connection: &SqliteConnection) -> bool {
    SqliteTransactionManager::get_transaction_depth(connection) == 0
}
