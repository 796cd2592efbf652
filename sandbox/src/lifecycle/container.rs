//! One container of the pod: what is known of it.

use std::time::Duration;

use super::{
    backoff::Series,
    ending::Ending,
    probe::Probes,
    restart,
    run::{Exit, Run},
    spec::{Backoff, ContainerId, ContainerSpec, Kind, PodSpec, RestartPolicy},
    stage::Stage,
    status::Terminated,
    time::Time,
};

/// Where a container stands.
#[derive(Debug, Clone)]
pub struct ContainerState {
    pub(super) id: ContainerId,
    pub(super) spec: ContainerSpec,
    pub(super) terms: Terms,
    pub(super) stage: Stage,
    pub(super) armed: bool,
    /// Number of the attempt that waits, runs or is prepared.
    pub(super) attempt: u32,
    pub(super) restarts: u32,
    /// The newest run and the one before.
    pub(super) run: Option<Run>,
    pub(super) previous: Option<Run>,
    /// How it ended before this machine began, in a pod that was resumed.
    pub(super) earlier: Option<Box<Terminated>>,
    /// What concerns the attempt that runs, and nothing after it.
    pub(super) life: Life,
    /// Back-off after exits: the curve's position, the delay now served and its end, and the exit that it is for.
    pub(super) series: Series,
    pub(super) delay: Duration,
    pub(super) not_before: Time,
    pub(super) owes: Option<Time>,
    /// The same for attempts that could not be made, with the last reason.
    pub(super) stalls: Series,
    pub(super) stalled_until: Time,
    pub(super) stall: Option<String>,
    /// Whether it has had its turn since the pod began, or began again: the app container after it may be started.
    pub(super) tried: bool,
    /// Whether it waits because the whole pod began again.
    pub(super) rewound: bool,
    /// Whether it has run in the present sandbox.
    pub(super) ran_here: bool,
    /// Whether it need not run at all, because it succeeded before the pod was resumed.
    pub(super) skipped: bool,
    /// Whether the process at its gate was killed for the sake of a new sandbox.
    pub(super) vacated: bool,
    /// Whether another container, from another image, stands by to take its place.
    pub(super) successor: bool,
    /// By what a container from the image that it is to have is asked to end: an image may say so.
    pub(super) next_stop_signal: Option<i32>,
    /// Exit code that a client's kill stands for: it is not started again.
    pub(super) killed: Option<u32>,
    /// Exit code to tell when it has ended, whether that was told, and whether a client waits for it.
    pub(super) code: Option<u32>,
    pub(super) reported: bool,
    pub(super) awaited: bool,
}

/// What the pod says about the restarts and the end of all its containers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) policy: RestartPolicy,
    pub(super) curve: Backoff,
    pub(super) max_restarts: Option<u32>,
    pub(super) grace: Duration,
}

impl From<&PodSpec> for Terms {
    fn from(pod: &PodSpec) -> Self {
        Self { policy: pod.restart_policy, curve: pod.backoff, max_restarts: pod.max_restarts, grace: pod.grace }
    }
}

/// An attempt whose gate was opened.
#[derive(Debug, Clone, Default)]
pub(super) struct Life {
    /// Whether its postStart hook runs.
    pub(super) post_start: bool,
    pub(super) probes: Probes,
    pub(super) ending: Option<Ending>,
    /// When a client asked it to end, and whether one killed it.
    pub(super) asked: Option<Time>,
    pub(super) forced: bool,
    /// A signal that came between the opening of the gate and the program: a process that is still setting itself up
    /// as pid 1 of its namespace would never see it.
    pub(super) owed: Option<i32>,
}

impl ContainerState {
    pub(super) fn new(id: ContainerId, spec: ContainerSpec, terms: Terms) -> Self {
        Self {
            id,
            spec,
            terms,
            stage: Stage::Absent,
            armed: false,
            attempt: 0,
            restarts: 0,
            run: None,
            previous: None,
            earlier: None,
            life: Life::default(),
            series: Series::default(),
            delay: Duration::ZERO,
            not_before: Time::default(),
            owes: None,
            stalls: Series::default(),
            stalled_until: Time::default(),
            stall: None,
            tried: false,
            rewound: false,
            ran_here: false,
            skipped: false,
            vacated: false,
            successor: false,
            next_stop_signal: None,
            killed: None,
            code: None,
            reported: false,
            awaited: false,
        }
    }

