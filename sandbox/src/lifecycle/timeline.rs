//! What happened to a pod, in order.

use super::{Phase, Time, spec::ContainerId};
use std::time::Duration;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: Time,
    /// To which container; `None` for the pod.
    pub container: Option<ContainerId>,
    /// Which of its attempts, counted from 0.
    pub attempt: u32,
    /// What.
    pub what: Moment,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// A client made the container: its process waits at the gate.
    Created,
    /// A client started the container: it runs when its turn comes.
    Armed,
    /// Its program runs.
    Started,
    /// Its program could not be executed.
    StartFailed {
        /// Exit code in place of the program's.
        code: u32,
        /// The error.
        message: String,
    },
    /// It ended.
    Exited {
        /// Exit code, or 128 + signal.
        code: u32,
        /// Whether a process in it was killed for memory.
        oom: bool,
    },
    /// It waits before it is started again.
    BackOff {
        /// When it will be.
        until: Time,
        /// How long after its end that is.
        delay: Duration,
    },
    /// A fresh attempt is being made.
    Restarting,
    /// A fresh attempt could not be made; it is tried again.
    PrepareFailed {
        /// The error.
        message: String,
    },
    /// A signal was sent to end it.
    Killing {
        /// Its number.
        signal: i32,
    },
    /// It will not run: its process at the gate was killed.
    Discarded,
    /// The pod has another phase.
    PhaseChanged(Phase),
    /// The whole pod is being stopped.
    Stopping {
        /// Why.
        cause: super::machine::Cause,
        /// For how long its containers may take.
        grace: Duration,
    },
    /// The host reported what cannot have happened; nothing was done.
    Unexpected {
        /// What it reported.
        event: &'static str,
    },
}
