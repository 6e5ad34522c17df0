//! What made a figure: version, source and hardware, without anything that names the machine.

use std::{fs, process::Command};

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Of kegd.
    pub version: String,
    /// Of the checkout that the program lies in, where it lies in one; `-dirty` where it was changed since.
    pub commit: Option<String>,
    /// The processor's model.
    pub cpu: Option<String>,
    /// As asked for: `auto`, `cpu`, `cuda:N`.
    pub device: String,
    pub threads: u16,
}

impl Machine {
    pub fn here(device: &str, threads: u16) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { version, commit: commit(), cpu: cpu(), device: device.to_owned(), threads }
    }
}

fn commit() -> Option<String> {
    let program = std::env::current_exe().ok()?;
    let mut git = Command::new("git");
    git.arg("-C").arg(program.parent()?).args(["describe", "--always", "--dirty", "--exclude=*"]);
    let output = git.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

fn cpu() -> Option<String> {
    let facts = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = facts.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
