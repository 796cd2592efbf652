//! Errors: operation, object, cause, and what to do.

use std::io;

/// What went wrong with a cgroup: operation, object, cause, and what to do.
///
/// The cause's [`io::ErrorKind`] tells a caller what kind of failure it was: `NotFound` (the cgroup is gone),
/// `InvalidInput` (the request cannot be right), `Unsupported` (this machine or layout cannot do it), or what the
/// kernel answered.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {object}: {cause}{}", hint.map(|h| format!(" ({h})")).unwrap_or_default())]
pub struct Error {
    /// What was being done, as a verb phrase: `write memory limit to`.
    pub operation: String,
    /// What it was done to: a path, a key.
    pub object: String,
    /// Why it failed.
    pub cause: io::Error,
    /// What the reader can do about it.
    pub hint: Option<&'static str>,
}

/// Result of a cgroup operation.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(operation: impl Into<String>, object: impl ToString, cause: impl Into<io::Error>) -> Self {
        Self { operation: operation.into(), object: object.to_string(), cause: cause.into(), hint: None }
    }

    pub(crate) fn invalid(operation: &str, object: impl ToString, why: impl Into<String>) -> Self {
        Self::new(operation, object, io::Error::new(io::ErrorKind::InvalidInput, why.into()))
    }

    pub(crate) fn unsupported(operation: &str, object: impl ToString, why: impl Into<String>) -> Self {
        Self::new(operation, object, io::Error::new(io::ErrorKind::Unsupported, why.into()))
    }

    pub(crate) fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    pub(crate) fn maybe_hint(mut self, hint: Option<&'static str>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }
}
