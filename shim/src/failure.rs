//! What a caller is told when something cannot be done: a gRPC code, because clients act on it, and a sentence.

use std::fmt;

use loment_sandbox::error::Cause;
use ttrpc::Code;

/// Result of an operation that a client asked for.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// A refusal or a failure.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What containerd turns into its own error class (`errdefs`).
    pub code: Code,
    /// Operation, object, cause, what to do.
    pub message: String,
}

impl Failure {
    /// The input is at fault.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self { code: Code::INVALID_ARGUMENT, message: message.into() }
    }

    /// No such container or process.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self { code: Code::NOT_FOUND, message: message.into() }
    }

    /// The id is taken.
    pub(crate) fn exists(message: impl Into<String>) -> Self {
        Self { code: Code::ALREADY_EXISTS, message: message.into() }
    }

    /// Not in this state.
    pub(crate) fn precondition(message: impl Into<String>) -> Self {
        Self { code: Code::FAILED_PRECONDITION, message: message.into() }
    }

    /// Anything else: the kernel or a peer refused.
    pub(crate) fn unknown(message: impl Into<String>) -> Self {
        Self { code: Code::UNKNOWN, message: message.into() }
    }

    /// An I/O error of `operation` on `object`.
    pub(crate) fn io(operation: &str, object: impl fmt::Display, cause: &std::io::Error) -> Self {
        Self::unknown(format!("{operation} {object}: {cause}"))
    }

    /// Puts what was being done in front.
    #[must_use]
    pub(crate) fn while_doing(self, what: impl fmt::Display) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<loment_sandbox::Error> for Failure {
    fn from(error: loment_sandbox::Error) -> Self {
        let code = match &error.cause {
            Cause::Invalid(_) => Code::INVALID_ARGUMENT,
            _ => Code::UNKNOWN,
        };
        Self { code, message: error.to_string() }
    }
}

impl From<loment_cgroups::Error> for Failure {
    fn from(error: loment_cgroups::Error) -> Self {
        Self::unknown(error.to_string())
    }
}

impl From<Failure> for ttrpc::Error {
    fn from(failure: Failure) -> Self {
        Self::RpcStatus(ttrpc::get_status(failure.code, failure.message))
    }
}
