//! Artifacts: immutable files of a job, and the names they may have.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::targets::Measured;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Teacher,
    /// A side file of the uploaded model, which names it: ONNX external data.
    ExternalData,
    Evaluation,
    /// A network that was uploaded to become the student.
    GivenStudent,
    Inspection,
    Generator,
    Samples,
    Bank,
    Student,
    Report,
    Log,
    Checkpoint,
}

impl Role {
    pub const ALL: [Self; 12] = [
        Self::Teacher,
        Self::ExternalData,
        Self::Evaluation,
        Self::GivenStudent,
        Self::Inspection,
        Self::Generator,
        Self::Samples,
        Self::Bank,
        Self::Student,
        Self::Report,
        Self::Log,
        Self::Checkpoint,
    ];

    /// Whether a run may say of a file that it is one. The others come from uploads, and logs from the supervisor.
    pub fn is_made_by_runs(self) -> bool {
        !self.is_uploaded() && self != Self::Log
    }

    /// Whether such files came from the client: nobody else may fetch them.
    pub fn is_uploaded(self) -> bool {
        matches!(self, Self::Teacher | Self::ExternalData | Self::Evaluation | Self::GivenStudent)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Teacher => "teacher",
            Self::ExternalData => "external_data",
            Self::Evaluation => "evaluation",
            Self::GivenStudent => "given_student",
            Self::Inspection => "inspection",
            Self::Generator => "generator",
            Self::Samples => "samples",
            Self::Bank => "bank",
            Self::Student => "student",
            Self::Report => "report",
            Self::Log => "log",
            Self::Checkpoint => "checkpoint",
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| format!("no such artifact role: {text}"))
    }
}

/// Longest [`FileName`], in bytes; leaves room for the suffix of a file that is still being written.
const MAX_NAME: usize = 200;

/// The name of a file in a job's or a run's directory: one plain component, never a path.
///
/// A name that was parsed cannot leave its directory, be hidden, or break a header line.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileName(String);

/// Why a text is no [`FileName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no plain file name: 1 to {MAX_NAME} bytes, no slash, no control character, no dot in front", .0.escape_debug())]
pub struct InvalidFileName(String);

impl FileName {
    /// Names that a run gives to its own files, in its directory: an upload of that name would be overwritten.
    const RESERVED: [&'static str; 12] = [
        "task.json",
        "query.json",
        "problem.json",
        "latent.npz",
        "bank.npz",
        "inspection.json",
        "report.json",
        "student.onnx",
        "student.json",
        "student.safetensors",
        "student.pt",
        "student.pt2",
    ];

    /// How the names of checkpoints end: they are numbered, so no list can hold them all.
    pub const CHECKPOINT_SUFFIX: &str = ".checkpoint";

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Beginnings and ends of such names that have a number between them.
    const NUMBERED: [(&'static str, &'static str); 3] =
        [("generator-", ".safetensors"), ("samples-g", ".npz"), ("", Self::CHECKPOINT_SUFFIX)];

    /// What a run calls the generator of that number, from 0.
    pub fn of_generator(number: u32) -> Self {
        Self(format!("generator-{number}.safetensors"))
    }

    /// Whether a run writes a file of that name itself.
    pub fn is_reserved(&self) -> bool {
        let name = self.0.as_str();
        Self::RESERVED.contains(&name)
            || Self::NUMBERED.iter().any(|(start, end)| name.starts_with(start) && name.ends_with(end))
            || Self::is_of_sweep(name)
    }

    /// `student-ratio-4.onnx`, `report-macs-100000.json`: see `Settings::file_of_student`.
    fn is_of_sweep(name: &str) -> bool {
        let rest = name.strip_prefix("student-").or_else(|| name.strip_prefix("report-"));
        rest.is_some_and(|rest| {
            Measured::ALL.iter().any(|by| rest.strip_prefix(by.name()).is_some_and(|rest| rest.starts_with('-')))
        })
    }
}

impl FromStr for FileName {
    type Err = InvalidFileName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = !text.is_empty()
            && text.len() <= MAX_NAME
            && !text.starts_with('.')
            && !text.contains(|c: char| matches!(c, '/' | '\\') || c.is_control());
        if plain { Ok(Self(text.to_owned())) } else { Err(InvalidFileName(text.chars().take(MAX_NAME).collect())) }
    }
}

impl TryFrom<String> for FileName {
    type Error = InvalidFileName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<FileName> for String {
    fn from(name: FileName) -> Self {
        name.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A kept file: what it is, and where its bytes lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    pub name: FileName,
    pub role: Role,
    pub bytes: u64,
    /// Lower-case hexadecimal.
    pub sha256: String,
    /// Its place in the artifact storage.
    pub key: String,
}

/// A hash as [`Artifact::sha256`] has it: lower-case hexadecimal.
pub fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_is_one_plain_component() {
        for good in ["lenet5.onnx", "a", "onnx::MatMul_12", "模型 (1).onnx", "x..y", "%2e"] {
            assert_eq!(good.parse::<FileName>().map(String::from), Ok(good.to_owned()));
        }
        let long = "x".repeat(MAX_NAME + 1);
        for bad in ["", ".", "..", ".hidden", "a/b", "/etc/passwd", "a\\b", "a\nb", "a\0", long.as_str()] {
            assert!(bad.parse::<FileName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_runs_write_is_reserved() {
        assert!(FileName::of_generator(12).is_reserved());
        for ours in ["student.onnx", "generator-0.safetensors", "student-ratio-2.5.onnx", "report-bytes-9.json"] {
            assert!(ours.parse::<FileName>().unwrap().is_reserved(), "{ours}");
        }
        for free in ["student-v2.onnx", "student-ratio.onnx", "ratio-4.onnx", "student-latency.onnx"] {
            assert!(!free.parse::<FileName>().unwrap().is_reserved(), "{free}");
        }
    }

    #[test]
    fn role_names_read_back() {
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.name());
        }
    }
}
