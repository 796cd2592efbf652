//! Where a sandbox stands, and what may be done with it there.

use crate::failure::{Failure, Result};

/// Where a sandbox stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its namespaces are being made.
    Created,
    /// Containers may join it.
    Ready,
    /// It has ended.
    Stopped,
}

/// What is asked of it or happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Let containers join it.
    Start,
    /// End it. More than once is once: CRI asks again for what may have ended already.
    Stop,
}

impl Stage {
    /// Where `step` leads from here, if it may be taken.
    pub(crate) fn next(self, step: Step) -> Option<Self> {
        Some(match (self, step) {
            (Self::Created, Step::Start) => Self::Ready,
            (Self::Created | Self::Ready | Self::Stopped, Step::Stop) => Self::Stopped,
            (Self::Ready | Self::Stopped, Step::Start) => return None,
        })
    }

    /// The same, with a refusal.
    pub(crate) fn take(self, step: Step, id: &str) -> Result<Self> {
        let verb = if step == Step::Start { "start" } else { "stop" };
        self.next(step).ok_or_else(|| Failure::precondition(format!("{verb} sandbox {id}: it is {}", self.name())))
    }

    /// As CRI names it.
    pub(crate) fn as_cri(self) -> &'static str {
        match self {
            Self::Ready => "SANDBOX_READY",
            Self::Created | Self::Stopped => "SANDBOX_NOTREADY",
        }
    }

    /// In a word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Ready => "running",
            Self::Stopped => "stopped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_transition_is_the_one_in_the_table() {
        let table = [
            (Stage::Created, Some(Stage::Ready), Some(Stage::Stopped)),
            (Stage::Ready, None, Some(Stage::Stopped)),
            (Stage::Stopped, None, Some(Stage::Stopped)),
        ];
        for (stage, started, stopped) in table {
            assert_eq!((stage.next(Step::Start), stage.next(Step::Stop)), (started, stopped), "{stage:?}");
        }
    }

    #[test]
    fn only_what_containers_may_join_is_ready() {
        let ready = [Stage::Created, Stage::Ready, Stage::Stopped].map(|stage| stage.as_cri() == "SANDBOX_READY");
        assert_eq!(ready, [false, true, false]);
    }

    #[test]
    fn a_refusal_says_where_it_stands() {
        let refusal = Stage::Stopped.take(Step::Start, "ab").unwrap_err();
        assert_eq!(refusal.message, "start sandbox ab: it is stopped");
    }
}
