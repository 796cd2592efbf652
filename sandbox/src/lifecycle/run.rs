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
    /// What it left to say.
    pub message: Option<String>,
    /// Whether it was ended because every container of the pod is started again.
    pub restarting_all: bool,
    /// When.
    pub at: Time,
}

impl Exit {
    /// An exit of which nothing more is known.
    pub(super) const fn new(code: u32, oom: bool, at: Time) -> Self {
        Self { code, oom, start_error: None, message: None, restarting_all: false, at }
    }
}

/// A time in which the program ran, or an attempt at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Number of the attempt, counted from 0.
    pub attempt: u32,
    /// When the program was executed.
    pub started: Time,
    /// Why its postStart hook failed, if it did.
    pub hook_error: Option<String>,
    /// How it ended; `None` while it runs.
    pub exit: Option<Exit>,
}
