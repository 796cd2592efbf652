//! Stopping the containers of a pod: why, by when, and whose turn it is.

use std::{fmt, time::Duration};

use super::{
    container::ContainerState, ending::Why, life::Course, machine::Machine, moment::Moment, spec::Kind, stage::Stage,
    time::Time,
};

/// A pod is given at least this (the kubelet's pod workers).
const SHORTEST_GRACE: Duration = Duration::from_secs(1);

/// What an evicted pod may take to end (the kubelet's immediateEvictionGracePeriodSeconds).
const EVICTION_GRACE: Duration = SHORTEST_GRACE;

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

/// Stopping the pod as a whole.
impl Machine {
    /// Begins to stop the pod if nothing is left for it to do or to hope for.
    pub(super) fn stop_if_due(&mut self) {
        let (inits, apps) = self.containers.split_at(self.spec.init_containers.len());
        let ended = |container: &ContainerState| container.stage() == Stage::Ended;
        let failed = |container: &ContainerState| {
            ended(container) && (container.kind() == Kind::Sidecar || !container.has_succeeded())
        };
        let cause = if self.stop.is_some() {
            None
        } else if self.rewind.is_none() && apps.iter().all(ended) {
            Some(Cause::Completed)
        } else if self.rewind.is_none() && !self.is_initialized() && inits.iter().any(failed) {
            Some(Cause::InitFailed)
        } else {
            self.active_until().filter(|until| *until <= self.log.now).map(|_| Cause::DeadlineExceeded)
        };
        if let Some(cause) = cause {
            self.begin_stop(cause, None);
        }
    }

    pub(super) fn active_until(&self) -> Option<Time> {
        self.spec.active_deadline.map(|deadline| self.born + deadline.saturating_sub(self.active_before))
    }

    pub(super) fn begin_stop(&mut self, cause: Cause, grace: Option<Duration>) {
        let (now, grace) = (self.log.now, grace.unwrap_or(self.spec.grace));
        let (stop, news) = match &mut self.stop {
            Some(stop) => {
                let news = stop.shorten(now, grace);
                (*stop, news)
            }
            none => (*none.insert(Stop::begin(cause, now, grace)), true),
        };
        self.rewind = None;
        if !news {
            return;
        }
        for container in &mut self.containers {
            container.shorten_ending(Why::PodStopped, stop.deadline);
        }
        // Nobody needs to be told that nothing had to be stopped.
        if !self.finished() {
            self.log.note(None, 0, Moment::Stopping { cause, grace });
        }
    }

    pub(super) fn evict(&mut self, reason: String, message: String) {
        if self.finished() {
            return;
        }
        self.log.note(None, 0, Moment::Evicted { message: message.clone() });
        self.verdict = Some((reason, message));
        self.begin_stop(Cause::Evicted, Some(EVICTION_GRACE));
        if let Some(stop) = &mut self.stop {
            stop.cause = Cause::Evicted;
        }
    }

    pub(super) fn stop_containers(&mut self) {
        let Some(stop) = self.stop else { return };
        for place in 0..self.containers.len() {
            let outlives = self.outlives_stop(place);
            let (Some(container), log) = (self.containers.get_mut(place), &mut self.log) else { continue };
            if outlives {
                container.advance(true, log);
            } else {
                container.discard_waiting(log);
            }
            container.dismiss(log);
            container.begin_ending(Why::PodStopped, stop.deadline, log);
        }
    }

    /// Whether the container at `place` is a sidecar that is still needed, and started again if it ends, although the
    /// pod is being stopped.
    pub(super) fn outlives_stop(&self, place: usize) -> bool {
        self.spec.restart_sidecars_while_stopping
            && self.stop.is_some_and(|stop| self.log.now < stop.deadline)
            && self.containers.get(place).is_some_and(|container| container.kind() == Kind::Sidecar)
            && place < self.turn
            && apps_alive(&self.containers)
    }

    /// Takes the steps of each container's end that are due, and makes the probes that still matter.
    pub(super) fn advance_endings(&mut self) {
        let is_sidecar = |place: &usize| self.containers.get(*place).is_some_and(|c| c.kind() == Kind::Sidecar);
        let (sidecars, others): (Vec<_>, Vec<_>) = (0..self.containers.len()).partition(is_sidecar);
        for place in others.into_iter().chain(sidecars.into_iter().rev()) {
            let turn = self.has_turn(place);
            if let Some(container) = self.containers.get_mut(place) {
                container.advance_ending(turn, &mut self.log);
            }
        }
        self.containers.iter_mut().for_each(|container| container.probe(&mut self.log));
    }

    /// Whether the end of a container has to wait for nobody else's: only where the whole pod ends is there an order.
    fn has_turn(&self, place: usize) -> bool {
        self.course() == Course::On || has_turn(&self.containers, place)
    }
}

/// Whether the container at `place` need not wait for others to end: an app or init container never does, a sidecar
/// until all apps and all sidecars after it have ended.
fn has_turn(containers: &[ContainerState], place: usize) -> bool {
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
fn apps_alive(containers: &[ContainerState]) -> bool {
    containers.iter().any(|container| container.kind() == Kind::App && container.stage().is_alive())
}
