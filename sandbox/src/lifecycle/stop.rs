//! Stopping the containers of a pod: why, by when, and whose turn it is.

use std::{fmt, time::Duration};

use super::{container::ContainerState, spec::Kind, time::Time};

/// A pod is given at least this (the kubelet's pod workers).
pub(super) const SHORTEST_GRACE: Duration = Duration::from_secs(1);

/// Why a pod is stopped as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// All app containers have ended and none will be started again.
    Completed,
    /// An init container failed and is not started again, or a client ended it.
    InitFailed,
    /// It ran for longer than `activeDeadlineSeconds`.
    DeadlineExceeded,
    /// Somebody asked for it.
    Terminated,
    /// It used more than it may.
    Evicted,
    /// Its sandbox is gone, and its containers are not to be started again.
    SandboxLost,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Completed => "its app containers have ended",
            Self::InitFailed => "an init container failed",
            Self::DeadlineExceeded => "it was active for longer than activeDeadlineSeconds",
            Self::Terminated => "it was asked to",
            Self::Evicted => "it uses more than it may",
            Self::SandboxLost => "its sandbox is gone and nothing in it is to be restarted",
        })
    }
}

/// A stop under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    /// Why it began.
    pub(super) cause: Cause,
    /// The end of the budget that all containers share.
    pub(super) deadline: Time,
}

impl Stop {
    pub(super) fn begin(cause: Cause, now: Time, grace: Duration) -> Self {
        Self { cause, deadline: now + grace.max(SHORTEST_GRACE) }
    }

    /// A repeated stop may take time away, never add some. Whether it did.
    pub(super) fn shorten(&mut self, now: Time, grace: Duration) -> bool {
        let deadline = now + grace.max(SHORTEST_GRACE);
        let sooner = deadline < self.deadline;
        self.deadline = self.deadline.min(deadline);
        sooner
    }
}

/// Whether the container at `place` need not wait for others to end: an app or init container never does, a sidecar
/// until all apps and all sidecars after it have ended.
pub(super) fn has_turn(containers: &[ContainerState], place: usize) -> bool {
    let later = |other: &(usize, &ContainerState)| match other.1.kind() {
        Kind::Init => false,
        Kind::Sidecar => other.0 > place,
        Kind::App => true,
    };
    let is_sidecar = containers.get(place).is_some_and(|container| container.kind() == Kind::Sidecar);
    let others = || containers.iter().enumerate().filter(later);
    !is_sidecar || !others().any(|(_, container)| container.stage().is_alive())
}

/// Whether an app container of the pod is alive.
pub(super) fn apps_alive(containers: &[ContainerState]) -> bool {
    containers.iter().any(|container| container.kind() == Kind::App && container.stage().is_alive())
}
