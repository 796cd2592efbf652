//! What happened to a pod, in order.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{
    event::Action,
    moment::Moment,
    phase::Phase,
    rfc3339::Timestamp,
    spec::{ContainerId, PodSpec},
    time::Time,
};

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

/// What one step does. What happened is among it: who hosts the machine keeps as much of that as is wanted.
#[derive(Debug, Clone)]
pub(super) struct Log {
    /// The time of the step.
    pub(super) now: Time,
    actions: Vec<Action>,
}

impl Log {
    pub(super) fn new(now: Time) -> Self {
        Self { now, actions: Vec::new() }
    }

    pub(super) fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub(super) fn note(&mut self, container: Option<ContainerId>, attempt: u32, what: Moment) {
        self.act(Action::Record(Entry { at: self.now, container, attempt, what }));
    }

    pub(super) fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }
}
