//! What happened to a pod, in order.

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{
    duration::Shown,
    ending::Why,
    event::Action,
    handler::{HookKind, ProbeKind},
    phase::Phase,
    rfc3339::Timestamp,
    spec::{ContainerId, PodSpec},
    stop::Cause,
    time::Time,
};

/// How many entries a pod keeps. A crash loop at the longest delay makes about five an entry every 300 s.
const KEPT: usize = 1000;

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
        /// Whether it was killed for want of memory.
        oom: bool,
    },
    /// Processes in it were killed for want of memory, and its first process lives on.
    MemoryKilled {
        /// How many.
        kills: u64,
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
        /// When it is tried again.
        until: Time,
    },
    /// A hook of it runs.
    HookBegan {
        /// Which.
        hook: HookKind,
    },
    /// A hook of it has returned.
    HookReturned {
        /// Which.
        hook: HookKind,
    },
    /// A hook of it has failed.
    HookFailed {
        /// Which.
        hook: HookKind,
        /// The error.
        message: String,
    },
    /// A probe has failed once. Of a long row of failures not each is told.
    Unhealthy {
        /// Which.
        probe: ProbeKind,
        /// What it said.
        message: String,
    },
    /// A probe could not be made.
    ProbeErrored {
        /// Which.
        probe: ProbeKind,
        /// The error.
        message: String,
    },
    /// A probe has succeeded, and there is something to say about it.
    ProbeWarning {
        /// Which.
        probe: ProbeKind,
        /// What.
        message: String,
    },
    /// A probe has come to another result.
    ProbeChanged {
        /// Which.
        probe: ProbeKind,
        /// Whether it succeeds from now on.
        succeeds: bool,
    },
    /// It is being ended.
    Killing {
        /// Why.
        why: Why,
        /// The same in the kubelet's words.
        message: String,
    },
    /// A signal was sent to end it.
    Signalled {
        /// Its number.
        signal: i32,
    },
    /// It has been started again as often as it may be.
    RestartLimit {
        /// How often.
        restarts: u32,
    },
    /// A container from another image has taken its place.
    Replaced,
    /// It has ended in a way after which every container of the pod is started again.
    RestartingAll,
    /// The pod needs a new sandbox: all containers are ended.
    SandboxChanged,
    /// The new sandbox stands.
    SandboxReady,
    /// The new sandbox could not be made.
    SandboxFailed {
        /// The error.
        message: String,
        /// When it is tried again.
        until: Time,
    },
    /// The pod was changed.
    Updated {
        /// Its generation now.
        generation: i64,
    },
    /// The pod used more than it may.
    Evicted {
        /// What.
        message: String,
    },
    /// It will not run: its process at the gate was killed.
    Discarded,
    /// The pod has another phase.
    PhaseChanged(Phase),
    /// The whole pod is being stopped.
    Stopping {
        /// Why.
        cause: Cause,
        /// For how long its containers may take.
        grace: Duration,
    },
    /// The host reported what cannot have happened; nothing was done.
    Unexpected {
        /// What it reported.
        event: String,
    },
}

