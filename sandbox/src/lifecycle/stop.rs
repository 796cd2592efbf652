//! Stopping a pod: who is asked to end when, and when a container is killed.

use std::{fmt, time::Duration};

use super::{container::ContainerState, spec::Kind, time::Time};

/// What a container that was asked to end gets at least before it is killed (the kubelet's
/// minimumGracePeriodInSeconds).
const FINAL_WINDOW: Duration = Duration::from_secs(2);

/// A pod is given at least this (the kubelet's pod workers).
const SHORTEST_GRACE: Duration = Duration::from_secs(1);

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
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Completed => "its app containers have ended",
            Self::InitFailed => "an init container failed",
            Self::DeadlineExceeded => "it was active for longer than activeDeadlineSeconds",
            Self::Terminated => "it was asked to",
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

    /// When a container is killed that was asked to end at `asked`.
    pub(super) fn kill_at(&self, asked: Time) -> Time {
        self.deadline.max(asked + FINAL_WINDOW)
    }

    /// When something is to be done about a container that is alive; `None` when all has been done.
    pub(super) fn next(&self, container: &ContainerState) -> Option<Time> {
        match container.asked_to_end() {
            None => Some(self.deadline),
            Some(asked) => (!container.is_forced()).then(|| self.kill_at(asked)),
        }
    }

    /// The containers, as places in `containers`, that are to be asked to end by `now`, in this order: init and app
    /// containers at once, a sidecar when all apps and all sidecars after it have ended. When the budget is used up
    /// nothing waits any more.
    pub(super) fn due(&self, containers: &[ContainerState], now: Time) -> Vec<usize> {
        let alive = |kind: fn(Kind) -> bool| {
            move |(_, container): &(usize, &ContainerState)| container.stage().is_alive() && kind(container.kind())
        };
        let place = |(place, _)| place;
        let first = containers.iter().enumerate().filter(alive(|kind| kind != Kind::Sidecar)).map(place);
        let apps = containers.iter().enumerate().any(|c| alive(|kind| kind == Kind::App)(&c));
        let sidecars = containers.iter().enumerate().rev().filter(alive(|kind| kind == Kind::Sidecar)).map(place);
        let turns = match (now >= self.deadline, apps) {
            (true, _) => usize::MAX,
            (false, true) => 0,
            (false, false) => 1,
        };
        first.chain(sidecars.take(turns)).collect()
    }
}
