//! The stages of a container, as one table.

/// Where a container stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// No client has made it yet.
    Absent,
    /// Its process waits at the gate: for its start, its turn or the end of its back-off.
    Gate,
    /// The gate has been opened, the program is not known to be executed.
    Opening,
    /// Its program runs.
    Running,
    /// It ended and will run again; a fresh process is being made.
    Preparing,
    /// A fresh process could not be made; that is tried again later.
    Stalled,
    /// It ended and will run again when all the others of its pod have ended too.
    Resting,
    /// It will not run again.
    Ended,
}

/// What moves a container from one stage to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Input {
    /// A client made it.
    Create,
    /// The machine opens its gate.
    Open,
    /// Its program was executed.
    Opened,
    /// A fresh process is asked for.
    Prepare,
    /// The fresh process stands at its gate.
    Ready,
    /// There is no process at the gate and none can be made now.
    Stall,
    /// It is to wait until all others have ended.
    Rest,
    /// A successor's process, which stands at its gate, takes its place.
    Adopt,
    /// It is not to run (again).
    End,
}

impl Stage {
    /// The stage after `input`; `None` where it makes no sense.
    pub(super) const fn next(self, input: Input) -> Option<Self> {
        use Stage::{Absent, Ended, Gate, Opening, Preparing, Resting, Running, Stalled};
        match (self, input) {
            (Absent, Input::Create) | (Preparing, Input::Ready) => Some(Gate),
            (Gate, Input::Open) => Some(Opening),
            (Opening, Input::Opened) => Some(Running),
            (Opening | Running | Stalled | Resting, Input::Prepare) => Some(Preparing),
            (Gate | Preparing, Input::Stall) => Some(Stalled),
            (Gate | Opening | Running | Preparing | Stalled | Ended, Input::Rest) => Some(Resting),
            (Gate | Opening | Running | Preparing | Stalled | Resting, Input::Adopt) => Some(Gate),
            (Gate | Opening | Running | Preparing | Stalled | Resting, Input::End) => Some(Ended),
            _ => None,
        }
    }

    /// Whether its program runs or is about to.
    pub const fn is_alive(self) -> bool {
        matches!(self, Self::Opening | Self::Running)
    }

    /// Whether it exists and waits to run.
    pub const fn is_waiting(self) -> bool {
        matches!(self, Self::Gate | Self::Preparing | Self::Stalled | Self::Resting)
    }
}

#[cfg(test)]
mod tests {
    use super::{Input, Stage};

    const STAGES: [Stage; 8] = [
        Stage::Absent,
        Stage::Gate,
        Stage::Opening,
        Stage::Running,
        Stage::Preparing,
        Stage::Stalled,
        Stage::Resting,
        Stage::Ended,
    ];

    /// One row per input, one letter per stage in the order above; `-` is refused.
    const TABLE: [(Input, &str); 9] = [
        (Input::Create, "G-------"),
        (Input::Open, "-O------"),
        (Input::Opened, "--R-----"),
        (Input::Prepare, "--PP-PP-"),
        (Input::Ready, "----G---"),
        (Input::Stall, "-S--S---"),
        (Input::Rest, "-WWWWW-W"),
        (Input::Adopt, "-GGGGGG-"),
        (Input::End, "-EEEEEE-"),
    ];

    fn letter(stage: Option<Stage>) -> char {
        match stage {
            None => '-',
            Some(Stage::Absent) => 'A',
            Some(Stage::Gate) => 'G',
            Some(Stage::Opening) => 'O',
            Some(Stage::Running) => 'R',
            Some(Stage::Preparing) => 'P',
            Some(Stage::Stalled) => 'S',
            Some(Stage::Resting) => 'W',
            Some(Stage::Ended) => 'E',
        }
    }

    #[test]
    fn every_stage_answers_every_input_as_the_table_says() {
        for (input, row) in TABLE {
            let answers: String = STAGES.iter().map(|stage| letter(stage.next(input))).collect();
            assert_eq!(answers, row, "{input:?}");
        }
    }

    #[test]
    fn a_container_that_has_ended_stays_so_unless_its_whole_pod_begins_again() {
        assert!(TABLE.iter().all(|(input, _)| Stage::Ended.next(*input).is_none() || *input == Input::Rest));
    }

    #[test]
    fn each_stage_is_absent_waiting_alive_or_ended() {
        for stage in STAGES {
            let resting = matches!(stage, Stage::Absent | Stage::Ended);
            assert_eq!(
                [resting, stage.is_waiting(), stage.is_alive()].iter().filter(|is| **is).count(),
                1,
                "{stage:?}"
            );
        }
    }
}
