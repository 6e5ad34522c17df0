//! Whoever reads the log goes away.

use tempfile::TempDir;

use super::server::{Server, serve};

#[tokio::test]
async fn a_log_that_nobody_reads_is_all_that_is_lost() {
    let data = TempDir::new().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut server = Server::logging_elsewhere(writer.into(), serve(data.path()));
    drop(reader);
    let id = server.submit().await;
    server.until(&id, |job| job["status"] == "succeeded").await;
    assert_eq!(server.get("/jobs/none").await.status(), 404);
    assert_eq!(server.get("/livez").await.status(), 200);
    assert!(server.stop(), "and it ends when it is told to");
}
