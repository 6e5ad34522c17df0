//! The data directory is taken away, or its rights are, from a running service.

use std::{os::unix::fs::PermissionsExt, os::unix::process::CommandExt, path::Path};

use tempfile::TempDir;

use super::server::{KEGD, Server, check, is_root, serve};
use crate::common::wait::until;

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
