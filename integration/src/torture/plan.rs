//! What is done to whom, and when: drawn from a seed, without looking at anything.

use std::{collections::BTreeMap, fmt};

use loment_sandbox::trace::Phase;

/// What is asked for while it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// CRI's `RunPodSandbox`.
    RunPod,
    /// CRI's `CreateContainer` and `StartContainer`.
    StartContainer,
    /// CRI's `ExecSync`.
    Exec,
    /// CRI's `StopContainer`, which kills.
    StopContainer,
    /// CRI's `RemoveContainer`.
    RemoveContainer,
    /// CRI's `StopPodSandbox` with a running container.
    StopPod,
    /// CRI's `RemovePodSandbox`.
    RemovePod,
    /// `loment create`, until the pod runs: with an init container that fails once, a sidecar and an app.
    Create,
    /// `loment delete`.
    Delete,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::RunPod,
        Self::StartContainer,
        Self::Exec,
        Self::StopContainer,
        Self::RemoveContainer,
        Self::StopPod,
        Self::RemovePod,
        Self::Create,
        Self::Delete,
    ];

    /// Whether the shim runs the pod by its manifest.
    pub fn is_supervised(self) -> bool {
        matches!(self, Self::Create | Self::Delete)
    }

    /// Whether there is no shim of the pod before.
    pub fn begins(self) -> bool {
        matches!(self, Self::RunPod | Self::Create)
    }
}

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    /// Whoever makes the call: the shim, its `start` or `delete`, the `loment` command's work in a child, an init on its way.
    Caller,
    /// The pod's shim.
    Shim,
    /// The process that holds the pod's namespaces.
    Holder,
    /// The first process of the container, or the shim's youngest child.
    Child,
    /// containerd.
    Containerd,
    /// containerd and the shim, as when a service is killed with all that is in it.
    Both,
    /// Who has asked: it hangs up, or is killed where it is a command.
    Client,
}

impl Victim {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Caller, Self::Shim, Self::Holder, Self::Child, Self::Containerd, Self::Both, Self::Client];
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// SIGKILL.
    Kill(Victim),
    /// The kernel refuses the call, for want of what it takes.
    Fail,
}

/// When it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// At the first call after this phase is reached.
    Phase(Phase),
    /// At this call that the operation causes, from 1.
    Call(u64),
}

/// One thing that is done once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// While this is asked for.
    pub operation: Operation,
    /// Then.
    pub moment: Moment,
    /// That.
    pub deed: Deed,
}

/// What an operation causes when nothing is done to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Course {
    /// How many system calls.
    pub calls: u64,
    /// How many of them may fail for want of something.
    pub fallible: u64,
    /// Which phases are reached.
    pub phases: Vec<Phase>,
}

/// The courses of all operations.
pub type Courses = BTreeMap<Operation, Course>;

/// Kills: in even rounds at phases, each of every operation for each victim in a shuffled order before any comes again; in
/// odd ones at any call.
pub fn kill(seed: u64, index: u64, courses: &Courses) -> Option<Round> {
    let mut phased: Vec<(Operation, Phase, Victim)> = courses
        .iter()
        .flat_map(|(operation, course)| course.phases.iter().map(|phase| (*operation, *phase)))
        .flat_map(|(operation, phase)| Victim::ALL.map(|victim| (operation, phase, victim)))
        .collect();
    fastrand::Rng::with_seed(seed).shuffle(&mut phased);
    let turn = usize::try_from(index / 2).ok()?;
    if index.is_multiple_of(2) && !phased.is_empty() {
        let (operation, phase, victim) = phased[turn % phased.len()];
        return Some(Round { operation, moment: Moment::Phase(phase), deed: Deed::Kill(victim) });
    }
    let mut draw = drawer(seed, index);
    let (operation, course) = any(&mut draw, courses, |course| course.calls)?;
    let victim = Victim::ALL[draw.usize(..Victim::ALL.len())];
    Some(Round { operation, moment: Moment::Call(draw.u64(1..=course.calls)), deed: Deed::Kill(victim) })
}

