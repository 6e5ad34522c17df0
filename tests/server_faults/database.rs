//! The database is locked, damaged, or not ours.

use sqlx::{Connection, Executor, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use super::server::{LONG, Server, accepted, check, fails, files, kegd, serve};

async fn connect(data: &std::path::Path) -> SqliteConnection {
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(data.join("kegd.db"))).await.unwrap()
}

#[tokio::test]
async fn locked_by_another_process() {
    let data = TempDir::new().unwrap();
    let mut server = Server::start(data.path());
    let running = accepted(server.post(LONG).await).await;
    server.until(&running, |job| job["phase"] == "extracting").await;
    let before = files(&data.path().join("artifacts")).len();

    let mut other = connect(data.path()).await;
    other.execute("begin exclusive").await.unwrap();
    let refused = server.refused(503).await;
    assert_eq!((refused.code.as_str(), refused.retry_after), ("unavailable", true));
    assert_eq!(server.get(&format!("/jobs/{running}")).await.status(), 200, "reading goes on");
    assert_eq!(files(&data.path().join("artifacts")).len(), before, "of what is refused nothing is kept");
    other.execute("rollback").await.unwrap();

    server.submit().await;
    let step = server.json(&format!("/jobs/{running}")).await["progress"]["step"].as_u64();
    server.until(&running, |job| job["progress"]["step"].as_u64() > step).await;
    assert_eq!(server.outcomes(&running).await, ["succeeded"], "the run went on through it");
    assert!(server.stop());
    check(data.path()).await;
}

#[tokio::test]
async fn written_by_a_newer_version() {
    let data = TempDir::new().unwrap();
    assert!(Server::start(data.path()).stop());
    let mut database = connect(data.path()).await;
    let newer = "insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
                 values (9999, 'of the future', true, x'00', 0)";
    database.execute(newer).await.unwrap();
    database.close().await.unwrap();
    let said = fails(data.path());
    assert!(said.contains("newer version") && said.contains("9999"), "{said}");
    assert!(said.contains(data.path().to_str().unwrap()), "{said}");
}

#[tokio::test]
async fn no_database_at_all() {
    let data = TempDir::new().unwrap();
    let file = data.path().join("kegd.db");
    std::fs::write(&file, "this is a shopping list, and no database. ".repeat(200)).unwrap();
    let said = fails(data.path());
    assert!(said.contains("is damaged") && said.contains("backup"), "{said}");
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("this is a shopping list"), "and is left as it was");
}

#[tokio::test]
async fn damaged_in_the_middle() {
    let data = TempDir::new().unwrap();
    let mut server = idle(data.path());
    let id = server.submit().await;
    assert!(server.stop());
    let file = data.path().join("kegd.db");
    let mut bytes = std::fs::read(&file).unwrap();
    // The first page has the schema: with it the file opens.
    bytes[4096..].fill(0xA5);
    std::fs::write(&file, bytes).unwrap();
    match Server::run(serve(data.path())) {
        Err(said) => assert!(said.contains("is damaged"), "{said}"),
        Ok(mut server) => {
            assert_eq!(server.get(&format!("/jobs/{id}")).await.status(), 500);
            assert_eq!(server.get("/livez").await.status(), 200, "it answers");
            assert!(server.log().contains("malformed"), "{}", server.log());
            server.stop();
        }
    }
}

/// A server that only takes jobs.
fn idle(data: &std::path::Path) -> Server {
    let mut command = serve(data);
    command.arg("--no-worker");
    Server::run(command).unwrap()
}

#[tokio::test]
async fn a_backup_takes_the_place_of_a_damaged_one() {
    let data = TempDir::new().unwrap();
    let mut server = idle(data.path());
    let kept = server.submit().await;
    let copy = data.path().join("copy.db");
    let (went_well, said) = kegd(data.path(), &["backup", copy.to_str().unwrap()]);
    assert!(went_well, "{said}");
    // So that the file has everything, and the log only what comes after.
    assert!(server.stop());
    let mut server = idle(data.path());
    server.submit().await;
    server.kill();
    let file = data.path().join("kegd.db");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[4096..].fill(0xA5);
    std::fs::write(&file, bytes).unwrap();
    assert!(data.path().join("kegd.db-wal").metadata().unwrap().len() > 0, "there is a log of what was damaged");

    let said = fails(data.path());
    assert!(said.contains("is damaged") && said.contains("backup"), "{said}");
    for beside in ["kegd.db-wal", "kegd.db-shm"] {
        assert!(said.contains(beside), "{said}");
        let _ = std::fs::remove_file(data.path().join(beside));
    }
    std::fs::copy(&copy, &file).unwrap();
    let mut server = idle(data.path());
    let jobs = server.json("/jobs").await["data"].clone();
    let jobs: Vec<_> = jobs.as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
    assert_eq!(jobs, [kept.as_str()]);
    let folders = std::fs::read_dir(data.path().join("artifacts")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(folders.collect::<Vec<_>>(), [kept.as_str()], "what came after it is gone with its files");
    assert!(server.stop());
    check(data.path()).await;
}

#[tokio::test]
async fn in_use_by_another_server() {
    let data = TempDir::new().unwrap();
    let mut first = Server::start(data.path());
    let upload = first.half_an_upload();
    let kept = || files(&data.path().join("artifacts"));
    crate::common::wait::until("a part of the upload is on the disk", async || (!kept().is_empty()).then_some(()))
        .await;
    let said = fails(data.path());
    assert!(said.contains("another kegd serve") && said.contains("--data-dir"), "{said}");
    let mut alone = serve(data.path());
    alone.arg("--no-worker");
    assert!(Server::run(alone).err().unwrap().contains("another kegd serve"), "not without a worker either");
    assert!(!kept().is_empty(), "the first one's upload is left alone");
    drop(upload);
    first.submit().await;
    assert!(first.stop());
    assert!(Server::start(data.path()).stop(), "the directory is free again");
}

#[tokio::test]
async fn the_service_that_uses_it_is_of_an_older_version() {
    const NUMBER: &str = "select max(version) from _sqlx_migrations";
    let data = TempDir::new().unwrap();
    let mut older = Server::start(data.path());
    let mut database = connect(data.path()).await;
    let newest: i64 = sqlx::query_scalar(NUMBER).fetch_one(&mut database).await.unwrap();
    sqlx::query("delete from _sqlx_migrations where version = ?").bind(newest).execute(&mut database).await.unwrap();
    let number: i64 = sqlx::query_scalar(NUMBER).fetch_one(&mut database).await.unwrap();
    for command in [&["work", "--devices", "cpu"][..], &["gc", "--dry-run"], &["keys", "list"]] {
        let (went_well, said) = kegd(data.path(), command);
        assert!(!went_well && said.contains("older version") && said.contains("kegd serve"), "{command:?}: {said}");
    }
    assert!(fails(data.path()).contains("another kegd serve"));
    let copy = data.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    let (went_well, said) = kegd(data.path(), &["backup", copy.join("kegd.db").to_str().unwrap()]);
    assert!(went_well, "{said}");
    for there in [&mut database, &mut connect(&copy).await] {
        assert_eq!(sqlx::query_scalar::<_, i64>(NUMBER).fetch_one(there).await.unwrap(), number, "nobody changed it");
    }
    assert!(older.stop());
    assert!(Server::start(data.path()).stop());
    assert_eq!(sqlx::query_scalar::<_, i64>(NUMBER).fetch_one(&mut database).await.unwrap(), newest);
}
