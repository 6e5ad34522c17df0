//! Why one node of a model cannot be taken, before it is known where the node stands.

/// The reason, in words that follow the node's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A valid use of an operator that we have no rule for.
    Unsupported(String),
    /// The file contradicts itself or the operator's specification.
    Invalid(String),
}

impl Refusal {
    pub fn unsupported(reason: impl Into<String>) -> Self {
        Self::Unsupported(reason.into())
    }

    pub fn reason(&self) -> &str {
        match self {
            Self::Unsupported(reason) | Self::Invalid(reason) => reason,
        }
    }
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Invalid(reason)
    }
}

impl From<&str> for Refusal {
    fn from(reason: &str) -> Self {
        Self::Invalid(reason.to_owned())
    }
}