/// Refused calls: any that may fail.
pub fn fault(seed: u64, index: u64, courses: &Courses) -> Option<Round> {
    let mut draw = drawer(seed, index);
    let (operation, course) = any(&mut draw, courses, |course| course.fallible)?;
    Some(Round { operation, moment: Moment::Call(draw.u64(1..=course.fallible)), deed: Deed::Fail })
}

fn drawer(seed: u64, index: u64) -> fastrand::Rng {
    fastrand::Rng::with_seed(seed ^ index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// An operation, as often as it makes calls.
fn any<'a>(
    draw: &mut fastrand::Rng,
    courses: &'a Courses,
    weight: impl Fn(&Course) -> u64,
) -> Option<(Operation, &'a Course)> {
    let total: u64 = courses.values().map(&weight).sum();
    let mut left = draw.u64(0..total.max(1));
    courses.iter().find_map(|(operation, course)| match left.checked_sub(weight(course)) {
        Some(rest) => {
            left = rest;
            None
        }
        None => Some((*operation, course)),
    })
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.deed {
            Deed::Kill(victim) => write!(f, "kill {victim} ")?,
            Deed::Fail => write!(f, "refuse ")?,
        }
        match (self.moment, self.deed) {
            (Moment::Phase(phase), _) => write!(f, "after {:?} of {}", phase.name(), self.operation),
            (Moment::Call(number), Deed::Fail) => write!(f, "fallible call {number} of {}", self.operation),
            (Moment::Call(number), _) => write!(f, "at call {number} of {}", self.operation),
        }
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Caller => "the caller",
            Self::Shim => "the shim",
            Self::Holder => "the holder",
            Self::Child => "the child",
            Self::Containerd => "containerd",
            Self::Both => "containerd and the shim",
            Self::Client => "the client",
        })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RunPod => "RunPodSandbox",
            Self::StartContainer => "StartContainer",
            Self::Exec => "ExecSync",
            Self::StopContainer => "StopContainer",
            Self::RemoveContainer => "RemoveContainer",
            Self::StopPod => "StopPodSandbox",
            Self::RemovePod => "RemovePodSandbox",
            Self::Create => "loment create",
            Self::Delete => "loment delete",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn courses() -> Courses {
        let course = |calls, phases: &[Phase]| Course { calls, fallible: calls / 2, phases: phases.to_vec() };
        [
            (Operation::RunPod, course(100, &[Phase::Bound, Phase::Cloned])),
            (Operation::Exec, course(10, &[Phase::Cloned])),
            (Operation::Delete, course(0, &[])),
        ]
        .into()
    }

    #[test]
    fn a_seed_draws_the_same_rounds_again_and_another_one_others() {
        let drawn = |seed| (0..40).map(move |index| (kill(seed, index, &courses()), fault(seed, index, &courses())));
        assert!(drawn(7).eq(drawn(7)));
        assert!(!drawn(7).eq(drawn(8)));
    }

    #[test]
    fn every_victim_is_killed_at_every_phase_before_any_comes_again() {
        let phased = (0..42).step_by(2).filter_map(|index| kill(3, index, &courses()));
        let seen: BTreeSet<String> = phased.map(|round| round.to_string()).collect();
        assert_eq!(seen.len(), 3 * Victim::ALL.len());
    }

    #[test]
    fn a_call_is_one_that_there_is_and_an_operation_without_any_is_left_out() {
        for index in 0..400 {
            for round in [kill(5, index, &courses()), fault(5, index, &courses())] {
                let round = round.expect("there are calls");
                let course = &courses()[&round.operation];
                match (round.moment, round.deed) {
                    (Moment::Call(number), Deed::Fail) => assert!((1..=course.fallible).contains(&number)),
                    (Moment::Call(number), _) => assert!((1..=course.calls).contains(&number)),
                    (Moment::Phase(phase), _) => assert!(course.phases.contains(&phase)),
                }
            }
        }
        assert_eq!(kill(1, 1, &Courses::new()), None);
        assert_eq!(fault(1, 1, &Courses::new()), None);
    }
}
