//! The machine: events in, actions out.

use std::time::{Duration, SystemTime};

use super::{
    Phase, Time,
    container::ContainerState,
    spec::{ContainerId, PodSpec},
    status::PodStatus,
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
        /// Whether a process in the container was killed for memory.
        oom_killed: bool,
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
    /// A client signals the container. It is taken as the wish to end it: whatever the signal, it is not started again.
    KillRequested {
        /// Which.
        container: ContainerId,
        /// Number of the signal.
        signal: i32,
    },
    /// The pod is to be stopped as a whole. Again: may shorten what is left, never lengthen it.
    Terminate {
        /// For how long its containers may take; `None` is what the pod says.
        grace: Option<Duration>,
    },
    /// [`Machine::next_deadline`] has come.
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
    /// Send a signal to the process.
    Signal {
        /// Of which container.
        container: ContainerId,
        /// Number of the signal.
        signal: i32,
    },
    /// The container will never run again: kill the process at its gate, or the one being prepared. No answer is
    /// expected.
    Discard {
        /// Which.
        container: ContainerId,
    },
    /// Tell containerd that the task has ended. Once per container.
    Report {
        /// Whose.
        container: ContainerId,
        /// Exit status for containerd.
        code: u32,
    },
    /// Something worth telling happened. The machine keeps it too.
    Record(Entry),
}

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

/// A pod's lifecycle.
#[derive(Debug)]
pub struct Machine {}

impl Machine {
    /// A pod whose sandbox stands and whose containers are still to be created.
    pub fn new(_spec: PodSpec, _now: Time) -> Self {
        todo!()
    }

    /// Takes in what happened at `now` and answers what is to be done. Never panics: what cannot have happened is
    /// recorded and changes nothing.
    pub fn step(&mut self, _now: Time, _event: Event) -> Vec<Action> {
        todo!()
    }

    /// When to call [`Machine::step`] with [`Event::Tick`] at the latest. `None`: only an event can change anything.
    pub fn next_deadline(&self) -> Option<Time> {
        todo!()
    }

    /// The pod's phase.
    pub fn phase(&self) -> Phase {
        todo!()
    }

    /// The pod.
    pub fn spec(&self) -> &PodSpec {
        todo!()
    }

    /// The container named `name`.
    pub fn container(&self, _name: &str) -> Option<&ContainerState> {
        todo!()
    }

    /// What happened, oldest first; the last thousand entries.
    pub fn timeline(&self) -> impl Iterator<Item = &Entry> {
        [].iter()
    }

    /// The pod's `status`. `wall` tells the wall-clock time of one of the machine's times.
    pub fn status(&self, _wall: &dyn Fn(Time) -> SystemTime) -> PodStatus {
        todo!()
    }

    /// Whether no container runs or will run.
    pub fn finished(&self) -> bool {
        todo!()
    }
}
