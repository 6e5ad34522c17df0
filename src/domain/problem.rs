//! Planned failures: stable codes, and the one shape every error has for a client (RFC 9457).

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Stable, machine-readable cause of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    // The request.
    InvalidRequest,
    MissingModel,
    InvalidConfig,
    UnknownField,
    NotFound,
    Conflict,
    MethodNotAllowed,
    Unauthorized,
    /// Who asks is known, and may not.
    Forbidden,
    /// The request did not arrive in time.
    Timeout,
    TooLarge,
    /// The request's body is of another type than the path takes.
    UnsupportedMediaType,
    /// A condition of the request does not hold.
    PreconditionFailed,
    RangeNotSatisfiable,
    TooManyRequests,
    DiskFull,
    /// The service keeps as much as it may.
    StorageFull,
    NotAcceptable,
    NotReady,
    IdempotencyMismatch,
    /// The service cannot answer now.
    Unavailable,
    // The upload.
    EmptyFile,
    UnsupportedFormat,
    InvalidModel,
    UnsupportedOperators,
    NotAClassifier,
    InvalidWeights,
    InvalidEval,
    InvalidCompression,
    // The run.
    WorkerCrashed,
    OutOfMemory,
    TrainingDiverged,
    Internal,
}

impl ErrorCode {
    /// The HTTP status a client gets when a request fails with this code.
    pub fn status(self) -> u16 {
        use ErrorCode::*;
        match self {
            InvalidRequest | MissingModel | EmptyFile => 400,
            Unauthorized => 401,
            Forbidden => 403,
            NotFound => 404,
            MethodNotAllowed => 405,
            NotAcceptable => 406,
            Timeout => 408,
            Conflict | NotReady => 409,
            PreconditionFailed => 412,
            TooLarge => 413,
            UnsupportedFormat | UnsupportedMediaType => 415,
            RangeNotSatisfiable => 416,
            InvalidConfig | UnknownField | IdempotencyMismatch | InvalidModel | UnsupportedOperators
            | NotAClassifier | InvalidWeights | InvalidEval | InvalidCompression => 422,
            TooManyRequests => 429,
            Unavailable => 503,
            DiskFull | StorageFull => 507,
            WorkerCrashed | OutOfMemory | TrainingDiverged | Internal => 500,
        }
    }

    /// A short sentence that is the same for every occurrence.
    pub fn title(self) -> &'static str {
        use ErrorCode::*;
        match self {
            InvalidRequest => "The request is malformed",
            MissingModel => "The upload has no model",
            InvalidConfig => "The configuration is invalid",
            UnknownField => "The configuration has an unknown member",
            NotFound => "No such thing here",
            MethodNotAllowed => "The path does not take that method",
            UnsupportedMediaType => "The path takes another type of body",
            PreconditionFailed => "A condition of the request does not hold",
            RangeNotSatisfiable => "The range lies outside the file",
            Unavailable => "The service cannot answer now",
            Conflict => "The job is not in a state for that",
            Unauthorized => "A valid API key is needed",
            Forbidden => "This is not allowed",
            Timeout => "The request did not arrive in time",
            TooLarge => "The upload is too large",
            TooManyRequests => "There is no room for more just now",
            DiskFull => "The server has too little disk space",
            StorageFull => "The server keeps as much as it may",
            NotAcceptable => "That format is not to be had",
            NotReady => "The job has not come that far",
            IdempotencyMismatch => "The Idempotency-Key was used for another request",
            EmptyFile => "The file is empty",
            UnsupportedFormat => "The file is in no format we read",
            InvalidModel => "The model cannot be read",
            UnsupportedOperators => "The model has operators we do not know",
            NotAClassifier => "The model is not a classifier with one input",
            InvalidWeights => "The model's weights are unusable",
            InvalidEval => "The evaluation set cannot be used",
            InvalidCompression => "The compression asked for is impossible",
            WorkerCrashed => "The run ended without a result",
            OutOfMemory => "The run ran out of memory",
            TrainingDiverged => "Training diverged",
            Internal => "Something went wrong here",
        }
    }
}

/// One of several causes, where a request has more than one thing wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Cause {
    pub detail: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
    /// The operator of the model's node, where that is the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
}

/// A planned failure with its cause and its remedy; the body of `application/problem+json`, and a failed job's `error`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    /// What is wrong, with the names and numbers of this case.
    pub detail: String,
    pub code: ErrorCode,
    /// The part or config member at fault: `config.compression.ratio`.
    pub param: Option<String>,
    #[serde(default)]
    pub errors: Vec<Cause>,
    /// What to do about it.
    pub hint: Option<String>,
    /// When it is worth asking again, in seconds; also the header `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    #[serde(default)]
    pub request_id: Option<String>,
    /// For a failed job: the artifact with what the run printed that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

impl Problem {
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".into(),
            title: code.title().into(),
            status: code.status(),
            detail: detail.into(),
            code,
            param: None,
            errors: Vec::new(),
            hint: None,
            retry_after: None,
            request_id: None,
            log: None,
        }
    }

    pub fn param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Rounded up, and never at once.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait.as_millis().div_ceil(1000).max(1) as u64);
        self
    }

    pub fn errors(mut self, errors: Vec<Cause>) -> Self {
        self.errors = errors;
        self
    }
}
