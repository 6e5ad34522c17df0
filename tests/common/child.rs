//! Our own child, played by the test binary itself in a process of its own.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use kegd::domain::{artifact::Role, presets::TeacherKind};

use super::{facts, house::House};

/// A shell script that starts one of this binary's tests in a process of its own, with `variable` set.
pub fn start_of(house: &House, test: &str, variable: &str, value: &str) -> PathBuf {
    let script = house.directory.path().join(format!("{}.sh", test.replace("::", "-")));
    let binary = std::env::current_exe().unwrap();
    let text = format!(
        "#!/bin/sh\nexport {variable}='{value}' KEGD_TEST_DIR=\"$3\"\nexec {} --exact {test} --nocapture\n",
        binary.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script
}

/// Leaves what an `inspect` task has to leave, and announces it.
pub fn leave_inspection(directory: &Path, observer: &mut dyn kegd::engine::observer::Observer) {
    let file = directory.join("inspection.json");
    fs::write(&file, serde_json::to_vec(&facts::inspection(TeacherKind::PlainImage)).unwrap()).unwrap();
    observer.artifact(&file, Role::Inspection);
}
