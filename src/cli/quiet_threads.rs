//! Before the engine computes in this process: OpenMP reads its settings once, when the program is loaded.

use std::{os::unix::process::CommandExt, process::Command};

/// Starts the program anew with threads that sleep while they wait, unless the user has decided that himself. Spinning ones
/// take the cores from whatever else runs, and make a training of small steps many times slower.
///
/// # Errors
/// The program cannot be started anew.
pub fn ensure() -> anyhow::Result<()> {
    const POLICY: &str = "OMP_WAIT_POLICY";
    if std::env::var_os(POLICY).is_some() {
        return Ok(());
    }
    let mut again = Command::new(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1)).env(POLICY, "passive").env("GOMP_SPINCOUNT", "0");
    // Returns only where it fails.
    Err(again.exec().into())
}
