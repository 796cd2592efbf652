//! The runs of a container.

use super::time::Time;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, or 128 + signal.
    pub code: u32,
    /// Whether a process in the container was killed for memory.
    pub oom: bool,
    /// Why the program could not be executed, if that is so.
    pub start_error: Option<String>,
    /// When.
    pub at: Time,
}

/// A time in which the program ran, or an attempt at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Number of the attempt, counted from 0.
    pub attempt: u32,
    /// When the program was executed.
    pub started: Time,
    /// How it ended; `None` while it runs.
    pub exit: Option<Exit>,
}
