//! What the host tells the machine, and what the machine asks of the host.
//!
//! | asked | answered with |
//! |---|---|
//! | [`Action::Open`] | [`Event::Opened`] or [`Event::StartFailed`] |
//! | [`Action::Prepare`] | [`Event::Ready`] or [`Event::PrepareFailed`] |
//! | [`Action::RunHook`] | [`Event::HookDone`] |
//! | [`Action::Probe`] | [`Event::Probed`] |
//! | [`Action::Signal`] | nothing; [`Event::Exited`] comes when the process has ended |
//! | [`Action::RenewSandbox`] | [`Event::SandboxReady`] or [`Event::SandboxFailed`] |
//! | [`Action::Discard`], [`Action::Report`], [`Action::Adopt`], [`Action::Dismiss`], [`Action::Record`] | nothing |
//!
//! Answers may come in any order and at any time. One that comes when it no longer matters (of a hook or a probe whose
//! container has ended) changes nothing, and may be left out.

use std::time::Duration;

use super::{
    handler::{HookKind, Outcome, ProbeKind},
    spec::{ContainerId, PodSpec},
    timeline::Entry,
};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A client created the container: its process waits at the gate.
    Created {
        /// Which.
        container: ContainerId,
    },
    /// A client started the container: it may run when its turn comes.
    Armed {
        /// Which.
        container: ContainerId,
    },
    /// A client created a container of the same name, from another image, beside the one that is there, and started
    /// it: the successor's process waits at its gate. Answered with [`Action::Adopt`] when it may take over, with
    /// [`Action::Dismiss`] when it never will. Again: the one that stood by until then is dismissed.
    Replaced {
        /// Which.
        container: ContainerId,
    },
    /// The gate was opened and the program has been executed.
    Opened {
        /// Which.
        container: ContainerId,
    },
    /// The gate was opened and the program could not be executed; the process is gone.
    StartFailed {
        /// Which.
        container: ContainerId,
        /// Exit code in place of the program's (128 for CRI).
        code: u32,
        /// The error.
        message: String,
    },
    /// The process ended and was reaped.
    Exited {
        /// Which.
        container: ContainerId,
        /// Exit code, or 128 + signal.
        code: u32,
        /// Whether it was killed for want of memory.
        oom_killed: bool,
        /// The termination message, where there is one (see [`super::message`]).
        message: Option<String>,
    },
    /// Processes of the container were killed for want of memory, and its first process lives on.
    MemoryKilled {
        /// Which.
        container: ContainerId,
        /// How many.
        kills: u64,
    },
    /// The attempt that [`Action::Prepare`] asked for waits at its gate.
    Ready {
        /// Which.
        container: ContainerId,
    },
    /// The attempt that [`Action::Prepare`] asked for could not be made, and nothing is left of it.
    PrepareFailed {
        /// Which.
        container: ContainerId,
        /// The error.
        message: String,
    },
    /// The hook that [`Action::RunHook`] asked for has returned.
    HookDone {
        /// Whose.
        container: ContainerId,
        /// Of which attempt, as the action said.
        attempt: u32,
        /// Which hook.
        hook: HookKind,
        /// Why it failed, if it did.
        error: Option<String>,
    },
    /// The attempt at a probe that [`Action::Probe`] asked for has ended.
    Probed {
        /// Whose.
        container: ContainerId,
        /// Of which attempt of the container, as the action said.
        attempt: u32,
        /// Which probe.
        probe: ProbeKind,
        /// How it ended. The message of a failure or an error stands in events after `Liveness probe failed: `.
        outcome: Outcome,
    },
    /// A client signals the container. It is taken as the wish to end it: whatever the signal, it is not started again.
    KillRequested {
        /// Which.
        container: ContainerId,
        /// Number of the signal.
        signal: i32,
    },
    /// The client that made the pod has made all of it: see [`super::Machine::held`].
    Released,
    /// The pod is to be stopped as a whole. Again: may shorten what is left, never lengthen it.
    Terminate {
        /// For how long its containers may take; `None` is what the pod says.
        grace: Option<Duration>,
    },
    /// The pod uses more than it may: it has a second to end, and has failed.
    Evict {
        /// `status.reason`, usually `Evicted`.
        reason: String,
        /// `status.message`.
        message: String,
    },
    /// The pod was changed. Only what may change in a pod that runs is taken from it: the images' names, a sooner
    /// active deadline, the annotations, the generation.
    Updated {
        /// The pod as it is now.
        spec: Box<PodSpec>,
    },
    /// What holds the pod's namespaces has ended: a new sandbox is needed. Processes of containers may live on.
    SandboxLost,
    /// The new sandbox stands; no process of the pod's is left from the old one.
    SandboxReady,
    /// The new sandbox could not be made, and nothing is left of it.
    SandboxFailed {
        /// The error.
        message: String,
    },
    /// [`super::Machine::next_deadline`] has come.
    Tick,
}

/// What the host is to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Open the gate. Answer: [`Event::Opened`] or [`Event::StartFailed`].
    Open {
        /// Whose.
        container: ContainerId,
        /// Its attempt, counted from 0.
        attempt: u32,
    },
    /// Make a fresh process over a clean writable layer, waiting at its gate. Asked for at once after an exit that will
    /// be retried, so that opening the gate later costs nothing. Answer: [`Event::Ready`] or [`Event::PrepareFailed`].
    Prepare {
        /// Of which container.
        container: ContainerId,
        /// The attempt that it will be.
        attempt: u32,
    },
    /// Send a signal to the process, which runs or waits at its gate. Even after SIGKILL there may be another attempt:
    /// only [`Action::Discard`] means that there will be none.
    Signal {
        /// Of which container.
        container: ContainerId,
        /// Number of the signal.
        signal: i32,
    },
    /// Run a hook of the running container (`post_start` or `pre_stop` of its specification). It has no time limit of
    /// its own; when the container ends it is given up. Answer: [`Event::HookDone`].
    RunHook {
        /// Whose.
        container: ContainerId,
        /// Its attempt.
        attempt: u32,
        /// Which.
        hook: HookKind,
    },
    /// Probe the running container once (`startup`, `liveness` or `readiness` of its specification), for no longer than
    /// the probe's timeout. Answer: [`Event::Probed`].
    Probe {
        /// Which.
        container: ContainerId,
        /// Its attempt.
        attempt: u32,
        /// Which probe.
        probe: ProbeKind,
    },
    /// The container will never run again: kill the process at its gate, or the one being prepared. No answer is
    /// expected.
    Discard {
        /// Which.
        container: ContainerId,
    },
    /// Tell containerd that the task has ended: it will not run again. Asked for once per task; of a container that may
    /// have to run again in a new sandbox or by a rule, not before the pod is stopped or a client wants its end.
    Report {
        /// Whose.
        container: ContainerId,
        /// Exit status for containerd.
        code: u32,
    },
    /// The successor takes over: from now on the container is the successor's task, whose process waits at its gate,
    /// and what becomes of the old one's process is told no more. The old task's end has been asked for by
    /// [`Action::Report`] just before.
    Adopt {
        /// Which.
        container: ContainerId,
        /// The attempt that the successor's process is.
        attempt: u32,
    },
    /// The successor will never run: kill the process at its gate and tell containerd that its task has ended.
    Dismiss {
        /// Whose.
        container: ContainerId,
        /// Exit status for containerd.
        code: u32,
    },
    /// Make the pod's namespaces anew; no process of a container is left. Answer: [`Event::SandboxReady`] or
    /// [`Event::SandboxFailed`].
    RenewSandbox,
    /// Something worth telling happened. The machine keeps it too.
    Record(Entry),
}
