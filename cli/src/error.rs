//! How a command fails: what it says, line by line, and with which status it ends.

use std::fmt;

/// An error whose lines are complete as they stand, in kubectl's words, and are printed without a prefix.
#[derive(Debug)]
pub(crate) struct Said(pub(crate) Vec<String>);

impl Said {
    pub(crate) fn one(line: impl Into<String>) -> Self {
        Said(vec![line.into()])
    }

    /// `Error from server (NotFound): pods "x" not found`.
    pub(crate) fn pod_not_found(name: &str) -> Self {
        Self::one(format!("Error from server (NotFound): pods {name:?} not found"))
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Said {}

/// A command that ended as somebody else did: the process that it ran in a container. Nothing more is printed.
#[derive(Debug)]
pub(crate) struct ExitWith(pub(crate) u8);

impl fmt::Display for ExitWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command terminated with exit code {}", self.0)
    }
}

impl std::error::Error for ExitWith {}

/// What is printed for an error: the lines that are complete, or the chain of causes on one line.
pub(crate) fn lines_of(error: &anyhow::Error) -> String {
    match error.downcast_ref::<Said>() {
        Some(said) => said.to_string(),
        None => format!("error: {error:#}"),
    }
}

/// The status that a command ends with: 1, or that of the process it ran.
pub(crate) fn status_of(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<ExitWith>().map_or(1, |exit| exit.0)
}