impl Moment {
    /// The reason as an Event of Kubernetes would have it, where it has one.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Created => "Created",
            Self::Armed => "Armed",
            Self::Started => "Started",
            Self::StartFailed { .. } => "Failed",
            Self::Exited { .. } => "Exited",
            Self::MemoryKilled { .. } => "OOMKilling",
            Self::BackOff { .. } => "BackOff",
            Self::Restarting => "Restarting",
            Self::PrepareFailed { .. } => "FailedPrepare",
            Self::HookBegan { hook: HookKind::PostStart } => "PostStart",
            Self::HookBegan { hook: HookKind::PreStop } => "PreStop",
            Self::HookReturned { hook: HookKind::PostStart } => "PostStartDone",
            Self::HookReturned { hook: HookKind::PreStop } => "PreStopDone",
            Self::HookFailed { hook: HookKind::PostStart, .. } => "FailedPostStartHook",
            Self::HookFailed { hook: HookKind::PreStop, .. } => "FailedPreStopHook",
            Self::Unhealthy { .. } | Self::ProbeErrored { .. } => "Unhealthy",
            Self::ProbeWarning { .. } => "ProbeWarning",
            Self::ProbeChanged { succeeds: true, .. } => "ProbeSucceeds",
            Self::ProbeChanged { succeeds: false, .. } => "ProbeFails",
            Self::Killing { .. } => "Killing",
            Self::Signalled { .. } => "Signalled",
            Self::RestartLimit { .. } => "RestartLimit",
            Self::Replaced => "Replaced",
            Self::RestartingAll => "RestartingAllContainers",
            Self::SandboxChanged => "SandboxChanged",
            Self::SandboxReady => "SandboxReady",
            Self::SandboxFailed { .. } => "FailedCreatePodSandBox",
            Self::Updated { .. } => "Updated",
            Self::Evicted { .. } => "Evicted",
            Self::Discarded => "Discarded",
            Self::PhaseChanged(_) => "PhaseChanged",
            Self::Stopping { cause: Cause::DeadlineExceeded, .. } => "DeadlineExceeded",
            Self::Stopping { .. } => "Stopping",
            Self::Unexpected { .. } => "Unexpected",
        }
    }

    /// Whether something went wrong (an Event of type Warning).
    pub fn is_warning(&self) -> bool {
        match self {
            Self::StartFailed { .. }
            | Self::BackOff { .. }
            | Self::PrepareFailed { .. }
            | Self::MemoryKilled { .. }
            | Self::HookFailed { .. }
            | Self::Unhealthy { .. }
            | Self::ProbeErrored { .. }
            | Self::ProbeWarning { .. }
            | Self::RestartLimit { .. }
            | Self::SandboxFailed { .. }
            | Self::Evicted { .. }
            | Self::Unexpected { .. } => true,
            Self::Exited { code, oom } => *code != 0 || *oom,
            Self::Stopping { cause, .. } => {
                matches!(cause, Cause::InitFailed | Cause::DeadlineExceeded | Cause::Evicted)
            }
            Self::PhaseChanged(phase) => *phase == Phase::Failed,
            _ => false,
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created => f.write_str("created, waits at its gate"),
            Self::Armed => f.write_str("asked to start, runs when its turn comes"),
            Self::Started => f.write_str("started"),
            Self::StartFailed { code, message } => write!(f, "could not be started (exit code {code}): {message}"),
            Self::Exited { code, oom: false } => write!(f, "exited with code {code}"),
            Self::Exited { code, oom: true } => write!(f, "exited with code {code}, out of memory"),
            Self::MemoryKilled { kills: 1 } => f.write_str("lost a process for want of memory and lives on"),
            Self::MemoryKilled { kills } => write!(f, "lost {kills} processes for want of memory and lives on"),
            Self::BackOff { delay, .. } => write!(f, "back-off {} before it is restarted", Shown(*delay)),
            Self::Restarting => f.write_str("a fresh attempt is being made"),
            Self::PrepareFailed { message, .. } => write!(f, "a fresh attempt could not be made: {message}"),
            Self::HookBegan { hook } => write!(f, "{hook} hook runs"),
            Self::HookReturned { hook } => write!(f, "{hook} hook returned"),
            Self::HookFailed { hook, message } => write!(f, "{hook} hook failed: {message}"),
            Self::Unhealthy { probe, message } => write!(f, "{probe} probe failed: {message}"),
            Self::ProbeErrored { probe, message } => {
                write!(f, "{probe} probe errored and resulted in unknown state: {message}")
            }
            Self::ProbeWarning { probe, message } => write!(f, "{probe} probe warning: {message}"),
            Self::ProbeChanged { probe, succeeds: true } => write!(f, "{probe} probe succeeds"),
            Self::ProbeChanged { probe, succeeds: false } => write!(f, "{probe} probe has failed"),
            Self::Killing { message, .. } | Self::Evicted { message } => f.write_str(message),
            Self::Signalled { signal } => write!(f, "sent signal {signal}"),
            Self::RestartLimit { restarts } => write!(f, "not restarted any more after {restarts} restarts"),
            Self::Replaced => f.write_str("replaced by a container from another image"),
            Self::RestartingAll => f.write_str("all containers are restarted after this one's end"),
            Self::SandboxChanged => f.write_str("Pod sandbox changed, it will be killed and re-created."),
            Self::SandboxReady => f.write_str("the new sandbox stands"),
            Self::SandboxFailed { message, .. } => write!(f, "Failed to create pod sandbox: {message}"),
            Self::Updated { generation } => write!(f, "the pod was changed, generation {generation}"),
            Self::Discarded => f.write_str("will not run any more"),
            Self::PhaseChanged(phase) => write!(f, "the pod is {phase}"),
            Self::Stopping { cause, grace } => write!(f, "the pod is stopped within {}: {cause}", Shown(*grace)),
            Self::Unexpected { event } => write!(f, "{event} was reported where it cannot happen"),
        }
    }
}

