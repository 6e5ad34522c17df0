//! Small files of a run.

use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::observer::Stop;
use crate::domain::problem::{ErrorCode, Problem};

/// Lower-case hexadecimal SHA-256.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// # Errors
/// What the file system reports.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Stop> {
    let json = serde_json::to_vec_pretty(value)
        .map_err(|error| Problem::new(ErrorCode::Internal, format!("{} cannot be written: {error}", path.display())))?;
    Ok(std::fs::write(path, json)?)
}
