//! PyTorch itself reads what is written. Needs Python with torch 2.9 or later, named by KEGD_PYTHON:
//! `KEGD_PYTHON=python3 cargo test --test pt2_torch -- --ignored`.

use std::{path::PathBuf, process::Command};

use kegd::formats::{imported::ImportOptions, pt2};

#[test]
#[ignore = "needs PyTorch; KEGD_PYTHON names the Python that has it"]
fn torch_loads_and_runs_what_is_written() {
    let python = std::env::var("KEGD_PYTHON").expect("KEGD_PYTHON names a Python with torch");
    let directory = tempfile::tempdir().unwrap();
    let mut pairs: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir("tests/fixtures/pt2").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "pt2") {
            continue;
        }
        let graph = pt2::import(&std::fs::read(&path).unwrap(), &ImportOptions::default()).unwrap().graph;
        let written = directory.path().join(path.file_name().unwrap());
        std::fs::write(&written, pt2::export(&graph).unwrap()).unwrap();
        pairs.extend([written, path.with_extension("npz")]);
    }
    assert!(pairs.len() > 20);
    let output = Command::new(python).arg("scripts/pt2.py").args(&pairs).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}