/// An entry for machines and for other processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// When, to the microsecond.
    pub time: Timestamp,
    /// Name of the container; absent for the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Number of its attempt, counted from 0.
    #[serde(default)]
    pub attempt: u32,
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    pub severity: String,
    /// [`Moment::reason`].
    pub reason: String,
    /// The moment in words.
    pub message: String,
    /// Exit code, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u32>,
    /// Signal, where one was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// When it is tried again: the end of a back-off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The new phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
}

impl Entry {
    /// The entry with the names of `pod` and wall-clock times.
    pub fn record(&self, pod: &PodSpec, wall: &dyn Fn(Time) -> SystemTime) -> Record {
        let mut record = Record {
            time: Timestamp::micros(wall(self.at)),
            container: self.container.and_then(|id| pod.container(id)).map(|container| container.name.clone()),
            attempt: self.attempt,
            severity: if self.what.is_warning() { "Warning" } else { "Normal" }.into(),
            reason: self.what.reason().into(),
            message: self.what.to_string(),
            exit_code: None,
            signal: None,
            until: None,
            phase: None,
        };
        match &self.what {
            Moment::Exited { code, .. } | Moment::StartFailed { code, .. } => record.exit_code = Some(*code),
            Moment::Signalled { signal } => record.signal = Some(*signal),
            Moment::BackOff { until, .. }
            | Moment::PrepareFailed { until, .. }
            | Moment::SandboxFailed { until, .. } => record.until = Some(Timestamp::micros(wall(*until))),
            Moment::PhaseChanged(phase) => record.phase = Some(*phase),
            _ => {}
        }
        record
    }
}

/// What one step does, and all that was recorded so far.
#[derive(Debug)]
pub(super) struct Log {
    /// The time of the step.
    pub(super) now: Time,
    actions: Vec<Action>,
    entries: VecDeque<Entry>,
}

impl Log {
    pub(super) fn new(now: Time) -> Self {
        Self { now, actions: Vec::new(), entries: VecDeque::new() }
    }

    pub(super) fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub(super) fn note(&mut self, container: Option<ContainerId>, attempt: u32, what: Moment) {
        let entry = Entry { at: self.now, container, attempt, what };
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(entry.clone());
        self.act(Action::Record(entry));
    }

    pub(super) fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    pub(super) fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT, Log, Moment, Time};

    #[test]
    fn the_newest_thousand_entries_are_kept() {
        let mut log = Log::new(Time::default());
        for attempt in 0..1500 {
            log.note(None, attempt, Moment::Started);
        }
        let kept: Vec<u32> = log.entries().map(|entry| entry.attempt).collect();
        assert_eq!(kept, (500..1500).collect::<Vec<_>>());
        assert_eq!(kept.len(), KEPT);
    }
}
