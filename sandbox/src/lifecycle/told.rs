//! What the machine knows, as a `v1.PodStatus`.

use std::time::SystemTime;

use super::{
    conditions::{self, Since},
    container::ContainerState,
    duration::Shown,
    machine::Machine,
    message, restart,
    rfc3339::Timestamp,
    run::Run,
    spec::Kind,
    stage::Stage,
    status::{Condition, ContainerStatus, PodStatus, Running, State, Terminated, Waiting},
    stop::Cause,
    time::Time,
};

/// Exit code of a container that did not run although it should have.
const LOST: u32 = 137;

pub(super) fn of(machine: &Machine, wall: &dyn Fn(Time) -> SystemTime) -> PodStatus {
    let view = View { machine, wall };
    let (inits, mut apps): (Vec<_>, Vec<_>) = machine
        .containers()
        .iter()
        .map(|container| (container.kind(), view.container(container)))
        .partition(|(kind, _)| *kind != Kind::App);
    apps.sort_by(|(_, one), (_, other)| one.name.cmp(&other.name));
    let plain = |statuses: Vec<(Kind, ContainerStatus)>| statuses.into_iter().map(|(_, status)| status).collect();
    let (reason, message) = view.verdict().unzip();
    let mut status = PodStatus {
        observed_generation: Some(machine.spec().generation),
        phase: machine.phase(),
        conditions: view.conditions(),
        reason,
        message,
        start_time: Some(machine.began.unwrap_or_else(|| view.time(machine.born()))),
        init_container_statuses: plain(inits),
        container_statuses: plain(apps),
        qos_class: Some(machine.spec().qos),
        ..PodStatus::default()
    };
    message::share(&mut status);
    status
}

/// What a container's status depends on beside the container.
struct View<'a> {
    machine: &'a Machine,
    wall: &'a dyn Fn(Time) -> SystemTime,
}

