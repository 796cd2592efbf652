//! What happened to a pod, in order.

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{
    duration::Shown,
    event::Action,
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
            Self::Killing { .. } => "Killing",
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
            | Self::Unexpected { .. } => true,
            Self::Exited { code, oom } => *code != 0 || *oom,
            Self::Stopping { cause, .. } => matches!(cause, Cause::InitFailed | Cause::DeadlineExceeded),
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
            Self::PrepareFailed { message } => write!(f, "a fresh attempt could not be made: {message}"),
            Self::Killing { signal } => write!(f, "sent signal {signal}"),
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
    /// When the back-off ends.
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
            Moment::Killing { signal } => record.signal = Some(*signal),
            Moment::BackOff { until, .. } => record.until = Some(Timestamp::micros(wall(*until))),
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
