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
    /// The first GPU's model, where the run was not for the CPU and NVIDIA's driver is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// As asked for: `auto`, `cpu`, `cuda:N`.
    pub device: String,
    pub threads: u16,
}

impl Machine {
    pub fn here(device: &str, threads: u16) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let gpu = if device == "cpu" { None } else { gpu() };
        Self { version, commit: commit(), cpu: cpu(), gpu, device: device.to_owned(), threads }
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
    fact(&fs::read_to_string("/proc/cpuinfo").ok()?, "model name")
}

fn gpu() -> Option<String> {
    let gpu = fs::read_dir("/proc/driver/nvidia/gpus").ok()?.next()?.ok()?;
    fact(&fs::read_to_string(gpu.path().join("information")).ok()?, "Model")
}

/// The value of the first line `name: value`, as the kernel and its drivers write their facts.
fn fact(facts: &str, name: &str) -> Option<String> {
    let line = facts.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_called_as_its_driver_calls_it() {
        let facts = "Model: \t\t NVIDIA H200\nIRQ:   \t\t 44\nGPU UUID: \t GPU-1\n";
        assert_eq!(fact(facts, "Model").as_deref(), Some("NVIDIA H200"));
        assert_eq!(fact(facts, "Bus"), None);
    }
}
