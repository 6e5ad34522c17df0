//! The data directory or the database in it is taken away, or its rights are.

use std::{os::unix::fs::PermissionsExt, os::unix::process::CommandExt, path::Path};

use sqlx::{
    Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};
use tempfile::TempDir;

use super::server::{KEGD, Server, check, fails, files, kegd, serve};
use crate::common::{rights::is_root, wait::until};

#[rstest::rstest]
#[case::deleted(|data: &Path| std::fs::remove_dir_all(data).unwrap())]
#[case::its_database_replaced(|data: &Path| {
    std::fs::rename(data.join("kegd.db"), data.join("old.db")).unwrap();
    std::fs::copy(data.join("old.db"), data.join("kegd.db")).unwrap();
})]
#[tokio::test]
async fn taken_away(#[case] take: impl Fn(&Path)) {
    let parent = TempDir::new().unwrap();
    let data = parent.path().join("data");
    let mut server = Server::start(&data);
    server.submit().await;
    take(&data);
    let ended = until("it ends", async || server.process.try_wait().unwrap()).await;
    assert_eq!(ended.code(), Some(1));
    let log = server.log();
    assert!(log.contains("kegd.db was deleted or replaced while it was in use"), "{log}");
}

/// A database of which only the head was written: its tables are in a log that lies elsewhere.
async fn without_its_log(database: &Path) {
    let options = SqliteConnectOptions::new().filename(database).create_if_missing(true);
    let made = SqliteConnection::connect_with(&options.journal_mode(SqliteJournalMode::Wal)).await.unwrap();
    made.close().await.unwrap();
    assert!(database.metadata().unwrap().len() > 0);
}

#[tokio::test]
async fn its_database_moved_away_between_two_lives() {
    let data = TempDir::new().unwrap();
    let mut server = Server::start(data.path());
    let id = server.submit().await;
    server.until(&id, |job| job["status"] == "succeeded").await;
    assert!(server.stop());
    let lying = || files(&data.path().join("artifacts")).into_iter().collect::<std::collections::BTreeSet<_>>();
    let kept = lying();
    let (database, away) = (data.path().join("kegd.db"), data.path().join("away.db"));
    std::fs::rename(&database, &away).unwrap();

    let create = &["keys", "create", "--name", "ci", "--scope", "admin"][..];
    let refused = |commands: &[&[&str]]| {
        let told = commands.iter().map(|command| kegd(data.path(), command));
        for (went_well, said) in told.chain([(false, fails(data.path()))]) {
            let words = said.contains("there are files of jobs, but no database") && said.contains("put ");
            assert!(!went_well && words && said.contains("kegd.db"), "{said}");
        }
        assert_eq!(lying(), kept);
    };
    refused(&[]);
    refused(&[create, &["work", "--devices", "cpu"]]);
    assert!(!database.exists());
    // As a copy begins.
    std::fs::write(&database, "").unwrap();
    refused(&[create, &["gc", "--dry-run"], &["keys", "list"], &["backup", "/dev/null/copy.db"]]);
    assert_eq!(database.metadata().unwrap().len(), 0);
    without_its_log(&database).await;
    refused(&[create]);

    std::fs::rename(&away, &database).unwrap();
    let server = Server::start(data.path());
    assert_eq!(server.get(&format!("/jobs/{id}/student")).await.status(), 200);
}

#[tokio::test]
async fn made_read_only() {
    let data = TempDir::new().unwrap();
    let mut command = serve(data.path());
    // Rights do not bind root.
    if is_root() {
        const NOBODY: u32 = 65534;
        std::os::unix::fs::chown(data.path(), Some(NOBODY), None).unwrap();
        command.uid(NOBODY);
        let reachable = std::process::Command::new(KEGD).arg("--version").uid(NOBODY).output();
        if !reachable.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: {KEGD} cannot be run by another user");
            return;
        }
    }
    let server = Server::run(command).unwrap();
    let id = server.submit().await;
    server.until(&id, |job| job["status"] == "succeeded").await;
    let rights = |mode| {
        for folder in ["artifacts", "scratch", "runs", "."] {
            std::fs::set_permissions(data.path().join(folder), std::fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    rights(0o555);
    let refused = server.refused(503).await;
    assert_eq!((refused.code.as_str(), refused.retry_after), ("unavailable", true));
    assert_eq!(server.get("/readyz").await.status(), 503);
    assert_eq!(server.get(&format!("/jobs/{id}/student")).await.status(), 200, "what is there can be had");
    rights(0o755);
    assert_eq!(server.get("/readyz").await.status(), 200);
    server.submit().await;
    check(data.path()).await;
}
