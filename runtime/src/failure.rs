//! What went wrong, as it is told.

use std::fmt;

/// Result of a command.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Why a command failed: one line.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// In words.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// An operation on an object that the system refused.
    pub(crate) fn io(operation: &str, object: impl fmt::Display, error: &std::io::Error) -> Self {
        loment_sandbox::Error::io(operation, object, error).into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<loment_sandbox::Error> for Failure {
    fn from(error: loment_sandbox::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<loment_cgroups::Error> for Failure {
    fn from(error: loment_cgroups::Error) -> Self {
        Self(error.to_string())
    }
}

/// Names operation and object of a refusal.
pub(crate) trait Context<T> {
    /// Names both.
    fn at(self, operation: &str, object: impl fmt::Display) -> Result<T>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn at(self, operation: &str, object: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Failure::io(operation, object, &error))
    }
}

impl<T> Context<T> for nix::Result<T> {
    fn at(self, operation: &str, object: impl fmt::Display) -> Result<T> {
        self.map_err(|errno| loment_sandbox::Error::os(operation, object, errno).into())
    }
}

impl<T> Context<T> for serde_json::Result<T> {
    fn at(self, operation: &str, object: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Failure(format!("{operation} {object}: {error}")))
    }
}
