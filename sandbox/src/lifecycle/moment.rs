//! What can happen to a pod and its containers, and how it is told.

use std::{fmt, time::Duration};

use super::{
    duration::Shown,
    ending::Why,
    handler::{HookKind, ProbeKind},
    phase::Phase,
    stop::Cause,
    time::Time,
};

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
