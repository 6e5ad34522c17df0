//! Why something is deleted at a moment when nobody asks for it.

/// The rule that something fell under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The job finished too long ago.
    RetainJobs,
    /// The job finished too long ago for its uploads.
    RetainUploads,
    /// More is kept than may be, and of all finished jobs this one finished first.
    MaxStorage,
    /// The job succeeded, and its configuration says so.
    KeepUpload,
}

impl Reason {
    pub const ALL: [Self; 4] = [Self::RetainJobs, Self::RetainUploads, Self::MaxStorage, Self::KeepUpload];

    /// The name in SQL, logs and labels: that of the flag or member that asks for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RetainJobs => "retain_jobs",
            Self::RetainUploads => "retain_uploads",
            Self::MaxStorage => "max_storage",
            Self::KeepUpload => "keep_upload",
        }
    }
}