    /// Its place.
    pub fn id(&self) -> ContainerId {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// What part it has in the pod.
    pub fn kind(&self) -> Kind {
        self.spec.kind
    }

    /// Its stage.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Whether a client has started it.
    pub fn is_armed(&self) -> bool {
        self.armed
    }

    /// Number of the attempt that waits, runs or is prepared, counted from 0.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How often it was started again.
    pub fn restart_count(&self) -> u32 {
        self.restarts
    }

    /// The newest run, ended or not.
    pub fn run(&self) -> Option<&Run> {
        self.run.as_ref()
    }

    /// The run before that.
    pub fn previous(&self) -> Option<&Run> {
        self.previous.as_ref()
    }

    pub(super) fn exit(&self) -> Option<&Exit> {
        self.run.as_ref().and_then(|run| run.exit.as_ref())
    }

    /// Whether what waits for this container may go on: it runs, its postStart hook has succeeded, and so has its startup
    /// probe.
    pub fn is_started(&self) -> bool {
        let hook_failed = self.run.as_ref().is_some_and(|run| run.hook_error.is_some());
        self.stage == Stage::Running && !self.life.post_start && !hook_failed && self.life.probes.started()
    }

    /// Whether it counts as ready: an init container when it has succeeded, another when it has started and its
    /// readiness probe succeeds.
    pub fn is_ready(&self) -> bool {
        match self.kind() {
            Kind::Init => self.has_succeeded(),
            Kind::Sidecar | Kind::App => self.is_started() && self.life.probes.ready(),
        }
    }

    /// Whether it is being ended, and why.
    pub fn ending(&self) -> Option<super::ending::Why> {
        self.life.ending.as_ref().map(Ending::why)
    }

    /// The back-off it is in, as the length and the end; `None` when it is in none.
    pub fn backing_off(&self) -> Option<(Duration, Time)> {
        let waits = self.stage.is_waiting() || self.stage == Stage::Opening;
        (waits && self.stage != Stage::Resting && !self.delay.is_zero()).then_some((self.delay, self.not_before))
    }

    /// Why no fresh attempt could be made, while that is so.
    pub fn stall(&self) -> Option<&str> {
        self.stall.as_deref()
    }

    /// The exit code that a client's kill before the first run stands for.
    pub fn killed_before_run(&self) -> Option<u32> {
        self.killed.filter(|_| self.stage == Stage::Ended && self.run.is_none())
    }

    /// Whether it is an init container that did what it is for.
    pub fn has_succeeded(&self) -> bool {
        self.stage == Stage::Ended
            && self.killed.is_none()
            && self.exit().is_some_and(|exit| !restart::failed(self.spec.kind, exit.code, exit.oom))
    }

    /// Whether the container after this one, if both are apps, may be tried: a failure does not hold it up.
    pub(super) fn has_tried(&self) -> bool {
        self.tried || self.stage == Stage::Ended
    }

    /// When it wants to be looked at again: its gate opened or its fresh attempt tried once more.
    pub(super) fn wakes(&self, its_turn: bool) -> Option<Time> {
        match self.stage {
            Stage::Gate if self.armed && its_turn && !self.vacated => Some(self.not_before),
            Stage::Stalled => Some(self.stalled_until),
            _ => None,
        }
    }

    /// When something is due about it while it runs: a probe, or a step of its end.
    pub(super) fn next(&self) -> Option<Time> {
        if !self.stage.is_alive() {
            return None;
        }
        let ending = self.life.ending.as_ref().and_then(Ending::next);
        let probe = if self.stage == Stage::Running { self.life.probes.due() } else { None };
        ending.into_iter().chain(probe).min()
    }
}
