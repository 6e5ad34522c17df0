//! The disk fills up: a small file system of memory, in a mount namespace of the service's own.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::{Client, Method, multipart};
use serde_json::Value;
use tempfile::TempDir;

use super::server::{LONG, SMALL, Server, accepted, check, serve};
use crate::common::{rights::is_root, teacher::small_file, wait::until};

/// A service on a disk of its own, and that disk as seen from here.
struct Small {
    server: Server,
    disk: PathBuf,
    _mount: TempDir,
}

/// `None`, with the reason, where this machine does not let us mount.
fn start(size: &str) -> Option<Small> {
    let mount = TempDir::new().unwrap();
    let namespace = if is_root() { "-m" } else { "-rm" };
    let tmpfs = format!("mount -t tmpfs -o size={size},mode=700 none {}", mount.path().display());
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args([namespace, "sh", "-c", script, "kegd"]);
        command
    };
    match unshare(&tmpfs).output() {
        Ok(tried) if tried.status.success() => {}
        tried => {
            eprintln!("skipped: no file system can be mounted here: {tried:?}");
            return None;
        }
    }
    let mut command = unshare(&format!("{tmpfs} && exec \"$@\""));
    let service = serve(&mount.path().join("data"));
    command.arg(service.get_program()).args(service.get_args()).args(["--min-free-disk", "0"]);
    let server = Server::run(command).unwrap();
    // The same files, through the service's own view of the system.
    let root = PathBuf::from(format!("/proc/{}/root", server.process.id()));
    let disk = root.join(mount.path().strip_prefix("/").unwrap());
    Some(Small { server, disk, _mount: mount })
}

/// Fills the disk to the last byte.
fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("ballast");
    let mut ballast = std::fs::File::create(&path).unwrap();
    for block in [1 << 20, 1 << 12, 1] {
        while ballast.write_all(&vec![0; block]).is_ok() {}
    }
    path
}

/// The rules of the queue hold in the database, as a crash at this moment would leave it. A copy: SQLite resolves paths, and
/// the way into the service's view of the system is none that it could resolve.
async fn check_copy(small: &Small) {
    let copy = TempDir::new().unwrap();
    let service = Pid::from_raw(small.server.process.id() as i32);
    kill(service, Signal::SIGSTOP).unwrap();
    for file in ["kegd.db", "kegd.db-wal"] {
        std::fs::copy(small.disk.join("data").join(file), copy.path().join(file)).unwrap();
    }
    kill(service, Signal::SIGCONT).unwrap();
    check(copy.path()).await;
}

#[tokio::test]
async fn full_when_a_job_is_submitted() {
    let Some(small) = start("24m") else { return };
    let server = &small.server;
    let done = server.submit().await;
    server.until(&done, |job| job["status"] == "succeeded").await;
    let ballast = fill(&small.disk);
    assert_eq!(server.refused(507).await.code, "disk_full");
    assert_eq!(server.get(&format!("/jobs/{done}/student")).await.status(), 200, "what is there can be had");
    assert_eq!(server.get("/livez").await.status(), 200);
    check_copy(&small).await;

    std::fs::remove_file(ballast).unwrap();
    let id = server.submit().await;
    server.until(&id, |job| job["status"] == "succeeded").await;
    check_copy(&small).await;
}

#[tokio::test]
async fn full_while_a_job_runs() {
    let Some(small) = start("24m") else { return };
    let server = &small.server;
    let running = accepted(server.post(LONG).await).await;
    server.until(&running, |job| job["phase"] == "extracting").await;
    let ballast = fill(&small.disk);
    until("something cannot be written", async || server.log().contains("full").then_some(())).await;
    assert_eq!(server.get(&format!("/jobs/{running}")).await.status(), 200);
    std::fs::remove_file(ballast).unwrap();
    // Either its child could not write and said so, or it did not need to just then, and goes on.
    let step = server.json(&format!("/jobs/{running}")).await["progress"]["step"].as_u64();
    let job = until("the job ends or goes on", async || {
        let job = server.json(&format!("/jobs/{running}")).await;
        (job["status"] == "failed" || job["progress"]["step"].as_u64() > step).then_some(job)
    })
    .await;
    assert!(job["error"].is_null() || job["error"]["code"] == "disk_full", "{job:#}");
    Client::new().delete(server.url(&format!("/jobs/{running}?force=true"))).send().await.unwrap();
    let next = server.submit().await;
    server.until(&next, |job| job["status"] == "succeeded").await;
    check_copy(&small).await;
}

