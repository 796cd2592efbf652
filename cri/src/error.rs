//! What a request to the runtime can fail with.

use std::path::PathBuf;

pub use tonic::Code;

/// A request that failed, with the object that it was about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing answers on the socket.
    #[error("connect to {}: {cause}", socket.display())]
    Connect {
        /// The socket that was tried.
        socket: PathBuf,
        /// What the transport said, with its sources.
        cause: String,
    },
    /// The runtime answered with an error.
    #[error("{operation} {object}: {message}{}", code_suffix(*code))]
    Request {
        /// CRI method, as in `CreateContainer`.
        operation: &'static str,
        /// Pod, container or image that the request was about.
        object: String,
        /// gRPC status code.
        code: Code,
        /// The runtime's own message.
        message: String,
    },
    /// The runtime answered without the part that the question was about.
    #[error("{operation} {object}: the answer has no {missing} (does this containerd speak CRI v1?)")]
    Incomplete {
        /// CRI method.
        operation: &'static str,
        /// Pod, container or image that the request was about.
        object: String,
        /// Name of the field that is missing.
        missing: &'static str,
    },
}

/// Most failures of a runtime carry `Unknown`, which tells a reader nothing.
fn code_suffix(code: Code) -> String {
    match code {
        Code::Unknown => String::new(),
        other => format!(" [{other:?}]"),
    }
}

impl Error {
    /// The gRPC code, when the runtime answered with one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Error::Request { code, .. } => Some(*code),
            Error::Connect { .. } | Error::Incomplete { .. } => None,
        }
    }

    /// Whether the runtime could not ask a pod's shim, which has ended and whose end it has not taken notice of yet. It has
    /// no code for that: it hands on what its connection says.
    pub fn is_of_a_lost_shim(&self) -> bool {
        matches!(self, Self::Request { message, .. } if message.ends_with("ttrpc: closed"))
    }

    /// Whether the object of the request does not exist.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(Code::NotFound)
    }
}

/// Result of a request.
pub type Result<T> = std::result::Result<T, Error>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_operation_object_cause_and_code() {
        let error = Error::Request {
            operation: "PodSandboxStatus",
            object: "pod abc".into(),
            code: Code::NotFound,
            message: "no such sandbox".into(),
        };
        assert_eq!(error.to_string(), "PodSandboxStatus pod abc: no such sandbox [NotFound]");
        assert!(error.is_not_found());
    }
}
