//! `kegd serve`, with a key or without.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::process::{Process, announced};

/// `kegd serve` on a free port with a data folder of its own.
pub struct Server {
    pub url: String,
    /// The key that it asks for, where it asks for one.
    pub key: Option<String>,
    _process: Process,
    data: tempfile::TempDir,
}

impl Server {
    pub fn start() -> Result<Self> {
        Self::start_on(tempfile::tempdir()?, None)
    }

    /// With a key that may submit jobs.
    pub fn start_with_key() -> Result<Self> {
        let data = tempfile::tempdir()?;
        let key = create_key(data.path(), "page test")?;
        Self::start_on(data, Some(key))
    }

    /// Makes a key that may submit jobs, while the service runs.
    pub fn create_key(&self, name: &str) -> Result<String> {
        create_key(self.data.path(), name)
    }

    fn start_on(data: tempfile::TempDir, key: Option<String>) -> Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kegd"))
            .arg("serve")
            .env("KEGD_LISTEN", "127.0.0.1:0")
            .env("KEGD_DATA_DIR", data.path())
            .env("KEGD_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .context("starting kegd")?;
        let stdout = child.stdout.take().context("kegd has no stdout")?;
        let process = Process(child);
        let url = announced(stdout, |line| {
            let start = line.find("http://")?;
            Some(line[start..].split_whitespace().next()?.trim_end_matches('/').to_owned())
        })?;
        Ok(Self { url, key, _process: process, data })
    }
}

fn create_key(data: &Path, name: &str) -> Result<String> {
    let made = Command::new(env!("CARGO_BIN_EXE_kegd"))
        .args(["keys", "create", "--name", name, "--scope", "submit", "--data-dir"])
        .arg(data)
        .output()?;
    ensure!(made.status.success(), "{made:?}");
    Ok(String::from_utf8(made.stdout)?.trim().to_owned())
}
