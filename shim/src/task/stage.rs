//! Where a task stands, and what may be done with it there. One table for containers and for further processes.

use containerd_shim_protos::api::Status;

use crate::failure::{Failure, Result};

/// Where a container's init or a further process stands, as containerd sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Exists, not started.
    Created,
    /// Started.
    Running,
    /// Started and frozen.
    Paused,
    /// Being deleted before it was started: its process is being killed.
    Discarded,
    /// Ended.
    Stopped,
}

/// What is asked of it or happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Let it run.
    Start,
    /// Freeze it.
    Pause,
    /// Thaw it.
    Resume,
    /// Give up what was never started.
    Discard,
    /// Its process has ended.
    End,
    /// Forget it.
    Delete,
}

impl Stage {
    /// Where `step` leads from here, if it may be taken.
    pub(crate) fn next(self, step: Step) -> Option<Self> {
        Some(match (self, step) {
            (Self::Created, Step::Start) | (Self::Paused, Step::Resume) => Self::Running,
            (Self::Running, Step::Pause) => Self::Paused,
            (Self::Created, Step::Discard) => Self::Discarded,
            (Self::Created | Self::Running | Self::Paused | Self::Discarded, Step::End) => Self::Stopped,
            (Self::Stopped, Step::Delete) => Self::Stopped,
            _ => return None,
        })
    }

    /// The same, with a refusal that names `object`.
    pub(crate) fn take(self, step: Step, object: &str) -> Result<Self> {
        self.next(step).ok_or_else(|| Failure::precondition(format!("{} {object}: it is {}", step.verb(), self.name())))
    }

    /// Whether there is a process to send signals to.
    pub(crate) fn alive(self) -> bool {
        self != Self::Stopped
    }

    fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Discarded => "being deleted",
            Self::Stopped => "stopped",
        }
    }
}

impl Step {
    fn verb(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Discard => "discard",
            Self::End => "end",
            Self::Delete => "delete",
        }
    }
}

impl From<Stage> for Status {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Created => Self::CREATED,
            Stage::Running => Self::RUNNING,
            Stage::Paused => Self::PAUSED,
            Stage::Discarded | Stage::Stopped => Self::STOPPED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGES: [Stage; 5] = [Stage::Created, Stage::Running, Stage::Paused, Stage::Discarded, Stage::Stopped];
    const STEPS: [Step; 6] = [Step::Start, Step::Pause, Step::Resume, Step::Discard, Step::End, Step::Delete];

    #[test]
    fn every_transition_is_the_one_in_the_table() {
        // Rows: stages; columns: steps. C created, R running, P paused, D discarded, S stopped, . refused.
        let table = ["R..DS.", ".P..S.", "..R.S.", "....S.", ".....S"];
        for (stage, row) in STAGES.iter().zip(table) {
            for (step, expected) in STEPS.iter().zip(row.chars()) {
                let found = stage.next(*step).map_or('.', |next| match next {
                    Stage::Created => 'C',
                    Stage::Running => 'R',
                    Stage::Paused => 'P',
                    Stage::Discarded => 'D',
                    Stage::Stopped => 'S',
                });
                assert_eq!(found, expected, "{stage:?} {step:?}");
            }
        }
    }

    #[test]
    fn nothing_leads_out_of_stopped() {
        assert!(STEPS.iter().all(|step| Stage::Stopped.next(*step).is_none_or(|next| next == Stage::Stopped)));
    }

    #[test]
    fn a_refusal_names_what_was_asked_and_where_it_stands() {
        let refusal = Stage::Running.take(Step::Delete, "container web").unwrap_err();
        assert_eq!(refusal.message, "delete container web: it is running");
        assert_eq!(refusal.code, ttrpc::Code::FAILED_PRECONDITION);
    }
}