impl View<'_> {
    fn time(&self, at: Time) -> Timestamp {
        Timestamp::seconds((self.wall)(at))
    }

    /// Reason and message of a pod that did not end by itself.
    fn verdict(&self) -> Option<(String, String)> {
        match self.machine.stopping().filter(|_| self.machine.phase().is_terminal())? {
            Cause::DeadlineExceeded => {
                let message = "Pod was active on the node longer than the specified deadline";
                Some(("DeadlineExceeded".into(), message.into()))
            }
            _ => self.machine.verdict().cloned(),
        }
    }

    fn conditions(&self) -> Vec<Condition> {
        let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let condition = |condition: &conditions::Condition| Condition {
            kind: condition.kind.into(),
            status: if condition.verdict.holds { "True" } else { "False" }.into(),
            last_transition_time: Some(match condition.since {
                Since::Time(at) => self.time(at),
                Since::Before(at) => at,
            }),
            reason: filled(condition.verdict.reason),
            message: filled(&condition.verdict.message),
        };
        self.machine.conditions().iter().map(condition).collect()
    }

    fn container(&self, container: &ContainerState) -> ContainerStatus {
        let spec = self.machine.spec().container(container.id());
        let (state, last_state) = self.states(container);
        ContainerStatus {
            name: container.name().into(),
            state,
            last_state,
            ready: container.is_ready(),
            restart_count: container.restart_count(),
            image: spec.map(|spec| spec.image.clone()).unwrap_or_default(),
            started: Some(container.is_started()),
            ..ContainerStatus::default()
        }
    }

    /// The state and the one before. A container that is to be started again without a delay still shows how it ended,
    /// unless its start failed; in a back-off it waits.
    fn states(&self, container: &ContainerState) -> (State, State) {
        let run = container.run();
        let now = || run.map(|run| self.ended(container, run)).unwrap_or_default();
        let last = || if run.is_some() { now() } else { self.before(container) };
        if container.stage() == Stage::Running {
            let running = Running { started_at: run.map(|run| self.time(run.started)) };
            (State { running: Some(running), ..State::default() }, self.before(container))
        } else if let Some((reason, message)) = self.waits_for(container) {
            (waiting(reason, message), last())
        } else if run.is_some() {
            (now(), self.before(container))
        } else {
            (self.never_run(container), self.before(container))
        }
    }

    /// Why a container that is to run (again) does not run yet, if that is to be said instead of how it ended.
    fn waits_for(&self, container: &ContainerState) -> Option<(&'static str, Option<String>)> {
        if let Some(message) = container.stall() {
            return Some(("CreateContainerError", Some(message.into())));
        }
        if let Some((delay, _)) = container.backing_off() {
            let (pod, name, delay) = (self.machine.spec(), container.name(), Shown(delay));
            let (pod, namespace, uid) = (&pod.name, &pod.namespace, &pod.uid);
            let message = format!("back-off {delay} restarting failed container={name} pod={pod}_{namespace}({uid})");
            return Some(("CrashLoopBackOff", Some(message)));
        }
        if self.machine.restarting_all() && !container.stage().is_alive() && container.stage() != Stage::Absent {
            return Some(("RestartingAllContainers", None));
        }
        let waits = container.stage().is_waiting() || container.stage() == Stage::Opening;
        let run = container.run().filter(|_| waits)?;
        if container.rewound {
            return Some((self.initial(), None));
        }
        match (&run.hook_error, run.exit.as_ref()?.start_error.as_ref()) {
            (Some(error), _) => Some(("PostStartHookError", Some(error.clone()))),
            (_, Some(error)) => Some(("RunContainerError", Some(error.clone()))),
            (None, None) => None,
        }
    }

    /// Why a container waits that has not run.
    fn initial(&self) -> &'static str {
        if self.machine.spec().init_containers.is_empty() { "ContainerCreating" } else { "PodInitializing" }
    }

    fn never_run(&self, container: &ContainerState) -> State {
        if let Some(code) = container.killed_before_run() {
            return terminated(code, "Error", Some("the container was stopped before it was started".into()));
        }
        if let (true, Some(earlier)) = (container.skipped, &container.earlier) {
            return State { terminated: Some((**earlier).clone()), ..State::default() };
        }
        if container.stage() == Stage::Ended && self.machine.is_initialized() {
            let message = "The container could not be located when the pod was terminated";
            return terminated(LOST, "ContainerStatusUnknown", Some(message.into()));
        }
        waiting(self.initial(), None)
    }

    /// How the run before the newest ended.
    fn before(&self, container: &ContainerState) -> State {
        match (container.previous(), &container.earlier) {
            (Some(run), _) => self.ended(container, run),
            (None, Some(earlier)) if !container.skipped => {
                State { terminated: Some((**earlier).clone()), ..State::default() }
            }
            (None, _) => State::default(),
        }
    }

    fn ended(&self, container: &ContainerState, run: &Run) -> State {
        let Some(exit) = &run.exit else { return State::default() };
        let (code, reason) = match (&exit.start_error, exit.oom) {
            _ if exit.restarting_all => (LOST, "RestartingAllContainers"),
            (Some(_), _) => (exit.code, "StartError"),
            (None, true) => (exit.code, "OOMKilled"),
            (None, false) if restart::failed(container.kind(), exit.code, false) => (exit.code, "Error"),
            (None, false) => (exit.code, "Completed"),
        };
        let ended = Terminated {
            started_at: Some(self.time(run.started)),
            finished_at: Some(self.time(exit.at)),
            ..end(code, reason, exit.start_error.clone().or_else(|| exit.message.clone()))
        };
        State { terminated: Some(ended), ..State::default() }
    }
}

fn waiting(reason: &str, message: Option<String>) -> State {
    State { waiting: Some(Waiting { reason: Some(reason.into()), message }), ..State::default() }
}

fn end(exit_code: u32, reason: &str, message: Option<String>) -> Terminated {
    Terminated { exit_code, reason: Some(reason.into()), message, ..Terminated::default() }
}

fn terminated(exit_code: u32, reason: &str, message: Option<String>) -> State {
    State { terminated: Some(end(exit_code, reason, message)), ..State::default() }
}
