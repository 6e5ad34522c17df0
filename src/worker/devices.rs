//! From the devices that a person asks for to a list of slots.

use std::{path::Path, process::Stdio};

use crate::domain::problem::{ErrorCode, Problem};

/// One slot for each GPU of `devices`, as often as it is named, and `cpu_slots` for `cpu`. `auto` is every GPU that
/// `program` can use, and the CPU where there is none: `program` is asked with `probe-devices`, because only a child may
/// load libtorch.
///
/// # Errors
/// A name is none of `auto`, `cpu`, `cuda` and `cuda:N`, or the list is empty.
pub async fn slots(program: &Path, devices: &[String], cpu_slots: u16) -> Result<Vec<String>, Problem> {
    let mut slots = Vec::new();
    for device in devices {
        match device.trim() {
            "auto" => match gpus(program).await {
                gpus if gpus.is_empty() => slots.extend(on_cpu(cpu_slots)),
                gpus => slots.extend(gpus),
            },
            "cpu" => slots.extend(on_cpu(cpu_slots)),
            "cuda" => slots.extend(gpus(program).await),
            name if name.strip_prefix("cuda:").is_some_and(|index| index.parse::<u8>().is_ok()) => {
                slots.push(name.to_owned());
            }
            name => {
                return Err(Problem::new(ErrorCode::InvalidConfig, format!("`{name}` is no device"))
                    .hint("Use auto, cpu, cuda or cuda:N."));
            }
        }
    }
    if slots.is_empty() {
        let detail = format!("{} offers nothing to run on", devices.join(","));
        return Err(Problem::new(ErrorCode::InvalidConfig, detail)
            .hint("Ask for `cpu`, or see that the CUDA build of libtorch and the driver are there."));
    }
    Ok(slots)
}

fn on_cpu(slots: u16) -> impl Iterator<Item = String> {
    std::iter::repeat_n("cpu".to_owned(), usize::from(slots))
}

/// The GPUs that `program` can use. A probe that fails is a machine without: it must not keep the service from starting.
async fn gpus(program: &Path) -> Vec<String> {
    let mut command = tokio::process::Command::new(program);
    command.arg("probe-devices").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let answer = match tokio::time::timeout(std::time::Duration::from_secs(60), command.output()).await {
        Ok(Ok(output)) if output.status.success() => output.stdout,
        Ok(Ok(output)) => {
            tracing::warn!(status = %output.status, "the probe for GPUs failed; the CPU is used");
            return Vec::new();
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "the probe for GPUs cannot be started; the CPU is used");
            return Vec::new();
        }
        Err(_) => {
            tracing::warn!("the probe for GPUs hangs; the CPU is used");
            return Vec::new();
        }
    };
    let lines = String::from_utf8_lossy(&answer);
    lines.lines().filter(|line| line.starts_with("cuda:")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn devices_become_slots() {
        let directory = tempfile::tempdir().unwrap();
        let probe = directory.path().join("probe");
        std::fs::write(&probe, "#!/bin/sh\n[ $1 = probe-devices ] && printf 'cuda:0\\ncuda:1\\n'\n").unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&probe, executable).unwrap();
        let ask = async |program: &Path, devices: &[&str]| {
            let devices: Vec<String> = devices.iter().map(|&device| device.to_owned()).collect();
            slots(program, &devices, 2).await.map_err(|problem| problem.detail)
        };
        let missing = Path::new("/does/not/exist");
        assert_eq!(ask(&probe, &["auto"]).await.unwrap(), ["cuda:0", "cuda:1"]);
        assert_eq!(ask(missing, &["auto"]).await.unwrap(), ["cpu", "cpu"]);
        assert_eq!(ask(missing, &["cuda:3", " cpu"]).await.unwrap(), ["cuda:3", "cpu", "cpu"]);
        assert_eq!(ask(missing, &["cuda:0", "cuda:0"]).await.unwrap(), ["cuda:0", "cuda:0"]);
        assert!(ask(missing, &["cuda"]).await.unwrap_err().contains("nothing to run on"));
        assert!(ask(missing, &["tpu"]).await.unwrap_err().contains("`tpu`"));
    }
}
