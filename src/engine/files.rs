//! Small files of a run.

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::observer::Stop;
use crate::domain::{
    problem::{ErrorCode, Problem},
    task::TaskSpec,
};

/// Lower-case hexadecimal SHA-256.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The side files of all uploaded networks, which are one set, by their names.
///
/// # Errors
/// What the file system reports.
pub fn side_files(spec: &TaskSpec, dir: &Path) -> Result<BTreeMap<String, Vec<u8>>, Stop> {
    let read = |name: &String| Ok((name.clone(), std::fs::read(dir.join(name))?));
    spec.external_data.iter().map(read).collect()
}

/// # Errors
/// What the file system reports.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Stop> {
    let json = serde_json::to_vec_pretty(value)
        .map_err(|error| Problem::new(ErrorCode::Internal, format!("{} cannot be written: {error}", path.display())))?;
    Ok(std::fs::write(path, json)?)
}
