//! The phase of a pod (the kubelet's getPhase).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{container::ContainerState, restart, spec::Kind, stage::Stage};

/// `status.phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Phase {
    /// Not all containers have run yet.
    #[default]
    Pending,
    /// At least one container runs, starts or is about to be started again.
    Running,
    /// All app containers ended well and none will be started again.
    Succeeded,
    /// All containers ended, at least one app container badly.
    Failed,
    /// The state cannot be had. The machine never says so; a command does when it cannot reach the shim.
    Unknown,
}

impl Phase {
    /// Whether the pod has ended for good.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What of a container decides the phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has not run.
    Waiting,
    /// It runs.
    Running {
        /// Whether what waits for it may go on.
        started: bool,
    },
    /// It ran and does not now.
    Stopped {
        /// Whether its newest run failed.
        failed: bool,
        /// Whether it may run again.
        again: bool,
    },
    /// Nothing is known of it.
    Unknown,
}

impl From<&ContainerState> for Standing {
    fn from(container: &ContainerState) -> Self {
        let exit = container.exit().filter(|_| container.ran_here);
        match (container.stage(), exit) {
            (Stage::Running, _) => Self::Running { started: container.is_started() },
            (stage, Some(exit)) => Self::Stopped {
                failed: restart::failed(container.kind(), exit.code, exit.oom),
                again: stage != Stage::Ended,
            },
            (_, None) if container.killed_before_run().is_some() => Self::Stopped { failed: true, again: false },
            (_, None) => match &container.earlier {
                Some(end) if container.skipped => Self::Stopped { failed: end.exit_code != 0, again: false },
                _ => Self::Waiting,
            },
        }
    }
}

/// The phase of a pod with these containers. `stopped`: the pod is being or has been stopped as a whole. The rows are
/// those of the kubelet, the first that holds decides.
pub fn of(containers: &[(Kind, Standing)], stopped: bool) -> Phase {
    use Standing::{Running, Stopped, Unknown, Waiting};
    let any = |kinds: &[Kind], holds: fn(&Standing) -> bool| {
        containers.iter().any(|(kind, standing)| kinds.contains(kind) && holds(standing))
    };
    let (init, sidecar, app, living) = ([Kind::Init], [Kind::Sidecar], [Kind::App], [Kind::Sidecar, Kind::App]);
    let not_started = |standing: &Standing| matches!(standing, Waiting | Running { started: false } | Unknown);
    let apps_ran = any(&app, |standing| !matches!(standing, Waiting | Unknown));
    let unknown = any(&living, |standing| *standing == Unknown);

    if any(&init, |standing| matches!(standing, Stopped { failed: true, again: false })) {
        Phase::Failed
    } else if any(&init, |standing| matches!(standing, Waiting | Running { .. } | Unknown))
        || (any(&sidecar, not_started) && !apps_ran)
        || any(&living, |standing| *standing == Waiting)
    {
        Phase::Pending
    } else if any(&living, |standing| matches!(standing, Running { .. })) && !unknown {
        Phase::Running
    } else if !apps_ran || unknown {
        Phase::Pending
    } else if !stopped && any(&app, |standing| matches!(standing, Stopped { again: true, .. })) {
        Phase::Running
    } else if any(&app, |standing| matches!(standing, Stopped { failed: true, .. })) {
        Phase::Failed
    } else {
        Phase::Succeeded
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Kind::{self, App, Init, Sidecar},
        Phase,
        Standing::{self, Running, Stopped, Unknown, Waiting},
        of,
    };

    const RUNS: Standing = Running { started: true };
    const STARTING: Standing = Running { started: false };
    const OK: Standing = Stopped { failed: false, again: false };
    const BAD: Standing = Stopped { failed: true, again: false };
    const CRASHING: Standing = Stopped { failed: true, again: true };
    const COMPLETING: Standing = Stopped { failed: false, again: true };

    fn phase(containers: &[(Kind, Standing)]) -> Phase {
        of(containers, false)
    }

    #[test]
    fn phase_row_1_an_init_container_that_failed_for_good_fails_the_pod() {
        assert_eq!(phase(&[(Init, BAD), (App, Waiting)]), Phase::Failed);
        assert_eq!(phase(&[(Init, CRASHING), (App, Waiting)]), Phase::Pending);
    }

    #[test]
    fn phase_row_2_a_pod_is_pending_until_its_init_containers_have_ended() {
        for init in [Waiting, STARTING, RUNS, Unknown] {
            assert_eq!(phase(&[(Init, init), (App, RUNS)]), Phase::Pending, "{init:?}");
        }
    }

    #[test]
    fn phase_row_3_a_pod_is_pending_until_its_sidecars_have_started_unless_its_apps_have_run() {
        for sidecar in [STARTING, Waiting, Unknown] {
            assert_eq!(phase(&[(Sidecar, sidecar), (App, Waiting)]), Phase::Pending, "{sidecar:?}");
        }
        assert_eq!(phase(&[(Sidecar, STARTING), (App, RUNS)]), Phase::Running);
    }

    #[test]
    fn phase_row_4_one_container_that_has_not_run_keeps_the_pod_pending() {
        assert_eq!(phase(&[(App, RUNS), (App, Waiting)]), Phase::Pending);
        assert_eq!(phase(&[(Sidecar, Waiting), (App, RUNS)]), Phase::Pending);
        assert_eq!(phase(&[(Sidecar, CRASHING), (App, RUNS)]), Phase::Running);
    }

    #[test]
    fn phase_row_5_one_running_container_makes_the_pod_running() {
        assert_eq!(phase(&[(Init, OK), (App, RUNS), (App, BAD)]), Phase::Running);
        assert_eq!(phase(&[(Sidecar, RUNS), (App, OK)]), Phase::Running);
        assert_eq!(phase(&[(App, RUNS), (App, Unknown)]), Phase::Pending);
    }

    #[test]
    fn phase_row_6_a_stopped_pod_succeeds_only_if_all_apps_ended_well() {
        assert_eq!(of(&[(App, COMPLETING), (App, OK)], true), Phase::Succeeded);
        assert_eq!(of(&[(App, CRASHING), (App, OK)], true), Phase::Failed);
    }

    #[test]
    fn phase_row_7_a_pod_whose_only_containers_wait_for_a_restart_is_running() {
        assert_eq!(phase(&[(App, CRASHING), (App, OK)]), Phase::Running);
        assert_eq!(phase(&[(App, COMPLETING)]), Phase::Running);
    }

    #[test]
    fn phase_row_8_a_pod_whose_apps_all_exited_with_0_has_succeeded() {
        assert_eq!(phase(&[(Init, OK), (App, OK), (App, OK)]), Phase::Succeeded);
    }

    #[test]
    fn s8_the_exit_of_a_sidecar_does_not_count() {
        assert_eq!(phase(&[(Sidecar, BAD), (App, OK)]), Phase::Succeeded);
        assert_eq!(phase(&[(Sidecar, OK), (App, BAD)]), Phase::Failed);
    }

    #[test]
    fn phase_row_9_a_pod_with_an_app_that_failed_has_failed() {
        assert_eq!(phase(&[(App, OK), (App, BAD)]), Phase::Failed);
    }

    #[test]
    fn phase_row_10_anything_else_is_pending() {
        assert_eq!(phase(&[(App, OK), (App, Unknown)]), Phase::Pending);
        assert_eq!(phase(&[]), Phase::Pending);
    }
}