/// Submits a small job with a side file that its model does not name, and that each run gets a copy of all the same.
async fn submit_beside(server: &Server, bytes: usize) -> String {
    let part = |content: Vec<u8>, name: &'static str| multipart::Part::bytes(content).file_name(name);
    let form = multipart::Form::new().part("model", part(small_file(), "small.onnx"));
    let form = form.part("external_data", part(vec![7; bytes], "side.bin")).text("config", SMALL);
    accepted(Client::new().post(server.url("/jobs")).multipart(form).send().await.unwrap()).await
}

#[tokio::test]
async fn too_full_for_the_inputs_of_a_run() {
    const INPUTS: usize = 8 << 20;
    let Some(small) = start("48m") else { return };
    let server = &small.server;
    let first = accepted(server.post(LONG).await).await;
    server.until(&first, |job| job["phase"] == "extracting").await;
    let waiting = submit_beside(server, INPUTS).await;
    let ballast = fill(&small.disk);
    // Room for the database, and not for the copy.
    let most = std::fs::metadata(&ballast).unwrap().len();
    std::fs::File::options().write(true).open(&ballast).unwrap().set_len(most - INPUTS as u64 / 2).unwrap();
    Client::new().delete(server.url(&format!("/jobs/{first}?force=true"))).send().await.unwrap();
    let outcomes = until("its run has ended", async || {
        Some(server.outcomes(&waiting).await).filter(|outcomes| !outcomes.is_empty())
    })
    .await;
    assert_eq!(outcomes, ["interrupted"], "no loss that could fail the job");
    let job = server.json(&format!("/jobs/{waiting}")).await;
    let warnings = job["warnings"].to_string();
    assert!(warnings.contains("the disk has no room for the 84"), "no copy was begun: {warnings}");
    assert_eq!((&job["status"], &job["error"]), (&"queued".into(), &serde_json::Value::Null));

    std::fs::remove_file(ballast).unwrap();
    server.until(&waiting, |job| job["status"] == "succeeded").await;
    assert!(!server.outcomes(&waiting).await.contains(&"lost".to_owned()));
    check_copy(&small).await;
}

/// Whether the answer to a request for a job's `/jobs/{id}{suffix}` is 507, which must be as the OpenAPI document has it.
async fn is_refused(server: &Server, method: Method, id: &str, suffix: &str) -> bool {
    let request = Client::new().request(method.clone(), server.url(&format!("/jobs/{id}{suffix}")));
    // Without a word a job that has succeeded is not started again, whatever the disk says.
    let request = if suffix == "/retry" { request.body(r#"{"from":"start"}"#) } else { request };
    let answer = request.send().await.unwrap();
    if answer.status() != 507 {
        return false;
    }
    let media_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["code"], "disk_full", "{problem:#}");
    assert!(!problem["detail"].as_str().unwrap().contains("upload"), "nothing is uploaded: {problem:#}");
    let document = server.json("/openapi.json").await;
    let path = format!("/jobs/{{id}}{}", suffix.split('?').next().unwrap());
    let operation = &document["paths"][path][method.as_str().to_lowercase()];
    assert!(operation["responses"]["507"]["content"][&media_type].is_object(), "{method} {suffix}: {operation:#}");
    true
}

#[tokio::test]
async fn full_when_a_job_is_looked_at_or_changed() {
    let Some(small) = start("24m") else { return };
    let server = &small.server;
    let id = server.submit().await;
    server.until(&id, |job| job["status"] == "succeeded").await;
    until("there is no room for a copy of the samples", async || {
        // Again each time: what the run had in its directory may go only now.
        fill(&small.disk);
        is_refused(server, Method::GET, &id, "/samples.png").await.then_some(())
    })
    .await;
    until("there is no room for a change", async || {
        // What the log of the database has room for still goes through.
        let refused = is_refused(server, Method::POST, &id, "/retry").await
            || is_refused(server, Method::POST, &id, "/cancel").await;
        refused.then_some(())
    })
    .await;
    assert!(is_refused(server, Method::DELETE, &id, "?force=true").await);
    assert_eq!(server.get(&format!("/jobs/{id}")).await.status(), 200, "it is still there");
    check_copy(&small).await;
}
